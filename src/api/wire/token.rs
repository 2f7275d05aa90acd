//! `/api/v1/tokens`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Period, Token, TokenRole};

/// A token as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// DNS-1123 label; no other valid token has it.
    pub name: String,
    /// What it may do.
    pub role: TokenRole,
    /// How long it is valid, `30d`; absent: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Period>,
}

/// A token as reads show it: never its secret, nor a hash of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// Random; the part of the token that is no secret.
    pub id: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What it may do.
    pub role: TokenRole,
    /// Cluster time, milliseconds since 1970.
    pub created_at: u64,
    /// Who made it.
    pub created_by: Arc<str>,
    /// Cluster time from which on it is not valid; absent: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Whether that time has come.
    pub expired: bool,
}

impl TokenView {
    /// Of a stored one, at this cluster time.
    #[must_use]
    pub fn of(token: &Token, now: u64) -> Self {
        Self {
            id: token.id.clone(),
            name: token.name.clone(),
            role: token.role,
            created_at: token.created_at,
            created_by: token.created_by.clone(),
            expires_at: token.expires_at,
            expired: token.expired(now),
        }
    }
}

/// A token that was made. The only answer that ever has the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenMade {
    /// `cst_<id>_<secret>`: send it as `Authorization: Bearer TOKEN`.
    pub token: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub view: TokenView,
    /// Index after the change.
    pub index: u64,
}
impl std::fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenMade({:?})", self.view)
    }
}

/// A token that was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRevoked {
    /// Its name.
    pub name: String,
    /// Index after the change.
    pub index: u64,
}
