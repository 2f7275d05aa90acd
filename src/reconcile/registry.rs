//! Registries: whose credentials fit an image, and what an error of an engine means to a user.

use crate::{
    model::{
        Kind, ObjectKey, Reason, reference::ImageReference, secret::SealedSecret, secret::SecretKind,
        service::ContainerSpec,
    },
    runtime::{Credentials, RuntimeError},
    store::{State, seal::Sealer},
};

/// Credentials for an image: of the first `imagePullSecrets` whose `server` is the image's registry.
#[must_use]
pub fn credentials(
    state: &State,
    sealer: &Sealer,
    spec: &ContainerSpec,
    image: &ImageReference,
) -> Option<Credentials> {
    spec.image_pull_secrets.iter().find_map(|name| {
        let object = state.object(&ObjectKey::new(Kind::Secret, name.as_str()))?;
        let sealed: SealedSecret = object.parse().ok()?;
        if sealed.kind != SecretKind::Registry {
            return None;
        }
        let values = sealer.open(&sealed, &object.meta.uid).ok()?;
        let text = |key: &str| values.get(key).and_then(|v| std::str::from_utf8(v).ok()).map(str::to_owned);
        let server = text("server")?;
        (registry_of(&server) == image.registry).then_some(Credentials {
            username: text("username")?,
            password: text("password")?,
            server,
        })
    })
}

/// The registry that a `server` means: people write it with a scheme and Docker Hub in several ways.
fn registry_of(server: &str) -> &str {
    let host = server.trim_start_matches("https://").trim_start_matches("http://");
    match host.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" | "hub.docker.com" => "docker.io",
        other => other,
    }
}

/// The reason code of an engine's or registry's error.
#[must_use]
pub const fn reason(error: &RuntimeError) -> Reason {
    match error {
        RuntimeError::Down { .. } => Reason::DockerDown,
        RuntimeError::Unresponsive { .. } => Reason::DockerUnresponsive,
        RuntimeError::PortTaken { .. } => Reason::PortConflict,
        RuntimeError::ImageNotFound { .. } => Reason::ImageNotFound,
        RuntimeError::ImageRefused { .. } => Reason::ImagePullRefused,
        RuntimeError::RegistryUnreachable { .. } => Reason::RegistryUnreachable,
        RuntimeError::DiskFull { .. } => Reason::DiskFull,
        RuntimeError::BindSourceMissing { .. } => Reason::BindSourceMissing,
        RuntimeError::DeviceMissing { .. } => Reason::DeviceMissing,
        RuntimeError::CommandHung { .. }
        | RuntimeError::NotFound { .. }
        | RuntimeError::Conflict { .. }
        | RuntimeError::Refused { .. }
        | RuntimeError::Failed { .. } => Reason::EngineRefused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_known_by_all_the_ways_people_write_it() {
        for (server, registry) in [
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("registry.local:5000", "registry.local:5000"),
            ("http://registry.local:5000/", "registry.local:5000"),
        ] {
            assert_eq!(registry_of(server), registry, "{server}");
        }
    }
}
