//! What an engine says of itself, for who looks after the machine.

use std::collections::HashMap;

use bollard::{
    models::{LocalNodeState, SystemInfo, SystemVersion},
    query_parameters::ListContainersOptionsBuilder,
};

use super::{Docker, Engine, error::Subject};
use crate::runtime::{RuntimeError, limits};

/// An engine as it describes itself. What it does not say is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Its version, as its packager writes it.
    pub version: String,
    /// Newest API version that it speaks.
    pub api: String,
    /// Version of runc.
    pub runc: String,
    /// Version of containerd.
    pub containerd: String,
    /// How layers are stored.
    pub storage_driver: String,
    /// Who makes control groups.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// Where containers write when they do not say otherwise.
    pub log_driver: String,
    /// Where it keeps images, containers and volumes.
    pub root: String,
    /// Whether containers outlive the engine.
    pub live_restore: bool,
    /// Whether it runs without root.
    pub rootless: bool,
    /// Whether it is a member of a Swarm.
    pub swarm: bool,
    /// Plugins that decide what may be asked.
    pub authorization: Vec<String>,
    /// Containers of a Kubernetes.
    pub of_kubernetes: usize,
    /// What it warns of.
    pub warnings: Vec<String>,
}

impl Docker {
    /// What this engine says of itself.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn survey(&self) -> Result<Survey, RuntimeError> {
        self.0.survey().await
    }
}

impl Engine {
    async fn survey(&self) -> Result<Survey, RuntimeError> {
        let filters = HashMap::from([("label".to_owned(), vec!["io.kubernetes.pod.name".to_owned()])]);
        let pods = ListContainersOptionsBuilder::default().filters(&filters).build();
        let asked = |docker: bollard::Docker| async move {
            futures::try_join!(docker.version(), docker.info(), docker.list_containers(Some(pods)))
        };
        let (version, info, pods) = self.call(limits::INFO, Subject::Engine, asked).await?;
        Ok(Survey { of_kubernetes: pods.len(), ..told(version, info) })
    }
}

fn told(version: SystemVersion, info: SystemInfo) -> Survey {
    let component = |name: &str| {
        let all = version.components.as_deref().unwrap_or_default();
        all.iter().find(|c| c.name.eq_ignore_ascii_case(name)).map(|c| c.version.clone()).unwrap_or_default()
    };
    Survey {
        runc: component("runc"),
        containerd: component("containerd"),
        version: version.version.unwrap_or_default(),
        api: version.api_version.unwrap_or_default(),
        storage_driver: info.driver.unwrap_or_default(),
        cgroup_driver: info.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default(),
        cgroup_version: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
        log_driver: info.logging_driver.unwrap_or_default(),
        root: info.docker_root_dir.unwrap_or_default(),
        live_restore: info.live_restore_enabled.unwrap_or(false),
        rootless: info.security_options.unwrap_or_default().iter().any(|o| o.contains("name=rootless")),
        swarm: info.swarm.and_then(|swarm| swarm.local_node_state) == Some(LocalNodeState::ACTIVE),
        authorization: info.plugins.and_then(|plugins| plugins.authorization).unwrap_or_default(),
        of_kubernetes: 0,
        warnings: info.warnings.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_says_is_read_and_what_it_leaves_out_is_empty() {
        let version = serde_json::from_str(
            r#"{"Version": "20.10.24+dfsg1", "ApiVersion": "1.41", "Components": [
                {"Name": "Engine", "Version": "20.10.24+dfsg1"}, {"Name": "containerd", "Version": "1.6.20~ds1"},
                {"Name": "runc", "Version": "1.1.5+ds1"}]}"#,
        );
        let info = serde_json::from_str(
            r#"{"Driver": "overlay2", "CgroupDriver": "cgroupfs", "CgroupVersion": "1", "LoggingDriver": "json-file",
                "DockerRootDir": "/var/lib/docker", "LiveRestoreEnabled": true, "Swarm": {"LocalNodeState": "active"},
                "SecurityOptions": ["name=seccomp,profile=default"], "Plugins": {"Authorization": ["opa"]}}"#,
        );
        let survey = told(version.unwrap(), info.unwrap());
        assert_eq!((survey.runc.as_str(), survey.containerd.as_str()), ("1.1.5+ds1", "1.6.20~ds1"));
        assert_eq!((survey.cgroup_driver.as_str(), survey.cgroup_version.as_str()), ("cgroupfs", "1"));
        assert_eq!((survey.live_restore, survey.swarm, survey.rootless), (true, true, false));
        assert_eq!(survey.authorization, ["opa"]);
        let nothing = told(serde_json::from_str("{}").unwrap(), serde_json::from_str("{}").unwrap());
        assert_eq!(nothing, Survey::default());
    }
}
