//! `logs`: what the containers of a service write.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;

use crate::{
    api::wire::{LogLine, Object, Problem, ReplicaSpec},
    cli::{
        args::Logs,
        client::{Api, Query},
        failure::CliError,
        replicas::Replicas,
        screen::Screen,
        text::clean,
    },
    model::{Kind, Uid, event::Subject},
};

/// Runs `logs`.
///
/// # Errors
/// As the API; when the log of a replica could not be read, after those that could.
pub async fn logs(api: &Api, screen: &Screen, args: &Logs) -> Result<(), CliError> {
    read(api, screen, args, None).await.map(|_| ())
}

/// As `logs`. `run`: only attempts of this run of a job. Answers whether there was anything to read.
///
/// # Errors
/// As [`logs`].
pub async fn read(api: &Api, screen: &Screen, args: &Logs, run: Option<u64>) -> Result<bool, CliError> {
    let flag = |on: bool| on.then(|| "true".to_owned());
    let query: Query = [
        ("follow", flag(args.follow)),
        ("tail", args.tail.map(|n| n.to_string())),
        ("since", args.since.map(|since| since.to_string())),
        ("replica", args.replica.clone()),
        ("allReplicas", flag(args.all_replicas)),
        ("timestamps", flag(args.timestamps)),
        ("run", run.map(|run| run.to_string())),
    ]
    .into();
    let items = api.list(Kind::Replica).await?.items;
    let known = Replicas::from_list(&items);
    let hooks = hooks(&items, &args.service);
    if let Some(left) = args.replica.as_deref().filter(|_| !args.all_replicas).and_then(|slot| left(&hooks, slot)) {
        screen.aside(&clean(&left));
    }
    let mut stream = api.stream::<LogLine>(query.onto(&format!("/api/v1/services/{}/logs", args.service))).await?;
    let (mut unread, mut found) = (Unread::default(), false);
    while let Some(line) = stream.next().await? {
        let subject = Subject { kind: Kind::Replica, name: line.replica.as_str().into(), uid: Uid("".into()) };
        let replica = known.display(&subject);
        let hook = hooks.iter().find(|hook| hook.name == line.replica);
        let replica = hook.map_or(replica.strip_prefix("replica/").unwrap_or(&replica), |hook| &hook.label);
        let time = line.time.as_deref().map(|time| format!("{} ", clean(time))).unwrap_or_default();
        let before = format!("{time}{} | ", clean(replica));
        match line.stream.as_str() {
            "error" => screen.aside(&format!("{before}{}", clean(&line.line))),
            _ => {
                found = true;
                screen.log(&before, &line.line)?;
            }
        }
        unread.hear(replica, line.error);
    }
    unread.end().map(|()| found)
}

/// A run of a hook that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HookRun {
    /// Full name of the replica.
    name: String,
    /// `web.preDeploy`.
    display: String,
    /// Of which it was.
    revision: u64,
    /// What stands before its lines.
    label: String,
}

fn hooks(items: &[Object], service: &str) -> Vec<HookRun> {
    let read = |object: &Object| {
        let spec = ReplicaSpec::deserialize(&object.spec).ok().filter(|spec| *spec.service == *service)?;
        let (name, label) = (object.metadata.name.to_string(), spec.hook?);
        Some(HookRun { name, display: spec.display, revision: spec.revision, label })
    };
    items.iter().filter_map(read).collect()
}

/// Which runs of a hook are not read, and how they are: of one hook those of the newest revision are.
fn left(hooks: &[HookRun], slot: &str) -> Option<String> {
    let asked = |hook: &&HookRun| hook.display == slot || hook.display.rsplit('.').next() == Some(slot);
    let revisions: BTreeSet<u64> = hooks.iter().filter(asked).map(|hook| hook.revision).collect();
    let (newest, earlier) = (revisions.last()?, revisions.len().checked_sub(1).filter(|earlier| *earlier > 0)?);
    let earlier: Vec<String> = revisions.iter().take(earlier).map(u64::to_string).collect();
    let earlier = earlier.join(", ");
    Some(format!("this is of revision {newest}; there is more of {earlier}: --all-replicas reads it too"))
}

/// Replicas whose logs could not be read, as far as that was not made good.
#[derive(Debug, Default)]
struct Unread(BTreeMap<String, Problem>);

impl Unread {
    /// A line came. One that is read again is no failure: a follower outlives the engine's hiccups.
    fn hear(&mut self, replica: &str, error: Option<Box<Problem>>) {
        match error {
            Some(problem) => self.0.insert(replica.to_owned(), *problem),
            None => self.0.remove(replica),
        };
    }

    /// That was all. Why was said when it failed.
    fn end(self) -> Result<(), CliError> {
        let names: Vec<String> = self.0.keys().cloned().collect();
        let Some(first) = self.0.into_values().next() else { return Ok(()) };
        let message = format!("not read to the end: the log of {}", names.join(", "));
        Err(CliError::Partly { message, exit: CliError::Refused(Box::new(first)).exit() })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{
        args::{Cli, Client, Command},
        testing,
    };

    #[test]
    fn earlier_runs_of_a_hook_are_told_with_how_to_read_them() {
        let run = |stage: &str, revision| HookRun {
            name: String::new(),
            display: format!("web.{stage}"),
            revision,
            label: String::new(),
        };
        let runs = [run("preDeploy", 3), run("preDeploy", 5), run("preDeploy", 4), run("postDeploy", 3)];
        let told = "this is of revision 5; there is more of 3, 4: --all-replicas reads it too";
        for (slot, said) in [
            ("web.preDeploy", Some(told)),
            ("preDeploy", Some(told)),
            ("web.postDeploy", None),
            ("web.1", None),
            ("web-predeploy-abcde", None),
        ] {
            assert_eq!(left(&runs, slot).as_deref(), said, "{slot}");
        }
    }

    async fn exit(lines: &'static str) -> Result<(), (u8, String)> {
        let answer = move |target: &str| match target {
            "/api/v1/replicas" => Some((200, r#"{"items":[],"index":5}"#.to_owned())),
            "/api/v1/services/web/logs" => Some((200, lines.to_owned())),
            _ => None,
        };
        let (api, _) = testing::api(answer).await;
        let cli = Cli::try_parse_from(["constellation", "logs", "web"]).unwrap();
        let Command::Client(Client::Logs(args)) = cli.command else { panic!("another command") };
        logs(&api, &Screen::default(), &args).await.map_err(|error| (error.exit().code(), error.to_string()))
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_no_success() {
        let failed = concat!(
            r#"{"replica":"web-1-a","stream":"stdout","line":"hello"}"#,
            "\n",
            r#"{"replica":"web-2-b","stream":"error","line":"gone","error":{"type":"x","status":503,"title":"down"}}"#,
            "\n"
        );
        let (code, said) = exit(failed).await.unwrap_err();
        assert_eq!((code, said.as_str()), (3, "not read to the end: the log of web-2-b"));
        let ended = r#"{"replica":"web-1-a","stream":"error","line":"container c does not exist"}"#;
        assert_eq!(exit(ended).await, Ok(()), "nothing failed");
        let healed = concat!(
            r#"{"replica":"web-2-b","stream":"error","line":"reset","error":{"type":"x","status":502,"title":"reset"}}"#,
            "\n",
            r#"{"replica":"web-2-b","stream":"stdout","line":"again"}"#,
            "\n"
        );
        assert_eq!(exit(healed).await, Ok(()), "a follower read on");
    }
}
