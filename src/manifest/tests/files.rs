//! The manifests that come with the source, those of the README too: they read, and an editor finds their schema.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;

use super::{fields::built, *};

const SCHEMA: &str = "manifests/schema/constellation.schema.json";

fn manifests() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<PathBuf> = ["examples", "manifests"]
        .into_iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    found.sort();
    assert!(found.len() >= 7, "{found:?}");
    found
}

#[test]
fn every_manifest_reads_and_fits_its_schema() {
    let (schema, root) = (schema(), Path::new(env!("CARGO_MANIFEST_DIR")));
    for path in manifests() {
        let text = fs::read_to_string(&path).unwrap();
        let folder = path.parent().unwrap();
        let line = text.lines().next().unwrap();
        let named = line.strip_prefix("# yaml-language-server: $schema=").unwrap_or_else(|| panic!("{path:?}: {line}"));
        assert_eq!(folder.join(named).canonicalize().unwrap(), root.join(SCHEMA).canonicalize().unwrap(), "{path:?}");
        let client = Options { resolve_paths: Some(folder.into()), interpolate: Some(&|_| None), ..Options::default() };
        let parsed = parse(&path.display().to_string(), text.as_bytes(), &client);
        assert!(parsed.errors.is_empty() && parsed.skipped.is_empty(), "{:#?} {:#?}", parsed.errors, parsed.skipped);
        for document in serde_yaml::Deserializer::from_str(&text) {
            let value = serde_json::Value::deserialize(document).unwrap();
            if let Err(why) = super::schema::fits(&value, &schema, &schema) {
                panic!("{path:?}: {why}");
            }
        }
    }
}

/// Manifests of a page: whole ones, also those that a command there writes, and parts of a Service's `spec`.
fn written(page: &str) -> Vec<String> {
    let begins = ["apiVersion: constellation.dev/", "spec:"];
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if matches!(line, "```" | "END") {
            inside = false;
        } else if inside {
            let text = found.last_mut().unwrap();
            text.push_str(line);
            text.push('\n');
        } else if begins.iter().any(|begin| line.starts_with(begin)) {
            inside = true;
            found.push(match line {
                "spec:" => {
                    "apiVersion: constellation.dev/v1\nkind: Service\nmetadata: {name: web}\nspec:\n  image: web:1\n"
                        .into()
                }
                whole => format!("{whole}\n"),
            });
        }
    }
    found
}

#[test]
fn every_manifest_of_the_readme_reads() {
    let (schema, texts) = (schema(), written(include_str!("../../../README.md")));
    for text in &texts {
        let parsed = parse("README.md", text.as_bytes(), &Options::default());
        assert!(parsed.errors.is_empty() && parsed.skipped.is_empty(), "{text}{:#?}", parsed.errors);
        for document in serde_yaml::Deserializer::from_str(text) {
            let value = serde_json::Value::deserialize(document).unwrap();
            if let Err(why) = super::schema::fits(&value, &schema, &schema) {
                panic!("{text}{why}");
            }
        }
    }
    let kinds = |text: &String| text.matches("\nkind: ").count();
    assert_eq!(texts.iter().map(kinds).collect::<Vec<_>>(), [1, 1, 2, 1, 2], "{texts:#?}");
}

#[test]
fn the_reference_names_every_field_that_works() {
    let mut named = Kind::DECLARED.map(|kind| (kind, BTreeSet::new()));
    for path in manifests().into_iter().filter(|p| p.parent().is_some_and(|f| f.ends_with("manifests"))) {
        let text = fs::read_to_string(&path).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let value = serde_yaml::Value::deserialize(document).unwrap();
            let (_, found) = named.iter_mut().find(|(k, _)| value["kind"] == k.name()).unwrap();
            super::fields::paths(&value["spec"], "", found);
        }
    }
    for (kind, found) in named {
        let mut wanted = BTreeSet::new();
        super::fields::known(&crate::manifest::fields::spec(kind).unwrap(), "", &built, &mut wanted);
        let missing: Vec<_> = wanted.difference(&found).collect();
        assert!(missing.is_empty(), "manifests/ does not show {missing:?} of a {kind}");
    }
}
