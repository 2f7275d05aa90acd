//! Waiting until the newest version of a Config or Secret has arrived at the replicas that use it.
//!
//! Here: [`arrive`], looks at the object again and again, and the decision, [`look`]. Not here: services and their
//! generations (`follow`): a new version changes none of them.
//! Invariants: one answer that does not come ends no wait, a refusal that does not heal does; only what a change sets in motion is awaited: where no replica runs with an older version at the first
//! look, a user that does not work for another reason holds nobody up.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    client::Api,
    failure::CliError,
    form::{WaitState, Waited},
    screen::Screen,
    text,
};
use crate::{
    api::wire::{Object, UsageStatus},
    model::{ConditionStatus, ConditionType, ObjectKey, Reason},
};

/// Time between two looks.
const PACE: Duration = Duration::from_millis(500);
/// Failed looks in a row before the wait gives up, as `follow` counts broken streams.
const BREAKS: u32 = 8;

/// How far a version is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    /// Everywhere where it shall be, or nothing says that it is not.
    Arrived,
    /// Not yet. `old`: replicas run with an older one.
    Late { old: bool, said: String },
}

fn look(object: &Object) -> Look {
    // A status that this version cannot read says nothing to wait for.
    let usage = object.status.as_ref().and_then(|s| UsageStatus::deserialize(s).ok()).unwrap_or_default();
    let late = usage.conditions.iter().find(|c| c.kind == ConditionType::RotationComplete);
    match late.filter(|c| c.status == ConditionStatus::False) {
        None => Look::Arrived,
        Some(c) => {
            let halted = if c.reason == Reason::RotationHalted { "halted: " } else { "" };
            Look::Late { old: usage.versions.iter().any(|v| !v.current), said: format!("{halted}{}", c.message) }
        }
    }
}

/// Whether another look is worth it after one that failed, the n-th in a row.
fn again(error: &CliError, failed: u32) -> bool {
    let final_answer = matches!(error, CliError::Refused(problem) if matches!(problem.status, 401 | 403 | 404));
    !final_answer && failed < BREAKS
}

