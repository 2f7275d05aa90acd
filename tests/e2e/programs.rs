//! What programs read: with `-o json` standard output is one JSON value, whatever else is said.

use std::{
    io::{BufRead, BufReader},
    path::Path,
};

use serde_json::Value;

use crate::{
    agent::{Agent, BINARY, HELLO, Said, cli, service},
    lab::{Lab, without_ours},
};

/// Standard output as JSON, all of it.
#[track_caller]
fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}\n{}\n{}", said.out, said.err))
}

fn config(name: &str, data: &str) -> String {
    format!(
        "---\napiVersion: constellation.dev/v1\nkind: Config\nmetadata: {{name: {name}}}\nspec: {{data: {{a: {data}}}}}\n"
    )
}

#[test]
fn a_change_is_told_to_programs_from_apply_to_delete() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let manifest = format!("{}{}", config("c", "b"), service("hello", &format!("{HELLO}replicas: 1\n")));
    let dry = json(&agent.apply_with(&manifest, &["-o", "json", "--dry-run=client"]).exits(0));
    assert_eq!((&dry["dryRun"], &dry["objects"][0]["action"]), (&true.into(), &"valid".into()), "{dry}");
    let planned = agent.cli(&["plan", "-f", "manifest.yaml", "-o", "json"]).exits(1);
    assert_eq!(json(&planned)["objects"][1]["result"], "created");

    let said = agent.apply_with(&manifest, &["-o", "json"]).exits(0);
    assert!(said.err.contains("svc/hello ready"), "progress is on standard error: {}", said.err);
    let applied = json(&said);
    let hello = &applied["objects"][1];
    assert_eq!(
        (&hello["name"], &hello["action"], &hello["generation"]),
        (&"hello".into(), &"created".into(), &1.into())
    );
    assert!(hello["resourceVersion"].as_u64() > Some(0) && applied["index"].as_u64() > Some(0), "{applied}");
    assert_eq!(hello["wait"]["state"], "done", "{applied}");
    assert_eq!(applied["objects"][0].get("wait"), None, "nothing is awaited of a Config");

    let same = json(&agent.cli(&["diff", "-f", "manifest.yaml", "-o", "json"]).exits(0));
    assert_eq!(same["objects"][1]["result"], "unchanged");
    assert_eq!(json(&agent.cli(&["diff", "-o", "json"]).exits(0)), serde_json::json!({"objects": []}));
    let described = json(&agent.cli(&["describe", "svc/hello", "-o", "json"]).exits(0));
    assert_eq!(described["object"]["metadata"]["name"], "hello");
    assert_eq!(described["replicas"].as_array().map(Vec::len), Some(1), "{described}");
    assert!(!described["events"].as_array().unwrap().is_empty());
    let yaml: Value = serde_yaml::from_str(&agent.cli(&["describe", "svc/hello", "-o", "yaml"]).exits(0).out).unwrap();
    assert_eq!(yaml["object"]["spec"], described["object"]["spec"]);

    let scaled = json(&agent.cli(&["scale", "hello=2", "-o", "json"]).exits(0));
    assert_eq!(
        (&scaled["objects"][0]["action"], &scaled["objects"][0]["wait"]["state"]),
        (&"configured".into(), &"done".into())
    );
    let late = agent.apply_with(&manifest.replace("hello:1", "nothing:1"), &["-o", "json", "--timeout", "2s"]).exits(1);
    assert_eq!(json(&late)["objects"][1]["wait"]["state"], "timeout", "{}", late.out);
    assert!(late.err.contains("error: not done after"), "{}", late.err);
    let differs = json(&agent.cli(&["diff", "-o", "json"]).exits(1));
    assert_eq!(differs["objects"][0]["name"], "hello", "{differs}");

    // One that does not exist keeps the others from nothing.
    let deleted = agent.cli(&["delete", "svc/none", "svc/hello", "config/c", "-y", "-o", "json"]).exits(5);
    let objects = json(&deleted)["objects"].clone();
    let actions: Vec<&str> = objects.as_array().unwrap().iter().filter_map(|o| o["action"].as_str()).collect();
    assert_eq!(actions, ["failed", "deleted", "deleted"], "{objects}");
    assert_eq!((&objects[0]["error"]["exitCode"], &objects[1]["wait"]["state"]), (&5.into(), &"done".into()));
    assert!(deleted.err.contains("svc/none does not exist"), "{}", deleted.err);
    assert!(deleted.err.contains("1 of 3 objects not deleted: svc/none"), "{}", deleted.err);
    agent.cli(&["get", "svc/hello"]).exits(5);
}

