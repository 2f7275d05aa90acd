//! What every engine must do: one suite, kept by the fake and by Docker with the same code.
//!
//! Here: the [`World`] of one case, what runs in its containers ([`Program`]), and the list of all cases.
//! Below: the cases, by subject. Not here: what only one engine can show (`docker::tests`, `fake::tests`).
//! The engine for Docker's half is set up by `make test`; without one those tests fail, they do not skip.
//! Each case has a prefix of its own for all that it makes, and everything is removed after it, also
//! after a failure.

mod containers;
mod data;
mod images;
mod streams;

use std::{
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use bollard::models::NetworkDisconnectRequest;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, RemoveVolumeOptions,
};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use super::{
    Container, ContainerPlan, ContainerState, Credentials, LogQuery, Runtime,
    docker::Docker,
    fake::{self, Ends, Fake},
};

/// Image of all containers here; has a shell.
const IMAGE: &str = "constellation-test/busybox:1";
/// Label of everything that a case makes; the value is its prefix.
const LABEL: &str = "constellation-test";
/// Longest wait for something that an engine does by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Longest run of one case.
const CASE: Duration = Duration::from_secs(150);

macro_rules! cases {
    ($($subject:ident: $($case:ident)*;)*) => {
        /// The fake keeps the contract; its clock is paused, so that no wait takes time.
        mod the_fake {
            $($(#[tokio::test(start_paused = true)]
            async fn $case() {
                super::on_the_fake(async |world| super::$subject::$case(world).await).await;
            })*)*
        }
        /// Docker keeps the contract.
        mod docker {
            $($(#[tokio::test]
            async fn $case() {
                super::on_docker(async |world| super::$subject::$case(world).await).await;
            })*)*
        }
    };
}

cases! {
    containers:
        the_engine_says_who_it_is
        the_engine_says_since_when_it_runs
        a_container_is_made_started_stopped_and_removed
        what_is_done_already_is_a_success
        a_name_is_taken_until_its_container_is_gone
        a_list_shows_one_label_running_or_not
        an_exit_code_is_kept_until_the_next_start
        who_does_not_listen_is_killed_after_the_grace
        the_stop_signal_is_the_plans
        a_program_that_is_not_there_is_refused
        a_running_container_is_removed_at_once
        an_engine_restarts_what_ends_by_itself_only_when_told
        what_is_not_there_is_named
        a_name_that_leads_elsewhere_is_refused
        health_follows_its_check;
    data:
        a_network_is_made_once
        a_container_joins_all_its_networks
        what_was_taken_off_a_network_is_put_back
        a_network_that_is_missing_is_named
        a_volume_is_made_once_and_outlives_its_container
        a_volume_that_was_to_be_there_and_is_made_with_the_container_is_known_by_it
        what_ran_leaves_its_anonymous_volumes
        a_bind_without_a_source_is_named
        a_port_is_held_by_one_container
        a_port_that_nobody_chose_is_told
        a_port_that_is_published_often_is_told_each_time;
    streams:
        events_tell_a_life_in_order
        events_resume_where_they_were_left
        events_of_others_are_not_heard
        a_log_tells_its_two_outputs_apart
        a_followed_log_ends_with_its_container
        a_command_answers_its_code_and_output
        a_command_has_a_deadline
        a_command_that_outlived_its_deadline_is_not_begun_again_while_it_runs;
    images:
        an_image_is_found_by_name_and_by_id
        a_pull_brings_what_the_registry_resolves
        a_registry_that_wants_a_password_is_given_it
        a_registry_says_what_is_wrong
        a_build_makes_an_image
        a_build_that_fails_names_its_step;
}

/// One engine, and one case's share of it.
pub(super) struct World {
    pub runtime: Arc<dyn Runtime>,
    /// Begins every name that a case gives.
    pub prefix: String,
    /// `host:port` of a registry open to all, with `team/busybox:1` and `:2`.
    registry: String,
    /// `host:port` of a registry that wants [`World::captain`], with `team/secret:1`.
    private: String,
    /// What was pulled: it carries no label.
    pulled: Mutex<Vec<String>>,
    /// Volumes that nobody named: they carry no label either.
    anonymous: Mutex<Vec<String>>,
    /// The engine itself, when it is the fake.
    fake: Option<Fake>,
}

