//! What the outside could send, made of what it does send: seeded changes of real texts, for the tests of parsers.
//!
//! Here: [`Mutations`] (the cases), [`survives`] (a parser meets them, under a bound of time and memory), [`plain`]
//! (an error steers no terminal). Not here: what each parser has to answer; that stands in its room's `mutated`.
//! `PARSER_SEED` repeats the cases of a run, with `PARSER_CASE` the one that failed; both are printed by a test
//! that fails. `CONSTELLATION_TEST_LONG` does fifty times as many, with other cases each time.
//!
//! | What comes from outside | Who reads it | Which tests meet it |
//! |---|---|---|
//! | manifests, YAML and JSON, of clients and requests | `manifest::parse` | `manifest::tests::{mutated, properties, broken, limits}` |
//! | short forms: ports, mounts, health checks, restarts, quantities, within them | `manifest::{forms, check, shape, scalar}` | the same, `manifest::tests::{forms, fields}` |
//! | `${VAR}` and what stands in them | `manifest::interpolate` | `manifest::tests::{mutated, properties}` |
//! | an agent's configuration file, variables, flags | `config::{file, tree, load, check}` | `config::{mutated, tests, tree::tests}` |
//! | sizes, CPU, durations, epochs, names of objects, constraints, tokens | `model::{quantity, meta, constraint, token}` | `model::mutated` and the tests of each |
//! | references of images | `model::reference` | `model::mutated`, `model::reference::tests` |
//! | rules and conditions of Traefik, hosts, paths, expressions, URLs | `model::{rule, route}` | `model::mutated`, `model::rule::tests`, `plan::routes::tests::properties` |
//! | users and certificates in Secrets | `plan::routes::auth`, `model::secret::content` | the tests of each |
//! | bodies of requests | `api::documents`, `api::request` | `api::tests::{mutated, bodies}` |
//! | paths, queries, headers (`Authorization`, `Idempotency-Key`, `If-Match`), cursors | `api::{accept, dispatch, request, auth, select, watch}` | `api::tests::{mutated, paths, limits, slow}` |
//! | selectors of labels | `api::select` | `api::tests::mutated` |
//! | frames of WebSockets | `api::socket` | `api::tests::{mutated, sockets}` |
//! | the engine's answers: JSON, streams of events, frames of logs | `runtime::docker` | `runtime::docker::mutated`, `runtime::conformance` |
//! | the engine's errors, names, signals | `runtime::{docker::error, names}` | `runtime::docker::mutated` and the tests of each |
//! | moments at the head of a line of a log | `api::logs::follow`, `reconcile::agent::tail` | `api::logs::follow::tests`, `reconcile::agent::tail::tests` |
//! | what a probed program answers | `reconcile::prober::http` | `reconcile::prober::http::mutated` |
//! | build contexts: `.dockerignore`, the tar | `cli::{dockerignore, context}`; the tar is the engine's to read | `cli::mutated`, `cli::context::tests` |
//! | an API's answers, also of another version or of no API at all | `cli::transport` | `cli::mutated`, `cli::transport::tests` |
//! | names, addresses, saved plans | `cli::{names, endpoint, command::plan}` | `cli::mutated` |
//! | texts that are shown | `cli::text` | `cli::text::tests`, `cli::mutated` |
//! | the store's files: records, votes, notes, snapshots with the audit, `member.json`, `quarantine.json` | `store` | `store::mutated`, `store::record::tests`, `tests/store_damage.rs`, `store::cutting` |
//! | sealed secrets and the keys' file | `store::seal` | `store::mutated`, `store::seal::tests` |
//! | `node.json` | `agent::identity` | `agent::identity::tests` |
//! | the kernel's list of connections | `edge::inflight` | `edge::inflight::tests` |
//! | the machine's tables, the engine's version and file | `doctor` | `doctor::mutated` |

mod answering;

