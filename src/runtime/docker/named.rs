//! The calls about what has a name and outlives containers: networks and volumes.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use bollard::{
    models::{NetworkCreateRequest, VolumeCreateRequest},
    query_parameters::{InspectNetworkOptions, ListNetworksOptionsBuilder},
};

use super::{Engine, error::Subject, status};
use crate::runtime::{NamedVolume, RuntimeError, limits, names::identifier, plan::UNASKED};

/// How long a network that was seen counts as existing: a burst of starts asks once.
const NETWORK_SEEN: Duration = Duration::from_secs(10);

/// A network that was asked for by its name; ordered by age.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    made: jiff::Timestamp,
    pub id: String,
    /// It carries the labels that were asked for.
    ours: bool,
}

impl Engine {
    /// An engine that starts makes its network `bridge` anew, after it has ended what an engine before it left
    /// running; one that left all running (`live-restore`) keeps it. Nothing else in the API tells its start.
    pub(super) async fn began(&self) -> Result<Option<i64>, RuntimeError> {
        let ask = async {
            let docker = self.connection.anew().await?;
            docker.inspect_network("bridge", None::<InspectNetworkOptions>).await
        };
        match tokio::time::timeout(limits::BEGAN.limit, ask).await {
            Ok(Ok(network)) => Ok(network.created.and_then(|text| {
                let at: jiff::Timestamp = text.parse().ok()?;
                i64::try_from(at.as_nanosecond()).ok()
            })),
            // An engine without it.
            Ok(Err(error)) if status(&error) == Some(404) => Ok(None),
            Ok(Err(error)) => Err(self.translated(&error, Subject::Engine)),
            Err(_) => Err(limits::BEGAN.missed()),
        }
    }

    pub(super) async fn ensure_network(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<(), RuntimeError> {
        identifier(name, "network")?;
        let op = limits::ENSURE_NETWORK;
        let waited = tokio::time::timeout(op.limit, self.networks.lock()).await;
        let mut seen = waited.map_err(|_| op.missed())?;
        if seen.get(name).is_some_and(|at| at.elapsed() < NETWORK_SEEN) {
            return Ok(());
        }
        let mut found = self.networks_named(name, &labels).await?;
        if found.is_empty() {
            let request = NetworkCreateRequest {
                name: name.to_owned(),
                driver: Some("bridge".into()),
                attachable: Some(true),
                labels: Some(labels.clone().into_iter().collect()),
                ..NetworkCreateRequest::default()
            };
            match self.raw(op, |d| async move { d.create_network(request).await }).await? {
                Ok(_) => found = self.networks_named(name, &labels).await?,
                Err(error) if status(&error) == Some(409) => {}
                Err(error) => return Err(self.translated(&error, Subject::Network(name))),
            }
        }
        self.keep_one_network(found).await?;
        seen.retain(|_, at| at.elapsed() < NETWORK_SEEN);
        seen.insert(name.to_owned(), Instant::now());
        Ok(())
    }

    /// Networks of exactly this name, oldest first.
    pub(super) async fn networks_named(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<Named>, RuntimeError> {
        let filters = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let found =
            self.call(limits::ENSURE_NETWORK, Subject::Network(name), |d| async move {
                d.list_networks(Some(options)).await
            })
            .await?;
        let mut found: Vec<Named> = found
            .into_iter()
            .filter(|n| n.name.as_deref() == Some(name))
            .map(|n| {
                let has = n.labels.unwrap_or_default();
                Named {
                    made: n.created.and_then(|text| text.parse().ok()).unwrap_or_default(),
                    id: n.id.unwrap_or_default(),
                    ours: labels.iter().all(|(key, value)| has.get(key) == Some(value)),
                }
            })
            .collect();
        found.sort();
        Ok(found)
    }

    /// Old engines make a second network of one name without a word (an earlier call answered late, a
    /// person was faster), and then every container that names it is refused. The youngest goes, of
    /// those that are ours and that no container uses.
    pub(super) async fn keep_one_network(&self, found: Vec<Named>) -> Result<(), RuntimeError> {
        let mut left = found.len();
        for network in found.into_iter().rev().filter(|n| n.ours) {
            if left < 2 {
                return Ok(());
            }
            let id = network.id.as_str();
            match self.raw(limits::ENSURE_NETWORK, |d| async move { d.remove_network(id).await }).await? {
                Ok(()) => left -= 1,
                Err(error) if status(&error) == Some(404) => left -= 1,
                // In use: another one has to go.
                Err(error) if status(&error) == Some(403) => {}
                Err(error) => return Err(self.translated(&error, Subject::Network(id))),
            }
        }
        Ok(())
    }

    /// Somebody removed a network that we believed to exist: the next call asks.
    pub(super) fn doubt_networks(&self, error: &RuntimeError) {
        let network = matches!(error, RuntimeError::NotFound { what } if what.starts_with("network "));
        // Whoever holds the lock is asking the engine right now.
        if (network || matches!(error, RuntimeError::Down { .. }))
            && let Ok(mut seen) = self.networks.try_lock()
        {
            seen.clear();
        }
    }

    pub(super) async fn volume(&self, name: &str) -> Result<Option<NamedVolume>, RuntimeError> {
        identifier(name, "volume")?;
        let found =
            self.find(limits::VOLUME, Subject::Volume(name), |d| async move { d.inspect_volume(name).await }).await?;
        Ok(found.map(|v| {
            let device = v.options.get("device");
            let bound = v.options.get("o").is_some_and(|o| o.split(',').any(|word| word == "bind" || word == "rbind"));
            let folder = device.filter(|_| bound && v.driver == "local").cloned();
            NamedVolume {
                unasked: v.labels.contains_key(UNASKED),
                mounted_late: v.driver != "local" || device.is_some() && !bound,
                // There it is, used or not.
                path: folder.clone().unwrap_or(v.mountpoint),
                folder,
            }
        }))
    }

    pub(super) async fn ensure_volume(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<String, RuntimeError> {
        identifier(name, "volume")?;
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".into()),
            labels: Some(labels.into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        let made = self
            .call(limits::ENSURE_VOLUME, Subject::Volume(name), |d| async move { d.create_volume(request).await })
            .await?;
        Ok(made.mountpoint)
    }
}
