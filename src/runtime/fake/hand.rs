//! What a test does to the fake: set the scene, and act behind the agent's back.

use std::collections::BTreeMap;

use super::{Fake, Program};
use crate::runtime::{Container, ContainerPlan, ContainerState, Credentials, Image, RuntimeError, names::reference};

/// Setting the scene.
impl Fake {
    /// An engine without containers, images and registries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Says what a command does.
    pub fn teach(&self, command: Vec<String>, program: Program) {
        self.change(|state| state.programs.insert(command, program));
    }
    /// Says what a container does whose command nobody taught.
    pub fn teach_the_rest(&self, program: Program) {
        self.change(|state| state.otherwise = program);
    }
    /// This image is here.
    pub fn with_image(&self, image: &str) {
        let image = reference(image).unwrap();
        self.change(|state| state.images.bring(&image));
    }
    /// This image is not here any more.
    pub fn forget_image(&self, image: &str) {
        let image = reference(image).unwrap();
        self.change(|state| state.images.forget(&image));
    }
    /// Changes what is known of an image that is here.
    pub fn alter_image(&self, image: &str, alter: impl FnOnce(&mut Image)) {
        let image = reference(image).unwrap();
        self.change(|state| state.images.alter(&image, alter));
    }
    /// The registry has this image for machines of this kind only.
    pub fn in_registry_for(&self, image: &str, arch: &'static str) {
        let image = reference(image).unwrap();
        self.change(|state| state.images.list_for(&image, arch));
    }
    /// What its registry says of an image to everybody.
    pub fn in_registry(&self, image: &str, answer: Result<(), RuntimeError>) {
        let image = reference(image).unwrap();
        self.change(|state| state.images.list(&image, answer, None));
    }
    /// A registry has this image for those who bring these credentials.
    pub fn in_private_registry(&self, image: &str, credentials: Credentials) {
        let image = reference(image).unwrap();
        self.change(|state| state.images.list(&image, Ok(()), Some(credentials)));
    }
    /// Every call fails from now on, or answers again.
    pub fn down(&self, down: bool) {
        self.change(|state| state.down = down);
    }
    /// Looks at containers get no answer from now on, as of a process that is stopped, or get one again.
    pub fn freeze(&self, frozen: bool) {
        self.change(|state| state.frozen = frozen);
    }
    /// What has to be gathered, like `info`, comes too late from now on, or in time again.
    pub fn overload(&self, busy: bool) {
        self.change(|state| state.busy = busy);
    }
    /// Takes commands and begins none from now on, as under too much load, or begins them again.
    pub fn silence_execs(&self, silent: bool) {
        self.change(|state| state.execs.silent = silent);
    }
    /// No new connections from now on: those that are kept go on, as in an engine that is about to end.
    pub fn close(&self, closed: bool) {
        self.change(|state| state.closed = closed);
    }
    /// Every start fails from now on, or succeeds again.
    pub fn refuse_start(&self, error: Option<RuntimeError>) {
        self.change(|state| state.refuse_start = error);
    }
    /// Volumes vanish right before a container that mounts them is made.
    pub fn lose_volumes_at_create(&self, lose: bool) {
        self.change(|state| state.lose_volumes = lose);
    }
    /// Every look at this container fails from now on, or succeeds again.
    pub fn refuse_inspect(&self, name: &str, error: Option<RuntimeError>) {
        self.change(|state| match error {
            Some(error) => state.refuse_inspect.insert(name.to_owned(), error),
            None => state.refuse_inspect.remove(name),
        });
    }
}

/// Commands in containers.
#[derive(Default)]
pub(super) struct Execs {
    /// None begins.
    silent: bool,
    /// How many were asked for.
    asked: usize,
}
impl Execs {
    /// Counts one; whether it never begins.
    pub(super) fn ask(&mut self) -> bool {
        self.asked += 1;
        self.silent
    }
}

/// Looking, without a call.
impl Fake {
    /// How many commands were asked for so far.
    #[must_use]
    pub fn execs(&self) -> usize {
        self.look().execs.asked
    }
    /// Changing calls so far, like `create web-1-x`, and none after this.
    pub fn calls(&self) -> Vec<String> {
        self.change(|state| std::mem::take(&mut state.calls))
    }
    /// Names of all volumes.
    #[must_use]
    pub fn volumes(&self) -> Vec<String> {
        self.look().volumes.keys().cloned().collect()
    }
    /// Names of all networks.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        self.look().networks.keys().cloned().collect()
    }
    /// A container by name or id.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<Container> {
        self.look().find(name).map(|e| e.container.clone())
    }
    /// What a container was made from.
    #[must_use]
    pub fn plan(&self, name: &str) -> ContainerPlan {
        self.look().find(name).expect("the container is there").plan.clone()
    }
    /// Volumes of a container that nobody named.
    #[must_use]
    pub fn anonymous(&self, id: &str) -> Vec<String> {
        self.look().find(id).expect("the container is there").anonymous.clone()
    }
    /// A container's name by its id; what was given when there is none.
    pub(super) fn name(&self, id: &str) -> String {
        self.container(id).map_or_else(|| id.to_owned(), |c| c.name)
    }
}

