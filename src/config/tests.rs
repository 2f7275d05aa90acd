//! Order, provenance, and what is refused.

use std::fs;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn loaded(flags: &AgentFlags, pairs: &[(&str, &str)]) -> Result<AgentConfig, Vec<String>> {
    load(flags, env(pairs), "N1.example.com", None).map_err(|e| e.faults.iter().map(ToString::to_string).collect())
}

#[test]
fn defaults_are_those_of_the_page() {
    let config = loaded(
        &AgentFlags::default(),
        &[("HOME", "/root"), ("CONSTELLATION_TOKEN_FILE", "/x"), ("CONSTELLATION_TEST_REGISTRY", "x")],
    )
    .unwrap();
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/constellation"));
    assert_eq!(config.run_dir, PathBuf::from("/run/constellation"));
    assert_eq!(config.api_socket, PathBuf::from("/run/constellation/api.sock"));
    assert_eq!(config.docker_host, "unix:///var/run/docker.sock");
    assert_eq!(config.api_address.to_string(), "127.0.0.1:7443");
    assert_eq!((config.peer_port, config.join_port, config.gossip_port), (7444, 7445, 7446));
    assert_eq!((config.profile, config.log_format), (Profile::Lan, LogFormat::Text));
    assert_eq!((config.node_name.as_str(), config.advertise_address, config.join.as_deref()), ("n1", None, None));
    assert!(config.origins.values().all(|o| *o == Origin::Default));
    assert!(!config.is_chosen("runDir"));
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.yaml");
    fs::write(&file, "# ports\npeerPort: 1\njoinPort: 2\ngossipPort: 3\nlogFormat: json\n").unwrap();
    let flags = AgentFlags { config: Some(file.clone()), peer_port: Some("11".into()), ..AgentFlags::default() };
    let config = loaded(&flags, &[("CONSTELLATION_PEER_PORT", "21"), ("CONSTELLATION_JOIN_PORT", "22")]).unwrap();
    assert_eq!((config.peer_port, config.join_port, config.gossip_port), (11, 22, 3));
    assert_eq!(config.origins["peerPort"], Origin::Flag("--peer-port".into()));
    assert_eq!(config.origins["joinPort"], Origin::Environment("CONSTELLATION_JOIN_PORT".into()));
    assert_eq!(config.origins["gossipPort"], Origin::File { path: file.clone(), line: 4, column: 13 });
    assert_eq!(config.origins["profile"], Origin::Default);
    assert_eq!(config.log_format, LogFormat::Json);
    // The same as JSON, named by the environment.
    fs::write(&file, "{\"peerPort\": 1,\n \"profile\": \"wan\"}").unwrap();
    let config = loaded(&AgentFlags::default(), &[("CONSTELLATION_CONFIG", file.to_str().unwrap())]).unwrap();
    assert_eq!((config.peer_port, config.profile), (1, Profile::Wan));
    // Nothing but comments is nothing chosen.
    fs::write(&file, "# dataDir: /x\n").unwrap();
    assert!(loaded(&AgentFlags { config: Some(file), ..AgentFlags::default() }, &[]).is_ok());
}

#[test]
fn the_socket_stands_in_the_run_directory() {
    let flags = AgentFlags { run_dir: Some("/tmp/r".into()), ..AgentFlags::default() };
    assert_eq!(loaded(&flags, &[]).unwrap().api_socket, PathBuf::from("/tmp/r/api.sock"));
}

#[test]
fn a_socket_that_nobody_chose_is_no_longer_than_the_kernel_takes() {
    let long = format!("/{}", "r".repeat(97));
    let error = loaded(&AgentFlags { run_dir: Some(format!("{long}r")), ..AgentFlags::default() }, &[]).unwrap_err();
    assert!(error.len() == 1 && error[0].starts_with("--run-dir: ") && error[0].contains("107 bytes"), "{error:?}");
    assert!(loaded(&AgentFlags { run_dir: Some(long), ..AgentFlags::default() }, &[]).is_ok());
}

