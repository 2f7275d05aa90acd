//! What holds of an update in whatever order things are reported and said.

use super::{
    super::super::word::{self, Word},
    *,
};

#[derive(Debug, Clone)]
enum Report {
    Work(usize),
    Crash(usize),
    Lose(usize),
    Serve,
    Time(u64),
    Pause(bool),
    Image(u8),
    Say(Word),
    Wanted(u32),
}
fn report() -> impl Strategy<Value = Report> {
    prop_oneof![
        10 => (0usize..8).prop_map(Report::Work),
        2 => (0usize..8).prop_map(Report::Crash),
        1 => (0usize..8).prop_map(Report::Lose),
        4 => Just(Report::Serve),
        4 => (1u64..20_000).prop_map(Report::Time),
        1 => any::<bool>().prop_map(Report::Pause),
        1 => (0u8..4).prop_map(Report::Image),
        1 => prop::sample::select(vec![Word::Resume, Word::Restart, Word::Promote, Word::Undo(None)]).prop_map(Report::Say),
        1 => (0u32..5).prop_map(Report::Wanted),
    ]
}
fn policy() -> impl Strategy<Value = UpdatePolicy> {
    let orders = prop::sample::select(vec![Order::Auto, Order::StartFirst, Order::StopFirst]);
    let actions = prop::sample::select(vec![FailureAction::Rollback, FailureAction::Pause, FailureAction::Continue]);
    (0u32..4, orders, 0u64..4, 0u64..4, 0u32..2, actions, 0u32..3, any::<bool>()).prop_map(
        |(parallelism, order, delay, healthy, max_failures, failure_action, canary, auto_promote)| UpdatePolicy {
            parallelism,
            order,
            delay: Period::secs(delay),
            min_healthy_time: Period::secs(healthy),
            progress_deadline: Period::secs(60),
            max_failures,
            failure_action,
            canary,
            auto_promote,
            ..UpdatePolicy::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is reported in whatever order: what serves never falls below what the update has to keep by its own doing, and
    /// every rollout ends.
    #[test]
    fn every_order_of_reports_ends_and_keeps_what_it_has_to(
        replicas in 1u32..5,
        update in policy(),
        edges in 0usize..3,
        reports in prop::collection::vec(report(), 0..80),
    ) {
        let declared = |n: u8| updated(&format!("v{n}"), replicas, |u| *u = update.clone());
        let mut cluster = Cluster::new(2, declared(9));
        cluster.settle();
        for n in 0..edges { cluster.edge(&format!("n{}", n + 1)); }
        let parallelism = if update.parallelism == 0 { replicas } else { update.parallelism };
        let may_miss = if update.order == Order::StopFirst { parallelism } else { 0 };
        cluster.declare(declared(0), resolved_as(0));
        for report in reports {
            // Slots that serve: edges send to one that is ready and stays.
            let serving = |cluster: &Cluster| {
                let serves = |r: &&ReplicaView| {
                    r.replica.desired == Desired::Run && r.replica.draining.is_none()
                        && standing(r, &cluster.nodes) == Standing::Ready
                };
                cluster.view.replicas.iter().filter(serves).map(|r| r.replica.slot.clone()).collect::<BTreeSet<_>>().len()
            };
            let before = serving(&cluster);
            let plan = cluster.plan();
            cluster.take(&plan);
            let after = serving(&cluster);
            let least = (replicas as usize).saturating_sub(may_miss as usize).saturating_sub(update.max_failures as usize);
            let wanted = cluster.view.declared.as_ref().unwrap().1.replicas;
            let lets = plan.record.as_ref().is_some_and(|r| r.tolerated > 0);
            let fewer = update.failure_action == FailureAction::Continue || lets || wanted < Some(replicas);
            prop_assert!(after >= before.min(least) || fewer, "{before} -> {after}, least {least}: {:?}", told(&plan));
            if may_miss == 0 && !fewer { prop_assert!(after == before, "start-first takes no slot out: {:?}", told(&plan)); }
            match report {
                Report::Work(at) if at < cluster.view.replicas.len() => cluster.work_one(at),
                Report::Crash(at) if at < cluster.view.replicas.len() => {
                    let name = cluster.names()[at].clone();
                    let r = cluster.find(&name);
                    let new = r.replica.revision > 1 && r.replica.desired == Desired::Run;
                    if new { crash(&mut cluster, &name); }
                }
                Report::Lose(at) if at < cluster.view.replicas.len() => {
                    let name = cluster.names()[at].clone();
                    if cluster.find(&name).replica.desired == Desired::Run { cluster.find(&name).status = None; }
                }
                Report::Work(_) | Report::Crash(_) | Report::Lose(_) => {}
                Report::Serve => cluster.serve(),
                Report::Time(by) => cluster.now += by,
                Report::Pause(yes) => edit(&mut cluster, |r| {
                    r.paused = yes.then(|| Paused { by: "ada".into(), at: 1, why: None });
                }),
                Report::Image(n) => cluster.declare(declared(n), resolved_as(n)),
                Report::Say(word) => {
                    let newest = cluster.view.replicas.iter().map(|r| r.replica.index).max();
                    let said = word::said(&cluster.view, word, ("ada", cluster.now), newest.unwrap_or_default());
                    if let Ok(Some(next)) = said { cluster.view.rollout = Some(Arc::new(next)); }
                }
                Report::Wanted(n) => {
                    let (_, spec) = cluster.view.declared.clone().unwrap();
                    cluster.declare(ServiceSpec { replicas: Some(n.min(replicas)), ..(*spec).clone() }, resolved());
                }
            }
        }
        let (_, spec) = cluster.view.declared.clone().unwrap();
        cluster.declare(ServiceSpec { replicas: Some(replicas), ..(*spec).clone() }, resolved());
        edit(&mut cluster, |r| r.paused = None);
        cluster.settle();
        let end = record(&cluster);
        match end.phase {
            RolloutPhase::Complete => prop_assert!(cluster.ready() == replicas as usize),
            RolloutPhase::RolledBack => {
                prop_assert!(cluster.ready() == replicas as usize && end.reason.is_some());
            }
            RolloutPhase::Halted => prop_assert!(end.reason.is_some()),
            // The canaries are good, and nobody has said so.
            RolloutPhase::Progressing => {
                let asked = end.target == end.newest || end.restarted > Index(0);
                let waits = update.canary > 0 && !update.auto_promote && !end.promoted && asked;
                prop_assert!(waits, "{end:?} {:?}", cluster.plan());
            }
            RolloutPhase::RollingBack => prop_assert!(false, "it does not end: {end:?}"),
        }
        let kept = cluster.view.replicas.iter().filter(|r| r.replica.desired == Desired::Run).count();
        let pairs = end.phase == RolloutPhase::Halted;
        prop_assert!(kept == replicas as usize || pairs, "{kept} are left");
    }
}
