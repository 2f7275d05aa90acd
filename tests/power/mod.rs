//! What a disk may hold after a loss of power, from a trace of what a process did.
//!
//! Here: [`layer`] builds the library that writes the trace (`layer.c` says how), [`Trace`] reads it, [`Disk`]
//! follows it and builds an image for any moment. Not here: what has to be in it (`store_power`).
//! The model, no kinder than any file system of ours:
//! - Data of a file is durable once an fsync or fdatasync of that file, begun after the write, has ended.
//! - A name is durable only by an fsync of its folder. ext4 makes a new file's name durable with the file's own
//!   fsync; that is not relied upon.
//! - Of the rest any part may be there: of a file each sector, alone, as any write left it, and any length
//!   that it had (what was not written there reads as zeros); of a folder any of the creations, renames and
//!   removals.

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::OnceLock,
};

use rand::{Rng as _, rngs::StdRng};

/// Path of the library; builds it if this process did not yet.
pub fn layer() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power/layer.c");
        let built = env::current_exe().unwrap().with_file_name("power-layer.so");
        // Under another name first: two runs may build it at once.
        let fresh = built.with_extension(process::id().to_string());
        let cc = env::var("CC").unwrap_or_else(|_| "cc".into());
        let mut build = Command::new(&cc);
        build.args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(&fresh).arg(source);
        assert!(build.status().unwrap_or_else(|e| panic!("{cc}: {e}")).success(), "{cc} cannot build the layer");
        fs::rename(&fresh, &built).unwrap();
        built
    })
}

/// One record of the trace.
#[derive(Debug)]
pub enum Event {
    /// A file was opened, and made if it was not there.
    Open {
        path: String,
        inode: u64,
        empty: bool,
    },
    MakeFolder {
        path: String,
        inode: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    Write {
        inode: u64,
        at: usize,
        data: Vec<u8>,
    },
    Cut {
        inode: u64,
        length: usize,
    },
    SyncBegins {
        number: u64,
        inode: u64,
        data_only: bool,
    },
    SyncEnds {
        number: u64,
    },
    /// On standard output.
    Said(Vec<u8>),
}

impl Event {
    /// Whether what is durable, or how a file is called, changes here.
    pub fn is_a_turn(&self) -> bool {
        match self {
            Self::SyncBegins { .. } | Self::SyncEnds { .. } | Self::Rename { .. } | Self::Remove { .. } => true,
            Self::Open { .. } | Self::MakeFolder { .. } => true,
            Self::Write { .. } | Self::Cut { .. } | Self::Said(_) => false,
        }
    }
}

/// Reads a trace. A record that the end of the process cut off was not made.
pub fn read(trace: &Path) -> Vec<Event> {
    let bytes = fs::read(trace).unwrap();
    let (mut rest, mut events) = (&bytes[..], Vec::new());
    while let Some((head, body)) = rest.split_at_checked(32) {
        let short = |at: usize| usize::from(u16::from_ne_bytes(head[at..at + 2].try_into().unwrap()));
        let long = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().unwrap());
        let (inode, number) = (long(8), long(16));
        let lengths = [short(2), short(4), usize::try_from(long(24)).unwrap()];
        let Some((body, after)) = body.split_at_checked(lengths.iter().sum()) else { break };
        rest = after;
        let (path, body) = body.split_at(lengths[0]);
        let (other, data) = body.split_at(lengths[1]);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (path, to, whole) = (text(path), text(other), usize::try_from(number).unwrap());
        events.push(match head[0] {
            b'o' => Event::Open { path, inode, empty: head[1] != 0 },
            b'm' => Event::MakeFolder { path, inode },
            b'r' => Event::Rename { from: path, to },
            b'u' => Event::Remove { path },
            b'w' => Event::Write { inode, at: whole, data: data.to_vec() },
            b't' => Event::Cut { inode, length: whole },
            b's' => Event::SyncBegins { number, inode, data_only: head[1] != 0 },
            b'S' => Event::SyncEnds { number },
            b'p' => Event::Said(data.to_vec()),
            other => panic!("the trace has a record of kind {other}"),
        });
    }
    events
}

/// What of the syncs a disk ignores: a test has to notice each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // Each test asks for what it can notice.
pub enum Ignores {
    Nothing,
    /// Of files of this name.
    Fdatasync(&'static str),
    FsyncOfFiles,
    FsyncOfFolders,
}

/// How much of what was not synced is in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    None,
    All,
    Some,
}

