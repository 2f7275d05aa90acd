//! Who asks, and whether that is enough for a route.
//!
//! Here: [`Role`], [`Caller`], [`Gate`], and [`Right`], by which a stream lasts no longer than its token. Not here:
//! which route needs which role (`routes`), making tokens (`tokens`).
//! There are three kinds of callers: the admin token of the data directory, the socket's peers, and tokens of the
//! store, which every node knows.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, header::AUTHORIZATION};

use super::problem::Failure;
use crate::{
    model::{TokenRole, token},
    store::{Client, State},
};

/// How often a stream looks whether its token is still valid.
const LOOK: Duration = Duration::from_millis(500);

/// What a caller may do, or a route needs; see [`Role::includes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Anybody.
    None,
    /// Read the configuration of Traefik, with its TLS keys, and nothing else.
    Edge,
    /// See everything but values of secrets.
    Read,
    /// Change declared objects.
    Write,
    /// Everything.
    Admin,
}

impl Role {
    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Edge => "edge",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Whether this is enough where `needed` is needed. Not an order: `edge` reads what `write` may not, and nothing
    /// that `read` may.
    #[must_use]
    pub const fn includes(self, needed: Self) -> bool {
        match (self, needed) {
            (_, Self::None)
            | (Self::Admin, _)
            | (Self::Edge, Self::Edge)
            | (Self::Read | Self::Write, Self::Read)
            | (Self::Write, Self::Write) => true,
            (Self::None | Self::Edge | Self::Read | Self::Write, _) => false,
        }
    }
}

impl From<TokenRole> for Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Edge => Self::Edge,
            TokenRole::Read => Self::Read,
            TokenRole::Write => Self::Write,
            TokenRole::Admin => Self::Admin,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What it may do.
    pub role: Role,
    /// For the audit record: `admin-token`, `token ci`, `root@socket`, `uid 1000@socket`, `anonymous`.
    pub name: Arc<str>,
    /// Id of its token, where that is one of the store.
    pub token: Option<Arc<str>>,
}

impl Caller {
    fn new(role: Role, name: impl Into<Arc<str>>) -> Self {
        Self { role, name: name.into(), token: None }
    }
    /// Whom nobody else can be: a token's name may be given away after it, its id not.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.token.as_ref().unwrap_or(&self.name)
    }
    /// For how long it may do what it began.
    #[must_use]
    pub fn right(&self, store: &Client) -> Right {
        Right(self.token.clone().map(|token| (token, store.clone())))
    }
    /// Whether that is enough.
    ///
    /// # Errors
    /// 403 when the role does not include it.
    pub fn must_be(&self, needed: Role) -> Result<(), Failure> {
        if self.role.includes(needed) { Ok(()) } else { Err(Failure::forbidden(self.role, needed).by(&self.name)) }
    }
}

/// For how long a stream may go on.
#[derive(Debug)]
pub struct Right(Option<(Arc<str>, Client)>);

