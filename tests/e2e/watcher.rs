//! A WebSocket client of another make: Python's `websockets` in a process of its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{agent::Agent, wait::secs};

/// One open WebSocket.
pub struct Watcher {
    child: Child,
    frames: Receiver<(Instant, String)>,
}

impl Watcher {
    /// Opens `/api/v1/events` with a query like `fromIndex=0`, over TCP with the administrator's token.
    pub fn open(agent: &Agent<'_>, query: &str) -> Self {
        Self::open_at(agent, &format!("/api/v1/events?{query}"))
    }
    /// Opens another path in the same way.
    pub fn open_at(agent: &Agent<'_>, path: &str) -> Self {
        let url = format!("{}{path}", agent.tcp().replacen("http", "ws", 1));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/watcher.py");
        let mut child = agent
            .lab
            .inside(&agent.lab.python)
            .args([script, &url, &agent.token()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (send, frames) = sync_channel(10_000);
        // Ends with the process: its output closes.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if send.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let watcher = Self { child, frames };
        let (_, first) = watcher.frames.recv_timeout(secs(20)).expect("the WebSocket opens");
        assert_eq!(first, "OPEN");
        watcher
    }
    /// The frames that came and nobody looked at.
    pub fn rest(&self) -> Vec<String> {
        self.frames.try_iter().map(|(_, frame)| frame).collect()
    }
    /// The first event that `wanted` accepts, and when it came; panics after `limit` with those that came.
    pub fn find(&self, limit: Duration, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> (Instant, Value) {
        let end = Instant::now() + limit;
        let mut others = Vec::new();
        loop {
            match self.frames.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((at, line)) => {
                    let event: Value = serde_json::from_str(&line).expect("each frame is one JSON object");
                    if wanted(&event) {
                        return (at, event);
                    }
                    others.push(line);
                }
                Err(RecvTimeoutError::Timeout) => panic!("{what}: no such event within {limit:?}: {others:#?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("{what}: the WebSocket closed: {others:#?}"),
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ended_already_is_fine = self.child.kill();
        let _ = self.child.wait();
    }
}
