//! Whether a change has arrived: what a waiting command knows, as a pure state machine.
//!
//! Here: [`Wait`], fed with services and replicas as they are seen, and its [`Verdict`]. Not here: streams,
//! clocks and printing (`follow`).
//! Invariant: a service counts as arrived only by a status made from the awaited generation or a later one;
//! an older status says nothing about it.

mod failed;
mod job;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    model::{
        Condition, ConditionStatus, ConditionType, Reason, RolloutPhase, ServiceStatus, service::Dependency,
        status::RolloutStatus,
    },
    plan::told,
};
use failed::Failure;

/// What is awaited of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// Everything runs as this generation says.
    Ready {
        /// Of the spec.
        generation: u64,
    },
    /// What a person said about its rollout was carried out.
    Rolled {
        /// Index of that word.
        since: u64,
    },
    /// A run of a job came to its end.
    Ran {
        /// Its number.
        run: u64,
    },
    /// Neither the object nor a container of it is left.
    Gone,
}

/// How far one service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// On its way.
    Waiting(String),
    /// Arrived.
    Reached(String),
    /// It cannot arrive any more.
    Lost(String),
    /// A person holds it up, and nothing goes on before they let it.
    Paused(String),
    /// What was asked is done up to where a person decides.
    Asks(String),
}

impl Progress {
    /// For people.
    #[must_use]
    pub fn said(&self) -> &str {
        match self {
            Self::Waiting(said) | Self::Reached(said) | Self::Lost(said) | Self::Paused(said) | Self::Asks(said) => {
                said
            }
        }
    }
}

/// What a waiting command should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Waiting,
    /// Everything arrived, or waits for a person's decision.
    Done,
    /// Everything else arrived, and something cannot any more or is held up.
    Failed,
}

#[derive(Debug)]
struct Goal {
    aim: Aim,
    present: bool,
    progress: Progress,
    /// How long it took, since it arrived.
    arrived: Option<Duration>,
}

/// Services that are awaited, and what is known of them.
#[derive(Debug, Default)]
pub struct Wait {
    goals: BTreeMap<Arc<str>, Goal>,
    /// Full name of each replica that has not ended → its service.
    live: BTreeMap<Arc<str>, Arc<str>>,
    /// Service → what its replicas say they wait for, of its `dependsOn`.
    needs: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Service, awaited or not, that was seen to have failed → since when.
    failed: BTreeMap<Arc<str>, Failure>,
}

impl Wait {
    /// Waits for these.
    pub fn new(goals: impl IntoIterator<Item = (Arc<str>, Aim)>) -> Self {
        let goal = |aim| Goal { aim, present: true, progress: Progress::Waiting("waiting".into()), arrived: None };
        Self { goals: goals.into_iter().map(|(name, aim)| (name, goal(aim))).collect(), ..Self::default() }
    }

