//! Opening a store: its folder, its threads, its first leadership.
//!
//! Here: [`open`], [`Store`], and what a damaged store looks like from outside. A fresh folder becomes
//! a cluster of one. Not here: the parts that run (`proposer`, `leading`, `keeper`, `log_thread`).
//! Invariants: Raft has a thread of its own and nothing blocks on it; a damaged store is never voted with or mended,
//! its files stay as they were found and it stays closed (`super::quarantine`); a member that lost its log does not
//! form a second cluster.

mod files;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use openraft::ServerState;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    task::{JoinSet, spawn_blocking},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    client::Client,
    clock::Clock,
    disk::Memory,
    durable,
    keeper::{Keeper, Pace},
    leading::Leading,
    log::Log,
    machine::Machine,
    member::{self, Member},
    proposer::{self, Proposer},
    raft::{self, NoPeers, PeerNode, Profile, Raft},
    room::Room,
    witness::Start,
};

/// How long the first leadership of a sole voter may take.
const LEAD: Duration = Duration::from_secs(30);
/// How long the reason of a failed start may take to be told: it comes from another thread.
const REASON: Duration = Duration::from_secs(2);
/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(10);

/// What to open.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory; the store has `raft/` in it.
    pub dir: PathBuf,
    /// Name of this node.
    pub node: Arc<str>,
    /// Name of the cluster, if a fresh one is formed.
    pub cluster: Arc<str>,
    /// Which links the members have between them.
    pub profile: Profile,
    /// How often the log is cut.
    pub pace: Pace,
}

impl Options {
    /// A store in `dir` for the node `node`, with the defaults for the rest.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, node: impl Into<Arc<str>>) -> Self {
        Self {
            dir: dir.into(),
            node: node.into(),
            cluster: "constellation".into(),
            profile: Profile::default(),
            pace: Pace::default(),
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its files are not what was written. They are kept.
    #[error("the store in {} is damaged: {what}", dir.display())]
    Damaged {
        /// Its folder.
        dir: PathBuf,
        /// Where and how.
        what: String,
    },
    /// A newer version wrote something that this one does not know.
    #[error("the store in {} was written by a newer version: {what}", dir.display())]
    Newer {
        /// Its folder.
        dir: PathBuf,
        /// What is not known.
        what: String,
    },
    /// The disk failed.
    #[error("the store in {} cannot be read or written", dir.display())]
    Io {
        /// Its folder.
        dir: PathBuf,
        /// How.
        #[source]
        source: io::Error,
    },
    /// The key that its Secrets are sealed with is not there.
    #[error("{} is missing, and {secrets} secrets are sealed with it", path.display())]
    NoKey {
        /// Where the key was.
        path: PathBuf,
        /// How many Secrets there are.
        secrets: usize,
    },
    /// Raft does not start.
    #[error("the store does not start: {0}")]
    Raft(String),
}

/// Whether a data directory holds a store.
#[must_use]
pub fn is_there(data: &Path) -> bool {
    data.join(member::FOLDER).exists()
}

impl OpenError {
    /// There is no store beside a file that is written once there is one.
    #[must_use]
    pub fn missing(data: &Path, beside: &str) -> Self {
        Self::Damaged {
            dir: data.join(member::FOLDER),
            what: format!("it is missing, and {beside} beside it says that there was one"),
        }
    }
    /// What the process ends with: 78 a person has to decide, 74 the disk failed, 1 anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Damaged { .. } | Self::NoKey { .. } | Self::Newer { .. } => 78,
            Self::Io { source, .. } if durable::waits_for_a_person(source) => 78,
            Self::Io { .. } => 74,
            Self::Raft(_) => 1,
        }
    }
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Damaged { dir, .. } => {
                let data = dir.parent().unwrap_or(dir).display();
                if !dir.exists() {
                    return format!(
                        "if a restore was cut off, run it again: constellation backup restore FILE --data-dir {data}; \
                         otherwise bring back a copy of {}, or restore a backup into an empty directory",
                        dir.display()
                    );
                }
                format!(
                    "nothing was changed; bring back a copy of {}, or see what can be saved: \
                     constellation rescue --single --data-dir {data}",
                    dir.display()
                )
            }
            Self::Newer { .. } => "start the version that wrote it, or a newer one".into(),
            Self::Io { dir, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("run as root, or give {} back to the user of the agent", dir.display())
            }
            Self::Io { dir, source } if durable::waits_for_a_person(source) => {
                format!("move away what is in the place of {} or of a folder in it", dir.display())
            }
            Self::Io { dir, .. } => format!("look at the disk of {} (room, mount, permissions)", dir.display()),
            Self::NoKey { path, .. } => format!(
                "bring it back from a copy of the data directory; if it is lost for good, put 32 random bytes there \
                 (head -c 32 /dev/urandom > {}; chmod 600 it), then delete each secret (constellation secret rm NAME \
                 --force) and apply it again",
                path.display()
            ),
            Self::Raft(_) => "the log above says more".into(),
        }
    }
}

