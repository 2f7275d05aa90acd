//! Leader loop: the replicas of a Service, placement included. Keyed by Service.
//!
//! Here: [`Rollout`], which reads one state, asks `plan::rollout`, and proposes its steps with
//! preconditions. Not here: any decision; containers (the agent); images (`super::resolver`).
//! Invariants: every step rests on the Service at the version that was read, on each replica it stops,
//! each node it chose and the last word of each edge that it leaves out; what moved meanwhile refuses the whole group, and the pass is made again.
//! One pass runs at a time, over all Services: two placements never count the same free memory. Nor when
//! the answer to a proposal is lost and it is carried out later: a group that places something rests on
//! every placement that its plan knew, and on none since.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::Stream;

use crate::{
    controller::{Action, Reconciler},
    model::{Decision, Desired, Epoch, HookRun, Index, JobRecord, ObjectKey, Replica, Uid, rollout::Rollout as Record},
    plan::{
        rollout::{self, Step},
        view::ServiceView,
    },
    reconcile::{
        UNCONFIRMED,
        triggers::{self, Waiting},
        view,
    },
    store::{
        Client, ProposeError, State,
        command::{Command, Group},
    },
};

/// Longest wait for the answer to a proposal.
const DEADLINE: Duration = Duration::from_secs(5);
/// After a refusal: the state moved, look again soon.
const AGAIN: Duration = Duration::from_millis(50);
/// Steps in one group.
const STEPS: usize = 64;
/// Nodes' answers in one group: its decisions stay below the limit of an entry of the log.
const ANSWERS: usize = 1_024;
/// What a replica's suffix is made of.
const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Drives the replicas of Services.
pub struct Rollout {
    store: Client,
    reader: view::Reader,
    waiting: Waiting,
}

impl Rollout {
    /// For this store.
    #[must_use]
    pub fn new(store: Client) -> Self {
        Self { store, reader: view::Reader::default(), waiting: Waiting::default() }
    }

    /// What names Services: their own changes, and of those that wait, what others let go.
    pub fn keys(&self) -> impl Stream<Item = Arc<str>> + Send + 'static + use<> {
        let waiting = self.waiting.clone();
        triggers::keys(&self.store, move |state, scope| waiting.services(state, scope))
    }
}

/// The log did not take it.
#[derive(Debug, thiserror::Error)]
#[error("proposing the next steps of svc/{service}")]
pub struct RolloutError {
    service: Arc<str>,
    source: ProposeError,
}

impl Reconciler for Rollout {
    type Key = Arc<str>;
    type Error = RolloutError;

    async fn reconcile(&self, name: Arc<str>) -> Result<Action, RolloutError> {
        self.waiting.begin(&name);
        let state = self.store.state();
        if state.unconfirmed().is_some() {
            return Ok(Action::RequeueAfter(UNCONFIRMED));
        }
        let Some(service) = view::service(&state, &name) else {
            self.waiting.settled(&name);
            return Ok(Action::Done);
        };
        let nodes = self.reader.nodes(&state);
        let plan = rollout::plan(&service, &nodes, self.store.now());
        let size = (ANSWERS / nodes.len().max(1)).clamp(1, STEPS);
        let (mut based, turned) = (service.rollout.clone(), plan.record.clone());
        let turn = turn(&service, plan.record).or_else(|| job(&service, plan.job));
        let turn = turn.map(|turn| Group { commands: vec![turn], ..resting(&service, None) });
        if let Some(turn) = turn {
            if !self.carried_out(&name, turn).await? {
                return Ok(Action::RequeueAfter(AGAIN));
            }
            based = self.store.state().rollout(&service.uid).cloned();
            let same = |r: &Arc<Record>| {
                turned
                    .as_ref()
                    .is_none_or(|turned| **r == Record { resource_version: r.resource_version, ..turned.clone() })
            };
            if !based.as_ref().is_none_or(same) {
                // Somebody said another word since.
                return Ok(Action::RequeueAfter(AGAIN));
            }
        }
        let based = based.map(|record| record.resource_version);
        let groups = groups(&state, &service, based, plan.steps.chunks(size), &mut rand::rng());
        for group in groups {
            if !self.carried_out(&name, group).await? {
                return Ok(Action::RequeueAfter(AGAIN));
            }
        }
        if plan.holds.is_empty() {
            self.waiting.settled(&name);
        }
        // What follows is named by the changes that these steps make, or by time.
        let wait = plan.look_again.map(|at| at.saturating_sub(self.store.now()).saturating_add(1));
        Ok(wait.map_or(Action::Done, |wait| Action::RequeueAfter(Duration::from_millis(wait))))
    }
}

