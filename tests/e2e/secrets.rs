//! Secrets from the first write to the last: where a value is, where it never is, and how a new one arrives.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    agent::{Agent, HELLO, service},
    http,
    lab::Lab,
    wait::{eventually, secs},
    watcher::Watcher,
};

/// A value, as it is and in base64 at each of the three places where it may begin.
struct Canary {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}
impl Canary {
    fn new(name: &'static str) -> (Self, String) {
        let text = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        (Self::of(name, &text), text)
    }
    fn of(name: &'static str, text: &str) -> Self {
        let coded = |before: usize| {
            let all = STANDARD.encode([&b"xx"[..before], text.as_bytes()].concat());
            // What bytes beside it have no part in.
            all.as_bytes()[4..all.len() - 6].to_vec()
        };
        Self { name, forms: vec![text.as_bytes().to_vec(), coded(0), coded(1), coded(2)] }
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

/// What holds a value and is refused, each for another reason; the value is where `@` is.
const REFUSED: [&str; 7] = [
    "spec: {stringData: {value: {deep: @}}}",
    "spec: {stringData: {value: [@]}}",
    "spec: {data: {value: '@!'}}",
    "spec: {password: @}",
    "spec: {stringData: @}",
    "spec: {type: registry, stringData: {password: @}}",
    "spec: {stringData: {value: \"@}}",
];

/// Tries to write what is refused, from the command line and as a request: all that was said.
fn refusals(agent: &Agent<'_>, value: &str, searched: &mut Vec<(String, Vec<u8>)>) {
    for spec in REFUSED {
        let head = "apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {name: refused}\n";
        let manifest = format!("{head}{}\n", spec.replace('@', value));
        for command in ["validate", "plan"] {
            let said = agent.cli_reading(&[command, "-f", "-"], &manifest).exits(2);
            searched.push((format!("{command} of {spec}"), [said.out, said.err].concat().into_bytes()));
        }
        for path in ["/api/v1/apply", "/api/v1/plan"] {
            let answer = agent.ask("POST", path, "application/yaml", manifest.as_bytes());
            assert!((400..500).contains(&answer.status), "{spec}: {}", answer.status);
            searched.push((format!("POST {path} of {spec}: {}", answer.status), answer.body));
        }
    }
    for (what, body) in [
        ("no JSON", format!("{{\"stringData\": {{\"value\": \"{value}")),
        ("of a wrong type", format!("{{\"data\": [\"{value}\"], \"value\": \"{value}\"}}")),
    ] {
        let answer = agent.ask("POST", "/api/v1/secrets/set/set", "application/json", body.as_bytes());
        assert!((400..500).contains(&answer.status), "{what}: {}", answer.status);
        searched.push((format!("set with a body {what}: {}", answer.status), answer.body));
    }
}

#[test]
fn a_value_is_nowhere_but_in_the_container_that_names_it() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    agent.variables.push(("RUST_LOG", "trace".into()));
    agent.spawn();
    agent.wait_until_ready();
    let sockets =
        ["/ws", "/api/v1/events"].map(|path| (path, Watcher::open_at(&agent, &format!("{path}?fromIndex=0"))));
    let ((file, file_text), (variable, variable_text)) = (Canary::new("file"), Canary::new("variable"));
    let ((set, set_text), (fetched, fetched_text)) = (Canary::new("standard input"), Canary::new("file of valueFrom"));
    let ((refused, refused_text), password) = (Canary::new("refused"), Canary::of("password", "open-sesame"));
    let secret = |name: &str, spec: &str| {
        format!("apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n")
    };
    let registry = &lab.private_registry;
    let secrets = [
        secret("as-file", &format!("stringData: {{value: {file_text}}}")),
        secret("as-variable", &format!("stringData: {{value: {variable_text}}}")),
        secret("fetched", "valueFrom: {file: fetched.txt}"),
        secret("drawn", "valueFrom: {generate: {length: 40}}"),
        secret(
            "login",
            &format!("type: registry, stringData: {{server: '{registry}', username: captain, password: open-sesame}}"),
        ),
    ]
    .concat();
    let uses = "secrets:\n  - {source: as-file}\n  - {source: as-variable, env: CANARY}\n  - {source: set}\n  \
                - {source: fetched}\n  - {source: drawn}\n";
    let image = format!("{registry}/team/secret:1");
    let _absent_is_fine = lab.docker.attempt(&["rmi", "-f", &image]);
    let closed = format!("image: {image}\ncommand: [sleep, '600']\nimagePullSecrets: [login]\nstopGracePeriod: 1s\n");
    let manifest = format!("{secrets}{}{}", service("app", &format!("{HELLO}{uses}")), service("closed", &closed));
    let mut searched: Vec<(String, Vec<u8>)> = Vec::new();
    let said = agent.cli_reading(&["secret", "set", "set", "value=-"], &set_text).exits(0);
    searched.push(("secret set".into(), [said.out, said.err].concat().into_bytes()));
    refusals(&agent, &refused_text, &mut searched);
    let path = agent.path("manifest.yaml");
    fs::write(&path, &manifest).unwrap();
    fs::write(agent.path("fetched.txt"), &fetched_text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let (key, backup) = (agent.path("backup.key"), agent.path("backup.age"));
    let (key, backup) = (key.to_str().unwrap(), backup.to_str().unwrap());
    let public = agent.cli(&["backup", "key", key]).exits(0).out;
    let inside = |id: &str, script: &str| lab.docker.run(&["exec", id, "sh", "-c", script]);
    let mut drawn = Vec::new();
    for args in [
        &["plan", "-f", &path][..],
        &["plan", "-f", &path, "-o", "json"],
        &["diff", "-f", &path],
        &["apply", "-f", &path, "-y"],
        &["apply", "-f", &path, "-y"],
        &["secret", "ls"],
        &["secret", "history", "as-file", "-o", "json"],
        &["secret", "rotate", "drawn"],
        &["secret", "rotate", "drawn", "-o", "json"],
        &["secret", "rekey"],
        &["backup", "create", "--recipient", public.trim(), backup],
        &["backup", "verify", "-i", key, backup],
        &["describe", "svc/app"],
        &["describe", "secret/drawn"],
        &["why", "svc/app"],
        &["why", "svc/closed"],
        &["get", "secrets", "-o", "yaml"],
        &["get", "replicas", "-o", "yaml"],
        &["events"],
        &["audit", "-o", "json"],
    ] {
        let said = agent.cli(args);
        searched.push((format!("constellation {}", args.join(" ")), [said.out, said.err].concat().into_bytes()));
        if args[0] == "apply" || args.get(1) == Some(&"rotate") {
            assert_eq!(said.code, 0, "{args:?}");
            // Rotating waits for nobody.
            drawn.push(eventually(secs(40), "the container has the newest", || {
                agent.is_settled("app")?;
                let id = lab.docker.runs("app", 1)?[0].id.clone();
                let now = lab.docker.attempt(&["exec", &id, "cat", "/run/secrets/drawn"])?;
                let new = args[0] == "apply" || drawn.last() != Some(&now);
                new.then_some(now).ok_or_else(|| "it has the older one".into())
            }));
        }
    }
    drawn.dedup();
    assert_eq!(drawn.len(), 3, "one is drawn with the object, and one with each rotation");
    let drawn: Vec<Canary> = drawn.iter().map(|text| Canary::of("drawn", text)).collect();
    agent.wait_until_settled("closed", secs(30));
    let id = lab.docker.runs("app", 1).unwrap()[0].id.clone();
    let read = inside(&id, "cd /run/secrets; cat as-file; echo; echo $CANARY; cat set; echo; cat fetched");
    let texts = [file_text.as_str(), &variable_text, &set_text, &fetched_text];
    assert_eq!(read.split_whitespace().collect::<Vec<_>>(), texts);
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
        for name in ["app", "as-file", "drawn", "login", "n1", replica.trim_start_matches('/')] {
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
    let inspected = lab.docker.run(&["inspect", &id]).into_bytes();
    assert!(variable.stands_in(&inspected), "a variable is told by the engine: the search finds what is there");
    let canaries = || [&file, &set, &fetched, &refused, &password].into_iter().chain(&drawn);
    canaries().for_each(|canary| assert!(!canary.stands_in(&inspected), "docker inspect: {}", canary.name));

    // What a container reads lies in the run directory as long as its replica is there.
    let root = agent.path("");
    let below = |folder: &str| {
        let mut found = Vec::new();
        files(&root.join(folder), &mut found);
        found.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect::<Vec<_>>()
    };
    assert!(below("run").iter().any(|(_, bytes)| file.stands_in(bytes)), "the search finds what is there");
    let said = agent.cli(&["delete", "svc/app", "svc/closed", "-y"]).exits(0);
    searched.push(("delete".into(), [said.out, said.err].concat().into_bytes()));
    eventually(secs(20), "the files of the replica are gone", || {
        let left = || below("run").into_iter().find(|(_, bytes)| canaries().any(|canary| canary.stands_in(bytes)));
        left().map_or(Ok(()), |(path, _)| Err(path))
    });
    searched.extend(below("run"));
    for (path, socket) in &sockets {
        let frames = socket.rest();
        assert!(frames.iter().any(|frame| frame.contains("\"app\"")), "{path}: {frames:?}");
        searched.push((format!("frames of {path}"), frames.concat().into_bytes()));
    }
    drop(sockets);
    searched.push(("the agent's log at trace".into(), agent.log().into_bytes()));
    for name in ["cmdline", "environ"] {
        searched.push((format!("its {name}"), fs::read(format!("/proc/{}/{name}", agent.pid())).unwrap()));
    }
    agent.stop();
    let stored = below("data");
    assert!(!stored.is_empty());
    searched.extend(stored);
    let total: usize = searched.iter().map(|(_, bytes)| bytes.len()).sum();
    eprintln!("searched {} places, {total} bytes:", searched.len());
    let mut found = Vec::new();
    for (place, bytes) in &searched {
        eprintln!("  {place}: {} bytes", bytes.len());
        for canary in canaries().chain([&variable]).filter(|canary| canary.stands_in(bytes)) {
            found.push(format!("the value of {} stands in {place}", canary.name));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
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
