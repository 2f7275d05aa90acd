//! What holds for every history of reports.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, test_runner::FileFailurePersistence};

use super::*;

/// What may be reported, or happen.
#[derive(Debug, Clone)]
enum Report {
    Phase(usize, ReplicaPhase),
    Time(u64),
    Lose(bool),
    Ask,
    Newer,
}
fn report() -> impl Strategy<Value = Report> {
    let phases = vec![
        ReplicaPhase::Waiting,
        ReplicaPhase::BackOff,
        ReplicaPhase::Running,
        ReplicaPhase::Completed,
        ReplicaPhase::Failed,
        ReplicaPhase::Failed,
        ReplicaPhase::Stopped,
    ];
    prop_oneof![
        12 => (any::<usize>(), prop::sample::select(phases)).prop_map(|(at, phase)| Report::Phase(at, phase)),
        4 => (0u64..400_000).prop_map(Report::Time),
        1 => any::<bool>().prop_map(Report::Lose),
        1 => Just(Report::Ask),
        1 => Just(Report::Newer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]
    #[test]
    fn every_run_ends_within_its_attempts_and_data_has_one_writer(
        (completions, at_once, limit) in (1u32..5, 1u32..4, 0u32..4),
        (by_schedule, exclusive) in (any::<bool>(), any::<bool>()),
        policy in prop::sample::select(vec![Concurrency::Forbid, Concurrency::Allow, Concurrency::Replace]),
        reports in prop::collection::vec(report(), 0..60),
    ) {
        // What a manifest would refuse.
        let exclusive = exclusive && policy != Concurrency::Allow;
        let mut cluster = job(|s| {
            (s.completions, s.backoff_limit, s.concurrency_policy) = (Some(completions), Some(limit), policy);
            s.replicas = Some(if exclusive { 1 } else { at_once });
            s.active_deadline = Some(Period::secs(3_600));
            s.container.volumes.extend(exclusive.then(state_mount));
            if by_schedule {
                (s.mode, s.schedule) = (Mode::Cron, Some("*/7 * * * *".into()));
            }
        });
        let mut made: BTreeMap<u64, BTreeSet<Arc<str>>> = BTreeMap::new();
        let mut look = |cluster: &mut Cluster| -> Result<(), TestCaseError> {
            let before = cluster.view.job.clone();
            let plan = step(cluster);
            for old in before.iter().flat_map(|job| &job.runs).filter(|run| !run.runs()) {
                let now = cluster.view.job.as_ref().and_then(|job| job.run(old.number));
                prop_assert!(now.is_none_or(|now| now.state == old.state), "an end is an end");
            }
            for r in &cluster.view.replicas {
                made.entry(r.replica.run.unwrap()).or_default().insert(r.replica.name.clone());
            }
            for (run, names) in &made {
                let most = usize::try_from(completions + limit).unwrap();
                prop_assert!(names.len() <= most, "run {} had {:?}", run, names);
            }
            let alive = |r: &&ReplicaView| r.status.as_ref().is_none_or(|s| !s.phase.ended());
            let writers = cluster.view.replicas.iter().filter(alive).count();
            prop_assert!(!exclusive || writers <= 1, "two writers: {:?}", cluster.names());
            for r in cluster.view.replicas.iter().filter(alive) {
                let same = |o: &&ReplicaView| o.replica.run == r.replica.run && o.replica.slot == r.replica.slot;
                prop_assert_eq!(cluster.view.replicas.iter().filter(alive).filter(same).count(), 1);
            }
            let again = cluster.plan();
            prop_assert!(again.look_again.is_none_or(|at| at > cluster.now), "{:?} {}", plan, cluster.now);
            Ok(())
        };
        look(&mut cluster)?;
        for (n, report) in (2..).zip(&reports) {
            match report {
                Report::Phase(pick, phase) => {
                    let names = live(&cluster);
                    let Some(name) = names.get(pick % names.len().max(1)).cloned() else { continue };
                    // An agent stops what it is told to, and nothing else.
                    let stops = cluster.find(&name).replica.desired == Desired::Stop;
                    let phase = if stops { ReplicaPhase::Stopped } else { *phase };
                    if phase != ReplicaPhase::Stopped || stops {
                        cluster.report(&name, phase, phase == ReplicaPhase::Running);
                    }
                }
                Report::Time(time) => cluster.now += time,
                Report::Lose(all) if *all && cluster.nodes.len() > 1 => { cluster.nodes.pop(); }
                Report::Lose(_) => {}
                Report::Ask => {
                    if let Ok(next) = word::asked(&cluster.view, "ada", cluster.now) {
                        cluster.view.job = Some(Arc::new(next));
                    }
                }
                Report::Newer => {
                    let mut newer = declared(&cluster);
                    newer.container.image = format!("a{n}");
                    cluster.declare(newer, resolved());
                }
            }
            look(&mut cluster)?;
        }
        // Every agent does what it is asked, and every attempt ends well; no more is begun.
        let paused = ServiceSpec { mode: Mode::Job, schedule: None, ..declared(&cluster) };
        cluster.declare(paused, resolved());
        for _ in 0..400 {
            look(&mut cluster)?;
            for name in live(&cluster) {
                let stops = cluster.find(&name).replica.desired == Desired::Stop;
                let phase = if stops { ReplicaPhase::Stopped } else { ReplicaPhase::Completed };
                cluster.report(&name, phase, false);
            }
            // Those that ended by themselves and are told to stop.
            let ended: Vec<Arc<str>> = cluster.view.replicas.iter().filter(|r| r.replica.desired == Desired::Stop)
                .map(|r| r.replica.name.clone()).collect();
            ended.iter().for_each(|name| cluster.report(name, ReplicaPhase::Stopped, false));
            cluster.now += 30_000;
        }
        prop_assert!(runs(&cluster).iter().all(|run| !run.runs() && run.ended_at.is_some()), "{:?}", runs(&cluster));
        prop_assert!(live(&cluster).is_empty());
    }
}