#[test]
fn scale_refuses_by_object_and_field() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service(
        "db",
        &format!("{HELLO}volumes: [{{type: volume, source: data, target: /d, dataPolicy: state}}]\n"),
    ));
    agent.apply(&service("web", HELLO));
    let said = agent.cli(&["scale", "db=2"]).exits(2);
    assert!(said.err.starts_with("svc/db: spec."), "{}", said.err);
    let said = agent.cli(&["scale", "db=2", "web=2"]).exits(2);
    assert!(said.out.contains("svc/web ready"), "the other is scaled and awaited: {} {}", said.out, said.err);
    assert!(said.err.contains("1 of 2 objects not scaled: svc/db"), "{}", said.err);
}

#[test]
fn manifests_and_versions_are_read_without_an_agent() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.yaml"), config("c", "b")).unwrap();
    let said = cli(None, root.path(), &["validate", "-f", "a.yaml", "-o", "json"]).exits(0);
    assert_eq!((&json(&said)["valid"], &json(&said)["objects"][0]["name"]), (&true.into(), &"c".into()));
    std::fs::write(root.path().join("b.yaml"), config("d", "b").replace("spec:", "speck:")).unwrap();
    let said = cli(None, root.path(), &["validate", "-f", ".", "-o", "json"]).exits(2);
    let fault = &json(&said)["errors"][0];
    assert!(fault["source"].as_str().unwrap().ends_with("b.yaml"), "{fault}");
    assert!(fault["line"].as_u64() > Some(0) && fault["column"].as_u64() > Some(0), "{fault}");
    assert!(fault["path"].is_string() && fault["message"].is_string(), "{fault}");

    let said = cli(None, Path::new("/tmp"), &["version", "--client", "-o", "json"]).exits(0);
    assert_eq!(json(&said)["client"]["version"], env!("CARGO_PKG_VERSION"));
    let said = cli(Some("unix:///nowhere/api.sock"), Path::new("/tmp"), &["version", "-o", "json"]).exits(3);
    assert_eq!(json(&said)["client"]["api"], "v1", "what is known is told");
}

#[test]
fn a_pipe_that_closes_early_ends_no_change() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    // Nobody reads: the first line that is written finds a closed pipe.
    let unheard = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new("timeout");
        without_ours(&mut command);
        command.args(["60", BINARY]).args(args).current_dir(agent.path(""));
        command.env("CONSTELLATION_API", format!("unix://{}", agent.socket().display())).stdout(writer);
        let out = command.stderr(std::process::Stdio::piped()).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    std::fs::write(agent.path("all.yaml"), format!("{}{}", config("a", "b"), config("b", "b"))).unwrap();
    assert_eq!(unheard(&["apply", "-f", "all.yaml", "-y"]).0, Some(0));
    assert_eq!(unheard(&["get", "config"]), (Some(0), String::new()), "whoever only looks ends quietly");
    let (code, said) = unheard(&["delete", "config/a", "config/none", "config/b", "-y"]);
    assert_eq!(code, Some(5), "{said}");
    assert!(!said.contains("cannot write"), "{said}");
    assert_eq!(json(&agent.cli(&["get", "config", "-o", "json"]).exits(0))["items"], serde_json::json!([]));

    // The wait goes on, and what failed is not hidden.
    for (form, image) in [("text", "nothing:1"), ("json", "nothing:2")] {
        let never = service("never", &format!("{HELLO}replicas: 1\n").replace("hello:1", image));
        std::fs::write(agent.path("never.yaml"), never).unwrap();
        let (code, said) = unheard(&["apply", "-f", "never.yaml", "-y", "-o", form, "--timeout", "2s"]);
        assert_eq!(code, Some(1), "{form}: {said}");
        assert!(said.contains("not done after"), "{form}: {said}");
    }
    assert_eq!(unheard(&["scale", "none=1", "never=0"]).0, Some(5));
    assert_eq!(unheard(&["node", "cordon", "n1", "none"]).0, Some(5));
    assert_eq!(json(&agent.cli(&["get", "node/n1", "-o", "json"]).exits(0))["spec"]["schedulable"], false);
}

