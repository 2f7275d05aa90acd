//! Clients in a process of their own: how it is started, what it says, what it hears.
//!
//! It says `name=number …` on a line, twice a second, and ends with its parent.

use std::{
    collections::HashMap,
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{self, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{agent::Agent, clients, eventually};

pub const ROLE: &str = "ABUSE_ROLE";
const ADDRESS: &str = "ABUSE_ADDRESS";
const TOKEN: &str = "ABUSE_TOKEN";
const COUNTS: &str = "ABUSE_COUNTS";

pub type Status = HashMap<String, u64>;

pub struct Child {
    child: process::Child,
    status: Arc<Mutex<Status>>,
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ended_already_is_fine = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Child {
    pub fn start(agent: &Agent, role: &str, counts: &[u64]) -> Self {
        let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "the_child_of_the_other_test", "--nocapture"])
            .env(ROLE, role)
            .env(ADDRESS, agent.address.to_string())
            .env(TOKEN, &agent.token)
            .env(COUNTS, counts.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let status = Arc::new(Mutex::new(Status::new()));
        let (lines, heard) = (BufReader::new(child.stdout.take().unwrap()).lines(), status.clone());
        // Ends with the process: its output closes.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
                let read: Status = pairs.filter_map(|(name, n)| Some((name.to_owned(), n.parse().ok()?))).collect();
                if !read.is_empty() {
                    *heard.lock().unwrap() = read;
                }
            }
        });
        Self { child, status }
    }
    pub fn status(&self) -> Status {
        self.status.lock().unwrap().clone()
    }
    pub fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
    pub fn wait(&mut self, what: &str, limit: Duration, holds: impl Fn(&Status) -> bool) {
        eventually(limit, what, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{what}: the clients ended with {status}");
            }
            let status = self.status();
            if !status.is_empty() && holds(&status) { Ok(()) } else { Err(format!("{status:?}")) }
        });
    }
}

/// The child's own life.
pub fn run(role: &str) {
    constellation::agent::descriptors::raise();
    let of = |name: &str| env::var(name).unwrap();
    let counts: Vec<u64> = of(COUNTS).split(' ').map(|n| n.parse().unwrap()).collect();
    let server = clients::Server { address: of(ADDRESS).parse().unwrap(), token: of(TOKEN) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match (role, counts.as_slice()) {
            ("live", [count]) => clients::live(server, *count).await,
            ("bad", [heads, bodies, stalled]) => clients::bad(server, *heads, *bodies, *stalled).await,
            other => panic!("{other:?}"),
        }
    });
}
