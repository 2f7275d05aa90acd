//! `ps`: replicas with their containers, ended ones under the one that took their place.

use serde::Deserialize;

use crate::{
    api::wire::{Object, ReplicaSpec},
    cli::text::{self, Times},
    model::{Desired, ReplicaPhase, ReplicaStatus, status::LastExit},
};

/// In the words of the table.
#[must_use]
pub const fn desired(spec: &ReplicaSpec) -> &'static str {
    match spec.desired {
        Desired::Run if spec.runs_once => "Completed",
        Desired::Run => "Running",
        Desired::Stop => "Stopped",
    }
}

/// `Running`, `Starting (12s)`, `BackOff: CrashLoopBackOff, next in 20s`, `Stopped 3m ago`.
#[must_use]
pub fn current(status: Option<&ReplicaStatus>, times: Times) -> String {
    let Some(status) = status else { return "Pending".into() };
    let phase = format!("{:?}", status.phase);
    let reason = status.reason.filter(|reason| reason.as_str() != phase).map(|reason| format!(": {reason}"));
    let reason = reason.unwrap_or_default();
    match status.phase {
        ReplicaPhase::Running if !status.ready => format!("{phase}, not ready{reason}"),
        ReplicaPhase::Running => phase,
        ReplicaPhase::Stopped | ReplicaPhase::Completed | ReplicaPhase::Failed => {
            format!("{phase} {}", times.around(status.since))
        }
        ReplicaPhase::Pending
        | ReplicaPhase::Waiting
        | ReplicaPhase::Pulling
        | ReplicaPhase::Starting
        | ReplicaPhase::BackOff
        | ReplicaPhase::Stopping => match status.next_attempt {
            Some(next) => format!("{phase}{reason}, next {}", times.around(next)),
            None => format!("{phase}{reason} ({})", times.at(status.since)),
        },
    }
}

/// `exit 0`, `OOMKilled, exit 137, 40s ago`.
#[must_use]
pub fn last_exit(exit: Option<&LastExit>, times: Times) -> String {
    let Some(exit) = exit else { return "-".into() };
    let oom = if exit.oom_killed { "OOMKilled, " } else { "" };
    format!("{oom}exit {}, {}", exit.code, times.around(exit.at))
}

/// `0.0.0.0:49153->8080/tcp`, as `docker ps` writes it.
fn ports(status: &ReplicaStatus) -> String {
    let places = |(inside, hosts): (&String, &Vec<String>)| -> Vec<String> {
        hosts.iter().map(|host| format!("{host}->{inside}")).collect()
    };
    let each: Vec<String> = status.published.iter().flat_map(places).collect();
    text::or_dash(&each.join(", ")).into_owned()
}

/// The whole table; `wide`: full names, addresses and containers too.
#[must_use]
pub fn ps(items: &[Object], wide: bool, times: Times) -> String {
    let mut rows: Vec<(ReplicaSpec, Option<ReplicaStatus>, &Object)> = items
        .iter()
        .filter_map(|object| {
            let spec = ReplicaSpec::deserialize(&object.spec).ok()?;
            let status = object.status.as_ref().and_then(|s| ReplicaStatus::deserialize(s).ok());
            Some((spec, status, object))
        })
        .collect();
    // What shall run stands first in its slot; below it, newest first, what was there before.
    rows.sort_by(|(a, _, x), (b, _, y)| {
        let stopped = |spec: &ReplicaSpec| spec.desired == Desired::Stop;
        (&a.service, &a.slot, stopped(a))
            .cmp(&(&b.service, &b.slot, stopped(b)))
            .then(y.metadata.created_at.cmp(&x.metadata.created_at))
            .then(b.revision.cmp(&a.revision))
    });
    let mut table = Vec::with_capacity(rows.len());
    let mut above: Option<&str> = None;
    for (spec, status, object) in &rows {
        let status = status.as_ref();
        let name = if above == Some(&spec.display) { format!(" \\_ {}", spec.display) } else { spec.display.clone() };
        above = Some(&spec.display);
        let mut row = vec![
            name,
            spec.node.to_string(),
            desired(spec).to_owned(),
            current(status, times),
            text::or_dash(status.map_or("", |s| &s.health)).into_owned(),
            spec.revision.to_string(),
            times.at(object.metadata.created_at),
            status.map_or(0, |s| s.restarts).to_string(),
            status.map_or_else(|| "-".into(), ports),
            last_exit(status.and_then(|s| s.last_exit.as_ref()), times),
        ];
        if wide {
            let of = |field: Option<&String>| text::or_dash(field.map_or("", String::as_str)).into_owned();
            let container: String = of(status.and_then(|s| s.container.as_ref())).chars().take(12).collect();
            row.extend([object.metadata.name.to_string(), of(status.and_then(|s| s.address.as_ref())), container]);
        }
        table.push(row);
    }
    let mut header =
        vec!["REPLICA", "NODE", "DESIRED", "CURRENT", "HEALTH", "REV", "AGE", "RESTARTS", "PORTS", "LAST EXIT"];
    if wide {
        header.extend(["NAME", "ADDRESS", "CONTAINER"]);
    }
    text::table(0, &header, &table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_port_is_shown() {
        let places = ["0.0.0.0:8080", "127.0.0.1:8081"].map(str::to_owned).to_vec();
        let published = [("80/tcp".to_owned(), places), ("53/udp".to_owned(), vec!["0.0.0.0:53".to_owned()])].into();
        let status = ReplicaStatus { published, ..ReplicaStatus::default() };
        assert_eq!(ports(&status), "0.0.0.0:53->53/udp, 0.0.0.0:8080->80/tcp, 127.0.0.1:8081->80/tcp");
        assert_eq!(ports(&ReplicaStatus::default()), "-");
    }
}