#[test]
fn what_steers_a_terminal_is_written_out_in_a_fault() {
    let faults = loaded(&AgentFlags::default(), &[("CONSTELLATION_X\u{1b}[2J", "1")]).unwrap_err();
    assert!(faults[0].starts_with("CONSTELLATION_X\\u{1b}[2J: "), "{faults:?}");
}

#[test]
fn every_fault_is_named_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.yaml");
    fs::write(&file, "peerport: 1\nprofile: man\nprofile: lan\njoinPort: [1]\n").unwrap();
    let flags = AgentFlags {
        config: Some(file),
        api_address: Some("0.0.0.0:7443".into()),
        join: Some("s3cret@n1".into()),
        ..AgentFlags::default()
    };
    let faults =
        loaded(&flags, &[("CONSTELLATION_DATADIR", "/x"), ("CONSTELLATION_GOSSIP_PORT", "70000")]).unwrap_err();
    let text = faults.join("\n").replace(dir.path().to_str().unwrap(), "");
    insta::assert_snapshot!(text);
    assert!(!text.contains("s3cret"));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let flags = AgentFlags { config: Some("/nowhere/agent.yaml".into()), ..AgentFlags::default() };
    let faults = loaded(&flags, &[]).unwrap_err();
    assert!(faults.len() == 1 && faults[0].starts_with("/nowhere/agent.yaml: cannot be read"), "{faults:?}");
}

#[test]
fn wrong_values_are_refused_and_odd_ones_are_not() {
    let with = |variable: &str, value: &str| loaded(&AgentFlags::default(), &[(variable, value)]);
    for (variable, value) in [
        ("CONSTELLATION_API_ADDRESS", "localhost:0"),
        ("CONSTELLATION_API_ADDRESS", "[::1]:0"),
        ("CONSTELLATION_PEER_PORT", "0"),
        ("CONSTELLATION_ADVERTISE_ADDRESS", "100.64.0.1"),
        ("CONSTELLATION_DOCKER_HOST", "unix:///run/user/1000/docker.sock"),
        ("CONSTELLATION_DATA_DIR", "relative"),
        ("CONSTELLATION_LOG_FILTER", "debug"),
        ("RUST_LOG", ""),
    ] {
        assert!(with(variable, value).is_ok(), "{variable}={value}: {:?}", with(variable, value));
    }
    for (variable, value) in [
        ("CONSTELLATION_API_ADDRESS", "192.0.2.1:7443"),
        ("CONSTELLATION_API_ADDRESS", "127.0.0.1"),
        ("CONSTELLATION_ADVERTISE_ADDRESS", "0.0.0.0"),
        ("CONSTELLATION_ADVERTISE_ADDRESS", "n1"),
        ("CONSTELLATION_DOCKER_HOST", "tcp://127.0.0.1:2375"),
        ("CONSTELLATION_DOCKER_HOST", "docker.sock"),
        ("CONSTELLATION_NODE_NAME", "N1"),
        ("CONSTELLATION_NODE_NAME", ""),
        ("CONSTELLATION_DATA_DIR", ""),
        ("CONSTELLATION_PEER_PORT", "7445"),
        ("CONSTELLATION_PEER_PORT", "7443"),
        ("CONSTELLATION_JOIN", "token"),
        ("CONSTELLATION_LOG_FORMAT", "xml"),
        ("CONSTELLATION_LOG_FILTER", "a=b=c"),
        ("CONSTELLATION_LOG_FILTER", ""),
        ("RUST_LOG", "constellation=loud"),
    ] {
        let faults = with(variable, value).unwrap_err();
        assert_eq!(faults.len(), 1, "{variable}={value}: {faults:?}");
    }
    assert_eq!(load(&AgentFlags::default(), env(&[]), "..", None).unwrap().node_name, "node");
}

