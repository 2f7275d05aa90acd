//! Images from registries: pulls, digests, credentials.

use crate::{
    agent::{Agent, service},
    lab::Lab,
    proxy::{Fault, Proxy, What},
    wait::{always, eventually, secs},
};

fn sleeper(image: &str) -> String {
    format!(
        "image: {image}\ncommand: [sh, -c, 'trap exit TERM; while :; do sleep 1; done']\nstopGracePeriod: 1s\nreadiness: {{exec: ['true'], interval: 300ms}}\n"
    )
}

/// The engine has none of the registry's images, by whatever name another test left them: one that is kept by its
/// digest is not pulled again.
pub fn forget(lab: &Lab) {
    for id in lab.docker.run(&["images", "--quiet", &format!("{}/team/busybox", lab.registry)]).lines() {
        let _stays_when_it_runs = lab.docker.attempt(&["rmi", "-f", id]);
    }
}

#[test]
fn an_image_is_pulled_by_the_digest_that_its_tag_had() {
    let lab = Lab::take();
    let image = format!("{}/team/busybox:1", lab.registry);
    forget(&lab);
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

#[test]
fn the_next_image_is_fetched_before_the_old_replica_is_stopped() {
    let lab = Lab::take();
    forget(&lab);
    let mut agent = Agent::prepared(&lab);
    let proxy = Proxy::before(lab.docker.socket(), agent.path("engine.sock"));
    agent.docker_host = Some(proxy.host());
    agent.spawn();
    agent.wait_until_ready();
    let of = |tag: u8| {
        let image = format!("{}/team/busybox:{tag}", lab.registry);
        service("only", &format!("{}update: {{order: stop-first, minHealthyTime: 0s}}\n", sleeper(&image)))
    };
    agent.apply(&of(1));
    let old = lab.docker.runs("only", 1).unwrap()[0].id.clone();
    let serves = || match lab.docker.runs("only", 1) {
        Ok(now) if now[0].id == old => Ok(()),
        other => Err(format!("{other:?}")),
    };

    // A registry that says of an image what it is, and does not give it.
    proxy.plan(Fault::always("POST", "/images/create", What::Answer(404, "manifest unknown: gone since")));
    let said = agent.apply_with(&of(2), &["--timeout", "90s"]).exits(1);
    assert!(said.err.contains("rolled back to revision 1: only.1 stays: "), "{}", said.err);
    assert!(said.err.contains("manifest unknown: gone since"), "{}", said.err);
    serves().unwrap();

    // One that takes its time.
    proxy.clear();
    proxy.hits();
    proxy.plan(Fault::once("POST", "/images/create", What::Delay(secs(5))));
    proxy.seen();
    agent.cli(&["rollout", "undo", "svc/only", "--to-revision", "2", "-d"]).exits(0);
    eventually(secs(20), "it is being fetched", || match proxy.hits() {
        0 => Err("not asked for".into()),
        _ => Ok(()),
    });
    always(secs(4), "the old one runs meanwhile", serves);
    let why = agent.cli(&["why", "svc/only"]).out;
    assert!(why.contains("revision 2 waits: on n1: fetching ") && why.contains("team/busybox@sha256:"), "{why}");
    agent.wait_until_settled("only", secs(30));
    let new = lab.docker.runs("only", 1).unwrap()[0].id.clone();
    assert_eq!(lab.docker.inspect(&new, "{{index .Config.Labels \"test.version\"}}"), "2");
    let seen = proxy.seen();
    let first = |what: &str, end: &str| seen.iter().position(|s| s.contains(what) && s.contains(end));
    assert!(first("POST /images/create", "") < first("POST /containers/", "/stop"), "{seen:?}");
    let events = agent.cli(&["events", "--for", "svc/only"]).exits(0);
    assert!(events.out.contains("is there"), "{}", events.out);
}
