//! Names, counters and identities that every object carries.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `apiVersion` of every document.
pub const API_VERSION: &str = "constellation.dev/v1";

/// Counter of the state machine: +1 for each changed object or event, kept in snapshots.
///
/// It is the `resourceVersion` of an object, the key of a revision and the index of an event.
/// Raft's own log index is another number and never leaves `store`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Index(pub u64);

impl Index {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Fencing token: grows with each grant or placement of a slot. Compared as a pair, so that what a
/// recovered cluster grants stands above everything granted before its recovery. Text form `0.7`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Epoch {
    /// How many times the cluster was rescued or restored.
    pub recovery: u32,
    /// Counts grants within one recovery.
    pub counter: u64,
}

impl Epoch {
    /// Makes an epoch.
    #[must_use]
    pub const fn new(recovery: u32, counter: u64) -> Self {
        Self { recovery, counter }
    }
}
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.recovery, self.counter)
    }
}
impl FromStr for Epoch {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (recovery, counter) = text.split_once('.').unwrap_or(("0", text));
        Ok(Self { recovery: recovery.parse()?, counter: counter.parse()? })
    }
}

/// Identity of one object for its whole life: 32 hex characters, never reused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Uid(pub Arc<str>);

impl Uid {
    /// From 16 random bytes; the caller brings the randomness.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>().into())
    }
    /// The first eight characters: part of Docker names of volumes and networks.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}
impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kinds this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A workload, as in compose and Swarm; not a Kubernetes virtual IP.
    Service,
    /// Plain files and values for services.
    Config,
    /// Sealed files and values for services.
    Secret,
    /// A machine with a Docker engine.
    Node,
    /// Which requests from outside go to which Service.
    Route,
    /// What a request passes on its way.
    Middleware,
    /// One placement attempt for a slot of a Service; read-only.
    Replica,
}

impl Kind {
    /// Every kind, in the order in which `apply` writes them.
    pub const ALL: [Self; 7] =
        [Self::Node, Self::Config, Self::Secret, Self::Middleware, Self::Service, Self::Route, Self::Replica];
    /// Those that people write, in the same order.
    pub const DECLARED: [Self; 6] =
        [Self::Node, Self::Config, Self::Secret, Self::Middleware, Self::Service, Self::Route];

    /// Short name for people: `svc/web`, `node/n1`.
    #[must_use]
    pub const fn short(self) -> &'static str {
        match self {
            Self::Service => "svc",
            Self::Config => "config",
            Self::Secret => "secret",
            Self::Node => "node",
            Self::Route => "route",
            Self::Middleware => "mw",
            Self::Replica => "replica",
        }
    }
    /// Path segment of the API: `services`.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Config => "configs",
            Self::Secret => "secrets",
            Self::Node => "nodes",
            Self::Route => "routes",
            Self::Middleware => "middlewares",
            Self::Replica => "replicas",
        }
    }
    /// As in YAML.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Config => "Config",
            Self::Secret => "Secret",
            Self::Node => "Node",
            Self::Route => "Route",
            Self::Middleware => "Middleware",
            Self::Replica => "Replica",
        }
    }
    /// Accepts `Service`, `service`, `services`, `svc`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| [k.short(), k.plural(), k.name()].iter().any(|n| n.eq_ignore_ascii_case(text)))
    }
}
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kind and name: what people say for an object. Text form `svc/web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its name, unique within the kind.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// Makes a key.
    pub fn new(kind: Kind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }
    /// A Service's key.
    pub fn service(name: impl Into<Arc<str>>) -> Self {
        Self::new(Kind::Service, name)
    }
    /// A Replica's key.
    pub fn replica(name: impl Into<Arc<str>>) -> Self {
        Self::new(Kind::Replica, name)
    }
    /// A Node's key.
    pub fn node(name: impl Into<Arc<str>>) -> Self {
        Self::new(Kind::Node, name)
    }
}
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.short(), self.name)
    }
}
impl Kind {
    /// All of them as a person may write them: `service (svc), config, …`.
    #[must_use]
    pub fn known() -> String {
        let words = Self::ALL.map(|kind| match (kind.name().to_ascii_lowercase(), kind.short()) {
            (name, short) if name == short => name,
            (name, short) => format!("{name} ({short})"),
        });
        words.join(", ")
    }
}
impl FromStr for ObjectKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').ok_or_else(|| format!("{text:?} is not KIND/NAME, like svc/web"))?;
        let kind = Kind::parse(kind).ok_or_else(|| format!("unknown kind {kind:?}; known: {}", Kind::known()))?;
        if name.is_empty() {
            return Err(format!("{text:?} has no name after the slash"));
        }
        Ok(Self::new(kind, name))
    }
}
impl Serialize for ObjectKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for ObjectKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `metadata` of an object. Users write name, labels and annotations; the cluster the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// DNS-1123 label, at most 63 characters (a Service's at most 50).
    pub name: Arc<str>,
    /// For selection (`-l`) and constraints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For people and tools; never read by the loops.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Set of the object, for `apply --prune --set NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Identity.
    pub uid: Uid,
    /// Counts changes of the spec only.
    pub generation: u64,
    /// Index of the last change of spec or metadata; a precondition.
    pub resource_version: Index,
    /// Cluster time of creation, milliseconds since 1970; for display.
    pub created_at: u64,
}

/// A declared object as the state machine keeps it.
///
/// The spec was validated at the door and stands as canonical JSON bytes: `apply` never parses it.
/// A Secret's spec holds only sealed values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Kind and name.
    pub kind: Kind,
    /// Metadata.
    pub meta: Meta,
    /// Canonical JSON.
    #[serde(with = "serde_bytes")]
    pub spec: Vec<u8>,
    /// Hash of a Service's container part, keyed digest of a Secret's values; stored, never computed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Object {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.kind, self.meta.name.clone())
    }
    /// The spec as a type.
    ///
    /// # Errors
    /// When the stored bytes are not such a spec: a newer version wrote them.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.spec)
    }
}
/// Whether a text is a DNS-1123 label of at most so many characters.
#[must_use]
pub fn is_label(text: &str, most: usize) -> bool {
    !text.is_empty()
        && text.len() <= most
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
