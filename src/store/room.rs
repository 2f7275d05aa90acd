//! Room on the disk: changes are refused before it is full.
//!
//! Here: [`Room`], which asks the file system, and what a group needs ([`Free::takes`], pure). Not here: who asks
//! before each entry (`super::proposer`).
//! Why: after an `ENOSPC` sled fails until it is opened again, and a process that cannot write cannot begin anew
//! either. So declared objects need a reserve; what nodes report and the loops decide goes on for a while, and
//! ends before the disk does.

use std::path::PathBuf;

use crate::store::command::{Command, Group};

/// Smallest and largest reserve, bytes; in between it is a part of the file system.
const RESERVE: (u64, u64) = (32 << 20, 256 << 20);
/// That part: one of so many.
const PART: u64 = 20;
/// What is left for the log itself, its next database and a snapshot: one part of so many of the reserve.
const FLOOR: u64 = 4;

/// Where the store lies.
#[derive(Debug, Clone, Default)]
pub struct Room(Option<PathBuf>);

/// How much is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Bytes that this process may write.
    pub free: u64,
    /// Bytes below which no declared object is written.
    pub reserve: u64,
}

impl Room {
    /// Of the file system that holds a folder; none: there is always room.
    #[must_use]
    pub fn of(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// Asks. None when nobody knows.
    #[must_use]
    pub fn look(&self) -> Option<Free> {
        let found = rustix::fs::statvfs(self.0.as_ref()?).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(Free { free: bytes(found.f_bavail), reserve: (bytes(found.f_blocks) / PART).clamp(RESERVE.0, RESERVE.1) })
    }
}

impl Free {
    /// Whether there is room for a group.
    #[must_use]
    pub fn takes(&self, group: &Group) -> bool {
        !self.is_low() || (!self.is_out() && !group.commands.iter().any(is_declared))
    }

    /// Whether it takes nothing at all.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.free < self.reserve / FLOOR
    }

    /// Whether it takes less than it would with room.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.free < self.reserve
    }
}

fn is_declared(command: &Command) -> bool {
    matches!(command, Command::Put(_))
}

impl std::fmt::Display for Free {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (free, reserve) = (self.free >> 20, self.reserve >> 20);
        write!(f, "the disk of the data directory has {free}Mi left, and changes need {reserve}Mi")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::ObjectKey, store::command::PutObject};

    #[test]
    fn declared_objects_need_the_reserve_and_everything_needs_the_floor() {
        let group = |command| Group { commands: vec![command], ..Group::default() };
        let put = group(Command::Put(PutObject {
            kind: crate::model::Kind::Config,
            name: "c".into(),
            labels: [].into(),
            annotations: [].into(),
            managed_by: None,
            spec: Vec::new(),
            uid: crate::model::Uid("".into()),
            based_on: None,
            spec_hash: None,
        }));
        let delete = group(Command::Delete { key: ObjectKey::service("web") });
        let table = [(100, true, true), (99, false, true), (25, false, true), (24, false, false), (0, false, false)];
        for (free, takes_put, takes_delete) in table {
            let free = Free { free, reserve: 100 };
            assert_eq!((free.takes(&put), free.takes(&delete)), (takes_put, takes_delete), "{free:?}");
        }
    }

    #[test]
    fn the_reserve_is_a_part_of_the_disk_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let found = Room::of(Some(dir.path().to_owned())).look().unwrap();
        assert!((RESERVE.0..=RESERVE.1).contains(&found.reserve), "{found:?}");
        assert_eq!(Room::default().look(), None);
    }
}
