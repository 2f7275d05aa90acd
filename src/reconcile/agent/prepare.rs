//! Everything that has to be there before a container: image, data, files, networks.
//!
//! Here: [`Preparer`], which makes what may be made and says what is missing. Safe to repeat.
//! Not here: the verdict on data (`reconcile::data`), what the container looks like
//! (`reconcile::container`), whether a mount is granted (`granted`), when to try again (`plan::agent`).
//! Invariants: the record of a first mount is committed before the first start; nothing here removes
//! or empties anything; a directory is made only with `createHostPath`.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    gate,
    pulls::{Pull, Pulls},
    remembered::Remembered,
};
use crate::{
    model::{
        Grants, Reason, Replica, ResolvedImage, Uid, Volume,
        reference::ImageReference,
        service::{ContainerSpec, DataPolicy, Mount, MountKind, PullPolicy},
    },
    plan::grants,
    reconcile::{
        container::{self, Circumstances, label},
        data::{self, Seen, Verdict},
        disk::Disk,
        files::{self, Writing},
        registry,
    },
    runtime::{ContainerPlan, EngineRestart, Image, NetworkPlan, Runtime, RuntimeError},
    store::{
        Client, State,
        command::{Command, Group},
        seal::Sealer,
        state::ClusterInfo,
    },
};

/// An image that was there is believed to be there for so long.
const IMAGE_HOLDS: Duration = Duration::from_secs(30);
/// A network that was made is believed to be there for so long.
const NETWORK_HOLDS: Duration = Duration::from_secs(600);
/// Longest wait for the record of a first mount.
const COMMIT: Duration = Duration::from_secs(10);

/// What came of preparing.
#[derive(Debug)]
pub enum Prepared {
    /// Everything is there.
    Ready {
        /// What the container is made from.
        plan: Box<ContainerPlan>,
        /// Paths at which the image keeps data and nothing is mounted.
        unmounted: Vec<String>,
    },
    /// The image is on its way.
    Pulling(String),
    /// Something is missing.
    Missing(Reason, String),
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The engine failed or is silent.
    #[error(transparent)]
    Engine(#[from] RuntimeError),
    /// Something is missing: not an error of the engine.
    #[error("{1}")]
    Missing(Reason, String),
    /// The image is being fetched.
    #[error("{0}")]
    Pulling(String),
}

/// Why an image is not known to be there.
enum Absent {
    Gone,
    Silent,
}
impl From<RuntimeError> for Absent {
    fn from(_: RuntimeError) -> Self {
        Self::Silent
    }
}

/// What a container is about to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mounting {
    /// It is being prepared.
    First,
    /// It was prepared and is about to be made.
    Again,
    /// It was made before and is started again.
    Restart,
}

/// Which node this is.
#[derive(Debug, Clone)]
pub struct ThisNode {
    /// Name.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Address that ports are published at when the spec names none.
    pub advertise: Option<String>,
    /// What its configuration grants.
    pub grants: watch::Receiver<Arc<Grants>>,
    /// Where clear files lie.
    pub run_dir: PathBuf,
    /// A Secret's file is written to memory or not at all; tests write where they can.
    pub in_memory: bool,
}

/// Prepares containers of this node.
pub struct Preparer {
    runtime: Arc<dyn Runtime>,
    store: Client,
    sealer: Arc<Sealer>,
    node: ThisNode,
    pulls: Pulls,
    pub(super) disk: Disk,
    images: Remembered<Image>,
    networks: Remembered<()>,
}

