//! `make install` and `make uninstall`, below a root of their own.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::{agent::BINARY, lab::without_ours};

/// `make TARGET` with the program under test; what it said.
fn make(target: &str, root: &Path) -> String {
    let mut command = Command::new("timeout");
    without_ours(&mut command);
    command.args(["60", "make", "-C", env!("CARGO_MANIFEST_DIR"), target]).stdin(Stdio::null());
    let root = format!("DESTDIR={}", root.display());
    let out = command.args([root.as_str(), "PREFIX=/usr", &format!("BINARY={BINARY}")]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "make {target}: {said}");
    said
}

fn files(root: &Path, found: &mut Vec<String>, below: &Path) {
    for entry in fs::read_dir(below).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(root, found, &path);
        } else {
            found.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
}

#[test]
fn what_make_installs_is_whole_and_what_a_person_wrote_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    make("install", root);
    let mode =
        |path: &str| fs::metadata(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}")).permissions().mode();
    assert_eq!(mode("usr/bin/constellation") & 0o777, 0o755);
    assert_eq!(mode("etc/constellation/agent.yaml") & 0o777, 0o600);
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert!(
        read("usr/lib/systemd/system/constellation.service").contains("\nExecStart=/usr/bin/constellation agent\n")
    );
    for path in [
        "usr/share/man/man1/constellation.1",
        "usr/share/man/man1/constellation-agent.1",
        "usr/share/bash-completion/completions/constellation",
        "usr/share/zsh/site-functions/_constellation",
        "usr/share/fish/vendor_completions.d/constellation.fish",
    ] {
        assert!(read(path).contains("constellation"), "{path}");
    }
    let schema: serde_json::Value = serde_json::from_str(&read("usr/share/constellation/agent.schema.json")).unwrap();
    assert_eq!(schema["properties"]["peerPort"]["default"], 7444);
    // What was installed is right as it is, and runs.
    let mut check = Command::new(root.join("usr/bin/constellation"));
    without_ours(&mut check);
    let check =
        check.args(["agent", "config", "check"]).arg(root.join("etc/constellation/agent.yaml")).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));

    fs::write(root.join("etc/constellation/agent.yaml"), "peerPort: 8444\n").unwrap();
    assert!(make("install", root).contains("is kept as it is"));
    assert_eq!(read("etc/constellation/agent.yaml"), "peerPort: 8444\n");

    assert!(make("uninstall", root).contains("/var/lib/constellation"), "it says where the data is");
    let mut left = Vec::new();
    files(root, &mut left, root);
    assert_eq!(left, ["etc/constellation/agent.yaml"]);
}

#[test]
fn systemd_understands_the_unit() {
    let dir = tempfile::tempdir().unwrap();
    let unit = Command::new(BINARY).args(["agent", "unit"]).output().unwrap();
    let path = dir.path().join("constellation.service");
    fs::write(&path, unit.stdout).unwrap();
    let out =
        Command::new("timeout").args(["60", "systemd-analyze", "verify", "--man=no"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    // It reads the machine's other units too: only what it says of ours counts.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("constellation")).collect();
    assert!(ours.is_empty() && out.status.success(), "{said}");
}
