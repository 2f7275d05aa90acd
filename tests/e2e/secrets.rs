//! Secrets from the first write to the last: where a value is, where it never is, and how a new one arrives.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    agent::{Agent, HELLO, service},
    http,
    lab::Lab,
    wait::secs,
};

/// A value, as it is and in base64 at each of the three places where it may begin.
struct Canary {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}
impl Canary {
    fn new(name: &'static str) -> (Self, String) {
        let text = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let coded = |before: usize| {
            let all = STANDARD.encode([vec![b'x'; before], text.clone().into_bytes()].concat());
            // What bytes beside it have no part in.
            all.as_bytes()[4..all.len() - 6].to_vec()
        };
        (Self { name, forms: vec![text.clone().into_bytes(), coded(0), coded(1), coded(2)] }, text)
    }
    fn stands_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| bytes.windows(form.len()).any(|part| part == form))
    }
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

#[test]
fn a_value_is_nowhere_but_in_the_container_that_names_it() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    agent.variables.push(("RUST_LOG", "trace".into()));
    agent.spawn();
    agent.wait_until_ready();
    let ((file, file_text), (variable, variable_text)) = (Canary::new("file"), Canary::new("variable"));
    let secret = |name: &str, value: &str| {
        format!(
            "apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {{name: {name}}}\n\
             spec: {{stringData: {{value: {value}}}}}\n---\n"
        )
    };
    let secrets = format!("{}{}", secret("as-file", &file_text), secret("as-variable", &variable_text));
    let uses = "secrets:\n  - {source: as-file}\n  - {source: as-variable, env: CANARY}\n";
    let manifest = format!("{secrets}{}", service("app", &format!("{HELLO}{uses}")));
    let mut searched: Vec<(String, Vec<u8>)> = Vec::new();
    let path = agent.path("manifest.yaml");
    fs::write(&path, &manifest).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let (key, backup) = (agent.path("backup.key"), agent.path("backup.age"));
    let (key, backup) = (key.to_str().unwrap(), backup.to_str().unwrap());
    let public = agent.cli(&["backup", "key", key]).exits(0).out;
    for args in [
        &["plan", "-f", &path][..],
        &["plan", "-f", &path, "-o", "json"],
        &["diff", "-f", &path],
        &["apply", "-f", &path, "-y"],
        &["apply", "-f", &path, "-y"],
        &["secret", "ls"],
        &["secret", "history", "as-file", "-o", "json"],
        &["secret", "rekey"],
        &["backup", "create", "--recipient", public.trim(), backup],
        &["backup", "verify", "-i", key, backup],
        &["describe", "svc/app"],
        &["why", "svc/app"],
        &["get", "secrets", "-o", "yaml"],
        &["get", "replicas", "-o", "yaml"],
        &["events"],
    ] {
        let said = agent.cli(args);
        searched.push((format!("constellation {}", args.join(" ")), [said.out, said.err].concat().into_bytes()));
    }
    agent.wait_until_settled("app", secs(20));
    let id = lab.docker.runs("app", 1).unwrap()[0].id.clone();
    let inside = lab.docker.run(&["exec", &id, "sh", "-c", "cat /run/secrets/as-file; echo; echo $CANARY"]);
    assert_eq!(inside.split_whitespace().collect::<Vec<_>>(), [file_text.as_str(), variable_text.as_str()]);
    fs::remove_file(&path).unwrap();
    searched.push(("a backup".into(), fs::read(backup).unwrap()));
    let mut callers = vec![("admin", agent.token())];
    for role in ["read", "write"] {
        let token = agent.cli(&["token", "create", role, "--role", role]).exits(0).out;
        callers.push((role, token.trim().to_owned()));
    }
    let described = agent.get("/openapi.json");
    for (route, methods) in described["paths"].as_object().unwrap() {
        if methods.get("get").is_none() || route == "/ws" {
            continue;
        }
        let replica = &lab.docker.running("app")[0].name;
        for name in ["app", "as-file", "as-variable", "n1", replica.trim_start_matches('/')] {
            let query = if route == "/api/v1/events" { "?fromIndex=0&follow=false" } else { "" };
            let path = format!("{}{query}", route.replace("{name}", name));
            for (role, token) in &callers {
                let answer =
                    http::ask_with(&agent.socket(), "GET", &path, Some(token), "application/json", b"").unwrap();
                searched.push((format!("GET {route} of {name} as {role}: {}", answer.status), answer.body));
            }
            if !route.contains("{name}") {
                break;
            }
        }
    }
    searched.push(("the agent's log at trace".into(), agent.log().into_bytes()));
    for name in ["cmdline", "environ"] {
        searched.push((format!("its {name}"), fs::read(format!("/proc/{}/{name}", agent.pid())).unwrap()));
    }
    agent.stop();
    let mut stored = Vec::new();
    files(&agent.path("data"), &mut stored);
    assert!(!stored.is_empty());
    searched.extend(stored.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())));
    let inspected = lab.docker.run(&["inspect", &id]).into_bytes();
    assert!(variable.stands_in(&inspected), "a variable is told by the engine: the search finds what is there");
    assert!(!file.stands_in(&inspected), "docker inspect");
    let total: usize = searched.iter().map(|(_, bytes)| bytes.len()).sum();
    eprintln!("searched {} places, {total} bytes:", searched.len());
    for (place, bytes) in &searched {
        eprintln!("  {place}: {} bytes", bytes.len());
        for canary in [&file, &variable] {
            assert!(!canary.stands_in(bytes), "the value of the {} stands in {place}", canary.name);
        }
    }
}

