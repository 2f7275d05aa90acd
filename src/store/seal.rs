//! Sealing of Secrets at rest.
//!
//! Here: the keys of this cluster's servers ([`ring`]) and what they do: XChaCha20-Poly1305 with the Secret's uid,
//! version and key name as associated data, so that a sealed value opens only where it was put; and a
//! keyed digest that says "unchanged" without showing length or value; and a keyed fingerprint of a
//! request, whose body may carry a Secret in clear.
//! Not here: when to seal ([`super::put`]), who may read (`api`).
//! Invariants: the key file is 0600 and durable before the first value is sealed by it; one key is
//! never used for two purposes (each is derived from it); clear values are wiped when dropped.
//! Why the digest begins with the key's id: a foreign key is told apart from damage.

mod ring;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    XNonce,
    aead::{Aead as _, Payload},
};
use zeroize::Zeroizing;

use self::ring::{Key, Ring};
use super::{OpenError, State, durable};
use crate::model::{
    Kind, Uid,
    secret::{SealedSecret, SecretKind, SecretSpec, content},
};

/// Name of the key file in the data directory.
pub const KEY_FILE: &str = "seal.key";
const NONCE: usize = 24;

/// Clear values by key.
pub type Values = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// Why a value cannot be sealed or opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// `data` must be base64.
    #[error("data.{key} is not base64: {message}")]
    NotBase64 {
        /// Which key of the Secret.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// The values are not what its type says.
    #[error("{1}")]
    Wrong(SecretKind, String),
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
            Self::Wrong(kind, _) => content::fix(*kind),
            Self::Twice { .. } => "remove the key from one of them",
            Self::OtherKey { .. } => {
                "bring back the seal.key it was sealed with, beside the one that is there; if it is lost for good, delete \
                 the secret (constellation secret rm NAME --force) and apply it again"
            }
            Self::Damaged { .. } => "delete the secret (constellation secret rm NAME --force) and apply it again",
        }
    }
}

/// Seals and opens with this node's keys.
pub struct Sealer {
    ring: RwLock<Arc<Ring>>,
    /// Where the file of the keys lies; none: nowhere.
    dir: Option<PathBuf>,
    /// Held shared from the seal of a value until the log has it or never will.
    writing: tokio::sync::RwLock<()>,
    /// Held by whoever seals everything anew.
    rekeying: tokio::sync::Mutex<()>,
}
impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({})", self.ring().newest().id)
    }
}

impl Sealer {
    /// Reads the keys of a data directory, if there are any.
    ///
    /// # Errors
    /// When the disk fails; `InvalidData` when the file is not a key; `PermissionDenied` when others may read it.
    pub fn load(dir: &Path) -> io::Result<Option<Self>> {
        Ok(Ring::read(dir)?.map(|ring| Self::with(ring, Some(dir.to_owned()))))
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
        let ring = Ring::drawn();
        durable::directory(dir)
            .and_then(|()| ring.write(dir))
            .map_err(|source| OpenError::Io { dir: dir.to_owned(), source })?;
        Ok(Self::with(ring, Some(dir.to_owned())))
    }

