//! An engine's socket that misbehaves when asked: what stands between an agent and the engine of the tests.
//!
//! Here: [`Proxy`], which hands each request on and its answer back, and [`Fault`], which says what is done to
//! which request instead. Not here: what shall follow (`faults`).
//! One connection carries one request: the engine is asked to close after its answer, so that where an answer
//! ends need not be known. An upgraded one (exec) is copied both ways until either side ends.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What is done to a request instead of handing it on and its answer back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The connection ends before the engine hears of it.
    CutBefore,
    /// The engine does it, and the answer is lost.
    CutAfter,
    /// Half of the first piece of the answer comes, then the connection ends.
    CutWithin,
    /// It is taken, and neither handed on nor answered for so long; then the connection ends.
    Freeze(Duration),
    /// It is handed on so much later.
    Delay(Duration),
    /// The engine hears nothing of it and seems to answer with this status and message.
    Answer(u16, &'static str),
    /// The answer begins, and after so many bytes nothing more comes.
    Silence(usize),
}

/// What is done to which requests.
#[derive(Debug, Clone)]
pub struct Fault {
    /// `GET`, …
    pub method: &'static str,
    /// Path without version and query; each `*` stands for one or more characters.
    pub path: &'static str,
    /// What is done.
    pub what: What,
    /// So many of these requests pass first.
    pub after: usize,
    /// To so many of them it is done.
    pub times: usize,
}

impl Fault {
    /// Done to the next such request.
    pub const fn once(method: &'static str, path: &'static str, what: What) -> Self {
        Self { method, path, what, after: 0, times: 1 }
    }
    /// Done to every such request.
    pub const fn always(method: &'static str, path: &'static str, what: What) -> Self {
        Self { method, path, what, after: 0, times: usize::MAX }
    }
}

#[derive(Default)]
struct Inner {
    faults: Mutex<Vec<(Fault, usize)>>,
    /// Every request: when, method and path.
    seen: Mutex<Vec<String>>,
    hits: Mutex<usize>,
    stop: AtomicBool,
}

/// The socket in front of an engine. Its threads end with it.
pub struct Proxy {
    at: PathBuf,
    inner: Arc<Inner>,
    listener: UnixListener,
    listening: Option<JoinHandle<()>>,
}

impl Proxy {
    /// In front of `engine`, at a path of its own.
    pub fn before(engine: &Path, at: PathBuf) -> Self {
        let listener = UnixListener::bind(&at).unwrap();
        let kept = listener.try_clone().unwrap();
        let (inner, engine) = (Arc::new(Inner::default()), engine.to_owned());
        let shared = inner.clone();
        let listening = std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), shared, engine) = (client, shared.clone(), engine.clone()) else { return };
                // A connection that breaks is what is asked for, or the other side's matter.
                std::thread::spawn(move || serve(client, &engine, &shared));
            }
        });
        Self { at, inner, listener: kept, listening: Some(listening) }
    }
    /// As `--docker-host` takes it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.at.display())
    }
    /// Adds a fault.
    pub fn plan(&self, fault: Fault) {
        lock(&self.inner.faults).push((fault, 0));
    }
    /// From here on every request is handed on; those that are held end.
    pub fn clear(&self) {
        lock(&self.inner.faults).clear();
    }
    /// How often something was done to a request since the last call.
    pub fn hits(&self) -> usize {
        std::mem::take(&mut lock(&self.inner.hits))
    }
    /// `METHOD path` of every request since the last call.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.inner.seen))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.clear();
        self.inner.stop.store(true, Ordering::Relaxed);
        // Wakes the thread; its path may be gone already.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        let _ = std::fs::remove_file(&self.at);
    }
}

