//! Reading the configuration again, on SIGHUP.
//!
//! Here: when, and what becomes of it. Not here: which settings are safe to change (`config::change`).
//! Invariants: what cannot change in a running agent stays as it is and is named; a configuration with a fault
//! changes nothing at all.

use std::sync::Arc;

use tokio::{signal::unix::Signal, sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::notify::Notify;
use crate::{
    config::{AgentConfig, ConfigError, change::change},
    model::{Grants, power::Places},
};

/// Reads the configuration as at the start.
pub type Read = dyn Fn() -> Result<AgentConfig, ConfigError> + Send + Sync;
/// Changes what is logged; the error is for people.
pub type Filter = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// How a running agent gets at what a reload needs.
pub struct Reload {
    /// Reads the configuration as at the start.
    pub read: Arc<Read>,
    /// Changes what is logged; the error is for people.
    pub filter: Box<Filter>,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reload")
    }
}

/// What a reload may change.
#[derive(Debug)]
pub struct Live {
    /// What the agent runs with.
    pub running: AgentConfig,
    /// Who may give a service power over its host.
    pub grants: watch::Sender<Arc<Grants>>,
}

/// Reads the configuration again at every `hangup` until `stop`.
pub async fn listen(mut hangup: Signal, mut live: Live, reload: Reload, notify: Arc<Notify>, stop: CancellationToken) {
    while let Some(Some(())) = stop.run_until_cancelled(hangup.recv()).await {
        notify.reloading();
        let read = reload.read.clone();
        // A file on a disk that does not answer must hold up nothing else.
        match spawn_blocking(move || read()).await {
            Ok(read) => take(&mut live, read, &reload),
            Err(error) => {
                tracing::error!(%error, "the configuration could not be read again; everything stays as it was")
            }
        }
        notify.say("READY=1");
    }
}

fn take(Live { running, grants }: &mut Live, read: Result<AgentConfig, ConfigError>, reload: &Reload) {
    let read = match read {
        Ok(read) => read,
        Err(error) => {
            for fault in &error.faults {
                tracing::error!("{fault}");
            }
            tracing::error!(faults = error.faults.len(), "the configuration is wrong; everything stays as it was");
            return;
        }
    };
    let change = change(running, &read);
    if running.log_filter != read.log_filter {
        if let Err(error) = (reload.filter)(&read.log_filter) {
            tracing::error!(filter = %read.log_filter, error, "what is logged stays as it was");
            return;
        }
        running.log_filter.clone_from(&read.log_filter);
    }
    // Where the engine and the agent's own places are has not changed.
    let places = Places { roots: read.grants.places.roots.clone(), ..running.grants.places.clone() };
    let granted = Grants { places, ..read.grants.clone() };
    if running.grants != granted {
        running.grants.clone_from(&granted);
        grants.send_replace(Arc::new(granted));
    }
    for key in &change.waiting {
        let line = read.origins.get(key).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(key, place = %line, "needs a restart of the agent; it stays as it was");
    }
    let file = read.file.map(|path| path.display().to_string()).unwrap_or_default();
    tracing::info!(file, taken = %change.taken.join(","), "the configuration was read again");
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        config::{AgentFlags, Fault, load},
        model::Power,
    };

    fn config(pairs: &[(&str, &str)]) -> AgentConfig {
        load(&AgentFlags::default(), pairs.iter().copied(), "n1", None).unwrap()
    }

    #[test]
    fn what_is_safe_is_taken_and_a_fault_changes_nothing() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let hears = said.clone();
        let reload = Reload {
            read: Arc::new(|| Ok(config(&[]))),
            filter: Box::new(move |filter| {
                hears.lock().unwrap().push(filter.to_owned());
                if filter == "off" { Err("no".into()) } else { Ok(()) }
            }),
        };
        let mut live = Live { running: config(&[]), grants: watch::Sender::new(Arc::default()) };
        let both = config(&[("CONSTELLATION_LOG_FILTER", "debug"), ("CONSTELLATION_PROFILE", "wan")]);
        take(&mut live, Ok(both.clone()), &reload);
        assert_eq!((live.running.log_filter.as_str(), live.running.profile), ("debug", config(&[]).profile));
        take(&mut live, Ok(both), &reload);
        assert_eq!(*said.lock().unwrap(), ["debug"], "what is as it was is not done again");
        let fault = Fault::of("x", "y", "z");
        take(&mut live, Err(ConfigError { faults: vec![fault] }), &reload);
        let off = [("CONSTELLATION_LOG_FILTER", "off"), ("CONSTELLATION_GRANTS_ADMIN", "none")];
        take(&mut live, Ok(config(&off)), &reload);
        assert_eq!(live.running.log_filter, "debug");
        assert!(live.grants.borrow().has(Power::Binds), "nothing at all");
        // The data directory stays where it is, and so does what is free to mount beside it.
        let moved = [("CONSTELLATION_DATA_DIR", "/srv/c"), ("CONSTELLATION_GRANTS_BIND_ROOTS", "/var/lib")];
        take(&mut live, Ok(config(&moved)), &reload);
        let granted = live.grants.borrow().clone();
        assert_eq!(granted.places.power("/var/lib/app"), None);
        assert_eq!(granted.places.power("/var/lib/constellation"), Some(Power::Binds));
    }
}
