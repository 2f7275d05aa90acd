//! Sealing of Secrets at rest.
//!
//! Here: the key of this cluster's servers and what it does: XChaCha20-Poly1305 with the Secret's uid,
//! version and key name as associated data, so that a sealed value opens only where it was put; and a
//! keyed digest that says "unchanged" without showing length or value; and a keyed fingerprint of a
//! request, whose body may carry a Secret in clear.
//! Not here: when to seal ([`super::put`]), who may read (`api`).
//! Invariants: the key file is 0600 and durable before the first value is sealed by it; one key is
//! never used for two purposes (each is derived from it); clear values are wiped when dropped.
//! Why the digest begins with the key's id: a foreign key is told apart from damage.

use std::{collections::BTreeMap, fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use zeroize::Zeroizing;

use super::{OpenError, State, durable};
use crate::model::{
    Kind, Uid,
    secret::{SealedSecret, SecretSpec},
};

/// Name of the key file in the data directory.
pub const KEY_FILE: &str = "seal.key";
const NONCE: usize = 24;

/// Why a value cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// `data` must be base64.
    #[error("data.{key} is not base64: {message}")]
    NotBase64 {
        /// Which key of the Secret.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// The same key stands in `data` and `stringData`.
    #[error("{key} stands in data and in stringData")]
    Twice {
        /// Which key of the Secret.
        key: String,
    },
    /// It was sealed by another key than this node has.
    #[error("it was sealed with key {found}, and this node has key {ours}")]
    OtherKey {
        /// Id of the key that sealed it.
        found: String,
        /// Id of this node's key.
        ours: String,
    },
    /// It is not what was sealed, or not for this Secret.
    #[error("the sealed value of {key} was changed or belongs to another secret")]
    Damaged {
        /// Which key of the Secret.
        key: String,
    },
}

impl SealError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotBase64 { .. } => "encode the value as base64, or write it as plain text under stringData",
            Self::Twice { .. } => "remove the key from one of them",
            Self::OtherKey { .. } => "bring back the seal.key of the data directory this cluster was formed in",
            Self::Damaged { .. } => "apply the secret again",
        }
    }
}

/// Seals and opens with this node's key.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    digest: Zeroizing<[u8; 32]>,
    request: Zeroizing<[u8; 32]>,
    id: String,
}
impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({})", self.id)
    }
}

