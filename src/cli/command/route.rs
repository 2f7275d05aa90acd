//! `route ls`, `route show`.

use std::sync::Arc;

use crate::{
    api::wire::{Entry, RouteTable, Routed},
    cli::{
        args::{Form, RouteCommand},
        client::Api,
        failure::{CliError, Exit},
        screen::Screen,
        text::{self, clean},
    },
    model::{Condition, ConditionStatus},
    plan::routes::{LeftOut, concerns, covers},
};

/// Runs a `route` command.
///
/// # Errors
/// As the API.
pub async fn route(api: &Api, screen: &Screen, command: &RouteCommand) -> Result<Exit, CliError> {
    let table = api.route_table().await?;
    match command {
        RouteCommand::Ls { output } if *output != Form::Text => screen.answer(&table)?,
        RouteCommand::Ls { .. } => {
            if table.objects.is_empty() {
                screen.aside("no Route, and no Service with `routes`");
            }
            screen.print(&list(&table))?;
        }
        RouteCommand::Show { host, output } => {
            let found = about(&table, &host.to_ascii_lowercase());
            if *output == Form::Text {
                screen.print(&show(&found))?;
            } else {
                screen.answer(&found)?;
            }
            if found.entries.is_empty() {
                screen.aside(&format!("nothing is served for {}", clean(host)));
                return Ok(Exit::No);
            }
        }
    }
    Ok(Exit::Done)
}

/// What of the table concerns a host.
fn about(table: &RouteTable, host: &str) -> RouteTable {
    let entries: Vec<Entry> = table.entries.iter().filter(|e| concerns(e, host)).cloned().collect();
    let asks = |o: &&Routed| o.hosts.iter().any(|h| covers(h, host)) || entries.iter().any(|e| e.by == o.object);
    let objects = table.objects.iter().filter(asks).map(|o| of_host(o, host)).collect();
    RouteTable { index: table.index, entries, objects }
}

/// What is said of an object and is of this host, or of all of its hosts.
fn of_host(object: &Routed, host: &str) -> Routed {
    let is_of = |l: &&LeftOut| l.hosts.is_empty() || l.hosts.iter().any(|h| covers(h, host));
    let (own, others): (Vec<&LeftOut>, Vec<&LeftOut>) = object.left_out.iter().partition(is_of);
    let says = |all: &[&LeftOut], c: &Condition| all.iter().any(|l| l.message == c.message);
    let alone = object.hosts.iter().all(|h| covers(h, host));
    let concerns = |c: &&Condition| match c.status {
        // Of several hosts one is told of: which one stands in the sentence.
        ConditionStatus::True => alone || c.message.contains(host),
        ConditionStatus::False | ConditionStatus::Unknown => says(&own, c) || !says(&others, c),
    };
    Routed {
        conditions: object.conditions.iter().filter(concerns).cloned().collect(),
        left_out: own.into_iter().cloned().collect(),
        ..object.clone()
    }
}

fn joined(list: &[Arc<str>]) -> String {
    if list.is_empty() { "-".into() } else { list.join(",") }
}

fn answers(entry: &Entry) -> String {
    match &*entry.servers {
        _ if entry.redirect => "redirect to https".into(),
        [] => "nobody: 503".into(),
        servers => servers.join(","),
    }
}

/// One line for each thing that is served, then what is not.
fn list(table: &RouteTable) -> String {
    let row = |e: &Entry| {
        let answers = match e.servers.len() {
            _ if e.redirect => "redirect to https".into(),
            0 => "nobody: 503".into(),
            n => format!("{n} replica{}", if n == 1 { "" } else { "s" }),
        };
        vec![e.host.clone(), e.path.clone(), e.entry_point.to_string(), e.by.to_string(), answers, joined(&e.passes)]
    };
    let rows: Vec<Vec<String>> = table.entries.iter().map(row).map(cleaned).collect();
    let header = ["HOST", "PATH", "ENTRYPOINT", "BY", "ANSWERS", "MIDDLEWARES"];
    text::table(0, &header, &rows) + &left_out(table)
}

fn left_out(table: &RouteTable) -> String {
    let of = |o: &Routed| {
        let key = o.object.to_string();
        o.left_out.iter().map(|l| vec![key.clone(), l.what.clone(), l.reason.to_string(), l.message.clone()]).collect()
    };
    let rows: Vec<Vec<String>> =
        table.objects.iter().flat_map(|o| -> Vec<Vec<String>> { of(o) }).map(cleaned).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\nLeft out\n{}", text::table(2, &["OBJECT", "WHAT", "REASON", "MESSAGE"], &rows))
}

