//! Tokens of the API: who may do what from afar, for how long.
//!
//! Here: [`Token`] as it is stored, its text form, and what is one. Not here: who asks (`api::auth`), where
//! tokens live (`store::state`).
//! Invariant: a secret stands in the text that is told once and nowhere else; what is stored is its hash.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What every token begins with: scanners for lost secrets find them by it.
const PREFIX: &str = "cst_";
/// Bytes of an id.
const ID: usize = 8;
/// Bytes of a secret.
const SECRET: usize = 32;

/// What a token may do. `admin` includes all others, `write` includes `read`; `edge` is beside these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// Read the configuration of Traefik, with its TLS keys, and nothing else.
    Edge,
    /// See everything but values of secrets.
    Read,
    /// Change declared objects.
    Write,
    /// Everything.
    Admin,
}

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Random; it finds the token and is no secret.
    pub id: Arc<str>,
    /// DNS-1123 label, unique among the tokens that are valid.
    pub name: Arc<str>,
    /// What it may do.
    pub role: TokenRole,
    /// BLAKE3 of the secret, in hexadecimal. No salt: the secret has 256 random bits.
    pub hash: String,
    /// Cluster time, milliseconds since 1970.
    pub created_at: u64,
    /// Who made it.
    pub created_by: Arc<str>,
    /// Cluster time from which on it is not valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

impl Token {
    /// Whether its time is over.
    #[must_use]
    pub fn expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
    /// Whether this is its secret. Takes as long whatever was guessed.
    #[must_use]
    pub fn has(&self, secret: &str) -> bool {
        // Hashes compare in constant time.
        blake3::Hash::from_hex(&self.hash).is_ok_and(|hash| hash == blake3::hash(secret.as_bytes()))
    }
}

/// A new token's text: told once.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText {
    id: String,
    secret: String,
}

impl TokenText {
    /// From random bytes.
    #[must_use]
    pub fn new(id: [u8; ID], secret: [u8; SECRET]) -> Self {
        Self { id: hex(&id), secret: hex(&secret) }
    }
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
    /// What is stored of its secret.
    #[must_use]
    pub fn hash(&self) -> String {
        blake3::hash(self.secret.as_bytes()).to_hex().to_string()
    }
    /// `cst_<id>_<secret>`.
    #[must_use]
    pub fn tell(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}
impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText({})", self.id)
    }
}

/// Id and secret of a text that has the form of a token.
#[must_use]
pub fn parts(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    (id.len() == 2 * ID && secret.len() == 2 * SECRET).then_some((id, secret))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_id_and_known_by_its_secret_alone() {
        let text = TokenText::new([1; 8], [2; 32]);
        let told = text.tell();
        let (id, secret) = parts(&told).unwrap();
        let token = Token {
            id: id.into(),
            name: "ci".into(),
            role: TokenRole::Read,
            hash: text.hash(),
            created_at: 5,
            created_by: "admin-token".into(),
            expires_at: Some(10),
        };
        assert_eq!((id, told.len()), (text.id(), 85));
        assert!(token.has(secret) && !token.has(&secret.replace("02", "03")) && !token.has(""));
        assert!(!format!("{text:?} {token:?}").contains(secret), "no secret is logged");
        assert_eq!((token.expired(9), token.expired(10)), (false, true));
        assert!(!Token { expires_at: None, hash: "no hash".into(), ..token }.has(secret));
        for bad in ["", "cst_", "cst_0101_02", &told[1..], &told[..84], &format!("{told}0")] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }
}
