//! A declared object before it is stored: what `manifest` reads and planners compare.
//!
//! Here: the kinds that people write, their canonical bytes, and the hash of a Service's container
//! part. Not here: text (`manifest`), sealing (`store::seal`), what is stored ([`super::Object`]).

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Kind, ObjectKey, ServiceSpec, config::ConfigSpec, middleware::MiddlewareSpec, node::NodeSpec, route::RouteSpec,
    secret::SecretSpec,
};

/// One declared object.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// DNS-1123 label.
    pub name: Arc<str>,
    /// For selection and constraints.
    pub labels: BTreeMap<String, String>,
    /// For people and tools.
    pub annotations: BTreeMap<String, String>,
    /// What it shall be.
    pub spec: Spec,
}

/// What an object shall be, by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// A workload.
    Service(Box<ServiceSpec>),
    /// Plain files and values.
    Config(ConfigSpec),
    /// Clear values: never printed, never stored like this.
    Secret(SecretSpec),
    /// A machine.
    Node(NodeSpec),
    /// Which requests go where.
    Route(Box<RouteSpec>),
    /// What a request passes on its way.
    Middleware(Box<MiddlewareSpec>),
}

impl Declared {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.spec {
            Spec::Service(_) => Kind::Service,
            Spec::Config(_) => Kind::Config,
            Spec::Secret(_) => Kind::Secret,
            Spec::Node(_) => Kind::Node,
            Spec::Route(_) => Kind::Route,
            Spec::Middleware(_) => Kind::Middleware,
        }
    }
    /// Its key.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.kind(), self.name.clone())
    }
}

/// What becomes of a declared object, in kubectl's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is new.
    Created,
    /// Spec or metadata changed.
    Configured,
    /// Everything was as asked: no index moved.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// Canonical JSON: fields in the order of the type, maps sorted, what was not set left out.
///
/// # Errors
/// When a value has no JSON form (a map with other keys than text): no type of `model` has such.
pub fn canonical<T: serde::Serialize>(spec: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(spec)
}

impl ServiceSpec {
    /// Hash of the container part: a change of it makes a new revision. Computed once, at the door, and
    /// stored. BLAKE3 of the canonical JSON, the first 32 hex characters.
    ///
    /// # Errors
    /// As [`canonical`].
    pub fn container_hash(&self) -> Result<String, serde_json::Error> {
        let bytes = canonical(&self.container)?;
        Ok(blake3::hash(&bytes).to_hex()[..32].to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_keeps_the_hash_and_an_image_changes_it() {
        let spec = |image: &str, replicas| {
            let mut spec = ServiceSpec { replicas, ..ServiceSpec::default() };
            spec.container.image = image.into();
            spec.container_hash().unwrap()
        };
        assert_eq!(spec("a", None), spec("a", Some(3)));
        assert_ne!(spec("a", None), spec("b", None));
        assert_eq!(spec("a", None).len(), 32);
    }
}
