//! Commands about API tokens.
//!
//! Here: create, revoke. Not here: who may (`api::auth`). An expired token stays to be seen until its name is
//! given away, it is revoked, or its room is needed.

use std::sync::Arc;

use crate::{
    model::Token,
    store::{command::Refusal, state::State},
};

/// Tokens at one time.
pub const TOKENS: usize = 1_000;

impl State {
    pub(super) fn create_token(&mut self, token: &Token) -> Result<(), Refusal> {
        let now = self.time;
        let old = self.named(&token.name).cloned();
        if self.tokens.contains_key(&token.id) || old.as_ref().is_some_and(|old| !old.expired(now)) {
            return Err(Refusal::TokenExists { name: token.name.clone() });
        }
        if self.tokens.values().filter(|t| !t.expired(now)).count() >= TOKENS {
            return Err(Refusal::TooManyTokens { limit: TOKENS });
        }
        self.step();
        if let Some(old) = old {
            self.tokens.remove(&old.id);
        }
        if self.tokens.len() >= TOKENS {
            self.tokens =
                self.tokens.iter().filter(|(_, t)| !t.expired(now)).map(|(id, t)| (id.clone(), t.clone())).collect();
        }
        self.tokens.insert(token.id.clone(), Arc::new(token.clone()));
        Ok(())
    }

    pub(super) fn revoke_token(&mut self, name: &Arc<str>) -> Result<(), Refusal> {
        let Some(id) = self.named(name).map(|t| t.id.clone()) else {
            return Err(Refusal::NoToken { name: name.clone() });
        };
        self.step();
        self.tokens.remove(&id);
        Ok(())
    }

    fn named(&self, name: &str) -> Option<&Arc<Token>> {
        self.tokens.values().find(|t| *t.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::TokenRole,
        store::{
            command::{Command, Group},
            snapshot::Content,
        },
    };

    fn token(id: &str, name: &str, expires_at: Option<u64>) -> Token {
        Token {
            id: id.into(),
            name: name.into(),
            role: TokenRole::Read,
            hash: String::new(),
            created_at: 0,
            created_by: "test".into(),
            expires_at,
        }
    }
    fn create(state: &mut State, at: u64, token: Token) -> Result<(), Refusal> {
        let commands = vec![Command::CreateToken { token }];
        state.apply(&Group { at, commands, ..Group::default() }).map(|_| ())
    }
    fn revoke(state: &mut State, name: &str) -> Result<(), Refusal> {
        let commands = vec![Command::RevokeToken { name: name.into() }];
        state.apply(&Group { commands, ..Group::default() }).map(|_| ())
    }
    fn ids(state: &State) -> Vec<&str> {
        state.tokens().map(|t| &*t.id).collect()
    }

    #[test]
    fn a_name_belongs_to_one_valid_token() {
        let mut state = State::default();
        create(&mut state, 1, token("a", "ci", Some(10))).unwrap();
        let taken = Err(Refusal::TokenExists { name: "ci".into() });
        assert_eq!(create(&mut state, 9, token("b", "ci", None)), taken);
        assert_eq!(
            create(&mut state, 9, token("a", "other", None)),
            Err(Refusal::TokenExists { name: "other".into() })
        );
        let index = state.index();
        create(&mut state, 10, token("b", "ci", None)).unwrap();
        assert_eq!((ids(&state), state.index()), (vec!["b"], index.next()), "an expired one gives its name away");
        revoke(&mut state, "ci").unwrap();
        assert_eq!(revoke(&mut state, "ci"), Err(Refusal::NoToken { name: "ci".into() }));
        assert_eq!(ids(&state), Vec::<&str>::new());
    }

    #[test]
    fn there_are_so_many_tokens_and_expired_ones_make_room() {
        let mut state = State::default();
        for n in 0..TOKENS {
            create(&mut state, 1, token(&format!("t{n}"), &format!("n{n}"), (n < 2).then_some(10))).unwrap();
        }
        let full = Err(Refusal::TooManyTokens { limit: TOKENS });
        assert_eq!(create(&mut state, 9, token("x", "x", None)), full);
        create(&mut state, 10, token("x", "x", None)).unwrap();
        assert_eq!(state.tokens().count(), TOKENS - 1, "both of the expired ones went");
        create(&mut state, 10, token("y", "y", None)).unwrap();
        assert_eq!(create(&mut state, 10, token("z", "z", None)), full);
    }

    #[test]
    fn a_snapshot_keeps_them() {
        let mut state = State::default();
        create(&mut state, 1, token("a", "ci", Some(10))).unwrap();
        let content = Content { state: state.clone(), ..Content::default() };
        let again = Content::unpack("x", &content.pack().unwrap()).unwrap().state;
        assert_eq!((again.token("a"), again.hash()), (state.token("a"), state.hash()));
    }
}
