//! From an object that is not ready to what a person can change, a cause at a time, in plain words.
//!
//! Here: [`chain`]: `svc/web is not ready`, `web.1 is waiting`, `secret db-url does not exist`. A service that waits
//! for another one is followed to the other's own cause. Not here: what can be done about it (`hint`).
//! Invariant: the leading cause is the one that the condition `Ready` names.

use std::{collections::BTreeSet, sync::Arc};

use super::{Difference, Look, conditions, conditions::leading};
use crate::{
    model::{ConditionStatus, Reason},
    plan::{
        told,
        view::{NodeView, ServiceView},
    },
};

/// The causes of a Service's state, the service itself first; nothing when it is as declared. `others`: Services by name.
#[must_use]
pub fn chain(
    view: &ServiceView,
    others: &dyn Fn(&str) -> Option<ServiceView>,
    nodes: &[NodeView],
    now: u64,
) -> Vec<String> {
    let mut links = Vec::new();
    let mut seen: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut next = Some(view.clone());
    // A circle of dependencies is refused at the door; what an older version took ends here.
    while let Some(view) = next.take().filter(|view| seen.insert(view.name.clone())) {
        let look = Look::new(&view, nodes, now);
        let all = look.all();
        let Some(cause) = leading(&all) else { break };
        let ready = conditions(&view, nodes, now).first().map(|c| c.status);
        links.push(match ready {
            None => format!("svc/{} is deleted", view.name),
            Some(ConditionStatus::True) => format!("svc/{} is not as declared", view.name),
            Some(ConditionStatus::False) => format!("svc/{} is not ready", view.name),
            Some(ConditionStatus::Unknown) => format!("nobody knows whether svc/{} is ready", view.name),
        });
        // The replica that the cause keeps, when the cause itself is none.
        let slot = |d: &&Difference| d.path.starts_with("replicas/");
        let held = Some(cause).filter(slot).or_else(|| all.iter().filter(slot).find(|d| d.reason == cause.reason));
        links.extend(held.map(|d| format!("{} is {}", d.path.trim_start_matches("replicas/"), d.actual)));
        links.push(if cause.message.is_empty() {
            cause.reason.meaning().trim().to_owned()
        } else {
            cause.message.clone()
        });
        if cause.reason == Reason::WaitingForDependency
            && let Some((_, spec)) = &view.declared
        {
            let waits = |d: &&crate::model::service::Dependency| told::not_yet(d) == cause.message;
            next = spec.container.depends_on.iter().find(waits).and_then(|d| others(d.name.as_str()));
        }
    }
    links.dedup();
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Kind, ReplicaPhase, ReplicaStatus},
        plan::{
            rollout::cluster::{Cluster, spec},
            view::Missing,
        },
    };

    fn waiting(cluster: &mut Cluster, reason: Reason, message: &str) {
        let (phase, reason, message) = (ReplicaPhase::Waiting, Some(reason), message.into());
        cluster.find("web-1-00001").status = Some(ReplicaStatus { phase, reason, message, ..ReplicaStatus::default() });
    }

    #[test]
    fn what_is_missing_is_the_end_of_the_chain() {
        let mut cluster = Cluster::new(1, spec("a", 1));
        cluster.settle();
        let nobody = |_: &str| None;
        assert_eq!(chain(&cluster.view, &nobody, &cluster.nodes, 0), [""; 0]);
        cluster.view.missing = vec![Missing { kind: Kind::Secret, name: "db-url".into(), key: None, required: true }];
        waiting(&mut cluster, Reason::SecretMissing, "secret db-url does not exist");
        let links = chain(&cluster.view, &nobody, &cluster.nodes, 0);
        assert_eq!(links, ["svc/web is not ready", "web.1 is waiting", "Secret db-url does not exist"]);
    }

    #[test]
    fn a_dependency_is_followed_to_its_own_cause_and_a_circle_ends() {
        let mut declared = spec("a", 1);
        declared.container.depends_on = vec![serde_json::from_value(serde_json::json!({"name": "db"})).unwrap()];
        let mut cluster = Cluster::new(1, declared);
        cluster.settle();
        waiting(&mut cluster, Reason::WaitingForDependency, "service db has not started yet");
        let mut db = Cluster::new(1, spec("b", 1));
        db.settle();
        waiting(&mut db, Reason::Unhealthy, "GET :80/: 503, wanted 200-399");
        db.view.name = "db".into();
        let other = db.view.clone();
        let links = chain(&cluster.view, &|name| (name == "db").then(|| other.clone()), &cluster.nodes, 0);
        assert_eq!(links[2], "service db has not started yet");
        assert_eq!(links[3], "svc/db is not ready");
        assert_eq!(links.last().unwrap(), "GET :80/: 503, wanted 200-399");
        let same = cluster.view.clone();
        assert_eq!(chain(&cluster.view, &|_| Some(same.clone()), &cluster.nodes, 0).len(), 3);
    }
}
