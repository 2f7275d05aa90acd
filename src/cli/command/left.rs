//! What a deletion leaves: nobody deletes volumes, and whoever deletes with `-y` is told so too.
//!
//! Here: which data of the deleted services that is, in one line. Not here: the deletions (`delete`, `apply`).

use serde::Deserialize as _;

use crate::{
    api::wire::{ApplyAnswer, Object},
    cli::{client::Api, failure::CliError, screen::Screen, text::clean},
    model::{
        Kind, ServiceSpec,
        service::{DataPolicy, Mount, MountKind},
    },
    store::command::Outcome,
};

/// The services as they stand, if the change that is coming deletes one: what a deletion leaves is known before it.
/// Asked for a word to people: an error is none.
pub async fn before(api: &Api, deletes: bool) -> Vec<Object> {
    if !deletes {
        return Vec::new();
    }
    api.list(Kind::Service).await.map(|list| list.items).unwrap_or_default()
}

/// Volumes of deleted services: `db of svc/db; /srv/media of svc/tv`. They were made unless it never started.
fn left<'a>(services: &[Object], deleted: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut said = Vec::new();
    for name in deleted {
        let Some(object) = services.iter().find(|object| *object.metadata.name == *name) else { continue };
        let Ok(spec) = ServiceSpec::deserialize(&object.spec) else { continue };
        let mut places: Vec<String> = spec.container.volumes.iter().filter_map(place).collect();
        places.sort();
        places.dedup();
        if !places.is_empty() {
            said.push(format!("{} of svc/{name}", places.join(", ")));
        }
    }
    (!said.is_empty()).then(|| format!("volumes are not deleted: {}", said.join("; ")))
}

/// Where a mount's data lies, in the words of the manifest; none when it has none of its own.
fn place(mount: &Mount) -> Option<String> {
    let source = mount.source.as_deref()?;
    match (mount.kind, mount.policy()) {
        (MountKind::Volume, policy) if policy.remembered() => Some(source.to_owned()),
        (MountKind::Bind, DataPolicy::State) => Some(source.to_owned()),
        (MountKind::Volume | MountKind::Bind | MountKind::Tmpfs, _) => None,
    }
}

/// Says what stays of the services that a change deleted.
///
/// # Errors
/// As [`Screen::print`]: none where the screen is one of a change.
pub fn tell(screen: &Screen, services: &[Object], answer: &ApplyAnswer) -> Result<(), CliError> {
    let gone = answer.objects.iter().filter(|o| o.kind == Kind::Service && o.result == Outcome::Deleted);
    match left(services, gone.map(|object| object.name.as_str())) {
        Some(said) => screen.line(&clean(&said)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_deletion_leaves_is_named() {
        let service = |name: &str, volumes: serde_json::Value| -> Object {
            let meta = json!({"name": name, "uid": "u", "generation": 1, "resourceVersion": 1, "createdAt": 1});
            let spec = json!({"image": "a", "volumes": volumes});
            let object =
                json!({"apiVersion": "constellation.dev/v1", "kind": "Service", "metadata": meta, "spec": spec});
            serde_json::from_value(object).unwrap()
        };
        let services = [
            service(
                "tv",
                json!([
                    {"type": "volume", "source": "tv-data", "target": "/config"},
                    {"type": "volume", "source": "tv-cache", "target": "/cache", "dataPolicy": "cache"},
                    {"type": "bind", "source": "/srv/tv", "target": "/tv"},
                    {"type": "bind", "source": "/etc/tv.conf", "target": "/etc/tv.conf", "readOnly": true},
                    {"type": "tmpfs", "target": "/tmp"}]),
            ),
            service("web", json!([])),
            service("kept", json!([{"type": "volume", "source": "kept", "target": "/kept"}])),
        ];
        let said = left(&services, ["tv", "web", "unknown"].into_iter());
        assert_eq!(said.as_deref(), Some("volumes are not deleted: /srv/tv, tv-data of svc/tv"));
        assert_eq!(left(&services, ["web"].into_iter()), None);
    }
}
