//! The ring of audit records: who changed what, as far back as there is room.
//!
//! Here: [`Audit`], and the record that a group leaves. Not here: when one is left ([`super::apply`]).
//! Invariants: a record comes from the group and its answer alone, so all nodes have the same; each is bounded,
//! and so are all together. What was denied is no record: whoever has no token could push the others out.

use std::sync::Arc;

use imbl::Vector;
use serde::{Deserialize, Serialize};

use super::command::{Answer, Command, Group, Outcome, Refusal};
use crate::model::{
    AuditRecord, Index, ObjectKey,
    audit::{AuditObject, AuditResult},
};

/// Records kept at most.
pub const RECORDS: usize = 10_000;
/// Bytes of their texts at most.
pub const RECORD_BYTES: usize = 4 << 20;
/// Objects listed in one record.
const OBJECTS: usize = 64;
/// Bytes of one text.
const TEXT: usize = 256;
/// Bytes of a reason: as many as the API takes.
const REASON: usize = 500;

/// The request that a group carries out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// `PUT`.
    pub method: Arc<str>,
    /// Path without its query.
    pub path: Arc<str>,
    /// Address, or user id at the socket.
    pub from: Arc<str>,
    /// So many of the preconditions are the caller's. When another object moved, the proposer makes the change
    /// anew, and that refusal is no answer. None: every refusal is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<u32>,
}

/// The ring.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    list: Vector<Arc<AuditRecord>>,
    bytes: usize,
    /// Of the newest record.
    number: u64,
}

impl Audit {
    /// All, oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Arc<AuditRecord>> {
        self.list.iter()
    }
    /// How many there ever were: the number of the newest.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
    /// Notes what became of a group.
    pub(super) fn note(&mut self, group: &Group, index: Index, answer: &Answer) {
        let Some(asked) = &group.request else { return };
        if !answers(group, asked, answer) {
            return;
        }
        let mut objects = objects(group, answer);
        let more = u32::try_from(objects.len().saturating_sub(OBJECTS)).unwrap_or(u32::MAX);
        objects.truncate(OBJECTS);
        self.number += 1;
        self.push(AuditRecord {
            number: self.number,
            index,
            time: group.at,
            who: cut(&group.actor, TEXT),
            from: cut(&asked.from, TEXT),
            method: cut(&asked.method, TEXT),
            path: cut(&asked.path, TEXT),
            reason: group.reason.as_ref().map(|reason| cut(reason, REASON)),
            objects,
            more,
            refusal: answer.as_ref().err().map(|refusal| cut(&refusal.to_string().into(), TEXT)),
        });
    }
    fn push(&mut self, record: AuditRecord) {
        self.bytes += weight(&record);
        self.list.push_back(Arc::new(record));
        while self.list.len() > RECORDS || self.bytes > RECORD_BYTES {
            let Some(oldest) = self.list.pop_front() else { break };
            self.bytes -= weight(&oldest);
        }
    }
    /// For a snapshot.
    pub(super) fn pack(&self) -> PackedAudit {
        PackedAudit { number: self.number, records: self.list.iter().cloned().collect() }
    }
    /// From a snapshot.
    pub(super) fn unpack(packed: PackedAudit) -> Self {
        let bytes = packed.records.iter().map(|r| weight(r)).sum();
        Self { list: packed.records.into_iter().collect(), bytes, number: packed.number }
    }
}

/// The ring in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PackedAudit {
    number: u64,
    records: Vec<Arc<AuditRecord>>,
}

/// Whether the caller hears this answer.
fn answers(group: &Group, asked: &Asked, answer: &Answer) -> bool {
    match (answer, asked.own) {
        (Err(Refusal::Conflict { key, .. }), Some(own)) => {
            group.preconditions.iter().take(own as usize).any(|(own, _)| own == key)
        }
        (Ok(_) | Err(_), _) => true,
    }
}