    /// Names of the services.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.goals.keys()
    }

    /// Each service with how far it is.
    pub fn progress(&self) -> impl Iterator<Item = (&Arc<str>, &Progress)> {
        self.goals.iter().map(|(name, goal)| (name, &goal.progress))
    }

    /// What is awaited of one of them.
    #[must_use]
    pub fn aim(&self, name: &str) -> Option<Aim> {
        self.goals.get(name).map(|goal| goal.aim)
    }

    /// So long the wait takes by now: what was seen to arrive since the last note took that long.
    pub fn note(&mut self, now: Duration) {
        for goal in self.goals.values_mut() {
            // What arrived may go off again.
            let there = matches!(goal.progress, Progress::Reached(_) | Progress::Asks(_));
            goal.arrived = goal.arrived.or(Some(now)).filter(|_| there);
        }
        for failure in self.failed.values_mut() {
            failure.note(now);
        }
        self.strand();
    }

    /// Whether something has failed of which only another look can tell that it does so for good.
    #[must_use]
    pub fn doubts(&self) -> bool {
        self.failed.values().any(|failure| !failure.sure)
    }

    /// How long one took to arrive.
    #[must_use]
    pub fn arrived(&self, name: &str) -> Option<Duration> {
        self.goals.get(name)?.arrived
    }

    /// Whether nothing is awaited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.goals.is_empty()
    }

    /// What to do.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let any = |wanted: fn(&Progress) -> bool| self.goals.values().any(|goal| wanted(&goal.progress));
        // One that is lost says nothing of the others: they are awaited to their own end.
        if any(|p| matches!(p, Progress::Waiting(_))) {
            Verdict::Waiting
        } else if any(|p| matches!(p, Progress::Lost(_) | Progress::Paused(_))) {
            Verdict::Failed
        } else {
            Verdict::Done
        }
    }

    /// What a service depends on, as it is declared and as its status says that it waits for it.
    pub fn depends(&mut self, name: &str, on: &[Dependency], generation: u64, status: Option<&ServiceStatus>) {
        let status = status.filter(|status| status.observed_generation >= generation);
        let needs = status.map_or_else(Vec::new, |status| unmet(on, status));
        self.needs.insert(name.into(), needs);
    }

    /// A service was seen, with its status if it has one.
    pub fn service(&mut self, name: &str, generation: u64, status: Option<&ServiceStatus>) {
        match failed::broken(generation, status) {
            Some(why) => self.failed.entry(name.into()).or_default().why = why,
            None => drop(self.failed.remove(name)),
        }
        self.look(name, generation, status);
        self.strand();
    }

    /// Who waits for one that failed for good waits in vain.
    fn strand(&mut self) {
        let waits = |(_, goal): &(&Arc<str>, &mut Goal)| {
            matches!((goal.aim, &goal.progress), (Aim::Ready { .. }, Progress::Waiting(_)))
        };
        let stranded = failed::stranded(&self.failed, &self.needs);
        for (name, goal) in self.goals.iter_mut().filter(waits) {
            if let Some(why) = stranded.get(name) {
                goal.progress = Progress::Lost(why.clone());
            }
        }
    }

    fn look(&mut self, name: &str, generation: u64, status: Option<&ServiceStatus>) {
        let Some(goal) = self.goals.get_mut(name) else { return };
        goal.present = true;
        goal.progress = match goal.aim {
            Aim::Ready { generation: wanted } => ready(name, wanted, generation, status),
            Aim::Rolled { since } => rolled(name, since, status),
            Aim::Ran { run } => job::ran(run, status.and_then(|s| s.job.as_ref())),
            // Somebody declared it again while its deletion was awaited.
            Aim::Gone => Progress::Lost("was created again meanwhile".into()),
        };
    }

    /// A service is not there (any more).
    pub fn service_gone(&mut self, name: &str) {
        self.failed.remove(name);
        self.needs.remove(name);
        let Some(goal) = self.goals.get_mut(name) else { return };
        goal.present = false;
        if matches!(goal.aim, Aim::Ready { .. } | Aim::Rolled { .. } | Aim::Ran { .. }) {
            goal.progress = Progress::Lost("was deleted meanwhile".into());
        }
        self.settle();
    }

    /// A replica was seen.
    pub fn replica(&mut self, name: &Arc<str>, service: &Arc<str>, ended: bool) {
        if ended {
            self.live.remove(name);
        } else {
            self.live.insert(name.clone(), service.clone());
        }
        self.settle();
    }

    /// A replica is not there (any more).
    pub fn replica_gone(&mut self, name: &str) {
        self.live.remove(name);
        self.settle();
    }

    /// A whole list was read: what it does not name is gone.
    pub fn only(&mut self, services: &BTreeSet<Arc<str>>, replicas: &BTreeSet<Arc<str>>) {
        self.live.retain(|name, _| replicas.contains(name));
        self.failed.retain(|name, _| services.contains(name));
        self.needs.retain(|name, _| services.contains(name));
        let gone: Vec<_> = self.goals.keys().filter(|name| !services.contains(*name)).cloned().collect();
        for name in gone {
            self.service_gone(&name);
        }
        self.settle();
    }

    /// Works out what is awaited to be gone.
    fn settle(&mut self) {
        for (name, goal) in &mut self.goals {
            if goal.aim != Aim::Gone || matches!(goal.progress, Progress::Lost(_)) {
                continue;
            }
            let left = self.live.values().filter(|service| *service == name).count();
            goal.progress = match (goal.present, left) {
                (true, _) => Progress::Waiting("waiting".into()),
                (false, 0) => Progress::Reached("deleted".into()),
                (false, 1) => Progress::Waiting("1 replica stops".into()),
                (false, left) => Progress::Waiting(format!("{left} replicas stop")),
            };
        }
    }
}

