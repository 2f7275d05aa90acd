//! Traffic from beside the lab, and images of the server that answers it (`tests/traffic`).

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde_json::Value;

use crate::{
    lab::{Lab, OUTSIDE},
    wait::{always, eventually, secs},
};

/// The server as an image, version 1.
pub const SERVER: &str = "constellation-test/server:1";
/// The same, version 2.
pub const NEXT: &str = "constellation-test/server:2";
/// One that ends at once when it is asked to.
pub const ABRUPT: &str = "constellation-test/server:abrupt";
/// One that says some lines and ends.
pub const BROKEN: &str = "constellation-test/server:broken";

/// The program, built as the tests were.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--offline", "--example", "traffic"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args((!cfg!(debug_assertions)).then_some("--release"));
        assert!(cargo.status().unwrap().success(), "the traffic program cannot be built");
        // target/debug/deps/e2e-0123 -> target/debug/examples/traffic
        let own = std::env::current_exe().unwrap();
        own.parent().and_then(Path::parent).unwrap().join("examples/traffic")
    })
}

/// Puts the images on the engine: the program, the libraries that it loads, and nothing else.
pub fn images(lab: &Lab) {
    let root = tempfile::tempdir().unwrap();
    let put = |from: &Path, to: &Path| {
        let to = root.path().join(to.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, &to).unwrap();
    };
    put(program(), Path::new("/traffic"));
    let libraries = Command::new("ldd").arg(program()).output().unwrap();
    for word in String::from_utf8(libraries.stdout).unwrap().split_whitespace().filter(|w| w.starts_with('/')) {
        put(Path::new(word), Path::new(word));
    }
    let archive = root.path().with_extension("tar");
    let packed = Command::new("tar").arg("-C").arg(root.path()).arg("-cf").arg(&archive).arg(".").status().unwrap();
    assert!(packed.success());
    for (tag, version, command, further) in [
        (SERVER, "1", "", ""),
        (NEXT, "2", "", ""),
        (ABRUPT, "abrupt", r#", "--abrupt""#, ""),
        (BROKEN, "broken", "", "ENV BROKEN=1"),
    ] {
        let (command, version) = (format!(r#"CMD ["/traffic", "serve"{command}]"#), format!("ENV VERSION={version}"));
        let changes = [command.as_str(), version.as_str(), further];
        let changes = changes.iter().filter(|c| !c.is_empty()).flat_map(|change| ["-c", change]);
        let args: Vec<&str> = ["import"].into_iter().chain(changes).chain([archive.to_str().unwrap(), tag]).collect();
        lab.docker.run(&args);
    }
    fs::remove_file(archive).unwrap();
}

/// Clients at work.
pub struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        // Of a test that failed.
        if matches!(self.0.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

impl Load {
    /// `traffic load|echo ARGS` against a port of the lab, from beside it. Its time is bounded by `--seconds`.
    pub fn start(lab: &Lab, kind: &str, port: u16, args: &[&str]) -> Self {
        let mut command = lab.beside("timeout");
        command.arg("1800").arg(program()).args([kind, "--to", &format!("{OUTSIDE}:{port}")]).args(args);
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
    }
    /// Asks for nothing more, waits for what is under way, and tells what they saw.
    pub fn end(self) -> Seen {
        self.stop();
        self.seen()
    }
    fn stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    /// Waits until their time is over.
    pub fn seen(mut self) -> Seen {
        let mut said = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        let status = self.0.wait().unwrap();
        Seen(serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said:?} {status:?}")))
    }
}

/// A machine that is busy with something else makes answers late, and fails none.
const PATIENCE: &str = "60000";

/// The host that [`Clients`] ask for.
pub const HOST: &str = "web.example.com";

/// Every kind of client at once: kept connections, new ones, slow answers, WebSockets.
pub struct Clients(Vec<(&'static str, Load)>);

impl Clients {
    /// Against a port of the lab, for as long as a test may take.
    pub fn start(lab: &Lab, port: u16) -> Self {
        let start = |kind, args: &[&str]| {
            Load::start(
                lab,
                kind,
                port,
                &[&["--host", HOST, "--seconds", "1500", "--timeout-ms", PATIENCE], args].concat(),
            )
        };
        Self(vec![
            ("kept connections", start("load", &["--rate", "200"])),
            ("new connections", start("load", &["--rate", "20", "--fresh"])),
            ("slow answers", start("load", &["--rate", "4", "--path", "/slow?ms=5000"])),
            ("WebSockets", start("echo", &["--sockets", "5", "--every-ms", "200"])),
        ])
    }
    /// Ends them all: what each kind saw.
    pub fn end(self) -> Vec<(&'static str, Seen)> {
        let seen: Vec<_> = self.0.into_iter().map(|(name, load)| (name, load.end())).collect();
        seen.iter().for_each(|(name, seen)| println!("{name}: {}", seen.0));
        seen
    }
    /// Ends them all; none of them missed an answer. What those of the kept connections saw.
    pub fn unharmed(self) -> Seen {
        let mut seen = self.end();
        for (name, seen) in &seen {
            assert_eq!(seen.failed(), 0, "{name}: {seen:?}");
            assert!(seen.answered() > 0, "{name}");
        }
        seen.remove(0).1
    }
}

/// What clients saw.
#[derive(Debug)]
pub struct Seen(pub Value);

impl Seen {
    /// Good answers.
    pub fn answered(&self) -> u64 {
        self.0["answered"].as_u64().unwrap()
    }
    /// All others.
    pub fn failed(&self) -> u64 {
        self.0["failed"].as_u64().unwrap()
    }
    /// Of one kind: `connect`, `reset`, `status`, `timeout`, `shortBody`, `unsent`.
    pub fn failures(&self, kind: &str) -> u64 {
        self.0["failures"][kind].as_u64().unwrap_or_default()
    }
    /// Good answers of one version.
    pub fn of_version(&self, version: &str) -> u64 {
        self.0["versions"][version].as_u64().unwrap_or_default()
    }
    /// `p50`, `p90`, `p99` or `max` of the latencies.
    pub fn latency(&self, which: &str) -> Duration {
        Duration::from_secs_f64(self.0[which].as_f64().unwrap() / 1e3)
    }
}

#[test]
fn clients_beside_the_lab_tell_a_server_that_finishes_from_one_that_does_not() {
    const PORT: u16 = 18_090;
    let lab = Lab::take();
    images(&lab);
    let serve = |image: &str, further: &[&str]| {
        let command = ["/traffic", "serve", "--port", "18090"];
        let id = lab.docker.run(&[&["run", "-d", "--rm", "--network", "host", image], &command[..], further].concat());
        eventually(secs(20), "the server answers", || lab.get(&format!("http://127.0.0.1:{PORT}/")));
        id
    };
    let id = serve(SERVER, &[]);
    let load = Load::start(&lab, "load", PORT, &["--rate", "200", "--seconds", "2"]);
    let words = Load::start(&lab, "echo", PORT, &["--sockets", "5", "--every-ms", "100", "--seconds", "2"]);
    let (seen, words) = (load.seen(), words.seen());
    assert_eq!((seen.answered(), seen.failed(), seen.of_version("1")), (400, 0, 400), "{seen:?}");
    assert_eq!((words.answered(), words.failed()), (100, 0), "{words:?}");
    assert!(seen.latency("p50") < secs(1), "{seen:?}");
    for (image, further, finishes) in [(SERVER, &[] as &[_], true), (ABRUPT, &["--abrupt"], false)] {
        let id = if image == SERVER { id.clone() } else { serve(image, further) };
        let slow = Load::start(&lab, "load", PORT, &["--rate", "20", "--seconds", "1", "--path", "/slow?ms=3000"]);
        // Then all are under way.
        always(Duration::from_millis(1_500), "it serves", || lab.get(&format!("http://127.0.0.1:{PORT}/")).map(|_| ()));
        lab.docker.run(&["stop", &id]);
        let seen = slow.end();
        let (answered, reset) = if finishes { (20, 0) } else { (0, 20) };
        assert_eq!((seen.answered(), seen.failures("reset")), (answered, reset), "{image}: {seen:?}");
    }
    lab.docker.run(&["run", "-d", "--name", "ends", "--network", "host", BROKEN]);
    eventually(secs(20), "it says why it cannot start", || {
        let said = lab.docker.run(&["logs", "ends"]);
        if said.ends_with("reason 12") { Ok(()) } else { Err(said) }
    });
    assert_eq!(lab.docker.run(&["inspect", "--format", "{{json .Config.Env}}", NEXT]), r#"["VERSION=2"]"#);
}