#[test]
fn flags_and_keys_come_from_one_name() {
    assert_eq!(Setting::AdvertiseAddress.flag(), "--advertise-address");
    assert_eq!(Setting::ApiSocket.variable(), "CONSTELLATION_API_SOCKET");
    let command = <AgentFlags as clap::Args>::augment_args(clap::Command::new("agent"));
    for setting in SETTINGS {
        let flag = setting.flag();
        let argument = command.get_arguments().find(|a| a.get_long().is_some_and(|l| format!("--{l}") == flag));
        let help = argument.unwrap_or_else(|| panic!("{flag}")).get_help().unwrap().to_string();
        assert!(help.contains(&format!("[env: {}]", setting.variable())), "{help}");
        let default = setting.default();
        assert!(default.is_empty() || help.contains(&format!("[default: {default}]")), "{help}");
    }
}

#[test]
fn a_value_that_is_not_utf8_is_said_and_not_left_out() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};
    let broken = OsString::from_vec(b"/var/lib/gr\xf6\xdfe".to_vec());
    let environment = ["CONSTELLATION_DATA_DIR", "CONSTELLATION_TOKEN", "HOME"].map(|n| (n, broken.clone()));
    let error = load(&AgentFlags::default(), environment, "n1", None).unwrap_err();
    assert_eq!(error.to_string(), "CONSTELLATION_DATA_DIR: the value is not UTF-8; write it in UTF-8, or unset it");
}

#[test]
fn what_docker_clients_read_chooses_no_engine_and_is_not_passed_over_in_silence() {
    let chosen = AgentFlags { docker_host: Some("unix:///run/mine.sock".into()), ..AgentFlags::default() };
    let default = AgentFlags::default();
    for (flags, said, told) in [
        (&default, "unix:///run/user/1000/docker.sock", true),
        (&default, "unix:///var/run/docker.sock", false),
        (&default, "", false),
        (&chosen, "unix:///run/mine.sock", false),
        (&chosen, "tcp://192.0.2.1:2376", true),
    ] {
        let config = loaded(flags, &[("DOCKER_HOST", said)]).unwrap();
        assert_eq!(config.docker_host, loaded(flags, &[]).unwrap().docker_host, "{said}");
        assert_eq!(config.passed_over.as_deref(), told.then_some(said), "{said}");
    }
}

#[test]
fn a_socket_is_the_same_engine_by_every_path_that_leads_there() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("run"), dir.path().join("var-run"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let address = |dir: &std::path::Path, name: &str| format!("unix://{}", dir.join(name).display());
    for name in ["docker.sock", "other.sock"] {
        std::fs::write(real.join(name), "").unwrap();
    }
    let docker = address(&real, "docker.sock");
    for (other, same) in [
        (docker.clone(), true),
        (address(&link, "docker.sock"), true),
        (address(&link, "other.sock"), false),
        (address(&real, "nowhere.sock"), false),
        ("tcp://127.0.0.1:2375".into(), false),
    ] {
        assert_eq!((same_engine(&docker, &other), same_engine(&other, &docker)), (same, same), "{other}");
    }
    assert!(same_engine(&address(&real, "later.sock"), &address(&link, "later.sock")), "before the engine runs");
    assert!(!same_engine("unix:///nowhere/a", "unix:///nowhere/b"), "two that are not there are not one");
}