fn objects(group: &Group, answer: &Answer) -> Vec<AuditObject> {
    let mut results = answer.as_ref().ok().map(|applied| applied.objects.iter());
    let done = |result| answer.is_ok().then_some(result);
    let mut written = |key: ObjectKey| {
        let result = results.as_mut().and_then(Iterator::next).map(|object| match object.result {
            Outcome::Created => AuditResult::Created,
            Outcome::Configured => AuditResult::Configured,
            Outcome::Unchanged => AuditResult::Unchanged,
            Outcome::Deleted => AuditResult::Deleted,
        });
        (key.to_string(), result)
    };
    let about = |command: &Command| {
        Some(match command {
            Command::Put(put) => written(ObjectKey::new(put.kind, put.name.clone())),
            Command::Delete { key } => written(key.clone()),
            Command::CreateToken { token } => (format!("token/{}", token.name), done(AuditResult::Created)),
            Command::RevokeToken { name } => (format!("token/{name}"), done(AuditResult::Revoked)),
            Command::RecordAudit { object } => (object.to_string(), done(AuditResult::Begun)),
            Command::ConfirmRestore { .. } => ("cluster/restore".into(), done(AuditResult::Configured)),
            Command::SetRollout { service, .. } | Command::SetJob { service, .. } => {
                (ObjectKey::service(service.clone()).to_string(), done(AuditResult::Configured))
            }
            Command::FormCluster { .. }
            | Command::LeaderStarted { .. }
            | Command::Recover { .. }
            | Command::Place { .. }
            | Command::Drain { .. }
            | Command::RecordEdge { .. }
            | Command::SetDesired { .. }
            | Command::Forget { .. }
            | Command::ResolveImage { .. }
            | Command::InitialiseVolume { .. }
            | Command::Reseal { .. }
            | Command::RecordObservations { .. } => return None,
        })
    };
    let all = group.commands.iter().filter_map(about);
    all.map(|(object, result)| AuditObject { object: cut(&object.into(), TEXT), result }).collect()
}

/// At most so many bytes of it, in whole characters.
fn cut(text: &Arc<str>, most: usize) -> Arc<str> {
    if text.len() <= most {
        return text.clone();
    }
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= most).last();
    text[..end.unwrap_or(0)].into()
}

