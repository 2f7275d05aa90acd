//! What keeps an object from being deleted.
//!
//! Here: the needs of a Node. Why in `apply`: a replica may be placed between the look of whoever
//! deletes and the deletion, and then nobody would ever end it.

use crate::{
    model::{ConditionStatus, ConditionType, NodeStatus, Object, Replica},
    store::State,
};

impl State {
    /// What a Node cannot be taken away from: its agent, its replicas, its data.
    pub(super) fn needs_node(&self, node: &Object) -> Option<String> {
        let (name, uid) = (&node.meta.name, &node.meta.uid);
        if self.leader.as_ref().is_some_and(|l| l.node == *name) {
            return Some("it leads the cluster".into());
        }
        if self.node_status(name).is_some_and(ready) {
            return Some("its agent reports that it is ready".into());
        }
        let ended = |r: &Replica| self.replica_status(&r.name).is_some_and(|s| s.phase.ended());
        match self.replicas_on(name).filter(|r| r.node_uid == *uid && !ended(r)).count() {
            0 => {}
            1 => return Some("1 replica on it has not ended".into()),
            left => return Some(format!("{left} replicas on it have not ended")),
        }
        let volume = self.volumes.values().find(|v| v.node == *uid && !v.shared)?;
        Some(format!("it has the data of {}", volume.source))
    }
}

fn ready(status: &NodeStatus) -> bool {
    status.conditions.iter().any(|c| c.kind == ConditionType::Ready && c.status == ConditionStatus::True)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            Condition, Desired, Index, Kind, ObjectKey, Reason, ReplicaPhase, ReplicaStatus, Status, Uid, Volume,
            testing::replica,
        },
        store::command::{Command, Group, Refusal, testing::put},
    };

    fn uid(text: &str) -> Uid {
        Uid(text.into())
    }
    fn place(desired: Desired) -> Vec<Command> {
        let replica = Replica { service_uid: uid("web"), node: "n2".into(), node_uid: uid("n2"), ..replica("web", 1) };
        let mut commands = vec![put(Kind::Service, "web"), Command::Place { replica, beside: None }];
        if desired == Desired::Stop {
            commands.push(Command::SetDesired { replica: "web-1-abcde".into(), desired, reason: Reason::Superseded });
        }
        commands
    }
    fn observe(key: ObjectKey, uid: Uid, status: Status) -> Command {
        Command::RecordObservations { statuses: vec![(key, uid, status)], events: vec![] }
    }
    fn ready_is(status: ConditionStatus) -> Command {
        let (kind, reason) = (ConditionType::Ready, Reason::NodeReady);
        let (message, last_transition_time) = (String::new(), 0);
        let ready = Condition { kind, status, reason, message, last_transition_time, observed_generation: 1 };
        let status = NodeStatus { conditions: vec![ready], ..NodeStatus::default() };
        observe(ObjectKey::node("n2"), uid("n2"), Status::Node(status))
    }
    fn phase(phase: ReplicaPhase) -> Command {
        let status = ReplicaStatus { phase, ..ReplicaStatus::default() };
        observe(ObjectKey::replica("web-1-abcde"), uid("uid of web-1-abcde"), Status::Replica(status))
    }
    fn volume(shared: bool) -> Command {
        Command::InitialiseVolume {
            volume: Volume {
                key: "n2/volume:data".into(),
                uid: uid("v"),
                source: "data".into(),
                node: uid("n2"),
                initialised_at: 0,
                filesystem: "f".into(),
                shared,
                services: vec!["web".into()],
                resource_version: Index(0),
            },
        }
    }

    #[test]
    fn a_node_is_not_taken_away_from_its_agent_its_replicas_or_its_data() {
        let leads = Command::LeaderStarted { member: 1, incarnation: 1, nonce: 1, node: "n2".into() };
        let stopped = [place(Desired::Stop), vec![phase(ReplicaPhase::Stopped)]].concat();
        for (case, before, by) in [
            ("nothing is left", vec![], None),
            ("it leads", vec![leads], Some("leads")),
            ("its agent lives", vec![ready_is(ConditionStatus::True)], Some("agent")),
            ("its agent is silent", vec![ready_is(ConditionStatus::Unknown)], None),
            ("a replica was placed meanwhile", place(Desired::Run), Some("1 replica on it")),
            ("a replica is being stopped", place(Desired::Stop), Some("1 replica on it")),
            ("a replica has ended", stopped, None),
            ("it has data", vec![volume(false)], Some("the data of data")),
            ("what it mounted is others' too", vec![volume(true)], None),
            ("one of two mounts was its own", vec![volume(true), volume(false)], Some("the data of data")),
            ("the same the other way round", vec![volume(false), volume(true)], Some("the data of data")),
        ] {
            let mut state = State::default();
            let run = |state: &mut State, commands| state.apply(&Group { commands, ..Group::default() });
            run(&mut state, vec![put(Kind::Node, "n2")]).unwrap();
            run(&mut state, before).unwrap();
            let answer = run(&mut state, vec![Command::Delete { key: ObjectKey::node("n2") }]);
            match (answer, by) {
                (Ok(_), None) => {}
                (Err(Refusal::InUse { by: found, .. }), Some(by)) => assert!(found.contains(by), "{case}: {found}"),
                (answer, _) => panic!("{case}: {answer:?}"),
            }
            assert_eq!(state.object(&ObjectKey::node("n2")).is_some(), by.is_some(), "{case}");
        }
    }
}
