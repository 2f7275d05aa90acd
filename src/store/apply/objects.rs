//! Commands about what people declare: objects, and the revisions of Services.
//!
//! Here: put, delete, and the answer of a registry to a revision. Not here: what an object keeps from
//! being deleted (`super::needs`), Replicas (`super::replicas`).

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    model::{
        Kind, Meta, Object, ObjectKey, Reason, Resolution, ResolvedImage, Revision, Uid, event::Subject,
        service::REVISION_HISTORY_LIMIT,
    },
    store::{
        command::{Group, ObjectResult, Outcome, PutObject, Refusal},
        state::{Changed, State},
    },
};

/// What of a Service's spec decides about its revisions. What was kept must not depend on what the proposer knew: a spec
/// that does not have it counts as one with the default, on every node alike.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct History {
    revision_history_limit: Option<u32>,
}

impl State {
    pub(super) fn put(&mut self, group: &Group, put: &PutObject) -> Result<ObjectResult, Refusal> {
        let at = group.at;
        let key = ObjectKey::new(put.kind, put.name.clone());
        if put.kind == Kind::Replica {
            return Err(Refusal::Invalid("replicas are made by the cluster and cannot be written".into()));
        }
        let old = self.objects.get(&key).cloned();
        if let Some(found) = old.as_ref().and_then(|o| o.meta.managed_by.clone())
            && put.managed_by.as_ref().is_some_and(|asked| *asked != found)
        {
            return Err(Refusal::OtherSet { key, found: Some(found), asked: put.managed_by.clone() });
        }
        let managed_by = put.managed_by.clone().or_else(|| old.as_ref().and_then(|o| o.meta.managed_by.clone()));
        // A seal draws a new nonce each time: for a Secret the digest decides.
        let same_spec = old.as_ref().is_some_and(|o| match put.kind {
            Kind::Secret => o.digest.is_some() && o.digest == put.spec_hash,
            Kind::Service | Kind::Config | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => {
                o.spec == put.spec
            }
        });
        let same_meta = old.as_ref().is_some_and(|o| {
            o.meta.labels == put.labels && o.meta.annotations == put.annotations && o.meta.managed_by == managed_by
        });
        let result = |outcome, object: &Object| ObjectResult {
            kind: put.kind,
            name: put.name.clone(),
            result: outcome,
            generation: object.meta.generation,
            resource_version: object.meta.resource_version,
        };
        if let Some(old) = old.as_ref().filter(|_| same_spec && same_meta) {
            return Ok(result(Outcome::Unchanged, old));
        }
        if put.kind == Kind::Secret && !same_spec {
            // Uid and version are part of the seal: it opens only over the object it was made for.
            let found = old.as_ref().map(|o| o.meta.resource_version);
            if put.based_on != found {
                return Err(Refusal::Conflict { key, expected: put.based_on, found });
            }
        }
        let index = self.step();
        let object = Arc::new(Object {
            kind: put.kind,
            meta: Meta {
                name: put.name.clone(),
                labels: put.labels.clone(),
                annotations: put.annotations.clone(),
                managed_by,
                uid: old.as_ref().map_or_else(|| put.uid.clone(), |o| o.meta.uid.clone()),
                generation: old.as_ref().map_or(0, |o| o.meta.generation) + u64::from(!same_spec),
                resource_version: index,
                created_at: old.as_ref().map_or(at, |o| o.meta.created_at),
            },
            spec: match (&old, same_spec) {
                (Some(old), true) => old.spec.clone(),
                _ => put.spec.clone(),
            },
            digest: put.spec_hash.clone(),
        });
        self.keep_object(object.clone());
        let relabelled = old.as_ref().map(|o| &o.meta.labels).filter(|labels| **labels != object.meta.labels).cloned();
        self.changed(index, key, Changed::Put { object: object.clone(), relabelled });
        if put.kind == Kind::Service {
            self.revise(&object);
        }
        if !same_spec {
            self.keep_version(group, &object, old.as_ref());
        }
        let (reason, outcome, verb) = match old {
            None => (Reason::Created, Outcome::Created, "created"),
            Some(_) => (Reason::Configured, Outcome::Configured, "configured"),
        };
        let subject = Subject { kind: put.kind, name: put.name.clone(), uid: object.meta.uid.clone() };
        self.event(at, reason, subject, None, told(group, &format!("{verb}, generation {}", object.meta.generation)));
        Ok(result(outcome, &object))
    }