#[test]
fn a_command_that_fails_says_why_on_standard_output_too() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&config("c", "b"));
    std::fs::write(agent.path("c.yaml"), config("c", "d")).unwrap();
    agent.cli(&["plan", "-f", "c.yaml", "--out", "c.plan"]).exits(1);
    agent.apply(&config("c", "other"));
    for further in [&["--dry-run=server"] as &[_], &["-y"]] {
        let args = [&["apply", "--plan", "c.plan", "-o", "json"], further].concat();
        let said = json(&agent.cli(&args).exits(6));
        assert_eq!((&said["error"]["problem"]["status"], &said["objects"]), (&409.into(), &serde_json::json!([])));
    }
    let none = agent.cli(&["describe", "svc/none", "-o", "yaml"]).exits(5);
    let none: Value = serde_yaml::from_str(&none.out).unwrap();
    assert_eq!(none["error"]["exitCode"], 5);
    std::fs::write(agent.path("bad.yaml"), config("c", "d").replace("spec:", "speck:")).unwrap();
    for command in [&["plan"] as &[_], &["diff"], &["apply", "-y"]] {
        let args = [command, &["-f", "bad.yaml", "-o", "json"]].concat();
        let said = json(&agent.cli(&args).exits(2));
        assert!(said["error"]["errors"][0]["line"].as_u64() > Some(0), "{said}");
    }
    let away = cli(Some("unix:///nowhere/api.sock"), Path::new("/tmp"), &["status", "-o", "json"]).exits(3);
    assert_eq!(json(&away)["error"]["exitCode"], 3);

    let cordoned = json(&agent.cli(&["node", "cordon", "n1", "none", "-o", "json"]).exits(5));
    assert_eq!(
        (&cordoned["objects"][0]["action"], &cordoned["objects"][1]["action"]),
        (&"configured".into(), &"failed".into()),
        "{cordoned}"
    );
    assert_eq!(json(&agent.cli(&["node", "uncordon", "n1", "-o", "json"]).exits(0))["objects"][0]["name"], "n1");
    let once = agent.cli(&["ps", "-l", "app=shop", "-w"]).exits(2);
    assert!(once.err.contains("constellation get replicas -l app=shop -w"), "{}", once.err);
}

#[test]
fn lists_have_their_forms_also_with_labels_and_watched() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let labelled = service("hello", HELLO).replace("{name: hello}", "{name: hello, labels: {app: shop}}");
    agent.apply(&format!("{labelled}{}", service("other", HELLO)));
    let ps = |form: &str| agent.cli(&["ps", "-l", "app=shop", "-o", form]).exits(0);
    let replicas = json(&ps("json"));
    assert_eq!((replicas.as_array().map(Vec::len), &replicas[0]["spec"]["service"]), (Some(1), &"hello".into()));
    for form in ["text", "table", "wide"] {
        assert!(ps(form).out.contains("hello.1") && !ps(form).out.contains("other"), "{form}: {}", ps(form).out);
    }
    assert!(ps("wide").out.contains("CONTAINER") && ps("name").out.starts_with("replica/hello-1-"));
    assert!(json(&agent.cli(&["status", "-o", "json"]).exits(0))["writable"] == true);
    assert_eq!(json(&agent.cli(&["version", "-o", "json"]).exits(0))["server"]["node"], "n1");
    assert!(agent.cli(&["get", "svc/hello", "-l", "app=shop"]).exits(2).err.contains("one object already"));

    for (form, first, then) in [
        ("table", vec!["NAME", "hello"], "hello"),
        ("wide", vec!["NAME", "hello"], "hello"),
        ("name", vec!["svc/hello"], "svc/hello"),
        ("json", vec![r#""op":"put""#], r#""op":"put""#),
        ("yaml", vec!["# uid"], "---"),
    ] {
        let mut command = std::process::Command::new("timeout");
        without_ours(&mut command);
        let mut child = command
            .args(["60", BINARY, "get", "svc", "-l", "app=shop", "-w", "-o", form])
            .env("CONSTELLATION_API", format!("unix://{}", agent.socket().display()))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        for wanted in first {
            let line = lines.next().unwrap();
            assert!(line.contains(wanted), "{form}: {line}");
        }
        // What was never selected was never shown: a change of it is no deletion.
        let other =
            service("other", HELLO).replace("{name: other}", &format!("{{name: other, labels: {{app: {form}}}}}"));
        agent.apply(&other);
        let annotated = labelled.replace("labels:", &format!("annotations: {{form: {form}}}, labels:"));
        agent.apply(&annotated);
        let line = lines.find(|line| {
            assert!(!line.contains("other"), "{form}: {line}");
            line.contains(then)
        });
        assert!(line.is_some(), "{form}: the change is shown");
        if form == "json" {
            let change: Value = serde_json::from_str(&line.unwrap()).unwrap();
            assert_eq!((&change["object"]["kind"], change["index"].is_u64()), (&"Service".into(), true));
        }
        // `timeout` hands it on; a kill would leave the reader behind.
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap();
    }
}
