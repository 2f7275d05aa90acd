//! The image of what comes next, before what works is stopped for it.

use super::{
    updates::{crash, edit, record, step, updated},
    *,
};
use crate::model::{
    Period, RolloutPhase,
    service::{FailureAction, Order, UpdatePolicy},
};

const NONE: [&str; 0] = [];

/// A settled service of revision 1, with revision 2 of another image declared and begun.
fn going_on(replicas: u32, update: impl Fn(&mut UpdatePolicy)) -> Cluster {
    let declared = |image: &str| {
        updated(image, replicas, |u| {
            u.order = Order::StopFirst;
            update(u);
        })
    };
    let mut cluster = Cluster::new(1, declared("a"));
    cluster.settle();
    cluster.declare(declared("b"), resolved_as(2));
    cluster
}
fn refuse(cluster: &mut Cluster, at: usize, reason: Reason) {
    let now = cluster.now;
    cluster.fetch(at, |next| {
        (next.reason, next.message, next.failing_since) = (Some(reason), "no such manifest".into(), Some(now));
    });
}

#[test]
fn what_works_is_stopped_when_its_node_has_the_next_image() {
    let mut cluster = going_on(1, |_| ());
    let first = cluster.plan();
    assert_eq!(told(&first), NONE);
    let hold = &first.holds[&Slot::Number(1)];
    assert_eq!(
        (hold.reason, hold.message.as_str()),
        (Reason::Pulling, "revision 2 waits: n1 looks whether it has x@sha256:2")
    );
    cluster.take(&first);
    cluster.fetch(0, |next| next.message = "fetching x@sha256:2: 25 %".into());
    let hold = cluster.plan().holds[&Slot::Number(1)].clone();
    assert_eq!(hold.message, "revision 2 waits: on n1: fetching x@sha256:2: 25 %");
    // Of another image than the one that is wanted now.
    cluster.fetch(0, |next| (next.reference, next.there) = ("x@sha256:3".into(), true));
    assert_eq!(step(&mut cluster), NONE);
    cluster.fetch(0, |next| next.there = true);
    assert_eq!(step(&mut cluster), ["stop web-1-00001 Superseded"]);
}

#[test]
fn what_does_not_work_or_has_the_image_or_may_run_beside_waits_for_nothing() {
    let mut broken = going_on(1, |_| ());
    crash(&mut broken, "web-1-00001");
    assert_eq!(step(&mut broken), ["stop web-1-00001 Superseded"]);
    let mut same = going_on(1, |_| ());
    same.declare(spec("c", 1), resolved());
    assert_eq!(step(&mut same), ["stop web-1-00001 Superseded"]);
    let mut beside = going_on(1, |u| u.order = Order::StartFirst);
    assert_eq!(step(&mut beside), ["place 1 r2 n1 beside web-1-00001"]);
}

#[test]
fn an_image_that_is_refused_takes_the_update_back_and_stops_nothing() {
    let mut cluster = going_on(2, |_| ());
    step(&mut cluster);
    refuse(&mut cluster, 0, Reason::ImageNotFound);
    let plan = cluster.plan();
    assert_eq!((told(&plan), plan.look_again), (vec![], Some(cluster.now + 20_000)));
    let hold = &plan.holds[&Slot::Number(1)];
    assert_eq!(hold.reason, Reason::ImageNotFound);
    assert_eq!(hold.message, "revision 2 waits: n1 cannot fetch its image: no such manifest");
    cluster.take(&plan);
    cluster.now += 20_000;
    assert_eq!(step(&mut cluster), NONE);
    let back = record(&cluster);
    assert_eq!((back.phase, back.reason, back.target), (RolloutPhase::RollingBack, Some(Reason::ImageNotFound), 1));
    assert_eq!(back.message, "web.1 stays: n1 cannot fetch its image: no such manifest");
    assert_eq!(step(&mut cluster), NONE);
    assert_eq!((record(&cluster).phase, cluster.ready()), (RolloutPhase::RolledBack, 2));
}

