//! One change, carried to the store: preconditions, idempotency, dry runs, and trying again when somebody
//! else was faster and the caller did not ask to be told.
//! Invariant: nothing is put for a caller whose role has no grant for it, whatever made the change.
//!
//! Here: [`Commit`]. Not here: what the change is (`write`, `scale`, `nodes`).

use std::sync::Arc;

use bytes::Bytes;

use super::{
    audit,
    auth::Caller,
    grants, heavy,
    problem::Failure,
    request::Request,
    wire::{ApplyAnswer, ObjectOutcome},
};
use crate::{
    model::{Index, ObjectKey},
    store::{
        ProposeError, State,
        audit::Asked,
        command::{Applied, Command, Group, Idempotency, Refusal},
        seal::Sealer,
    },
};

/// What is written while a restored cluster waits has no effect yet.
pub(super) const UNCONFIRMED: &str = "this cluster was restored and nobody has confirmed it: nothing is started or stopped until `constellation backup confirm`";
/// How often a change is made anew from the newest state.
const TRIES: u32 = 8;

/// A change as made from one state.
#[derive(Debug, Default)]
pub struct Change {
    /// What shall happen.
    pub commands: Vec<Command>,
    /// What was read to make it: if it moved, the change is made anew.
    pub read: Vec<(ObjectKey, Option<Index>)>,
}

/// How a change shall be committed.
pub struct Commit<'r> {
    request: &'r Request,
    body: Bytes,
    /// What the caller asks to hold: if it moved, the caller is told.
    asked: Vec<(ObjectKey, Option<Index>)>,
    dry_run: bool,
}

impl<'r> Commit<'r> {
    /// For a request; `body`: what it carried, for its idempotency key.
    ///
    /// # Errors
    /// 400 for a broken query.
    pub fn of(request: &'r Request, body: Bytes) -> Result<Self, Failure> {
        Ok(Self { request, body, asked: Vec::new(), dry_run: request.query.flag("dryRun")? })
    }
    /// What must hold, by the caller's word.
    #[must_use]
    pub fn if_at(mut self, preconditions: impl IntoIterator<Item = (ObjectKey, Option<Index>)>) -> Self {
        self.asked.extend(preconditions);
        self
    }