impl Sealer {
    /// Reads the key of a data directory, if there is one.
    ///
    /// # Errors
    /// When the disk fails; `InvalidData` when the file is not a key; `PermissionDenied` when others may read it.
    pub fn load(dir: &Path) -> io::Result<Option<Self>> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.join(KEY_FILE);
        let named = |kind, what: &str| io::Error::new(kind, format!("{}: {what}", path.display()));
        let key = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        if fs::metadata(&path)?.permissions().mode() & 0o077 != 0 {
            return Err(named(io::ErrorKind::PermissionDenied, "others may read it; chmod 600 it"));
        }
        let key = <[u8; 32]>::try_from(key.as_slice())
            .map_err(|_| named(io::ErrorKind::InvalidData, "it does not hold a key of 32 bytes"))?;
        Ok(Some(Self::new(&Zeroizing::new(key))))
    }

    /// Makes the key of a data directory that has none, durably.
    ///
    /// # Errors
    /// [`OpenError::NoKey`] when `state` holds Secrets: they were sealed with a key that is lost, and a
    /// new one would hide that. [`OpenError::Io`] when the disk fails.
    pub fn create(dir: &Path, state: &State) -> Result<Self, OpenError> {
        let secrets = state.objects(Kind::Secret).count();
        if secrets > 0 {
            return Err(OpenError::NoKey { path: dir.join(KEY_FILE), secrets });
        }
        let key = Zeroizing::new(rand::random::<[u8; 32]>());
        durable::directory(dir)
            .and_then(|()| durable::write_durably(dir, KEY_FILE, key.as_slice()))
            .map_err(|source| OpenError::Io { dir: dir.to_owned(), source })?;
        Ok(Self::new(&key))
    }

    /// A key of its own that is written nowhere: for tests and simulation.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self::new(&Zeroizing::new(rand::random()))
    }

    fn new(key: &Zeroizing<[u8; 32]>) -> Self {
        let derive = |purpose| Zeroizing::new(blake3::derive_key(purpose, key.as_slice()));
        let seal = derive("constellation 2025 secret seal");
        let id = derive("constellation 2025 secret key id");
        Self {
            cipher: XChaCha20Poly1305::new((&*seal).into()),
            digest: derive("constellation 2025 secret digest"),
            request: derive("constellation 2025 request fingerprint"),
            id: id[..4].iter().map(|b| format!("{b:02x}")).collect(),
        }
    }

    /// Seals every value of a Secret.
    ///
    /// # Errors
    /// [`SealError::NotBase64`], [`SealError::Twice`].
    pub fn seal(&self, spec: &SecretSpec, uid: &Uid, version: u64) -> Result<SealedSecret, SealError> {
        let clear = clear(spec)?;
        let mut sealed = BTreeMap::new();
        for (key, value) in &clear {
            let nonce: [u8; NONCE] = rand::random();
            let aad = associated(uid, version, key);
            let text = self
                .cipher
                .encrypt(XNonce::from_slice(&nonce), Payload { msg: value, aad: &aad })
                .map_err(|_| SealError::Damaged { key: key.clone() })?;
            sealed.insert(key.clone(), STANDARD.encode([&nonce[..], &text].concat()));
        }
        Ok(SealedSecret { kind: spec.kind, version, digest: self.digest_of(spec, &clear), sealed })
    }

    /// Opens every value of a Secret.
    ///
    /// # Errors
    /// [`SealError::OtherKey`], [`SealError::Damaged`].
    pub fn open(&self, secret: &SealedSecret, uid: &Uid) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, SealError> {
        let found = secret.digest.split('-').next().unwrap_or_default();
        if found != self.id {
            return Err(SealError::OtherKey { found: found.into(), ours: self.id.clone() });
        }
        let mut open = BTreeMap::new();
        for (key, sealed) in &secret.sealed {
            let damaged = || SealError::Damaged { key: key.clone() };
            let bytes = STANDARD.decode(sealed).map_err(|_| damaged())?;
            let (nonce, text) = bytes.split_at_checked(NONCE).ok_or_else(damaged)?;
            let aad = associated(uid, secret.version, key);
            let value = self
                .cipher
                .decrypt(XNonce::from_slice(nonce), Payload { msg: text, aad: &aad })
                .map_err(|_| damaged())?;
            open.insert(key.clone(), Zeroizing::new(value));
        }
        Ok(open)
    }

    /// Keyed digest of kind, names and values. What is not base64 counts as it is written.
    #[must_use]
    pub fn digest(&self, spec: &SecretSpec) -> String {
        let values = clear(spec).unwrap_or_else(|_| {
            let texts = spec.data.iter().chain(&spec.string_data);
            texts.map(|(k, v)| (k.clone(), Zeroizing::new(v.clone().into_bytes()))).collect()
        });
        self.digest_of(spec, &values)
    }

    /// Keyed fingerprint of a request's parts: the same parts, the same text; without the key nobody
    /// can try what a stored one was made of.
    #[must_use]
    pub fn fingerprint(&self, parts: &[&[u8]]) -> String {
        keyed(&self.request, parts.iter().copied())
    }

    fn digest_of(&self, spec: &SecretSpec, values: &BTreeMap<String, Zeroizing<Vec<u8>>>) -> String {
        let kind = format!("{:?}", spec.kind);
        let pairs = values.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_slice()]);
        format!("{}-{}", self.id, keyed(&self.digest, [kind.as_bytes()].into_iter().chain(pairs)))
    }
}

