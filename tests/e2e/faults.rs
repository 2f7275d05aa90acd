//! Every call to the engine goes wrong once, in each way that a call can: the agent lives, and what shall run
//! runs, once, with nothing left over and nothing restarted without a reason.
//!
//! Here: the product of calls and faults, in a loop over one agent. By default every call has one of the faults in
//! turn, and making and starting a container have all of them; with `CONSTELLATION_TEST_LONG` it is the whole
//! product. Not here: an engine that is gone or frozen as a whole (`engine`).

use std::{collections::BTreeSet, time::Instant};

use crate::{
    agent::{Agent, HELLO, service},
    images,
    lab::{Lab, long},
    proxy::{Fault, Proxy, What},
    wait::{always, eventually, secs},
};

/// Method, path, and what brings the agent to make it.
type Call = (&'static str, &'static str, By);
/// What went wrong, in words.
type Wrong = (&'static str, What);

/// Longer than the deadlines of `info` and of a look, so that those are missed.
const FREEZE: What = What::Freeze(secs(6));
/// In which a call goes wrong.
const FAULTS: [Wrong; 5] = [
    ("answered with 500", What::Answer(500, "something broke inside")),
    ("done and not answered", What::CutAfter),
    ("taken and never answered", FREEZE),
    ("cut off before it is heard", What::CutBefore),
    ("cut off within the answer", What::CutWithin),
];

/// What brings the agent to make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// A new revision, with networks, a volume and an image of its own.
    Replacing,
    /// The agent begins anew.
    Beginning,
    /// Its process ends by itself.
    Crashing,
    /// Somebody stops the container.
    Stopping,
    /// Somebody lets the engine restart it.
    Restarting,
    /// Somebody takes it off a network.
    Disconnecting,
}

/// Every call that an agent makes.
const CALLS: [Call; 24] = [
    ("POST", "/containers/create", By::Replacing),
    ("POST", "/containers/*/start", By::Replacing),
    ("GET", "/version", By::Beginning),
    ("GET", "/info", By::Beginning),
    ("GET", "/events", By::Beginning),
    ("GET", "/containers/json", By::Beginning),
    ("GET", "/containers/*/json", By::Replacing),
    ("POST", "/containers/*/stop", By::Replacing),
    ("DELETE", "/containers/*", By::Replacing),
    ("GET", "/images/*/json", By::Replacing),
    ("POST", "/images/create", By::Replacing),
    ("GET", "/distribution/*/json", By::Replacing),
    ("GET", "/networks", By::Replacing),
    ("POST", "/networks/create", By::Replacing),
    ("POST", "/networks/*/connect", By::Replacing),
    ("GET", "/networks/bridge", By::Stopping),
    ("GET", "/volumes/*", By::Replacing),
    ("POST", "/volumes/create", By::Replacing),
    ("POST", "/containers/*/exec", By::Replacing),
    ("POST", "/exec/*/start", By::Replacing),
    ("GET", "/exec/*/json", By::Replacing),
    ("GET", "/containers/*/logs", By::Crashing),
    ("POST", "/containers/*/update", By::Restarting),
    ("GET", "/containers/*/json", By::Disconnecting),
];

/// The service that everything happens to.
fn victim(lab: &Lab, round: usize) -> String {
    let spec = format!(
        "image: {}/team/busybox:{}
pullPolicy: always
command: [sh, -c, 'trap \"exit 0\" TERM; while :; do sleep 0.1; done']
environment: {{ROUND: '{round}'}}
networks: [one-{round}, two-{round}]
volumes: [{{type: volume, source: data-{round}, target: /data}}]
readiness: {{exec: ['true'], interval: 300ms}}
stopGracePeriod: 2s
",
        lab.registry,
        1 + round % 2
    );
    service("victim", &spec)
}

/// What the engine says happened to the victim's containers since a moment.
fn happened(lab: &Lab, since: &str, action: &str) -> usize {
    let now = format!("{}", now());
    let filter = format!("event={action}");
    let label = "label=constellation.service=victim";
    let all = ["events", "--since", since, "--until", &now, "--filter", &filter, "--filter", label];
    lab.docker.run(&[&all[..], &["--format", "{{.ID}}"]].concat()).lines().count()
}

/// Seconds since 1970, as the engine's events are asked for.
fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn rows() -> Vec<(Call, Wrong)> {
    let all =
        CALLS.iter().enumerate().flat_map(|(n, call)| FAULTS.iter().enumerate().map(move |(f, x)| (n, f, *call, *x)));
    all.filter(|(n, f, _, _)| long() || *n < 2 || n % FAULTS.len() == *f)
        .map(|(_, _, call, fault)| (call, fault))
        .collect()
}

