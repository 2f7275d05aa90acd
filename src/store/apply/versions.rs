//! Versions of Configs and Secrets: kept when a new one comes, dropped when there are too many.
//!
//! Here: keeping, dropping, and sealing under another key. Not here: when any of it is asked for (`api::secrets`,
//! `api::rekey`).
//! Why fields are read out of a spec here: what was kept must not depend on what the proposer knew. A spec that does
//! not have them counts as one with the defaults, on every node alike.

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    model::{Kind, Object, ObjectKey, Uid, Version, rotation::KEPT_VERSIONS},
    store::{
        command::{Group, Refusal, Sealed},
        state::{Changed, State},
    },
};

/// What of a spec decides about versions.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Look {
    version: Option<u64>,
    keep_versions: Option<u32>,
}

impl Look {
    fn of(object: &Object) -> Self {
        serde_json::from_slice(&object.spec).unwrap_or_default()
    }
    /// A Secret counts its values; a Config's every change is one.
    fn number(&self, object: &Object) -> u64 {
        self.version.filter(|_| object.kind == Kind::Secret).unwrap_or(object.meta.generation)
    }
}

impl State {
    /// After a changed object was written: what it was before is kept beside it.
    pub(super) fn keep_version(&mut self, group: &Group, object: &Object, old: Option<&Arc<Object>>) {
        match object.kind {
            Kind::Config | Kind::Secret => {}
            Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => return,
        }
        let (uid, look) = (&object.meta.uid, Look::of(object));
        let number = look.number(object);
        if let Some(old) = old {
            let before = Look::of(old).number(old);
            // Another policy around the same values is no version.
            if before != number {
                let made = self.versions.get(&(uid.clone(), before)).map(|v| (**v).clone());
                // Written by an older version of ours: nobody noted who made it.
                let made = made.unwrap_or_else(|| Version {
                    object: uid.clone(),
                    number: before,
                    made_at: old.meta.created_at,
                    by: "".into(),
                    reason: None,
                    kept: None,
                });
                let kept = Version { kept: Some(old.clone()), ..made };
                self.versions.insert((uid.clone(), before), Arc::new(kept));
            }
        }
        if !self.versions.contains_key(&(uid.clone(), number)) {
            let (by, reason) = (group.actor.clone(), group.reason.clone());
            let version = Version { object: uid.clone(), number, made_at: group.at, by, reason, kept: None };
            self.versions.insert((uid.clone(), number), Arc::new(version));
        }
        let most = usize::try_from(look.keep_versions.unwrap_or(KEPT_VERSIONS)).unwrap_or(usize::MAX).max(1);
        let numbers: Vec<u64> = self.versions(uid).map(|v| v.number).collect();
        for number in numbers.iter().take(numbers.len().saturating_sub(most)) {
            self.versions.remove(&(uid.clone(), *number));
        }
    }

    pub(super) fn drop_versions(&mut self, object: &Uid) {
        let numbers: Vec<u64> = self.versions(object).map(|v| v.number).collect();
        for number in numbers {
            self.versions.remove(&(object.clone(), number));
        }
    }

    /// The proposer names the version of the object that it read as a precondition of the group.
    pub(super) fn reseal(&mut self, key: &ObjectKey, version: Option<u64>, sealed: &Sealed) -> Result<(), Refusal> {
        let old = self.objects.get(key).cloned().filter(|o| o.kind == Kind::Secret);
        let Some(old) = old else { return Err(Refusal::NotFound { key: key.clone() }) };
        let under = |object: &Object| Object {
            spec: sealed.spec.clone(),
            digest: Some(sealed.digest.clone()),
            ..object.clone()
        };
        if let Some(number) = version {
            let place = (old.meta.uid.clone(), number);
            // Dropped meanwhile: nothing is left to seal.
            if let Some(version) = self.versions.get(&place).cloned()
                && let Some(kept) = &version.kept
            {
                self.step();
                let kept = Some(Arc::new(under(kept)));
                self.versions.insert(place, Arc::new(Version { kept, ..(*version).clone() }));
            }
            return Ok(());
        }
        let index = self.step();
        let mut object = under(&old);
        object.meta.resource_version = index;
        let object = Arc::new(object);
        self.keep_object(object.clone());
        self.changed(index, key.clone(), Changed::Put { object, relabelled: None });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Index,
        store::command::{Command, PutObject},
    };