use std::{
    cell::Cell,
    env,
    fmt::Write as _,
    io::Write as _,
    panic,
    sync::{
        Once,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use rustix::time::{ClockId, clock_gettime};

pub use self::answering::{Answering, answer, endless};
use crate::allocator::held;

/// No case needs so much time of the processor: what is beyond grows with more than its length.
const TIME: Duration = Duration::from_secs(2);
/// Nor so much memory, beside so many times its own length.
const MEMORY: usize = 64 << 20;
const MEMORY_OF_LENGTH: usize = 1_000;
/// A case of which nothing was heard for so long, however busy the machine is, does not end.
const HANGS: Duration = Duration::from_secs(120);
/// Between two looks at a case that goes on.
const LOOK: Duration = Duration::from_millis(50);
/// Growth of the whole process during one case, bytes: it will not end by itself.
const EXPLODES: u64 = 1 << 30;
/// Largest case, bytes.
const MOST_BYTES: usize = 96 << 10;

/// Texts that mean something to one parser or another.
const WORDS: [&str; 58] = [
    "\0",
    "\u{1b}[2J",
    "\u{7f}",
    "\u{9b}",
    "\r",
    "\r\n",
    "\n",
    "\t",
    " ",
    "\u{202e}",
    "\u{feff}",
    "\u{2028}",
    "\u{85}",
    "é",
    "\u{1f600}",
    "\"",
    "'",
    "\\",
    "\\u0000",
    "\"\\u001b[2J\"",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    ": ",
    "- ",
    "? ",
    "&a ",
    "*a",
    "<<: *a\n",
    "!!binary ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "#",
    "|\n",
    ">-\n",
    "${A}",
    "${A:-",
    "$$",
    "null",
    "true",
    "~",
    "-1",
    "+1",
    "0",
    "1e999",
    "NaN",
    "0x",
    "%",
    "%00",
    "..",
    "/",
    "@",
    "=",
];
/// Numbers at the edges of their types.
const NUMBERS: [&str; 16] = [
    "0",
    "-1",
    "255",
    "256",
    "65535",
    "65536",
    "4294967296",
    "1000000000000000000",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "1e308",
    "0.0000000000000000000001",
];

/// Changed texts of a corpus. When the test that takes them fails, the last one is printed.
pub struct Mutations {
    name: &'static str,
    corpus: Vec<Vec<u8>>,
    seed: u64,
    only: Option<u64>,
    next: u64,
    most: u64,
    last: Vec<u8>,
    /// Panics of this thread before the first case.
    before: Option<u64>,
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the panics of each thread from now on: that of a task is swallowed by its runtime, which in these tests runs
/// on the thread of the test.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            usual(panic);
        }));
    });
}

impl Mutations {
    /// `most`: how many cases; fifty times as many in a long run. The corpus itself comes first.
    pub fn of<T: AsRef<[u8]>>(name: &'static str, corpus: impl IntoIterator<Item = T>, most: u64) -> Self {
        count_panics();
        let corpus: Vec<Vec<u8>> = corpus.into_iter().map(|text| text.as_ref().to_vec()).collect();
        assert!(!corpus.is_empty(), "{name}: there is nothing to change");
        let number = |name: &str| env::var(name).ok().map(|text| text.parse().unwrap());
        let long = env::var_os("CONSTELLATION_TEST_LONG").is_some();
        let times = if long { 50 } else { 1 };
        // The long run looks for more; a short one that fails fails again.
        let drawn = || if long { rand::random() } else { 1 };
        let (seed, only) = (number("PARSER_SEED").unwrap_or_else(drawn), number("PARSER_CASE"));
        let most = corpus.len() as u64 + most * times;
        Self { name, corpus, seed, only, next: only.unwrap_or(0), most, last: Vec::new(), before: None }
    }

    fn case(&self, number: u64) -> Vec<u8> {
        if let Some(own) = usize::try_from(number).ok().and_then(|n| self.corpus.get(n)) {
            return own.clone();
        }
        // Each has its own, so that it can be had without those before it.
        let mut rng = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut text = self.corpus.choose(&mut rng).cloned().unwrap_or_default();
        // Often one alone: what is right around it leads the parser to it.
        for _ in 0..*[1, 1, 1, 2, 3, 5].choose(&mut rng).unwrap_or(&1) {
            change(&mut text, &self.corpus, &mut rng);
            text.truncate(MOST_BYTES);
        }
        text
    }
}

impl Iterator for Mutations {
    type Item = Vec<u8>;
    fn next(&mut self) -> Option<Vec<u8>> {
        let panics = PANICS.get();
        assert_eq!(*self.before.get_or_insert(panics), panics, "{}: a task panicked", self.name);
        if self.next >= self.most || self.only.is_some_and(|only| only != self.next) {
            return None;
        }
        self.last = self.case(self.next);
        self.next += 1;
        Some(self.last.clone())
    }
}

impl Drop for Mutations {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", told(self.name, self.seed, self.next.saturating_sub(1), &self.last));
        }
    }
}

/// How to have a case again.
fn told(name: &str, seed: u64, number: u64, text: &[u8]) -> String {
    let shown = text.get(..2_000).unwrap_or(text).escape_ascii();
    format!("{name}: PARSER_SEED={seed} PARSER_CASE={number}, {} bytes:\n{shown}", text.len())
}

