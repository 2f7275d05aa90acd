//! Which fields of an object change, by path.
//!
//! Here: [`changes`], over the canonical JSON of both sides. Paths are those of the manifest:
//! `spec.ports[0].published`, and in maps with keys of the user's `spec.environment[LOG_LEVEL]`.
//! Lists of plain values are one value: an index into a command says nothing.
//! Invariant: of a Secret only names of keys, version and digest appear.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::{Declared, Object, Spec, secret::SealedSecret};

use super::FieldChange;

/// Fields of a Service whose change replaces no container.
const IN_PLACE: [&str; 9] =
    ["mode", "replicas", "placement", "routes", "update", "rollback", "hooks", "revisionHistoryLimit", "suspend"];
/// Fields whose keys are the user's.
const MAPS: [&str; 9] =
    ["environment", "labels", "annotations", "sysctls", "ulimits", "extraHosts", "options", "headers", "data"];
/// A longer text is shown by its size and hash.
const SHOWN: usize = 160;

/// The fields that change; `old`: none when the object is new.
#[must_use]
pub fn changes(
    declared: &Declared,
    managed_by: Option<&str>,
    digest: Option<&str>,
    old: Option<&Object>,
) -> Vec<FieldChange> {
    let mut found = Vec::new();
    let meta = old.map(|o| &o.meta);
    let replaces = |path: &str| {
        let field = path.strip_prefix("spec.").unwrap_or_default();
        let top = field.split(['.', '[']).next().unwrap_or_default();
        matches!(declared.spec, Spec::Service(_))
            && old.is_some()
            && path.starts_with("spec.")
            && !IN_PLACE.contains(&top)
    };
    let mut look = Look { found: &mut found, replaces: &replaces };
    look.compare("metadata.labels", meta.map(|m| value(&m.labels)), Some(value(&declared.labels)));
    look.compare("metadata.annotations", meta.map(|m| value(&m.annotations)), Some(value(&declared.annotations)));
    let set = meta.and_then(|m| m.managed_by.as_deref());
    look.compare("metadata.managedBy", set.map(Value::from), managed_by.or(set).map(Value::from));
    let before = || old.and_then(|o| serde_json::from_slice(&o.spec).ok());
    match &declared.spec {
        Spec::Service(spec) => look.compare("spec", before(), Some(value(spec))),
        Spec::Config(spec) => look.compare("spec", before(), Some(value(spec))),
        Spec::Node(spec) => look.compare("spec", before(), Some(value(spec))),
        Spec::Route(spec) => look.compare("spec", before(), Some(value(spec))),
        Spec::Middleware(spec) => look.compare("spec", before(), Some(value(spec))),
        Spec::Secret(spec) => {
            let old: Option<SealedSecret> = old.and_then(|o| o.parse().ok());
            look.compare("spec.type", old.as_ref().map(|o| value(&o.kind)), Some(value(&spec.kind)));
            let keys: BTreeSet<&str> = spec.data.keys().chain(spec.string_data.keys()).map(String::as_str).collect();
            let had: BTreeSet<&str> = old.iter().flat_map(|o| o.sealed.keys()).map(String::as_str).collect();
            for key in keys.union(&had) {
                let sealed = |there: bool| there.then(|| Value::from("(sealed)"));
                look.compare(&format!("spec.data[{key}]"), sealed(had.contains(key)), sealed(keys.contains(key)));
            }
            let said = |policy: Value| Some(policy).filter(|value| !value.is_null());
            let policy =
                |o: &SealedSecret| (value(&o.generate), value(&o.edge), value(&o.rotation), value(&o.keep_versions));
            let (generate, edge, rotation, kept) = old.as_ref().map(policy).unwrap_or_default();
            look.compare("spec.valueFrom.generate", said(generate), said(value(&spec.generate())));
            look.compare("spec.valueFrom.edge", said(edge), said(value(&spec.edge())));
            // A new one is shown where something was said.
            let rotates = old.is_some() || !spec.rotation.is_default();
            look.compare("spec.rotation", said(rotation), said(value(&spec.rotation)).filter(|_| rotates));
            look.compare("spec.keepVersions", said(kept), said(value(&spec.keep_versions)));
            if old.as_ref().map(|o| o.digest.as_str()) != digest {
                let version = old.as_ref().map_or(0, |o| o.version);
                look.compare("spec.version", old.as_ref().map(|o| o.version.into()), Some((version + 1).into()));
                // Not the new one: whoever may only read could try values with it, and see which is another Secret's.
                look.compare("spec.digest", old.map(|o| o.digest.into()), Some("(new)".into()));
            }
        }
    }
    found
}

fn value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

struct Look<'a> {
    found: &'a mut Vec<FieldChange>,
    replaces: &'a dyn Fn(&str) -> bool,
}

impl Look<'_> {
    fn compare(&mut self, path: &str, from: Option<Value>, to: Option<Value>) {
        match (from, to) {
            (from, to) if from == to => {}
            (Some(Value::Object(from)), Some(Value::Object(to))) => self.maps(path, from, to),
            // What is new is shown leaf by leaf too.
            (None, Some(Value::Object(to))) => self.maps(path, Map::new(), to),
            (Some(Value::Object(from)), None) => self.maps(path, from, Map::new()),
            (Some(Value::Array(from)), Some(Value::Array(to))) if tables(&from) && tables(&to) => {
                let longest = from.len().max(to.len());
                let (mut from, mut to) = (from.into_iter(), to.into_iter());
                for at in 0..longest {
                    self.compare_item(&format!("{path}[{at}]"), from.next(), to.next());
                }
            }
            (from, to) => self.push(path, from, to),
        }
    }

    /// An item of a list that comes or goes is one line.
    fn compare_item(&mut self, path: &str, from: Option<Value>, to: Option<Value>) {
        match (from, to) {
            (Some(from), Some(to)) => self.compare(path, Some(from), Some(to)),
            (from, to) => self.push(path, from, to),
        }
    }

    fn maps(&mut self, path: &str, mut from: Map<String, Value>, mut to: Map<String, Value>) {
        let keys: BTreeSet<String> = from.keys().chain(to.keys()).cloned().collect();
        let users = path.rsplit('.').next().is_some_and(|last| MAPS.contains(&last));
        for key in keys {
            let path = if users { format!("{path}[{key}]") } else { format!("{path}.{key}") };
            self.compare(&path, from.remove(&key), to.remove(&key));
        }
    }

    fn push(&mut self, path: &str, from: Option<Value>, to: Option<Value>) {
        let forces_replace = (self.replaces)(path);
        self.found.push(FieldChange { path: path.into(), from: from.map(short), to: to.map(short), forces_replace });
    }
}

/// A list of objects: compared item by item.
fn tables(items: &[Value]) -> bool {
    items.iter().all(Value::is_object)
}

/// Long texts by their size and hash: a plan is read by people.
fn short(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > SHOWN || text.contains('\n') => {
            let hash = blake3::hash(text.as_bytes()).to_hex();
            let lines = match text.lines().count() {
                1 => "1 line".to_owned(),
                many => format!("{many} lines"),
            };
            Value::from(format!("({lines}, {} bytes, {})", text.len(), &hash[..8]))
        }
        other => other,
    }
}
