//! Why something is not as desired: one code from a closed set for each cause, and none when it is cured.

use std::collections::BTreeSet;

use crate::{
    agent::{Agent, HELLO, service},
    lab::Lab,
    wait::{always, eventually, secs},
};

#[test]
fn a_missing_image_a_taken_port_and_a_missing_secret_give_three_reasons() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let holder = lab.docker.run(&["run", "-d", "-p", "127.0.0.1:18080:8080", "constellation/hello:1"]);
    let manifest = [
        service("lost", &HELLO.replace("constellation/hello:1", &format!("{}/team/nothing:1", lab.registry))),
        service("squeezed", &format!("{HELLO}ports: ['127.0.0.1:18080:8080']\n")),
        service("blind", &format!("{HELLO}secrets: [{{source: not-there}}]\n")),
    ]
    .concat();
    let planned = agent.apply_with(&manifest, &["-d"]).exits(0);
    assert!(
        planned.out.contains("not-there") || planned.err.contains("not-there"),
        "the plan warns of the reference: {} {}",
        planned.out,
        planned.err
    );
    let expected = [("lost", "ImageNotFound"), ("squeezed", "PortConflict"), ("blind", "SecretMissing")];
    for (name, reason) in expected {
        agent.wait_for_reason(name, reason, secs(30));
        // The leader writes conditions a moment after they can be worked out.
        eventually(secs(5), "the status gives it too", || {
            let status = agent.get(&format!("/api/v1/services/{name}/status")).to_string();
            if status.contains(reason) { Ok(()) } else { Err(status) }
        });
        let object = agent.get(&format!("/api/v1/services/{name}"));
        let ready = &object["status"]["conditions"][0];
        assert_eq!((&ready["type"], &ready["status"]), (&"Ready".into(), &"False".into()), "{object}");
        let said = agent.cli(&["why", &format!("svc/{name}")]);
        assert!(said.out.contains(reason), "{}", said.out);
    }
    let codes: BTreeSet<String> = expected.iter().flat_map(|(name, _)| agent.why(name)).collect();
    assert!(codes.len() >= 3, "{codes:?}");

    lab.docker.run(&["rm", "-f", &holder]);
    let secret =
        "apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {name: not-there}\nspec: {stringData: {k: v}}\n";
    agent.apply(secret);
    for name in ["squeezed", "blind"] {
        agent.wait_until_settled(name, secs(60));
        assert!(agent.why(name).is_empty(), "{:?}", agent.why(name));
    }
    agent.wait_for_reason("lost", "ImageNotFound", secs(5));
}

#[test]
fn a_constraint_that_no_node_meets_and_a_suspended_service_are_told_apart() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let manifest = [
        service("picky", &format!("{HELLO}placement: {{constraints: ['node.labels.gpu == intel']}}\n")),
        service("resting", &format!("{HELLO}suspend: true\n")),
    ]
    .concat();
    agent.apply_with(&manifest, &["-d"]).exits(0);
    agent.wait_for_reason("picky", "NoNodeFits", secs(15));
    agent.wait_for_reason("resting", "Suspended", secs(15));
    assert!(lab.docker.managed(None).is_empty());
    // A label on the node is a change like any other.
    let node = agent.get("/api/v1/nodes/n1");
    assert_eq!(node["metadata"]["name"], "n1");
    agent.apply("apiVersion: constellation.dev/v1\nkind: Node\nmetadata: {name: n1, labels: {gpu: intel}}\nspec: {}\n");
    agent.wait_until_settled("picky", secs(20));
}

#[test]
fn a_service_waits_for_the_one_it_depends_on() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let first = "image: constellation-test/busybox:1
command: [sh, -c, 'trap exit TERM; while :; do sleep 1; done']
readiness: {exec: [test, -f, /tmp/open], interval: 300ms}
autoRestart: {onUnhealthy: false}
stopGracePeriod: 1s
";
    let late = format!("{HELLO}dependsOn: [{{name: first, condition: service_healthy}}]\n");
    agent.apply_with(&[service("late", &late), service("first", first)].concat(), &["-d"]).exits(0);
    agent.wait_for_reason("late", "WaitingForDependency", secs(15));
    crate::wait::eventually(secs(15), "the first runs", || lab.docker.runs("first", 1));
    always(secs(2), "the late one waits", || match lab.docker.running("late").len() {
        0 => Ok(()),
        n => Err(format!("{n} run")),
    });
    lab.docker.run(&["exec", &lab.docker.running("first")[0].id, "touch", "/tmp/open"]);
    agent.wait_until_settled("late", secs(20));
}
