//! Configurations of agents, changed as nobody should change them.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt as _};

use super::*;
use crate::mutate::{Mutations, plain, survives};

fn corpus() -> Vec<String> {
    // The documented example, with every key in use.
    let example: String = example::example()
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.strip_prefix("  ").unwrap_or(line).starts_with(|c: char| c.is_ascii_lowercase()))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(example.contains("peerPort: 7444\n") && example.contains("grants:\n  admin: all\n"), "{example}");
    let all = "# of n1\ndataDir: /srv/c\nnodeName: n1\napiAddress: '[::1]:7443'\nadvertiseAddress: fd00::1\npeerPort: 1\n\
               joinPort: 2\ngossipPort: 3\nprofile: wan\nlogFormat: json\nlogFilter: warn,constellation=debug\n\
               grants:\n  admin: [binds, devices]\n  write: binds,sysctls\n  bindRoots: [/data, /mnt/x]\n";
    vec![
        example,
        all.into(),
        "{\"peerPort\": 1,\n \"profile\": \"wan\", \"runDir\": \"/run/c\"}".into(),
        "peerPort: \"1\"\n".into(),
    ]
}

/// A configuration that is taken says the same when it is written out; one that is not says where and why.
fn answers(loaded: Result<AgentConfig, ConfigError>, file: &std::path::Path) {
    match loaded {
        Ok(config) => {
            let shown = |config: &AgentConfig| config.shown().into_iter().map(|s| (s.key, s.value)).collect::<Vec<_>>();
            let mut out = serde_json::json!({});
            for (key, value) in shown(&config).into_iter().filter_map(|(key, value)| Some((key, value?))) {
                match key.split_once('.') {
                    Some((section, key)) => out[section][key] = value.into(),
                    None => out[key] = value.into(),
                }
            }
            let text = out.to_string();
            if text.len() > 64 << 10 {
                // A variable may be longer than a whole file.
                return;
            }
            fs::write(file, text).unwrap();
            let flags = AgentFlags { config: Some(file.to_owned()), ..AgentFlags::default() };
            let again = load(&flags, Vec::<(String, String)>::new(), "n1", None).unwrap();
            assert_eq!(shown(&again), shown(&config));
        }
        Err(error) => {
            assert!(!error.faults.is_empty());
            for fault in error.faults {
                plain(&fault.to_string());
                assert!(!fault.place.is_empty(), "{fault:?}");
            }
        }
    }
}

#[test]
fn files_survive_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (file, again) = (dir.path().join("agent.yaml"), dir.path().join("again.json"));
    survives(Mutations::of("configurations", corpus(), 1_500), move |text| {
        let _here = &dir;
        fs::write(&file, text).unwrap();
        let flags = AgentFlags { config: Some(file.clone()), ..AgentFlags::default() };
        let loaded = load(&flags, Vec::<(String, String)>::new(), "n1", None);
        if let Err(error) = &loaded {
            let lines = 1 + text.iter().filter(|b| matches!(b, b'\n' | b'\r')).count();
            for fault in &error.faults {
                assert!(fault.place.starts_with(file.to_str().unwrap()) || fault.place.starts_with("--"), "{fault:?}");
                assert!(fault.line.is_none_or(|line| (1..=lines + 1).contains(&line)), "{fault:?} of {lines} lines");
            }
        }
        let control = |b: &u8| *b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r');
        assert!(loaded.is_err() || !text.iter().any(control), "a control character is passed over");
        answers(loaded, &again);
    });
}

#[test]
fn variables_and_flags_survive_what_is_written() {
    let corpus = [
        "/srv/c",
        "n1",
        "127.0.0.1:7443",
        "[::1]:0",
        "fd00::1",
        "7444",
        "lan",
        "text",
        "warn,a[b{c=d}]=debug",
        "t@h:1",
        "binds,devices",
        "all",
        "/data, /mnt/x",
    ];
    let dir = tempfile::tempdir().unwrap();
    let again = dir.path().join("again.json");
    survives(Mutations::of("variables", corpus, 250), move |bytes| {
        let _here = &dir;
        let value = OsString::from_vec(bytes.to_vec());
        for setting in SETTINGS {
            answers(
                load(
                    &AgentFlags::default(),
                    [(setting.variable().into(), value.clone())] as [(OsString, _); 1],
                    "n1",
                    None,
                ),
                &again,
            );
        }
        let mut name = OsString::from("CONSTELLATION_");
        name.push(&value);
        answers(load(&AgentFlags::default(), [(name, OsString::from("1"))], "n1", None), &again);
        let text = String::from_utf8_lossy(bytes).into_owned();
        let flags = AgentFlags {
            peer_port: Some(text.clone()),
            log_filter: Some(text.clone()),
            node_name: Some(text.clone()),
            ..AgentFlags::default()
        };
        answers(load(&flags, Vec::<(String, String)>::new(), &text, None), &again);
    });
}