#[test]
fn the_usual_file_is_read_when_it_is_there_and_no_other_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (usual, other) = (dir.path().join("agent.yaml"), dir.path().join("other.yaml"));
    let with = |flags: &AgentFlags, pairs: &[(&str, &str)]| load(flags, env(pairs), "n1", Some(&usual));
    let config = with(&AgentFlags::default(), &[]).unwrap();
    assert_eq!((config.peer_port, config.file), (7444, None), "it need not be there");
    fs::write(&usual, "peerPort: 1\n").unwrap();
    fs::write(&other, "joinPort: 2\n").unwrap();
    let config = with(&AgentFlags::default(), &[]).unwrap();
    assert_eq!((config.peer_port, config.file.as_ref()), (1, Some(&usual)));
    assert_eq!(config.origins["peerPort"].to_string(), format!("{}:1:11", usual.display()));
    let named = AgentFlags { config: Some(other.clone()), ..AgentFlags::default() };
    let config = with(&named, &[]).unwrap();
    assert_eq!((config.peer_port, config.join_port, config.file), (7444, 2, Some(other)));
    let config = with(&AgentFlags::default(), &[("CONSTELLATION_CONFIG", "")]).unwrap();
    assert_eq!((config.peer_port, config.file), (7444, None), "an empty name is no file");
    // One that is there and cannot be read is no missing one.
    fs::remove_file(&usual).unwrap();
    fs::create_dir(&usual).unwrap();
    let fault = with(&AgentFlags::default(), &[]).unwrap_err().to_string();
    assert!(fault.contains("agent.yaml: cannot be read") && fault.contains("/dev/null"), "{fault}");
}

#[test]
fn rust_log_has_the_last_word_on_what_is_logged() {
    let flags = AgentFlags { log_filter: Some("debug".into()), ..AgentFlags::default() };
    let pairs = [("RUST_LOG", "trace"), ("CONSTELLATION_LOG_FILTER", "info")];
    for (pairs, filter, place) in [
        (&pairs[..], "trace", "RUST_LOG"),
        (&[("RUST_LOG", " "), ("CONSTELLATION_LOG_FILTER", "info")], "debug", "--log-filter"),
    ] {
        let config = loaded(&flags, pairs).unwrap();
        assert_eq!((config.log_filter.as_str(), config.origins["logFilter"].to_string().as_str()), (filter, place));
    }
}

