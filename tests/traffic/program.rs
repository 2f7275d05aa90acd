//! Traffic for the tests and benches: a server that can be slow, sick or abrupt, and clients that do not wait for it.
//!
//!   traffic serve [--port 80] [--abrupt]
//!   traffic load --to ADDRESS:PORT [--host NAME] [--path /] [--rate 200] [--seconds 10] [--timeout-ms 10000] [--fresh]
//!   traffic echo --to ADDRESS:PORT [--host NAME] [--path /echo] [--sockets 10] [--every-ms 500] [--seconds 10]
//!
//! Here: the arguments. [`serve`] is the server, [`load`] asks at a fixed rate, [`echo`] talks over WebSockets,
//! [`report`] is what both print as JSON. An example, not a test: it is copied into images, and runs in namespaces
//! other than the tests'. Stopped by SIGTERM, clients finish what is under way and print their report.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod echo;
mod exchange;
mod load;
mod report;
mod serve;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// `--name value`, and `--name` alone.
struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn read(words: impl Iterator<Item = String>) -> Self {
        let mut found = BTreeMap::new();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").unwrap_or_else(|| panic!("{word} is no option")).to_owned();
            let value = words.next_if(|next| !next.starts_with("--")).unwrap_or_default();
            found.insert(name, value);
        }
        Self(found)
    }
    fn flag(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    fn text(&self, name: &str, default: &str) -> String {
        self.0.get(name).map_or(default, String::as_str).to_owned()
    }
    fn number(&self, name: &str, default: u64) -> u64 {
        self.0.get(name).map_or(default, |v| v.parse().unwrap_or_else(|e| panic!("--{name} {v}: {e}")))
    }
    fn to(&self) -> SocketAddr {
        let to = self.0.get("to").expect("--to ADDRESS:PORT");
        to.parse().unwrap_or_else(|e| panic!("--to {to}: {e}"))
    }
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let arguments = Arguments::read(words);
    let stop = CancellationToken::new();
    let (mut asked, token) = (signal(SignalKind::terminate()).unwrap(), stop.clone());
    tokio::spawn(async move {
        asked.recv().await;
        token.cancel();
    });
    let millis = |name, default| Duration::from_millis(arguments.number(name, default));
    let seconds = Duration::from_secs(arguments.number("seconds", 10));
    match command.as_str() {
        "serve" => serve::run(arguments.number("port", 80), arguments.flag("abrupt"), stop).await,
        "load" => {
            let plan = load::Plan {
                to: arguments.to(),
                host: arguments.text("host", "localhost"),
                path: arguments.text("path", "/"),
                rate: arguments.number("rate", 200),
                lasts: seconds,
                timeout: millis("timeout-ms", 10_000),
                fresh: arguments.flag("fresh"),
            };
            println!("{}", load::run(plan, stop).await.json());
        }
        "echo" => {
            let plan = echo::Plan {
                to: arguments.to(),
                host: arguments.text("host", "localhost"),
                path: arguments.text("path", "/echo"),
                sockets: arguments.number("sockets", 10),
                every: millis("every-ms", 500),
                lasts: seconds,
            };
            println!("{}", echo::run(plan, stop).await.json());
        }
        other => panic!("{other:?} is none of serve, load, echo"),
    }
}
