//! A real agent, without an engine.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::eventually;

/// For one answer: past it a probe has failed.
const ANSWER: Duration = Duration::from_secs(30);

pub struct Agent {
    dir: tempfile::TempDir,
    child: process::Child,
    pub address: SocketAddr,
    pub token: String,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended_already_is_fine = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let log = File::create(path("agent.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_constellation"));
        // Those of the tests are no settings of an agent.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CONSTELLATION_"))
        {
            command.env_remove(name);
        }
        let child = command
            .args(["agent", "--node-name", "n1", "--api-address", "127.0.0.1:0"])
            .args(["--docker-host", "unix:///nowhere/docker.sock"])
            .arg("--data-dir")
            .arg(path("data"))
            .arg("--run-dir")
            .arg(path("run"))
            .arg("--api-socket")
            .arg(path("api.sock"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let address = eventually(Duration::from_secs(30), "the agent says where it is", || {
            let said = fs::read_to_string(path("run/api.address"));
            let said = said.map_err(|e| format!("{e}\n{}", crate::tail(&path("agent.log"))))?;
            said.trim().parse().map_err(|e| format!("{said:?}: {e}"))
        });
        let token = fs::read_to_string(path("data/admin.token")).unwrap().trim().to_owned();
        let agent = Self { dir, child, address, token };
        eventually(Duration::from_secs(30), "the agent takes writes", || {
            let status: Value = serde_json::from_str(&agent.get("/api/v1/status")?).map_err(|e| e.to_string())?;
            if status["writable"] == true { Ok(()) } else { Err(format!("{status}\n{}", crate::tail(&agent.log()))) }
        });
        agent
    }
    fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("agent.log")
    }

    /// Bytes in memory.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
    /// So many objects, each with an event.
    pub fn fill(&self, count: usize) {
        for first in (0..count).step_by(250) {
            let many: Vec<Value> = (first..count.min(first + 250)).map(|n| config(&format!("old-{n}"), "1")).collect();
            ask_socket(&self.socket(), "POST", "/api/v1/apply", &Value::from(many).to_string()).unwrap();
        }
    }
    /// Writes an object; the index of that change.
    pub fn write(&self, name: &str, value: &str) -> u64 {
        let path = format!("/api/v1/configs/{name}");
        let answer = ask_socket(&self.socket(), "PUT", &path, &config(name, value).to_string()).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["index"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }
    fn get(&self, path: &str) -> Result<String, String> {
        ask_socket(&self.socket(), "GET", path, "").map_err(|e| e.to_string())
    }
    /// What a counter or gauge without labels says.
    pub fn metric(&self, name: &str) -> u64 {
        let all = self.get("/metrics").unwrap();
        let value = all.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        value.unwrap_or_else(|| panic!("{all}")).parse().unwrap()
    }
    /// Connections that were cut, by cause.
    pub fn cut(&self) -> HashMap<String, u64> {
        let all = self.get("/metrics").unwrap();
        let cut = all.lines().filter_map(|line| line.strip_prefix("constellation_api_cut_total{cause=\""));
        cut.map(|line| line.split_once("\"} ").unwrap()).map(|(cause, n)| (cause.into(), n.parse().unwrap())).collect()
    }
}

pub fn config(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "constellation.dev/v1",
        "kind": "Config",
        "metadata": {"name": name},
        "spec": {"data": {"value": value}},
    })
}

/// One request over the socket on a connection of its own: the body of a 200.
pub fn ask_socket(socket: &Path, method: &str, path: &str, body: &str) -> io::Result<String> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    ask(stream, method, path, "", body)
}

/// The same over TCP.
pub fn ask_tcp(address: SocketAddr, token: &str, method: &str, path: &str, body: &str) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_nodelay(true)?;
    ask(stream, method, path, &format!("authorization: Bearer {token}\r\n"), body)
}

fn ask(mut io: impl io::Read + io::Write, method: &str, path: &str, head: &str, body: &str) -> io::Result<String> {
    let length = body.len();
    write!(
        io,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}content-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    io.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(io::Error::other(answer)),
    }
}
