//! A node of a cluster that was restored and not confirmed: it looks, and touches nothing.
//!
//! Here: [`hold`], what becomes of a step, and what is told of it instead. Not here: until when (`State::unconfirmed`).
//! Why: the backup is older than what runs. Carried out at once it would end what was declared since, and start what
//! was deleted.

use super::Step;
use crate::model::{Reason, status::HeldAction};

/// What stands in for a step that is not carried out; and which it was. A look and a wait stay what they are.
#[must_use]
pub fn hold(step: Step) -> (Step, Option<(HeldAction, String)>) {
    let (action, why) = match step {
        // It is made once what is in its place has ended, which is held back too.
        Step::Wait { reason: Reason::Orphaned, message, .. } => (HeldAction::Create, message),
        Step::Nothing { .. } | Step::Wait { .. } | Step::End { .. } => return (step, None),
        // The engine's restarts of a container change nothing that anybody sees.
        Step::Protect { .. } => return (Step::Nothing { look_again: None }, None),
        Step::Create => (HeldAction::Create, "nothing runs for it".to_owned()),
        Step::Start { .. } => (HeldAction::Start, "its container does not run".to_owned()),
        Step::Restart { message, .. } => (HeldAction::Restart, message),
        Step::Retire { message, .. } => (HeldAction::Stop, message),
        Step::Remove { message, .. } => (HeldAction::Remove, message),
        Step::Connect { networks, .. } => (HeldAction::Connect, format!("it is not on {}", networks.join(", "))),
        Step::Reload { reload, .. } => (HeldAction::Reload, format!("{} changed", reload.references.join(", "))),
    };
    let message = format!("{why}: to {}, once the restored backup is confirmed", action.as_str());
    (Step::Wait { reason: Reason::RestoreUnconfirmed, message, until: None }, Some((action, why)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::{ReplicaPhase, engine::EngineRestart},
        plan::agent::Reload,
    };

    #[test]
    fn nothing_that_changes_a_container_gets_through() {
        let id: Arc<str> = "c1".into();
        let (reason, message) = (Reason::DriftDetected, "it drifted".to_owned());
        let reload = Reload { references: vec!["configs/a".into()], ..Reload::default() };
        let table = [
            (Step::Create, Some(HeldAction::Create)),
            (Step::Start { id: id.clone() }, Some(HeldAction::Start)),
            (Step::Restart { id: id.clone(), reason, message: message.clone() }, Some(HeldAction::Restart)),
            (Step::Retire { id: id.clone(), reason, message: message.clone() }, Some(HeldAction::Stop)),
            (Step::Remove { id: id.clone(), reason, message: message.clone() }, Some(HeldAction::Remove)),
            (Step::Connect { id: id.clone(), networks: vec!["web".into()] }, Some(HeldAction::Connect)),
            (Step::Reload { id: id.clone(), reload: Box::new(reload) }, Some(HeldAction::Reload)),
            (Step::Protect { id, restart: EngineRestart::No }, None),
            (Step::Nothing { look_again: Some(7) }, None),
            (Step::Wait { reason, message: message.clone(), until: Some(7) }, None),
            (Step::Wait { reason: Reason::Orphaned, message: message.clone(), until: None }, Some(HeldAction::Create)),
            (Step::End { phase: ReplicaPhase::Stopped, reason, message }, None),
        ];
        for (step, want) in table {
            let (instead, held) = hold(step.clone());
            assert_eq!(held.as_ref().map(|(action, _)| *action), want, "{step:?}");
            match (&step, &instead) {
                (Step::Nothing { .. } | Step::Wait { .. } | Step::End { .. }, _) if want.is_none() => {
                    assert_eq!(step, instead);
                }
                (_, Step::Nothing { .. }) => {}
                (_, Step::Wait { reason: Reason::RestoreUnconfirmed, .. }) => {}
                (_, other) => panic!("{step:?} became {other:?}"),
            }
        }
    }
}