impl Right {
    /// Whether it still is.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|(id, store)| store.state().token(id).is_some_and(|t| !t.expired(store.now())))
    }
    /// Ends when the token is revoked or expires; never for other callers.
    pub async fn ends(&self) {
        if self.0.is_none() {
            return std::future::pending().await;
        }
        while self.holds() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Knows the tokens.
#[derive(Debug)]
pub struct Gate {
    /// Of the admin token. Hashes are compared in constant time, whatever the length of what came.
    admin: blake3::Hash,
    /// The agent's own user.
    uid: u32,
}

impl Gate {
    /// With the admin token and the agent's user.
    #[must_use]
    pub fn new(admin_token: &str, uid: u32) -> Self {
        Self { admin: blake3::hash(admin_token.as_bytes()), uid }
    }

    /// Who asks, when that is enough for `needed`. `peer`: user id at the other end of the socket; `state` has
    /// the tokens, `now` is cluster time.
    ///
    /// # Errors
    /// 401 without a known token, 403 when the role is too low.
    pub fn admit(
        &self,
        headers: &HeaderMap,
        peer: Option<u32>,
        needed: Role,
        state: &State,
        now: u64,
    ) -> Result<Caller, Failure> {
        if needed == Role::None {
            return Ok(Caller::new(Role::None, "anonymous"));
        }
        let caller = self.identify(headers, peer, state, now)?;
        caller.must_be(needed)?;
        Ok(caller)
    }

    fn identify(&self, headers: &HeaderMap, peer: Option<u32>, state: &State, now: u64) -> Result<Caller, Failure> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        if let Some(value) = given.next() {
            if given.next().is_some() {
                return Err(Failure::malformed_token());
            }
            let token = value.to_str().ok().and_then(bearer).ok_or_else(Failure::malformed_token)?;
            return self.known(token, state, now);
        }
        match peer {
            Some(0) => Ok(Caller::new(Role::Admin, "root@socket")),
            Some(uid) if uid == self.uid => Ok(Caller::new(Role::Admin, format!("uid {uid}@socket"))),
            Some(uid) => Err(Failure::stranger(uid)),
            None => Err(Failure::no_token()),
        }
    }

    fn known(&self, text: &str, state: &State, now: u64) -> Result<Caller, Failure> {
        let found = token::parts(text).and_then(|(id, secret)| state.token(id).filter(|t| t.has(secret)));
        match found {
            Some(token) if token.expired(now) => Err(Failure::expired_token(&token.name)),
            Some(token) => Ok(Caller {
                token: Some(token.id.clone()),
                ..Caller::new(token.role.into(), format!("token {}", token.name))
            }),
            None if blake3::hash(text.as_bytes()) == self.admin => Ok(Caller::new(Role::Admin, "admin-token")),
            None => Err(Failure::wrong_token()),
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::token::{Token, TokenText},
        store::command::{Command, Group},
    };

    #[test]
    fn only_the_token_the_root_user_and_the_agents_user_get_in() {
        let gate = Gate::new("s3cret", 1000);
        type Case<'t> = (&'t str, Option<&'t str>, Option<u32>, Result<&'t str, u16>);
        let table: [Case<'_>; 9] = [
            ("nothing", None, None, Err(401)),
            ("the token", Some("Bearer s3cret"), None, Ok("admin-token")),
            ("scheme in lower case", Some("bearer s3cret"), None, Ok("admin-token")),
            ("another token", Some("Bearer s3creT"), None, Err(401)),
            ("a prefix of it", Some("Bearer s3cre"), None, Err(401)),
            ("another scheme", Some("Basic s3cret"), None, Err(401)),
            ("root at the socket", None, Some(0), Ok("root@socket")),
            ("the agent's user", None, Some(1000), Ok("uid 1000@socket")),
            ("somebody else at the socket", None, Some(1001), Err(401)),
        ];
        for (case, header, peer, want) in table {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(AUTHORIZATION, value.parse().unwrap());
            }
            let got = gate
                .admit(&headers, peer, Role::Read, &State::default(), 0)
                .map(|c| c.name.to_string())
                .map_err(|f| f.status());
            assert_eq!(got, want.map(str::to_owned), "{case}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer wrong".parse().unwrap());
        assert!(gate.admit(&headers, Some(0), Role::Read, &State::default(), 0).is_err(), "not saved by the socket");
        assert!(gate.admit(&HeaderMap::new(), None, Role::None, &State::default(), 0).is_ok());
        let mut headers = HeaderMap::new();
        for token in ["Bearer s3cret", "Bearer wrong"] {
            headers.append(AUTHORIZATION, token.parse().unwrap());
        }
        assert!(gate.admit(&headers, None, Role::Read, &State::default(), 0).is_err(), "which of the two is meant?");
    }

    #[test]
    fn a_role_includes_those_below_it_and_edge_stands_aside() {
        const ALL: [Role; 5] = [Role::None, Role::Edge, Role::Read, Role::Write, Role::Admin];
        let table: [(Role, &[Role]); 5] = [
            (Role::None, &[Role::None]),
            (Role::Edge, &[Role::None, Role::Edge]),
            (Role::Read, &[Role::None, Role::Read]),
            (Role::Write, &[Role::None, Role::Read, Role::Write]),
            (Role::Admin, &ALL),
        ];
        for (role, includes) in table {
            let found: Vec<Role> = ALL.into_iter().filter(|needed| role.includes(*needed)).collect();
            assert_eq!(found, includes, "{role:?}");
        }
    }

    #[test]
    fn a_token_of_the_store_has_its_role_until_it_expires_or_is_revoked() {
        let gate = Gate::new("s3cret", 1000);
        let mut state = State::default();
        let texts = [TokenText::new([1; 8], [1; 32]), TokenText::new([2; 8], [2; 32])];
        for (text, name, role) in [(&texts[0], "ci", TokenRole::Write), (&texts[1], "boss", TokenRole::Admin)] {
            let token = Token {
                id: text.id().into(),
                name: name.into(),
                role,
                hash: text.hash(),
                created_at: 1,
                created_by: "test".into(),
                expires_at: Some(100),
            };
            state.apply(&Group { commands: vec![Command::CreateToken { token }], ..Group::default() }).unwrap();
        }
        let ask = |state: &State, text: &str, needed, now| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {text}").parse().unwrap());
            let asked = gate.admit(&headers, None, needed, state, now);
            asked
                .map(|c| format!("{} {}", c.name, c.role.name()))
                .map_err(|f| (f.status(), f.problem().slug().to_owned()))
        };
        let (ci, boss) = (texts[0].tell(), texts[1].tell());
        let swapped = TokenText::new([1; 8], [2; 32]).tell();
        assert_eq!(ask(&state, &ci, Role::Read, 5), Ok("token ci write".into()));
        assert_eq!(ask(&state, &ci, Role::Admin, 5), Err((403, "forbidden".into())));
        assert_eq!(ask(&state, &boss, Role::Admin, 99), Ok("token boss admin".into()));
        assert_eq!(ask(&state, &ci, Role::Read, 100), Err((401, "expired-token".into())));
        let unknown = Err((401, "wrong-token".into()));
        assert_eq!(ask(&state, &swapped, Role::Read, 100), unknown, "whoever guesses hears nothing of the time");
        assert_eq!(ask(&state, &TokenText::new([3; 8], [1; 32]).tell(), Role::Read, 5), unknown);
        state.apply(&Group { commands: vec![Command::RevokeToken { name: "ci".into() }], ..Group::default() }).unwrap();
        assert_eq!(ask(&state, &ci, Role::Read, 5), unknown, "revoked is as if it had never been");
    }
}