/// One change.
fn change(text: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut StdRng) {
    let at = rng.random_range(0..=text.len());
    let end = (at + rng.random_range(1..=16)).min(text.len());
    let word = |rng: &mut StdRng| WORDS.choose(rng).map(|word| word.as_bytes().to_vec()).unwrap_or_default();
    match rng.random_range(0..100) {
        0..12 if at < text.len() => text[at] ^= 1 << rng.random_range(0..8),
        12..18 if at < text.len() => text[at] = rng.random(),
        18..28 => drop(text.drain(at..end)),
        28..40 => drop(text.splice(at..at, word(rng))),
        40..48 => drop(text.splice(at..end, word(rng))),
        48..52 => {
            let piece = text[at..end].to_vec();
            text.splice(at..at, piece);
        }
        52..56 => text.truncate(at),
        56..62 => {
            // The head of this one and the tail of another, which may be itself.
            let other = corpus.choose(rng).cloned().unwrap_or_default();
            text.truncate(at);
            text.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
        }
        62..80 => number(text, rng),
        80..88 => line(text, at, rng),
        88..92 => nest(text, at, rng),
        92..94 => bomb(text, at, rng),
        94..95 => {
            // Long, as what takes the square of its length needs to be seen.
            let piece = if at < end { text[at..end].to_vec() } else { word(rng) };
            let times = (MOST_BYTES / 2) / piece.len().max(1);
            text.splice(at..at, piece.repeat(rng.random_range(1..=times.max(1))));
        }
        _ => {
            let random: Vec<u8> = (0..rng.random_range(1..8)).map(|_| rng.random()).collect();
            text.splice(at..at, random);
        }
    }
}

/// Another number in the place of one, each as likely.
fn number(text: &mut Vec<u8>, rng: &mut StdRng) {
    let digit = |n: usize| text.get(n).is_some_and(u8::is_ascii_digit);
    let all: Vec<usize> = (0..text.len()).filter(|n| digit(*n) && !n.checked_sub(1).is_some_and(digit)).collect();
    let Some(from) = all.choose(rng).copied() else { return };
    let to = text.iter().skip(from).position(|b| !b.is_ascii_digit()).map_or(text.len(), |n| from + n);
    let other = NUMBERS.choose(rng).map(|n| n.bytes()).into_iter().flatten();
    text.splice(from..to, other);
}

/// A line twice, in another place, or not at all: keys that repeat or are missing.
fn line(text: &mut Vec<u8>, at: usize, rng: &mut StdRng) {
    let from = text[..at].iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    let to = text[at..].iter().position(|b| *b == b'\n').map_or(text.len(), |n| at + n + 1);
    let mut taken = text[from..to].to_vec();
    match rng.random_range(0..3) {
        0 => drop(text.drain(from..to)),
        1 => drop(text.splice(from..from, taken)),
        _ => {
            text.drain(from..to);
            let lines: Vec<usize> = text.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(n, _)| n + 1).collect();
            let place = lines.choose(rng).copied().unwrap_or(0);
            if !taken.ends_with(b"\n") {
                taken.push(b'\n');
            }
            text.splice(place..place, taken);
        }
    }
}

/// Much deeper than anything means.
fn nest(text: &mut Vec<u8>, at: usize, rng: &mut StdRng) {
    let times = *[20, 60, 200, 5_000].choose(rng).unwrap_or(&20);
    let (open, close) = *[("[", "]"), ("{\"a\":", "}"), ("- ", ""), ("? ", ""), ("${A:-", "}"), ("(", ")"), ("a/", "")]
        .choose(rng)
        .unwrap_or(&("[", "]"));
    let inner = if rng.random() { close.repeat(times) } else { String::new() };
    text.splice(at..at, format!("{}1{inner}", open.repeat(times)).into_bytes());
}

/// Aliases of aliases, and merges of merges: a small text that means a large one.
fn bomb(text: &mut Vec<u8>, at: usize, rng: &mut StdRng) {
    let mut bomb = String::from("\na0: &a0 {x: [lol, lol, lol]}\n");
    let merges = rng.random();
    for level in 1..=rng.random_range(3..20) {
        let below = format!("*a{}", level - 1);
        // Writing to a String does not fail.
        let _ = if merges {
            writeln!(bomb, "a{level}: &a{level} {{<<: [{below}, {below}], y{level}: {below}}}")
        } else {
            writeln!(bomb, "a{level}: &a{level} [{below}, {below}, {below}, {below}, {below}, {below}, {below}]")
        };
    }
    text.splice(at..at, bomb.into_bytes());
}

