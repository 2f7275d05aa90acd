//! Waiting for a change: streams in, progress out, until everything arrived or cannot.
//!
//! Here: [`follow`], the thin shell around [`super::wait::Wait`]. Not here: the decision (`wait`), the looks
//! (`progress`).
//! Invariants: Ctrl-C leaves the change alone, and the process ends as one that was interrupted; a broken stream
//! is opened again from a fresh list, so that nothing is missed; the whole wait ends at its deadline.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    client::{Api, Query, Stream},
    failure::CliError,
    form::{WaitState, Waited},
    progress::Display,
    replicas::Replicas,
    screen::Screen,
    show,
    text::{self, Times},
    wait::{Aim, Progress, Verdict, Wait},
};
use crate::{
    api::wire::{Object, WatchLine, WatchOp},
    model::{Event, Kind, ObjectKey, ReplicaStatus, ServiceSpec, ServiceStatus},
};

/// Broken streams in a row before the wait gives up.
const BREAKS: u32 = 8;

/// Until what has failed is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is awaited, from where, for how long.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// Services with what is awaited of each.
    pub goals: Vec<(Arc<str>, Aim)>,
    /// Index of the change: events after it are shown.
    pub from: u64,
    /// Longest wait.
    pub limit: Duration,
    /// Each event is a line of JSON on standard output too.
    pub lines: bool,
}

/// One line of the event stream.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum EventLine {
    /// What happened.
    Event(Box<Event>),
    /// Some of it was missed.
    Resync(crate::api::wire::Resync),
}

struct Streams {
    services: Stream<WatchLine>,
    replicas: Stream<WatchLine>,
    events: Stream<EventLine>,
}

/// How a wait ended.
enum End {
    Done,
    Failed,
    Late,
    Detached,
    Broken(CliError),
}

/// What came of a wait.
#[derive(Debug)]
pub struct Followed {
    /// Each service with the end of its wait.
    pub services: Vec<(Arc<str>, Waited)>,
    /// How the command ends: an error when a service cannot arrive or did not within the limit, with what is
    /// known of why, or when the API is gone.
    pub result: Result<(), CliError>,
}

/// Waits until every service arrived, and shows the way there.
pub async fn follow(api: &Api, screen: &Screen, awaited: Awaited) -> Followed {
    let began = Instant::now();
    let mut wait = Wait::new(awaited.goals.iter().cloned());
    if wait.is_empty() {
        return Followed { services: Vec::new(), result: Ok(()) };
    }
    let mut display = Display::new(screen, awaited.goals.iter().map(|(name, _)| name), awaited.lines);
    let end = tokio::select! {
        end = watch(api, &mut wait, &mut display, awaited.from, began) => end.unwrap_or_else(End::Broken),
        () = sleep_until(began + awaited.limit) => End::Late,
        _ = tokio::signal::ctrl_c() => End::Detached,
    };
    drop(display);
    let services = wait.progress().map(|(name, progress)| (name.clone(), waited(progress, &end))).collect();
    Followed { services, result: tell(api, screen, &wait, began.elapsed(), end).await }
}

