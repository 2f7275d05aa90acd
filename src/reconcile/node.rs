//! This node itself: its Node object, and what its engine and machine are.
//!
//! Here: [`register`], which makes the object unless it is there and leaves what users wrote,
//! [`stay_registered`], which does so again when it is gone, and [`watch`], which asks the engine every few seconds and reports what changed. [`status`] is pure.
//! Not here: replicas (`super::agent`), what users say of a node (`model::node`).
//! Invariant: an engine that is silent once may be busy; two silent answers in a row are a condition.

use std::{
    net::{IpAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    UNCONFIRMED,
    agent::{
        adoption::Adoption,
        containers::{Containers, Engine},
    },
    reporter::Reporter,
};
use crate::{
    model::{
        Bytes, Condition, ConditionStatus, ConditionType, EventType, Kind, Millicores, NewEvent, NodeStatus, ObjectKey,
        Reason, Status, Uid, declared::canonical, event::Subject, node::NodeSpec, status::EngineInfo,
    },
    plan::entry::Serving,
    runtime::{Runtime, RuntimeError, answers},
    store::{
        Client, ProposeError,
        command::{Command, Group, PutObject},
    },
};

/// Between two looks at the engine.
const LOOK: Duration = Duration::from_secs(5);
/// Version, capacity and addresses are asked for every so many looks.
const WHOLE: u32 = 12;
/// Longest wait for the log.
const DEADLINE: Duration = Duration::from_secs(10);
/// Wait after a proposal that failed.
const RETRY: Duration = Duration::from_millis(200);

/// Why a node cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The specification has no JSON form.
    #[error("the node's specification has no canonical form")]
    Form(#[source] serde_json::Error),
    /// The agent was stopped first.
    #[error("stopped before the node was registered")]
    Stopped,
}

/// Makes the Node object of this machine, by its name and uid, unless there is one. Tries until `stop`.
///
/// # Errors
/// See [`RegisterError`].
pub async fn register(store: &Client, node: &(Arc<str>, Uid), stop: &CancellationToken) -> Result<(), RegisterError> {
    let (name, uid) = node;
    let key = ObjectKey::node(name.clone());
    let spec = canonical(&NodeSpec::first()).map_err(RegisterError::Form)?;
    loop {
        let state = store.state();
        match state.object(&key) {
            Some(found) if found.meta.uid == *uid => return Ok(()),
            Some(found) => tracing::warn!(node = %name, uid = %found.meta.uid, "the name is another node's"),
            None if state.cluster().is_none() => {}
            None => {
                let put = PutObject {
                    kind: Kind::Node,
                    name: name.clone(),
                    labels: Default::default(),
                    annotations: Default::default(),
                    managed_by: None,
                    spec: spec.clone(),
                    uid: uid.clone(),
                    spec_hash: None,
                    based_on: None,
                };
                let group = Group {
                    actor: format!("agent@{name}").into(),
                    // Somebody may write it first: theirs stays.
                    preconditions: vec![(key.clone(), None)],
                    commands: vec![Command::Put(put)],
                    ..Group::default()
                };
                match store.propose(group, DEADLINE).await {
                    Ok(_) | Err(ProposeError::Refused(_)) => continue,
                    Err(error) => tracing::debug!(%error, "the node is not registered yet"),
                }
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
            return Err(RegisterError::Stopped);
        }
    }
}

/// Registers the node again, as the same one, whenever its object is gone, until `stop`.
pub async fn stay_registered(store: &Client, node: &(Arc<str>, Uid), stop: &CancellationToken) {
    let key = ObjectKey::node(node.0.clone());
    let mut states = store.watch();
    while register(store, node, stop).await.is_ok() {
        let gone = states.wait_for(|s| s.object(&key).is_none_or(|o| o.meta.uid != node.1));
        // The store is closed, or the agent ends.
        let Some(Ok(_)) = stop.run_until_cancelled(gone).await else { return };
        tracing::warn!(node = %node.0, "the node was taken out of the cluster while its agent runs; it comes back");
    }
}

/// What is known of the machine and its engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The engine.
    pub engine: EngineInfo,
    /// CPU and memory of the machine.
    pub capacity: (Millicores, Bytes),
    /// Where it can be reached.
    pub addresses: Vec<String>,
}

/// What becomes a condition.
type Said<'m> = (ConditionType, ConditionStatus, Reason, &'m str);