    /// A key of its own that is written nowhere: for tests and simulation.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self::with(Ring::drawn(), None)
    }

    /// With the keys of a backup, which are written nowhere; none when these are no keys.
    #[must_use]
    pub fn of_keys(file: &[u8]) -> Option<Self> {
        Some(Self::with(Ring::parse(file)?, None))
    }

    /// The file of the keys: for a backup, which is sealed.
    #[must_use]
    pub fn key_file(&self) -> Zeroizing<Vec<u8>> {
        self.ring().to_bytes()
    }

    fn with(ring: Ring, dir: Option<PathBuf>) -> Self {
        Self {
            ring: RwLock::new(Arc::new(ring)),
            dir,
            writing: tokio::sync::RwLock::default(),
            rekeying: tokio::sync::Mutex::default(),
        }
    }

    /// To be held while something is sealed and proposed.
    pub async fn writing(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.writing.read().await
    }

    /// Waits until nothing is on its way to the log that was sealed before.
    pub async fn settled(&self) {
        drop(self.writing.write().await);
    }

    /// To be held while everything is sealed anew: one at a time.
    pub async fn rekeying(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.rekeying.lock().await
    }

    /// As [`Self::rekeying`], when nobody holds it.
    pub fn try_rekeying(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.rekeying.try_lock().ok()
    }

    fn ring(&self) -> Arc<Ring> {
        // A whole ring is put there at once: a panic elsewhere leaves it good.
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the ring, on disk first.
    fn turn(&self, change: impl FnOnce(&Ring) -> Option<Ring>) -> io::Result<()> {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = change(&ring) {
            if let Some(dir) = &self.dir {
                next.write(dir)?;
            }
            *ring = Arc::new(next);
        }
        Ok(())
    }

    /// Puts a new key before the one that is there; from now on it seals. Nothing, when that was begun before.
    ///
    /// # Errors
    /// When the disk fails: then the old key seals as before.
    pub fn begin_new_key(&self) -> io::Result<()> {
        self.turn(|ring| ring.older().is_empty().then(|| ring.with_new()))
    }

    /// Forgets the older keys: nothing that they sealed opens any more.
    ///
    /// # Errors
    /// When the disk fails: then they stay.
    pub fn forget_older_keys(&self) -> io::Result<()> {
        self.turn(|ring| (!ring.older().is_empty()).then(|| ring.without_older()))
    }

    /// Ids of the keys that seal nothing any more and still open what they sealed.
    #[must_use]
    pub fn older_keys(&self) -> Vec<String> {
        self.ring().older()
    }

    /// Id of the key that seals.
    #[must_use]
    pub fn newest_key(&self) -> String {
        self.ring().newest().id.clone()
    }

    /// Seals every value of a Secret.
    ///
    /// # Errors
    /// [`SealError::NotBase64`], [`SealError::Twice`].
    pub fn seal(&self, spec: &SecretSpec, uid: &Uid, version: u64) -> Result<SealedSecret, SealError> {
        let clear = clear(spec)?;
        if let Some(why) = content::wrong(spec.kind, |key| clear.get(key).map(|value| value.as_slice())) {
            return Err(SealError::Wrong(spec.kind, why));
        }
        let ring = self.ring();
        let key = ring.newest();
        Ok(SealedSecret {
            kind: spec.kind,
            version,
            digest: key.digest_of(spec.kind, &clear),
            sealed: key.seal(&clear, uid, version)?,
            content: SealedSecret::content_of(version, uid),
            generate: spec.generate().cloned(),
            edge: spec.edge().cloned(),
            rotation: spec.rotation.clone(),
            keep_versions: spec.keep_versions,
        })
    }

    /// The same values under the newest key; none when it sealed them already. What a container was started with is
    /// told as before.
    ///
    /// # Errors
    /// As [`Sealer::open`].
    pub fn reseal(&self, secret: &SealedSecret, uid: &Uid) -> Result<Option<SealedSecret>, SealError> {
        let ring = self.ring();
        let key = ring.newest();
        if key_id(&secret.digest) == key.id {
            return Ok(None);
        }
        let clear = self.open(secret, uid)?;
        Ok(Some(SealedSecret {
            digest: key.digest_of(secret.kind, &clear),
            sealed: key.seal(&clear, uid, secret.version)?,
            content: secret.content().to_owned(),
            ..secret.clone()
        }))
    }

    /// Opens every value of a Secret.
    ///
    /// # Errors
    /// [`SealError::OtherKey`], [`SealError::Damaged`].
    pub fn open(&self, secret: &SealedSecret, uid: &Uid) -> Result<Values, SealError> {
        let ring = self.ring();
        let found = key_id(&secret.digest);
        let other = || SealError::OtherKey { found: found.into(), ours: ring.newest().id.clone() };
        ring.key(found).ok_or_else(other)?.open(secret, uid)
    }

    /// Keyed digest of kind, names and values, comparable with `like`: a digest that was made with another key of the
    /// ring is compared under that key. What is not base64 counts as it is written.
    #[must_use]
    pub fn digest(&self, spec: &SecretSpec, like: Option<&str>) -> String {
        let values = clear(spec).unwrap_or_else(|_| {
            let texts = spec.data.iter().chain(&spec.string_data);
            texts.map(|(k, v)| (k.clone(), Zeroizing::new(v.clone().into_bytes()))).collect()
        });
        let ring = self.ring();
        let key = like.and_then(|digest| ring.key(key_id(digest))).unwrap_or(ring.newest());
        key.digest_of(spec.kind, &values)
    }

    /// Keyed fingerprint of a request's parts: the same parts, the same text; without the key nobody
    /// can try what a stored one was made of.
    #[must_use]
    pub fn fingerprint(&self, parts: &[&[u8]]) -> String {
        keyed(&self.ring().newest().request, parts.iter().copied())
    }
}