    fn put(state: &mut State, kind: Kind, spec: &serde_json::Value, by: &str) {
        let put = PutObject {
            kind,
            name: "a".into(),
            labels: [].into(),
            annotations: [].into(),
            managed_by: None,
            spec: spec.to_string().into_bytes(),
            based_on: state.version(&ObjectKey::new(kind, "a")),
            uid: Uid("a".into()),
            spec_hash: Some(spec.to_string()),
        };
        let commands = vec![Command::Put(put)];
        state.apply(&Group { at: 7, actor: by.into(), commands, ..Group::default() }).unwrap();
    }
    /// Number, who made it, whether it is kept beside the newest.
    fn kept(state: &State) -> Vec<(u64, String, bool)> {
        state.versions(&Uid("a".into())).map(|v| (v.number, v.by.to_string(), v.kept.is_some())).collect()
    }

    #[test]
    fn the_newest_versions_are_kept_with_who_made_them() {
        let mut state = State::default();
        let secret = |version: u64, kept: Option<u32>| serde_json::json!({"version": version, "keepVersions": kept});
        put(&mut state, Kind::Secret, &secret(1, None), "ann");
        put(&mut state, Kind::Secret, &secret(1, Some(2)), "bob");
        assert_eq!(kept(&state), [(1, "ann".into(), false)], "another policy is no version");
        put(&mut state, Kind::Secret, &secret(2, Some(2)), "bob");
        assert_eq!(kept(&state), [(1, "ann".into(), true), (2, "bob".into(), false)]);
        put(&mut state, Kind::Secret, &secret(3, Some(2)), "cyd");
        assert_eq!(kept(&state), [(2, "bob".into(), true), (3, "cyd".into(), false)]);
        state
            .apply(&Group {
                commands: vec![Command::Delete { key: ObjectKey::new(Kind::Secret, "a") }],
                ..Group::default()
            })
            .unwrap();
        assert_eq!(kept(&state), []);
    }

    #[test]
    fn every_change_of_a_config_is_a_version_and_five_are_kept() {
        let mut state = State::default();
        for n in 0..7 {
            put(&mut state, Kind::Config, &serde_json::json!({"data": {"version": n.to_string()}}), "ann");
        }
        assert_eq!(kept(&state).iter().map(|v| v.0).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
        assert!(kept(&state).iter().rev().skip(1).all(|v| v.2));
    }

    #[test]
    fn a_secret_of_an_older_version_of_ours_keeps_what_it_had() {
        let mut state = State::default();
        put(&mut state, Kind::Secret, &serde_json::json!({"version": 4}), "ann");
        state.versions = imbl::OrdMap::new();
        put(&mut state, Kind::Secret, &serde_json::json!({"version": 5}), "bob");
        assert_eq!(kept(&state), [(4, String::new(), true), (5, "bob".into(), false)]);
    }

    #[test]
    fn sealing_anew_is_told_to_nobody_and_changes_the_version_only() {
        let mut state = State::default();
        put(&mut state, Kind::Secret, &serde_json::json!({"version": 1}), "ann");
        put(&mut state, Kind::Secret, &serde_json::json!({"version": 2}), "ann");
        let key = ObjectKey::new(Kind::Secret, "a");
        let (before, events) = (state.object(&key).unwrap().clone(), state.events().count());
        let sealed = |text: &str| Sealed { spec: text.into(), digest: text.into() };
        for (version, text) in [(Some(1), "new 1"), (None, "new 2"), (Some(9), "x"), (Some(2), "x")] {
            let command = Command::Reseal { key: key.clone(), version, sealed: sealed(text) };
            state.apply(&Group { commands: vec![command], ..Group::default() }).unwrap();
        }
        let after = state.object(&key).unwrap();
        assert_eq!((&*after.spec, after.digest.as_deref()), (&b"new 2"[..], Some("new 2")));
        assert_eq!(after.meta.generation, before.meta.generation);
        assert_eq!(
            after.meta.resource_version,
            Index(before.meta.resource_version.0 + 3),
            "an event and a version stood between"
        );
        assert_eq!(state.events().count(), events);
        let kept: Vec<_> =
            state.versions(&Uid("a".into())).filter_map(|v| v.kept.clone()).map(|o| o.spec.clone()).collect();
        assert_eq!(kept, [b"new 1".to_vec()]);
    }
}