#[test]
fn a_new_value_replaces_replicas_or_files_as_its_rotation_says() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let config = |name: &str, text: &str, rotation: &str| {
        format!(
            "apiVersion: constellation.dev/v1\nkind: Config\nmetadata: {{name: {name}}}\n\
             spec: {{data: {{a: {text}, b: {text}}}, rotation: {{{rotation}}}}}\n---\n"
        )
    };
    let uses = "configs:\n  - {source: rolls, target: /rolls}\n  - {source: reloads, target: /reloads}\n  \
                - {source: reloads/a, target: /one}\n  - {source: stays, target: /stays}\n";
    let (rolls, reloads, stays) = ("strategy: rolling", "strategy: reload, signal: SIGWINCH", "strategy: manual");
    let web = service("app", &format!("{HELLO}{uses}"));
    let configs = [config("rolls", "one", rolls), config("reloads", "one", reloads), config("stays", "one", stays)];
    agent.apply(&format!("{}{web}", configs.concat()));
    let running = || lab.docker.runs("app", 1).map(|all| all[0].id.clone());
    let first = running().unwrap();
    let has = |id: &str| lab.docker.run(&["exec", id, "sh", "-c", "echo $(cat /rolls/a /reloads/b /one /stays/a)"]);
    assert_eq!(has(&first).trim(), "oneoneoneone");
    agent.apply(&config("stays", "two", stays));
    let said = agent.apply(&config("reloads", "two", reloads));
    assert!(said.out.contains("config/reloads arrived"), "{}", said.out);
    assert_eq!(has(&first).trim(), "onetwotwoone", "files are new in the container that runs");
    assert_eq!(running().unwrap(), first, "nothing was replaced");
    assert!(agent.why("app").iter().any(|r| r == "DriftDetected"), "what stays is told: {:?}", agent.why("app"));
    let said = agent.apply(&config("rolls", "two", rolls));
    assert!(said.out.contains("config/rolls arrived"), "{}", said.out);
    let second = running().unwrap();
    assert_ne!(second, first, "another container runs");
    agent.wait_until_settled("app", secs(20));
    assert_eq!(has(&second).trim(), "twotwotwotwo");
    // Sealed anew is not new.
    agent.cli(&["secret", "rekey"]).exits(0);
    let refused = agent.cli(&["delete", "config/rolls", "-y"]).exits(6);
    assert!(refused.err.contains("svc/app") && refused.err.contains("--force"), "{}", refused.err);
    assert_eq!(running().unwrap(), second);
}
