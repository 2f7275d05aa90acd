//! Snapshots: the whole state in one checked file.
//!
//! Here: packing a [`State`] and its place in the log, and files that are either whole or not there
//! (temporary file, fsync, rename, fsync of the directory). Not here: when to make one (`super::keeper`).
//! Format: magic, format number, length, BLAKE3 of those two and the body, body in MessagePack with field names.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use openraft::{LogId, SnapshotMeta, StoredMembership};
use serde::{Deserialize, Serialize};

use super::{
    audit::{Audit, PackedAudit},
    durable,
    fault::{Mistake, crash, is_made},
    keys::Remembered,
    packed,
    raft::{MemberId, PeerNode},
    ring::{Changes, Events, PackedEvents},
    state::{ClusterInfo, LeaderInfo, State},
};
use crate::model::{
    Edge, Index, JobRecord, Object, ObjectKey, Replica, Revision, Rollout, Status, Token, Uid, Version, Volume,
};

const MAGIC: &[u8; 8] = b"CSTSNAP\0";
const FORMAT: u32 = 1;
const HEADER: usize = 8 + 4 + 8 + 32;
/// Whole snapshots kept: the newest, and one to fall back on.
const KEPT: usize = 2;

/// A state as stored.
#[derive(Debug, Serialize, Deserialize)]
struct Packed {
    last: Option<LogId<MemberId>>,
    membership: StoredMembership<MemberId, PeerNode>,
    index: Index,
    cluster: Option<ClusterInfo>,
    leader: Option<LeaderInfo>,
    epochs: u64,
    time: u64,
    objects: Vec<Arc<Object>>,
    revisions: Vec<Arc<Revision>>,
    replicas: Vec<Arc<Replica>>,
    statuses: Vec<(ObjectKey, Arc<(Uid, Status)>)>,
    volumes: Vec<Arc<Volume>>,
    #[serde(default)]
    rollouts: Vec<(Uid, Arc<Rollout>)>,
    #[serde(default)]
    jobs: Vec<(Uid, Arc<JobRecord>)>,
    #[serde(default)]
    edges: Vec<(Uid, Arc<Edge>)>,
    #[serde(default)]
    tokens: Vec<Arc<Token>>,
    #[serde(default)]
    audit: PackedAudit,
    #[serde(default)]
    versions: Vec<Arc<Version>>,
    events: PackedEvents,
    keys: Vec<(Arc<str>, Remembered)>,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Its bytes are not what was written.
    #[error("snapshot {name} is damaged: {what}")]
    Damaged {
        /// Which.
        name: String,
        /// In which way.
        what: String,
    },
    /// It is whole, and this version cannot read it.
    #[error("snapshot {name} was written by a newer version: {what}")]
    Newer {
        /// Which.
        name: String,
        /// What is not known.
        what: String,
    },
    /// The disk failed.
    #[error("snapshot {name}")]
    Io {
        /// Which.
        name: String,
        /// How.
        #[source]
        source: io::Error,
    },
}

/// What stands in a snapshot: the state, and which log entries it contains.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// The state.
    pub state: State,
    /// Last entry it contains.
    pub last: Option<LogId<MemberId>>,
    /// Membership at that entry.
    pub membership: StoredMembership<MemberId, PeerNode>,
}

/// Of format, length and body.
fn checksum(header: &[u8], body: &[u8]) -> blake3::Hash {
    blake3::Hasher::new().update(header).update(body).finalize()
}

impl Content {
    /// Raft's description of it.
    #[must_use]
    pub fn meta(&self) -> SnapshotMeta<MemberId, PeerNode> {
        SnapshotMeta {
            last_log_id: self.last,
            last_membership: self.membership.clone(),
            snapshot_id: format!("{}-{}", self.last.map_or(0, |l| l.index), self.state.index),
        }
    }

