//! What an engine answers about images, and what it is asked to pull and to build.

use std::collections::BTreeMap;

/// An image on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`.
    pub id: String,
    /// `repository@sha256:…`, as pulled or pushed.
    pub digests: Vec<String>,
    /// `amd64`, `arm64`, …
    pub arch: String,
    /// `linux`.
    pub os: String,
    /// It brings a health check.
    pub has_healthcheck: bool,
    /// TCP ports it names, in order.
    pub exposed: Vec<u16>,
    /// Paths that it declares as volumes, in order: what nothing is mounted at gets an anonymous one.
    pub volumes: Vec<String>,
}

/// Credentials of a registry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credentials {
    /// Registry they are for, as in a reference.
    pub server: String,
    /// Who.
    pub username: String,
    /// Password or token.
    pub password: String,
}
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({} at {})", self.username, self.server)
    }
}

/// Progress of a pull: bytes done and in all, over all layers known so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// The engine's word for what it does.
    pub status: String,
    /// Bytes done.
    pub current: u64,
    /// Bytes in all, as far as known.
    pub total: u64,
}

/// What to build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildRequest {
    /// `name:tag` of the result.
    pub tag: String,
    /// Path of the Dockerfile in the context.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Stage to stop at.
    pub target: Option<String>,
    /// Runs every step anew.
    pub no_cache: bool,
    /// Asks the registry for base images.
    pub pull: bool,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// A step of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildProgress {
    /// A line of output.
    Output(String),
    /// The id of the image.
    Done(String),
}