#[test]
fn the_example_says_every_key_with_its_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.yaml");
    let read = |text: &str| {
        fs::write(&file, text).unwrap();
        load(&AgentFlags { config: Some(file.clone()), ..AgentFlags::default() }, env(&[]), "n1", None)
    };
    let defaults = loaded(&AgentFlags::default(), &[]).unwrap();
    let example = example::example();
    assert_eq!(read(&example).unwrap().shown(), defaults.shown(), "as it is it changes nothing");
    // With every comment taken away before a key, all of them are chosen, and none is another than the default.
    // A key of a section stands two blanks in; words of a comment one, or three.
    let is_key = |line: &&str| {
        let text = line.strip_prefix('#').unwrap_or_default();
        text.strip_prefix("  ").unwrap_or(text).starts_with(|c: char| c.is_ascii_lowercase())
    };
    let keys: String = example.lines().filter(is_key).map(|line| format!("{}\n", &line[1..])).collect();
    assert_eq!(keys.lines().count(), SETTINGS.len() + 2, "and two sections: {keys}");
    let join = keys.lines().find(|line| line.starts_with("join:")).unwrap();
    let config = read(&keys.replace(join, "")).unwrap();
    for setting in SETTINGS.into_iter().filter(|s| *s != Setting::Join) {
        assert!(config.is_chosen(setting.key()), "{}", setting.key());
        if !setting.default().is_empty() {
            assert_eq!(config.value(setting), defaults.value(setting), "{}", setting.key());
        }
    }
    let schema = example::schema();
    let of = |section: &serde_json::Value| -> Vec<String> {
        section["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let mut said = of(&schema);
    said.retain(|key| key != "grants" && key != "edge");
    for section in ["grants", "edge"] {
        said.extend(of(&schema["properties"][section]).iter().map(|key| format!("{section}.{key}")));
    }
    let known: Vec<&str> = SETTINGS.iter().map(|s| s.key()).collect();
    assert!(said.len() == known.len() && said.iter().all(|key| known.contains(&key.as_str())), "{said:?}");
    assert_eq!(schema["properties"]["grants"]["properties"]["admin"]["default"], "all");
    assert_eq!(schema["properties"]["peerPort"]["default"], 7444);
}

#[test]
fn what_is_shown_says_where_it_comes_from_and_hides_what_is_secret() {
    let flags = AgentFlags { profile: Some("wan".into()), ..AgentFlags::default() };
    let mut config = loaded(&flags, &[("CONSTELLATION_RUN_DIR", "/tmp/r")]).unwrap();
    config.join = Some("s3cret@n1".into());
    let shown = config.shown();
    let of = |key: &str| shown.iter().find(|s| s.key == key).unwrap().clone();
    let said = |key: &str| (of(key).value.unwrap_or_default(), of(key).from, of(key).place.unwrap_or_default());
    assert_eq!(said("profile"), ("wan".into(), "flag", "--profile".into()));
    assert_eq!(said("runDir"), ("/tmp/r".into(), "environment", "CONSTELLATION_RUN_DIR".into()));
    assert_eq!(said("apiSocket"), ("/tmp/r/api.sock".into(), "default", String::new()));
    assert_eq!(of("advertiseAddress").value, None);
    assert!(!format!("{shown:?}").contains("s3cret") && of("join").value.is_some(), "{:?}", of("join"));
}

#[test]
fn a_reload_takes_over_what_is_safe_and_names_the_rest() {
    let running = loaded(&AgentFlags::default(), &[]).unwrap();
    assert_eq!(change::change(&running, &running), change::Change::default());
    let read =
        loaded(&AgentFlags::default(), &[("CONSTELLATION_LOG_FILTER", "debug"), ("CONSTELLATION_PROFILE", "wan")]);
    let change = change::change(&running, &read.unwrap());
    assert_eq!((change.taken, change.waiting), (vec!["logFilter"], vec!["profile"]));
}

#[test]
fn grants_stand_in_a_section_of_the_file_and_win_like_every_setting() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.yaml");
    let flags = AgentFlags { config: Some(file.clone()), ..AgentFlags::default() };
    let with = |text: &str, pairs: &[(&str, &str)]| {
        fs::write(&file, text).unwrap();
        loaded(&flags, pairs)
    };
    let fresh = loaded(&AgentFlags::default(), &[]).unwrap();
    assert_eq!((fresh.grants.admin.len(), fresh.grants.write.len()), (Power::ALL.len(), 0));
    let text = "grants:\n  admin: [binds, dockerSocket]\n  write:\n    - binds\n  bindRoots: [/srv, '/data/a b']\n";
    let config = with(text, &[]).unwrap();
    assert_eq!(config.grants.admin, [Power::DockerSocket, Power::Binds].into());
    assert_eq!(config.grants.write, [Power::Binds].into());
    assert_eq!(config.grants.places.roots, ["/srv", "/data/a b"]);
    assert_eq!(config.grants.places.power("/srv/x"), None);
    assert_eq!(config.origins["grants.write"], Origin::File { path: file.clone(), line: 4, column: 5 });
    let shown = config.shown();
    let of = |key: &str| shown.iter().find(|s| s.key == key).unwrap();
    assert_eq!(of("grants.admin").value.as_deref(), Some("dockerSocket,binds"));
    assert!(of("grants.bindRoots").live && of("grants.bindRoots").from == "file");
    // As one text: from a variable, from a flag, in the file.
    let config =
        with(text, &[("CONSTELLATION_GRANTS_WRITE", " none "), ("CONSTELLATION_GRANTS_ADMIN", "all")]).unwrap();
    assert_eq!((config.grants.admin.len(), config.grants.write.len()), (Power::ALL.len(), 0));
    let flag = AgentFlags { grants_bind_roots: Some("/srv, /data".into()), ..flags.clone() };
    let config = loaded(&flag, &[("CONSTELLATION_GRANTS_BIND_ROOTS", "/mnt")]).unwrap();
    assert_eq!(config.grants.places.roots, ["/srv", "/data"]);
    for nothing in ["grants: {admin: []}", "grants: {admin: none}", "grants:\n  admin: ''\n"] {
        assert_eq!(with(nothing, &[]).unwrap().grants.admin, [].into(), "{nothing}");
    }
    assert_eq!(with("grants:\n#  admin: none\n", &[]).unwrap().grants, fresh.grants);
    // The engine's socket is where it was chosen to be.
    let elsewhere = [("CONSTELLATION_DOCKER_HOST", "unix:///srv/docker/engine.sock")];
    assert_eq!(
        loaded(&AgentFlags::default(), &elsewhere).unwrap().grants.places.power("/srv"),
        Some(Power::DockerSocket)
    );
}

