//! What holds for all histories of commands.

use std::{collections::BTreeSet, sync::Arc};

use proptest::{prelude::*, test_runner::FileFailurePersistence};

use crate::{
    model::{
        Desired, Edge, EventType, Index, JobRecord, Kind, NewEvent, ObjectKey, Reason, Replica, ReplicaPhase,
        ReplicaStatus, Resolution, ResolvedImage, Rollout, RolloutPhase, RunState, Slot, Status, Uid, Volume,
        event::Subject, job::Trigger,
    },
    store::{
        State,
        command::{Command, Group, Idempotency, Outcome, PutObject, Refusal},
        snapshot::Content,
    },
};

/// A step that becomes a command of the state it meets, so that many of them are carried out.
#[derive(Debug, Clone)]
enum Step {
    Put { kind: Kind, name: u8, spec: u8, set: Option<u8>, stale: bool },
    Delete { kind: Kind, name: u8 },
    Place { service: u8, slot: u32, node: u8, old: bool, beside: bool },
    Drain { pick: u8 },
    Roll { service: u8, target: u8, stale: bool },
    Job { service: u8, end: Option<bool>, forget: bool, stale: bool },
    Edge { node: u8, served: Option<u64>, stale: Option<bool> },
    Stop { pick: u8 },
    Forget { pick: u8 },
    Observe { pick: u8, phase: bool, ready: bool },
    Resolve { service: u8, ok: bool },
    Volume { node: u8, name: u8, service: u8 },
    Lead { nonce: u64 },
    Form,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Service, Kind::Config, Kind::Secret, Kind::Node, Kind::Replica])
}
fn step() -> impl Strategy<Value = Step> {
    let small = || 0u8..3;
    prop_oneof![
        6 => (kind(), small(), small(), prop::option::weighted(0.2, small()), prop::bool::weighted(0.1))
            .prop_map(|(kind, name, spec, set, stale)| Step::Put { kind, name, spec, set, stale }),
        1 => (kind(), small()).prop_map(|(kind, name)| Step::Delete { kind, name }),
        5 => (small(), 1u32..4, small(), any::<bool>(), prop::bool::weighted(0.3))
            .prop_map(|(service, slot, node, old, beside)| Step::Place { service, slot, node, old, beside }),
        1 => any::<u8>().prop_map(|pick| Step::Drain { pick }),
        1 => (small(), 0u8..4, any::<bool>())
            .prop_map(|(service, target, stale)| Step::Roll { service, target, stale }),
        2 => (small(), prop::option::of(any::<bool>()), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(service, end, forget, stale)| Step::Job { service, end, forget, stale }),
        1 => (small(), prop::option::of(0u64..9), prop::option::of(any::<bool>()))
            .prop_map(|(node, served, stale)| Step::Edge { node, served, stale }),
        2 => any::<u8>().prop_map(|pick| Step::Stop { pick }),
        2 => any::<u8>().prop_map(|pick| Step::Forget { pick }),
        3 => (any::<u8>(), any::<bool>(), any::<bool>())
            .prop_map(|(pick, phase, ready)| Step::Observe { pick, phase, ready }),
        1 => (small(), any::<bool>()).prop_map(|(service, ok)| Step::Resolve { service, ok }),
        1 => (small(), small(), small()).prop_map(|(node, name, service)| Step::Volume { node, name, service }),
        1 => any::<u64>().prop_map(|nonce| Step::Lead { nonce }),
        1 => Just(Step::Form),
    ]
}

fn name(n: u8) -> Arc<str> {
    format!("n{n}").into()
}
fn uid(n: u64) -> Uid {
    Uid(format!("{n:032x}").into())
}
fn picked(state: &State, pick: u8) -> Option<Arc<Replica>> {
    let count = state.replicas().count();
    state.replicas().nth(usize::from(pick) % count.max(1)).cloned()
}
fn absent() -> Arc<Replica> {
    Arc::new(replica("gone", &uid(0), 1, "x", &Slot::Number(1), 0))
}
fn replica(name_: &str, service: &Uid, revision: u64, hash: &str, slot: &Slot, node: u8) -> Replica {
    Replica {
        name: name_.into(),
        uid: Uid(format!("replica {name_}").into()),
        service_uid: service.clone(),
        slot: slot.clone(),
        revision,
        spec_hash: hash.into(),
        node: name(node),
        node_uid: uid(u64::from(node)),
        ..crate::model::testing::replica("n0", 1)
    }
}

