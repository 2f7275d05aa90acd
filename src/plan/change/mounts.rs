//! What a mount's data is to the cluster: where it may be, and who may write it.
//!
//! Here: [`first_seen`], which only informs, and [`other_policies`], which is a warning: data that had one writer
//! may get several, or be empty after a move. Not here: the policies themselves (`model::service::mounts`).

use crate::model::{
    ServiceSpec,
    service::{DataPolicy, Mount, MountKind},
};

/// What each mount means whose target the Service had not before.
pub(super) fn first_seen(spec: &ServiceSpec, old: Option<&ServiceSpec>) -> impl Iterator<Item = String> {
    let new = with_data(spec).filter(move |mount| old.is_none_or(|old| at(&mount.target, old).is_none()));
    new.map(|mount| format!("{}: {}", named(mount), means(mount.policy())))
}

/// Mounts that were there under another policy.
pub(super) fn other_policies(spec: &ServiceSpec, old: &ServiceSpec) -> impl Iterator<Item = String> {
    with_data(spec).filter_map(move |mount| {
        let (had, has) = (at(&mount.target, old)?.policy(), mount.policy());
        (had != has).then(|| format!("{} instead of {had}: {}; it was: {}", named(mount), means(has), means(had)))
    })
}

fn with_data(spec: &ServiceSpec) -> impl Iterator<Item = &Mount> {
    spec.container.volumes.iter().filter(|m| m.kind != MountKind::Tmpfs)
}

fn at<'s>(target: &str, spec: &'s ServiceSpec) -> Option<&'s Mount> {
    with_data(spec).find(|m| m.target == target)
}

/// `db at /data: dataPolicy cache (as written)`.
fn named(mount: &Mount) -> String {
    let source = mount.source.as_deref().unwrap_or_default();
    let how = if mount.data_policy.is_some() { "as written" } else { "chosen for you" };
    format!("{source} at {}: dataPolicy {} ({how})", mount.target, mount.policy())
}

const fn means(policy: DataPolicy) -> &'static str {
    use DataPolicy as P;
    match policy {
        P::State => "moves with the replica, never two containers at once",
        P::Shared => "must be present wherever it runs",
        P::Config => "read in place, not copied: must be present wherever it runs",
        P::Cache => "may be empty after a move",
        P::Host => "belongs to the host, never moves",
    }
}
