//! What a person says about a rollout, and what becomes of its record.
//!
//! Here: [`said`]. Not here: who may (`api`), what follows ([`super::plan`]).

use std::sync::Arc;

use super::turn;
use crate::model::{Index, ObjectKey, Paused, Resolution, Rollout, RolloutPhase};
use crate::plan::view::ServiceView;

/// What a person says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Nothing more is replaced; with why, if they said.
    Pause(Option<Arc<str>>),
    /// It goes on; what failed of a halted one is let pass.
    Resume,
    /// Every replica is replaced by one of the same revision.
    Restart,
    /// The first replicas are good.
    Promote,
    /// This revision comes back; none: the one that was ready before.
    Undo(Option<u64>),
}

/// Why it cannot be done, and what can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is in the way.
    pub message: String,
    /// What a person can do.
    pub hint: String,
}

/// The record after a word; none: everything is so already. `index`: where the state was read.
///
/// # Errors
/// When it does not fit how far the rollout is.
pub fn said(view: &ServiceView, word: Word, (by, now): (&str, u64), index: Index) -> Result<Option<Rollout>, Refused> {
    let name = format!("svc/{}", view.name);
    let refused = |message: String, hint: String| Err(Refused { message, hint });
    let Some((_, spec)) = view.declared.as_ref() else {
        return refused(format!("{name} does not exist"), "apply it".into());
    };
    if spec.mode.is_job() {
        return refused(
            format!("{name} is a job: it has runs, and no rollout"),
            format!("`constellation job ls {0}` shows them, `constellation job run {0}` begins one", view.name),
        );
    }
    let Some(newest) = view.newest() else {
        return refused(format!("{name} has no revision yet"), "ask again in a moment".into());
    };
    let old = turn::begin(view, newest.number, now);
    let mut next = old.clone();
    match word {
        Word::Pause(_) if old.paused.is_some() => {}
        Word::Pause(why) => next.paused = Some(Paused { by: by.into(), at: now, why }),
        Word::Resume => {
            if old.paused.is_none() && old.phase != RolloutPhase::Halted {
                return refused(
                    format!("{name} is not paused"),
                    format!("`constellation rollout status {name}` shows how far it is"),
                );
            }
            next.paused = None;
            // Its deadline counts from now.
            next.resumed_at = Some(now);
            if old.phase == RolloutPhase::Halted {
                (next.phase, next.ended_at) = (RolloutPhase::Progressing, None);
                (next.reason, next.message, next.log_tail) = (None, String::new(), Vec::new());
                next.tolerated = u32::try_from(super::failing(view, spec, &old, now)).unwrap_or(u32::MAX);
            }
        }
        Word::Restart => {
            if old.phase == RolloutPhase::Halted {
                turn::again(&mut next, now);
            }
            next.restarted = index;
        }
        Word::Promote => {
            if spec.update.canary == 0 || old.phase != RolloutPhase::Progressing {
                return refused(
                    format!("{name} has no canary to promote"),
                    "`update.canary` in its manifest lets some replicas go first".into(),
                );
            }
            next.promoted = true;
        }
        Word::Undo(asked) => {
            let target = match asked {
                Some(number) => Some(number),
                None if matches!(old.phase, RolloutPhase::RollingBack | RolloutPhase::RolledBack) => {
                    return refused(
                        format!("{name} has gone back already, to revision {}, the last one that worked", old.target),
                        "`--to-revision N` chooses another; `rollout history` shows them".into(),
                    );
                }
                // What worked last before what runs now.
                None if old.stable == Some(old.target) => old.previous,
                None => old.stable,
            };
            let Some(target) = target.filter(|number| known(view, *number)) else {
                let kept: Vec<String> = view.revisions.keys().map(u64::to_string).collect();
                let message = match asked {
                    Some(number) => format!("{name} has no revision {number}"),
                    None => format!("{name} has no earlier revision that worked"),
                };
                return refused(message, format!("kept are: {}", kept.join(", ")));
            };
            if let Some(revision) = view.revisions.get(&target)
                && !matches!(revision.image, Resolution::Resolved { .. })
            {
                let hint = "apply what you want: a new revision looks its image up".to_owned();
                return refused(format!("nobody knows what the image of revision {target} is"), hint);
            }
            if target != old.target {
                next = Rollout {
                    target,
                    from: Some(old.target),
                    phase: RolloutPhase::Progressing,
                    reason: None,
                    message: format!("revision {target} was asked for by {by}"),
                    log_tail: Vec::new(),
                    started_at: now,
                    held: false,
                    resumed_at: None,
                    ended_at: None,
                    // Somebody decided: nobody is asked again, slot by slot.
                    promoted: true,
                    tolerated: 0,
                    ..old.clone()
                };
                if target == old.newest {
                    next.message = String::new();
                }
            }
        }
    }
    let same = view.rollout.as_deref() == Some(&next);
    Ok((!same).then_some(next))
}

/// What is said of a word that carries nothing out, because the rollout is paused.
#[must_use]
pub fn stays(key: &ObjectKey, paused: &Paused) -> String {
    format!("{key} is {paused} and stays so: nothing is replaced until `constellation rollout resume {key}`")
}

fn known(view: &ServiceView, number: u64) -> bool {
    view.revisions.contains_key(&number)
}