/// Acting behind the agent's back.
impl Fake {
    /// Puts a container there that nobody asked this engine for, and starts it.
    pub fn foreign(&self, name: &str, labels: BTreeMap<String, String>) {
        let plan = ContainerPlan { name: name.into(), labels, ..ContainerPlan::default() };
        let id = self.change(|state| state.make(plan, String::new()));
        self.begin(&id).unwrap();
    }
    /// It ends by itself.
    pub fn crash(&self, name: &str, code: i64) {
        self.change(|state| state.end(name, code));
        self.restart_if_due(name);
    }
    /// The kernel ends it for want of memory.
    pub fn out_of_memory(&self, name: &str) {
        self.change(|state| {
            state.say(name, "oom");
            state.end(name, 137);
        });
        self.alter(name, |c| c.oom_killed = true);
        self.restart_if_due(name);
    }
    /// `docker stop`, obeyed.
    pub fn hand_stop(&self, name: &str) {
        self.change(|state| {
            state.find_mut(name).expect("the container is there").asked_to_end = true;
            state.say_signal(name, "SIGTERM");
            state.end(name, 143);
            state.say(name, "stop");
        });
    }
    /// `docker start`.
    pub fn hand_start(&self, name: &str) {
        self.begin(name).unwrap();
    }
    /// `docker kill`.
    pub fn hand_kill(&self, name: &str) {
        self.change(|state| state.kill(name));
    }
    /// `docker kill -s`, of a signal that its program outlives.
    pub fn hand_signal(&self, name: &str, signal: &str) {
        self.change(|state| state.say_signal(name, signal));
    }
    /// `docker network disconnect`.
    pub fn hand_disconnect(&self, name: &str, network: &str) {
        self.alter(name, |c| {
            c.networks.remove(network);
            c.addresses.remove(network);
        });
    }
    /// `systemctl restart docker`: its containers end with it, and some come back with the next one.
    pub fn restart_engine(&self) {
        let running: Vec<_> = self.change(|state| {
            let all = state.containers.keys().cloned().collect::<Vec<_>>();
            all.into_iter().filter(|id| state.is_running(id)).collect()
        });
        self.change(|state| {
            for id in &running {
                state.say_signal(id, "SIGTERM");
                state.end(id, 0);
                state.say(id, "stop");
            }
            state.began = state.clock;
        });
        for id in running {
            let again = self.look().restarting(&id).is_some();
            if again {
                self.begin(&id).unwrap();
            }
        }
    }
    /// `docker rm -f`.
    pub fn hand_remove(&self, name: &str) {
        self.change(|state| state.remove(name));
    }
    /// `docker rename`.
    pub fn hand_rename(&self, name: &str, new: &str) {
        self.alter(name, |c| c.name = new.into());
        self.change(|state| state.say(new, "rename"));
    }
    /// `docker pause`.
    pub fn hand_pause(&self, name: &str) {
        self.alter(name, |c| c.state = ContainerState::Paused);
        self.change(|state| state.say(name, "pause"));
    }
    /// `docker update`.
    pub fn hand_update(&self, name: &str, limit: &'static str, value: &str) {
        self.alter(name, |c| drop(c.limits.insert(limit, value.into())));
        self.change(|state| state.say(name, "update"));
    }
    /// The engine's health check comes to a verdict.
    pub fn set_health(&self, name: &str, health: &str) {
        self.alter(name, |c| c.health = Some(health.into()));
        self.change(|state| state.say(name, "health_status"));
    }
    /// `docker volume create NAME --opt type=none --opt o=bind --opt device=FOLDER`.
    pub fn bind_volume(&self, name: &str, folder: &str) {
        self.change(|state| {
            state.volumes.insert(name.into(), BTreeMap::new());
            state.folders.insert(name.into(), folder.into());
        });
    }
    /// `docker volume rm`.
    pub fn lose_volume(&self, name: &str) {
        self.change(|state| state.volumes.remove(name));
    }
    /// `docker network rm`.
    pub fn lose_network(&self, name: &str) {
        self.change(|state| state.networks.remove(name));
    }
    fn alter(&self, name: &str, alter: impl FnOnce(&mut Container)) {
        self.change(|state| alter(&mut state.find_mut(name).expect("the container is there").container));
    }
}