/// The status of this node. `silence`: what the engine did instead of answering. `previous`: what was
/// said last, for the times of transitions. `serving`: of the public ports, while routes ask for some.
#[must_use]
pub fn status(
    facts: &Facts,
    silence: Option<(Reason, &str)>,
    serving: Option<&Serving>,
    schedulable: (bool, u64),
    previous: Option<&NodeStatus>,
    now: u64,
) -> NodeStatus {
    let (may, generation) = schedulable;
    let reachable = silence.is_none();
    let (reason, message) = silence.unwrap_or((Reason::NodeReady, ""));
    let table = [
        (ConditionType::Ready, reachable.into(), if reachable { Reason::NodeReady } else { reason }, message),
        (ConditionType::DockerReachable, reachable.into(), reason, message),
        (ConditionType::Schedulable, may.into(), if may { Reason::Schedulable } else { Reason::Cordoned }, ""),
    ];
    let serving = serving.map(|s| (ConditionType::EdgeServing, s.status, s.reason, s.message.as_str()));
    let conditions = table.into_iter().chain(serving).map(|(kind, status, reason, message): Said<'_>| {
        let old = previous.and_then(|p| p.conditions.iter().find(|c| c.kind == kind)).filter(|c| c.status == status);
        Condition {
            kind,
            status,
            reason,
            message: message.into(),
            last_transition_time: old.map_or(now, |c| c.last_transition_time),
            observed_generation: generation,
        }
    });
    let uname = rustix::system::uname();
    NodeStatus {
        conditions: conditions.collect(),
        version: env!("CARGO_PKG_VERSION").into(),
        engine: facts.engine.clone(),
        cpus: facts.capacity.0,
        memory: facts.capacity.1,
        addresses: facts.addresses.clone(),
        kernel: uname.release().to_string_lossy().into_owned(),
        operating_system: operating_system(),
        restoring: None,
    }
}