impl Preparer {
    /// Makes one.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, store: Client, sealer: Arc<Sealer>, node: ThisNode, pulls: Pulls) -> Self {
        Self {
            runtime,
            store,
            sealer,
            node,
            pulls,
            disk: Disk::default(),
            images: Remembered::new(IMAGE_HOLDS),
            networks: Remembered::new(NETWORK_HOLDS),
        }
    }

    /// Prepares a new container. `since`: when this attempt began.
    ///
    /// # Errors
    /// [`RuntimeError`] when the engine failed or is silent.
    pub async fn prepare(
        &self,
        state: &State,
        replica: &Replica,
        spec: &ContainerSpec,
        image: &ResolvedImage,
        since: Instant,
    ) -> Result<Prepared, RuntimeError> {
        match self.try_prepare(state, replica, spec, image, since).await {
            Ok(ready) => Ok(ready),
            Err(PrepareError::Pulling(progress)) => Ok(Prepared::Pulling(progress)),
            Err(PrepareError::Missing(reason, message)) => Ok(Prepared::Missing(reason, message)),
            Err(PrepareError::Engine(error)) => Err(error),
        }
    }

    async fn try_prepare(
        &self,
        state: &State,
        replica: &Replica,
        spec: &ContainerSpec,
        image: &ResolvedImage,
        since: Instant,
    ) -> Result<Prepared, PrepareError> {
        let cluster = cluster(state)?;
        self.may_have(spec)?;
        let found = self.image(state, replica, spec, image, since).await?;
        self.data(state, replica, spec, Mounting::First).await?;
        let (files, variables) = self.files(state, replica, spec, Writing::Stopped)?;
        for network in container::networks(spec, &cluster.lineage) {
            let labels = labels(cluster);
            self.networks.get(&network, self.runtime.ensure_network(network.clone(), labels)).await?;
        }
        let circumstances = Circumstances {
            lineage: &cluster.lineage,
            cluster: &cluster.cluster,
            advertise: self.node.advertise.as_deref(),
            image: image.reference(),
            files: &files,
            variables: &variables,
            restart: EngineRestart::No,
        };
        let plan = Box::new(container::plan(replica, spec, &circumstances));
        let unmounted = found.volumes.into_iter().filter(|path| !plan.mounts_at(path)).collect();
        Ok(Prepared::Ready { plan, unmounted })
    }

    /// Before a container that is there is started again: its data must still be the same, and its files
    /// may be gone with the machine's memory.
    ///
    /// # Errors
    /// As [`Preparer::prepare`]; [`PrepareError::Missing`] when something is.
    pub async fn again(&self, state: &State, replica: &Replica, spec: &ContainerSpec) -> Result<(), PrepareError> {
        self.data(state, replica, spec, Mounting::Restart).await?;
        self.files(state, replica, spec, Writing::Stopped).map(drop)
    }

    /// Replaces the files of a container that runs, those of these references.
    ///
    /// # Errors
    /// [`PrepareError::Missing`] when content is missing, or cannot take the place of what is there.
    pub fn reload(
        &self,
        state: &State,
        replica: &Replica,
        spec: &ContainerSpec,
        references: &[String],
    ) -> Result<(), PrepareError> {
        self.files(state, replica, spec, Writing::Running(references)).map(drop)
    }

    /// Looks once more at the data of a container, right before it is made and right before its first start:
    /// what vanished meanwhile, an engine makes without a word.
    ///
    /// # Errors
    /// As [`Preparer::again`].
    pub async fn still_there(
        &self,
        state: &State,
        replica: &Replica,
        spec: &ContainerSpec,
    ) -> Result<(), PrepareError> {
        self.may_have(spec)?;
        self.data(state, replica, spec, Mounting::Again).await
    }

    /// Whether the configuration grants a container its power, as far as its declaration says it.
    fn may_have(&self, spec: &ContainerSpec) -> Result<(), PrepareError> {
        let refused = grants::refused(spec, &self.node.grants.borrow());
        refused.map_or(Ok(()), |message| Err(PrepareError::Missing(Reason::NotGranted, message)))
    }

    /// Puts a container on networks that somebody took it off.
    ///
    /// # Errors
    /// [`PrepareError`] when a network cannot be made or joined.
    pub async fn connect(
        &self,
        state: &State,
        replica: &Replica,
        spec: &ContainerSpec,
        id: &str,
        networks: &[String],
    ) -> Result<(), PrepareError> {
        let cluster = cluster(state)?;
        let NetworkPlan::Join(mut wanted) = container::network(replica, spec, &cluster.lineage) else { return Ok(()) };
        wanted.retain(|a| networks.contains(&a.network));
        for attachment in &wanted {
            self.runtime.ensure_network(attachment.network.clone(), labels(cluster)).await?;
        }
        Ok(self.runtime.connect(id.to_owned(), wanted).await?)
    }

    /// The engine said that something remembered is not so.
    pub fn forget(&self, image: &str) {
        self.images.forget(image);
        self.networks.clear();
    }

    /// Waits until every pull has ended.
    pub async fn closed(&self) {
        self.pulls.closed().await;
    }

    /// Whether the engine still has an image that was there.
    pub(super) async fn has(&self, image: &ResolvedImage) -> bool {
        let reference = image.reference();
        let ask = async { self.runtime.image(reference.to_owned()).await?.ok_or(Absent::Gone) };
        // Silence says nothing of it.
        !matches!(self.images.get(reference, ask).await, Err(Absent::Gone))
    }

    /// The image, fetched where the policy says so. `since`: when this attempt began.
    pub(super) async fn image(
        &self,
        state: &State,
        replica: &Replica,
        spec: &ContainerSpec,
        image: &ResolvedImage,
        since: Instant,
    ) -> Result<Image, PrepareError> {
        let reference = image.reference();
        let not_found = |message: String| PrepareError::Missing(Reason::ImageNotFound, message);
        let (local, pull_first) = match image {
            ResolvedImage::Local { node, .. } if *node != self.node.uid => {
                return Err(not_found(format!("image {} ({reference}) was built on another node", spec.image)));
            }
            ResolvedImage::Local { .. } => (true, false),
            // What a digest names is the same wherever it comes from: a registry has nothing to say to it.
            ResolvedImage::Digest { reference } => {
                (false, spec.pull_policy == PullPolicy::Always && !reference.contains("@sha256:"))
            }
        };
        let ask = || async {
            match self.runtime.image(reference.to_owned()).await? {
                Some(image) => Ok(image),
                None => Err(not_found(format!("{reference} was fetched and is gone"))),
            }
        };
        if !pull_first {
            match self.images.get(reference, ask()).await {
                Ok(image) => return fits(image, spec),
                Err(PrepareError::Missing(..)) if local => {
                    return Err(not_found(format!("image {} ({reference}) is gone from this node", spec.image)));
                }
                Err(PrepareError::Missing(..)) if spec.pull_policy == PullPolicy::Never => {
                    let message = format!("{reference} is not on this node and pullPolicy is never");
                    return Err(not_found(message));
                }
                Err(PrepareError::Missing(..)) => {}
                Err(error) => return Err(error),
            }
        }
        let credentials = ImageReference::parse(reference)
            .ok()
            .and_then(|parsed| registry::credentials(state, &self.sealer, spec, &parsed));
        match self.pulls.ask(&replica.name, reference, spec.platform.clone(), credentials, since) {
            Pull::Running(progress) => Err(PrepareError::Pulling(progress)),
            Pull::Failed(error) => Err(PrepareError::Engine(error)),
            Pull::Done(_) => {
                // What was known of it may be of another platform.
                self.images.forget(reference);
                fits(self.images.get(reference, ask()).await?, spec)
            }
        }
    }

    /// Judges every mount; the first time, makes what may be made and commits first mounts.
    async fn data(
        &self,
        state: &State,
        replica: &Replica,
        spec: &ContainerSpec,
        mounting: Mounting,
    ) -> Result<(), PrepareError> {
        let cluster = cluster(state)?;
        let slot = replica.slot.to_string();
        let granted = self.node.grants.borrow().clone();
        let mut commands = Vec::new();
        for (i, mount) in spec.volumes.iter().enumerate().filter(|(_, m)| m.kind != MountKind::Tmpfs) {
            let source = match mount.kind {
                MountKind::Volume => container::volume_name(mount, &slot, &cluster.lineage),
                MountKind::Bind | MountKind::Tmpfs => mount.source.clone().unwrap_or_default(),
            };
            let key = data::key(&self.node.uid, mount.kind, &source);
            let record = state.volume(&key).map(AsRef::as_ref);
            let data::Look { mut seen, folder } = data::look(&*self.runtime, &self.disk, mount.kind, &source).await?;
            let verdict = data::verdict(mount, &source, record, &seen);
            if let Verdict::Missing(reason, message) = verdict {
                return Err(PrepareError::Missing(reason, message));
            }
            // A container that was made keeps what is not granted any more, and not what a link leads to since.
            let link = |folder: &str| granted.places.power(folder).is_none();
            if let Some(folder) = folder.filter(|folder| mounting != Mounting::Restart || link(folder)) {
                self.may_bind(&format!("spec.volumes[{i}]"), &folder, &granted).await?;
            }
            match verdict {
                Verdict::Use | Verdict::Missing(..) => {}
                // A container that was made with it is there, or almost: it was no empty start then either.
                Verdict::Make if mounting != Mounting::First && mount.policy().remembered() => {
                    return Err(PrepareError::Missing(Reason::DataMissing, format!("{source} was there and is gone")));
                }
                Verdict::Make => {
                    self.make(mount, &source, cluster).await?;
                    seen = data::look(&*self.runtime, &self.disk, mount.kind, &source).await?.seen;
                }
            }
            let shared = mount.policy() != DataPolicy::State;
            let known = record.is_some_and(|r| r.services.contains(&replica.service) && (shared || !r.shared));
            if mounting == Mounting::First && !known && mount.policy().remembered() {
                let Seen::Present { filesystem } = seen else {
                    return Err(PrepareError::Missing(Reason::DataMissing, format!("{source} was made and is gone")));
                };
                commands.push(Command::InitialiseVolume {
                    volume: Volume {
                        key: key.into(),
                        uid: new_uid(),
                        source,
                        node: self.node.uid.clone(),
                        initialised_at: 0,
                        filesystem,
                        shared,
                        services: vec![replica.service.clone()],
                        resource_version: crate::model::Index(0),
                    },
                });
            }
        }
        if commands.is_empty() {
            return Ok(());
        }
        let group = Group { actor: format!("agent@{}", self.node.name).into(), commands, ..Group::default() };
        match self.store.propose(group, COMMIT).await {
            Ok(_) => Ok(()),
            // Not known to be recorded: an empty start would look legal again.
            Err(error) => Err(PrepareError::Missing(
                Reason::StoreBehind,
                format!("the first mount could not be recorded: {error}"),
            )),
        }
    }

    async fn make(&self, mount: &Mount, source: &str, cluster: &ClusterInfo) -> Result<(), PrepareError> {
        match mount.kind {
            MountKind::Volume => {
                self.runtime.ensure_volume(source.to_owned(), labels(cluster)).await?;
                Ok(())
            }
            MountKind::Bind | MountKind::Tmpfs => {
                match self.disk.look(Path::new(source), |path| std::fs::create_dir_all(path)).await {
                    Ok(made) => made.map_err(|e| disk(&e, Reason::BindSourceMissing, source)),
                    Err(silent) => Err(PrepareError::Missing(Reason::DataMissing, silent.to_string())),
                }
            }
        }
    }

    #[allow(clippy::type_complexity, reason = "host path and path inside, and variables")]
    fn files(
        &self,
        state: &State,
        replica: &Replica,
        spec: &ContainerSpec,
        writing: Writing<'_>,
    ) -> Result<(Vec<(String, String)>, BTreeMap<String, String>), PrepareError> {
        let contents = gate::contents(state, &self.sealer, spec)
            .map_err(|(missing, _)| PrepareError::Missing(missing.reason, missing.message))?;
        if self.node.in_memory && !contents.mounts.is_empty() {
            let refused = contents.may_lie(files::in_memory(&self.node.run_dir));
            refused.map_or(Ok(()), |gate| Err(PrepareError::Missing(gate.reason, gate.message)))?;
        }
        let lineage = cluster(state)?.lineage.to_string();
        let written = files::write(&self.node.run_dir, &replica.name, &lineage, &contents.mounts, writing)
            .map_err(|e| disk(&e, Reason::EngineRefused, &self.node.run_dir.display().to_string()))?;
        Ok((written, contents.variables))
    }
}