#[test]
fn a_wrong_grant_is_told_with_its_line_and_what_would_be_right() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.yaml");
    let flags = AgentFlags { config: Some(file.clone()), ..AgentFlags::default() };
    for (text, place, fix) in [
        ("grants: {admin: [binds, privilged]}", "1:25: grants.admin", "did you mean privileged?"),
        ("grants:\n  write:\n    - root\n", "3:7: grants.write", "some of privileged, capabilities"),
        ("grants: {write: [none]}", "1:18: grants.write", "write all, none"),
        ("grants: {write: [{binds: true}]}", "1:18: grants.write", "a list of texts"),
        ("grants: {write: {binds: true}}", "1:17: grants.write", "like `write: none`"),
        ("grants: all", "1:9: grants", "a mapping of admin, write, bindRoots"),
        ("grants: {wrote: all}", "1:10: grants.wrote", "did you mean write?"),
        ("grants: {logFilter: debug}", "1:10: grants.logFilter", "known: admin, write, bindRoots"),
        ("grants.write: all", "1:1: grants.write", "known: dataDir"),
        ("admin: all", "1:1: admin", "grants"),
        ("peerPort: [1]", "1:11: peerPort", "one value"),
        ("grants: {bindRoots: [/srv, data]}", "1:28: grants.bindRoots", "like /srv"),
        ("grants: {bindRoots: [/srv/../etc]}", "1:22: grants.bindRoots", "without it"),
        ("grants: {bindRoots: ['/a,b']}", "1:22: grants.bindRoots", "for itself"),
        ("grants: {bindRoots: [/]}", "1:22: grants.bindRoots", "like /srv"),
        ("grants: {bindRoots: [//./]}", "1:22: grants.bindRoots", "like /srv"),
        ("grants: {bindRoots: [/var/run]}", "1:22: grants.bindRoots", "like /srv"),
        ("grants: {bindRoots: [/var/lib/]}", "1:22: grants.bindRoots", "like /srv"),
        ("grants: {bindRoots: [/var/lib/constellation/x]}", "1:22: grants.bindRoots", "like /srv"),
        ("dataDir: /srv/c\ngrants: {bindRoots: [/srv]}", "2:22: grants.bindRoots", "like /srv"),
        ("dockerHost: unix:///srv/e.sock\ngrants: {bindRoots: [/srv]}", "2:22: grants.bindRoots", "like /srv"),
    ] {
        fs::write(&file, format!("{text}\n")).unwrap();
        let faults = loaded(&flags, &[]).unwrap_err();
        let said = format!("agent.yaml:{place}: ");
        assert!(faults.len() == 1 && faults[0].contains(&said) && faults[0].contains(fix), "{text}: {faults:?}");
    }
    for (variable, value) in
        [("CONSTELLATION_GRANTS_ADMIN", "binds,sysctl"), ("CONSTELLATION_GRANTS_BIND_ROOTS", "srv")]
    {
        let faults = loaded(&AgentFlags::default(), &[(variable, value)]).unwrap_err();
        assert!(faults.len() == 1 && faults[0].starts_with(variable), "{faults:?}");
    }
}