impl World {
    pub fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.prefix)
    }
    pub fn labels(&self) -> BTreeMap<String, String> {
        [(LABEL.to_owned(), self.prefix.clone())].into()
    }
    /// A container of this case, without networks.
    pub fn plan(&self, suffix: &str, program: Program) -> ContainerPlan {
        ContainerPlan {
            name: self.name(suffix),
            image: IMAGE.into(),
            labels: self.labels(),
            command: Some(program.command()),
            stop_timeout: 10,
            ..ContainerPlan::default()
        }
    }
    pub async fn create(&self, plan: ContainerPlan) -> String {
        self.runtime.create(plan).await.unwrap().to_string()
    }
    /// Made, started and so far that it listens to signals.
    pub async fn run(&self, plan: ContainerPlan) -> String {
        let id = self.create(plan).await;
        self.runtime.start(id.clone()).await.unwrap();
        self.ready(&id, 1).await;
        id
    }
    /// Waits until its program has said `ready` so many times.
    pub async fn ready(&self, id: &str, times: usize) {
        eventually("says that it is ready", async || {
            let log = self.log(id, LogQuery::default()).await.0;
            if log.matches("ready").count() >= times { Ok(()) } else { Err(log) }
        })
        .await;
    }
    /// The container, which must be there.
    pub async fn look(&self, id: &str) -> Container {
        self.runtime.inspect(id.to_owned()).await.unwrap().expect("the container is there")
    }
    pub async fn until(&self, id: &str, what: &str, is: impl Fn(&Container) -> bool) -> Container {
        eventually(what, async || {
            let container = self.look(id).await;
            if is(&container) { Ok(container) } else { Err(container) }
        })
        .await
    }
    pub async fn until_exited(&self, id: &str) -> Container {
        self.until(id, "ends", |c| c.state == ContainerState::Exited).await
    }
    /// What it wrote to its two outputs.
    pub async fn log(&self, id: &str, query: LogQuery) -> (String, String) {
        let chunks: Vec<_> = within(self.runtime.logs(id.to_owned(), query).try_collect()).await.unwrap();
        let of = |stderr: bool| {
            let bytes: Vec<u8> = chunks.iter().filter(|c| c.stderr == stderr).flat_map(|c| c.bytes.to_vec()).collect();
            String::from_utf8(bytes).unwrap()
        };
        (of(false), of(true))
    }
    /// A hand takes a container off a network.
    async fn disconnect(&self, id: &str, network: &str) {
        match &self.fake {
            Some(fake) => fake.hand_disconnect(id, network),
            None => {
                let request = NetworkDisconnectRequest { container: id.to_owned(), ..Default::default() };
                raw().await.disconnect_network(network, request).await.unwrap();
            }
        }
    }
    /// Volumes of a container that nobody named.
    async fn anonymous(&self, id: &str) -> Vec<String> {
        let names: Vec<String> = match &self.fake {
            Some(fake) => fake.anonymous(id),
            None => {
                let mounts = raw().await.inspect_container(id, None).await.unwrap().mounts.unwrap_or_default();
                mounts.into_iter().filter_map(|m| m.name).filter(|n| !n.starts_with(&self.prefix)).collect()
            }
        };
        self.anonymous.lock().unwrap().extend(names.iter().cloned());
        names
    }
    pub fn captain(&self, password: &str) -> Credentials {
        Credentials { server: self.private.clone(), username: "captain".into(), password: password.into() }
    }
}

/// Waits for a condition; what was seen last is part of the failure.
async fn eventually<T, S: std::fmt::Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, S>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let seen = match look().await {
            Ok(found) => return found,
            Err(seen) => seen,
        };
        assert!(tokio::time::Instant::now() < end, "not in time: {what}; last seen: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn within<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, call).await.expect("an answer in time")
}

/// What runs in a container or is executed there: a shell's words for a real engine, taught to the fake.
#[derive(Debug, Clone, Copy)]
pub(super) enum Program {
    /// Runs until SIGTERM, then ends with 5.
    Serves,
    /// Ignores SIGTERM.
    Deaf,
    /// Ignores SIGTERM, ends with 3 at SIGUSR1.
    WantsUsr1,
    /// Writes to both outputs and fails with 7.
    Fails,
    /// Writes three lines and ends.
    Counts,
    /// Writes more than is kept, in pieces that are each less.
    Babbles,
    /// Ends well at once.
    Succeeds,
    /// Ends badly at once and says why.
    Unwell,
    /// Does not exist.
    Missing,
}

impl Program {
    const ALL: [Self; 9] = [
        Self::Serves,
        Self::Deaf,
        Self::WantsUsr1,
        Self::Fails,
        Self::Counts,
        Self::Babbles,
        Self::Succeeds,
        Self::Unwell,
        Self::Missing,
    ];