/// What ends the threads of a store when it is dropped.
#[derive(Debug)]
pub(super) struct Owner {
    pub stop: CancellationToken,
    /// Always there until dropped.
    pub runtime: Option<Runtime>,
}
impl Drop for Owner {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An open store.
pub struct Store {
    /// Reads, watches and proposes.
    pub client: Client,
    /// Says why, once the store cannot go on: the process must end with 74.
    pub fatal: watch::Receiver<Option<String>>,
    running: Running,
    owner: Owner,
}

/// What runs.
struct Running {
    raft: Raft,
    tasks: JoinSet<()>,
    thread: JoinHandle<()>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({:?})", self.client)
    }
}

impl Store {
    /// Stops writing, closes the files and waits for both, within a bound.
    pub async fn close(self) {
        let Self { client, running, owner, .. } = self;
        let Running { raft, mut tasks, thread } = running;
        drop(client);
        owner.stop.cancel();
        let ended = async {
            while tasks.join_next().await.is_some() {}
            // It only fails when Raft ended before, which is what is wanted.
            let _ = raft.shutdown().await;
            drop(raft);
            // The store thread ends with the last handle of the log, which Raft's own tasks hold.
            let _ = spawn_blocking(move || thread.join()).await;
        };
        if timeout(CLOSE, ended).await.is_err() {
            tracing::warn!("the store did not close within {CLOSE:?}");
        }
        drop(owner);
    }

    /// The client alone; the store lives as long as its clones.
    pub(super) fn into_client(self) -> Client {
        let Self { client, owner, running, .. } = self;
        let mut tasks = running.tasks;
        tasks.detach_all();
        Client { _alive: Some(Arc::new(owner)), ..client }
    }
}

/// What was found on the disk.
struct Opened {
    member: Member,
    log: Log,
    thread: JoinHandle<()>,
    machine: Machine,
    newest: u64,
    folder: Option<PathBuf>,
}

/// Opens the store of a node. A fresh folder becomes a cluster of one.
///
/// # Errors
/// See [`OpenError`]; nothing runs then and nothing was removed.
pub async fn open(options: Options) -> Result<Store, OpenError> {
    let (fatal, _) = watch::channel(None);
    let dir = options.dir.join(member::FOLDER);
    let (at, told, generation) = (dir.clone(), fatal.clone(), options.pace.generation);
    let opened = spawn_blocking(move || files::read(dir, generation, told))
        .await
        .map_err(|e| OpenError::Raft(format!("opening it panicked: {e}")))??;
    start(options, opened, fatal, &at).await
}

/// A store of one node without files.
///
/// # Errors
/// [`OpenError::Raft`].
pub(super) async fn open_in_memory(node: &str) -> Result<Store, OpenError> {
    let (fatal, _) = watch::channel(None);
    let (log, thread) = Log::open(Memory::default(), None, Start { member: 1, incarnation: 0 }, fatal.clone())
        .map_err(|e| OpenError::Raft(e.to_string()))?;
    let member = Member { id: 1, incarnation: 1, formed: false };
    let machine = Machine::new(None, None);
    let opened = Opened { member, log, thread, machine, newest: 0, folder: None };
    start(Options::new("memory", node), opened, fatal, &PathBuf::from("memory")).await
}

