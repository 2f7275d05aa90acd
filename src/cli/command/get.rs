//! `get`: objects as tables, JSON, manifests or names; once or with each change.

use serde_json::json;

use crate::{
    api::wire::{ClusterStatus, List, Object, WatchOp},
    cli::{
        again::{Again, From},
        args::{Get, Output},
        client::Api,
        failure::CliError,
        names::KindOrKey,
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
/// As the API; 5 when the named object is not there.
pub async fn get(api: &Api, screen: &Screen, args: &Get) -> Result<(), CliError> {
    let (kind, name) = match (&args.what, &args.name) {
        (KindOrKey::Kind(kind), name) => (*kind, name.clone()),
        (KindOrKey::Key(key), None) => (key.kind, Some(key.name.to_string())),
        (KindOrKey::Key(key), Some(name)) => {
            return Err(CliError::usage(
                format!("{key} names an object already, and so does {name:?}"),
                format!("write {key} or {}/{name}", key.kind.short()),
            ));
        }
    };
    if let (Some(name), Some(_)) = (&name, &args.selector) {
        return Err(CliError::usage(
            format!("{} is one object already", ObjectKey::new(kind, name.as_str())),
            format!("-l chooses among all: constellation get {} -l …", kind.plural()),
        ));
    }
    let list = match &name {
        Some(name) => {
            // A watch from the object's own index would miss nothing, but a status moves no version. The index comes
            // first: a change between the two is then shown twice, and not never.
            let index = if args.watch { api.status().await?.index } else { 0 };
            let object = api.get(&ObjectKey::new(kind, name.as_str())).await?;
            List { items: vec![object], index }
        }
        None => api.select(kind, args.selector.as_deref()).await?,
    };
    let single = name.is_some();
    let mut view = View { api, screen, kind, output: args.output, times: args.timestamps, single, widths: Vec::new() };
    if !args.watch {
        return view.all(&list).await;
    }
    view.stands(&list).await?;
    view.watch(name.as_deref(), args.selector.as_deref(), list.index).await
}

/// Lists nodes, as `node ls`.
///
/// # Errors
/// As the API.
pub async fn nodes(api: &Api, screen: &Screen, output: Output) -> Result<(), CliError> {
    let list = api.list(Kind::Node).await?;
    let (kind, widths) = (Kind::Node, Vec::new());
    View { api, screen, kind, output, times: false, single: false, widths }.all(&list).await
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
        self.widths = text::widths(&header, rows);
        self.screen.print(&text::table(0, &header, rows))
    }

    /// Goes on with each change; a broken stream is opened again from the last index.
    async fn watch(&mut self, name: Option<&str>, labels: Option<&str>, mut from: u64) -> Result<(), CliError> {
        let (mut again, mut missed) = (Again::default(), false);
        loop {
            let ended = if missed { self.missed(name, labels, &mut from).await } else { Ok(()) };
            let ended = match ended {
                Ok(()) => self.changes(name, labels, &mut from, &mut again).await,
                Err(error) => Err(error),
            };
            missed = again.after(ended).await? == From::Missed;
        }
    }

    /// What happened meanwhile is not kept: what stands now is shown instead.
    async fn missed(&mut self, name: Option<&str>, labels: Option<&str>, from: &mut u64) -> Result<(), CliError> {
        let list = self.api.select(self.kind, labels).await?;
        *from = list.index;
        self.screen.aside("changes were missed; this is how it stands now");
        let items = list.items.into_iter().filter(|o| name.is_none_or(|n| *o.metadata.name == *n)).collect();
        self.stands(&List { items, index: *from }).await
    }

    async fn changes(
        &mut self,
        name: Option<&str>,
        labels: Option<&str>,
        from: &mut u64,
        again: &mut Again,
    ) -> Result<(), CliError> {
        let mut stream = self.api.watch(self.kind, *from, labels).await?;
        while let Some(line) = stream.next().await? {
            *from = line.index;
            again.heard();
            if name.is_some_and(|name| *line.object.metadata.name != *name) {
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

    #[tokio::test]
    async fn a_change_between_index_and_object_is_not_lost() {
        // Whatever is asked for first sees index 5, what comes after it 6.
        let index = AtomicU64::new(5);
        let answer = move |target: &str| match target {
            "/api/v1/status" => Some((200, testing::status(index.fetch_add(1, Ordering::SeqCst)))),
            "/api/v1/configs/c" => {
                let version = index.fetch_add(1, Ordering::SeqCst);
                let meta =
                    json!({"name": "c", "uid": "u", "generation": 1, "resourceVersion": version, "createdAt": 1});
                let object =
                    json!({"apiVersion": "constellation.dev/v1", "kind": "Config", "metadata": meta, "spec": {}});
                Some((200, object.to_string()))
            }
            _ => None,
        };
        let (api, asked) = testing::api(answer).await;
        let cli = Cli::try_parse_from(["constellation", "get", "config/c", "-w", "-o", "json"]).unwrap();
        let Command::Client(Client::Get(args)) = cli.command else { panic!("another command") };
        let ended = get(&api, &Screen::default(), &args).await.unwrap_err();
        assert_eq!(ended.exit().code(), 5, "the watch is refused: {ended}");
        let last = asked.lock().unwrap().last().cloned().unwrap();
        assert!(last.contains("fromIndex=5"), "{last}");
    }
}
