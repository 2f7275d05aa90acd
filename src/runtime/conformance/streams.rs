//! What comes in pieces: events, logs, the output of commands.

use super::*;
use crate::runtime::{ExecResult, RuntimeError, RuntimeEvent, limits};

impl World {
    /// Events of this case from `since` on, up to and with the one that is awaited.
    pub(super) async fn events_until(&self, since: i64, last: (&str, &str)) -> Vec<RuntimeEvent> {
        let mut events = self.runtime.events(LABEL.into(), self.prefix.clone(), Some(since));
        let mut heard: Vec<RuntimeEvent> = Vec::new();
        let reading = async {
            while let Some(event) = events.next().await {
                heard.push(event.unwrap());
                if heard.last().is_some_and(|e| (e.name.as_str(), e.action.as_str()) == last) {
                    return;
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, reading).await;
        let found = heard.last().is_some_and(|e| (e.name.as_str(), e.action.as_str()) == last);
        assert!(ended.is_ok() && found, "no {last:?} in {heard:#?}");
        heard
    }
}

fn actions(events: &[RuntimeEvent]) -> Vec<&str> {
    events.iter().map(|e| e.action.as_str()).collect()
}

pub async fn events_tell_a_life_in_order(world: &World) {
    let plan = world.plan("life", Program::Serves);
    let (name, mut labels) = (plan.name.clone(), plan.labels.clone());
    // The engine's own attributes travel among the labels: they are told apart, whatever ours are called.
    labels.insert("zone".into(), "a".into());
    let id = world.run(ContainerPlan { labels: labels.clone(), ..plan }).await;
    let heard = world.events_until(0, (&name, "start")).await;
    assert_eq!(actions(&heard), ["create", "start"]);
    // Heard as it happens, by one stream that is open.
    let since = heard[1].at + 1;
    let (rest, ()) = tokio::join!(world.events_until(since, (&name, "destroy")), async {
        world.runtime.stop(id.clone(), Some(Duration::from_secs(20))).await.unwrap();
        world.runtime.remove(id.clone()).await.unwrap();
    });
    assert_eq!(actions(&rest), ["kill", "die", "stop", "destroy"]);
    let all: Vec<_> = heard.into_iter().chain(rest).collect();
    for event in &all {
        assert_eq!((&*event.container, event.name.as_str()), (id.as_str(), name.as_str()), "{event:?}");
        assert_eq!(event.labels, labels, "{event:?}");
        assert_eq!(event.signal, (event.action == "kill").then_some(15), "{event:?}");
    }
    assert!(all.is_sorted_by(|a, b| a.at < b.at), "{all:?}");

    let id = world.create(world.plan("fails", Program::Fails)).await;
    world.runtime.start(id.clone()).await.unwrap();
    let since = all.last().unwrap().at + 1;
    let heard = world.events_until(since, (&world.name("fails"), "die")).await;
    assert_eq!(actions(&heard), ["create", "start", "die"], "nobody asked it to end");
}

pub async fn events_resume_where_they_were_left(world: &World) {
    let id = world.run(world.plan("a", Program::Serves)).await;
    world.runtime.remove(id).await.unwrap();
    let name = world.name("a");
    let all = world.events_until(0, (&name, "destroy")).await;
    assert_eq!(actions(&all), ["create", "start", "kill", "die", "destroy"]);
    for (n, event) in all.iter().enumerate() {
        assert_eq!(world.events_until(event.at, (&name, "destroy")).await, all[n..], "from {n}");
    }
    for (n, event) in all.iter().enumerate().take(4) {
        assert_eq!(world.events_until(event.at + 1, (&name, "destroy")).await, all[n + 1..], "after {n}");
    }
}

pub async fn events_of_others_are_not_heard(world: &World) {
    let mut other = world.plan("other", Program::Succeeds);
    other.labels.insert("other".into(), "yes".into());
    let ours = world.plan("ours", Program::Succeeds);
    world.create(other).await;
    world.create(ours).await;
    let mut events = world.runtime.events("other".into(), "yes".into(), Some(0));
    let first = within(events.next()).await.unwrap().unwrap();
    assert_eq!((first.name, first.action.as_str()), (world.name("other"), "create"));
    let more = tokio::time::timeout(Duration::from_millis(500), events.next()).await;
    assert!(more.is_err(), "{more:?}");
    // Commands in a container are no events of its life: a health check would drown all others.
    let id = world.run(world.plan("busy", Program::Serves)).await;
    world.runtime.exec(id.clone(), Program::Succeeds.command(), PATIENCE).await.unwrap();
    world.runtime.remove(id).await.unwrap();
    let heard = world.events_until(0, (&world.name("busy"), "destroy")).await;
    assert!(heard.iter().all(|e| !e.action.contains("exec")), "{heard:#?}");
}

pub async fn a_log_tells_its_two_outputs_apart(world: &World) {
    let id = world.create(world.plan("fails", Program::Fails)).await;
    assert_eq!(world.log(&id, LogQuery::default()).await, (String::new(), String::new()), "before its start");
    world.runtime.start(id.clone()).await.unwrap();
    world.until_exited(&id).await;
    assert_eq!(world.log(&id, LogQuery::default()).await, ("out\n".into(), "err\n".into()));

    let id = world.create(world.plan("counts", Program::Counts)).await;
    for runs in 1..=2 {
        let before = world.look(&id).await.finished_at;
        world.runtime.start(id.clone()).await.unwrap();
        world.until(&id, "ends", |c| c.state == ContainerState::Exited && c.finished_at != before).await;
        let all = "one\ntwo\nthree\n".repeat(runs);
        eventually("logs each of its runs", async || {
            let log = world.log(&id, LogQuery::default()).await.0;
            if log == all { Ok(()) } else { Err(log) }
        })
        .await;
    }
    let tail = |tail| LogQuery { tail: Some(tail), ..LogQuery::default() };
    assert_eq!(world.log(&id, tail(2)).await.0, "two\nthree\n");
    assert_eq!(world.log(&id, tail(0)).await.0, "");
    let (stamped, _) = world.log(&id, LogQuery { timestamps: true, ..tail(1) }).await;
    let (stamp, line) = stamped.split_once(' ').unwrap();
    assert_eq!(line, "three\n");
    let at: jiff::Timestamp = stamp.parse().unwrap();
    let since = |seconds: i64| LogQuery { since: Some(at.as_second() + seconds), ..tail(1) };
    assert_eq!(world.log(&id, since(0)).await.0, "three\n");
    assert_eq!(world.log(&id, since(2)).await.0, "");
}

pub async fn a_followed_log_ends_with_its_container(world: &World) {
    let id = world.run(world.plan("serves", Program::Serves)).await;
    let mut log = world.runtime.logs(id.clone(), LogQuery { follow: true, ..LogQuery::default() });
    let first = within(log.next()).await.unwrap().unwrap();
    assert_eq!(&first.bytes[..], b"ready\n");
    let more = tokio::time::timeout(Duration::from_millis(300), log.next()).await;
    assert!(more.is_err(), "it is open while its container runs: {more:?}");
    world.runtime.stop(id, Some(Duration::from_secs(20))).await.unwrap();
    assert_eq!(within(log.next()).await, None);
}

pub async fn a_command_answers_its_code_and_output(world: &World) {
    let id = world.run(world.plan("serves", Program::Serves)).await;
    let exec = async |program: Program| world.runtime.exec(id.clone(), program.command(), PATIENCE).await;
    assert_eq!(exec(Program::Succeeds).await, Ok(ExecResult { code: 0, output: String::new() }));
    let ExecResult { code, output } = exec(Program::Fails).await.unwrap();
    assert_eq!(code, 7);
    // The two outputs race.
    assert!(["out\nerr\n", "err\nout\n"].contains(&output.as_str()), "{output:?}");
    let babble = exec(Program::Babbles).await.unwrap();
    assert_eq!((babble.code, babble.output), (0, "y\n".repeat(2_048)), "4 KiB are kept");
    match exec(Program::Missing).await {
        Ok(ExecResult { code: 126 | 127, output }) => assert!(output.contains("/no/such/program"), "{output}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.look(&id).await.state, ContainerState::Running, "and it goes on");
    world.runtime.stop(id.clone(), Some(Duration::from_secs(20))).await.unwrap();
    let stopped = exec(Program::Succeeds).await;
    assert!(matches!(stopped, Err(RuntimeError::Conflict { .. })), "{stopped:?}");
}

pub async fn a_command_has_a_deadline(world: &World) {
    let id = world.run(world.plan("serves", Program::Serves)).await;
    let limit = Duration::from_millis(700);
    let begun = tokio::time::Instant::now();
    let answer = world.runtime.exec(id, Program::Deaf.command(), limit).await;
    let Err(RuntimeError::CommandHung { message }) = answer else { panic!("{answer:?}") };
    assert!(message.ends_with("did not end within 700ms"), "{message}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

pub async fn a_command_that_outlived_its_deadline_is_not_begun_again_while_it_runs(world: &World) {
    let id = world.run(world.plan("serves", Program::Serves)).await;
    let limit = Duration::from_millis(700);
    let deaf = async || world.runtime.exec(id.clone(), Program::Deaf.command(), limit).await;
    let late = Err(limits::hung(&Program::Deaf.command(), limit));
    assert_eq!(deaf().await, late);
    for _ in 0..3 {
        let again = deaf().await;
        assert!(
            matches!(&again, Err(RuntimeError::CommandHung { message }) if message.contains("still runs")),
            "{again:?}"
        );
    }
    let other = world.runtime.exec(id.clone(), Program::Succeeds.command(), PATIENCE).await;
    assert_eq!(other, Ok(ExecResult { code: 0, output: String::new() }), "another command is another matter");
    // It went with its container.
    world.runtime.stop(id.clone(), Some(Duration::from_secs(20))).await.unwrap();
    world.runtime.start(id.clone()).await.unwrap();
    assert_eq!(deaf().await, late);
}