impl Rollout {
    /// False: the state has moved.
    async fn carried_out(&self, name: &Arc<str>, group: Group) -> Result<bool, RolloutError> {
        match self.store.propose(group, DEADLINE).await {
            Ok(_) => Ok(true),
            Err(ProposeError::Refused(refusal)) => {
                tracing::debug!(service = %name, %refusal, "the state moved");
                Ok(false)
            }
            Err(source) => Err(RolloutError { service: name.clone(), source }),
        }
    }
}

/// What rests on the Service as it was read, and on the record of its rollout at this version.
fn resting(service: &ServiceView, based: Option<Index>) -> Group {
    let version = service.declared.as_ref().map(|(meta, _)| meta.resource_version);
    Group {
        actor: "rollout".into(),
        preconditions: vec![(ObjectKey::service(service.name.clone()), version)],
        rollout: based.map(|based| (service.uid.clone(), based)),
        ..Group::default()
    }
}

/// The record of the rollout, if it has moved on.
fn turn(service: &ServiceView, record: Option<Record>) -> Option<Command> {
    let old = service.rollout.as_deref();
    let record = record.filter(|record| old != Some(record))?;
    Some(Command::SetRollout {
        service: service.name.clone(),
        uid: service.uid.clone(),
        rollout: Box::new(record),
        based_on: old.map(|old| old.resource_version),
    })
}

/// The runs of a job, if anything became of them.
fn job(service: &ServiceView, record: Option<JobRecord>) -> Option<Command> {
    let old = service.job.as_deref();
    let record = record.filter(|record| old.cloned().unwrap_or_default() != *record)?;
    Some(Command::SetJob {
        service: service.name.clone(),
        uid: service.uid.clone(),
        job: Box::new(record),
        based_on: old.map(|old| old.resource_version),
    })
}

/// Steps as groups that are all or nothing, each resting on what was read, and on the record of the rollout at a version.
fn groups<'a>(
    state: &State,
    service: &ServiceView,
    based: Option<Index>,
    chunks: impl Iterator<Item = &'a [Step]>,
    rng: &mut impl rand::Rng,
) -> Vec<Group> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut placements = state.placements();
    chunks
        .map(|steps| {
            let Group { mut preconditions, rollout, actor, .. } = resting(service, based);
            let mut commands = Vec::with_capacity(steps.len());
            let mut nodes: BTreeSet<&Arc<str>> = BTreeSet::new();
            let mut edgeless = false;
            let known = placements;
            for step in steps {
                commands.push(match step {
                    Step::Stop { replica, reason } => {
                        let key = ObjectKey::replica(replica.clone());
                        preconditions.push((key.clone(), state.version(&key)));
                        // Nobody took it off the routes of one that comes meanwhile.
                        edgeless |= service.edges.is_empty();
                        Command::SetDesired { replica: replica.clone(), desired: Desired::Stop, reason: *reason }
                    }
                    Step::Drain { replica, reason } => {
                        let key = ObjectKey::replica(replica.clone());
                        preconditions.push((key.clone(), state.version(&key)));
                        Command::Drain { replica: replica.clone(), reason: *reason }
                    }
                    Step::DropEdge { edge } => {
                        let uid = state.object(&ObjectKey::node(edge.node.clone())).map(|o| o.meta.uid.clone());
                        let (node, judged) = (uid.unwrap_or_else(|| Uid("".into())), Some(edge.clone()));
                        Command::RecordEdge { node, edge: None, judged }
                    }
                    Step::Forget { replica } => Command::Forget { replica: replica.clone() },
                    Step::Place { slot, revision, spec_hash, node, decision, beside, run, hook } => {
                        nodes.insert(&node.0);
                        placements += 1;
                        let place = match hook {
                            Some(run) => run.stage.as_str().to_lowercase(),
                            None => slot.to_string(),
                        };
                        let name = loop {
                            let name = format!("{}-{place}-{}", service.name, suffix(rng));
                            if state.replica(&name).is_none() && taken.insert(name.clone()) {
                                break name;
                            }
                        };
                        let placed = Placed { slot, revision: *revision, spec_hash, node, decision, run: *run, hook };
                        Command::Place {
                            replica: replica(service, name.into(), Uid::from_bytes(rng.random()), placed),
                            beside: beside.clone(),
                        }
                    }
                });
            }
            preconditions.extend(nodes.into_iter().map(|n| {
                let key = ObjectKey::node(n.clone());
                let version = state.version(&key);
                (key, version)
            }));
            let known = (placements > known).then_some(known);
            Group { actor, preconditions, rollout, placements: known, edgeless, commands, ..Group::default() }
        })
        .collect()
}