impl Unsynced {
    /// In turn, for a test: the extremes, and as many in between.
    pub const ALL: [Self; 4] = [Self::None, Self::All, Self::Some, Self::Some];
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Debug, Clone)]
enum Naming {
    Put(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

#[derive(Debug)]
enum Node {
    File { durable: Vec<u8>, pending: Vec<Change> },
    Folder { durable: BTreeMap<String, usize>, now: BTreeMap<String, usize>, pending: Vec<Naming> },
}

/// A folder as its process sees it, and what of it is durable.
#[derive(Debug)]
pub struct Disk {
    ignores: Ignores,
    /// The first is the root. With each the number of changes that became durable.
    nodes: Vec<(Node, usize)>,
    /// What each was called first.
    called: Vec<String>,
    /// A number of the file system is used again; the newest node has it.
    by_inode: HashMap<u64, usize>,
    /// Node and number of changes that a sync covers.
    syncs: HashMap<u64, (usize, usize)>,
}

impl Disk {
    /// A folder that is durable as it is.
    pub fn of(folder: &Path, ignores: Ignores) -> Self {
        let mut disk =
            Self { ignores, nodes: Vec::new(), called: Vec::new(), by_inode: HashMap::new(), syncs: HashMap::new() };
        disk.load(folder);
        disk
    }

    fn add(&mut self, inode: u64, name: &str, node: Node) -> usize {
        self.nodes.push((node, 0));
        self.called.push(name.into());
        self.by_inode.insert(inode, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn load(&mut self, path: &Path) -> usize {
        let inode = fs::metadata(path).unwrap().ino();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_file() {
            return self.add(inode, name, Node::File { durable: fs::read(path).unwrap(), pending: Vec::new() });
        }
        let empty = Node::Folder { durable: BTreeMap::new(), now: BTreeMap::new(), pending: Vec::new() };
        let this = self.add(inode, name, empty);
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let child = self.load(&entry.path());
            if let Node::Folder { durable, now, .. } = &mut self.nodes[this].0 {
                let name = entry.file_name().into_string().unwrap();
                durable.insert(name.clone(), child);
                now.insert(name, child);
            }
        }
        this
    }

    /// The folder that a path is in, and its name there.
    fn parent<'p>(&self, path: &'p str) -> (usize, &'p str) {
        let (folders, name) = path.rsplit_once('/').unwrap();
        let step = |at: usize, name: &str| match &self.nodes[at].0 {
            Node::Folder { now, .. } => now[name],
            Node::File { .. } => panic!("{path} goes through a file"),
        };
        (folders.split('/').filter(|f| !f.is_empty()).fold(0, step), name)
    }

    fn name(&mut self, folder: usize, naming: Naming) {
        let Node::Folder { now, pending, .. } = &mut self.nodes[folder].0 else { panic!("a name in a file") };
        apply(now, &naming);
        pending.push(naming);
    }

    fn change(&mut self, inode: u64, change: Change) {
        let at = self.by_inode[&inode];
        let Node::File { pending, .. } = &mut self.nodes[at].0 else { panic!("a write to a folder") };
        pending.push(change);
    }

    /// Goes one record on.
    pub fn follow(&mut self, event: &Event) {
        match event {
            Event::Open { path, inode, empty } => {
                let (folder, name) = self.parent(path);
                let Node::Folder { now, .. } = &self.nodes[folder].0 else { panic!("{path} is in a file") };
                if !now.contains_key(name) {
                    let file = self.add(*inode, name, Node::File { durable: Vec::new(), pending: Vec::new() });
                    self.name(folder, Naming::Put(name.into(), file));
                } else if *empty {
                    self.change(*inode, Change::Cut(0));
                }
            }
            Event::MakeFolder { path, inode } => {
                let (folder, name) = self.parent(path);
                let empty = Node::Folder { durable: BTreeMap::new(), now: BTreeMap::new(), pending: Vec::new() };
                let made = self.add(*inode, name, empty);
                self.name(folder, Naming::Put(name.into(), made));
            }
            Event::Rename { from, to } => {
                let ((folder, from), (other, to)) = (self.parent(from), self.parent(to));
                assert_eq!(folder, other, "a rename from folder to folder is not modelled");
                let Node::Folder { now, .. } = &self.nodes[folder].0 else { panic!("{from} is in a file") };
                let node = now[from];
                self.name(folder, Naming::Rename(from.into(), to.into(), node));
            }
            Event::Remove { path } => {
                let (folder, name) = self.parent(path);
                self.name(folder, Naming::Remove(name.into()));
            }
            Event::Write { inode, at, data } => self.change(*inode, Change::Write(*at, data.clone())),
            Event::Cut { inode, length } => self.change(*inode, Change::Cut(*length)),
            Event::SyncBegins { number, inode, data_only } => {
                let at = self.by_inode[inode];
                let (node, done) = &self.nodes[at];
                let (waiting, folder) = match node {
                    Node::File { pending, .. } => (pending.len(), false),
                    Node::Folder { pending, .. } => (pending.len(), true),
                };
                let ignored = match self.ignores {
                    Ignores::Nothing => false,
                    Ignores::Fdatasync(name) => *data_only && self.called[at] == name,
                    Ignores::FsyncOfFiles => !data_only && !folder,
                    Ignores::FsyncOfFolders => folder,
                };
                if !ignored {
                    self.syncs.insert(*number, (at, done + waiting));
                }
            }
            Event::SyncEnds { number } => {
                let Some((at, upto)) = self.syncs.remove(number) else { return };
                let (node, done) = &mut self.nodes[at];
                let fresh = upto.saturating_sub(*done);
                *done += fresh;
                match node {
                    Node::File { durable, pending } => pending.drain(..fresh).for_each(|c| change(durable, &c)),
                    Node::Folder { durable, pending, .. } => pending.drain(..fresh).for_each(|n| apply(durable, &n)),
                }
            }
            Event::Said(_) => {}
        }
    }

    /// Writes what may be left to an empty folder.
    pub fn image(&self, unsynced: Unsynced, random: &mut StdRng, to: &Path) {
        self.write(0, unsynced, random, to);
    }

    fn write(&self, at: usize, unsynced: Unsynced, random: &mut StdRng, to: &Path) {
        match &self.nodes[at].0 {
            Node::File { durable, pending } => fs::write(to, left(durable, pending, unsynced, random)).unwrap(),
            Node::Folder { durable, pending, .. } => {
                fs::create_dir_all(to).unwrap();
                let mut names = durable.clone();
                let likely = *choose(random, &[0.1, 0.5, 0.9]);
                for naming in pending {
                    let there = match unsynced {
                        Unsynced::None => false,
                        Unsynced::All => true,
                        Unsynced::Some => random.random_bool(likely),
                    };
                    if there {
                        apply(&mut names, naming);
                    }
                }
                for (name, node) in names {
                    // A loss of power is a boot: what the store trusts only within one is named by it.
                    let of_a_boot = name.starts_with("log-as-found-");
                    let name = if of_a_boot { "log-as-found-before" } else { &name };
                    self.write(node, unsynced, random, &to.join(name));
                }
            }
        }
    }
}

fn apply(names: &mut BTreeMap<String, usize>, naming: &Naming) {
    match naming {
        Naming::Put(name, node) => drop(names.insert(name.clone(), *node)),
        Naming::Remove(name) => drop(names.remove(name)),
        Naming::Rename(from, to, node) => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
    }
}

fn change(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, data) => {
            content.resize(content.len().max(at + data.len()), 0);
            content[*at..at + data.len()].copy_from_slice(data);
        }
        Change::Cut(length) => content.resize(*length, 0),
    }
}

