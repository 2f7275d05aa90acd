//! Broken manifests, as a person meets them at the command line. What each message says is kept beside
//! `manifest`; here: that all of it reaches the terminal and that nothing is applied.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    agent::{Agent, cli},
    lab::Lab,
};

fn fixtures() -> Vec<PathBuf> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/broken");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json"))
        .collect();
    files.sort();
    files
}

/// The line that begins with `FILE:LINE:COLUMN: `, without that.
fn located<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    said.lines().find_map(|line| {
        let (_, rest) = line.split_once(&format!("{name}:"))?;
        let (row, rest) = rest.split_once(':')?;
        let (column, message) = rest.split_once(':')?;
        (row.parse::<u32>().ok()? > 0 && column.parse::<u32>().ok()? > 0).then_some(message)
    })
}

#[test]
fn each_broken_manifest_is_one_error_with_line_column_and_fix() {
    let files = fixtures();
    assert!(files.len() >= 12, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let said = cli(None, Path::new("/tmp"), &["validate", "-f", file.to_str().unwrap()]).exits(2);
        let message = located(&said.err, name).unwrap_or_else(|| panic!("{name}: no line and column: {}", said.err));
        let fix = message.contains(';') || said.err.contains("hint:");
        assert!(fix, "{name}: says what to do: {}", said.err);
    }
}

#[test]
fn a_broken_manifest_beside_a_good_one_applies_neither() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let good = "apiVersion: constellation.dev/v1\nkind: Config\nmetadata: {name: good}\nspec: {data: {a: b}}\n";
    let bad = "apiVersion: constellation.dev/v1\nkind: Service\nmetadata: {name: bad}\nspec: {imgae: x}\n";
    let said = agent.apply_with(&format!("{good}---\n{bad}"), &[]).exits(2);
    assert!(said.err.contains("image"), "suggests the name: {}", said.err);
    // The API says the same to those who come without the command line.
    let answer = agent.ask("POST", "/api/v1/apply", "application/yaml", format!("{good}---\n{bad}").as_bytes());
    assert!((400..500).contains(&answer.status), "{}", answer.text());
    assert!(answer.head.to_ascii_lowercase().contains("application/problem+json"), "{}", answer.head);
    assert!(agent.get("/api/v1/configs")["items"].as_array().unwrap().is_empty());
}

#[test]
fn apply_without_a_terminal_and_without_yes_changes_nothing() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let file = agent.path("c.yaml");
    fs::write(&file, "apiVersion: constellation.dev/v1\nkind: Config\nmetadata: {name: c}\nspec: {data: {a: b}}\n")
        .unwrap();
    let said = agent.cli(&["apply", "-f", file.to_str().unwrap()]).exits(2);
    assert!(said.err.contains("-y"), "{}", said.err);
    assert!(agent.get("/api/v1/configs")["items"].as_array().unwrap().is_empty());
    agent.cli(&["plan", "-f", file.to_str().unwrap()]).exits(1);
    agent.cli(&["apply", "--dry-run=server", "-f", file.to_str().unwrap()]).exits(0);
    assert!(agent.get("/api/v1/configs")["items"].as_array().unwrap().is_empty());
}