/// What a placement decided.
struct Placed<'a> {
    slot: &'a crate::model::Slot,
    revision: u64,
    spec_hash: &'a str,
    node: &'a (Arc<str>, Uid),
    decision: &'a Decision,
    run: Option<u64>,
    hook: &'a Option<Box<HookRun>>,
}

/// The replica to place; indexes, epoch and time are filled in by apply.
fn replica(service: &ServiceView, name: Arc<str>, uid: Uid, placed: Placed<'_>) -> Replica {
    Replica {
        name,
        uid,
        service: service.name.clone(),
        service_uid: service.uid.clone(),
        slot: placed.slot.clone(),
        revision: placed.revision,
        spec_hash: placed.spec_hash.to_owned(),
        node: placed.node.0.clone(),
        node_uid: placed.node.1.clone(),
        epoch: Epoch::default(),
        desired: Desired::Run,
        stop_reason: None,
        draining: None,
        run: placed.run,
        hook: placed.hook.clone(),
        decision: placed.decision.clone(),
        index: Index(0),
        resource_version: Index(0),
        created_at: 0,
    }
}

fn suffix(rng: &mut impl rand::Rng) -> String {
    (0..5).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{
        model::{
            Bytes, Declared, Edge, Kind, Millicores, NodeStatus, Resolution, ResolvedImage, RolloutPhase, Spec, Status,
            node::NodeSpec,
        },
        store::{command::Refusal, put::put, seal::Sealer},
    };

    fn run(state: &mut State, command: Command) {
        state.apply(&Group { commands: vec![command], ..Group::default() }).unwrap();
    }
    fn declare(state: &mut State, name: &str, spec: Spec) -> Uid {
        let declared = Declared { name: name.into(), labels: BTreeMap::new(), annotations: BTreeMap::new(), spec };
        let put = put(&declared, None, &Sealer::ephemeral(), state, Uid(format!("uid of {name}").into())).unwrap();
        let uid = put.uid.clone();
        run(state, Command::Put(put));
        uid
    }
    /// A node, and services that are about to be placed there.
    fn state(services: &[(&str, serde_json::Value)]) -> State {
        let mut state = State::default();
        let uid = declare(&mut state, "n1", Spec::Node(NodeSpec::first()));
        let status = NodeStatus { cpus: Millicores(8000), memory: Bytes(64 << 30), ..NodeStatus::default() };
        let statuses = vec![(ObjectKey::new(Kind::Node, "n1"), uid, Status::Node(status))];
        run(&mut state, Command::RecordObservations { statuses, events: vec![] });
        for (name, spec) in services {
            let spec = serde_json::from_value(spec.clone()).unwrap();
            let service = declare(&mut state, name, Spec::Service(Box::new(spec)));
            let image = Resolution::Resolved { image: ResolvedImage::Digest { reference: "a@sha256:1".into() } };
            run(&mut state, Command::ResolveImage { service, revision: 1, image });
        }
        state
    }
    fn planned(state: &State, service: &str, size: usize) -> Vec<Group> {
        let service = view::service(state, service).unwrap();
        let plan = rollout::plan(&service, &view::Reader::default().nodes(state), 0);
        let based = service.rollout.as_ref().map(|record| record.resource_version);
        groups(state, &service, based, plan.steps.chunks(size), &mut rand::rng())
    }

    #[test]
    fn a_placement_whose_answer_was_lost_is_no_second_writer() {
        let writes = json!({"image": "pg", "volumes": [{"type": "bind", "source": "/srv/db", "target": "/d"}]});
        let before = state(&[("a", writes.clone()), ("b", writes)]);
        let [a, b] = ["a", "b"].map(|service| planned(&before, service, 64));
        for (first, second) in [(&a, &b), (&b, &a)] {
            let mut state = before.clone();
            state.apply(&first[0]).unwrap();
            assert_eq!(state.apply(&second[0]), Err(Refusal::Placed { expected: 0, found: 1 }));
            assert_eq!(state.replicas().count(), 1);
        }
        let mut state = before.clone();
        state.apply(&a[0]).unwrap();
        assert_eq!(planned(&state, "b", 64), [], "it waits for the one that writes");
    }

    #[test]
    fn no_step_follows_a_word_that_stops_it() {
        let mut state = state(&[("web", json!({"image": "a", "replicas": 2}))]);
        let view = view::service(&state, "web").unwrap();
        let record = rollout::plan(&view, &view::Reader::default().nodes(&state), 0).record.unwrap();
        run(&mut state, turn(&view, Some(record.clone())).unwrap());
        let groups = planned(&state, "web", 1);
        assert!(groups.len() == 2 && groups.iter().all(|group| group.rollout.is_some()), "{groups:?}");
        state.apply(&groups[0]).unwrap();
        let view = view::service(&state, "web").unwrap();
        run(&mut state, turn(&view, Some(Record { phase: RolloutPhase::Halted, ..record })).unwrap());
        assert!(matches!(state.apply(&groups[1]), Err(Refusal::Conflict { .. })));
        assert_eq!(state.replicas().count(), 1);
    }

    #[test]
    fn an_edge_that_speaks_again_is_not_left_out_for_its_silence() {
        let mut state = state(&[("web", json!({"image": "a"}))]);
        let node = state.object(&ObjectKey::node("n1")).unwrap().meta.uid.clone();
        let says = |state: &mut State, at| {
            let edge = Edge { node: "n1".into(), served: Index(3), at, drained: BTreeSet::new() };
            run(state, Command::RecordEdge { node: node.clone(), edge: Some(edge), judged: None });
        };
        let leave_out = |state: &State| {
            let steps = [Step::DropEdge { edge: state.edge(&node).unwrap().clone() }];
            let service = view::service(state, "web").unwrap();
            groups(state, &service, None, steps.chunks(1), &mut rand::rng()).remove(0)
        };
        says(&mut state, 1);
        let late = leave_out(&state);
        says(&mut state, 2);
        assert_eq!(state.apply(&late), Err(Refusal::EdgeSpoke { node: "n1".into() }));
        assert_eq!(state.edge(&node).map(|edge| edge.at), Some(2));
        let drop = leave_out(&state);
        state.apply(&drop).unwrap();
        assert_eq!(state.edge(&node), None);
        // Two services may ask for the same.
        state.apply(&drop).unwrap();
    }

    #[test]
    fn what_is_stopped_where_no_edge_was_is_not_stopped_behind_one_that_came_meanwhile() {
        let mut state = state(&[("web", json!({"image": "a"}))]);
        let mut rng = rand::rng();
        let place = rollout::plan(&view::service(&state, "web").unwrap(), &view::nodes(&state), 1);
        for group in groups(&state, &view::service(&state, "web").unwrap(), None, place.steps.chunks(1), &mut rng) {
            state.apply(&group).unwrap();
        }
        let replica = state.replicas().next().unwrap().name.clone();
        let node = state.object(&ObjectKey::node("n1")).unwrap().meta.uid.clone();
        let says = |state: &mut State, edge| run(state, Command::RecordEdge { node: node.clone(), edge, judged: None });
        let stop = |state: &State| {
            let steps = [Step::Stop { replica: replica.clone(), reason: crate::model::Reason::Replaced }];
            groups(state, &view::service(state, "web").unwrap(), None, steps.chunks(1), &mut rand::rng()).remove(0)
        };
        let late = stop(&state);
        says(&mut state, Some(Edge { node: "n1".into(), served: Index(3), at: 1, drained: BTreeSet::new() }));
        assert_eq!(state.apply(&late), Err(Refusal::EdgeSpoke { node: "n1".into() }));
        assert_eq!(state.replica(&replica).unwrap().desired, Desired::Run);
        // Who knows of it has decided.
        let known = stop(&state);
        state.apply(&known).unwrap();
        assert_eq!(state.replica(&replica).unwrap().desired, Desired::Stop);
    }

    #[test]
    fn the_groups_of_one_plan_follow_one_another() {
        let mut state = state(&[("web", json!({"image": "a", "replicas": 5}))]);
        let groups = planned(&state, "web", 2);
        assert_eq!(groups.iter().map(|g| g.placements).collect::<Vec<_>>(), [Some(0), Some(2), Some(4)]);
        for group in &groups {
            state.apply(group).unwrap();
        }
        // A group that only stops rests on nobody's placements.
        let stop = json!({"image": "a", "replicas": 0});
        declare(&mut state, "web", Spec::Service(Box::new(serde_json::from_value(stop).unwrap())));
        let groups = planned(&state, "web", 64);
        assert_eq!((groups.len(), groups[0].placements), (1, None));
    }
}
