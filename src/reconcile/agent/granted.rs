//! Whether this node gives a container power over its host.
//!
//! Here: where a bind mount leads on the node's disks, and the word on all of it before a container is made. Not here:
//! what needs which grant and when it is refused (`plan::grants`), who may ask for it (`api::grants`).
//! Invariants: what runs is never stopped by it; a path that does not answer gives no power.

use std::{path::Path, sync::PoisonError};

use tokio_util::sync::CancellationToken;

use super::{
    Agent,
    prepare::{PrepareError, Preparer},
};
use crate::{
    model::{Grants, Reason, power::Places},
    plan::grants,
    reconcile::disk::{Disk, resolve},
};

impl Agent {
    /// Tries at once what was refused, whenever the configuration grants something else, until `stop`.
    pub async fn watch_grants(&self, stop: &CancellationToken) {
        let mut granted = self.node.grants.clone();
        while let Some(Ok(())) = stop.run_until_cancelled(granted.changed()).await {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, of) in &mut *memory {
                if of.attempts.is_freed(Reason::NotGranted) {
                    self.wakes.wake(key);
                }
            }
        }
    }
}

impl Preparer {
    /// Whether a bind mount, or a volume that is a folder of the host, may be mounted, by where its path leads.
    ///
    /// # Errors
    /// [`PrepareError::Missing`]: it is not granted, or nobody can say where it leads.
    pub(super) async fn may_bind(&self, field: &str, source: &str, granted: &Grants) -> Result<(), PrepareError> {
        let unknown = |why: String| PrepareError::Missing(Reason::BindSourceMissing, why);
        let real = match self.disk.look(Path::new(source), resolve).await {
            Ok(Ok(real)) => real,
            Ok(Err(error)) => return Err(unknown(format!("{source}: {error}"))),
            Err(silent) => return Err(PrepareError::Missing(Reason::DataMissing, silent.to_string())),
        };
        let on_disk = on_disk(&self.disk, &granted.places).await;
        match grants::leads_astray(field, source, &real.to_string_lossy(), granted, &on_disk) {
            Some(message) => Err(PrepareError::Missing(Reason::NotGranted, message)),
            None => Ok(()),
        }
    }
}

/// Where the places of a configuration lie. A root of which nobody can say it is none for now; sockets and what is the
/// agent's own stay under their written names too.
async fn on_disk(disk: &Disk, places: &Places) -> Places {
    let mut found = Places { roots: Vec::new(), ..places.clone() };
    let lists =
        [(&places.roots, &mut found.roots), (&places.sockets, &mut found.sockets), (&places.own, &mut found.own)];
    for (written, found) in lists {
        for path in written {
            if let Ok(Ok(real)) = disk.look(Path::new(path), resolve).await {
                found.extend(real.into_os_string().into_string());
            }
        }
    }
    found
}