async fn start(
    options: Options,
    opened: Opened,
    fatal: watch::Sender<Option<String>>,
    dir: &std::path::Path,
) -> Result<Store, OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    // One thread: Raft, its state machine and the proposer hand each entry on to each other, and waking
    // another thread for that takes longer than the work (measured: 15 % of the writes per second).
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("raft")
        .enable_all()
        .build()
        .map_err(&io)?;
    let handle = runtime.handle().clone();
    let owner = Owner { stop: CancellationToken::new(), runtime: Some(runtime) };
    let stop = owner.stop.clone();
    let formed = opened.member.formed;
    let id = opened.member.id;
    let on_raft = handle.clone();
    let told = fatal.subscribe();
    let begin = async move {
        let settings = raft::config(options.profile).map_err(|e| OpenError::Raft(e.to_string()))?;
        let failed = |e: &dyn std::fmt::Display| OpenError::Raft(e.to_string());
        let raft = Raft::new(id, Arc::new(settings), NoPeers, opened.log.clone(), opened.machine.clone())
            .await
            .map_err(|e| failed(&e))?;
        let metrics = raft.metrics();
        if raft.is_initialized().await.map_err(|e| failed(&e))? {
            let metrics = metrics.borrow().clone();
            let alone = metrics.membership_config.voter_ids().all(|voter| voter == id);
            if alone && metrics.state != ServerState::Leader {
                raft.trigger().elect().await.map_err(|e| failed(&e))?;
            }
        } else if !formed {
            let node = PeerNode { node: options.node.to_string(), address: String::new() };
            raft.initialize(BTreeMap::from([(id, node)])).await.map_err(|e| failed(&e))?;
        }
        let clock = Clock::start(opened.newest);
        let (queue, inbox) = mpsc::channel(proposer::QUEUE);
        let (token, leadership) = watch::channel(None);
        let room = Room::of(opened.folder.clone());
        let client = Client {
            state: opened.machine.watch(),
            queue,
            leadership,
            metrics: metrics.clone(),
            counted: opened.log.metrics().clone(),
            clock,
            runtime: on_raft,
            room: room.clone(),
            _alive: None,
        };
        let mut tasks = JoinSet::new();
        let quiet = raft::quiet(options.profile);
        tasks.spawn(
            Proposer {
                raft: raft.clone(),
                clock,
                inbox,
                metrics: metrics.clone(),
                quiet,
                room,
                low: false,
                stop: stop.clone(),
            }
            .run(),
        );
        tasks.spawn(
            Leading {
                client: client.clone(),
                metrics: metrics.clone(),
                leadership: token,
                member: opened.member,
                folder: opened.folder,
                node: options.node,
                cluster: options.cluster,
                fatal: fatal.clone(),
                stop: stop.clone(),
            }
            .run(),
        );
        let (log, machine) = (opened.log, opened.machine);
        let pace = options.pace;
        let keeper = Keeper {
            room: client.room.clone(),
            raft: raft.clone(),
            log,
            machine,
            pace,
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(keeper.run());
        tasks.spawn(tell_fatal(metrics.clone(), fatal, stop));
        let alone = metrics.borrow().membership_config.voter_ids().all(|voter| voter == id);
        if alone {
            let mut leadership = client.leadership();
            // Ends early when Raft ended: then nobody will lead.
            let leads = async { leadership.wait_for(Option::is_some).await.is_ok() };
            if timeout(LEAD, leads).await != Ok(true) {
                return Err(OpenError::Raft(format!("this node, alone, did not lead within {LEAD:?}")));
            }
        }
        Ok((client, Running { raft, tasks, thread: opened.thread }))
    };
    let failed = match handle.spawn(begin).await {
        Ok(Ok((client, running))) => return Ok(Store { client, fatal: told, running, owner }),
        Ok(Err(error)) => error,
        Err(error) => OpenError::Raft(format!("starting it panicked: {error}")),
    };
    // Whatever Raft says, a disk that failed is the cause, and calls for another exit code.
    let mut told = told;
    let reason = timeout(REASON, told.wait_for(Option::is_some)).await;
    Err(match reason.ok().and_then(Result::ok).and_then(|why| why.clone()) {
        Some(why) => io(io::Error::other(why)),
        None => failed,
    })
}

/// Raft ends by itself only when its storage failed or it panicked.
async fn tell_fatal(
    mut metrics: watch::Receiver<proposer::Metrics>,
    fatal: watch::Sender<Option<String>>,
    stop: CancellationToken,
) {
    let ended = async {
        match metrics.wait_for(|m| m.running_state.is_err()).await {
            Ok(metrics) => metrics.running_state.as_ref().err().map_or_else(String::new, ToString::to_string),
            Err(_) => "Raft ended".into(),
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        why = ended => {
            // The first cause counts.
            fatal.send_if_modified(|told| {
                let first = told.is_none();
                if first { *told = Some(format!("the store failed: {why}")); }
                first
            });
        }
    }
}

#[cfg(test)]
mod tests;
