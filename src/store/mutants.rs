//! A suite that never failed proves nothing: each known mistake, made by this very build, fails a test.
//!
//! The table names for each [`Mistake`] the test that notices it. The test runs again in a process of its own, with
//! the mistake made; without it the same test runs with all others, and passes.

use std::{
    env,
    process::{Command, Stdio},
    time::Duration,
};

use super::{cutting::children, fault::Mistake};

/// One of them cuts a log under the layer of a loss of power, for some seconds.
const LIMIT: Duration = Duration::from_secs(120);

const fn noticed_by(mistake: Mistake) -> &'static str {
    match mistake {
        Mistake::SkipDataSync | Mistake::SkipFolderSync | Mistake::AnswerEarly => {
            "cutting::a_log_that_is_cut_survives_a_loss_of_power_at_any_moment"
        }
        Mistake::AnswerVoteEarly | Mistake::PurgeUnmarked => "conformance::whatever_the_log_answers_was_synced_before",
        Mistake::SkipNote => "tests::everything_is_there_after_a_restart_and_a_new_token_begins",
        Mistake::IgnoreWitness => "conformance::a_log_that_is_not_what_was_written_does_not_open",
        Mistake::SkipChecksum => "record::tests::a_flipped_bit_is_seen",
        Mistake::SkipSnapshotHash => "snapshot::tests::a_change_of_any_byte_and_a_cut_at_any_place_are_seen",
        Mistake::IgnorePreconditions | Mistake::KeepRefused => {
            "apply::tests::a_group_is_all_or_nothing_and_its_indexes_are_contiguous"
        }
        Mistake::ForgetKeys => "apply::tests::a_key_gives_its_answer_again_and_changes_nothing",
        Mistake::ReuseEpoch => "apply::tests::an_epoch_is_granted_once_and_a_slot_runs_once",
        Mistake::KeepAltered => {
            "rescue::tests::a_damaged_store_is_kept_as_it_was_found_and_goes_on_when_told_what_is_lost"
        }
    }
}

#[test]
fn every_known_mistake_is_noticed() {
    let (mut missed, elsewhere) = (Vec::new(), children::scratch());
    for (mistake, name) in Mistake::ALL {
        let test = noticed_by(mistake);
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", &format!("store::{test}")]).env("STORE_FAULT", name).stdin(Stdio::null());
        // What proptest finds there is no regression to be kept.
        command.current_dir(elsewhere.path());
        let (status, said, _) = children::run(&mut command, LIMIT);
        let noticed = status.is_some_and(|s| s.code() == Some(101)) && said.contains("1 failed");
        println!("{name:22} {} by {test}", if noticed { "noticed" } else { "MISSED " });
        if !noticed {
            missed.push(format!("{name}: {status:?}\n{said}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
