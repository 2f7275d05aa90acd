//! Who may pass: name and password, another Service's word, a client's certificate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;

/// Asks for name and password.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// A Secret: of `type: basicAuth`, or with lines of htpasswd under the key `users`.
    pub secret_ref: String,
    /// What the browser shows; `traefik`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// The Service does not see the name and the password.
    #[serde(default, skip_serializing_if = "is_default")]
    pub remove_header: bool,
    /// A header that says the name to the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_field: Option<String>,
}

/// Asks for name and password, as a digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DigestAuth {
    /// A Secret with lines of htdigest (`name:realm:hash`) under the key `users`.
    pub secret_ref: String,
    /// What the browser shows, and what the lines name; `traefik`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// The Service does not see the header.
    #[serde(default, skip_serializing_if = "is_default")]
    pub remove_header: bool,
    /// A header that says the name to the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_field: Option<String>,
}

/// Asks another Service whether the request may pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardAuth {
    /// `http://SERVICE:PORT/path`; another host than a Service needs the grant `hostNetwork`.
    pub address: String,
    /// How `https` is spoken with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ForwardTls>,
    /// Believes the `X-Forwarded-` headers that the client sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub trust_forward_header: bool,
    /// Headers of its answer that the Service gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auth_response_headers: Vec<String>,
    /// Those that fit an expression too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_response_headers_regex: Option<String>,
    /// Headers of the request that it gets; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auth_request_headers: Vec<String>,
    /// Cookies of its answer that the client gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_auth_cookies_to_response: Vec<String>,
    /// Header in which it says the name, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_field: Option<String>,
    /// It gets the body too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub forward_body: bool,
    /// Longest body that it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_size: Option<u64>,
    /// Longest answer that is read of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_response_body_size: Option<u64>,
    /// Its `Location` goes to the client as it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preserve_location_header: bool,
    /// It is asked with the method of the request; else with GET.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preserve_request_method: bool,
}

/// How `https` is spoken with the Service that is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardTls {
    /// A Secret: `ca.crt` is believed, `tls.crt` and `tls.key` are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<String>,
    /// Takes any certificate.
    #[serde(default, skip_serializing_if = "is_default")]
    pub insecure_skip_verify: bool,
}

/// Passes on what a client's certificate says. Clients are asked for one, and need none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PassTlsClientCert {
    /// The whole of it.
    #[serde(default)]
    pub pem: bool,
    /// Parts of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub info: TlsInfo,
}

/// Parts of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsInfo {
    /// Until when it holds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_after: bool,
    /// Since when.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_before: bool,
    /// Its names.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sans: bool,
    /// Its number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub serial_number: bool,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subject: TlsSubject,
    /// Who made it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub issuer: TlsIssuer,
}

/// Whose a certificate is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsSubject {
    /// Country.
    #[serde(default, skip_serializing_if = "is_default")]
    pub country: bool,
    /// Province.
    #[serde(default, skip_serializing_if = "is_default")]
    pub province: bool,
    /// Locality.
    #[serde(default, skip_serializing_if = "is_default")]
    pub locality: bool,
    /// Organization.
    #[serde(default, skip_serializing_if = "is_default")]
    pub organization: bool,
    /// Part of the organization.
    #[serde(default, skip_serializing_if = "is_default")]
    pub organizational_unit: bool,
    /// Common name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub common_name: bool,
    /// Serial number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub serial_number: bool,
    /// Domain component.
    #[serde(default, skip_serializing_if = "is_default")]
    pub domain_component: bool,
}

/// Who made a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsIssuer {
    /// Country.
    #[serde(default, skip_serializing_if = "is_default")]
    pub country: bool,
    /// Province.
    #[serde(default, skip_serializing_if = "is_default")]
    pub province: bool,
    /// Locality.
    #[serde(default, skip_serializing_if = "is_default")]
    pub locality: bool,
    /// Organization.
    #[serde(default, skip_serializing_if = "is_default")]
    pub organization: bool,
    /// Common name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub common_name: bool,
    /// Serial number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub serial_number: bool,
    /// Domain component.
    #[serde(default, skip_serializing_if = "is_default")]
    pub domain_component: bool,
}