/// The command of a step at a state; `n` makes names and identities unique.
fn command(step: &Step, state: &State, n: u64) -> Command {
    match step {
        Step::Put { kind, name: number, spec, set, stale } => {
            let old = state.object(&ObjectKey::new(*kind, name(*number)));
            Command::Put(PutObject {
                kind: *kind,
                name: name(*number),
                labels: [].into(),
                annotations: [].into(),
                managed_by: set.map(|s| format!("set{s}")),
                spec: format!("{{\"x\":{spec}}}").into_bytes(),
                uid: old.map_or_else(|| uid(n), |o| o.meta.uid.clone()),
                based_on: old.filter(|_| !stale).map(|o| o.meta.resource_version),
                spec_hash: matches!(kind, Kind::Service | Kind::Secret).then(|| format!("h{spec}")),
            })
        }
        Step::Delete { kind, name: number } => Command::Delete { key: ObjectKey::new(*kind, name(*number)) },
        Step::Place { service, slot, node, old, beside } => {
            let object = state.object(&ObjectKey::service(name(*service)));
            let service_uid = object.map_or_else(|| uid(0), |o| o.meta.uid.clone());
            let mut revisions = state.revisions(&service_uid);
            let revision = if *old { revisions.next() } else { revisions.next_back() };
            let (number, hash) = revision.map_or((1, "h0".into()), |r| (r.number, r.spec_hash.clone()));
            let made = replica(&format!("r{n}"), &service_uid, number, &hash, &Slot::Number(*slot), *node);
            let mut holders = state.replicas_of(&service_uid).filter(|r| r.slot == Slot::Number(*slot));
            let beside = holders.find(|r| *beside && r.desired == Desired::Run).map(|r| r.name.clone());
            // Every other one is an attempt of the newest run.
            let run = state
                .job(&service_uid)
                .filter(|_| n.is_multiple_of(2))
                .and_then(|job| job.newest())
                .map(|run| run.number);
            Command::Place { replica: Replica { service: name(*service), run, ..made }, beside }
        }
        Step::Drain { pick } => Command::Drain {
            replica: picked(state, *pick).unwrap_or_else(absent).name.clone(),
            reason: Reason::Superseded,
        },
        Step::Roll { service, target, stale } => {
            let object = state.object(&ObjectKey::service(name(*service)));
            let uid = object.map_or_else(|| uid(0), |o| o.meta.uid.clone());
            let old = state.rollout(&uid).map(|r| r.resource_version);
            let rollout = Rollout { target: u64::from(*target), started_at: n, ..Rollout::default() };
            let based_on = if *stale { Some(Index(n)) } else { old };
            Command::SetRollout { service: name(*service), uid, rollout: Box::new(rollout), based_on }
        }
        Step::Job { service, end, forget, stale } => {
            let object = state.object(&ObjectKey::service(name(*service)));
            let uid = object.map_or_else(|| uid(0), |o| o.meta.uid.clone());
            let old = state.job(&uid);
            let mut job = old.map_or_else(JobRecord::default, |old| (**old).clone());
            match end {
                Some(well) => {
                    let state = if *well { RunState::Succeeded } else { RunState::Failed };
                    job.runs.iter_mut().filter(|run| run.runs()).take(1).for_each(|run| run.end(state, n));
                }
                None => {
                    let revision = state.newest_revision(&uid).map_or(1, |r| r.number);
                    job.begin(Trigger::Spec, revision, 1, n);
                }
            }
            if *forget {
                job.runs.retain(crate::model::Run::runs);
            }
            let based_on = if *stale { Some(Index(n)) } else { old.map(|old| old.resource_version) };
            Command::SetJob { service: name(*service), uid, job: Box::new(job), based_on }
        }
        Step::Edge { node, served, stale } => {
            let uid = state.object(&ObjectKey::node(name(*node))).map_or_else(|| uid(0), |o| o.meta.uid.clone());
            let edge = |served| Edge { node: name(*node), served: Index(served), at: n, drained: BTreeSet::new() };
            let said = state.edge(&uid).cloned();
            let judged = stale.and_then(|stale| if stale { Some(Arc::new(edge(0))) } else { said });
            Command::RecordEdge { node: uid, edge: served.map(edge), judged }
        }
        Step::Stop { pick } => {
            let replica = picked(state, *pick).unwrap_or_else(absent).name.clone();
            Command::SetDesired { replica, desired: Desired::Stop, reason: Reason::Superseded }
        }
        Step::Forget { pick } => Command::Forget { replica: picked(state, *pick).unwrap_or_else(absent).name.clone() },
        Step::Observe { pick, phase, ready } => {
            let replica = picked(state, *pick).unwrap_or_else(absent);
            let phase = if *phase { ReplicaPhase::Running } else { ReplicaPhase::Stopped };
            let status = Status::Replica(ReplicaStatus { phase, ready: *ready, ..ReplicaStatus::default() });
            let key = ObjectKey::replica(replica.name.clone());
            let event = NewEvent {
                kind: EventType::Normal,
                reason: Reason::Started,
                object: Subject { kind: Kind::Replica, name: replica.name.clone(), uid: replica.uid.clone() },
                node: None,
                message: format!("attempt {n}"),
                time: n,
                count: 1,
            };
            Command::RecordObservations { statuses: vec![(key, replica.uid.clone(), status)], events: vec![event] }
        }
        Step::Resolve { service, ok } => {
            let object = state.object(&ObjectKey::service(name(*service)));
            let service = object.map_or_else(|| uid(0), |o| o.meta.uid.clone());
            let revision = state.newest_revision(&service).map_or(1, |r| r.number);
            let image = if *ok {
                Resolution::Resolved { image: ResolvedImage::Digest { reference: format!("x@sha256:{n}") } }
            } else {
                let message = format!("no such image, {n}");
                Resolution::Failed {
                    reason: Reason::ImageNotFound,
                    message,
                    since: n,
                    next_attempt: n + 1,
                    attempts: 1,
                }
            };
            Command::ResolveImage { service, revision, image }
        }
        Step::Volume { node, name: number, service } => {
            let at = state.object(&ObjectKey::node(name(*node)));
            Command::InitialiseVolume {
                volume: Volume {
                    key: format!("n{node}/volume:v{number}").into(),
                    uid: uid(n),
                    source: format!("v{number}"),
                    node: at.map_or_else(|| uid(0), |o| o.meta.uid.clone()),
                    initialised_at: 0,
                    filesystem: "fs".into(),
                    shared: false,
                    services: vec![name(*service)],
                    resource_version: Index(0),
                },
            }
        }
        Step::Lead { nonce } => Command::LeaderStarted { member: 1, incarnation: n, nonce: *nonce, node: name(0) },
        Step::Form => Command::FormCluster { name: "c".into(), node: name(0), cluster: uid(n), lineage: uid(n + 1) },
    }
}