/// Id of the key that made a digest.
fn key_id(digest: &str) -> &str {
    digest.split('-').next().unwrap_or_default()
}

impl Key {
    fn seal(&self, clear: &Values, uid: &Uid, version: u64) -> Result<BTreeMap<String, String>, SealError> {
        let mut sealed = BTreeMap::new();
        for (key, value) in clear {
            let nonce: [u8; NONCE] = rand::random();
            let aad = associated(uid, version, key);
            let text = self
                .cipher
                .encrypt(XNonce::from_slice(&nonce), Payload { msg: value, aad: &aad })
                .map_err(|_| SealError::Damaged { key: key.clone() })?;
            sealed.insert(key.clone(), STANDARD.encode([&nonce[..], &text].concat()));
        }
        Ok(sealed)
    }

    fn open(&self, secret: &SealedSecret, uid: &Uid) -> Result<Values, SealError> {
        let mut open = Values::new();
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

    fn digest_of(&self, kind: SecretKind, values: &Values) -> String {
        let kind = format!("{kind:?}");
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
fn clear(spec: &SecretSpec) -> Result<Values, SealError> {
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
    use std::fs;

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
        assert_eq!(sealer.digest(&plain, None), sealer.digest(&encoded, None));
        for other in [spec(&[("a", "z")]), spec(&[("ax", "")]), spec(&[])] {
            assert_ne!(sealer.digest(&plain, None), sealer.digest(&other, None));
        }
    }

    #[test]
    fn at_every_step_of_a_new_key_everything_opens_and_is_told_alike() {
        let dir = tempfile::tempdir().unwrap();
        made(dir.path());
        let again = || Sealer::load(dir.path()).unwrap().unwrap();
        let (plain, uid) = (spec(&[("a", "x"), ("b", "")]), uid(1));
        let first = again().seal(&plain, &uid, 3).unwrap();
        let opens = |sealed: &SealedSecret| again().open(sealed, &uid).is_ok_and(|v| v["a"].as_slice() == b"x");
        again().begin_new_key().unwrap();
        assert_eq!(again().older_keys().len(), 1);
        assert!(opens(&first));
        assert_eq!(again().digest(&plain, Some(&first.digest)), first.digest, "unchanged is seen under the old key");
        again().begin_new_key().unwrap();
        assert_eq!(again().older_keys().len(), 1, "begun once");
        let second = again().reseal(&first, &uid).unwrap().unwrap();
        assert!(opens(&first) && opens(&second));
        assert_eq!(again().reseal(&second, &uid), Ok(None));
        assert_ne!((&first.digest, &first.sealed), (&second.digest, &second.sealed));
        assert_eq!((first.content(), first.version), (second.content(), second.version));
        again().forget_older_keys().unwrap();
        assert!(opens(&second) && !opens(&first));
        assert_eq!(fs::read(dir.path().join(KEY_FILE)).unwrap().len(), 32, "as every version reads it");
        assert!(again().older_keys().is_empty());
    }

    #[test]
    fn what_was_sealed_before_contents_had_names_is_told_by_its_digest_for_good() {
        let sealer = Sealer::ephemeral();
        let old = SealedSecret { content: String::new(), ..sealer.seal(&spec(&[("a", "x")]), &uid(1), 1).unwrap() };
        assert_eq!(old.content(), old.digest);
        sealer.begin_new_key().unwrap();
        assert_eq!(sealer.reseal(&old, &uid(1)).unwrap().unwrap().content(), old.digest);
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
