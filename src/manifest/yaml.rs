//! Model → text: the canonical long form.
//!
//! Invariant: what is printed reads back as the same object. What the cluster alone writes (uid, generation,
//! time of creation) stands in comments, so that `get -o yaml`, an editor and `apply` make a circle.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::Engine as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::Document;
use crate::model::{Kind, Meta, ServiceSpec, Spec, meta::API_VERSION, secret::SecretKind};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a, S> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: S,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    managed_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<u64>,
}

/// An object as YAML: the canonical long form, and what the cluster wrote as comments.
///
/// `spec`: as the API gives it. A Secret's holds no values and so does not read back.
#[must_use]
pub fn to_yaml(kind: Kind, meta: &Meta, spec: &Value) -> String {
    let metadata = Metadata {
        name: &meta.name,
        labels: &meta.labels,
        annotations: &meta.annotations,
        managed_by: meta.managed_by.as_deref(),
        resource_version: None,
    };
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "# uid {}, generation {}, resourceVersion {}, created {}",
        meta.uid,
        meta.generation,
        meta.resource_version,
        moment(meta.created_at)
    );
    if kind == Kind::Secret {
        out.push_str("# The values of a Secret are never shown: this does not apply as it is.\n");
    }
    // The type knows the order of the fields; what a newer version wrote is printed as it came.
    let service = Some(spec).filter(|_| kind == Kind::Service).and_then(ServiceSpec::deserialize_loose);
    let body = match &service {
        Some(spec) => print(&Envelope { api_version: API_VERSION, kind: kind.name(), metadata, spec }),
        None => print(&Envelope { api_version: API_VERSION, kind: kind.name(), metadata, spec }),
    };
    match body {
        Ok(body) => out.push_str(&body),
        // No value of JSON is without a form in YAML; if one were, this says so instead of nothing.
        Err(error) => {
            let _ = writeln!(out, "# cannot be written as YAML: {error}");
        }
    }
    out
}

/// As YAML. U+0085, U+2028 and U+2029 end a line in YAML 1.1, which `serde_yaml` writes, and not in 1.2, which
/// we read: what holds one of them is written as JSON, with escapes, which is YAML too.
pub(super) fn print<T: Serialize>(value: &T) -> Result<String, serde_yaml::Error> {
    const BREAKS: [(char, &str); 3] = [('\u{85}', "\\u0085"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    let text = serde_yaml::to_string(value)?;
    if !text.contains(BREAKS.map(|(c, _)| c)) {
        return Ok(text);
    }
    let json = serde_json::to_string_pretty(value).map_err(<serde_yaml::Error as serde::ser::Error>::custom)?;
    Ok(BREAKS.iter().fold(json, |text, (c, escape)| text.replace(*c, escape)) + "\n")
}

fn moment(milliseconds: u64) -> String {
    i64::try_from(milliseconds)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{milliseconds} ms"), |t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

impl ServiceSpec {
    /// The type, if it holds everything that the value does.
    fn deserialize_loose(spec: &Value) -> Option<Self> {
        let typed: Self = serde_json::from_value(spec.clone()).ok()?;
        (serde_json::to_value(&typed).ok()?.as_object()?.len() == spec.as_object()?.len()).then_some(typed)
    }
}

/// A document as a request holds it: canonical, variables filled in, paths absolute.
///
/// Of a Secret it holds the clear values: it goes to the API and nowhere else.
///
/// # Errors
/// When a spec has no JSON form; no type of `model` is so.
pub fn written(document: &Document) -> Result<Value, serde_json::Error> {
    let declared = &document.declared;
    let spec = match &declared.spec {
        Spec::Service(spec) => serde_json::to_value(spec)?,
        Spec::Config(spec) => serde_json::to_value(spec)?,
        Spec::Node(spec) => serde_json::to_value(spec)?,
        Spec::Route(spec) => serde_json::to_value(spec)?,
        Spec::Middleware(spec) => serde_json::to_value(spec)?,
        Spec::Secret(spec) => {
            let mut data = spec.data.clone();
            // As base64, so that any reader of YAML or JSON takes the same bytes.
            let encode = |text: &String| base64::engine::general_purpose::STANDARD.encode(text);
            data.extend(spec.string_data.iter().map(|(key, text)| (key.clone(), encode(text))));
            let mut fields = json!({ "data": data });
            if spec.kind != SecretKind::Opaque {
                fields["type"] = serde_json::to_value(spec.kind)?;
            }
            if let Some(from) = &spec.value_from {
                fields["valueFrom"] = serde_json::to_value(from)?;
            }
            if !spec.rotation.is_default() {
                fields["rotation"] = serde_json::to_value(&spec.rotation)?;
            }
            if let Some(kept) = spec.keep_versions {
                fields["keepVersions"] = kept.into();
            }
            fields
        }
    };
    serde_json::to_value(Envelope {
        api_version: API_VERSION,
        kind: declared.kind().name(),
        metadata: Metadata {
            name: &declared.name,
            labels: &declared.labels,
            annotations: &declared.annotations,
            managed_by: document.managed_by.as_deref(),
            resource_version: document.resource_version,
        },
        spec,
    })
}
