//! What people write and what is made of it, held against the manifest page.

mod broken;
mod fields;
mod files;
mod forms;
mod jobs;
mod limits;
mod mutated;
mod properties;
mod schema;

use super::*;

/// A Service whose spec is the minimum and these lines, indented by two.
fn service(fields: &str) -> String {
    let image = if fields.starts_with("image:") { "" } else { "  image: nginx:1.27\n" };
    let body: String = fields.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: constellation.dev/v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n{image}{body}")
}

/// Reads as a server does.
fn read_text(text: &str) -> Parsed {
    parse("web.yaml", text.as_bytes(), &Options::default())
}

/// The one document of a text without errors.
fn good(text: &str) -> Document {
    let mut parsed = read_text(text);
    assert!(parsed.errors.is_empty(), "{text}\n{:#?}", parsed.errors);
    assert_eq!(parsed.documents.len(), 1, "{text}");
    parsed.documents.remove(0)
}

/// The canonical spec of a text without errors.
fn canonical_spec(text: &str) -> serde_json::Value {
    written(&good(text)).unwrap()["spec"].take()
}

/// Errors as people read them.
fn errors(text: &str) -> Vec<String> {
    read_text(text).errors.iter().map(ToString::to_string).collect()
}
