//! `events`: what happened, and what happens.

use crate::{
    cli::{
        again::{Again, From},
        args::{EventKind, Events, Lines},
        client::{Api, Query},
        failure::{CliError, Exit},
        follow::EventLine,
        replicas::Replicas,
        screen::Screen,
        show::events as show,
        text::{self, Times},
    },
    model::{Event, EventType, Kind, ObjectKey, event::Subject},
};

/// Whether an event concerns an object: itself, a replica of it, or, for `replica/web.1`, any that was in that slot.
#[must_use]
pub fn concerns(key: &ObjectKey, subject: &Subject, known: &Replicas) -> bool {
    subject.key() == *key
        || (key.kind == Kind::Replica && known.display(subject) == key.to_string())
        || (key.kind == Kind::Service && known.service_of(subject).as_deref() == Some(&*key.name))
}

/// Events that are kept after an index.
///
/// # Errors
/// As the API.
pub async fn kept(api: &Api, types: &[EventKind], from: u64) -> Result<Vec<Event>, CliError> {
    let mut stream = api.stream::<EventLine>(target(types, Some(from), false)).await?;
    let mut events = Vec::new();
    while let Some(line) = stream.next().await? {
        match line {
            EventLine::Event(event) => events.push(*event),
            EventLine::Resync(_) => break,
        }
    }
    Ok(events)
}

fn target(types: &[EventKind], from: Option<u64>, follow: bool) -> String {
    let types: Vec<&str> = types
        .iter()
        .map(|kind| match kind {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        })
        .collect();
    let query: Query = [
        ("fromIndex", from.map(|n| n.to_string())),
        ("types", (!types.is_empty()).then(|| types.join(","))),
        ("follow", (!follow).then(|| "false".to_owned())),
    ]
    .into();
    query.onto("/api/v1/events")
}

/// Runs `events`.
///
/// # Errors
/// As the API.
pub async fn events(api: &Api, screen: &Screen, args: &Events) -> Result<(), CliError> {
    let known = Replicas::from_list(&api.list(Kind::Replica).await?.items);
    let oldest =
        args.since.map(|since| text::now().saturating_sub(u64::try_from(since.0.as_millis()).unwrap_or(u64::MAX)));
    let mut view = View { screen, args, known, oldest };
    let history = !args.watch || args.since.is_some() || args.from_index.is_some();
    if !history {
        // What is on its way now: the header first, so that a person sees that something listens.
        let from = api.status().await?.index;
        view.header()?;
        return view.follow(api, from).await;
    }
    let shown: Vec<Event> = kept(api, &args.types, args.from_index.unwrap_or(0)).await?;
    let last = shown.last().map_or(args.from_index.unwrap_or(0), |event| event.index.0);
    let shown: Vec<Event> = shown.into_iter().filter(|event| view.wanted(event)).collect();
    if let Some(key) = args.object.as_ref().filter(|_| shown.is_empty() && !args.watch)
        && !view.known.is_slot(key)
        && let Err(absent) = api.get(key).await
    {
        // Of what was deleted events may be kept, of another type or older than is asked for; of what never was nothing is.
        let was = absent.exit() == Exit::NotFound
            && kept(api, &[], 0).await?.iter().any(|event| concerns(key, &event.object, &view.known));
        if !was {
            return Err(absent);
        }
    }
    if args.watch {
        view.header()?;
        shown.iter().try_for_each(|event| view.line(event))?;
        return view.follow(api, last).await;
    }
    match args.output {
        Lines::Json => shown.iter().try_for_each(|event| view.line(event)),
        Lines::Text if shown.is_empty() => {
            screen.aside("no events");
            Ok(())
        }
        Lines::Text => {
            let times = Times::new(args.timestamps);
            let rows: Vec<Vec<String>> = shown.iter().map(|event| show::row(event, &view.known, times)).collect();
            screen.print(&text::table(0, &show::HEADER, &rows))
        }
    }
}

struct View<'a> {
    screen: &'a Screen,
    args: &'a Events,
    known: Replicas,
    oldest: Option<u64>,
}

