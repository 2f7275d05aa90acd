//! Backups: one state and the keys that its Secrets are sealed with, in one sealed file.
//!
//! Here: [`Backup`], what is in the file and how it is sealed; [`Lock`] and [`Keys`]. Not here: making one of a store
//! that runs (`api::backups`), making a data directory of one (`agent::restore`).
//! Format: an age file (<https://age-encryption.org/v1>) of a tar archive with `about.json`, `state` (a snapshot, with its own
//! checksum) and `seal.key`; `age -d FILE | tar x` opens it without this program.
//! Invariants: the keys leave the store only in here, sealed; one state, whole, and every Secret in it opens with them.

use std::{
    io::{self, Read as _, Write as _},
    path::Path,
    sync::Arc,
};

use age::{
    DecryptError, Decryptor, EncryptError, Encryptor, Identity,
    secrecy::SecretString,
    x25519::{self, Recipient},
};
use openraft::LogId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    State,
    command::{Command, Group},
    member::FOLDER,
    raft::MemberId,
    rebuild::rebuild,
    seal::{SealError, Sealer},
    snapshot::{Content, SnapshotError},
};
use crate::model::{Index, Kind, Uid, secret::SealedSecret};

/// Bytes in a backup at most, open: more than a store ever holds.
pub const LIMIT: u64 = 1 << 30;
const ABOUT: &str = "about.json";
const STATE: &str = "state";
const KEYS: &str = "seal.key";
const FORMAT: u32 = 1;
/// Work for a passphrase, as a power of two: 128 MiB of memory and about half a second (OWASP's cheat sheet on passwords
/// asks for as much of scrypt); and at most, since a file from elsewhere must not take all memory.
const WORK: (u8, u8) = (17, 20);

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Of the file.
    format: u32,
    /// Version of the program that made it.
    pub version: String,
    /// The cluster's name.
    pub name: Arc<str>,
    /// Its identity.
    pub cluster: Uid,
    /// Identity of its data.
    pub lineage: Uid,
    /// Index of the state.
    pub index: Index,
    /// Newest cluster time in it, milliseconds since 1970.
    pub time: u64,
    /// The node that made it.
    pub node: Arc<str>,
    /// [`State::lasting_hash`] of the state.
    pub hash: String,
}

/// An open backup.
pub struct Backup {
    /// What it is of.
    pub about: About,
    /// The state.
    pub state: State,
    /// Where the log stood.
    pub(super) last: Option<LogId<MemberId>>,
    keys: Zeroizing<Vec<u8>>,
}
impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Backup({:?})", self.about)
    }
}

/// What seals a backup.
#[derive(Debug)]
pub enum Lock {
    /// Whoever knows it opens it.
    Passphrase(SecretString),
    /// Whoever has the secret part of one of these keys opens it.
    Recipients(Vec<Recipient>),
}

/// What opens a backup.
pub enum Keys {
    /// The passphrase it was sealed with.
    Passphrase(SecretString),
    /// Secret keys, one of which fits.
    Identities(Vec<x25519::Identity>),
}

/// What is wrong with a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to back up.
    #[error("there is no cluster yet")]
    NoCluster,
    /// A Secret does not open with the keys.
    #[error("secret {name} does not open")]
    Closed {
        /// Which.
        name: Arc<str>,
        /// Why.
        #[source]
        source: SealError,
    },
    /// A public or secret key is none.
    #[error("{0} is no key: a public one begins with age1, a secret one with AGE-SECRET-KEY-1")]
    NoKey(String),
    /// It is sealed in another way than it is opened.
    #[error("it is sealed with {is}")]
    OtherLock {
        /// In which.
        is: &'static str,
    },
    /// The passphrase or key does not open it.
    #[error("{0}")]
    Refused(&'static str),
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It is whole, and this version cannot read it.
    #[error("a newer version made it: {0}")]
    Newer(String),
    /// It cannot be sealed.
    #[error("it cannot be sealed: {0}")]
    Sealing(String),
}

impl Lock {
    /// To these public keys, `age1…`.
    ///
    /// # Errors
    /// [`BackupError::NoKey`].
    pub fn to(recipients: &[String]) -> Result<Self, BackupError> {
        let keys = recipients.iter().map(|text| text.trim().parse().map_err(|_| BackupError::NoKey(text.clone())));
        Ok(Self::Recipients(keys.collect::<Result<_, _>>()?))
    }
}

