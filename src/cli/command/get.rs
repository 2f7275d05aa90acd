//! `get`: objects as tables, JSON, manifests or names; once or with each change.

use serde_json::json;

use crate::{
    api::wire::{ClusterStatus, List, Object, WatchOp},
    cli::{
        again::{Again, From},
        args::{Get, Output},
        client::Api,
        failure::CliError,
        names::{self, KindOrKey},
        screen::Screen,
        show::objects::{self, Around},
        text::{self, Times, clean},
    },
    manifest,
    model::{Kind, ObjectKey},
};

/// Runs `get`.
///
/// # Errors
/// As the API; 5 when a named object is not there, after those that are.
pub async fn get(api: &Api, screen: &Screen, args: &Get) -> Result<(), CliError> {
    let keys = keys(args)?;
    let (KindOrKey::Kind(kind) | KindOrKey::Key(ObjectKey { kind, .. })) = args.what;
    let mut view = View {
        api,
        screen,
        kind,
        output: args.output,
        times: args.timestamps,
        single: keys.len() == 1,
        watch: args.watch,
        widths: Vec::new(),
    };
    let Some(first) = keys.first() else {
        let list = api.select(kind, args.selector.as_deref()).await?;
        return view.begin(&list, &[], args.selector.as_deref()).await;
    };
    if args.selector.is_some() {
        return Err(CliError::usage(
            format!("{first} is one object already"),
            format!("-l chooses among all: constellation get {} -l …", kind.plural()),
        ));
    }
    if let Some(other) = keys.iter().find(|key| key.kind != kind && args.watch) {
        return Err(CliError::usage(
            format!("{first} and {other} are of two kinds, and -w goes on with one"),
            "begin one get -w for each kind",
        ));
    }
    // A watch from the object's own index would miss nothing, but a status moves no version. The index comes
    // first: a change between the two is then shown twice, and not never.
    let index = if args.watch || keys.len() > 1 { api.status().await?.index } else { 0 };
    let (items, missing) = named(api, &keys).await?;
    match missing {
        Some(error) if items.is_empty() || args.watch => return Err(error),
        Some(_) | None => {}
    }
    let list = List { items, index };
    if args.watch {
        return view.begin(&list, &keys, None).await;
    }
    match args.output {
        Output::Table | Output::Wide => tables(&mut view, list).await?,
        Output::Json | Output::Yaml | Output::Name => view.all(&list).await?,
    }
    missing.map_or(Ok(()), Err)
}

/// The named objects: `svc web db`, or `svc/web config/app`. None: all of a kind.
fn keys(args: &Get) -> Result<Vec<ObjectKey>, CliError> {
    let wrong = |message| CliError::usage(message, "write `get svc web db` or `get svc/web config/app`");
    match &args.what {
        KindOrKey::Kind(kind) => {
            let key = |name: &String| Ok(ObjectKey::new(*kind, names::name(name).map_err(wrong)?));
            args.names.iter().map(key).collect()
        }
        KindOrKey::Key(key) => {
            let others = args.names.iter().map(|text| names::key(text).map_err(wrong));
            std::iter::once(Ok(key.clone())).chain(others).collect()
        }
    }
}

/// Those of the named objects that are there, and what is said of the others.
async fn named(api: &Api, keys: &[ObjectKey]) -> Result<(Vec<Object>, Option<CliError>), CliError> {
    let (mut items, mut missing) = (Vec::new(), Vec::new());
    for key in keys {
        match api.get(key).await {
            Ok(object) => items.push(object),
            Err(CliError::Refused(problem)) if problem.status == 404 => missing.push((key, problem)),
            Err(error) => return Err(error),
        }
    }
    let names: Vec<String> = missing.iter().map(|(key, _)| key.to_string()).collect();
    let error = match missing.pop() {
        None => None,
        Some((_, problem)) if names.len() == 1 => Some(CliError::Refused(problem)),
        Some((_, problem)) => {
            let exit = CliError::Refused(problem).exit();
            Some(CliError::Partly { message: format!("{} do not exist", names.join(", ")), exit })
        }
    };
    Ok((items, error))
}

