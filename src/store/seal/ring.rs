//! The keys that seal: one, and while it is being replaced the old one beside it.
//!
//! Here: [`Ring`], what each key is split into, and the file. Not here: what is sealed (`super`), when a key is replaced
//! (`api::rekey`).
//! Format of the file: 32 bytes are one key, as every version reads it; several keys are text: a line that says so, then
//! each key in hex, newest first. A version that knows one key only refuses such a file rather than guess.

use std::{fs, io, path::Path};

use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use zeroize::Zeroizing;

use super::KEY_FILE;
use crate::store::durable;

/// First line of a file with several keys.
const SEVERAL: &str = "constellation seal keys 1";

/// One key, split by purpose.
pub(super) struct Key {
    raw: Zeroizing<[u8; 32]>,
    pub(super) cipher: XChaCha20Poly1305,
    pub(super) digest: Zeroizing<[u8; 32]>,
    pub(super) request: Zeroizing<[u8; 32]>,
    pub(super) id: String,
}

impl Key {
    fn new(raw: Zeroizing<[u8; 32]>) -> Self {
        let derive = |purpose| Zeroizing::new(blake3::derive_key(purpose, raw.as_slice()));
        let seal = derive("constellation 2025 secret seal");
        let id = derive("constellation 2025 secret key id");
        Self {
            cipher: XChaCha20Poly1305::new((&*seal).into()),
            digest: derive("constellation 2025 secret digest"),
            request: derive("constellation 2025 request fingerprint"),
            id: id[..4].iter().map(|b| format!("{b:02x}")).collect(),
            raw,
        }
    }
    fn drawn() -> Self {
        Self::new(Zeroizing::new(rand::random()))
    }
    fn again(&self) -> Self {
        Self::new(self.raw.clone())
    }
}

/// Never empty; the first key seals, every one opens what it sealed.
pub(super) struct Ring {
    newest: Key,
    older: Vec<Key>,
}

impl Ring {
    /// With one key that was never used.
    pub(super) fn drawn() -> Self {
        Self { newest: Key::drawn(), older: Vec::new() }
    }
    /// The key that seals.
    pub(super) const fn newest(&self) -> &Key {
        &self.newest
    }
    /// The key with this id.
    pub(super) fn key(&self, id: &str) -> Option<&Key> {
        std::iter::once(&self.newest).chain(&self.older).find(|key| key.id == id)
    }
    /// Ids of the keys that seal nothing any more.
    pub(super) fn older(&self) -> Vec<String> {
        self.older.iter().map(|key| key.id.clone()).collect()
    }
    /// With a new key before all others.
    pub(super) fn with_new(&self) -> Self {
        let older = std::iter::once(&self.newest).chain(&self.older).map(Key::again).collect();
        Self { newest: Key::drawn(), older }
    }
    /// With the newest key alone.
    pub(super) fn without_older(&self) -> Self {
        Self { newest: self.newest.again(), older: Vec::new() }
    }

    /// Reads the file of a data directory, if there is one.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.join(KEY_FILE);
        let named = |kind, what: &str| io::Error::new(kind, format!("{}: {what}", path.display()));
        let bytes = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        if fs::metadata(&path)?.permissions().mode() & 0o077 != 0 {
            return Err(named(io::ErrorKind::PermissionDenied, "others may read it; chmod 600 it"));
        }
        let parsed = Self::parse(&bytes);
        parsed.map(Some).ok_or_else(|| named(io::ErrorKind::InvalidData, "it does not hold a key of 32 bytes"))
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if let Ok(raw) = <[u8; 32]>::try_from(bytes) {
            return Some(Self { newest: Key::new(Zeroizing::new(raw)), older: Vec::new() });
        }
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        if lines.next()? != SEVERAL {
            return None;
        }
        let mut keys = lines.map(|line| Some(Key::new(from_hex(line)?))).collect::<Option<Vec<_>>>()?.into_iter();
        Some(Self { newest: keys.next()?, older: keys.collect() })
    }

    /// Writes it durably; before this returns nothing may be sealed with a key that was not there before.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        durable::write_durably(dir, KEY_FILE, &self.to_bytes())
    }

    /// As the file has it.
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        if self.older.is_empty() {
            return Zeroizing::new(self.newest.raw.to_vec());
        }
        let mut text = Zeroizing::new(format!("{SEVERAL}\n"));
        for key in std::iter::once(&self.newest).chain(&self.older) {
            for byte in key.raw.iter() {
                text.push_str(&format!("{byte:02x}"));
            }
            text.push('\n');
        }
        Zeroizing::new(text.as_bytes().to_vec())
    }
}

fn from_hex(line: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if line.len() != 64 || !line.is_ascii() {
        return None;
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(line.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(key)
}
