//! Images from registries: pulls, digests, credentials.

use crate::{
    agent::{Agent, service},
    lab::Lab,
    wait::secs,
};

fn sleeper(image: &str) -> String {
    format!(
        "image: {image}\ncommand: [sh, -c, 'trap exit TERM; while :; do sleep 1; done']\nstopGracePeriod: 1s\nreadiness: {{exec: ['true'], interval: 300ms}}\n"
    )
}

#[test]
fn an_image_is_pulled_by_the_digest_that_its_tag_had() {
    let lab = Lab::take();
    let image = format!("{}/team/busybox:1", lab.registry);
    // By whatever name another test left it: one that is kept by its digest is not pulled again.
    for id in lab.docker.run(&["images", "--quiet", &format!("{}/team/busybox", lab.registry)]).lines() {
        lab.docker.run(&["rmi", "-f", id]);
    }
    let agent = Agent::start(&lab);
    agent.apply(&service("pulled", &sleeper(&image)));
    let id = lab.docker.runs("pulled", 1).unwrap()[0].id.clone();
    let used = lab.docker.inspect(&id, "{{.Config.Image}}");
    assert!(used.contains("@sha256:") || used.starts_with("sha256:"), "{used}");
    let events = agent.cli(&["events", "--for", "svc/pulled"]).exits(0);
    for reason in ["Scheduled", "Pulled", "Created", "Started"] {
        assert!(events.out.contains(reason), "{reason}: {}", events.out);
    }
    drop(agent);
    // A reference by digest stays when its tag is removed, and the next run shall pull again.
    let _only_by_id = lab.docker.attempt(&["rmi", "-f", &used]);
}

#[test]
fn a_private_image_needs_the_secret_and_its_absence_is_a_reason() {
    let lab = Lab::take();
    let image = format!("{}/team/secret:1", lab.private_registry);
    let _absent_is_fine = lab.docker.attempt(&["rmi", "-f", &image]);
    let agent = Agent::start(&lab);
    agent.apply_with(&service("closed", &sleeper(&image)), &["-d"]).exits(0);
    agent.wait_for_reason("closed", "ImagePullRefused", secs(20));
    let login = format!(
        "apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {{name: login}}\nspec:\n  type: registry\n  \
         stringData: {{server: '{}', username: captain, password: open-sesame}}\n",
        lab.private_registry
    );
    let with = format!("{}imagePullSecrets: [login]\n", sleeper(&image));
    agent.apply(&format!("{login}{}", service("closed", &with)));
    agent.wait_until_settled("closed", secs(30));
}

#[test]
fn a_registry_that_does_not_answer_is_another_reason_than_an_image_that_is_missing() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply_with(&service("far", &sleeper("127.0.0.1:5999/team/busybox:1")), &["-d"]).exits(0);
    agent.wait_for_reason("far", "RegistryUnreachable", secs(30));
}