    /// As bytes.
    ///
    /// # Errors
    /// When a value cannot be encoded.
    pub fn pack(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        let s = &self.state;
        let packed = Packed {
            last: self.last,
            membership: self.membership.clone(),
            index: s.index,
            cluster: s.cluster.clone(),
            leader: s.leader.clone(),
            epochs: s.epochs,
            time: s.time,
            objects: s.objects.values().cloned().collect(),
            revisions: s.revisions.values().cloned().collect(),
            replicas: s.replicas.values().cloned().collect(),
            statuses: s.statuses.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            volumes: s.volumes.values().cloned().collect(),
            rollouts: s.rollouts.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            jobs: s.jobs.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            edges: s.edges.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            tokens: s.tokens.values().cloned().collect(),
            audit: s.audit.pack(),
            versions: s.versions.values().cloned().collect(),
            events: s.events.pack(),
            keys: s.keys.pack(),
        };
        let mut bytes = vec![0; HEADER];
        rmp_serde::encode::write_named(&mut bytes, &packed)?;
        head(&mut bytes);
        Ok(bytes)
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] when they are not what was packed.
    pub fn unpack(name: &str, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let damaged = |what: String| SnapshotError::Damaged { name: name.into(), what };
        let (Some(header), Some(body)) = (bytes.get(..HEADER), bytes.get(HEADER..)) else {
            return Err(damaged(format!("{} bytes are too few", bytes.len())));
        };
        if &header[..8] != MAGIC {
            return Err(damaged("it does not begin like a snapshot".into()));
        }
        if header[12..20] != (body.len() as u64).to_le_bytes() {
            return Err(damaged(format!("its length is not the {} bytes found", body.len())));
        }
        let whole = checksum(&header[8..20], body).as_bytes() == &header[20..];
        if !whole && !is_made(Mistake::SkipSnapshotHash) {
            return Err(damaged("its checksum does not match".into()));
        }
        // Whole, and not readable: a newer version wrote it.
        let newer = |what: String| SnapshotError::Newer { name: name.into(), what };
        let format = header.get(8..12).and_then(|f| Some(u32::from_le_bytes(f.try_into().ok()?)));
        if format != Some(FORMAT) {
            return Err(newer(format!("format {}", format.unwrap_or_default())));
        }
        let p: Packed = packed::read(body).map_err(|e| newer(e.to_string()))?;
        let mut state = State {
            index: p.index,
            cluster: p.cluster,
            leader: p.leader,
            time: p.time,
            revisions: p.revisions.into_iter().map(|r| ((r.service.clone(), r.number), r)).collect(),
            statuses: p.statuses.into_iter().collect(),
            volumes: p.volumes.into_iter().map(|v| (v.key.clone(), v)).collect(),
            rollouts: p.rollouts.into_iter().collect(),
            jobs: p.jobs.into_iter().collect(),
            edges: p.edges.into_iter().collect(),
            tokens: p.tokens.into_iter().map(|t| (t.id.clone(), t)).collect(),
            audit: Audit::unpack(p.audit),
            versions: p.versions.into_iter().map(|v| ((v.object.clone(), v.number), v)).collect(),
            events: Events::unpack(p.events),
            changes: Changes::since(p.index),
            epochs: p.epochs,
            ..State::default()
        };
        for object in p.objects {
            state.keep_object(object);
        }
        for replica in p.replicas {
            state.keep_replica(replica);
        }
        for (key, remembered) in p.keys {
            state.keys.insert(key, remembered);
        }
        Ok(Self { state, last: p.last, membership: p.membership })
    }
}

/// Writes the header over the beginning of `bytes`, for what follows it.
fn head(bytes: &mut [u8]) {
    let length = (bytes.len() - HEADER) as u64;
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[12..20].copy_from_slice(&length.to_le_bytes());
    let hash = checksum(&bytes[8..20], &bytes[HEADER..]);
    bytes[20..HEADER].copy_from_slice(hash.as_bytes());
}

impl State {
    /// Hash of everything that all nodes agree on.
    #[must_use]
    pub fn hash(&self) -> String {
        let content = Content { state: self.clone(), ..Content::default() };
        content.pack().map_or_else(|e| format!("unhashable: {e}"), |bytes| blake3::hash(&bytes).to_hex().to_string())
    }
}

impl State {
    /// Hash of what is declared and placed, and of the data that is known: what a restore leaves as it was. How rollouts
    /// went is none of that: after a restore each is looked at anew.
    #[must_use]
    pub fn lasting_hash(&self) -> String {
        let untried = |revision: &Arc<Revision>| match &revision.tried {
            Some(_) => Arc::new(Revision { tried: None, ..(**revision).clone() }),
            None => revision.clone(),
        };
        let lasting = Self {
            objects: self.objects.clone(),
            revisions: self.revisions.iter().map(|(key, revision)| (key.clone(), untried(revision))).collect(),
            versions: self.versions.clone(),
            replicas: self.replicas.clone(),
            volumes: self.volumes.clone(),
            ..Self::default()
        };
        lasting.hash()
    }
}

/// A whole snapshot with its path, if there is one.
pub type Newest = Option<(Content, PathBuf)>;