    /// Makes the change from the newest state and commits it.
    ///
    /// # Errors
    /// What `make` answers; 409, 413, 429, 503, 504 of the store.
    pub async fn run<M>(self, make: M) -> Result<ApplyAnswer, Failure>
    where
        M: Fn(&State) -> Result<Change, Failure> + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        let shared = &self.request.server.shared;
        let reason = self.request.reason()?;
        let idempotency = self.idempotency()?;
        let mut tries = 0;
        loop {
            let _writing = shared.sealer.writing().await;
            let state = shared.store.state();
            let keyed = idempotency.as_ref().filter(|_| !self.dry_run).map(|i| attempt(i, tries));
            // Before the change is made anew: what it was made from may be gone since it was answered.
            if let Some(answered) = keyed.as_ref().and_then(|i| state.answered(i)) {
                tries += 1;
                match answered.map_err(ProposeError::Refused) {
                    Ok(applied) => return Ok(self.answer(applied)),
                    Err(error) if tries < TRIES && self.may_go_on(&error) => continue,
                    Err(error) => return Err(self.failed(&error)),
                }
            }
            let change = {
                let (make, state) = (make.clone(), state.clone());
                let (caller, granted) = (self.request.caller.clone(), shared.granted());
                let admitted = move || {
                    let mut change = make(&state)?;
                    change.read.extend(grants::admit(&change.commands, &state, (&caller, &granted))?);
                    Ok::<_, Failure>(change)
                };
                heavy::run(&self.request.server, self.body.len(), admitted).await??
            };
            let mut preconditions = self.asked.clone();
            preconditions.extend(change.read.into_iter().filter(|(key, _)| !self.asked.iter().any(|(k, _)| k == key)));
            let group = Group {
                at: shared.store.now(),
                preconditions,
                idempotency: keyed,
                actor: self.request.caller.name.clone(),
                reason: reason.clone(),
                request: (!self.dry_run).then(|| self.asked(tries)),
                commands: change.commands,
                ..Group::default()
            };
            let answer = if self.dry_run {
                let mut state = (*state).clone();
                let dry = move || state.apply(&group).map_err(ProposeError::Refused);
                heavy::run(&self.request.server, self.body.len(), dry).await?
            } else if group.commands.is_empty() && group.preconditions.is_empty() && group.idempotency.is_none() {
                Ok(Applied { index: state.index(), objects: Vec::new() })
            } else {
                self.request.call.0.stage.proposes();
                shared.store.propose(group, shared.limits.propose).await
            };
            tries += 1;
            match answer {
                Ok(applied) => return Ok(self.answer(applied)),
                Err(error) if tries < TRIES && self.may_go_on(&error) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// What the audit record says of the request. A refusal that makes the change anew is no answer.
    fn asked(&self, tries: u32) -> Asked {
        let own = (tries + 1 < TRIES).then(|| u32::try_from(self.asked.len()).unwrap_or(u32::MAX));
        Asked { own, ..audit::asked(self.request) }
    }

    /// Somebody else was faster, about something that the caller did not ask to hold.
    fn may_go_on(&self, error: &ProposeError) -> bool {
        match error {
            ProposeError::Refused(Refusal::Conflict { key, .. }) => !self.asked.iter().any(|(k, _)| k == key),
            _ => false,
        }
    }

    fn failed(&self, error: &ProposeError) -> Failure {
        let store = &self.request.server.shared.store;
        let failure = Failure::write(error, &store.state());
        if !matches!(error, ProposeError::NoQuorum(_)) {
            return failure;
        }
        let raft = store.raft_status();
        failure.quorum(usize::from(raft.leader.is_some()), raft.voters.len())
    }

    fn answer(&self, applied: Applied) -> ApplyAnswer {
        let objects = applied.objects.into_iter().map(|o| ObjectOutcome {
            kind: o.kind,
            name: o.name.to_string(),
            result: o.result,
            generation: o.generation,
            resource_version: o.resource_version.0,
        });
        let waits = self.request.server.shared.store.state().unconfirmed().is_some();
        ApplyAnswer {
            index: applied.index.0,
            objects: objects.collect(),
            warnings: waits.then(|| UNCONFIRMED.to_owned()).into_iter().collect(),
            dry_run: self.dry_run,
        }
    }

    fn idempotency(&self) -> Result<Option<Idempotency>, Failure> {
        let Some(key) = self.request.idempotency_key()? else { return Ok(None) };
        let target = self.request.call.0.uri.to_string();
        let request = fingerprint(&self.request.server.shared.sealer, self.request.route.method, &target, &self.body);
        Ok(Some(Idempotency { key: own(&self.request.caller, key), request }))
    }
}

/// A key is its caller's: whoever else sends the same one asks for something else. Clients cannot send such a key.
fn own(caller: &Caller, key: &str) -> Arc<str> {
    format!("{}\u{2}{key}", caller.identity()).into()
}

/// What tells a request from others under the same key. It is stored on every node for an hour and the
/// body may hold a Secret's values: an unkeyed hash would let whoever reads the log try them out.
fn fingerprint(sealer: &Sealer, method: &str, target: &str, body: &[u8]) -> String {
    sealer.fingerprint(&[method.as_bytes(), target.as_bytes(), body])
}

/// The store remembers refusals too: a change made anew needs a key of its own. When the request
/// comes again it walks the same keys to the same answer. Clients cannot send such a key.
fn attempt(first: &Idempotency, tries: u32) -> Idempotency {
    if tries == 0 {
        return first.clone();
    }
    let key: Arc<str> = format!("{}\u{1}{tries}", first.key).into();
    Idempotency { key, request: first.request.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_of_a_request_tells_nothing_to_who_has_not_the_key() {
        let (ours, theirs) = (Sealer::ephemeral(), Sealer::ephemeral());
        let ask = |sealer: &Sealer, method, target, body: &str| fingerprint(sealer, method, target, body.as_bytes());
        let first = ask(&ours, "PUT", "/s", "hunter2");
        assert_eq!(first, ask(&ours, "PUT", "/s", "hunter2"));
        for (method, target, body) in [("POST", "/s", "hunter2"), ("PUT", "/sh", "unter2"), ("PUT", "/s", "hunter3")] {
            assert_ne!(first, ask(&ours, method, target, body), "{method} {target} {body}");
        }
        assert_ne!(first, ask(&theirs, "PUT", "/s", "hunter2"), "with another key a guess shows nothing");
    }
}
