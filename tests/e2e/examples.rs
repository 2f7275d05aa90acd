//! What `examples/` promises.

use crate::{
    agent::Agent,
    lab::Lab,
    wait::{eventually, secs},
};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

#[test]
fn examples_applied_twice_change_nothing_the_second_time() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let first = agent.cli(&["apply", "-f", EXAMPLES, "-y"]).exits(0);
    for object in ["svc/hello", "svc/web", "svc/redis", "svc/load", "secret/redis-password", "config/counter"] {
        assert!(first.out.lines().any(|l| l.contains(object) && l.contains("created")), "{object}: {}", first.out);
    }
    for service in ["hello", "web", "redis", "load"] {
        agent.wait_until_settled(service, secs(60));
    }
    let before = lab.docker.identities();
    assert_eq!(before.len(), 3 + 2 + 1 + 1, "{before:?}");

    let second = agent.cli(&["apply", "-f", EXAMPLES, "-y"]).exits(0);
    assert_eq!(second.out.lines().filter(|l| l.contains("unchanged")).count(), 6, "{}", second.out);
    for result in ["created", "configured", "deleted"] {
        assert!(!second.out.contains(result), "{}", second.out);
    }
    assert_eq!(lab.docker.identities(), before, "no container was restarted");
    agent.cli(&["diff", "-f", EXAMPLES]).exits(0);
}

#[test]
fn the_counter_counts_and_keeps_its_count_when_redis_is_replaced() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let file = format!("{EXAMPLES}/counter.yaml");
    agent.cli(&["apply", "-f", &file, "-y"]).exits(0);
    agent.wait_until_settled("web", secs(60));
    let visit = || {
        let web = lab.docker.running("web").into_iter().next().ok_or("no web")?;
        lab.get(&format!("http://{}:8080/cgi-bin/count", lab.docker.address(&web.id)))
    };
    let page = eventually(secs(10), "the page counts", visit);
    assert!(page.starts_with("visits: 1 "), "{page}");
    lab.docker.run(&["rm", "-f", &lab.docker.running("redis")[0].id]);
    agent.wait_until_settled("redis", secs(20));
    let page = eventually(secs(20), "the page counts again", || {
        visit().and_then(|page| if page.starts_with("visits: 2 ") { Ok(page) } else { Err(page) })
    });
    assert!(page.starts_with("visits: 2 "), "{page}");
}

#[test]
fn a_global_service_has_one_replica_on_the_node() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.cli(&["apply", "-f", &format!("{EXAMPLES}/load.yaml"), "-y"]).exits(0);
    agent.wait_until_settled("load", secs(30));
    let running = lab.docker.runs("load", 1).unwrap();
    assert_eq!(running[0].slot, "n1", "a global service's slot is its node");
    let page = lab.get(&format!("http://{}:8080/", lab.docker.address(&running[0].id))).unwrap();
    assert_eq!(page.split_whitespace().count(), 5, "a load average: {page}");
}