/// Time of the processor that this thread took.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Memory of this process, bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

/// A parser meets every case: it ends, within a bound of time and memory that only a bomb or a square reaches.
pub fn survives(mut cases: Mutations, mut meet: impl FnMut(&[u8]) + Send + 'static) {
    let (name, seed) = (cases.name, cases.seed);
    let (tell, heard) = mpsc::channel();
    let meeting = thread::spawn(move || {
        while let Some(text) = cases.next() {
            // Whoever listens has panicked otherwise.
            let _ = tell.send((cases.next - 1, text.clone()));
            let (began, then) = (spent(), held::begin());
            meet(&text);
            let (took, most) = (spent() - began, held::most_since(then));
            assert!(took < TIME, "{name}: it took {took:?}");
            let bound = MEMORY + MEMORY_OF_LENGTH * text.len();
            assert!(most < bound, "{name}: it held {most} bytes, more than {bound}");
        }
    });
    let (mut last, mut since, mut before) = ((0, Vec::new()), Instant::now(), resident());
    loop {
        match heard.recv_timeout(LOOK) {
            Ok(now) => (last, since, before) = (now, Instant::now(), resident()),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let told = || told(name, seed, last.0, &last.1);
                assert!(since.elapsed() < HANGS, "it does not end; {}", told());
                // Nobody can stop that thread: the machine is worth more than the other tests.
                if resident() > before + EXPLODES {
                    // Not `eprintln`: what that says is kept for the end of the test, which does not come.
                    let _ = writeln!(std::io::stderr(), "it takes all the memory; {}", told());
                    std::process::abort();
                }
            }
        }
    }
    if let Err(cause) = meeting.join() {
        panic::resume_unwind(cause);
    }
}

/// The same for a parser of text: what is no UTF-8 is made so.
pub fn survives_text(cases: Mutations, mut meet: impl FnMut(&str) + Send + 'static) {
    survives(cases, move |bytes| meet(&String::from_utf8_lossy(bytes)));
}

/// An error is one line, says something, and has nothing in it that could steer a terminal.
#[track_caller]
pub fn plain(error: &str) {
    assert!(!error.trim().is_empty(), "an error that says nothing");
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!error.contains(steers), "an error steers: {error:?}");
}

/// Texts of the files below a folder of this repository.
pub fn files(folder: &str, endings: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e)) {
                found.push(path);
            }
        }
    }
    // In one order everywhere: a seed then means the same.
    found.sort();
    found.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn a_seed_has_its_cases_and_each_can_be_had_alone() {
    let cases = |seed| {
        let mut cases = Mutations::of("numbers", ["a: 1\nb: [2, 3]\n", "{\"a\": 1}"], 200);
        (cases.seed, cases.only, cases.next, cases.most) = (seed, None, 0, 202);
        cases
    };
    let all: Vec<_> = cases(7).collect();
    assert_eq!(all, cases(7).collect::<Vec<_>>());
    assert_ne!(all, cases(8).collect::<Vec<_>>());
    assert_eq!(all[0], b"a: 1\nb: [2, 3]\n", "the corpus comes first");
    let mut alone = cases(7);
    (alone.only, alone.next) = (Some(90), 90);
    assert_eq!(alone.collect::<Vec<_>>(), [all[90].clone()]);
    let unlike: std::collections::BTreeSet<_> = all.iter().collect();
    assert!(unlike.len() > 150, "{} of 202 are changed", unlike.len());
}

#[test]
fn what_takes_too_long_or_too_much_is_caught() {
    let caught = |meet: fn(&[u8])| {
        let met = thread::spawn(move || survives(Mutations::of("bad", ["1"], 0), meet)).join();
        met.unwrap_err().downcast_ref::<String>().cloned().unwrap_or_default()
    };
    let slow = caught(|_| {
        let began = spent();
        while spent() - began < TIME {}
    });
    assert!(slow.contains("it took"), "{slow}");
    // That of a task is nobody's result.
    let task = thread::spawn(|| {
        let mut cases = Mutations::of("tasks", ["1", "2"], 0);
        let _ = (cases.next(), panic::catch_unwind(|| panic!("in a task")), cases.next());
    });
    assert!(task.join().unwrap_err().downcast_ref::<String>().unwrap().contains("a task panicked"));
    let large = caught(|_| drop(std::hint::black_box(vec![0_u8; MEMORY + (1 << 20)])));
    assert!(large.contains("it held"), "{large}");
}