fn took(time: Duration) -> String {
    text::duration(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// What shows how it goes on with a service: one that was deleted has no `why` and no row among services.
fn further(wait: &Wait, name: &str, command: &str) -> String {
    match wait.aim(name) {
        Some(Aim::Gone) => format!("constellation ps svc/{name}"),
        Some(Aim::Ready { .. } | Aim::Rolled { .. } | Aim::Ran { .. }) | None => format!("constellation {command}"),
    }
}

/// What a program reads of one service.
fn waited(progress: &Progress, end: &End) -> Waited {
    let state = match (progress, end) {
        (Progress::Reached(_), _) => WaitState::Done,
        (Progress::Lost(_), _) => WaitState::Failed,
        (Progress::Paused(_) | Progress::Asks(_), _) => WaitState::Held,
        (Progress::Waiting(_), End::Late) => WaitState::Timeout,
        (Progress::Waiting(_), End::Detached) => WaitState::Detached,
        // The API is gone: nobody waited for this one to the end.
        (Progress::Waiting(_), End::Done | End::Failed | End::Broken(_)) => WaitState::Unknown,
    };
    Waited { state, message: progress.said().to_owned() }
}

/// Says how each service arrived, or what keeps it.
async fn tell(api: &Api, screen: &Screen, wait: &Wait, all: Duration, end: End) -> Result<(), CliError> {
    // Nothing failed: a person let none of them go on.
    let (mut unfinished, mut held) = (Vec::new(), true);
    for (name, progress) in wait.progress() {
        let took = took(wait.arrived(name).unwrap_or(all));
        match progress {
            Progress::Reached(said) if said == "deleted" => screen.line(&format!("svc/{name} is gone ({took})"))?,
            Progress::Reached(said) => screen.line(&format!("svc/{name} ready ({}, {took})", text::clean(said)))?,
            Progress::Asks(said) => {
                screen.line(&format!("svc/{name} waits for promote ({}, {took})", text::clean(said)))?
            }
            Progress::Waiting(_) | Progress::Lost(_) | Progress::Paused(_) => {
                held &= matches!(progress, Progress::Paused(_));
                unfinished.push((name.clone(), progress.said().to_owned()));
            }
        }
    }
    let first = unfinished.first().map_or_else(String::new, |(name, _)| name.to_string());
    match end {
        End::Done => Ok(()),
        End::Broken(error) => Err(error),
        End::Detached => {
            let further = further(wait, &first, &format!("get svc/{first} -w"));
            screen.line(&format!("\ndetached; the change goes on: {further}"))?;
            Err(CliError::Interrupted)
        }
        End::Failed | End::Late => {
            for (name, _) in &unfinished {
                explain(api, screen, name).await?;
            }
            let each: Vec<String> = unfinished.iter().map(|(name, said)| format!("svc/{name}: {said}")).collect();
            let how = match end {
                End::Late => format!("not done after {}", took(all)),
                _ if held => "held up".into(),
                _ => "it cannot be done".into(),
            };
            let further = further(wait, &first, &format!("why svc/{first}"));
            Err(CliError::No {
                message: format!("{how}: {}", each.join("; ")),
                hint: Some(match end {
                    End::Late => format!("the change stands and is worked on: {further}"),
                    _ if held => format!("what was declared stands: constellation rollout resume svc/{first}"),
                    _ => format!("what was declared stands; what is in the way, and what can be done: {further}"),
                }),
            })
        }
    }
}

/// Reads streams until the verdict falls: [`End::Done`] or [`End::Failed`].
async fn watch(
    api: &Api,
    wait: &mut Wait,
    display: &mut Display<'_>,
    mut from: u64,
    began: Instant,
) -> Result<End, CliError> {
    let mut broken = 0u32;
    let mut known = Replicas::default();
    loop {
        let result = match open(api, wait, &mut known, from).await {
            Ok(mut streams) => read(&mut streams, wait, &mut known, display, &mut from, &mut broken, began).await,
            Err(error) => Err(error),
        };
        let ended = match result {
            Ok(Some(end)) => return Ok(end),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        broken += 1;
        from = resume(api, ended, broken, from)?;
        sleep(Duration::from_millis(250) * broken.min(8)).await;
    }
}

/// From where events are read when streams ended for the n-th time in a row.
///
/// # Errors
/// When another try is not worth it.
fn resume(api: &Api, ended: Option<CliError>, broken: u32, from: u64) -> Result<u64, CliError> {
    match ended {
        Some(error) if broken >= BREAKS => Err(error),
        // Nothing was heard of the change: that is another thing than a change that failed.
        None if broken >= BREAKS => Err(CliError::Broken {
            endpoint: api.endpoint(),
            what: "the wait".into(),
            source: "its streams end again and again".into(),
        }),
        // Events that are not kept any more: what counts, the services, is read anew anyway.
        Some(CliError::Refused(problem)) if problem.status == 410 => {
            Ok(problem.index.map_or(from, |oldest| oldest.saturating_sub(1)))
        }
        // Other refusals do not heal by asking again.
        Some(CliError::Refused(problem)) if !matches!(problem.status, 429 | 503) => Err(CliError::Refused(problem)),
        Some(_) | None => Ok(from),
    }
}

/// Reads what stands, then opens streams from there.
async fn open(api: &Api, wait: &mut Wait, known: &mut Replicas, from: u64) -> Result<Streams, CliError> {
    let services = api.list(Kind::Service).await?;
    let replicas = api.list(Kind::Replica).await?;
    for object in &services.items {
        service(wait, object);
    }
    for object in &replicas.items {
        replica(wait, known, object);
    }
    let names = |items: &[Object]| -> BTreeSet<Arc<str>> { items.iter().map(|o| o.metadata.name.clone()).collect() };
    wait.only(&names(&services.items), &names(&replicas.items));
    let query: Query = [("fromIndex", Some(from.to_string())), ("kinds", Some("Service,Replica".to_owned()))].into();
    Ok(Streams {
        services: api.watch(Kind::Service, services.index, None).await?,
        replicas: api.watch(Kind::Replica, replicas.index, None).await?,
        events: api.stream(query.onto("/api/v1/events")).await?,
    })
}

/// Reads until the verdict falls; none when a stream ended before.
async fn read(
    streams: &mut Streams,
    wait: &mut Wait,
    known: &mut Replicas,
    display: &mut Display<'_>,
    from: &mut u64,
    broken: &mut u32,
    began: Instant,
) -> Result<Option<End>, CliError> {
    loop {
        wait.note(began.elapsed());
        for (name, progress) in wait.progress() {
            match progress {
                Progress::Lost(said) => display.service(name, &format!("it cannot be done: {said}")),
                Progress::Paused(said) => display.service(name, &format!("held up: {said}")),
                Progress::Waiting(said) | Progress::Reached(said) | Progress::Asks(said) => display.service(name, said),
            }
        }
        match wait.verdict() {
            Verdict::Done => return Ok(Some(End::Done)),
            Verdict::Failed => return Ok(Some(End::Failed)),
            Verdict::Waiting => {}
        }
        tokio::select! {
            line = streams.services.next() => {
                let Some(line) = line? else { return Ok(None) };
                match line.op {
                    WatchOp::Put => service(wait, &line.object),
                    WatchOp::Delete => wait.service_gone(&line.object.metadata.name),
                }
            }
            line = streams.replicas.next() => {
                let Some(line) = line? else { return Ok(None) };
                match line.op {
                    WatchOp::Put => replica(wait, known, &line.object),
                    WatchOp::Delete => wait.replica_gone(&line.object.metadata.name),
                }
            }
            line = streams.events.next() => match line? {
                Some(EventLine::Event(event)) => {
                    *from = event.index.0;
                    if let Some(service) = known.service_of(&event.object)
                        && wait.services().any(|name| **name == *service)
                    {
                        display.event(&event, &known.display(&event.object));
                    }
                }
                Some(EventLine::Resync(_)) | None => return Ok(None),
            },
            // Nothing more may come of what has failed.
            () = sleep(AGAIN), if wait.doubts() => continue,
        }
        *broken = 0;
    }
}

fn service(wait: &mut Wait, object: &Object) {
    // A status of a newer version that cannot be read is as good as none.
    let status = object.status.as_ref().and_then(|s| ServiceStatus::deserialize(s).ok());
    let spec = ServiceSpec::deserialize(&object.spec).ok();
    let on = spec.as_ref().map(|spec| spec.container.depends_on.as_slice()).unwrap_or_default();
    let (name, generation) = (&object.metadata.name, object.metadata.generation);
    wait.depends(name, on, generation, status.as_ref());
    wait.service(name, generation, status.as_ref());
}

fn replica(wait: &mut Wait, known: &mut Replicas, object: &Object) {
    known.learn(object);
    let status = object.status.as_ref().and_then(|s| ReplicaStatus::deserialize(s).ok());
    let Some(service) = known.service(&object.metadata.name) else { return };
    wait.replica(&object.metadata.name, &service, status.is_some_and(|s| s.phase.ended()));
}

/// What stands in the way of a service, and the last lines of a container that failed.
async fn explain(api: &Api, screen: &Screen, service: &str) -> Result<(), CliError> {
    let key = ObjectKey::service(service);
    let (why, report) = match (api.why(&key).await, api.report(service).await) {
        (Ok(why), Ok(report)) => (why, report),
        // It is gone, or the API is: the error that follows says what is known.
        (Err(_), _) | (_, Err(_)) => return Ok(()),
    };
    screen.print(&show::why::report(&key, &report.conditions, &why, Times::new(false)))?;
    screen.print(&show::why::last_words(&report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::wire::Problem,
        cli::{endpoint::Endpoint, transport::Transport},
    };

    #[test]
    fn streams_that_end_again_and_again_are_a_broken_connection() {
        let api = Api::new(Transport::new(Endpoint::default(), None));
        let refused =
            |status, index| Some(CliError::Refused(Box::new(Problem { status, index, ..Problem::default() })));
        for (ended, broken, result) in [
            (None, 1, Ok(7)),
            (None, BREAKS, Err(3)),
            (refused(503, None), 1, Ok(7)),
            (refused(503, None), BREAKS, Err(3)),
            (refused(429, None), 1, Ok(7)),
            (refused(410, Some(30)), 1, Ok(29)),
            (refused(403, None), 1, Err(4)),
        ] {
            let said = format!("{ended:?}, {broken}");
            assert_eq!(resume(&api, ended, broken, 7).map_err(|e| e.exit().code()), result, "{said}");
        }
    }

    #[tokio::test]
    async fn whoever_is_not_waited_for_to_the_end_is_found_by_the_command_that_is_named() {
        let (api, _) = crate::cli::testing::api(|_| None).await;
        let goals = |aim| Wait::new([("web".into(), aim)]);
        let (gone, ready) = (goals(Aim::Gone), goals(Aim::Ready { generation: 1 }));
        for (wait, command) in [(&gone, "constellation ps svc/web"), (&ready, "constellation why svc/web")] {
            let late = tell(&api, &Screen::default(), wait, Duration::from_secs(5), End::Late).await.unwrap_err();
            assert!(late.hint().unwrap().ends_with(command), "{late:?}");
            let left = tell(&api, &Screen::default(), wait, Duration::ZERO, End::Detached).await.unwrap_err();
            assert_eq!((left.exit().code(), left.report().as_str()), (130, ""), "it was said already");
        }
    }

    #[test]
    fn each_service_says_how_its_own_wait_ended() {
        let waiting = Progress::Waiting("0/1 ready".into());
        let gone = || End::Broken(CliError::No { message: "gone".into(), hint: None });
        for (progress, end, state) in [
            (&Progress::Reached("generation 1".into()), End::Late, WaitState::Done),
            (&Progress::Lost("failed".into()), End::Failed, WaitState::Failed),
            (&waiting, End::Failed, WaitState::Unknown),
            (&waiting, gone(), WaitState::Unknown),
            (&waiting, End::Late, WaitState::Timeout),
            (&waiting, End::Detached, WaitState::Detached),
        ] {
            let waited = waited(progress, &end);
            assert_eq!((waited.state, waited.message.as_str()), (state, progress.said()));
        }
    }
}