/// A table for each kind.
async fn tables(view: &mut View<'_>, list: List) -> Result<(), CliError> {
    let mut kinds: Vec<Kind> = Vec::new();
    for object in &list.items {
        if !kinds.contains(&object.kind) {
            kinds.push(object.kind);
        }
    }
    for (i, kind) in kinds.into_iter().enumerate() {
        if i > 0 {
            view.screen.line("")?;
        }
        (view.kind, view.widths) = (kind, Vec::new());
        let items = list.items.iter().filter(|object| object.kind == kind).cloned().collect();
        view.all(&List { items, index: list.index }).await?;
    }
    Ok(())
}

/// Lists nodes, as `node ls`.
///
/// # Errors
/// As the API.
pub async fn nodes(api: &Api, screen: &Screen, output: Output) -> Result<(), CliError> {
    let list = api.list(Kind::Node).await?;
    let (kind, widths) = (Kind::Node, Vec::new());
    View { api, screen, kind, output, times: false, single: false, watch: false, widths }.all(&list).await
}

/// Objects in a form that needs no columns, one after the other.
///
/// # Errors
/// When standard output is gone.
pub fn documents(screen: &Screen, output: Output, items: &[Object]) -> Result<(), CliError> {
    items.iter().enumerate().try_for_each(|(i, object)| document(screen, output, object, i > 0))
}

fn document(screen: &Screen, output: Output, object: &Object, further: bool) -> Result<(), CliError> {
    match output {
        Output::Name | Output::Table | Output::Wide => screen.line(&clean(&key(object).to_string())),
        Output::Json => screen.json(object),
        Output::Yaml => {
            let text = manifest::to_yaml(object.kind, &object.metadata, &object.spec);
            let text: String = text.lines().map(|line| format!("{}\n", clean(line))).collect();
            screen.print(&format!("{}{text}", if further { "---\n" } else { "" }))
        }
    }
}

fn key(object: &Object) -> ObjectKey {
    ObjectKey::new(object.kind, object.metadata.name.clone())
}

/// Whether it is one of these; none: all are.
fn chosen(keys: &[ObjectKey], object: &Object) -> bool {
    keys.is_empty() || keys.contains(&key(object))
}

/// One line of a watch, as the API writes it.
fn change(screen: &Screen, index: u64, op: WatchOp, object: &Object) -> Result<(), CliError> {
    screen.json_line(&json!({ "index": index, "op": op, "object": object }))
}

struct View<'a> {
    api: &'a Api,
    screen: &'a Screen,
    kind: Kind,
    output: Output,
    times: bool,
    single: bool,
    /// Rows follow.
    watch: bool,
    /// Of the columns that were printed; empty before.
    widths: Vec<usize>,
}

/// What the columns need beside the objects.
#[derive(Default)]
struct Beside {
    replicas: Vec<Object>,
    services: Vec<Object>,
    status: Option<ClusterStatus>,
}