    /// A new container part makes a new revision; with the same one, the newest follows what is declared around it: its
    /// hooks.
    fn revise(&mut self, service: &Object) {
        let hash = service.digest.clone().unwrap_or_default();
        let newest = self.newest_revision(&service.meta.uid).cloned();
        if let Some(same) = newest.as_ref().filter(|r| r.spec_hash == hash) {
            if same.spec != service.spec {
                let revision = Revision { spec: service.spec.clone(), ..(**same).clone() };
                self.revisions.insert((service.meta.uid.clone(), same.number), Arc::new(revision));
            }
            return self.trim_revisions(service);
        }
        let number = newest.map_or(0, |r| r.number) + 1;
        // What runs and is declared again keeps its image: the replicas of it fit, and their tag may have moved.
        let target = self.rollout(&service.meta.uid).and_then(|r| self.revision(&service.meta.uid, r.target));
        let same = target.filter(|target| target.spec_hash == hash).map(|target| target.image.clone());
        let image = same.filter(|image| matches!(image, Resolution::Resolved { .. })).unwrap_or(Resolution::Pending);
        let revision = Revision {
            service: service.meta.uid.clone(),
            number,
            index: self.index,
            generation: service.meta.generation,
            spec_hash: hash,
            spec: service.spec.clone(),
            image,
            tried: None,
        };
        self.revisions.insert((service.meta.uid.clone(), number), Arc::new(revision));
        self.trim_revisions(service);
    }

    /// Keeps the newest revision, those in use, and as many earlier ones as the Service says.
    fn trim_revisions(&mut self, service: &Object) {
        let history: History = serde_json::from_slice(&service.spec).unwrap_or_default();
        let limit = history.revision_history_limit.unwrap_or(REVISION_HISTORY_LIMIT);
        let mut used: Vec<u64> = self.replicas_of(&service.meta.uid).map(|r| r.revision).collect();
        // What is wanted, and what a failed update goes back to.
        used.extend(self.rollout(&service.meta.uid).into_iter().flat_map(|r| [Some(r.target), r.stable]).flatten());
        let runs = self.job(&service.meta.uid).into_iter().flat_map(|job| &job.runs);
        used.extend(runs.filter(|run| run.runs()).map(|run| run.revision));
        let all: Vec<u64> = self.revisions(&service.meta.uid).map(|r| r.number).collect();
        let earlier = all.len().saturating_sub(1);
        let old = earlier.saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        for number in all.into_iter().take(old).filter(|n| !used.contains(n)) {
            self.revisions.remove(&(service.meta.uid.clone(), number));
        }
    }

    pub(super) fn delete(&mut self, group: &Group, key: &ObjectKey) -> Result<ObjectResult, Refusal> {
        let at = group.at;
        let Some(object) = self.objects.get(key).cloned() else {
            return Err(Refusal::NotFound { key: key.clone() });
        };
        if key.kind == Kind::Node
            && let Some(by) = self.needs_node(&object)
        {
            return Err(Refusal::InUse { key: key.clone(), by });
        }
        let index = self.step();
        self.drop_object(&object);
        self.rollouts.remove(&object.meta.uid);
        self.jobs.remove(&object.meta.uid);
        self.edges.remove(&object.meta.uid);
        self.statuses.remove(key);
        self.changed(index, key.clone(), Changed::Deleted(object.clone()));
        if key.kind == Kind::Service {
            self.drop_revisions(&object.meta.uid);
        }
        self.drop_versions(&object.meta.uid);
        let subject = Subject { kind: key.kind, name: key.name.clone(), uid: object.meta.uid.clone() };
        self.event(at, Reason::Deleted, subject, None, told(group, "deleted"));
        Ok(ObjectResult {
            kind: key.kind,
            name: key.name.clone(),
            result: Outcome::Deleted,
            generation: object.meta.generation,
            resource_version: index,
        })
    }

