//! One agent process, and the command line that talks to it.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http::{self, Answer},
    lab::{Lab, without_ours},
    wait::{eventually, secs},
};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_constellation");

/// How a command ended.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}
impl Said {
    /// Panics with all that was said unless the code is `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code {} instead of {code}\n{}\n{}", self.code, self.out, self.err);
        self
    }
}

/// `constellation ARGS` against `api`, at most two minutes.
pub fn cli(api: Option<&str>, directory: &Path, args: &[&str]) -> Said {
    cli_reading(api, directory, args, "")
}

/// As [`cli`], with something on its standard input.
pub fn cli_reading(api: Option<&str>, directory: &Path, args: &[&str], input: &str) -> Said {
    let mut command = Command::new("timeout");
    without_ours(&mut command);
    command.args(["120", BINARY]).args(args).current_dir(directory).env("NO_COLOR", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(api) = api {
        command.env("CONSTELLATION_API", api);
    }
    let mut child = command.spawn().unwrap();
    // One that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let out = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: out.status.code().unwrap_or(-1), out: text(&out.stdout), err: text(&out.stderr) }
}

/// An agent with directories of its own, in the namespace of the lab.
pub struct Agent<'l> {
    /// Where it runs.
    pub lab: &'l Lab,
    /// The name it is given; none: it goes by the host's.
    pub name: Option<&'static str>,
    /// Where its API listens; at first a free port.
    pub api_address: &'static str,
    /// Another way to the engine than its own socket.
    pub docker_host: Option<String>,
    /// What starts it, with its arguments; none: it is started as it is.
    pub under: Vec<String>,
    /// Flags at the end of its command.
    pub flags: Vec<String>,
    /// Variables that it gets.
    pub variables: Vec<(&'static str, String)>,
    root: TempDir,
    child: Option<Child>,
}

impl<'l> Agent<'l> {
    /// Starts one on an empty directory and waits until it is ready.
    pub fn start(lab: &'l Lab) -> Self {
        let mut agent = Self::prepared(lab);
        agent.spawn();
        agent.wait_until_ready();
        agent
    }
    /// One that was never started.
    pub fn prepared(lab: &'l Lab) -> Self {
        let root = tempfile::Builder::new().prefix("cst-").tempdir_in("/var/tmp").unwrap();
        Self {
            lab,
            name: Some("n1"),
            api_address: "127.0.0.1:0",
            docker_host: None,
            under: Vec::new(),
            flags: Vec::new(),
            variables: Vec::new(),
            root,
            child: None,
        }
    }
    /// A path in its own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.path("api.sock")
    }
    /// Its command, with other arguments at the end.
    pub fn command(&self, further: &[&str]) -> Command {
        let mut words = self.under.iter().map(String::as_str).chain([BINARY, "agent"]);
        let mut command = self.lab.inside(words.next().unwrap_or(BINARY));
        command
            .args(words)
            .args(self.name.into_iter().flat_map(|name| ["--node-name", name]))
            .args(["--docker-host", self.docker_host.as_deref().unwrap_or(self.lab.docker.host())])
            .args(["--api-address", self.api_address])
            .arg("--data-dir")
            .arg(self.path("data"))
            .arg("--run-dir")
            .arg(self.path("run"))
            .arg("--api-socket")
            .arg(self.socket())
            .args(&self.flags)
            .args(further)
            // The file of an agent that is installed here is none of ours.
            .env("CONSTELLATION_CONFIG", "")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }
    /// Starts the process; it need not be ready.
    pub fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("agent.log")).unwrap();
        let _from_the_run_before = fs::remove_file(self.path("run/api.address"));
        let child = self.command(&[]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }
    /// Starts the process, which must end by itself: its exit code and what it said.
    pub fn fails(&self) -> (Option<i32>, String) {
        let mut command = self.command(&[]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let status = eventually(secs(20), "the agent refuses to start", || {
            child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        });
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
        (status.code(), said)
    }
    /// Waits until `/ready` says yes.
    pub fn wait_until_ready(&mut self) {
        let socket = self.socket();
        let log = self.path("agent.log");
        let child = self.child.as_mut().expect("an agent was started");
        eventually(secs(20), "the agent is ready", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the agent ended with {status}:\n{}", tail(&log, 40));
            }
            let answer = http::ask(&socket, "GET", "/ready", "application/json", b"").map_err(|e| e.to_string())?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
    }
    /// `kill -9`, and reaps it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    /// Asks it to end, as a service manager does; how it ended, and how long that took.
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        let mut child = self.child.take().expect("an agent was started");
        let begun = Instant::now();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = eventually(secs(15), "the agent ends when asked", || {
            child.try_wait().unwrap().ok_or_else(|| "it still runs".to_owned())
        });
        (status, begun.elapsed())
    }
    /// Whether the process ended by itself, and its exit code.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        let status = self.child.as_mut().expect("an agent was started").try_wait().unwrap()?;
        self.child = None;
        Some(status.code())
    }
    /// Everything it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("an agent was started").id()
    }
    /// `http://127.0.0.1:PORT` in the namespace.
    pub fn tcp(&self) -> String {
        let file = self.path("run/api.address");
        let address = eventually(secs(5), "the agent writes its address", || {
            fs::read_to_string(&file)
                .map_err(|e| e.to_string())
                .and_then(|a| if a.trim().is_empty() { Err("empty".to_owned()) } else { Ok(a.trim().to_owned()) })
        });
        format!("http://{address}")
    }
    /// Its administrator's token.
    pub fn token(&self) -> String {
        fs::read_to_string(self.path("data/admin.token")).unwrap().trim().to_owned()
    }

    /// `constellation ARGS` through its socket.
    pub fn cli(&self, args: &[&str]) -> Said {
        cli(Some(&format!("unix://{}", self.socket().display())), self.root.path(), args)
    }
    /// The same with something on its standard input.
    pub fn cli_reading(&self, args: &[&str], input: &str) -> Said {
        cli_reading(Some(&format!("unix://{}", self.socket().display())), self.root.path(), args, input)
    }
    /// Writes a manifest and applies it, waiting for the result.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> Said {
        self.apply_with(manifest, &[]).exits(0)
    }
    /// As [`Agent::apply`], with further flags and any exit code.
    pub fn apply_with(&self, manifest: &str, flags: &[&str]) -> Said {
        let file = self.path("manifest.yaml");
        fs::write(&file, manifest).unwrap();
        let mut args = vec!["apply", "-y", "-f", file.to_str().unwrap()];
        args.extend_from_slice(flags);
        self.cli(&args)
    }
    /// One request through the socket.
    pub fn ask(&self, method: &str, path: &str, content: &str, body: &[u8]) -> Answer {
        http::ask(&self.socket(), method, path, content, body).unwrap()
    }
    /// `GET path` as JSON; panics unless 200.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, "application/json", b"");
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }
    /// Reason codes of `…/why`.
    pub fn why(&self, service: &str) -> Vec<String> {
        let why = self.get(&format!("/api/v1/services/{service}/why"));
        let differences = why["differences"].as_array().cloned().unwrap_or_default();
        differences.iter().filter_map(|d| Some(d["reason"].as_str()?.to_owned())).collect()
    }
    /// Waits until `reason` stands among the differences of a service.
    pub fn wait_for_reason(&self, service: &str, reason: &str, limit: Duration) {
        eventually(limit, &format!("{service} gives the reason {reason}"), || {
            let why = self.why(service);
            if why.iter().any(|r| r == reason) { Ok(()) } else { Err(format!("{why:?}")) }
        });
    }
    /// Waits until all replicas wanted are ready and of the newest revision, and nothing differs.
    pub fn wait_until_settled(&self, service: &str, limit: Duration) {
        eventually(limit, &format!("{service} is settled"), || self.is_settled(service));
    }
    /// Whether they are.
    pub fn is_settled(&self, service: &str) -> Result<(), String> {
        let object = self.get(&format!("/api/v1/services/{service}"));
        let (counts, spec) = (&object["status"]["replicas"], &object["metadata"]["generation"]);
        let number = |v: &Value| v.as_u64().unwrap_or(u64::MAX);
        // What is on its way out runs for a while beside what took its place.
        let ready = object["status"]["conditions"][0]["status"] == "True";
        let settled = ready
            && number(&object["status"]["observedGeneration"]) == number(spec)
            && number(&counts["ready"]) == number(&counts["desired"])
            && number(&counts["running"]) == number(&counts["desired"])
            && number(&counts["updated"]) == number(&counts["desired"]);
        if settled { Ok(()) } else { Err(format!("{} why {:?}", object["status"], self.why(service))) }
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        self.kill();
        // It mounts memory there, where the folder is on a disk.
        let _not_mounted = Command::new("umount").arg("-l").arg(self.path("run/files")).stderr(Stdio::null()).status();
        if std::thread::panicking() {
            eprintln!("---- end of the agent's log\n{}", tail(&self.path("agent.log"), 60));
        }
    }
}

fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A Service in YAML: `spec` lines are indented by two.
pub fn service(name: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|l| format!("  {}\n", l.trim_end())).collect();
    format!("---\napiVersion: constellation.dev/v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n{spec}")
}

/// The page that says who serves it, ready as soon as it answers.
pub const HELLO: &str = "image: constellation/hello:1
readiness: {http: {port: 8080}, interval: 500ms}
stopGracePeriod: 3s
update: {minHealthyTime: 500ms}
";
