//! What a change does to the runs of a job.
//!
//! Here: whether it begins a run ([`begun`]) and what of those under way it stops ([`stopped`]). Not here: the attempts
//! that follow one that failed, and times of a schedule: nobody knows them beforehand.

use crate::{
    model::{
        Reason, Run, ServiceSpec,
        service::{Concurrency, Mode},
    },
    plan::{rollout::Standing, view::ServiceView},
};

/// Whether a run of this container part is to begin, in words.
pub(super) fn begun(view: Option<&ServiceView>, spec: &ServiceSpec, hash: &str) -> Option<String> {
    let ran = view.filter(|view| view.newest().is_some_and(|newest| newest.spec_hash == hash));
    // One that was suspended is begun anew.
    let resumed = |run: &Run| run.reason == Some(Reason::Suspended);
    let ran = ran.and_then(|view| view.job.as_ref()?.newest()).is_some_and(|newest| !resumed(newest));
    if spec.mode != Mode::Job || spec.suspend || ran {
        return None;
    }
    let busy = view.and_then(|view| view.job.as_ref()?.runs.iter().find(|run| run.runs()));
    Some(match (busy, spec.concurrency_policy) {
        (Some(run), Concurrency::Forbid) => format!("a run begins when run {} has ended", run.number),
        (Some(run), Concurrency::Replace) => format!("a run begins and takes the place of run {}", run.number),
        (Some(_), Concurrency::Allow) | (None, _) => "a run begins".into(),
    })
}

/// Why an attempt is stopped by a change; none: it goes on to its end, or is there already.
pub(super) fn stopped(view: &ServiceView, spec: &ServiceSpec, standing: Standing) -> Option<Reason> {
    let replaced = || {
        let hash = spec.container_hash().unwrap_or_default();
        spec.concurrency_policy == Concurrency::Replace && begun(Some(view), spec, &hash).is_some()
    };
    if matches!(standing, Standing::Ended | Standing::Stopped | Standing::Gone) {
        return None;
    }
    match (spec.mode.is_job(), spec.suspend) {
        (false, _) => Some(Reason::Superseded),
        (true, true) => Some(Reason::Suspended),
        (true, false) => replaced().then_some(Reason::Replaced),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::*;
    use crate::{
        model::{ReplicaPhase, ServiceSpec, Spec},
        plan::rollout::cluster::Cluster,
    };

    fn spec(edit: Value) -> ServiceSpec {
        let mut spec = json!({"image": "a", "mode": "job"});
        spec.as_object_mut().unwrap().extend(edit.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }
    /// What a change to `after` would do, when `before` is declared and its first attempt reports `phase`.
    fn told(before: Value, phase: ReplicaPhase, after: Value) -> Vec<String> {
        let mut cluster = Cluster::new(1, spec(before));
        for _ in 0..3 {
            let planned = cluster.plan();
            cluster.take(&planned);
            let names: Vec<_> = cluster.view.replicas.iter().map(|r| r.replica.name.clone()).collect();
            names.iter().for_each(|name| cluster.report(name, phase, phase == ReplicaPhase::Running));
        }
        let mut world = World { nodes: cluster.nodes.clone(), ..World::default() };
        world.services.insert("web".into(), cluster.view.clone());
        told_by(&world, after)
    }
    fn told_by(world: &World, after: Value) -> Vec<String> {
        let (spec, none) = (Spec::Service(Box::new(spec(after))), BTreeMap::new);
        let declared = Declared { name: "web".into(), labels: none(), annotations: none(), spec };
        let plan = plan(&[Wish::Put { declared: &declared, managed_by: None, digest: None }], world);
        plan.objects[0].operations.iter().map(|o| format!("{} {} {}", o.op, o.replica, o.detail)).collect()
    }

    #[test]
    fn a_change_says_which_run_it_begins_and_which_it_stops() {
        use ReplicaPhase::{Completed, Running};
        for (case, before, phase, after, wanted) in [
            ("unchanged, under way", json!({}), Running, json!({}), &[][..]),
            ("unchanged, done", json!({}), Completed, json!({}), &[]),
            ("what is around the container", json!({}), Running, json!({"backoffLimit": 9}), &[]),
            ("new", json!({}), Completed, json!({"image": "b"}), &["+ web.1 a run begins"]),
            (
                "new, and it waits",
                json!({}),
                Running,
                json!({"image": "b"}),
                &["+ web.1 a run begins when run 1 has ended"],
            ),
            (
                "new, and it takes the place",
                json!({"concurrencyPolicy": "replace"}),
                Running,
                json!({"image": "b", "concurrencyPolicy": "replace"}),
                &["+ web.1 a run begins and takes the place of run 1", "- web.1 "],
            ),
            ("suspended", json!({}), Running, json!({"suspend": true}), &["- web.1 "]),
            ("suspended, done", json!({}), Completed, json!({"suspend": true}), &[]),
            ("resumed, never run", json!({"suspend": true}), Running, json!({}), &["+ web.1 a run begins"]),
            ("no job any more", json!({}), Running, json!({"mode": "replicated"}), &["+ web.1 ", "- web.1 "]),
            ("a job now", json!({"mode": "replicated"}), Running, json!({}), &["+ web.1 a run begins", "- web.1 "]),
            (
                "a few at once",
                json!({"suspend": true}),
                Running,
                json!({"completions": 3, "replicas": 2}),
                &["+ web.1 a run begins", "+ web.2 a run begins"],
            ),
            ("a schedule", json!({"suspend": true}), Running, json!({"mode": "cron", "schedule": "@daily"}), &[]),
        ] {
            assert_eq!(told(before, phase, after), wanted, "{case}");
        }
        let nodes = Cluster::new(1, spec(json!({}))).nodes;
        assert_eq!(told_by(&World { nodes, ..World::default() }, json!({})), ["+ web.1 a run begins"], "created");
    }
}