#[test]
fn neither_a_refusal_before_the_last_word_nor_one_that_is_being_made_good_takes_an_update_back() {
    let mut cluster = going_on(1, |_| ());
    step(&mut cluster);
    refuse(&mut cluster, 0, Reason::ImageNotFound);
    let failing_since = Some(cluster.now);
    let again = |cluster: &mut Cluster, fetching| {
        cluster.fetch(0, |next| {
            (next.reason, next.failing_since, next.fetching) = (Some(Reason::ImageNotFound), failing_since, fetching);
        });
    };
    again(&mut cluster, true);
    cluster.now += 60_000;
    step(&mut cluster);
    assert_eq!(record(&cluster).phase, RolloutPhase::Progressing, "it comes");
    // Somebody mends the registry and says so.
    edit(&mut cluster, |r| r.resumed_at = Some(62_000));
    cluster.now = 62_000;
    again(&mut cluster, false);
    step(&mut cluster);
    assert_eq!(record(&cluster).phase, RolloutPhase::Progressing, "it is tried again");
    cluster.now += 20_000;
    step(&mut cluster);
    assert_eq!(record(&cluster).phase, RolloutPhase::RollingBack);
}

#[test]
fn one_that_may_fail_lets_the_others_go_on() {
    let mut cluster = going_on(2, |u| u.max_failures = 1);
    step(&mut cluster);
    refuse(&mut cluster, 0, Reason::ImageNotFound);
    cluster.fetch(1, |next| next.there = true);
    cluster.now += 20_000;
    assert_eq!(step(&mut cluster), ["stop web-2-00002 Superseded"]);
    assert_eq!(record(&cluster).phase, RolloutPhase::Progressing);
}

#[test]
fn a_registry_that_is_silent_has_until_the_deadline() {
    for (action, phase) in
        [(FailureAction::Rollback, RolloutPhase::RolledBack), (FailureAction::Pause, RolloutPhase::Halted)]
    {
        let mut cluster = going_on(1, |u| {
            (u.failure_action, u.progress_deadline) = (action, Period::secs(60));
        });
        step(&mut cluster);
        refuse(&mut cluster, 0, Reason::RegistryUnreachable);
        cluster.now += 59_000;
        assert_eq!(step(&mut cluster), NONE);
        assert_eq!(record(&cluster).phase, RolloutPhase::Progressing);
        cluster.now += 1_000;
        (0..2).for_each(|_| assert_eq!(step(&mut cluster), NONE));
        let end = record(&cluster);
        assert_eq!((end.phase, end.reason), (phase, Some(Reason::RegistryUnreachable)));
        assert!(end.message.ends_with("web.1 stays: n1 cannot fetch its image: no such manifest"), "{}", end.message);
        assert_eq!(cluster.ready(), 1);
    }
}

#[test]
fn a_slot_that_is_not_to_go_yet_fails_nothing() {
    let mut cluster = going_on(2, |u| u.canary = 1);
    step(&mut cluster);
    cluster.fetch(0, |next| next.there = true);
    refuse(&mut cluster, 1, Reason::ImageNotFound);
    assert_eq!(step(&mut cluster), ["stop web-1-00001 Superseded"]);
    cluster.now += 20_000;
    cluster.report("web-1-00001", ReplicaPhase::Stopped, false);
    assert_eq!(step(&mut cluster), ["place 1 r2 n1"]);
    assert_eq!(record(&cluster).phase, RolloutPhase::Progressing);
}

#[derive(Debug, Clone)]
enum Word {
    Work(usize),
    Crash(usize),
    Has(usize),
    Refused(usize),
    Unreachable(usize),
    Fetching(usize),
    Edges,
    Time(u64),
    Image(u8),
}
fn word() -> impl Strategy<Value = Word> {
    let at = || 0usize..8;
    prop_oneof![
        6 => at().prop_map(Word::Work),
        1 => at().prop_map(Word::Crash),
        3 => at().prop_map(Word::Has),
        2 => at().prop_map(Word::Refused),
        1 => at().prop_map(Word::Unreachable),
        2 => at().prop_map(Word::Fetching),
        2 => Just(Word::Edges),
        3 => (1u64..15_000).prop_map(Word::Time),
        1 => (1u8..5).prop_map(Word::Image),
    ]
}

