//! The API of a real agent while thousands of clients behave badly, and thousands well.
//!
//! Half-sent heads, bodies that trickle, WebSockets that take nothing, and many that listen, from addresses all
//! over 127/8. Meanwhile a prober reads and writes as a person would. What is to be shown: the bad ones are cut
//! in time, the good ones are told everything, no probe fails, the memory comes back. The table that is printed
//! has the latencies; nothing here asserts one. This very test is started again for the clients, so that no
//! process needs more files than the agent. `CONSTELLATION_TEST_LONG` does ten times as many of everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abuse;

use std::{
    collections::HashMap,
    fs::{self, File},
    time::{Duration, Instant},
};

use abuse::{
    agent::Agent,
    child::{self, Child},
    probe::Prober,
};

/// How many of each.
#[derive(Debug, Clone, Copy)]
struct Counts {
    heads: u64,
    bodies: u64,
    stalled: u64,
    live: u64,
}

const FEW: Counts = Counts { heads: 200, bodies: 50, stalled: 100, live: 1_000 };
/// Events that are kept before it begins: more than the kernel takes for a client that reads nothing.
const OLD: usize = 3_000;
/// Nothing takes so long; the limits are 10 s.
const DEADLINE: Duration = Duration::from_secs(90);
/// Probes that show how quick it is alone.
const QUIET: usize = 400;
/// What the allocator may keep of what was given back.
const KEPT: u64 = 20 << 20;

#[test]
fn clients_that_behave_badly_starve_nobody_and_leave_nothing_behind() {
    let times = if std::env::var_os("CONSTELLATION_TEST_LONG").is_some() { 10 } else { 1 };
    let counts = Counts {
        heads: FEW.heads * times,
        bodies: FEW.bodies * times,
        stalled: FEW.stalled * times,
        live: FEW.live * times,
    };
    let agent = Agent::start();
    agent.fill(OLD);
    let quiet = Prober::start(&agent);
    abuse::eventually(DEADLINE, "the quiet is measured", || match quiet.asked() {
        0..QUIET => Err(format!("{} probes", quiet.asked())),
        _ => Ok(()),
    });
    let quiet = quiet.end();
    let before = agent.resident();

    let prober = Prober::start(&agent);
    let began = Instant::now();
    let mut live = Child::start(&agent, "live", &[counts.live]);
    live.wait("all listeners to be open", DEADLINE, |s| s["open"] == counts.live);
    let listening = agent.resident();
    let opened = began.elapsed();
    let storm = Instant::now();
    let mut bad = Child::start(&agent, "bad", &[counts.heads, counts.bodies, counts.stalled]);
    let sum = counts.heads + counts.bodies + counts.stalled;
    bad.wait("all bad clients to be open", DEADLINE, |s| s["opened"] == sum);
    let bad_opened = storm.elapsed();
    let mut peak = agent.resident();
    let mut cut = HashMap::new();
    abuse::eventually(DEADLINE, "the bad clients are cut", || {
        peak = peak.max(agent.resident());
        cut = agent.cut();
        let enough = |cause: &str, least: u64| cut.get(cause).is_some_and(|n| *n >= least);
        let seen = bad.status();
        let all = enough("Stalled", counts.stalled) && seen["heads"] == counts.heads && seen["bodies"] == counts.bodies;
        if all { Ok(()) } else { Err(format!("cut {cut:?}, clients saw {seen:?}")) }
    });
    let bad_cut = storm.elapsed();
    // What was told meanwhile, and what is told now, reached every listener.
    let newest = agent.write("beacon", "the last");
    live.wait("every listener to have the last event", DEADLINE, |s| s["index"] >= newest);
    let told = live.status();
    assert_eq!((told["open"], told["lost"]), (counts.live, 0), "good clients stay");
    let at_work = prober.end();
    let slowest = bad.status();
    bad.say("drain");
    bad.wait("the stalled clients to see their end", DEADLINE, |s| s["stalled"] == counts.stalled);
    drop((live, bad));
    let mut after = 0;
    let ended = Instant::now();
    abuse::eventually(DEADLINE, "the memory comes back", || {
        after = agent.resident();
        let open = agent.metric("constellation_api_connections");
        let back = after <= before + KEPT && open <= 4;
        if back { Ok(()) } else { Err(format!("{} MiB before, {} MiB now, {open} open", before >> 20, after >> 20)) }
    });

    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    println!("client               opened   closed   the slowest after");
    for kind in ["heads", "bodies"] {
        let of = if kind == "heads" { counts.heads } else { counts.bodies };
        println!("{kind:<20} {of:>6} {:>8}   {:.1} s", slowest[kind], slowest[&format!("{kind}-ms")] as f64 / 1e3);
    }
    println!(
        "{:<20} {:>6} {:>8}   (all bad ones cut {bad_cut:.1?} after the first)",
        "stalled", counts.stalled, cut["Stalled"]
    );
    println!("{:<20} {:>6} {:>8}   {} frames", "live", counts.live, told["lost"], told["frames"]);
    println!("opening: live {opened:.1?}, bad {bad_opened:.1?}; cut by the server: {cut:?}");
    println!("probe (ms)               count     p50     p99     max  failed");
    for (when, probes) in [("quiet", &quiet), ("meanwhile", &at_work)] {
        for probe in probes {
            println!("{:<22} {probe}", format!("{} {when}", probe.name));
        }
    }
    let each = listening.saturating_sub(before) / counts.live;
    println!(
        "resident: {} before, {} with the listeners ({each} bytes each), {} at most, {} {:.1?} after",
        mib(before),
        mib(listening),
        mib(peak),
        mib(after),
        ended.elapsed()
    );
    for probe in &at_work {
        assert!(probe.count > 10 && probe.failed.is_empty(), "{} failed: {:?}", probe.name, probe.failed);
    }
    drop(agent);
}

#[test]
fn the_child_of_the_other_test() {
    if let Some(role) = std::env::var_os(child::ROLE) {
        child::run(role.to_str().unwrap());
    }
}

/// For a message of what went wrong.
fn tail(path: &std::path::Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = File::open(path) {
        let _unreadable_is_empty = std::io::Read::read_to_string(&mut file, &mut text);
    }
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
        + &format!("\n({} bytes)", fs::metadata(path).map_or(0, |m| m.len()))
}
