//! Commands that read and show once: `describe`, `why`, `ps`, `status`, `schema`.

use super::{events, get};
use crate::{
    api::wire::{ClusterStatus, Object, Problem},
    cli::{
        args::{Describe, Form, Output, Ps, Status, Why},
        client::Api,
        failure::CliError,
        form::Described,
        replicas::{self, Replicas},
        screen::Screen,
        show,
        text::{self, Times},
    },
    manifest,
    model::{Condition, ConditionStatus, ConditionType, Event, Kind, ObjectKey},
};

/// Newest events that `describe` shows.
const EVENTS: usize = 20;

/// Runs `describe`.
///
/// # Errors
/// As the API.
pub async fn describe(api: &Api, screen: &Screen, args: &Describe) -> Result<(), CliError> {
    let key = &replicas::meant(api, &args.object).await?;
    let object = api.get(key).await?;
    let replicas = api.list(Kind::Replica).await?.items;
    let known = Replicas::from_list(&replicas);
    let own: Vec<_> = match key.kind {
        Kind::Service => {
            let ours = |o: &Object| known.service(&o.metadata.name).as_deref() == Some(&*key.name);
            replicas.iter().filter(|o| ours(o)).cloned().collect()
        }
        Kind::Node => {
            replicas.into_iter().filter(|o| o.spec.get("node").and_then(|n| n.as_str()) == Some(&key.name)).collect()
        }
        Kind::Config | Kind::Secret | Kind::Route | Kind::Middleware | Kind::Replica => Vec::new(),
    };
    let why = api.why(key).await?;
    let mut happened = events::kept(api, &[], 0).await?;
    // An object of the same name that was deleted is another one, and its replicas were.
    let meta = &object.metadata;
    let same = |e: &Event| match e.object.key() == *key {
        true => e.object.uid == meta.uid,
        false => e.time >= meta.created_at,
    };
    happened.retain(|event| events::concerns(key, &event.object, &known) && same(event));
    let newest = happened.len().saturating_sub(EVENTS);
    let events = happened.get(newest..).unwrap_or_default();
    if args.output != Form::Text {
        let whole = Described { object: &object, replicas: &own, differences: &why.differences, events };
        return screen.answer(&whole);
    }
    let whole = show::describe::Whole {
        object: &object,
        replicas: &own,
        why: &why,
        events,
        known: &known,
        times: Times::new(args.timestamps),
    };
    screen.print(&show::describe::text(&whole))
}

/// Runs `why`: 0 whatever the answer is; `diff` is the command whose exit code says it.
///
/// # Errors
/// As the API.
pub async fn why(api: &Api, screen: &Screen, args: &Why) -> Result<(), CliError> {
    let times = Times::new(args.timestamps);
    let (key, conditions) = match &args.replica {
        Some(slot) => one_replica(api, &args.object, slot).await?,
        None => {
            let key = replicas::meant(api, &args.object).await?;
            let conditions = match is_slot(&key) {
                true => Vec::new(),
                false => conditions(&api.get(&key).await?),
            };
            (key, conditions)
        }
    };
    let report = api.why(&key).await.map_err(|error| match (error, &args.replica) {
        (CliError::Refused(problem), Some(slot)) if problem.status == 404 => CliError::Refused(Box::new(Problem {
            status: 404,
            title: format!("{} has no replica {slot}", args.object),
            hint: Some(format!("`constellation ps {}` lists those it has", args.object.name)),
            ..Problem::default()
        })),
        (error, _) => error,
    })?;
    match args.output {
        Form::Json | Form::Yaml => screen.answer(&report),
        Form::Text => screen.print(&show::why::report(&key, &conditions, &report, times)),
    }
}

/// Whether a key is `replica/web.1`: no replica has that name, and a slot without any has reasons all the same.
fn is_slot(key: &ObjectKey) -> bool {
    key.kind == Kind::Replica && key.name.contains('.')
}

/// The replica that shall run in a slot, else the newest one that was there, else the slot itself.
async fn one_replica(api: &Api, key: &ObjectKey, slot: &str) -> Result<(ObjectKey, Vec<Condition>), CliError> {
    if key.kind != Kind::Service {
        return Err(CliError::usage(format!("{key} has no replicas"), "--replica goes with a service: svc/NAME"));
    }
    let display = format!("{}.{slot}", key.name);
    let items = api.list(Kind::Replica).await?.items;
    let found = items.iter().find(|o| *o.metadata.name == *slot);
    match found.or_else(|| replicas::newest(&items, &display)) {
        Some(object) => Ok((ObjectKey::replica(object.metadata.name.clone()), conditions(object))),
        None => Ok((ObjectKey::replica(display), Vec::new())),
    }
}

fn conditions(object: &Object) -> Vec<Condition> {
    let found = object.status.as_ref().and_then(|s| s.get("conditions"));
    found.and_then(|c| serde_json::from_value(c.clone()).ok()).unwrap_or_default()
}