#[test]
fn whatever_call_goes_wrong_what_shall_run_runs_once() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    let proxy = Proxy::before(lab.docker.socket(), agent.path("engine.sock"));
    agent.docker_host = Some(proxy.host());
    agent.spawn();
    agent.wait_until_ready();
    agent.apply(&service("steady", &format!("{HELLO}replicas: 2\n")));
    agent.apply(&victim(&lab, 0));
    let bystanders = || -> Vec<(String, String)> {
        let started = |c: crate::docker::Seen| (c.id.clone(), lab.docker.inspect(&c.id, "{{.State.StartedAt}}"));
        lab.docker.managed(Some("steady")).into_iter().map(started).collect()
    };
    let stood = bystanders();
    assert_eq!(stood.len(), 2);
    for (round, ((method, path, by), (told, what))) in (1..).zip(rows()) {
        let row = format!("{method} {path} {told}");
        if by == By::Crashing {
            // A new replica: the wait of one that ends again and again grows.
            agent.apply(&victim(&lab, round));
            agent.wait_until_settled("victim", secs(20));
        }
        let (begun, since) = (Instant::now(), format!("{}", now()));
        let before = lab.docker.runs("victim", 1).unwrap()[0].id.clone();
        let what = match (what, by) {
            // Their deadlines are longer anyway.
            (FREEZE, By::Replacing) if !long() => What::Freeze(secs(2)),
            _ => what,
        };
        proxy.hits();
        // The first may be the probe of the container that goes.
        let times = if path.contains("exec") { 3 } else { 1 };
        proxy.plan(Fault { times, ..Fault::once(method, path, what) });
        match by {
            By::Replacing => {
                // Those that nothing runs of: the next one has to be fetched.
                images::forget(&lab);
                agent.apply_with(&victim(&lab, round), &["-d"]).exits(0);
            }
            By::Beginning => {
                agent.stop();
                agent.spawn();
            }
            By::Crashing => drop(lab.docker.run(&["exec", &before, "kill", "-TERM", "1"])),
            By::Stopping => drop(lab.docker.run(&["kill", "-s", "TERM", &before])),
            By::Restarting => drop(lab.docker.run(&["update", "--restart", "unless-stopped", &before])),
            By::Disconnecting => {
                let all =
                    lab.docker.inspect(&before, "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}");
                lab.docker.run(&["network", "disconnect", all.split(' ').next().unwrap(), &before]);
            }
        }
        let mut hits = 0;
        eventually(secs(40), &format!("{row}: the call is made"), || {
            hits += proxy.hits();
            if hits > 0 { Ok(()) } else { Err(format!("{:?}", proxy.seen())) }
        });
        agent.wait_until_ready();
        let all = eventually(secs(60), &format!("{row}: exactly what shall run runs"), || {
            agent.is_settled("victim")?;
            let all = lab.docker.managed(None);
            let running = all.iter().filter(|c| c.state == "running").count();
            if (all.len(), running) != (3, 3) {
                return Err(format!("{all:?}"));
            }
            // Nobody but the agent starts it again, and it is on both of its networks.
            let victim = all.iter().find(|c| c.service == "victim").ok_or("no victim")?;
            let form = "{{.HostConfig.RestartPolicy.Name}} {{len .NetworkSettings.Networks}}";
            match lab.docker.inspect(&victim.id, form) {
                as_declared if as_declared == "no 2" => Ok(all),
                other => Err(other),
            }
        });
        let took = begun.elapsed();
        proxy.clear();
        let names: BTreeSet<_> = all.iter().map(|c| &c.name).collect();
        assert_eq!(names.len(), 3, "{row}: {all:?}");
        assert_eq!(bystanders(), stood, "{row}: nothing else was restarted");
        assert_eq!(agent.ended(), None, "{row}");
        // An engine has addresses for some thirty networks.
        if by == By::Replacing {
            lab.docker.run(&["network", "prune", "-f"]);
        }
        let (made, started, died) =
            (happened(&lab, &since, "create"), happened(&lab, &since, "start"), happened(&lab, &since, "die"));
        // One whose answer was lost is found by its name and taken over.
        assert!(path != "/containers/create" || (made, started) == (1, 1), "{row}: made {made}, started {started}");
        eprintln!("{row}: {took:.1?}, made {made}, started {started}, ended {died}");
    }
    always(secs(2), "nothing more happens", || match bystanders() {
        now if now == stood => Ok(()),
        now => Err(format!("{now:?}")),
    });
    drop(agent);
    lab.docker.clear();
    // Another test pulls them.
    images::forget(&lab);
}