fn cluster(state: &State) -> Result<&ClusterInfo, PrepareError> {
    let unformed = || PrepareError::Missing(Reason::StoreBehind, "the cluster is not formed yet".into());
    state.cluster().ok_or_else(unformed)
}

/// Labels of networks and volumes.
fn labels(cluster: &ClusterInfo) -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::LINEAGE.into(), cluster.lineage.to_string()),
        (label::CLUSTER.into(), cluster.cluster.to_string()),
        (label::MANAGED.into(), "1".into()),
    ])
}

fn disk(error: &io::Error, otherwise: Reason, path: &str) -> PrepareError {
    let reason = if error.kind() == io::ErrorKind::StorageFull { Reason::DiskFull } else { otherwise };
    PrepareError::Missing(reason, format!("{path}: {error}"))
}

/// Whether an image's programs run on this machine; who names a platform knows what they do.
fn fits(image: Image, spec: &ContainerSpec) -> Result<Image, PrepareError> {
    let here = match std::env::consts::ARCH {
        "x86_64" => &["amd64", "386"][..],
        "aarch64" => &["arm64", "arm"][..],
        _ => return Ok(image),
    };
    if spec.platform.is_some() || image.arch.is_empty() || here.contains(&image.arch.as_str()) {
        return Ok(image);
    }
    let message = format!("image {} is for {}, this node is {}", spec.image, image.arch, here[0]);
    Err(PrepareError::Missing(Reason::ArchitectureMismatch, message))
}

/// A new identity.
#[must_use]
pub fn new_uid() -> Uid {
    Uid::from_bytes(rand::random())
}