impl Keys {
    /// The secret keys in the text of a key file: a line each, comments begin with `#`.
    ///
    /// # Errors
    /// [`BackupError::NoKey`].
    pub fn of_file(text: &str) -> Result<Self, BackupError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<x25519::Identity> = lines
            // What the line says may be half of a secret.
            .map(|line| line.parse().map_err(|_| BackupError::NoKey("a line of the file".into())))
            .collect::<Result<_, _>>()?;
        if keys.is_empty() {
            Err(BackupError::NoKey("the file holds none; an empty file".into()))
        } else {
            Ok(Self::Identities(keys))
        }
    }
}

/// A new pair of keys: the secret one and the public one.
#[must_use]
pub fn draw_key() -> (SecretString, String) {
    let key = x25519::Identity::generate();
    (key.to_string(), key.to_public().to_string())
}

impl Backup {
    /// Of a state. `keys` were read before it, so that none of them is older than what they open; they are tried.
    ///
    /// # Errors
    /// [`BackupError::NoCluster`]; [`BackupError::Closed`] when a Secret was sealed with another key meanwhile.
    pub fn of(
        state: State,
        keys: Zeroizing<Vec<u8>>,
        node: &Arc<str>,
        raft: (u64, u64, u64),
    ) -> Result<Self, BackupError> {
        let cluster = state.cluster().ok_or(BackupError::NoCluster)?;
        let about = About {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            name: cluster.name.clone(),
            cluster: cluster.cluster.clone(),
            lineage: cluster.lineage.clone(),
            index: state.index(),
            time: state.time(),
            node: node.clone(),
            hash: state.lasting_hash(),
        };
        let (term, member, applied) = raft;
        let last = Some(LogId::new(openraft::CommittedLeaderId::new(term, member), applied));
        let this = Self { about, state, last, keys };
        this.opens()?;
        Ok(this)
    }

    /// Tries every Secret and every version of one; how many values opened.
    ///
    /// # Errors
    /// [`BackupError::Closed`], [`BackupError::Damaged`].
    pub fn opens(&self) -> Result<usize, BackupError> {
        let sealer =
            Sealer::of_keys(&self.keys).ok_or_else(|| BackupError::Damaged(format!("{KEYS} holds no keys")))?;
        let secrets = || self.state.objects(Kind::Secret);
        let kept = secrets().flat_map(|o| self.state.versions(&o.meta.uid).filter_map(|v| v.kept.as_ref()));
        let mut values = 0;
        for object in secrets().chain(kept) {
            let name = &object.meta.name;
            let sealed: SealedSecret =
                object.parse().map_err(|e| BackupError::Damaged(format!("secret {name}: {e}")))?;
            let open = sealer.open(&sealed, &object.meta.uid);
            values += open.map_err(|source| BackupError::Closed { name: name.clone(), source })?.len();
        }
        Ok(values)
    }

    /// The file that holds the keys of its Secrets, as a data directory has it.
    #[must_use]
    pub fn key_file(&self) -> &[u8] {
        &self.keys
    }