fn cleaned(row: Vec<String>) -> Vec<String> {
    row.iter().map(|cell| clean(cell).to_string()).collect()
}

/// Everything about one host.
fn show(table: &RouteTable) -> String {
    let mut out = String::new();
    for entry in &table.entries {
        let rows = [
            ("Path:", entry.path.clone()),
            ("Entry point:", format!("{}{}", entry.entry_point, if entry.tls { ", TLS" } else { "" })),
            ("By:", entry.by.to_string()),
            ("Router:", entry.router.to_string()),
            ("Passes:", joined(&entry.passes)),
            ("Answers:", answers(entry)),
        ];
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(k, v)| cleaned(vec![k.to_owned(), v])).collect();
        out += &format!("{}\n{}\n", clean(&entry.host), text::table(2, &[], &rows));
    }
    for object in &table.objects {
        for condition in object.conditions.iter().filter(|c| c.status != ConditionStatus::True || !c.message.is_empty())
        {
            let (key, kind) = (object.object.to_string(), condition.kind);
            let text = format!("{key}  {kind}={} {}: {}", condition.status, condition.reason, condition.message);
            out += &format!("{}\n", clean(&text));
        }
    }
    out + &left_out(table)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::{Kind, ObjectKey, route::RouteSpec},
        plan::routes::{Backing, Endpoint, Input, Reached, Stored, conditions, table},
    };

    fn sample() -> RouteTable {
        let route = |name: &str, at, host: &str| Stored {
            name: name.into(),
            created_at: at,
            spec: Arc::new(RouteSpec {
                hosts: vec![host.into()],
                backends: vec![crate::model::route::Backend { service: Some("web".into()), ..Default::default() }],
                ..RouteSpec::default()
            }),
        };
        let declared = Reached { ports: vec![80], ..Reached::default() };
        let endpoint = Endpoint { replica: "web-1".into(), address: "10.0.0.1".parse().unwrap(), own: None };
        let web = Backing { declared, endpoints: vec![endpoint], ..Backing::default() };
        let made = table(&Input {
            routes: vec![
                route("a", 1, "a.example.com"),
                route("b", 2, "a.example.com"),
                route("c", 3, "*.c.example.com"),
            ],
            services: [("web".into(), web)].into(),
            ..Input::default()
        });
        let objects = made.said.iter().map(|(object, verdict)| Routed {
            object: object.clone(),
            conditions: conditions(verdict, None, &[], (1, 0)),
            hosts: vec![if *object.name == *"c" { "*.c.example.com" } else { "a.example.com" }.into()],
            left_out: verdict.left_out.clone(),
        });
        RouteTable { index: 5, objects: objects.collect(), entries: made.entries }
    }

    #[test]
    fn the_list_says_what_is_served_and_what_is_not() {
        insta::assert_snapshot!(list(&sample()));
    }

    #[test]
    fn one_host_shows_who_was_first_and_who_came_later() {
        let found = about(&sample(), "a.example.com");
        assert_eq!(found.entries.len(), 1);
        let keys: Vec<_> = found.objects.iter().map(|o| o.object.clone()).collect();
        assert_eq!(keys, [ObjectKey::new(Kind::Route, "a"), ObjectKey::new(Kind::Route, "b")]);
        insta::assert_snapshot!(show(&found));
        assert_eq!(about(&sample(), "x.c.example.com").entries.len(), 1, "a wildcard answers");
        assert!(about(&sample(), "x.y.c.example.com").entries.is_empty());
        assert!(about(&sample(), "c.example.com").entries.is_empty());
    }

    #[test]
    fn of_one_that_asks_for_more_hosts_only_what_concerns_this_one_is_said() {
        let mut table = sample();
        let several = table.objects.iter_mut().find(|o| *o.object.name == *"b").unwrap();
        several.hosts.push("b.example.com".into());
        assert_eq!(about(&table, "a.example.com").objects.len(), 2);
        assert!(show(&about(&table, "a.example.com")).contains("HostConflict"));
        let other = about(&table, "b.example.com");
        assert_eq!(other.objects.len(), 1);
        assert!(!show(&other).contains("a.example.com"), "{}", show(&other));
    }
}