    fn command(self) -> Vec<String> {
        let script = match self {
            Self::Serves => "trap 'exit 5' TERM; echo ready; sleep 1000 & wait",
            Self::Deaf => "trap '' TERM; echo ready; sleep 1000",
            Self::WantsUsr1 => "trap '' TERM; trap 'exit 3' USR1; echo ready; sleep 1000 & wait",
            Self::Fails => "echo out; echo err >&2; exit 7",
            Self::Counts => "echo one; echo two; echo three",
            Self::Babbles => "for i in 1 2 3; do yes | head -c 3000; sleep 0.1; done",
            Self::Succeeds => "true",
            Self::Unwell => "echo no database; exit 1",
            Self::Missing => return vec!["/no/such/program".into()],
        };
        ["sh", "-c", script].map(str::to_owned).into()
    }
    fn taught(self) -> fake::Program {
        let ready = vec![fake::out("ready\n")];
        match self {
            Self::Serves => fake::Program { says: ready, ends: Ends::At(vec![("SIGTERM", 5)]) },
            Self::Deaf => fake::Program { says: ready, ends: Ends::At(vec![]) },
            Self::WantsUsr1 => fake::Program { says: ready, ends: Ends::At(vec![("SIGUSR1", 3)]) },
            Self::Fails => {
                fake::Program { says: vec![fake::out("out\n"), fake::err("err\n")], ends: Ends::ByItself(7) }
            }
            Self::Counts => {
                fake::Program { says: ["one\n", "two\n", "three\n"].map(fake::out).into(), ends: Ends::ByItself(0) }
            }
            Self::Babbles => fake::Program { says: vec![fake::out(&"y\n".repeat(4_500))], ends: Ends::ByItself(0) },
            Self::Succeeds => fake::Program { says: vec![], ends: Ends::ByItself(0) },
            Self::Unwell => fake::Program { says: vec![fake::out("no database\n")], ends: Ends::ByItself(1) },
            Self::Missing => fake::Program { says: vec![], ends: Ends::Missing },
        }
    }
}

fn prefix() -> String {
    format!("ct{:08x}", rand::random::<u32>())
}

async fn on_the_fake(case: impl AsyncFnOnce(&World)) {
    let fake = Fake::new();
    fake.with_image(IMAGE);
    for program in Program::ALL {
        fake.teach(program.command(), program.taught());
    }
    let world = World {
        runtime: Arc::new(fake.clone()),
        prefix: prefix(),
        registry: "127.0.0.1:5000".into(),
        private: "127.0.0.1:5001".into(),
        pulled: Mutex::default(),
        anonymous: Mutex::default(),
        fake: Some(fake.clone()),
    };
    for tag in ["1", "2"] {
        fake.in_registry(&format!("{}/team/busybox:{tag}", world.registry), Ok(()));
    }
    let captain = world.captain("open-sesame");
    fake.in_private_registry(&format!("{}/team/secret:1", world.private), captain);
    within_a_case(&world.prefix, case(&world)).await;
}

pub(super) async fn on_docker(case: impl AsyncFnOnce(&World)) {
    let world = World {
        runtime: Arc::new(Docker::connect(&variable("CONSTELLATION_TEST_DOCKER_HOST")).unwrap()),
        prefix: prefix(),
        registry: variable("CONSTELLATION_TEST_REGISTRY"),
        private: variable("CONSTELLATION_TEST_PRIVATE_REGISTRY"),
        pulled: Mutex::default(),
        anonymous: Mutex::default(),
        fake: None,
    };
    let result = AssertUnwindSafe(within_a_case(&world.prefix, case(&world))).catch_unwind().await;
    sweep(&world).await;
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

async fn within_a_case(prefix: &str, case: impl Future<Output = ()>) {
    assert!(tokio::time::timeout(CASE, case).await.is_ok(), "the case {prefix} took longer than {CASE:?}");
}

fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run `make test`, or `eval \"$(tests/setup/lab.sh up)\"` first"))
}

/// The engine without our words before it: what another program would do to it.
pub(super) async fn raw() -> bollard::Docker {
    let host = variable("CONSTELLATION_TEST_DOCKER_HOST");
    let docker = match host.strip_prefix("unix://") {
        Some(path) => bollard::Docker::connect_with_unix(path, 60, bollard::API_DEFAULT_VERSION),
        None => bollard::Docker::connect_with_http(&host, 60, bollard::API_DEFAULT_VERSION),
    };
    docker.unwrap().negotiate_version().await.unwrap()
}

/// Removes all that a case made, by its label.
async fn sweep(world: &World) {
    let docker = raw().await;
    let filters = std::collections::HashMap::from([("label", vec![format!("{LABEL}={}", world.prefix)])]);
    let containers = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    for container in docker.list_containers(Some(containers)).await.unwrap() {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        docker.remove_container(&container.id.unwrap(), Some(options)).await.unwrap();
    }
    let networks = ListNetworksOptionsBuilder::default().filters(&filters).build();
    for network in docker.list_networks(Some(networks)).await.unwrap() {
        docker.remove_network(&network.id.unwrap()).await.unwrap();
    }
    let volumes = ListVolumesOptionsBuilder::default().filters(&filters).build();
    for volume in docker.list_volumes(Some(volumes)).await.unwrap().volumes.unwrap_or_default() {
        docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await.unwrap();
    }
    let anonymous = std::mem::take(&mut *world.anonymous.lock().unwrap());
    for volume in anonymous {
        // It may have gone with its container.
        let _ = docker.remove_volume(&volume, None::<RemoveVolumeOptions>).await;
    }
    let images = ListImagesOptionsBuilder::default().filters(&filters).build();
    let built = docker.list_images(Some(images)).await.unwrap().into_iter().map(|i| i.id);
    let pulled = std::mem::take(&mut *world.pulled.lock().unwrap());
    for image in built.chain(pulled) {
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        docker.remove_image(&image, Some(options), None).await.unwrap();
    }
}