    /// As a sealed file.
    ///
    /// # Errors
    /// [`BackupError::Sealing`].
    pub fn seal(&self, lock: Lock) -> Result<Vec<u8>, BackupError> {
        let failed = |error: io::Error| BackupError::Sealing(error.to_string());
        let content = Content { state: self.state.clone(), last: self.last, ..Content::default() };
        let state = content.pack().map_err(|e| BackupError::Sealing(e.to_string()))?;
        let about = serde_json::to_vec_pretty(&self.about).map_err(|e| BackupError::Sealing(e.to_string()))?;
        let encryptor = match &lock {
            Lock::Passphrase(passphrase) => {
                let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(WORK.0);
                Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
            }
            Lock::Recipients(keys) => Encryptor::with_recipients(keys.iter().map(|key| key as &dyn age::Recipient)),
        };
        let encryptor = encryptor.map_err(|error| match error {
            EncryptError::MissingRecipients => BackupError::Sealing("no key is named".into()),
            other => BackupError::Sealing(other.to_string()),
        })?;
        let mut sealed = encryptor.wrap_output(Vec::with_capacity(state.len() + 4_096)).map_err(failed)?;
        let mut archive = tar::Builder::new(&mut sealed);
        for (name, bytes) in [(ABOUT, &about[..]), (STATE, &state[..]), (KEYS, &self.keys[..])] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(self.about.time / 1_000);
            archive.append_data(&mut header, name, bytes).map_err(failed)?;
        }
        archive.finish().map_err(failed)?;
        drop(archive);
        sealed.flush().map_err(failed)?;
        sealed.finish().map_err(failed)
    }

    /// Of a sealed file.
    ///
    /// # Errors
    /// When the keys do not open it, or it is not what was written.
    pub fn open(file: &[u8], keys: &Keys) -> Result<Self, BackupError> {
        let damaged = |error: io::Error| BackupError::Damaged(format!("cut off, or changed ({error})"));
        let decryptor = Decryptor::new(file).map_err(|error| refused(error, keys))?;
        let reader = match keys {
            Keys::Passphrase(_) if !decryptor.is_scrypt() => {
                return Err(BackupError::OtherLock { is: "a key: open it with --identity FILE" });
            }
            Keys::Identities(_) if decryptor.is_scrypt() => {
                return Err(BackupError::OtherLock {
                    is: "a passphrase: open it with --passphrase-file FILE, or without --identity",
                });
            }
            Keys::Passphrase(passphrase) => {
                let mut identity = age::scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(WORK.1);
                decryptor.decrypt(std::iter::once(&identity as &dyn Identity))
            }
            Keys::Identities(all) => decryptor.decrypt(all.iter().map(|key| key as &dyn Identity)),
        };
        let reader = reader.map_err(|error| refused(error, keys))?;
        let mut parts: [Option<Zeroizing<Vec<u8>>>; 3] = [None, None, None];
        let mut archive = tar::Archive::new(reader.take(LIMIT));
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let name = entry.path_bytes().into_owned();
            let at = [ABOUT, STATE, KEYS].iter().position(|known| known.as_bytes() == name);
            // A newer version may have put more into it.
            let Some(at) = at else { continue };
            if entry.header().entry_type() != tar::EntryType::Regular {
                return Err(BackupError::Damaged("a part of it is no plain file".into()));
            }
            let mut bytes = Zeroizing::new(Vec::new());
            (&mut entry).take(LIMIT).read_to_end(&mut bytes).map_err(damaged)?;
            parts[at] = Some(bytes);
        }
        let [Some(about), Some(state), Some(keys)] = parts else {
            return Err(BackupError::Damaged("a part of it is missing".into()));
        };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let unreadable = |e: serde_json::Error| BackupError::Damaged(format!("{ABOUT}: {e}"));
        let Format { format } = serde_json::from_slice(&about).map_err(unreadable)?;
        if format != FORMAT {
            return Err(BackupError::Newer(format!("format {format}")));
        }
        let about = serde_json::from_slice(&about).map_err(unreadable)?;
        let content = Content::unpack(STATE, &state).map_err(|error| match error {
            SnapshotError::Newer { what, .. } => BackupError::Newer(what),
            other => BackupError::Damaged(other.to_string()),
        })?;
        Ok(Self { about, state: content.state, last: content.last, keys })
    }

    /// Makes the store of a data directory that has none: the same state, in a new cluster with one new member, on the node
    /// `node`. `at`: wall clock, milliseconds since 1970.
    ///
    /// # Errors
    /// When the disk fails; then there is no store as before.
    pub fn rebuild(&self, data: &Path, node: &Arc<str>, cluster: Uid, at: u64) -> io::Result<()> {
        let About { index, version, .. } = &self.about;
        let told = format!("restored from a backup of index {index} that version {version} made");
        let recover = Command::Recover { node: node.clone(), told, cluster: Some(cluster), lost: true };
        let group = Group { at, commands: vec![recover], actor: "restore".into(), ..Group::default() };
        let mut state = self.state.clone();
        state.apply(&group).map_err(io::Error::other)?;
        let last = self.last.unwrap_or_else(|| LogId::new(openraft::CommittedLeaderId::new(1, 0), 0));
        rebuild(&data.join(FOLDER), state, node, last, last.leader_id.term).map(|_| ())
    }
}

fn refused(error: DecryptError, keys: &Keys) -> BackupError {
    let what = match keys {
        Keys::Passphrase(_) => "the passphrase does not open it",
        Keys::Identities(_) => "none of the keys opens it",
    };
    match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed | DecryptError::NoMatchingKeys => {
            BackupError::Refused(what)
        }
        DecryptError::ExcessiveWork { required, .. } => {
            BackupError::Damaged(format!("opening it would take 2^{required} steps"))
        }
        DecryptError::UnknownFormat => BackupError::Newer("the seal is of a kind that is not known".into()),
        DecryptError::InvalidHeader => BackupError::Damaged("it does not begin like a backup".into()),
        other => BackupError::Damaged(format!("cut off, or changed ({other})")),
    }
}

#[cfg(test)]
mod tests;
