//! Sentences that a status carries and that are known again where a way out is named.
//!
//! Here: one function for each, for who writes it and for who looks for it: a name that happens to stand in
//! another sentence is then nobody's. Not here: the ways out (`why`).

use super::view::ReplicaView;
use crate::model::{
    Kind,
    service::{Dependency, DependencyCondition},
};

/// `config app does not exist`.
#[must_use]
pub fn absent(kind: Kind, name: &str) -> String {
    format!("{} {name} does not exist", kind.name().to_lowercase())
}

/// `config app has no key b`. What it has may follow, after `; it has `.
#[must_use]
pub fn lacks(kind: Kind, name: &str, key: &str) -> String {
    format!("{} {name} has no key {key}", kind.name().to_lowercase())
}

/// `service redis is not ready yet`: a dependency that is there and is waited for.
#[must_use]
pub fn not_yet(dependency: &Dependency) -> String {
    let what = match dependency.condition {
        DependencyCondition::ServiceStarted => "has not started",
        DependencyCondition::ServiceHealthy => "is not ready",
        DependencyCondition::ServiceCompletedSuccessfully => "has not completed",
    };
    format!("service {} {what} yet", dependency.name)
}

/// `port 80 is held by container proxy`. `holder`: `container NAME` or `NAME (pid N)`.
#[must_use]
pub fn held(port: u16, holder: &str) -> String {
    format!("port {port} is held by {holder}")
}

/// `web.2: exit 1`, `web.2 is not ready: GET :80/ 500`: what is wrong with a replica that holds up a rollout.
#[must_use]
pub fn failed(r: &ReplicaView) -> String {
    let name = r.replica.display();
    let Some(status) = &r.status else { return format!("{name} has not been reported") };
    let exit = status.last_exit.as_ref().map(|e| {
        let memory = if e.oom_killed { ", out of memory" } else { "" };
        // What it ends with when it is stopped says nothing.
        if e.why.is_empty() { format!("exit {}{memory}", e.code) } else { format!("unhealthy, {}", e.why) }
    });
    // `exit 1, 2 times in a row` says it already.
    let again = |exit: &str| {
        let code = exit.split_once(',').map_or(exit, |(code, _)| code);
        status.message.strip_prefix(code).filter(|rest| rest.is_empty() || rest.starts_with(','))
    };
    match (exit, status.message.as_str(), status.reason) {
        (Some(exit), message, _) if again(&exit).is_some_and(|rest| !rest.is_empty()) => format!("{name}: {message}"),
        (Some(exit), message, _) if message.is_empty() || again(&exit).is_some() || exit.ends_with(message) => {
            format!("{name}: {exit}")
        }
        (Some(exit), message, _) => format!("{name}: {exit}; {message}"),
        (None, "", Some(reason)) => format!("{name}: {reason}"),
        (None, "", None) => format!("{name} is not ready"),
        (None, message, _) => format!("{name}: {message}"),
    }
}

/// Who holds a port, out of [`held`].
#[must_use]
pub fn holder(told: &str) -> Option<&str> {
    let (port, holder) = told.strip_prefix("port ")?.split_once(" is held by ")?;
    port.parse::<u16>().is_ok().then_some(holder)
}

/// How [`on_disk`] begins.
const ON_DISK: &str = "no Secret is written to a disk: ";

/// A Secret whose files would come to lie on a disk of the node.
#[must_use]
pub fn on_disk(why: &str) -> String {
    format!("{ON_DISK}{why}")
}

/// Whether it is told by [`on_disk`].
#[must_use]
pub fn is_on_disk(told: &str) -> bool {
    told.starts_with(ON_DISK)
}

/// A container whose limits somebody changed: `memory is 64Mi instead of none`.
#[must_use]
pub fn changed(changes: &[String]) -> String {
    format!("somebody changed the container: {}", changes.join(", "))
}

/// A container that somebody froze.
#[must_use]
pub fn paused(container: &str) -> String {
    format!("somebody paused the container; `docker unpause {container}` lets it go on")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ReplicaStatus, status::LastExit, testing::replica};

    #[test]
    fn how_it_ended_is_said_once() {
        let told = |oom_killed: bool, message: &str| {
            let last_exit = Some(LastExit { code: 3, oom_killed, ..LastExit::default() });
            let status = Some(ReplicaStatus { last_exit, message: message.into(), ..ReplicaStatus::default() });
            failed(&ReplicaView { replica: replica("web", 1).into(), status })
        };
        assert_eq!(told(false, ""), "web.1: exit 3");
        assert_eq!(told(false, "exit 3"), "web.1: exit 3");
        assert_eq!(told(true, "exit 3"), "web.1: exit 3, out of memory");
        assert_eq!(told(false, "exit 3, 2 times in a row"), "web.1: exit 3, 2 times in a row");
        assert_eq!(told(false, "exit 31, 2 times in a row"), "web.1: exit 3; exit 31, 2 times in a row");
        assert_eq!(told(false, "no such image"), "web.1: exit 3; no such image");
        let unwell = |message: &str| {
            let last_exit = Some(LastExit { why: "db is not reachable".into(), ..LastExit::default() });
            let status = Some(ReplicaStatus { last_exit, message: message.into(), ..ReplicaStatus::default() });
            failed(&ReplicaView { replica: replica("web", 1).into(), status })
        };
        assert_eq!(unwell(""), "web.1: unhealthy, db is not reachable", "what it ended with says nothing");
        assert_eq!(unwell("db is not reachable"), "web.1: unhealthy, db is not reachable");
    }
}