/// Looks at an object, again when no answer comes.
async fn see(api: &Api, key: &ObjectKey) -> Result<Look, CliError> {
    let mut failed = 0u32;
    loop {
        match api.get(key).await {
            Ok(object) => return Ok(look(&object)),
            Err(error) => {
                failed += 1;
                if !again(&error, failed) {
                    return Err(error);
                }
            }
        }
        sleep(PACE * failed).await;
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Arrived {
    /// Each object that was awaited, with the end of its wait.
    pub objects: Vec<(ObjectKey, Waited)>,
    /// How the command ends.
    pub result: Result<(), CliError>,
}

/// Waits for these, `limit` at most.
pub async fn arrive(api: &Api, screen: &Screen, keys: &[ObjectKey], limit: Duration) -> Arrived {
    let began = Instant::now();
    let unseen = |key: &ObjectKey| (key.clone(), "no answer says how far it is".to_owned());
    let mut late: BTreeMap<ObjectKey, String> = keys.iter().map(unseen).collect();
    let mut objects = Vec::new();
    let state = tokio::select! {
        ended = looks(api, screen, &mut late, &mut objects, began) => match ended {
            Ok(()) => return Arrived { objects, result: Ok(()) },
            Err(error) => {
                left(&mut objects, &late, WaitState::Unknown);
                return Arrived { objects, result: Err(error) };
            }
        },
        () = sleep_until(began + limit) => WaitState::Timeout,
        _ = tokio::signal::ctrl_c() => WaitState::Detached,
    };
    left(&mut objects, &late, state);
    let each: Vec<String> = late.iter().map(|(key, said)| format!("{key}: {said}")).collect();
    let first = late.keys().next().map(ToString::to_string).unwrap_or_default();
    let result = if state == WaitState::Detached {
        let told = screen.line(&format!("\ndetached; the change goes on: constellation describe {first}"));
        told.and(Err(CliError::Interrupted))
    } else {
        Err(CliError::No {
            message: format!("not done after {}: {}", took(began), each.join("; ")),
            hint: Some(format!("the change stands and is worked on: constellation describe {first}")),
        })
    };
    Arrived { objects, result }
}

fn took(began: Instant) -> String {
    text::duration(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

fn left(objects: &mut Vec<(ObjectKey, Waited)>, late: &BTreeMap<ObjectKey, String>, state: WaitState) {
    objects.extend(late.iter().map(|(key, said)| (key.clone(), Waited { state, message: said.clone() })));
}

/// Looks until nothing is late. What is not late at the first look was not waited for, and is told nowhere.
async fn looks(
    api: &Api,
    screen: &Screen,
    late: &mut BTreeMap<ObjectKey, String>,
    objects: &mut Vec<(ObjectKey, Waited)>,
    began: Instant,
) -> Result<(), CliError> {
    let mut first = true;
    while !late.is_empty() {
        for key in late.keys().cloned().collect::<Vec<_>>() {
            match see(api, &key).await? {
                Look::Late { old, said } if old || !first => {
                    if late.get(&key) != Some(&said) {
                        screen.aside(&text::clean(&format!("{key}: {said}")));
                        late.insert(key, said);
                    }
                }
                Look::Late { .. } | Look::Arrived if first => drop(late.remove(&key)),
                Look::Late { .. } | Look::Arrived => {
                    late.remove(&key);
                    let message = "every replica that uses it has it".to_owned();
                    screen.line(&text::clean(&format!("{key} arrived ({message}, {})", took(began))))?;
                    objects.push((key, Waited { state: WaitState::Done, message }));
                }
            }
        }
        if !late.is_empty() {
            sleep(PACE).await;
        }
        first = false;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;
    use crate::api::wire::Problem;

    fn object(status: &str, reason: &str, current: bool) -> Object {
        let condition = json!({"type": "RotationComplete", "status": status, "reason": reason,
            "message": "svc/web: x", "lastTransitionTime": 0, "observedGeneration": 1});
        let version = json!({"version": 1, "current": current, "kept": true, "replicas": 1, "services": {"web": 1}});
        let metadata = json!({"name": "db", "uid": "u", "generation": 1, "resourceVersion": 1, "createdAt": 0});
        let whole = json!({"apiVersion": "constellation.dev/v1", "kind": "Secret", "metadata": metadata, "spec": {},
            "status": {"conditions": [condition], "versions": [version]}});
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn only_an_older_version_that_runs_is_waited_for() {
        let late = |old, said: &str| Look::Late { old, said: said.into() };
        for (case, seen, expected) in [
            ("arrived", object("True", "UpToDate", true), Look::Arrived),
            ("kept by `strategy: manual`", object("True", "UpToDate", false), Look::Arrived),
            ("on its way", object("False", "ReplicaSetUpdated", false), late(true, "svc/web: x")),
            ("halted", object("False", "RotationHalted", false), late(true, "halted: svc/web: x")),
            (
                "a user fails with the newest",
                object("False", "RotationHalted", true),
                late(false, "halted: svc/web: x"),
            ),
            ("a condition of a newer version", object("False", "NewReason", false), Look::Arrived),
        ] {
            assert_eq!(look(&seen), expected, "{case}");
        }
    }

    #[test]
    fn only_what_heals_is_asked_for_again_and_not_for_ever() {
        let refused = |status| CliError::Refused(Box::new(Problem { status, ..Problem::default() }));
        for (status, failed, more) in [
            (503, 1, true),
            (500, BREAKS - 1, true),
            (503, BREAKS, false),
            (429, 1, true),
            (401, 1, false),
            (403, 1, false),
            (404, 1, false),
        ] {
            assert_eq!(again(&refused(status), failed), more, "{status}, {failed}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_ends_no_wait() {
        let asked = AtomicUsize::new(0);
        let (api, _) = crate::cli::testing::api(move |_| {
            let n = asked.fetch_add(1, Ordering::Relaxed);
            match n {
                0 | 2 => Some((503, "{}".into())),
                1 => Some((200, serde_json::to_string(&object("False", "ReplicaSetUpdated", false)).unwrap())),
                _ => Some((200, serde_json::to_string(&object("True", "UpToDate", true)).unwrap())),
            }
        })
        .await;
        let key = ObjectKey::new(crate::model::Kind::Secret, "db");
        let arrived = arrive(&api, &Screen::default(), std::slice::from_ref(&key), Duration::from_secs(20)).await;
        arrived.result.unwrap();
        let done = Waited { state: WaitState::Done, message: "every replica that uses it has it".into() };
        assert_eq!(arrived.objects, [(key.clone(), done)]);

        let (api, asked) = crate::cli::testing::api(|_| Some((403, "{}".into()))).await;
        let arrived = arrive(&api, &Screen::default(), std::slice::from_ref(&key), Duration::from_secs(20)).await;
        assert_eq!(arrived.result.unwrap_err().exit().code(), 4);
        assert_eq!((arrived.objects[0].1.state, asked.lock().unwrap().len()), (WaitState::Unknown, 1));
    }
}
