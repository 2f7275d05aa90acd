//! The engine as a person sees it: the distribution's `docker`, and its API for quick looks.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::http;

/// One container in the engine's list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Docker's id.
    pub id: String,
    /// Without the slash.
    pub name: String,
    /// `running`, `exited`, …
    pub state: String,
    /// Of our labels.
    pub service: String,
    /// Of our labels.
    pub slot: String,
}

/// An engine.
pub struct Docker {
    host: String,
    socket: PathBuf,
}

impl Docker {
    /// `unix:///path`.
    pub fn at(host: &str) -> Self {
        let socket = host.strip_prefix("unix://").expect("the engine of the tests has a unix socket").into();
        Self { host: host.into(), socket }
    }
    /// As `--docker-host` takes it.
    pub fn host(&self) -> &str {
        &self.host
    }
    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
    fn command(&self, args: &[&str]) -> Output {
        Command::new("timeout")
            .args(["60", "/usr/bin/docker", "-H", &self.host])
            .args(args)
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
    /// `docker ARGS`: its output, or panics with its error.
    pub fn run(&self, args: &[&str]) -> String {
        let out = self.command(args);
        assert!(out.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }
    /// `docker ARGS`: whether it succeeded, and what it printed.
    pub fn attempt(&self, args: &[&str]) -> Result<String, String> {
        let out = self.command(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
    }
    /// One field of a container, `{{.State.StartedAt}}`.
    pub fn inspect(&self, id: &str, format: &str) -> String {
        self.run(&["inspect", "--format", format, id])
    }
    /// Everything that carries our label, by name of service, sorted by slot.
    pub fn managed(&self, service: Option<&str>) -> Vec<Seen> {
        let label = service.map_or("constellation.managed=1".into(), |s| format!("constellation.service={s}"));
        let filters = serde_json::json!({ "label": [label] }).to_string();
        let path = format!("/containers/json?all=1&filters={}", encode(&filters));
        let answer = http::ask(self.socket(), "GET", &path, "application/json", b"").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let mut seen: Vec<Seen> = answer
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|c| Seen {
                id: text(&c["Id"]),
                name: text(&c["Names"][0]).trim_start_matches('/').to_owned(),
                state: text(&c["State"]),
                service: text(&c["Labels"]["constellation.service"]),
                slot: text(&c["Labels"]["constellation.slot"]),
            })
            .collect();
        seen.sort_by(|a, b| (&a.service, &a.slot, &a.id).cmp(&(&b.service, &b.slot, &b.id)));
        seen
    }
    /// Those that run.
    pub fn running(&self, service: &str) -> Vec<Seen> {
        self.managed(Some(service)).into_iter().filter(|c| c.state == "running").collect()
    }
    /// Exactly `n` containers run for a service.
    pub fn runs(&self, service: &str, n: usize) -> Result<Vec<Seen>, String> {
        let running = self.running(service);
        if running.len() == n { Ok(running) } else { Err(format!("{n} wanted: {:?}", self.managed(Some(service)))) }
    }
    /// Id and `StartedAt` of everything of ours: equal means that nothing was restarted.
    pub fn identities(&self) -> Vec<(String, String)> {
        let started = |c: Seen| (c.id.clone(), self.inspect(&c.id, "{{.Name}} {{.State.StartedAt}}"));
        self.managed(None).into_iter().map(started).collect()
    }
    /// Address of a container on its first network.
    pub fn address(&self, id: &str) -> String {
        let all = self.inspect(id, "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}");
        all.split(' ').next().unwrap_or_default().to_owned()
    }
    /// Removes every container, and networks and volumes that tests made.
    pub fn clear(&self) {
        let words = |text: Result<String, String>| -> Vec<String> {
            text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let remove = |command: &[&str], list: Vec<String>| {
            if !list.is_empty() {
                let args: Vec<&str> = command.iter().copied().chain(list.iter().map(String::as_str)).collect();
                let _gone_already_is_fine = self.attempt(&args);
            }
        };
        remove(&["rm", "-f"], words(self.attempt(&["ps", "-aq"])));
        remove(&["network", "rm"], words(self.attempt(&["network", "ls", "-q", "--filter", "type=custom"])));
        remove(&["volume", "rm"], words(self.attempt(&["volume", "ls", "-q"])));
    }
}

/// Percent-encodes everything that is not plain.
pub fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