impl View<'_> {
    async fn beside(&self) -> Result<Beside, CliError> {
        let mut beside = Beside::default();
        let wide_nodes = self.kind == Kind::Node && self.output == Output::Wide;
        if self.kind == Kind::Service || wide_nodes {
            beside.replicas = self.api.list(Kind::Replica).await?.items;
        }
        if wide_nodes {
            beside.services = self.api.list(Kind::Service).await?.items;
        }
        if self.kind == Kind::Node {
            beside.status = Some(self.api.status().await?);
        }
        Ok(beside)
    }

    fn rows(&self, items: &[Object], beside: &Beside) -> Vec<Vec<String>> {
        let around = Around {
            wide: self.output == Output::Wide,
            times: Times::new(self.times),
            replicas: &beside.replicas,
            services: &beside.services,
            leader: beside.status.as_ref().and_then(|s| s.leader.as_deref()),
        };
        items.iter().map(|object| objects::row(object, &around)).collect()
    }

    async fn all(&mut self, list: &List) -> Result<(), CliError> {
        match self.output {
            Output::Table | Output::Wide => {
                if list.items.is_empty() {
                    self.screen.aside(&format!("no {} yet", self.kind.plural()));
                    return Ok(());
                }
                let beside = self.beside().await?;
                self.table(&self.rows(&list.items, &beside))?;
                match &beside.status {
                    Some(status) if self.output == Output::Wide => {
                        let quorum = if status.writable { "quorum" } else { "no quorum" };
                        self.screen
                            .line(&format!("* = leader   {quorum}, voters {}   index {}", status.voters, status.index))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            Output::Json if self.single => list.items.iter().try_for_each(|object| self.screen.json(object)),
            Output::Json => self.screen.json(list),
            Output::Yaml | Output::Name => documents(self.screen, self.output, &list.items),
        }
    }

    /// How it stands, and what changes after that when rows follow. `keys`: only these; none: all.
    async fn begin(&mut self, list: &List, keys: &[ObjectKey], labels: Option<&str>) -> Result<(), CliError> {
        if !self.watch {
            return self.all(list).await;
        }
        self.stands(list).await?;
        self.follow(keys, labels, list.index).await
    }

    /// How it stands before the changes of a watch.
    async fn stands(&mut self, list: &List) -> Result<(), CliError> {
        if self.output != Output::Json {
            return self.all(list).await;
        }
        // One shape, one line each: what stands is a change from nothing.
        list.items.iter().try_for_each(|object| change(self.screen, list.index, WatchOp::Put, object))
    }

    /// Rows under their header; later ones under the columns of the first.
    fn table(&mut self, rows: &[Vec<String>]) -> Result<(), CliError> {
        if !self.widths.is_empty() {
            return rows.iter().try_for_each(|row| self.screen.line(&text::row(&self.widths, row)));
        }
        let header = objects::header(self.kind, self.output == Output::Wide);
        if !self.watch {
            return self.screen.print(&text::table(0, &header, rows));
        }
        self.widths = objects::widths(&header, rows);
        self.screen.line(&text::row(&self.widths, &header))?;
        rows.iter().try_for_each(|row| self.screen.line(&text::row(&self.widths, row)))
    }

    /// Goes on with each change; a broken stream is opened again from the last index.
    async fn follow(&mut self, keys: &[ObjectKey], labels: Option<&str>, mut from: u64) -> Result<(), CliError> {
        let (mut again, mut missed) = (Again::default(), false);
        loop {
            let ended = if missed { self.missed(keys, labels, &mut from).await } else { Ok(()) };
            let ended = match ended {
                Ok(()) => self.changes(keys, labels, &mut from, &mut again).await,
                Err(error) => Err(error),
            };
            missed = again.after(ended).await? == From::Missed;
        }
    }

    /// What happened meanwhile is not kept: what stands now is shown instead.
    async fn missed(&mut self, keys: &[ObjectKey], labels: Option<&str>, from: &mut u64) -> Result<(), CliError> {
        let list = self.api.select(self.kind, labels).await?;
        *from = list.index;
        self.screen.aside("changes were missed; this is how it stands now");
        let items = list.items.into_iter().filter(|object| chosen(keys, object)).collect();
        self.stands(&List { items, index: *from }).await
    }

    async fn changes(
        &mut self,
        keys: &[ObjectKey],
        labels: Option<&str>,
        from: &mut u64,
        again: &mut Again,
    ) -> Result<(), CliError> {
        let mut stream = self.api.watch(self.kind, *from, labels).await?;
        while let Some(line) = stream.next().await? {
            *from = line.index;
            again.heard();
            if !chosen(keys, &line.object) {
                continue;
            }
            match (self.output, line.op) {
                (Output::Table | Output::Wide, WatchOp::Put) => {
                    let beside = self.beside().await?;
                    self.table(&self.rows(std::slice::from_ref(&line.object), &beside))?;
                }
                (Output::Table | Output::Wide, WatchOp::Delete) => {
                    self.screen.line(&format!("{} deleted", clean(&key(&line.object).to_string())))?;
                }
                (Output::Json, op) => change(self.screen, line.index, op, &line.object)?,
                (Output::Yaml | Output::Name, WatchOp::Put) => document(self.screen, self.output, &line.object, true)?,
                // What is gone has no document, and its name alone would read like one that is there.
                (Output::Yaml | Output::Name, WatchOp::Delete) => {
                    self.screen.aside(&format!("{} deleted", clean(&key(&line.object).to_string())));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use clap::Parser as _;

    use super::*;
    use crate::cli::{
        args::{Cli, Client, Command},
        testing,
    };

    fn args(line: &str) -> Get {
        let cli = Cli::try_parse_from(["constellation", "get"].into_iter().chain(line.split(' '))).unwrap();
        let Command::Client(Client::Get(args)) = cli.command else { panic!("another command") };
        args
    }

    fn object(name: &str, version: u64) -> String {
        let meta = json!({"name": name, "uid": "u", "generation": 1, "resourceVersion": version, "createdAt": 1});
        json!({"apiVersion": "constellation.dev/v1", "kind": "Config", "metadata": meta, "spec": {}}).to_string()
    }

    #[test]
    fn several_objects_are_named_in_two_ways() {
        for (line, wanted) in [
            ("svc", Ok("")),
            ("svc hello web", Ok("svc/hello svc/web")),
            ("svc/hello svc/web config/x", Ok("svc/hello svc/web config/x")),
            ("svc/hello web", Err("write it like svc/web")),
            ("svc svc/web", Err("no name")),
        ] {
            let got = keys(&args(line)).map(|keys| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            match (got, wanted) {
                (Ok(got), Ok(wanted)) => assert_eq!(got, wanted, "{line}"),
                (Err(got), Err(wanted)) => assert!(got.exit().code() == 2 && got.to_string().contains(wanted), "{got}"),
                (got, wanted) => panic!("{line}: {got:?}, not {wanted:?}"),
            }
        }
    }

    #[tokio::test]
    async fn of_several_those_that_are_missing_are_an_error_after_the_others() {
        let answer = |target: &str| match target {
            "/api/v1/status" => Some((200, testing::status(5))),
            "/api/v1/configs/c" => Some((200, object("c", 1))),
            _ => None,
        };
        let (api, asked) = testing::api(answer).await;
        for (line, code) in [
            ("config c c", Ok(())),
            ("config/a config/c -o json", Err((5, ""))),
            ("config a b c", Err((5, "config/a, config/b do not exist"))),
            ("config/c svc/web -w", Err((2, "of two kinds"))),
            ("config/c config/a -w", Err((5, ""))),
            ("config/c -l a=b", Err((2, "one object already"))),
        ] {
            match (get(&api, &Screen::default(), &args(line)).await, code) {
                (Err(got), Err((code, said))) => {
                    assert!(got.exit().code() == code && got.to_string().contains(said), "{line}: {got}");
                }
                (got, wanted) => assert_eq!(got.is_ok(), wanted.is_ok(), "{line}: {got:?}"),
            }
        }
        let tried = asked.lock().unwrap().iter().filter(|target| target.ends_with("/c")).count();
        assert_eq!(tried, 5, "one that is missing keeps no other from being shown");
    }

    #[tokio::test]
    async fn a_change_between_index_and_object_is_not_lost() {
        // Whatever is asked for first sees index 5, what comes after it 6.
        let index = AtomicU64::new(5);
        let answer = move |target: &str| match target {
            "/api/v1/status" => Some((200, testing::status(index.fetch_add(1, Ordering::SeqCst)))),
            "/api/v1/configs/c" => {
                let version = index.fetch_add(1, Ordering::SeqCst);
                Some((200, object("c", version)))
            }
            _ => None,
        };
        let (api, asked) = testing::api(answer).await;
        let ended = get(&api, &Screen::default(), &args("config/c -w -o json")).await.unwrap_err();
        assert_eq!(ended.exit().code(), 5, "the watch is refused: {ended}");
        let last = asked.lock().unwrap().last().cloned().unwrap();
        assert!(last.contains("fromIndex=5"), "{last}");
    }
}