/// Whether nothing that works is taken off its routes, or stopped on them, without the image of what follows.
fn nothing_is_lost(cluster: &Cluster, plan: &Plan) -> Result<(), TestCaseError> {
    let target = plan.record.as_ref().and_then(|r| cluster.view.revisions.get(&r.target)).cloned();
    for step in &plan.steps {
        let (Step::Stop { replica, .. } | Step::Drain { replica, .. }) = step else { continue };
        let r = cluster.view.replicas.iter().find(|r| r.replica.name == *replica).unwrap();
        // What edges let go of is lost already.
        if standing(r, &cluster.nodes) != Standing::Ready || r.replica.draining.is_some() {
            continue;
        }
        // Nor is what has its successor beside it.
        let beside = |other: &&ReplicaView| other.replica.slot == r.replica.slot && other.replica.name != *replica;
        let mut others = cluster.view.replicas.iter().filter(beside);
        if others.any(|other| standing(other, &cluster.nodes) == Standing::Ready) {
            continue;
        }
        let image = target.as_ref().and_then(|t| t.image.resolved()).unwrap();
        let own = cluster.view.revisions[&r.replica.revision].image.resolved();
        let next = r.status.as_ref().and_then(|s| s.next_image.as_ref());
        let has = next.is_some_and(|next| next.there && next.reference == image.reference());
        prop_assert!(has || own == Some(image), "{step:?}, and {image:?} is not there");
    }
    Ok(())
}

fn ended(record: &Rollout) -> bool {
    !matches!(record.phase, RolloutPhase::Progressing | RolloutPhase::RollingBack)
}

/// No image comes any more that the node does not have by now, whatever time passes: the rollout ends all the same, and
/// what worked and is of the revision that is wanted then still does.
fn refused_for_ever(mut cluster: Cluster) -> Result<(), TestCaseError> {
    let image = |cluster: &Cluster, r: &ReplicaView| -> Arc<str> {
        cluster.view.revisions[&r.replica.revision].image.resolved().unwrap().reference().into()
    };
    let mut there: BTreeSet<Arc<str>> = BTreeSet::new();
    for r in &cluster.view.replicas {
        let Some(status) = &r.status else { continue };
        there.extend((status.phase == ReplicaPhase::Running).then(|| image(&cluster, r)));
        there.extend(status.next_image.iter().filter(|next| next.there).map(|next| next.reference.as_str().into()));
    }
    let works = |r: &&ReplicaView| r.replica.draining.is_none() && standing(r, &cluster.nodes) == Standing::Ready;
    let worked: Vec<ReplicaView> = cluster.view.replicas.iter().filter(works).cloned().collect();
    let hashes: BTreeSet<String> = cluster.view.replicas.iter().map(|r| r.replica.spec_hash.clone()).collect();
    let only = if hashes.len() == 1 && there.len() == 1 { hashes } else { BTreeSet::new() };
    for _ in 0..100 {
        let plan = cluster.plan();
        nothing_is_lost(&cluster, &plan)?;
        cluster.take(&plan);
        for at in 0..cluster.view.replicas.len() {
            agent_turns(&mut cluster, at, &there);
        }
        cluster.serve();
        cluster.now += 5_000;
    }
    let end = record(&cluster);
    prop_assert!(ended(&end), "{end:?}");
    let wanted = &cluster.view.revisions[&end.target].spec_hash;
    // Where the node has another image too, that one had its turn meanwhile.
    for before in worked.iter().filter(|r| r.replica.spec_hash == *wanted && only.contains(&r.replica.spec_hash)) {
        let now = cluster.view.replicas.iter().find(|r| r.replica.name == before.replica.name);
        let ready = now.is_some_and(|r| standing(r, &cluster.nodes) == Standing::Ready);
        prop_assert!(ready, "{} worked and is lost: {end:?}", before.replica.name);
    }
    Ok(())
}

