//! Faults that a test puts into a store: a kill at a place where it hurts, and mistakes that the tests must notice.
//!
//! Here: [`crash`] and [`is_made`], and the names of both. `STORE_FAULT=crash:append:3` ends the process with SIGKILL
//! when it comes by that place for the third time; `STORE_FAULT=skip-data-sync` makes that mistake.
//! Not here: the tests that use them (`tests/store_kill.rs`, `super::mutants`).
//! Invariant: a release build asks nothing of this: there both functions are empty.

/// Where a process may be killed: around each write, sync, rename, append and purge.
pub const PLACES: [&str; 18] = [
    "file-written",
    "file-synced",
    "file-renamed",
    "append",
    "appended",
    "synced",
    "noted",
    "purge",
    "purge-marked",
    "generation-marked",
    "generation-synced",
    "generation-ready",
    "grave-named",
    "snapshot-written",
    "snapshot-synced",
    "snapshot-renamed",
    "copied",
    "forgetting",
];

/// A mistake: each breaks one rule that the store rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// `fdatasync` is left out.
    SkipDataSync,
    /// A folder is not synced after a new name.
    SkipFolderSync,
    /// An append is answered before it is written.
    AnswerEarly,
    /// A vote is answered before it is synced.
    AnswerVoteEarly,
    /// Entries go before the purge mark is durable.
    PurgeUnmarked,
    /// The witness is not written.
    SkipNote,
    /// A log that ends before the witness is taken.
    IgnoreWitness,
    /// A record is not compared with its checksum.
    SkipChecksum,
    /// A snapshot is not compared with its hash.
    SkipSnapshotHash,
    /// A change is made whatever it was based on.
    IgnorePreconditions,
    /// Of a refused group some commands stay.
    KeepRefused,
    /// A repeated request is carried out again.
    ForgetKeys,
    /// Two placements get one epoch.
    ReuseEpoch,
    /// A damaged log stays as sled left it.
    KeepAltered,
}

impl Mistake {
    /// All of them, with the names that `STORE_FAULT` takes.
    pub const ALL: [(Self, &str); 14] = [
        (Self::SkipDataSync, "skip-data-sync"),
        (Self::SkipFolderSync, "skip-folder-sync"),
        (Self::AnswerEarly, "answer-early"),
        (Self::AnswerVoteEarly, "answer-vote-early"),
        (Self::PurgeUnmarked, "purge-unmarked"),
        (Self::SkipNote, "skip-note"),
        (Self::IgnoreWitness, "ignore-witness"),
        (Self::SkipChecksum, "skip-checksum"),
        (Self::SkipSnapshotHash, "skip-snapshot-hash"),
        (Self::IgnorePreconditions, "ignore-preconditions"),
        (Self::KeepRefused, "keep-refused"),
        (Self::ForgetKeys, "forget-keys"),
        (Self::ReuseEpoch, "reuse-epoch"),
        (Self::KeepAltered, "keep-altered"),
    ];
}

#[cfg(debug_assertions)]
mod asked {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    use super::{Mistake, PLACES};

    /// What the environment asks for.
    struct Fault {
        mistake: Option<Mistake>,
        crash: Option<(&'static str, AtomicU64)>,
    }

    fn fault() -> &'static Fault {
        static FAULT: OnceLock<Fault> = OnceLock::new();
        FAULT.get_or_init(|| {
            let text = std::env::var("STORE_FAULT").unwrap_or_default();
            let mistake = Mistake::ALL.iter().find(|(_, name)| *name == text).map(|(mistake, _)| *mistake);
            let crash = text.strip_prefix("crash:").and_then(|rest| {
                let (place, times) = rest.split_once(':')?;
                Some((*PLACES.iter().find(|known| **known == place)?, AtomicU64::new(times.parse().ok()?)))
            });
            Fault { mistake, crash }
        })
    }

    /// Ends the process here, as SIGKILL does, if that is asked for.
    ///
    /// # Panics
    /// When the place has no name of its own.
    pub fn crash(place: &'static str) {
        debug_assert!(PLACES.contains(&place), "{place}");
        let Some((wanted, left)) = &fault().crash else { return };
        if *wanted == place && left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nothing is flushed or dropped.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }

    /// Whether this mistake is to be made.
    #[must_use]
    pub fn is_made(mistake: Mistake) -> bool {
        fault().mistake == Some(mistake)
    }
}

#[cfg(not(debug_assertions))]
mod asked {
    use super::Mistake;

    /// Nothing.
    #[inline(always)]
    pub const fn crash(_: &'static str) {}

    /// Never.
    #[inline(always)]
    #[must_use]
    pub const fn is_made(_: Mistake) -> bool {
        false
    }
}

pub use asked::{crash, is_made};