    /// Revisions of a deleted Service go with the last of its Replicas.
    pub(super) fn drop_revisions(&mut self, service: &Uid) {
        if self.uids.contains_key(service) || self.replicas_of(service).next().is_some() {
            return;
        }
        let numbers: Vec<u64> = self.revisions(service).map(|r| r.number).collect();
        for number in numbers {
            self.revisions.remove(&(service.clone(), number));
        }
    }

    pub(super) fn resolve(&mut self, at: u64, service: &Uid, number: u64, image: &Resolution) -> Result<(), Refusal> {
        let Some(old) = self.revision(service, number).cloned() else {
            return Err(Refusal::Invalid(format!("there is no revision {number} of {service}")));
        };
        if matches!(old.image, Resolution::Resolved { .. }) || old.image == *image {
            return Ok(());
        }
        let Some(object) = self.object_by_uid(service).cloned() else { return Ok(()) };
        let index = self.step();
        self.revisions.insert((service.clone(), number), Arc::new(Revision { image: image.clone(), ..(*old).clone() }));
        // The Service's own version stays: an answer of a registry must not fail a user's write.
        self.changed(index, object.key(), Changed::Status);
        let subject = Subject { kind: Kind::Service, name: object.meta.name.clone(), uid: service.clone() };
        match image {
            Resolution::Pending => {}
            Resolution::Resolved { image } => {
                let kind = match image {
                    ResolvedImage::Digest { .. } => "digest",
                    ResolvedImage::Local { .. } => "local image",
                };
                self.event(
                    at,
                    Reason::ImageResolved,
                    subject,
                    None,
                    format!("revision {number}: {kind} {}", image.reference()),
                );
            }
            Resolution::Failed { reason, message, .. } => {
                self.warn(at, *reason, subject, None, format!("revision {number}: {message}"));
            }
        }
        Ok(())
    }
}

/// What was done, with the words of whoever asked for it.
fn told(group: &Group, what: &str) -> String {
    match &group.reason {
        Some(reason) => format!("{what} ({}: {reason})", group.actor),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::command::Command;

    fn put(state: &mut State, spec: &serde_json::Value, hash: &str) {
        let put = PutObject {
            kind: Kind::Service,
            name: "web".into(),
            labels: [].into(),
            annotations: [].into(),
            managed_by: None,
            spec: spec.to_string().into_bytes(),
            based_on: state.version(&ObjectKey::service("web")),
            uid: Uid("web".into()),
            spec_hash: Some(hash.to_owned()),
        };
        state.apply(&Group { commands: vec![Command::Put(put)], ..Group::default() }).unwrap();
    }
    fn kept(state: &State) -> Vec<u64> {
        state.revisions(&Uid("web".into())).map(|r| r.number).collect()
    }

    #[test]
    fn as_many_earlier_revisions_are_kept_as_the_service_says() {
        let mut state = State::default();
        let spec =
            |limit: Option<u32>, image: u32| serde_json::json!({ "revisionHistoryLimit": limit, "image": image });
        for n in 1..=23 {
            put(&mut state, &spec(None, n), &n.to_string());
        }
        assert_eq!(kept(&state), (3..=23).collect::<Vec<_>>(), "twenty and the newest");
        put(&mut state, &spec(Some(2), 23), "23");
        assert_eq!(kept(&state), [21, 22, 23], "without a new one too");
        put(&mut state, &spec(Some(0), 24), "24");
        assert_eq!(kept(&state), [24]);
        put(&mut state, &spec(Some(0), 25), "25");
        assert_eq!(kept(&state), [25]);
    }

    #[test]
    fn the_newest_revision_follows_what_is_declared_around_its_container() {
        let mut state = State::default();
        for (hash, hook) in [("a", 1), ("a", 2), ("b", 3)] {
            put(&mut state, &serde_json::json!({ "hook": hook }), hash);
        }
        let revisions: Vec<_> = state.revisions(&Uid("web".into())).map(|r| r.spec.clone()).collect();
        assert_eq!(revisions, [br#"{"hook":2}"#.to_vec(), br#"{"hook":3}"#.to_vec()]);
    }
}