impl View<'_> {
    fn wanted(&self, event: &Event) -> bool {
        let kind = match event.kind {
            EventType::Normal => EventKind::Normal,
            EventType::Warning => EventKind::Warning,
        };
        (self.args.types.is_empty() || self.args.types.contains(&kind))
            && self.oldest.is_none_or(|oldest| event.time >= oldest)
            && self.args.object.as_ref().is_none_or(|key| concerns(key, &event.object, &self.known))
    }

    fn header(&self) -> Result<(), CliError> {
        match self.args.output {
            Lines::Text => self.screen.line(&show::line(&show::HEADER)),
            Lines::Json => Ok(()),
        }
    }

    fn line(&self, event: &Event) -> Result<(), CliError> {
        match self.args.output {
            Lines::Text => {
                self.screen.line(&show::line(&show::row(event, &self.known, Times::new(self.args.timestamps))))
            }
            Lines::Json => self.screen.json_line(event),
        }
    }

    /// Goes on with each event; a broken stream is opened again after the last one.
    async fn follow(&mut self, api: &Api, mut from: u64) -> Result<(), CliError> {
        let mut again = Again::default();
        loop {
            let ended = self.read(api, &mut from, &mut again).await;
            if again.after(ended).await? == From::Missed {
                self.screen.aside("warning: events were lost meanwhile; it goes on with the oldest that is kept");
                from = 0;
            }
        }
    }

    async fn read(&mut self, api: &Api, from: &mut u64, again: &mut Again) -> Result<(), CliError> {
        let mut stream = api.stream::<EventLine>(target(&self.args.types, Some(*from), true)).await?;
        while let Some(line) = stream.next().await? {
            match line {
                EventLine::Event(event) => {
                    *from = event.index.0;
                    again.heard();
                    // A replica that is new since the list was read belongs to a service all the same.
                    if event.object.kind == Kind::Replica && self.known.service(&event.object.name).is_none() {
                        self.known = Replicas::from_list(&api.list(Kind::Replica).await?.items);
                    }
                    if self.wanted(&event) {
                        self.line(&event)?;
                    }
                }
                EventLine::Resync(missed) => {
                    self.screen.aside("warning: this reader was too slow; some events are lost");
                    *from = missed.resync;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::cli::{
        args::{Cli, Client, Command},
        testing,
    };

    #[tokio::test]
    async fn what_never_was_is_not_found() {
        let answer = |target: &str| match target {
            "/api/v1/replicas" => Some((200, r#"{"items":[],"index":5}"#.to_owned())),
            "/api/v1/services/nosuch" => Some((
                404,
                r#"{"title":"No such object","status":404,"detail":"svc/nosuch does not exist"}"#.to_owned(),
            )),
            _ if target.starts_with("/api/v1/events") => Some((200, String::new())),
            _ => None,
        };
        let (api, _) = testing::api(answer).await;
        let cli = Cli::try_parse_from(["constellation", "events", "--for", "svc/nosuch"]).unwrap();
        let Command::Client(Client::Events(args)) = cli.command else { panic!("another command") };
        let ended = events(&api, &Screen::default(), &args).await.unwrap_err();
        assert_eq!(ended.exit().code(), 5, "{ended}");
    }

    #[tokio::test]
    async fn what_was_is_found_by_any_event_of_it_though_none_of_those_is_asked_for() {
        let event = json!({
            "index": 4, "time": 1, "type": "Normal", "reason": "Started", "message": "", "count": 1, "firstSeen": 1,
            "object": {"kind": "Replica", "name": "gone-1-abcde", "uid": "u"}
        });
        let answer = move |target: &str| match target {
            "/api/v1/replicas" => Some((200, r#"{"items":[],"index":5}"#.to_owned())),
            "/api/v1/events?fromIndex=0&types=Warning&follow=false" => Some((200, String::new())),
            _ if target.starts_with("/api/v1/events") => Some((200, format!("{event}\n"))),
            _ => None,
        };
        let (api, _) = testing::api(answer).await;
        for (object, filter, code) in [
            ("svc/gone", "--types=Warning", 0),
            ("replica/gone.1", "--types=Warning", 0),
            ("svc/gone", "--since=1m", 0),
            ("svc/nosuch", "--types=Warning", 5),
            ("replica/gone.2", "--types=Warning", 5),
        ] {
            let cli = Cli::try_parse_from(["constellation", "events", "--for", object, filter]).unwrap();
            let Command::Client(Client::Events(args)) = cli.command else { panic!("another command") };
            let ended = events(&api, &Screen::default(), &args).await.map_or_else(|e| e.exit().code(), |()| 0);
            assert_eq!(ended, code, "{object} {filter}");
        }
    }

    #[tokio::test]
    async fn a_position_that_is_not_kept_any_more_ends_nothing() {
        let answer = |target: &str| match target {
            "/api/v1/replicas" => Some((200, r#"{"items":[],"index":5}"#.to_owned())),
            "/api/v1/status" => Some((200, testing::status(5))),
            "/api/v1/events?fromIndex=5" => Some((410, r#"{"title":"gone","status":410,"index":9}"#.to_owned())),
            _ => None,
        };
        let (api, asked) = testing::api(answer).await;
        let cli = Cli::try_parse_from(["constellation", "events", "-w"]).unwrap();
        let Command::Client(Client::Events(args)) = cli.command else { panic!("another command") };
        let ended = events(&api, &Screen::default(), &args).await.unwrap_err();
        assert_eq!(ended.exit().code(), 5, "the second try is refused: {ended}");
        assert_eq!(asked.lock().unwrap().last().unwrap(), "/api/v1/events?fromIndex=0", "the oldest that is kept");
    }
}