/// Groups of steps, some with a precondition that may or may not hold.
type History = Vec<(Vec<Step>, Option<(u8, bool)>)>;

fn history() -> impl Strategy<Value = History> {
    let group = (prop::collection::vec(step(), 1..5), prop::option::weighted(0.3, (0u8..3, any::<bool>())));
    prop::collection::vec(group, 1..40)
}
fn group(steps: &[Step], expect: Option<(u8, bool)>, state: &State, n: u64) -> Group {
    let commands = steps.iter().zip(0..).map(|(step, i)| command(step, state, n * 10 + i)).collect();
    let preconditions = expect.map(|(number, right)| {
        let key = ObjectKey::new(Kind::Config, name(number));
        let found = state.version(&key);
        (key, if right { found } else { Some(Index(found.map_or(7, |i| i.0 + 1))) })
    });
    Group { at: n, preconditions: preconditions.into_iter().collect(), commands, ..Group::default() }
}

/// Everything but the clock and the remembered keys.
fn trace(state: &State) -> String {
    State { time: 0, keys: super::super::keys::Keys::default(), ..state.clone() }.hash()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_group_is_all_or_nothing_and_its_indexes_are_contiguous(history in history()) {
        let mut state = State::default();
        for (n, (steps, expect)) in (1..).zip(&history) {
            let group = group(steps, *expect, &state, n);
            let (before, was) = (state.index(), trace(&state));
            let stale = group.preconditions.iter().any(|(key, expected)| state.version(key) != *expected);
            let answer = state.apply(&group);
            prop_assert!(!stale || matches!(answer, Err(Refusal::Conflict { .. })), "{:?}: {:?}", group, answer);
            match answer {
                Err(_) => prop_assert_eq!(trace(&state), was, "a refusal left a trace: {:?}", group),
                Ok(applied) => {
                    prop_assert_eq!(applied.index, state.index());
                    let changes = state.changes_after(before).unwrap().map(|c| c.index.0);
                    let events = state.events_after(before).unwrap().map(|e| e.index.0);
                    let used: Vec<u64> = changes.chain(events).collect();
                    prop_assert!(used.iter().all(|i| (before.0 + 1..=state.index().0).contains(i)));
                    prop_assert_eq!(used.iter().collect::<BTreeSet<_>>().len(), used.len(), "an index was used twice");
                    for object in &applied.objects {
                        prop_assert!(object.result == Outcome::Unchanged || object.resource_version > before);
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_commands_give_the_same_state_through_any_snapshot(history in history(), cut in 0usize..40) {
        let (mut one, mut other) = (State::default(), State::default());
        for (n, (steps, expect)) in (1..).zip(&history) {
            let group = group(steps, *expect, &one, n);
            let answer = one.apply(&group);
            prop_assert_eq!(answer, other.apply(&group));
            if n as usize == cut {
                let packed = Content { state: other, ..Content::default() }.pack().unwrap();
                other = Content::unpack("test", &packed).unwrap().state;
            }
            prop_assert_eq!(one.hash(), other.hash());
        }
    }

    #[test]
    fn an_epoch_is_granted_once_and_a_slot_runs_once(history in history()) {
        let (mut state, mut granted) = (State::default(), BTreeSet::new());
        for (n, (steps, expect)) in (1..).zip(&history) {
            let group = group(steps, *expect, &state, n);
            if state.apply(&group).is_err() { continue }
            for command in &group.commands {
                if let Command::Place { replica, .. } = command
                    && let Some(placed) = state.replica(&replica.name)
                {
                    prop_assert!(granted.insert(placed.epoch), "{} granted twice", placed.epoch);
                }
            }
            let running: Vec<_> = state.replicas().filter(|r| r.desired == Desired::Run).collect();
            for r in &running {
                // Attempts of a run that ended by themselves are kept for their logs.
                let ended = |o: &Replica| {
                    o.run.is_some() && state.replica_status(&o.name).is_some_and(|s| s.phase.ended())
                };
                let place = |o: &Replica| (o.service_uid.clone(), o.slot.clone(), o.run);
                let others = running.iter().filter(|o| !ended(o) && place(o) == place(r)).count();
                prop_assert!(others <= 2, "one, and for a while the one that follows it");
            }
        }
    }

    #[test]
    fn the_maps_agree_with_each_other(history in history()) {
        let mut state = State::default();
        for (n, (steps, expect)) in (1..).zip(&history) {
            let group = group(steps, *expect, &state, n);
            let _ = state.apply(&group);
            for service in (0..3).filter_map(|n| state.object(&ObjectKey::service(name(n))).cloned()) {
                let slow: Vec<_> = state.replicas().filter(|r| r.service_uid == service.meta.uid).collect();
                prop_assert_eq!(state.replicas_of(&service.meta.uid).collect::<Vec<_>>(), slow);
                prop_assert_eq!(state.object_by_uid(&service.meta.uid), Some(&service));
                prop_assert!(state.newest_revision(&service.meta.uid).is_some());
            }
            for node in 0..3 {
                let node = name(node);
                let slow: Vec<_> = state.replicas().filter(|r| r.node == node).collect();
                prop_assert_eq!(state.replicas_on(&node).collect::<Vec<_>>(), slow);
            }
            let objects = Kind::ALL.into_iter().map(|k| state.objects(k).count()).sum::<usize>();
            prop_assert_eq!(state.uids.len(), objects);
            for replica in state.replicas() {
                prop_assert!(state.revision(&replica.service_uid, replica.revision).is_some(), "its revision is kept");
            }
            for (uid, rollout) in &state.rollouts {
                prop_assert!(state.object_by_uid(uid).is_some_and(|o| o.kind == Kind::Service));
                prop_assert!(state.revision(uid, rollout.target).is_some(), "the wanted revision is kept");
            }
            for (uid, job) in &state.jobs {
                prop_assert!(state.object_by_uid(uid).is_some_and(|o| o.kind == Kind::Service));
                prop_assert!(job.runs.iter().all(|run| run.number <= job.last && run.index <= job.resource_version));
                for run in job.runs.iter().filter(|run| run.runs()) {
                    prop_assert!(state.revision(uid, run.revision).is_some(), "its revision is kept");
                }
            }
            prop_assert!(state.edges().all(|(uid, _)| state.object_by_uid(uid).is_some_and(|o| o.kind == Kind::Node)));
        }
    }

    #[test]
    fn a_key_gives_its_answer_again_and_changes_nothing(history in history()) {
        let mut state = State::default();
        for (n, (steps, expect)) in (1..).zip(&history) {
            let mut group = group(steps, *expect, &state, n);
            group.idempotency = Some(Idempotency { key: format!("k{n}").into(), request: "r".into() });
            let before = state.index();
            let answer = state.apply(&group);
            let hash = state.hash();
            // What moved nothing is not remembered, and moves nothing again.
            let kept = answer.is_err() || state.index() != before;
            prop_assert_eq!(state.apply(&group), answer);
            prop_assert_eq!(state.hash(), hash);
            group.idempotency = Some(Idempotency { key: format!("k{n}").into(), request: "other".into() });
            let reused = matches!(state.apply(&group), Err(Refusal::KeyReused { .. }));
            prop_assert_eq!(reused, kept);
        }
    }

    #[test]
    fn a_watcher_that_resumes_sees_each_change_once_or_learns_that_it_is_gone(history in history(), every in 1usize..5) {
        let (mut state, mut at, mut seen) = (State::default(), Index(0), Vec::new());
        for (n, (steps, expect)) in (1usize..).zip(&history) {
            let group = group(steps, *expect, &state, n as u64);
            let _ = state.apply(&group);
            if n % every == 0 {
                seen.extend(state.changes_after(at).unwrap().map(|c| c.index));
                at = state.index();
            }
        }
        seen.extend(state.changes_after(at).unwrap().map(|c| c.index));
        let all: Vec<_> = state.changes_after(Index(0)).unwrap().map(|c| c.index).collect();
        prop_assert_eq!(seen, all);
    }
}

fn put(state: &mut State, number: u8, spec: u8) {
    let step = Step::Put { kind: Kind::Config, name: number, spec, set: None, stale: false };
    let at = state.index().0;
    let commands = vec![command(&step, state, at)];
    state.apply(&Group { at, commands, ..Group::default() }).unwrap();
}

#[test]
fn a_position_older_than_the_ring_is_gone_and_the_oldest_kept_is_not() {
    let mut state = State::default();
    put(&mut state, 0, 0);
    let early = state.index();
    for n in 0..=super::super::ring::CHANGES {
        put(&mut state, 0, (n % 2) as u8 + 1);
    }
    let gone = state.changes_after(early).err().unwrap();
    let resumed: Vec<_> = state.changes_after(Index(gone.oldest.0 - 1)).unwrap().collect();
    assert_eq!(resumed.len(), super::super::ring::CHANGES);
    assert!(state.changes_after(state.index()).unwrap().next().is_none());
}

#[test]
fn large_changes_leave_the_ring_by_their_bytes_and_their_watchers_learn_it() {
    let (mut state, size) = (State::default(), 1 << 20);
    put(&mut state, 0, 0);
    let early = state.index();
    for n in 0..20u8 {
        let Command::Put(mut large) =
            command(&Step::Put { kind: Kind::Config, name: 1, spec: n, set: None, stale: false }, &state, u64::from(n))
        else {
            panic!("a put is a put")
        };
        large.spec = vec![n; size];
        state.apply(&Group { commands: vec![Command::Put(large)], ..Group::default() }).unwrap();
    }
    let gone = state.changes_after(early).err().unwrap();
    let kept: Vec<_> = state.changes_after(Index(gone.oldest.0 - 1)).unwrap().collect();
    assert_eq!(kept.len(), super::super::ring::CHANGE_BYTES / size - 1, "each takes a little more than its bytes");
    let one_too_old = kept[0].index.0 - 3; // a put moves the index twice: the object and its event
    assert!(state.changes_after(Index(one_too_old)).is_err(), "the change at {} is not kept", one_too_old + 1);
}

#[test]
fn a_way_back_that_ends_otherwise_is_noted_with_the_revision_that_was_left() {
    use RolloutPhase::{Halted, Progressing, RolledBack, RollingBack};
    let uid_of = |state: &State| state.object(&ObjectKey::service(name(0))).unwrap().meta.uid.clone();
    let told = |phase, target, message: &str| Rollout {
        target,
        newest: 2,
        from: Some(2),
        phase,
        message: message.into(),
        started_at: 7,
        ..Rollout::default()
    };
    for (case, last, noted) in [
        ("it halts", told(Halted, 1, "does not come back"), (Halted, "does not come back")),
        ("another is asked for", told(Progressing, 3, ""), (RolledBack, "exit 1")),
        ("it arrives", told(RolledBack, 1, "exit 1"), (RolledBack, "exit 1")),
    ] {
        let mut state = State::default();
        for (n, spec) in [(1, 1), (2, 2), (3, 0)] {
            let step = Step::Put { kind: Kind::Service, name: 0, spec, set: None, stale: false };
            let put = command(&step, &state, n);
            state.apply(&Group { commands: vec![put], ..Group::default() }).unwrap();
        }
        let uid = uid_of(&state);
        for rollout in [told(Progressing, 2, ""), told(RollingBack, 1, "exit 1"), last] {
            let based_on = state.rollout(&uid).map(|r| r.resource_version);
            let set = Command::SetRollout { service: name(0), uid: uid.clone(), rollout: Box::new(rollout), based_on };
            state.apply(&Group { commands: vec![set], ..Group::default() }).unwrap();
        }
        let tried = state.revision(&uid, 2).unwrap().tried.clone().unwrap();
        assert_eq!((tried.phase, tried.message.as_str(), tried.began_at), (noted.0, noted.1, 7), "{case}");
    }
}

#[test]
fn a_group_stamped_with_an_older_time_makes_no_key_older() {
    let (mut state, late) = (State::default(), super::super::keys::KEY_AGE * 2);
    let mut lead = |at, key: &str, request: &str| {
        let idempotency = Some(Idempotency { key: key.into(), request: request.into() });
        let started = Command::LeaderStarted { member: 1, incarnation: 1, nonce: at, node: "n1".into() };
        state.apply(&Group { at, idempotency, commands: vec![started], ..Group::default() })
    };
    lead(late, "a", "r").unwrap();
    // The time of the log does not go back: this key is as young as the newest time.
    lead(1, "b", "r").unwrap();
    lead(late + 1, "c", "r").unwrap();
    assert!(matches!(lead(late + 2, "b", "other"), Err(Refusal::KeyReused { .. })), "it is remembered");
}

#[test]
fn after_a_snapshot_an_old_position_of_changes_is_gone_and_one_of_events_is_not() {
    let mut state = State::default();
    put(&mut state, 0, 0);
    let early = state.index();
    put(&mut state, 1, 0);
    let packed = Content { state, ..Content::default() }.pack().unwrap();
    let state = Content::unpack("test", &packed).unwrap().state;
    assert!(state.changes_after(early).is_err());
    assert!(state.changes_after(state.index()).is_ok());
    assert_eq!(state.events_after(early).unwrap().count(), 1);
}

#[test]
fn the_set_of_an_object_is_kept_and_another_set_is_refused() {
    let mut state = State::default();
    let mut write = |set: Option<&str>| {
        let command = Command::Put(PutObject {
            kind: Kind::Config,
            name: "a".into(),
            labels: [].into(),
            annotations: [].into(),
            managed_by: set.map(Into::into),
            spec: b"{}".to_vec(),
            uid: uid(1),
            based_on: None,
            spec_hash: None,
        });
        state.apply(&Group { commands: vec![command], ..Group::default() }).map(|a| a.objects[0].result)
    };
    assert_eq!(write(None), Ok(Outcome::Created));
    assert_eq!(write(Some("web")), Ok(Outcome::Configured));
    assert_eq!(write(None), Ok(Outcome::Unchanged));
    assert!(matches!(write(Some("db")), Err(Refusal::OtherSet { .. })));
}