/// Which of its dependencies a service waits for, by its own word.
fn unmet(on: &[Dependency], status: &ServiceStatus) -> Vec<Arc<str>> {
    let waits = status.conditions.iter().filter(|c| c.reason == Reason::WaitingForDependency);
    let said: Vec<&str> = waits.map(|c| c.message.as_str()).collect();
    let named = |d: &&Dependency| said.iter().any(|said| said.ends_with(&told::not_yet(d)));
    on.iter().filter(named).map(|d| d.name.as_str().into()).collect()
}

/// How far a service is on its way to a generation.
fn ready(name: &str, wanted: u64, generation: u64, status: Option<&ServiceStatus>) -> Progress {
    let Some(status) = status.filter(|status| status.observed_generation >= wanted) else {
        return Progress::Waiting("not looked at yet".into());
    };
    let counts = status.replicas;
    let condition = status.conditions.iter().find(|c| c.kind == ConditionType::Ready);
    let Some(condition) = condition.filter(|c| c.observed_generation >= wanted) else {
        return Progress::Waiting("not judged yet".into());
    };
    let numbers = format!("{}/{} {}", counts.good(), counts.desired, counts.how());
    if let Some(job) = status.job.as_ref().filter(|_| condition.reason != Reason::Suspended) {
        return job::done(job, condition);
    }
    // What went wrong with a revision of before says nothing of this change.
    // Where nothing shall run nothing is rolled out.
    let own = status.rollout.as_ref().filter(|rollout| rollout.generation >= wanted && counts.desired > 0);
    if let Some(ended) = own.and_then(|rollout| turned(name, rollout, &numbers)) {
        return ended;
    }
    // A change without a revision of its own gets no further than what holds that of before.
    let there = condition.status == ConditionStatus::True && counts.updated >= counts.desired;
    let before = status.rollout.as_ref().filter(|_| own.is_none() && counts.desired > 0 && !there);
    if let Some(held) = before.and_then(|rollout| held(name, rollout, &numbers)) {
        return held;
    }
    if let Some(other) = status.rollout.as_ref().filter(|r| own.is_none() && r.target != r.newest) {
        let there = counts.good() == counts.desired && counts.updated == counts.desired;
        let message = format!("{numbers}, of revision {}, not {}", other.target, other.newest);
        let there = there && counts.running <= counts.desired;
        return if there { Progress::Reached(message) } else { Progress::Waiting(message) };
    }
    match (condition.status, condition.reason) {
        (_, Reason::Suspended) if counts.running == 0 => Progress::Reached("suspended, nothing runs".into()),
        (_, Reason::Suspended) => Progress::Waiting(format!("{} still running", counts.running)),
        (_, Reason::Completed) => Progress::Reached("completed".into()),
        (ConditionStatus::False, Reason::Failed) => Progress::Lost(format!("{numbers}: {}", because(condition))),
        (ConditionStatus::True, _) if counts.running > counts.desired => {
            Progress::Waiting(format!("{numbers}, {} too many still running", counts.running - counts.desired))
        }
        (ConditionStatus::True, _) if counts.updated < counts.desired => {
            Progress::Waiting(format!("{numbers}, {} of {} up to date", counts.updated, counts.desired))
        }
        (ConditionStatus::True, _) if own.is_some_and(|rollout| rollout.hooks) => Progress::Waiting(hooked(&numbers)),
        (ConditionStatus::True, _) if generation > wanted => {
            let after = own.and_then(after).unwrap_or_default();
            Progress::Reached(format!("generation {generation}, newer than this change, {numbers}{after}"))
        }
        (ConditionStatus::True, _) => {
            Progress::Reached(format!("generation {wanted}, {numbers}{}", own.and_then(after).unwrap_or_default()))
        }
        (ConditionStatus::False | ConditionStatus::Unknown, _) => {
            Progress::Waiting(format!("{numbers}: {}", because(condition)))
        }
    }
}

