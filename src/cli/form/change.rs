//! What commands that change something print for programs: what became of each object.

use serde::{Deserialize, Serialize};

use crate::{
    api::wire::{ApplyAnswer, ManifestFault, ObjectOutcome, Problem},
    cli::failure::CliError,
    model::{Kind, ObjectKey},
    store::command::Outcome,
};

/// `apply`, `scale`, `delete`, `node cordon`, `node uncordon`: what became of each object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// Index after the change; absent when no agent was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Whether nothing was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// In the order in which they were written.
    pub objects: Vec<ChangedObject>,
    /// What concerns none of the objects alone.
    pub warnings: Vec<String>,
    /// The same of what needs no action.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One object of a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedObject {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub action: Action,
    /// Counts changes of its spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Index of its last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<u64>,
    /// What works but a person should know.
    pub warnings: Vec<String>,
    /// What is good to know and needs no action.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How the wait for it ended; absent when there was nothing to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Waited>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failed>,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Created,
    /// Spec or metadata changed.
    Configured,
    /// Everything was as asked.
    Unchanged,
    /// It is deleted.
    Deleted,
    /// Its manifest is good; no agent was asked.
    Valid,
    /// It was to be deleted and did not exist.
    Absent,
    /// Nothing became of it: `error` says why.
    Failed,
    /// It was asked for, and no answer says whether it was done: `error` says why.
    Unknown,
    /// Another one failed in a way that made it useless to try.
    Untried,
}

/// How the wait for a service, or for a new version of a Config or Secret, ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// In one word.
    pub state: WaitState,
    /// The facts, for people.
    pub message: String,
}

/// The end of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitState {
    /// It is as asked: ready, completed, suspended, or gone.
    Done,
    /// It cannot become so.
    Failed,
    /// It waits for a person: it is paused, or canaries wait for `rollout promote`.
    Held,
    /// It was not so within `--timeout`.
    Timeout,
    /// Nobody waited: `--detach`, or Ctrl-C.
    Detached,
    /// The wait was broken off: the agent was gone.
    Unknown,
}

/// Instead of the answer, of a command that failed before it had one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unanswered {
    /// Why.
    pub error: Failed,
    /// None: who goes through the objects of an answer needs no other case.
    pub objects: [(); 0],
}

impl From<&CliError> for Unanswered {
    fn from(error: &CliError) -> Self {
        Self { error: Failed::from(error), objects: [] }
    }
}

/// Why an object, or a whole command, failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// What went wrong.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The exit code of this error.
    pub exit_code: u8,
    /// The API's answer, when it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// What is wrong in the manifests, when they were not sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ManifestFault>,
}

impl From<&CliError> for Failed {
    fn from(error: &CliError) -> Self {
        let problem = match error {
            CliError::Refused(problem) => Some((**problem).clone()),
            _ => None,
        };
        let errors = match error {
            CliError::Manifests(errors) => errors.clone(),
            _ => Vec::new(),
        };
        Self { message: error.chain(), hint: error.hint(), exit_code: error.exit().code(), problem, errors }
    }
}

impl ChangedObject {
    /// One with nothing more to say.
    #[must_use]
    pub fn new(kind: Kind, name: &str, action: Action) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            action,
            generation: None,
            resource_version: None,
            warnings: Vec::new(),
            notes: Vec::new(),
            wait: None,
            error: None,
        }
    }
}

impl From<&ObjectOutcome> for ChangedObject {
    fn from(object: &ObjectOutcome) -> Self {
        let action = match object.result {
            Outcome::Created => Action::Created,
            Outcome::Configured => Action::Configured,
            Outcome::Unchanged => Action::Unchanged,
            Outcome::Deleted => Action::Deleted,
        };
        Self {
            generation: Some(object.generation),
            resource_version: Some(object.resource_version),
            ..Self::new(object.kind, &object.name, action)
        }
    }
}

impl Changed {
    /// Takes an answer of the API in.
    pub fn answer(&mut self, answer: &ApplyAnswer) {
        self.index = Some(answer.index);
        self.dry_run |= answer.dry_run;
        self.objects.extend(answer.objects.iter().map(ChangedObject::from));
        self.warn(&answer.warnings);
    }

    /// Gives each warning, `svc/web: …`, to its object; the others stay beside them. Each is kept once.
    pub fn warn(&mut self, warnings: &[String]) {
        for warning in warnings {
            match self.own(warning) {
                Some((object, said)) => keep(&mut object.warnings, said),
                None => keep(&mut self.warnings, warning),
            }
        }
    }