/// Runs `ps`.
///
/// # Errors
/// As the API; 5 when a named service neither exists nor has replicas left.
pub async fn ps(api: &Api, screen: &Screen, args: &Ps) -> Result<(), CliError> {
    if args.watch {
        let labels = args.selector.as_deref().map(|l| format!(" -l {l}")).unwrap_or_default();
        return Err(CliError::usage(
            "ps shows how it stands, once",
            format!("constellation get replicas{labels} -w goes on with each change"),
        ));
    }
    let list = api.select(Kind::Replica, args.selector.as_deref()).await?;
    for service in &args.services {
        let has = list.items.iter().any(|o| o.spec.get("service").and_then(|s| s.as_str()) == Some(service));
        if !has {
            api.get(&ObjectKey::service(service.as_str())).await?;
        }
    }
    let ours = |o: &Object| {
        let service = o.spec.get("service").and_then(|s| s.as_str());
        args.services.is_empty() || args.services.iter().any(|s| service == Some(s))
    };
    let items: Vec<Object> = list.items.into_iter().filter(ours).collect();
    match args.output {
        Output::Json => screen.json(&items),
        Output::Yaml | Output::Name => get::documents(screen, args.output, &items),
        Output::Table | Output::Wide if items.is_empty() => {
            screen.aside("no replicas yet");
            Ok(())
        }
        Output::Table | Output::Wide => {
            let wide = args.output == Output::Wide;
            screen.print(&show::replicas::ps(&items, wide, Times::new(args.timestamps)))
        }
    }
}

/// Runs `status`.
///
/// # Errors
/// As the API.
pub async fn status(api: &Api, screen: &Screen, args: &Status) -> Result<(), CliError> {
    let status = api.status().await?;
    if args.output != Form::Text {
        return screen.answer(&status);
    }
    screen.print(&summary(&status))?;
    let mut unready = Vec::new();
    for kind in [Kind::Node, Kind::Service] {
        for object in &api.list(kind).await?.items {
            let mut state = show::objects::state(object);
            let well = ["Ready", "Completed", "Suspended"].contains(&state.as_str());
            // It is ready all the same: older contents, or public ports that are shut.
            let but = |c: &Condition| {
                let kinds = [ConditionType::ConfigSynced, ConditionType::EdgeServing];
                c.status == ConditionStatus::False && kinds.contains(&c.kind)
            };
            let but = conditions(object).into_iter().find(but);
            if let Some(but) = but.as_ref().filter(|_| well) {
                state = format!("{state}, but {}: {}", but.reason, but.message);
            }
            if !well || but.is_some() {
                let key = ObjectKey::new(kind, object.metadata.name.clone()).to_string();
                unready.push(vec![key.clone(), state, format!("constellation why {key}")]);
            }
        }
    }
    if status.full.is_some() {
        let old = "nothing that is seen is recorded: what is shown here may be old".to_owned();
        unready.insert(0, vec!["disk".into(), old, "make room in the data directory".into()]);
    }
    if unready.is_empty() {
        return Ok(());
    }
    screen.print(&format!("\nWhat needs a look\n{}", text::table(2, &[], &unready)))
}

fn summary(status: &ClusterStatus) -> String {
    let name = if status.name.is_empty() { status.cluster.get(..8).unwrap_or(&status.cluster) } else { &status.name };
    let writes = match &status.full {
        _ if status.writable => "writes are taken".to_owned(),
        Some(full) => format!("{}; what runs goes on", text::clean(full)),
        None => "no quorum: writes are refused, what runs goes on".to_owned(),
    };
    let ratio = |r: crate::api::wire::report::Ratio| format!("{}/{} ready", r.ready, r.total);
    let mut rows: Vec<Vec<String>> = vec![
        vec!["Cluster".into(), name.to_owned(), writes],
        vec![
            "Leader".into(),
            status.leader.clone().unwrap_or_else(|| "none".into()),
            text::count(status.voters as usize, "voter"),
        ],
        vec![
            "Index".into(),
            status.index.to_string(),
            format!("as {} knows it, version {}", status.node, status.version),
        ],
        vec!["Nodes".into(), ratio(status.nodes), String::new()],
        vec!["Services".into(), ratio(status.services), String::new()],
        vec!["Replicas".into(), ratio(status.replicas), String::new()],
    ];
    if let Some(from) = &status.restored {
        let held = "nothing is started or stopped until: constellation backup confirm".into();
        rows.insert(1, vec!["Restored".into(), format!("index {}", from.index), held]);
    }
    text::table(0, &[], &rows)
}

/// Runs `schema`.
///
/// # Errors
/// When standard output is gone.
pub fn schema(screen: &Screen) -> Result<(), CliError> {
    screen.json(&manifest::schema())
}
