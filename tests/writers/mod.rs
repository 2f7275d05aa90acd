//! Writers whose every answer can be looked for later: each writes its own few objects in turn, with a number
//! in them, and says on standard output what was answered.
//!
//! Here: [`write_on`] and [`Answered`]. Not here: the child that does it (`children`).

// Each test uses a part of it.
#![allow(dead_code)]

use std::{fmt, path::Path, str::FromStr, sync::Arc, time::Duration};

use constellation::{
    model::{Declared, Kind, ObjectKey, Spec, Uid, config::ConfigSpec},
    store::{Client, Options, Pace, command, put::put, seal::Sealer},
};
use tokio::task::JoinSet;

use crate::children::say;

const WRITERS: usize = 16;
/// Objects of each writer: the newest so many answers can be checked.
const KEYS: u64 = 50;
const DEADLINE: Duration = Duration::from_secs(20);

/// A store that makes snapshots, purges and fresh databases all the time.
pub fn busy(dir: impl AsRef<Path>) -> Options {
    let pace = Pace {
        between: Duration::from_millis(50),
        bytes: 200_000,
        entries: 200,
        at_once: 1 << 20,
        generation: 300_000,
    };
    Options { pace, ..Options::new(dir.as_ref(), "n1") }
}

/// How many writes of each writer were answered. As text: the numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answered([u64; WRITERS]);

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.map(|n| n.to_string()).join(" "))
    }
}
impl FromStr for Answered {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<u64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        numbers.try_into().map(Self).map_err(|n| format!("{n:?} are not the numbers of {WRITERS} writers"))
    }
}

impl Answered {
    /// Takes a line that a child said.
    pub fn hear(&mut self, line: &str) {
        if let ["A", writer, n] = line.split_whitespace().collect::<Vec<_>>()[..] {
            self.0[writer.parse::<usize>().unwrap()] = n.parse::<u64>().unwrap() + 1;
        }
    }
    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
    /// Those that [`Answered::missing`] can look for.
    pub fn checked(&self) -> u64 {
        self.0.iter().map(|n| KEYS.min(*n)).sum()
    }
    /// How many of the newest are not in a store, or are older than answered.
    pub fn missing(&self, client: &Client) -> u64 {
        let state = client.state();
        let missing = |writer: usize, n: u64| {
            let found = state.object(&ObjectKey::new(Kind::Config, name(writer, n)));
            let value = found.and_then(|o| o.parse::<ConfigSpec>().ok()?.data.get("n")?.trim().parse::<u64>().ok());
            value.is_none_or(|value| value < n)
        };
        let all = self.0.iter().enumerate().map(|(writer, answered)| {
            (answered.saturating_sub(KEYS)..*answered).filter(|n| missing(writer, *n)).count() as u64
        });
        all.sum()
    }
    /// How many of the newest were carried out twice, or not in their turn: an object has one generation for each
    /// number that was written to it.
    pub fn doubled(&self, client: &Client) -> u64 {
        let state = client.state();
        let doubled = |writer: usize, n: u64| {
            let object = state.object(&ObjectKey::new(Kind::Config, name(writer, n)))?;
            let value: u64 = object.parse::<ConfigSpec>().ok()?.data.get("n")?.trim().parse().ok()?;
            (object.meta.generation != value / KEYS + 1).then_some(())
        };
        let all = self.0.iter().enumerate().map(|(writer, answered)| {
            (answered.saturating_sub(KEYS)..*answered).filter_map(|n| doubled(writer, n)).count() as u64
        });
        all.sum()
    }
}

fn name(writer: usize, n: u64) -> Arc<str> {
    format!("w{writer}-{}", n % KEYS).into()
}

/// Writes on from there, and says `A WRITER NUMBER` after each answer. Ends when one fails.
pub async fn write_on(client: &Client, from: Answered) {
    let sealer = Arc::new(Sealer::ephemeral());
    let mut writers = JoinSet::new();
    for (writer, from) in from.0.into_iter().enumerate() {
        let (client, sealer) = (client.clone(), sealer.clone());
        writers.spawn(async move {
            for n in from.. {
                let spec = Spec::Config(ConfigSpec {
                    data: [("n".into(), format!("{n:>300}"))].into(),
                    ..ConfigSpec::default()
                });
                declare(&client, &sealer, name(writer, n), spec).await;
                say(&format!("A {writer} {n}"));
            }
        });
    }
    writers.join_next().await.unwrap().unwrap();
}

/// Writes one object; it is answered when this returns.
pub async fn declare(client: &Client, sealer: &Sealer, name: Arc<str>, spec: Spec) {
    let declared = Declared { name, labels: [].into(), annotations: [].into(), spec };
    let command = put(&declared, None, sealer, &client.state(), Uid::from_bytes(rand::random())).unwrap();
    let group = command::Group { commands: vec![command::Command::Put(command)], ..command::Group::default() };
    client.propose(group, DEADLINE).await.unwrap();
}
