//! `validate`: manifests without an agent.

use std::fmt::Write as _;

use super::env;
use crate::cli::{
    args::{Form, Validate},
    failure::CliError,
    form::{Valid, Validation},
    screen::Screen,
    source::{self, Manifests},
    text::clean,
    values::Programs,
};

/// Runs `validate`.
///
/// # Errors
/// Every error of the manifests; in a form for programs they stand on standard output too.
pub fn validate(screen: &Screen, args: &Validate) -> Result<(), CliError> {
    let read = source::read(&args.files.files, &env, Some(Programs::Leave));
    if let Some(answer) = validation(&read) {
        screen.answer(&answer)?;
    }
    let manifests = read?;
    for warning in &manifests.warnings {
        screen.aside(&format!("warning: {}", clean(warning)));
    }
    if args.output != Form::Text {
        return Ok(());
    }
    let mut out = String::new();
    for document in &manifests.documents {
        let _ = writeln!(out, "{} valid ({}:{})", document.declared.key(), document.source, document.line);
    }
    screen.print(&out)
}

/// For programs; none when the files could not be read at all.
fn validation(read: &Result<Manifests, CliError>) -> Option<Validation> {
    match read {
        Ok(manifests) => Some(Validation {
            valid: true,
            objects: manifests.documents.iter().map(Valid::from).collect(),
            errors: Vec::new(),
            warnings: manifests.skipped.iter().map(ToString::to_string).collect(),
        }),
        Err(CliError::Manifests(errors)) => Some(Validation { errors: errors.clone(), ..Validation::default() }),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Option<serde_json::Value> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.yaml");
        std::fs::write(&path, text).unwrap();
        let said = validation(&source::read(&[path], &|_| None, Some(Programs::Leave)))?;
        Some(serde_json::to_value(said).unwrap())
    }

    #[test]
    fn programs_read_each_error_with_its_place_and_each_good_document() {
        let good = "apiVersion: constellation.dev/v1\nkind: Config\nmetadata: {name: c}\nspec: {data: {a: b}}\n";
        let said = read(good).unwrap();
        assert_eq!(
            (&said["valid"], &said["objects"][0]["name"], &said["errors"]),
            (&json!(true), &json!("c"), &json!([]))
        );
        let said = read(&good.replace("{data:", "{dat:")).unwrap();
        let errors = said["errors"].as_array().unwrap();
        let fault = errors.iter().find(|fault| fault["path"] == "spec.dat").unwrap_or_else(|| panic!("{said}"));
        assert_eq!((&said["valid"], &fault["line"], &fault["column"]), (&json!(false), &json!(4), &json!(8)));
        assert!(fault["source"].as_str().unwrap().ends_with("a.yaml"), "{fault}");
        assert!(!fault["message"].as_str().unwrap().is_empty());
        assert_eq!(read("some: {other: file}\n").unwrap()["errors"][0]["line"], 1, "a file that is not ours");
        assert_eq!(read(""), None, "nothing declared is wrong usage");
    }
}