/// What an agent does of what it is asked, with the images of `there` alone.
fn agent_turns(cluster: &mut Cluster, at: usize, there: &BTreeSet<Arc<str>>) {
    let (now, r) = (cluster.now, cluster.view.replicas[at].clone());
    let own = cluster.view.revisions[&r.replica.revision].image.resolved().unwrap().reference().to_owned();
    let before = r.status.as_ref().and_then(|s| s.next_image.clone());
    let runs = r.status.as_ref().is_some_and(|s| s.phase == ReplicaPhase::Running);
    if there.contains(&*own) || runs || r.replica.desired == Desired::Stop {
        // One that crashes goes on crashing.
        if r.replica.desired == Desired::Stop || r.status.as_ref().is_none_or(|s| s.failures == 0) {
            cluster.work_one(at);
        }
    } else if r.status.is_none() {
        cluster.report(&r.replica.name, ReplicaPhase::BackOff, false);
        let status = cluster.find(&r.replica.name).status.as_mut().unwrap();
        (status.reason, status.refused_since) = (Some(Reason::ImageNotFound), Some(now));
    }
    cluster.fetch(at, |next| {
        if there.contains(&*next.reference) {
            next.there = true;
            return;
        }
        let since = before.filter(|before| before.reference == next.reference).and_then(|before| before.failing_since);
        (next.there, next.reason, next.message) = (false, Some(Reason::ImageNotFound), "no such manifest".into());
        next.failing_since = since.or(Some(now));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever registries do: no replica that works is stopped for an image that its node does not have, and every
    /// rollout ends.
    #[test]
    fn no_registry_costs_a_replica_that_works(
        replicas in 1u32..4,
        max_failures in 0u32..2,
        canary in 0u32..2,
        edges in any::<bool>(),
        for_ever in any::<bool>(),
        words in prop::collection::vec(word(), 0..60),
    ) {
        let policy = |u: &mut UpdatePolicy| {
            (u.max_failures, u.canary, u.progress_deadline) = (max_failures, canary, Period::secs(60));
        };
        let mut cluster = going_on(replicas, policy);
        // A working replica is lost when edges let go of it, long before it is told to stop.
        if edges {
            cluster.edge("n1");
        }
        for word in words {
            let plan = cluster.plan();
            nothing_is_lost(&cluster, &plan)?;
            cluster.take(&plan);
            let count = cluster.view.replicas.len();
            match word {
                Word::Time(by) => cluster.now += by,
                Word::Edges => cluster.serve(),
                Word::Image(n) => {
                    let (_, spec) = cluster.view.declared.clone().unwrap();
                    let mut spec = (*spec).clone();
                    spec.container.image = format!("v{n}");
                    cluster.declare(spec, resolved_as(n));
                }
                Word::Work(at) if at < count => cluster.work_one(at),
                Word::Crash(at) if at < count => {
                    let name = cluster.names()[at].clone();
                    let r = cluster.find(&name);
                    if r.replica.revision > 1 && r.replica.desired == Desired::Run { crash(&mut cluster, &name); }
                }
                Word::Has(at) if at < count => cluster.fetch(at, |next| next.there = true),
                Word::Refused(at) if at < count => refuse(&mut cluster, at, Reason::ImageNotFound),
                Word::Unreachable(at) if at < count => refuse(&mut cluster, at, Reason::RegistryUnreachable),
                Word::Fetching(at) if at < count => cluster.fetch(at, |next| next.message = "25 %".into()),
                _ => {}
            }
        }
        if for_ever {
            return refused_for_ever(cluster);
        }
        cluster.settle();
        let end = record(&cluster);
        prop_assert!(ended(&end), "{end:?}");
        if end.phase != RolloutPhase::Halted { prop_assert_eq!(cluster.ready(), replicas as usize); }
    }
}
