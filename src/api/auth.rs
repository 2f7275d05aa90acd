//! Who asks, and whether that is enough for a route.
//!
//! Here: [`Role`], [`Caller`] and [`Gate`]. Not here: which route needs which role (`routes`).
//! Until tokens of other roles can be made, there are the admin token and the socket's peers.

use std::sync::Arc;

use http::{HeaderMap, header::AUTHORIZATION};

use super::problem::Failure;

/// What a caller may do; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Anybody.
    None,
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
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What it may do.
    pub role: Role,
    /// For the audit record: `admin-token`, `root@socket`, `uid 1000@socket`, `anonymous`.
    pub name: Arc<str>,
}

impl Caller {
    /// Whether that is enough.
    ///
    /// # Errors
    /// 403 when the role is too low.
    pub fn must_be(&self, needed: Role) -> Result<(), Failure> {
        if self.role < needed { Err(Failure::forbidden(self.role, needed)) } else { Ok(()) }
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

    /// Who asks, when that is enough for `needed`. `peer`: user id at the other end of the socket.
    ///
    /// # Errors
    /// 401 without a known token, 403 when the role is too low.
    pub fn admit(&self, headers: &HeaderMap, peer: Option<u32>, needed: Role) -> Result<Caller, Failure> {
        if needed == Role::None {
            return Ok(Caller { role: Role::None, name: "anonymous".into() });
        }
        let caller = self.identify(headers, peer)?;
        caller.must_be(needed)?;
        Ok(caller)
    }

    fn identify(&self, headers: &HeaderMap, peer: Option<u32>) -> Result<Caller, Failure> {
        if let Some(value) = headers.get(AUTHORIZATION) {
            let token = value.to_str().ok().and_then(bearer).ok_or_else(Failure::malformed_token)?;
            if blake3::hash(token.as_bytes()) != self.admin {
                return Err(Failure::wrong_token());
            }
            return Ok(Caller { role: Role::Admin, name: "admin-token".into() });
        }
        match peer {
            Some(0) => Ok(Caller { role: Role::Admin, name: "root@socket".into() }),
            Some(uid) if uid == self.uid => Ok(Caller { role: Role::Admin, name: format!("uid {uid}@socket").into() }),
            Some(uid) => Err(Failure::stranger(uid)),
            None => Err(Failure::no_token()),
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
            let got = gate.admit(&headers, peer, Role::Read).map(|c| c.name.to_string()).map_err(|f| f.status());
            assert_eq!(got, want.map(str::to_owned), "{case}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer wrong".parse().unwrap());
        assert!(gate.admit(&headers, Some(0), Role::Read).is_err(), "a wrong token is not saved by the socket");
        assert!(gate.admit(&HeaderMap::new(), None, Role::None).is_ok());
    }
}
