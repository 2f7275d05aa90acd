//! A start that fails says why, by the exit code too.

use std::{path::Path, time::Instant};

use super::*;
use crate::store::conformance::Failing;

/// Starts a store on a disk whose `n`th sync fails.
async fn started_on(n: u32) -> Result<Store, OpenError> {
    let (fatal, _) = watch::channel(None);
    let (log, thread) =
        Log::open(Failing(Memory::default(), n), None, Start { member: 1, incarnation: 0 }, fatal.clone()).unwrap();
    let member = Member { id: 1, incarnation: 1, formed: false };
    let opened = Opened { member, log, thread, machine: Machine::new(None, None), newest: 0, folder: None };
    start(Options::new("memory", "n1"), opened, fatal, Path::new("memory")).await
}

#[tokio::test]
async fn a_disk_that_fails_at_any_moment_of_the_first_leadership_ends_with_74() {
    let begun = Instant::now();
    let mut failures = 0;
    for n in 1..20 {
        match started_on(n).await {
            Ok(store) => {
                store.close().await;
                break;
            }
            Err(error) => {
                assert_eq!(error.exit_code(), 74, "sync {n}: {error}");
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                assert!(cause.contains("failed"), "sync {n}: {cause}");
                failures += 1;
            }
        }
    }
    assert!(failures >= 3, "a vote, the membership and the token are synced, not {failures}");
    assert!(begun.elapsed() < LEAD, "nobody waits for a lead that cannot come");
}
