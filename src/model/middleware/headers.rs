//! Headers that are added, changed and removed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;

/// Adds, changes and removes headers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Headers {
    /// Of the request; an empty value removes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_request_headers: BTreeMap<String, String>,
    /// Of the answer; an empty value removes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_response_headers: BTreeMap<String, String>,
    /// CORS: credentials.
    #[serde(default, skip_serializing_if = "is_default")]
    pub access_control_allow_credentials: bool,
    /// CORS: headers that a request may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_control_allow_headers: Vec<String>,
    /// CORS: methods that a request may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_control_allow_methods: Vec<String>,
    /// CORS: origins that may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_control_allow_origin_list: Vec<String>,
    /// CORS: origins that may ask, as expressions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_control_allow_origin_list_regex: Vec<String>,
    /// CORS: headers that a page may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_control_expose_headers: Vec<String>,
    /// CORS: seconds that the answer may be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 31_536_000))]
    pub access_control_max_age: Option<u32>,
    /// Says that the answer depends on the origin.
    #[serde(default, skip_serializing_if = "is_default")]
    pub add_vary_header: bool,
    /// Hosts that may be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_hosts: Vec<String>,
    /// Headers in which a proxy says the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts_proxy_headers: Vec<String>,
    /// Headers that tell of HTTPS before this proxy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ssl_proxy_headers: BTreeMap<String, String>,
    /// Seconds of `Strict-Transport-Security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 315_360_000))]
    pub sts_seconds: Option<u32>,
    /// For all below the host too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sts_include_subdomains: bool,
    /// For the lists of browsers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sts_preload: bool,
    /// Over plain HTTP too.
    #[serde(default, rename = "forceSTSHeader", skip_serializing_if = "is_default")]
    pub force_sts_header: bool,
    /// No page of others may show it within itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub frame_deny: bool,
    /// Value of `X-Frame-Options`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_frame_options_value: Option<String>,
    /// `X-Content-Type-Options: nosniff`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub content_type_nosniff: bool,
    /// `X-XSS-Protection: 1; mode=block`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub browser_xss_filter: bool,
    /// Value of `X-XSS-Protection`.
    #[serde(default, rename = "customBrowserXSSValue", skip_serializing_if = "Option::is_none")]
    pub custom_browser_xss_value: Option<String>,
    /// Value of `Content-Security-Policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_security_policy: Option<String>,
    /// Value of `Content-Security-Policy-Report-Only`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_security_policy_report_only: Option<String>,
    /// Value of `Public-Key-Pins`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Value of `Referrer-Policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrer_policy: Option<String>,
    /// Value of `Permissions-Policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_policy: Option<String>,
    /// Leaves out what only holds for the real host.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_development: bool,
}