/// How an update stands that is not simply on its way; none: the replicas say it.
fn turned(name: &str, rollout: &RolloutStatus, numbers: &str) -> Option<Progress> {
    if let Some(held) = held(name, rollout, numbers) {
        return Some(held);
    }
    let resume = resumes(name);
    let RolloutStatus { phase, target, newest, protected, paused, hooks, message, .. } = rollout;
    match phase {
        RolloutPhase::RolledBack => Some(Progress::Lost(format!("rolled back to revision {target}: {message}"))),
        RolloutPhase::RollingBack if *paused => {
            let why = format!("it is paused on its way back to revision {target} ({message})");
            Some(Progress::Paused(format!("{numbers}: {why}; {resume}")))
        }
        RolloutPhase::RollingBack => {
            Some(Progress::Waiting(format!("{numbers}: goes back to revision {target}: {message}")))
        }
        RolloutPhase::Halted => Some(Progress::Lost(format!("revision {target} stands still: {message}"))),
        RolloutPhase::Progressing if *protected => {
            Some(Progress::Waiting(format!("{numbers}: revision {target} is being rolled out")))
        }
        RolloutPhase::Complete if *paused && *hooks => {
            let why = "its rollout is paused before `postDeploy` has ended";
            Some(Progress::Paused(format!("{numbers}: {why}; {resume}")))
        }
        RolloutPhase::Complete if target != newest => {
            Some(Progress::Lost(format!("revision {target} runs, not {newest}: {message}")))
        }
        RolloutPhase::Progressing | RolloutPhase::Complete => None,
    }
}

/// That a person has to let an update go on.
fn held(name: &str, rollout: &RolloutStatus, numbers: &str) -> Option<Progress> {
    if rollout.phase != RolloutPhase::Progressing {
        return None;
    }
    if rollout.paused {
        return Some(Progress::Paused(format!("{numbers}: its rollout is paused; {}", resumes(name))));
    }
    let promote = format!("`constellation rollout promote svc/{name}` lets the others follow");
    let undo = format!("`constellation rollout undo svc/{name}` goes back");
    rollout.waits.then(|| Progress::Asks(format!("{numbers}: the canaries are good; {promote}, {undo}")))
}

fn resumes(name: &str) -> String {
    format!("`constellation rollout resume svc/{name}` lets it go on")
}

/// How far a rollout is after a word of somebody. One that is paused ends the wait: only a person lets it go on.
fn rolled(name: &str, since: u64, status: Option<&ServiceStatus>) -> Progress {
    let seen = status.and_then(|s| Some((s, s.rollout.as_ref().filter(|r| r.record.0 >= since)?)));
    let Some((status, rollout)) = seen else { return Progress::Waiting("not looked at yet".into()) };
    let counts = status.replicas;
    let numbers = format!("{}/{} {}", counts.good(), counts.desired, counts.how());
    match rollout.phase {
        // What was asked for may be another revision than what is declared.
        RolloutPhase::Complete if counts.updated < counts.desired || counts.running > counts.desired => {
            Progress::Waiting(format!("{numbers}, {} of {} up to date", counts.updated, counts.desired))
        }
        RolloutPhase::Complete if rollout.hooks && !rollout.paused => Progress::Waiting(hooked(&numbers)),
        RolloutPhase::Complete if !rollout.hooks => {
            let after = after(rollout).unwrap_or_default();
            Progress::Reached(format!("revision {}, {numbers}{after}", rollout.target))
        }
        RolloutPhase::Progressing
        | RolloutPhase::Complete
        | RolloutPhase::RollingBack
        | RolloutPhase::RolledBack
        | RolloutPhase::Halted => turned(name, rollout, &numbers).unwrap_or(Progress::Waiting(numbers)),
    }
}

fn hooked(numbers: &str) -> String {
    format!("{numbers}: its postDeploy hooks have not ended")
}

/// What went wrong after a rollout was complete, which takes nothing back.
fn after(rollout: &RolloutStatus) -> Option<String> {
    let followed = rollout.phase == RolloutPhase::Complete && rollout.target == rollout.newest;
    (followed && !rollout.message.is_empty()).then(|| format!("; warning: {} (nothing is taken back)", rollout.message))
}

fn because(condition: &Condition) -> String {
    if condition.message.is_empty() {
        condition.reason.to_string()
    } else {
        format!("{}: {}", condition.reason, condition.message)
    }
}

#[cfg(test)]
mod tests;