    /// The same of notes.
    pub fn note(&mut self, notes: &[String]) {
        for note in notes {
            match self.own(note) {
                Some((object, said)) => keep(&mut object.notes, said),
                None => keep(&mut self.notes, note),
            }
        }
    }

    /// Whom a line is about, and what it says.
    fn own<'l>(&mut self, line: &'l str) -> Option<(&mut ChangedObject, &'l str)> {
        self.objects.iter_mut().find_map(|object| {
            let key = ObjectKey::new(object.kind, object.name.as_str()).to_string();
            let said = line.strip_prefix(&key)?.strip_prefix(": ")?;
            Some((object, said))
        })
    }

    /// How the wait for each new version of a Config or Secret ended.
    pub fn arrived(&mut self, objects: &[(ObjectKey, Waited)]) {
        for (key, waited) in objects {
            let ours = |o: &&mut ChangedObject| o.kind == key.kind && *o.name == *key.name;
            if let Some(object) = self.objects.iter_mut().find(ours) {
                object.wait = Some(waited.clone());
            }
        }
    }

    /// How the wait for each service ended.
    pub fn waited<N: AsRef<str>>(&mut self, services: &[(N, Waited)]) {
        for (name, waited) in services {
            let ours = |o: &&mut ChangedObject| o.kind == Kind::Service && o.name == name.as_ref();
            if let Some(object) = self.objects.iter_mut().find(ours) {
                object.wait = Some(waited.clone());
            }
        }
    }
}

fn keep(list: &mut Vec<String>, said: &str) {
    if !list.iter().any(|known| known == said) {
        list.push(said.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer() -> ApplyAnswer {
        let object = |kind, name: &str, result| ObjectOutcome {
            kind,
            name: name.into(),
            result,
            generation: 2,
            resource_version: 7,
        };
        ApplyAnswer {
            index: 9,
            objects: vec![
                object(Kind::Config, "web", Outcome::Unchanged),
                object(Kind::Service, "web", Outcome::Configured),
                object(Kind::Service, "web2", Outcome::Created),
            ],
            warnings: vec!["svc/web: no healthcheck".into(), "svc/other: not ours".into()],
            dry_run: false,
        }
    }

    #[test]
    fn a_change_says_of_each_object_what_became_of_it() {
        let mut changed = Changed::default();
        changed.answer(&answer());
        changed.warn(&["svc/web: no healthcheck".into(), "svc/web2: alone".into()]);
        changed.note(&["svc/web2: data at /d: dataPolicy state".into()]);
        changed.waited(&[("web", Waited { state: WaitState::Timeout, message: "0/1 ready".into() })]);
        let refused = Problem { status: 404, title: "No such object".into(), ..Problem::default() };
        let error = Failed::from(&CliError::Refused(Box::new(refused)));
        changed
            .objects
            .push(ChangedObject { error: Some(error), ..ChangedObject::new(Kind::Secret, "key", Action::Failed) });
        let said = serde_json::to_value(&changed).unwrap();
        assert_eq!(
            said["objects"][1],
            json!({"kind": "Service", "name": "web", "action": "configured", "generation": 2, "resourceVersion": 7,
                   "warnings": ["no healthcheck"], "wait": {"state": "timeout", "message": "0/1 ready"}})
        );
        assert_eq!(said["objects"][0]["wait"], Value::Null, "a Config of the same name was not awaited");
        assert_eq!(said["objects"][2]["warnings"], json!(["alone"]));
        assert_eq!(said["objects"][2]["notes"], json!(["data at /d: dataPolicy state"]));
        assert_eq!(said["objects"][3]["error"]["exitCode"], 5);
        assert_eq!((&said["warnings"], &said["index"]), (&json!(["svc/other: not ours"]), &json!(9)));
        assert_eq!(serde_json::from_value::<Changed>(said).unwrap(), changed, "it can be read back");
    }

    #[test]
    fn a_command_without_an_answer_says_why_in_the_form_of_one() {
        let fault = ManifestFault { source: "web.yaml".into(), line: 3, ..ManifestFault::default() };
        let refused = Problem { status: 409, title: "Conflict".into(), ..Problem::default() };
        for (error, code, member, value) in [
            (CliError::Refused(Box::new(refused)), 6, "/error/problem/status", json!(409)),
            (CliError::Manifests(vec![fault]), 2, "/error/errors/0/line", json!(3)),
        ] {
            let said = serde_json::to_value(Unanswered::from(&error)).unwrap();
            assert_eq!((&said["objects"], &said["error"]["exitCode"]), (&json!([]), &json!(code)));
            assert_eq!(said.pointer(member), Some(&value), "{said}");
            assert!(serde_json::from_value::<Unanswered>(said).is_ok(), "it can be read back");
        }
    }
}