fn weight(record: &AuditRecord) -> usize {
    let texts = [&record.who, &record.from, &record.method, &record.path].into_iter();
    let texts = texts.chain(&record.reason).chain(&record.refusal).map(|text| text.len());
    texts.chain(record.objects.iter().map(|o| o.object.len() + 32)).sum::<usize>() + 192
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Kind, Uid},
        store::{
            command::{Idempotency, PutObject},
            snapshot::Content,
            state::State,
        },
    };

    fn put(name: &str, value: u8) -> Command {
        Command::Put(PutObject {
            kind: Kind::Config,
            name: name.into(),
            labels: [].into(),
            annotations: [].into(),
            managed_by: None,
            spec: vec![value],
            uid: Uid(name.into()),
            based_on: None,
            spec_hash: None,
        })
    }
    fn delete(name: &str) -> Command {
        Command::Delete { key: ObjectKey::new(Kind::Config, name) }
    }
    fn group(commands: Vec<Command>) -> Group {
        let request =
            Asked { method: "POST".into(), path: "/api/v1/apply".into(), from: "10.0.0.9:4711".into(), own: None };
        Group { at: 7, actor: "token ci".into(), request: Some(request), commands, ..Group::default() }
    }
    fn told(state: &State) -> Vec<String> {
        let object = |o: &AuditObject| format!("{} {:?}", o.object, o.result);
        let said = |r: &Arc<AuditRecord>| {
            let objects: Vec<String> = r.objects.iter().map(object).collect();
            format!("{}@{} {} {}", r.number, r.index, objects.join(", "), r.refusal.as_deref().unwrap_or("done"))
        };
        state.audit().records().map(said).collect()
    }

    #[test]
    fn a_record_says_what_became_of_each_object_or_why_nothing_did() {
        let mut state = State::default();
        state.apply(&group(vec![put("a", 1), put("b", 1)])).unwrap();
        state.apply(&group(vec![put("a", 2), put("b", 1), delete("b")])).unwrap();
        let index = state.index();
        state.apply(&group(vec![put("a", 2)])).unwrap();
        state.apply(&group(vec![put("a", 3), delete("b")])).unwrap_err();
        state.apply(&group(vec![Command::RecordAudit { object: "image/web:1".into() }])).unwrap();
        state.apply(&Group { request: None, ..group(vec![Command::RecordAudit { object: "x".into() }]) }).unwrap();
        assert_eq!(state.index(), index, "what changes nothing moves no index, and is in the record all the same");
        assert_eq!(
            told(&state),
            [
                "1@4 config/a Some(Created), config/b Some(Created) done",
                "2@8 config/a Some(Configured), config/b Some(Unchanged), config/b Some(Deleted) done",
                "3@8 config/a Some(Unchanged) done",
                "4@8 config/a None, config/b None config/b does not exist",
                "5@8 image/web:1 Some(Begun) done",
            ]
        );
        let first = state.audit().records().next().unwrap();
        assert_eq!((&*first.who, &*first.from, first.time), ("token ci", "10.0.0.9:4711", 7));
    }

    #[test]
    fn an_answer_that_is_given_again_and_a_try_that_is_made_anew_are_no_records() {
        let mut state = State::default();
        let keyed = Group {
            idempotency: Some(Idempotency { key: "k".into(), request: "r".into() }),
            ..group(vec![put("a", 1)])
        };
        state.apply(&keyed).unwrap();
        state.apply(&keyed).unwrap();
        assert_eq!(told(&state).len(), 1);
        let moved = |own| {
            let mut group = group(vec![put("a", 2)]);
            group.preconditions =
                vec![(ObjectKey::new(Kind::Config, "b"), None), (ObjectKey::new(Kind::Config, "a"), None)];
            group.request = group.request.map(|r| Asked { own, ..r });
            group
        };
        for (own, records) in [(Some(0), 1), (Some(1), 1), (Some(2), 2), (None, 3)] {
            state.apply(&moved(own)).unwrap_err();
            assert_eq!(told(&state).len(), records, "{own:?}");
        }
    }

    #[test]
    fn the_ring_is_bounded_whatever_is_sent_and_a_snapshot_keeps_it() {
        let mut state = State::default();
        let long = "ä".repeat(5_000);
        let mut large = group((0..100).map(|n| delete(&format!("{n}{long}"))).collect());
        large.actor = long.as_str().into();
        large.reason = Some(long.as_str().into());
        large.request = Some(Asked {
            method: long.as_str().into(),
            path: long.as_str().into(),
            from: long.as_str().into(),
            own: None,
        });
        state.apply(&large).unwrap_err();
        let record = state.audit().records().next().unwrap().clone();
        assert_eq!((record.objects.len(), record.more), (OBJECTS, 36));
        assert!(weight(&record) < 32 << 10, "{}", weight(&record));
        for n in 0..400 {
            large.at = n;
            state.apply(&large).unwrap_err();
        }
        assert!(state.audit().bytes <= RECORD_BYTES && state.audit().records().count() > 100);
        for _ in 0..RECORDS + 5 {
            state.apply(&group(vec![put("a", 1)])).unwrap();
        }
        let audit = state.audit();
        assert_eq!((audit.records().count(), audit.number()), (RECORDS, 401 + RECORDS as u64 + 5));
        assert_eq!(audit.bytes, audit.records().map(|r| weight(r)).sum::<usize>());
        let content = Content { state: state.clone(), ..Content::default() };
        let again = Content::unpack("x", &content.pack().unwrap()).unwrap().state;
        assert_eq!((again.hash(), again.audit().bytes), (state.hash(), audit.bytes));
    }
}
