//! What a declaration leaves to the server that accepts it: what Traefik is started with, and the token in it.
//!
//! Here: [`Maker`]. Not here: what stays as it is, and values that are drawn (`store::put`), the file (`edge::file`).
//! Invariants: the file and its token come and go in one group, so that neither is there without the other; whoever
//! makes them is an administrator.

use std::{borrow::Cow, sync::Arc};

use super::{auth::Role, problem::Failure, request::Request, write};
use crate::{
    edge::{Addresses, file::token_name},
    model::{
        Declared, Kind, Object, ObjectKey, Spec, Token, TokenRole, rotation::TRAEFIK_FILE, secret::SealedSecret,
        token::TokenText,
    },
    store::{
        State,
        command::{Command, PutObject},
        put::{PutError, completed, redrawn, renewed},
        seal::Sealer,
    },
};

/// With what a declaration is completed.
#[derive(Clone)]
pub struct Maker {
    /// Opens and seals.
    pub sealer: Arc<Sealer>,
    /// Where this node's agent and Traefik are.
    pub addresses: Addresses,
    actor: Arc<str>,
    now: u64,
}

impl Maker {
    /// For a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let shared = &request.server.shared;
        Self {
            sealer: shared.sealer.clone(),
            addresses: shared.addresses,
            actor: request.caller.name.clone(),
            now: shared.store.now(),
        }
    }

    /// A declaration with all that it leaves open, and what has to happen together with its write.
    ///
    /// # Errors
    /// As [`completed`].
    pub fn complete<'d>(
        &self,
        declared: &'d Declared,
        state: &State,
    ) -> Result<(Cow<'d, Declared>, Vec<Command>), Failure> {
        let unstored = |error: PutError| write::unstored(&declared.key(), &error);
        let Spec::Secret(spec) = &declared.spec else {
            return Ok((completed(declared, &self.sealer, state).map_err(unstored)?, Vec::new()));
        };
        let there = state.object(&declared.key()).and_then(|old| old.parse::<SealedSecret>().ok());
        let there = there.is_some_and(|old| old.sealed.contains_key(TRAEFIK_FILE)) && token(&declared.name, state);
        if spec.edge().is_none() || there {
            return Ok((completed(declared, &self.sealer, state).map_err(unstored)?, Vec::new()));
        }
        let (file, commands) = self.make(&declared.name, state);
        let spec = Spec::Secret(spec.with(TRAEFIK_FILE, file.as_bytes()));
        Ok((Cow::Owned(Declared { spec, ..declared.clone() }), commands))
    }

    /// A stored Secret with its value made anew, and what has to happen together with its write.
    ///
    /// # Errors
    /// As [`redrawn`]; 403 when only an administrator may.
    pub fn renew(&self, object: &Object, role: Role, state: &State) -> Result<Vec<Command>, Failure> {
        let key = object.key();
        let sealed: SealedSecret = object.parse().map_err(|e| Failure::unreadable(&key, e))?;
        let unstored = |error: PutError| write::unstored(&key, &error);
        if sealed.edge.is_none() {
            return Ok(vec![Command::Put(redrawn(object, &self.sealer, state).map_err(unstored)?)]);
        }
        if role != Role::Admin {
            return Err(Failure::forbidden(role, Role::Admin).by(&self.actor));
        }
        let (file, mut commands) = self.make(&key.name, state);
        let value = (TRAEFIK_FILE, file.into_bytes().into());
        let put: PutObject = renewed(object, value, &self.sealer, state).map_err(unstored)?;
        commands.push(Command::Put(put));
        Ok(commands)
    }

    /// The file with a new token. The one that was in it before ends with the write.
    fn make(&self, secret: &Arc<str>, state: &State) -> (String, Vec<Command>) {
        let text = TokenText::new(rand::random(), rand::random());
        let token = Token {
            id: text.id().into(),
            name: token_name(secret).into(),
            role: TokenRole::Edge,
            hash: text.hash(),
            created_at: self.now,
            created_by: self.actor.clone(),
            expires_at: None,
        };
        let mut commands = revoked(secret, state);
        commands.push(Command::CreateToken { token });
        (self.addresses.file(&text.tell()), commands)
    }
}

/// Whether only an administrator may write it: a token is made with it, or it is a machine.
#[must_use]
pub fn of_admins(declared: &Declared) -> bool {
    match &declared.spec {
        Spec::Node(_) => true,
        Spec::Secret(spec) => spec.edge().is_some(),
        Spec::Service(_) | Spec::Config(_) | Spec::Route(_) | Spec::Middleware(_) => false,
    }
}

/// What deletes an object, and the token that was made with it.
#[must_use]
pub fn deletion(key: ObjectKey, state: &State) -> Vec<Command> {
    let mut commands = if key.kind == Kind::Secret { revoked(&key.name, state) } else { Vec::new() };
    commands.push(Command::Delete { key });
    commands
}

fn token(secret: &str, state: &State) -> bool {
    let name = token_name(secret);
    state.tokens().any(|token| *token.name == *name)
}

fn revoked(secret: &str, state: &State) -> Vec<Command> {
    let name: Arc<str> = token_name(secret).into();
    if token(secret, state) { vec![Command::RevokeToken { name }] } else { Vec::new() }
}