/// The directory of snapshots.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Opens the directory, making it if needed and removing what an interrupted write left.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let io = |source| SnapshotError::Io { name: path.display().to_string(), source };
        durable::private_directory(path).map_err(io)?;
        let this = Self::at(path);
        for file in this.files("tmp").map_err(io)? {
            fs::remove_file(file).map_err(io)?;
        }
        Ok(this)
    }

    /// The directory as it is.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn files(&self, extension: &str) -> io::Result<Vec<PathBuf>> {
        let mut found: Vec<PathBuf> = fs::read_dir(&self.0)?
            .map(|e| e.map(|e| e.path()))
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .filter(|p| p.extension().is_some_and(|e| e == extension))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Writes a snapshot; it is durable when this returns.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&self, last: Option<LogId<MemberId>>, bytes: &[u8]) -> Result<PathBuf, SnapshotError> {
        let (index, term) = last.map_or((0, 0), |l| (l.index, l.leader_id.term));
        let path = self.0.join(format!("{index:020}-{term:010}.snap"));
        let write = || {
            let temporary = path.with_extension("tmp");
            let mut file = durable::private_file(&temporary)?;
            file.write_all(bytes)?;
            crash("snapshot-written");
            file.sync_all()?;
            crash("snapshot-synced");
            fs::rename(&temporary, &path)?;
            crash("snapshot-renamed");
            durable::sync(&self.0)?;
            let files = self.files("snap")?;
            for old in files.iter().take(files.len().saturating_sub(KEPT)) {
                fs::remove_file(old)?;
            }
            io::Result::Ok(())
        };
        write().map_err(|source| SnapshotError::Io { name: path.display().to_string(), source })?;
        Ok(path)
    }

    /// The newest whole snapshot with its path, and what was wrong with newer ones, which are set aside.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub fn newest(&self) -> Result<(Newest, Vec<SnapshotError>), SnapshotError> {
        let (newest, wrong) = self.whole()?;
        for (path, _) in &wrong {
            // Kept as evidence, and out of the count of those to fall back on.
            let renamed = fs::rename(path, path.with_extension("damaged"));
            renamed.map_err(|source| SnapshotError::Io { name: path.display().to_string(), source })?;
        }
        Ok((newest, wrong.into_iter().map(|(_, error)| error).collect()))
    }

    /// The newest whole snapshot with its path, and newer ones with what is wrong with them. Changes nothing.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn whole(&self) -> Result<(Newest, Vec<(PathBuf, SnapshotError)>), SnapshotError> {
        let io = |source| SnapshotError::Io { name: self.0.display().to_string(), source };
        let mut wrong = Vec::new();
        for path in self.files("snap").map_err(io)?.into_iter().rev() {
            let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            match Content::unpack(&name, &fs::read(&path).map_err(io)?) {
                Ok(content) => return Ok((Some((content, path)), wrong)),
                Err(error @ SnapshotError::Damaged { .. }) => wrong.push((path, error)),
                Err(error) => return Err(error),
            }
        }
        Ok((None, wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mutate::{Mutations, plain, survives},
        store::command::{Command, Group},
    };

    fn content(index: u64) -> Content {
        let mut state = State::default();
        for n in 0..index {
            let command = Command::LeaderStarted { member: 1, incarnation: n, nonce: n, node: "n1".into() };
            state.apply(&Group { at: n, commands: vec![command], ..Group::default() }).ok();
        }
        Content { state, last: Some(LogId::new(openraft::CommittedLeaderId::new(1, 1), index)), ..Content::default() }
    }
    fn written(folder: &Folder, index: u64) -> PathBuf {
        let content = content(index);
        folder.write(content.last, &content.pack().unwrap()).unwrap()
    }

    #[test]
    fn a_change_of_any_byte_and_a_cut_at_any_place_are_seen() {
        let bytes = content(3).pack().unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(matches!(Content::unpack("x", &changed), Err(SnapshotError::Damaged { .. })), "byte {at}");
            assert!(matches!(Content::unpack("x", &bytes[..at]), Err(SnapshotError::Damaged { .. })), "cut at {at}");
        }
    }

    #[test]
    fn snapshots_survive_what_a_disk_holds() {
        let whole = content(3).pack().unwrap();
        survives(Mutations::of("snapshots", [whole.clone()], 3_000), move |bytes| {
            match Content::unpack("s", bytes) {
                Ok(_) => assert_eq!(bytes, whole, "a changed snapshot is taken for whole"),
                Err(error) => plain(&error.to_string()),
            }
            // Under a checksum that holds only the reader of the content can refuse it.
            let mut bytes = bytes.to_vec();
            if bytes.len() > HEADER {
                head(&mut bytes);
                match Content::unpack("s", &bytes) {
                    Ok(content) => drop(content.pack().unwrap()),
                    Err(error) => assert!(matches!(error, SnapshotError::Newer { .. }), "{error}"),
                }
            }
        });
    }

    #[test]
    fn a_whole_snapshot_of_a_newer_format_is_no_damage() {
        let mut bytes = content(3).pack().unwrap();
        bytes[8] = 2;
        let sum = checksum(&bytes[8..20], &bytes[HEADER..]);
        bytes[20..HEADER].copy_from_slice(sum.as_bytes());
        assert!(matches!(Content::unpack("x", &bytes), Err(SnapshotError::Newer { .. })));
    }

    #[test]
    fn the_newest_whole_one_counts_and_a_damaged_one_is_kept_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        written(&folder, 1);
        let second = written(&folder, 2);
        let third = written(&folder, 3);
        fs::write(dir.path().join("x.tmp"), b"half").unwrap();
        let mut bytes = fs::read(&third).unwrap();
        bytes.pop();
        fs::write(&third, bytes).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let (newest, wrong) = folder.newest().unwrap();
        let (found, path) = newest.unwrap();
        assert_eq!((path, found.state.hash()), (second, content(2).state.hash()));
        assert!(matches!(wrong[..], [SnapshotError::Damaged { .. }]));
        assert!(third.with_extension("damaged").exists(), "evidence is not removed");
        assert_eq!(folder.files("snap").unwrap().len(), KEPT - 1, "older ones were");
        assert!(folder.files("tmp").unwrap().is_empty());
    }
}