/// Keyed hash of a list of texts, the first 128 bits.
fn keyed<'a>(key: &[u8; 32], parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in parts {
        // Lengths before texts: no two lists give the same bytes.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// The values in clear.
fn clear(spec: &SecretSpec) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, SealError> {
    let mut all = BTreeMap::new();
    for (key, text) in &spec.data {
        let value = STANDARD
            .decode(text.trim())
            .map_err(|e| SealError::NotBase64 { key: key.clone(), message: e.to_string() })?;
        all.insert(key.clone(), Zeroizing::new(value));
    }
    for (key, text) in &spec.string_data {
        if all.insert(key.clone(), Zeroizing::new(text.clone().into_bytes())).is_some() {
            return Err(SealError::Twice { key: key.clone() });
        }
    }
    Ok(all)
}

fn associated(uid: &Uid, version: u64, key: &str) -> Vec<u8> {
    [uid.0.as_bytes(), b"\0", &version.to_le_bytes(), key.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(pairs: &[(&str, &str)]) -> SecretSpec {
        let string_data = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        SecretSpec { string_data, ..SecretSpec::default() }
    }
    fn uid(n: u8) -> Uid {
        Uid::from_bytes([n; 16])
    }
    fn made(dir: &Path) -> Sealer {
        Sealer::create(dir, &State::default()).unwrap()
    }

    #[test]
    fn a_new_key_is_durable_with_the_folders_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        durable::seen::take();
        made(&data);
        let synced = durable::seen::take();
        assert!(synced.contains(&dir.path().to_owned()) && synced.contains(&data), "{synced:?}");
    }

    #[test]
    fn what_is_sealed_opens_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = made(dir.path()).seal(&spec(&[("a", "x")]), &uid(1), 3).unwrap();
        assert!(!format!("{sealed:?}").contains("\"x\""));
        let open = Sealer::load(dir.path()).unwrap().unwrap().open(&sealed, &uid(1)).unwrap();
        assert_eq!(open["a"].as_slice(), b"x");
    }

    #[test]
    fn a_sealed_value_opens_nowhere_else() {
        let sealer = Sealer::ephemeral();
        let sealed = sealer.seal(&spec(&[("a", "x"), ("b", "y")]), &uid(1), 3).unwrap();
        let mut older = sealed.clone();
        older.version = 2;
        let mut swapped = sealed.clone();
        swapped.sealed.insert("a".into(), sealed.sealed["b"].clone());
        let mut cut = sealed.clone();
        cut.sealed.insert("a".into(), "AAAA".into());
        let table = [
            ("another uid", &sealed, uid(2)),
            ("another version", &older, uid(1)),
            ("another key", &swapped, uid(1)),
            ("cut", &cut, uid(1)),
        ];
        for (case, secret, uid) in table {
            assert!(matches!(sealer.open(secret, &uid), Err(SealError::Damaged { .. })), "{case}");
        }
    }

    #[test]
    fn a_foreign_key_is_named_as_such() {
        let sealed = Sealer::ephemeral().seal(&spec(&[("a", "x")]), &uid(1), 1).unwrap();
        assert!(matches!(Sealer::ephemeral().open(&sealed, &uid(1)), Err(SealError::OtherKey { .. })));
    }

    #[test]
    fn the_digest_sees_values_and_not_how_they_were_written() {
        let sealer = Sealer::ephemeral();
        let plain = spec(&[("a", "x")]);
        let encoded = SecretSpec { data: BTreeMap::from([("a".into(), "eA==".into())]), ..SecretSpec::default() };
        assert_eq!(sealer.digest(&plain), sealer.digest(&encoded));
        for other in [spec(&[("a", "z")]), spec(&[("ax", "")]), spec(&[])] {
            assert_ne!(sealer.digest(&plain), sealer.digest(&other));
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        made(dir.path());
        let path = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Sealer::load(dir.path()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