/// Watches the engine and the public ports until `stop` and reports what changed.
pub async fn watch(
    node: (Arc<str>, Uid),
    advertise: Option<IpAddr>,
    store: Client,
    runtime: Arc<dyn Runtime>,
    (containers, adoption, mut serving): (Arc<Containers>, Arc<Adoption>, watch::Receiver<Option<Serving>>),
    reporter: Reporter,
    stop: CancellationToken,
) {
    let key = ObjectKey::node(node.0.clone());
    let mut said: Option<NodeStatus> = store.state().node_status(&node.0).cloned();
    // What is known stays said while the engine is silent.
    let mut facts = said.as_ref().map(|s| Facts {
        engine: s.engine.clone(),
        capacity: (s.cpus, s.memory),
        addresses: s.addresses.clone(),
    });
    let (mut looks, mut silent) = (0_u32, 0_u32);
    let mut engine = containers.watch_engine();
    loop {
        let asked = match facts {
            Some(_) if !looks.is_multiple_of(WHOLE) => answers(&*runtime).await.map(|()| None),
            Some(_) | None => whole(&*runtime, advertise).await.map(Some),
        };
        looks = looks.wrapping_add(1);
        let silence = match asked {
            Ok(news) => {
                (silent, facts) = (0, news.or(facts));
                None
            }
            Err(error) => {
                (silent, looks) = (silent.saturating_add(1), 0);
                Some(error)
            }
        };
        let certain = silence.as_ref().is_none_or(|e| matches!(e, RuntimeError::Down { .. }) || silent > 1);
        if let Some(error) = silence.as_ref().filter(|_| certain) {
            containers.set_engine(super::agent::listen::unknown(error));
        }
        if certain {
            let state = store.state();
            let object = state.object(&key);
            let spec: Option<NodeSpec> = object.and_then(|o| o.parse().ok());
            let schedulable = (spec.is_none_or(|s| s.schedulable), object.map_or(0, |o| o.meta.generation));
            let words = silence.as_ref().map(|e| (super::registry::reason(e), e.to_string()));
            let words = words.as_ref().map(|(r, m)| (*r, m.as_str()));
            let ports = serving.borrow_and_update().clone();
            let facts = facts.clone().unwrap_or_default();
            let mut new = status(&facts, words, ports.as_ref(), schedulable, said.as_ref(), store.now());
            new.restoring = state.unconfirmed().map(|_| {
                let declared = state.replicas().filter(|r| r.node == node.0).map(|r| r.name.clone());
                let answered = containers.engine() == Engine::Known;
                adoption.report(answered, containers.replicas().into_iter().chain(declared))
            });
            // A node that came back has no status until it is said again.
            if said.as_ref() != Some(&new) || state.node_status(&node.0).is_none() {
                tell(&reporter, &node, said.as_ref(), &new, store.now());
                reporter.status(key.clone(), node.1.clone(), Status::Node(new.clone()));
                said = Some(new);
            }
        }
        // Somebody waits to see what a confirmation would change, or has just given it.
        let restoring = said.as_ref().is_some_and(|s| s.restoring.is_some());
        tokio::select! {
            () = tokio::time::sleep(if restoring { UNCONFIRMED } else { LOOK }) => {}
            // Passes and lists notice it first. The news may be this loop's own: one look a moment.
            Ok(()) = engine.changed() => {
                engine.borrow_and_update();
                tokio::time::sleep(RETRY).await;
            }
            Ok(()) = serving.changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Events of a node's turns.
fn tell(reporter: &Reporter, node: &(Arc<str>, Uid), old: Option<&NodeStatus>, new: &NodeStatus, now: u64) {
    let find = |status: &NodeStatus, kind| status.conditions.iter().find(|c| c.kind == kind).cloned();
    for kind in [ConditionType::Ready, ConditionType::Schedulable, ConditionType::EdgeServing] {
        let (before, Some(after)) = (old.and_then(|o| find(o, kind)), find(new, kind)) else { continue };
        if before.as_ref().is_some_and(|b| b.status == after.status && b.reason == after.reason) {
            continue;
        }
        let holds = after.status == ConditionStatus::True;
        // A node that is new takes replicas: nothing to tell.
        if kind == ConditionType::Schedulable && before.is_none() && holds {
            continue;
        }
        reporter.event(NewEvent {
            kind: if holds || kind == ConditionType::Schedulable { EventType::Normal } else { EventType::Warning },
            reason: after.reason,
            object: Subject { kind: Kind::Node, name: node.0.clone(), uid: node.1.clone() },
            node: Some(node.0.clone()),
            message: if after.message.is_empty() { after.reason.meaning().trim().into() } else { after.message },
            time: now,
            count: 1,
        });
    }
}

async fn whole(runtime: &dyn Runtime, advertise: Option<IpAddr>) -> Result<Facts, RuntimeError> {
    let (engine, capacity) = (runtime.info().await?, runtime.capacity().await?);
    Ok(Facts { engine, capacity, addresses: addresses(advertise) })
}

/// Where this machine can be reached: what the operator says, else the source address of the default
/// route. Nothing is sent: connecting a datagram socket only asks the routing table.
fn addresses(advertise: Option<IpAddr>) -> Vec<String> {
    if let Some(address) = advertise {
        return vec![address.to_string()];
    }
    // 192.0.2.1 and 2001:db8::1 are set aside for documentation (RFC 5737, RFC 3849).
    [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")]
        .into_iter()
        .filter_map(|(from, to)| {
            let socket = UdpSocket::bind(from).ok()?;
            socket.connect(to).ok()?;
            Some(socket.local_addr().ok()?.ip().to_string())
        })
        .collect()
}

/// `PRETTY_NAME` of os-release.
fn operating_system() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let value = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::memory;

    #[tokio::test]
    async fn a_node_that_was_taken_out_comes_back_as_the_same_one_and_says_its_status_again() {
        let (store, stop) = (memory("n1").await, CancellationToken::new());
        // Not the leader's own: that one cannot be taken out.
        let node: (Arc<str>, Uid) = ("n2".into(), Uid("the-same".into()));
        let key = ObjectKey::node("n2");
        let (reporter, ending) = (Reporter::default(), CancellationToken::new());
        let watching = watch(
            node.clone(),
            None,
            store.clone(),
            Arc::new(crate::runtime::fake::Fake::new()),
            (Arc::default(), Arc::default(), tokio::sync::watch::channel(None).1),
            reporter.clone(),
            stop.clone(),
        );
        let reporting = reporter.run(store.clone(), "test".into(), ending.clone());
        let checking = async {
            let wait = async |what: &str, holds: &dyn Fn(&crate::store::State) -> bool| {
                let mut states = store.watch();
                let found = tokio::time::timeout(Duration::from_secs(20), states.wait_for(|s| holds(s))).await;
                assert!(found.is_ok(), "{what}: {:?}", store.state().object(&key));
            };
            let there = |s: &crate::store::State| {
                s.object(&key).is_some_and(|o| o.meta.uid == node.1) && s.node_status("n2").is_some()
            };
            wait("it is registered and known", &there).await;
            let first = store.state().object(&key).unwrap().meta.resource_version;
            let silent = Status::Node(NodeStatus::default());
            let commands = vec![
                Command::RecordObservations { statuses: vec![(key.clone(), node.1.clone(), silent)], events: vec![] },
                Command::Delete { key: key.clone() },
            ];
            store.propose(Group { commands, ..Group::default() }, DEADLINE).await.unwrap();
            let again = |s: &crate::store::State| there(s) && s.object(&key).unwrap().meta.resource_version > first;
            wait("it is back, and known", &again).await;
            stop.cancel();
            ending.cancel();
        };
        tokio::join!(stay_registered(&store, &node, &stop), watching, reporting, checking);
    }

    #[test]
    fn a_transition_moves_the_time_and_a_repeat_does_not() {
        let facts = Facts { capacity: (Millicores(2000), Bytes(1 << 30)), ..Facts::default() };
        let good = status(&facts, None, None, (true, 1), None, 10);
        assert_eq!(status(&facts, None, None, (true, 1), Some(&good), 20), good);
        let down = status(&facts, Some((Reason::DockerDown, "no socket")), None, (true, 1), Some(&good), 30);
        let of = |s: &NodeStatus, n: usize| {
            (s.conditions[n].status, s.conditions[n].reason, s.conditions[n].last_transition_time)
        };
        assert_eq!(of(&down, 0), (ConditionStatus::False, Reason::DockerDown, 30));
        assert_eq!(of(&down, 2), (ConditionStatus::True, Reason::Schedulable, 10));
        assert_eq!(down.cpus, Millicores(2000), "what was known stays");
        let cordoned = status(&facts, None, None, (false, 2), Some(&down), 40);
        assert_eq!(of(&cordoned, 2), (ConditionStatus::False, Reason::Cordoned, 40));
        assert_eq!(cordoned.conditions.iter().map(|c| c.observed_generation).max(), Some(2));
        let serving = |status, reason, message: &str| Serving { status, reason, message: message.into() };
        let conflict = serving(ConditionStatus::False, Reason::PortConflict, "port 80 is held by x (pid 1)");
        let shut = status(&facts, None, Some(&conflict), (true, 2), Some(&cordoned), 50);
        assert_eq!(of(&shut, 3), (ConditionStatus::False, Reason::PortConflict, 50));
        assert_eq!((shut.conditions[3].message.as_str(), of(&shut, 0).0), (&*conflict.message, ConditionStatus::True));
        let open = serving(ConditionStatus::True, Reason::PortsOpen, "open: 80");
        let serves = status(&facts, None, Some(&open), (true, 2), Some(&shut), 60);
        assert_eq!(of(&serves, 3), (ConditionStatus::True, Reason::PortsOpen, 60));
        assert_eq!(
            status(&facts, None, None, (true, 2), Some(&serves), 70).conditions.len(),
            3,
            "nothing is asked for"
        );
    }
}
