//! `constellation build`: a directory becomes an image on the engine.

use std::fs;

use crate::{agent::Agent, lab::Lab};

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hello");

#[test]
fn a_directory_becomes_an_image_and_a_failing_step_an_error() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let base = "BASE=constellation-test/busybox:1";
    let said = agent.cli(&["build", HELLO, "-t", "constellation-test/built:1", "--build-arg", base]).exits(0);
    assert!(said.out.contains("sha256:") || said.err.contains("sha256:"), "{} {}", said.out, said.err);
    let page = lab.docker.run(&["run", "--rm", "constellation-test/built:1", "cat", "/serve"]);
    assert!(page.contains("httpd"), "{page}");
    let args = ["build", HELLO, "-t", "constellation-test/built:1", "--build-arg", base, "-o", "json"];
    let said: serde_json::Value = serde_json::from_str(&agent.cli(&args).exits(0).out).unwrap();
    assert_eq!(said["image"], "constellation-test/built:1");
    assert!(said["id"].as_str().unwrap().starts_with("sha256:"), "{said}");
    lab.docker.run(&["rmi", "constellation-test/built:1"]);

    let broken = agent.path("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("Dockerfile"), "FROM constellation-test/busybox:1\nRUN [\"/bin/false\"]\n").unwrap();
    let said = agent.cli(&["build", broken.to_str().unwrap(), "-t", "constellation-test/built:2"]).exits(1);
    assert!(said.err.contains("/bin/false"), "the step is named: {}", said.err);
}

#[test]
fn what_dockerignore_names_stays_out_of_the_context() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let context = agent.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM constellation-test/busybox:1\nCOPY . /context/\n").unwrap();
    fs::write(context.join(".dockerignore"), "secret*\n!secret-not\n").unwrap();
    for name in ["plain", "secret.key", "secret-not"] {
        fs::write(context.join(name), name).unwrap();
    }
    agent.cli(&["build", context.to_str().unwrap(), "-t", "constellation-test/built:3"]).exits(0);
    let list = lab.docker.run(&["run", "--rm", "constellation-test/built:3", "ls", "/context"]);
    assert!(list.contains("plain") && list.contains("secret-not") && !list.contains("secret.key"), "{list}");
    lab.docker.run(&["rmi", "constellation-test/built:3"]);
}
