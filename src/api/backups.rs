//! Backups of this store, and the word that a restored one may go on.
//!
//! Here: `POST /api/v1/backups`, `GET` and `POST /api/v1/cluster/restore`. Not here: the file (`store::backup`), making
//! a data directory of it (`agent::restore`).
//! Invariants: what leaves is sealed; it holds every change that was acknowledged before it was asked for; what is
//! confirmed is what was shown.

use age::secrecy::SecretString;
use warp::reply::Response;

use super::{
    audit,
    commit::{Change, Commit},
    heavy,
    problem::Failure,
    reply::{self, OCTETS},
    request::Request,
    wire::{ApplyAnswer, BackupRequest, RestoreConfirm, RestoreReport},
};
use crate::store::{
    backup::{Backup, BackupError, Lock},
    command::Command,
};

/// A key may be replaced while it is read, and then the state is read again.
const TRIES: usize = 5;
/// Characters of a passphrase at least: the file may be tried for years by whoever finds it.
const PASSPHRASE: usize = 8;

/// `POST /api/v1/backups`.
///
/// # Errors
/// 422 for what cannot seal, 409 before there is a cluster, 403.
pub async fn create(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let asked: BackupRequest = request.json(&body)?;
    let lock = lock(asked)?;
    // What is acknowledged by now is in the state then. A disk that is full takes no record, and is when a backup is
    // wanted most.
    match audit::record(&request, "backup".into()).await {
        Err(full) if full.status() == 507 => {
            tracing::warn!(who = %request.caller.name, "a backup is made and not recorded: the disk is full");
        }
        recorded => recorded?,
    }
    let shared = request.server.shared.clone();
    let made = heavy::run(&request.server, usize::MAX, move || {
        let mut tries = 0;
        loop {
            let keys = shared.sealer.key_file();
            let state = (*shared.store.state()).clone();
            let raft = shared.store.raft_status();
            tries += 1;
            match Backup::of(state, keys, &shared.node, (raft.term, raft.member, raft.applied)) {
                Err(BackupError::Closed { .. }) if tries < TRIES => {}
                made => return made?.seal(lock),
            }
        }
    });
    let file = made.await?;
    Ok(reply::whole(OCTETS, file.map_err(failed)?))
}

fn lock(asked: BackupRequest) -> Result<Lock, Failure> {
    match (asked.passphrase, asked.recipients) {
        (None, recipients) if !recipients.is_empty() => Lock::to(&recipients).map_err(failed),
        (Some(text), recipients) if recipients.is_empty() => {
            if text.chars().count() < PASSPHRASE {
                return Err(Failure::unprocessable(format!("the passphrase has fewer than {PASSPHRASE} characters"))
                    .hint("take a longer one, or a key: constellation backup key"));
            }
            Ok(Lock::Passphrase(SecretString::from(text)))
        }
        _ => Err(Failure::unprocessable("a backup is sealed with a passphrase or to recipients, one of the two")
            .hint("send {\"recipients\": [\"age1…\"]} or {\"passphrase\": \"…\"}")),
    }
}

fn failed(error: BackupError) -> Failure {
    match error {
        BackupError::NoCluster => Failure::new(409, "no-cluster", "There is nothing to back up", error.to_string()),
        BackupError::NoKey(_) => Failure::unprocessable(error.to_string()).hint("constellation backup key"),
        BackupError::Closed { .. } => Failure::new(409, "secret-closed", "A secret does not open", error.to_string())
            .hint("bring back the seal.key it was sealed with, or delete the secret (secret rm NAME --force) and apply it again"),
        _ => Failure::internal(error.to_string()),
    }
}

/// `GET /api/v1/cluster/restore`.
///
/// # Errors
/// When the answer has no JSON form.
pub async fn restore(request: Request) -> Result<Response, Failure> {
    let store = &request.server.shared.store;
    reply::json(&RestoreReport::of(&store.state(), store.now()))
}

/// `POST /api/v1/cluster/restore`.
///
/// # Errors
/// 409 when nothing waits, or something else than was shown; and those of every write.
pub async fn confirm(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let asked: RestoreConfirm = request.json(&body)?;
    let (node, store) = (request.server.shared.node.clone(), request.server.shared.store.clone());
    let answer: ApplyAnswer = Commit::of(&request, body)?
        .run(move |state| {
            let report = RestoreReport::of(state, store.now());
            if report.from.is_none() {
                return Err(Failure::new(
                    409,
                    "nothing-restored",
                    "Nothing waits",
                    "no restored backup waits for a word",
                ));
            }
            if report.shown != asked.shown {
                let detail = "what a confirmation would change is something else by now";
                return Err(Failure::new(409, "other-restore", "It changed meanwhile", detail)
                    .hint("look again: constellation backup confirm"));
            }
            let unheard = report.unheard.iter().filter(|name| !asked.without.iter().any(|w| *w == ***name));
            let unheard: Vec<&str> = unheard.map(AsRef::as_ref).collect();
            if !unheard.is_empty() {
                let detail = format!("{} has not said what runs there", unheard.join(", "));
                return Err(Failure::new(409, "nodes-unheard", "A node is unheard", detail)
                    .hint("start its agent and its engine; or, if it is gone for good: constellation backup confirm --without NODE"));
            }
            Ok(Change { commands: vec![Command::ConfirmRestore { node: node.clone() }], read: Vec::new() })
        })
        .await?;
    reply::json(&answer)
}