fn choose<'t, T>(random: &mut StdRng, of: &'t [T]) -> &'t T {
    &of[random.random_range(0..of.len())]
}

/// A file after the loss of power.
fn left(durable: &[u8], pending: &[Change], unsynced: Unsynced, random: &mut StdRng) -> Vec<u8> {
    let mut content = durable.to_vec();
    match unsynced {
        Unsynced::None => return content,
        Unsynced::All => {
            pending.iter().for_each(|c| change(&mut content, c));
            return content;
        }
        Unsynced::Some if pending.is_empty() => return content,
        Unsynced::Some => {}
    }
    // The length that it had after each change: any of them, rather a late one.
    let mut lengths = vec![durable.len()];
    for change in pending {
        let before = lengths[lengths.len() - 1];
        lengths.push(match change {
            Change::Write(at, data) => before.max(at + data.len()),
            Change::Cut(length) => *length,
        });
    }
    let length = if random.random() { lengths[pending.len()] } else { *choose(random, &lengths) };
    let room = lengths.iter().copied().max().unwrap_or_default();
    content.resize(room, 0);
    // Each sector stands as it was after so many changes: the page cache is written in any order.
    let sector = *choose(random, &[512, 4_096]);
    let covers = |change: &Change| match change {
        Change::Write(at, data) => at / sector..(at + data.len()).div_ceil(sector),
        Change::Cut(length) => length / sector..room.div_ceil(sector),
    };
    let mut upto = vec![0; room.div_ceil(sector)];
    if random.random() {
        // Whole writes are there or not.
        let likely = *choose(random, &[0.1, 0.5, 0.9]);
        for (n, change) in pending.iter().enumerate() {
            if random.random_bool(likely) {
                upto[covers(change)].fill(n + 1);
            }
        }
    } else {
        for upto in &mut upto {
            *upto = match random.random_range(0..3) {
                0 => 0,
                1 => pending.len(),
                _ => random.random_range(0..=pending.len()),
            };
        }
    }
    for (n, change) in pending.iter().enumerate() {
        for at in covers(change).filter(|at| upto[*at] > n) {
            let (from, to) = (at * sector, ((at + 1) * sector).min(room));
            match change {
                Change::Write(begin, data) => {
                    let (from, to) = (from.max(*begin), to.min(begin + data.len()));
                    content[from..to].copy_from_slice(&data[from - begin..to - begin]);
                }
                Change::Cut(length) => content[from.max(*length).min(to)..to].fill(0),
            }
        }
    }
    content.truncate(length);
    content
}