impl Inner {
    /// What is to be done to a request.
    fn fault(&self, method: &str, path: &str) -> Option<What> {
        let mut faults = lock(&self.faults);
        let fits = |f: &Fault| f.method == method && matches(f.path, path);
        let (fault, met) = faults.iter_mut().find(|(f, met)| fits(f) && *met < f.after.saturating_add(f.times))?;
        *met += 1;
        if *met <= fault.after {
            return None;
        }
        *lock(&self.hits) += 1;
        Some(fault.what)
    }
    /// Waits for so long, or until no fault is planned any more.
    fn hold(&self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time && !lock(&self.faults).is_empty() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// One request.
struct Request {
    head: String,
    /// What came of its body with the head.
    body: Vec<u8>,
}

impl Request {
    fn read(client: &mut UnixStream) -> Option<Self> {
        let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
        loop {
            let n = client.read(&mut piece).ok().filter(|n| *n > 0)?;
            bytes.extend_from_slice(&piece[..n]);
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                let body = bytes.split_off(end + 4);
                return Some(Self { head: String::from_utf8(bytes).ok()?, body });
            }
        }
    }
    fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }
    /// Without version and query.
    fn path(&self) -> &str {
        let path = self.head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
        match path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
            Some((version, _)) if version.starts_with(|c: char| c.is_ascii_digit()) => &path[version.len() + 2..],
            _ => path,
        }
    }
    fn upgrades(&self) -> bool {
        self.head.to_ascii_lowercase().contains("\r\nupgrade:")
    }
    /// The head, with the wish that the engine closes after its answer.
    fn closing(&self) -> String {
        if self.upgrades() {
            return self.head.clone();
        }
        let kept = self.head.trim_end().split("\r\n").filter(|l| !l.to_ascii_lowercase().starts_with("connection:"));
        kept.collect::<Vec<_>>().join("\r\n") + "\r\nConnection: close\r\n\r\n"
    }
}

fn serve(mut client: UnixStream, engine: &Path, inner: &Inner) {
    let Some(request) = Request::read(&mut client) else { return };
    lock(&inner.seen).push(format!("{} {}", request.method(), request.path()));
    let what = inner.fault(request.method(), request.path());
    match what {
        Some(What::CutBefore) => return,
        Some(What::Freeze(time)) => return inner.hold(time),
        Some(What::Delay(time)) => inner.hold(time),
        Some(What::Answer(status, message)) => {
            let body = format!("{{\"message\":\"{message}\"}}");
            let head = format!("HTTP/1.1 {status} Fault\r\nContent-Type: application/json\r\nConnection: close\r\n");
            let _ = write!(client, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
            let _ = client.shutdown(Shutdown::Write);
            // Until the other side ends: what is unread would take the answer away.
            let _ = std::io::copy(&mut client, &mut std::io::sink());
            return;
        }
        Some(What::CutAfter | What::CutWithin | What::Silence(_)) | None => {}
    }
    let Ok(mut upstream) = UnixStream::connect(engine) else { return };
    if upstream.write_all(request.closing().as_bytes()).and_then(|()| upstream.write_all(&request.body)).is_err() {
        return;
    }
    let (Ok(mut from), Ok(mut to)) = (client.try_clone(), upstream.try_clone()) else { return };
    // The rest of its body, or what an upgraded connection is written; its end is the end of the request.
    let sending = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
        // A client that went away wants no answer: an endless one would be held open for nobody.
        let _ = to.shutdown(Shutdown::Read);
    });
    match what {
        Some(What::CutAfter) => {
            // Its head is there when the engine has done it.
            let _ = upstream.read(&mut [0; 1024]);
        }
        Some(What::CutWithin) => {
            let mut answer = [0; 16 * 1024];
            let n = upstream.read(&mut answer).unwrap_or(0);
            let _ = client.write_all(&answer[..n / 2]);
        }
        Some(What::Silence(bytes)) => {
            let mut begun = vec![0; bytes];
            let n = upstream.read(&mut begun).unwrap_or(0);
            let _ = client.write_all(&begun[..n]);
            inner.hold(Duration::from_secs(3_600));
        }
        Some(_) | None => {
            let _ = std::io::copy(&mut upstream, &mut client);
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = upstream.shutdown(Shutdown::Both);
    let _ = sending.join();
}

/// Whether a path fits a pattern.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(i, c)| i + c.len_utf8());
            ends.into_iter().any(|end| matches(after, &rest[end..]))
        }),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_pattern_is_met_by_whole_paths() {
    for (pattern, path, fits) in [
        ("/containers/json", "/containers/json", true),
        ("/containers/*/json", "/containers/json", false),
        ("/containers/*/json", "/containers/a/json", true),
        ("/images/*/json", "/images/a/b:1/json", true),
        ("/containers/*", "/containers/a", true),
        ("/networks/*", "/networks/", false),
    ] {
        assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
    }
    let head = "POST /v1.41/containers/create?name=a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n";
    let request = Request { head: head.into(), body: Vec::new() };
    assert_eq!((request.method(), request.path()), ("POST", "/containers/create"));
    assert!(request.closing().ends_with("Host: x\r\nConnection: close\r\n\r\n"), "{}", request.closing());
}
