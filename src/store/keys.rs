//! Idempotency keys: a mutation that changed something, or was refused, is answered alike when it comes again.
//!
//! Invariants: none is forgotten before an hour of cluster time; keys and answers together are bounded,
//! and when there is no room the mutation is refused rather than an older key forgotten early.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::command::{Answer, Idempotency, Refusal};

/// Keys remembered at most.
pub const KEYS: usize = 8_192;
/// Bytes of keys, requests and answers at most.
pub const KEY_BYTES: usize = 4 << 20;
/// How long a key is remembered, milliseconds of cluster time.
pub const KEY_AGE: u64 = 3_600_000;

/// An answered mutation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Cluster time of the answer.
    at: u64,
    request: String,
    answer: Answer,
}

/// What is remembered.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    by_key: OrdMap<Arc<str>, Remembered>,
    by_age: OrdSet<(u64, Arc<str>)>,
    bytes: usize,
}

impl Keys {
    /// Forgets what is old enough.
    pub fn forget(&mut self, now: u64) {
        while let Some((at, key)) = self.by_age.get_min().cloned() {
            if at.saturating_add(KEY_AGE) >= now {
                break;
            }
            self.by_age.remove(&(at, key.clone()));
            if let Some(old) = self.by_key.remove(&key) {
                self.bytes = self.bytes.saturating_sub(weight(&key, &old));
            }
        }
    }

    /// The answer if there is one already: what was answered, or why it cannot be remembered.
    /// `commands`: how many the mutation has, as a measure of its answer.
    #[must_use]
    pub fn answer(&self, asked: &Idempotency, commands: usize) -> Option<Answer> {
        self.known(asked).or_else(|| {
            let bytes = self.bytes + asked.key.len() + asked.request.len() + commands * RESULT + RESULT;
            (self.by_key.len() >= KEYS || bytes > KEY_BYTES).then_some(Err(Refusal::TooManyKeys))
        })
    }

    /// What was answered, or that the key stood for another request; none when it is not known.
    #[must_use]
    pub fn known(&self, asked: &Idempotency) -> Option<Answer> {
        let known = self.by_key.get(&asked.key)?;
        let same = known.request == asked.request;
        Some(if same { known.answer.clone() } else { Err(Refusal::KeyReused { key: asked.key.clone() }) })
    }

    /// Remembers an answer.
    pub fn remember(&mut self, at: u64, asked: &Idempotency, answer: &Answer) {
        self.insert(asked.key.clone(), Remembered { at, request: asked.request.clone(), answer: answer.clone() });
    }

    /// Adds what a snapshot held.
    pub fn insert(&mut self, key: Arc<str>, remembered: Remembered) {
        self.bytes += weight(&key, &remembered);
        self.by_age.insert((remembered.at, key.clone()));
        self.by_key.insert(key, remembered);
    }

    /// For a snapshot.
    #[must_use]
    pub fn pack(&self) -> Vec<(Arc<str>, Remembered)> {
        self.by_key.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

/// Bytes of one object's result, about.
const RESULT: usize = 96;

fn weight(key: &str, remembered: &Remembered) -> usize {
    let answer = match &remembered.answer {
        Ok(applied) => applied.objects.iter().map(|o| o.name.len() + RESULT).sum(),
        Err(_) => RESULT,
    };
    key.len() + remembered.request.len() + answer + RESULT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::command::Applied;

    fn asked(key: &str, request: &str) -> Idempotency {
        Idempotency { key: key.into(), request: request.into() }
    }

    #[test]
    fn the_same_key_gets_the_same_answer_and_another_request_none() {
        let mut keys = Keys::default();
        let refusal = Err(Refusal::Invalid("no".into()));
        keys.remember(1, &asked("a", "x"), &refusal);
        assert_eq!(keys.answer(&asked("a", "x"), 1), Some(refusal));
        assert!(matches!(keys.answer(&asked("a", "y"), 1), Some(Err(Refusal::KeyReused { .. }))));
        assert_eq!(keys.answer(&asked("b", "x"), 1), None);
    }

    #[test]
    fn a_full_memory_refuses_until_an_hour_has_passed() {
        let mut keys = Keys::default();
        for n in 0..KEYS {
            keys.remember(5, &asked(&format!("k{n}"), ""), &Ok(Applied::default()));
        }
        assert_eq!(keys.answer(&asked("new", ""), 1), Some(Err(Refusal::TooManyKeys)));
        keys.forget(5 + KEY_AGE);
        assert_eq!(keys.answer(&asked("new", ""), 1), Some(Err(Refusal::TooManyKeys)));
        keys.forget(6 + KEY_AGE);
        assert_eq!(keys.answer(&asked("new", ""), 1), None);
        assert_eq!((keys.bytes, keys.by_age.len()), (0, 0));
    }
}
