//! Text → model: YAML and JSON, as people write them, into what the cluster keeps.
//!
//! Here: [`parse`], [`to_yaml`] (the canonical long form), [`schema`] (for editors). One pass reads the text
//! into a tree with positions (`read`), fills in variables (`interpolate`, client only), renames and rewrites
//! short forms against the table of fields (`shape`, `fields`, `forms`), checks what needs two fields (`check`)
//! and makes the types of `model`.
//! Not here: whether other objects exist, what an engine can do (the plan says both).
//! Invariant: every error of a document is reported, each at the deepest field that is wrong, with a fix;
//! a document with an error yields nothing; a field that is not built is refused, never ignored.
//! Why a tree of our own and not the error of serde: it stops at the first error, and knows no columns of
//! what a short form became. Next: `model::service` (the canonical form), `fields` (what is built).

mod check;
mod fault;
mod fields;
mod forms;
mod interpolate;
mod read;
mod scalar;
mod schema;
mod shape;
#[cfg(test)]
mod tests;
mod tree;
mod yaml;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub use self::{
    fault::ManifestError,
    schema::schema,
    yaml::{to_yaml, written},
};
use self::{
    fault::{Faults, nearest},
    shape::{Shape, Walk},
    tree::{Node, Pos, Value},
};
use crate::model::{Declared, Kind, ServiceSpec, Spec, meta::API_VERSION, rotation::ValueFrom, service::ContainerSpec};

/// How a text is read: a server takes it as it is, a client completes it first.
#[derive(Default, Clone)]
pub struct Options<'o> {
    /// Client: the folder from which relative paths become absolute. None (server): they are refused, and
    /// so is a document without our `apiVersion`, which a client skips.
    pub resolve_paths: Option<PathBuf>,
    /// Client: where `${VAR}` comes from. None (server): the text is literal.
    pub interpolate: Option<interpolate::Lookup<'o>>,
    /// Client: fetches what `valueFrom` names, from the folder of `resolve_paths`. None: it stays as it is written.
    pub values: Option<Fetch<'o>>,
}

/// Fetches a value; nothing: it is left for later.
pub type Fetch<'o> = &'o dyn Fn(&ValueFrom, &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Unfetched>;

/// Why a value cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfetched {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// What a text holds.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The documents without an error, in their order.
    pub documents: Vec<Document>,
    /// Everything that is wrong, in the order of the text.
    pub errors: Vec<ManifestError>,
    /// Documents that are not ours.
    pub skipped: Vec<Skipped>,
}

/// One declared object and where it stands.
#[derive(Debug, Clone)]
pub struct Document {
    /// What is declared.
    pub declared: Declared,
    /// Its set, for `apply --prune --set NAME`.
    pub managed_by: Option<String>,
    /// `metadata.resourceVersion`: the object must still be at this index when it is written.
    pub resource_version: Option<u64>,
    /// File name, or `request`.
    pub source: String,
    /// Number of the document in the file, from 1.
    pub index: usize,
    /// Its first line.
    pub line: usize,
    /// What works and is worth a second thought.
    pub warnings: Vec<String>,
    name_at: Pos,
}

/// A document that is not ours: a compose file in the same folder, for example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// File name.
    pub source: String,
    /// Number of the document in the file, from 1.
    pub document: usize,
    /// Line, from 1: where its `apiVersion` stands, or where it begins.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Why.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}; {}", self.source, self.line, self.column, self.message, self.fix)
    }
}

/// Reads every document of a text. `source`: the file's name for messages, or `request`.
#[must_use]
pub fn parse(source: &str, text: &[u8], options: &Options<'_>) -> Parsed {
    let mut faults = Faults::new(source);
    let mut parsed = Parsed::default();
    for tree in read::read(text, &mut faults) {
        let before = parsed.documents.len();
        // A list of documents is what a JSON request may hold.
        match tree.root {
            Node { value: Value::List(items), at, .. } if items.len() > read::MOST_DOCUMENTS => {
                let message = format!("{} documents, more than {}", items.len(), read::MOST_DOCUMENTS);
                faults.push(at, "", message, "split the text into several requests");
            }
            Node { value: Value::List(items), .. } => {
                for (i, item) in items.into_iter().enumerate() {
                    one(source, item, tree.index + i, options, &mut faults, &mut parsed);
                }
            }
            root => one(source, root, tree.index, options, &mut faults, &mut parsed),
        }
        if tree.faulty {
            parsed.documents.truncate(before);
        }
    }
    for repeated in repeats(&parsed.documents) {
        faults.document = repeated.index;
        let (kind, name) = (repeated.declared.kind(), &repeated.declared.name);
        let first = parsed.documents.iter().find(|d| d.declared.key() == repeated.declared.key());
        let line = first.map_or(0, |d| d.name_at.line);
        let message =
            format!("{kind} {name:?} is declared twice: in line {line} and in line {}", repeated.name_at.line);
        faults.push(repeated.name_at, "metadata.name", message, "rename one of the two, or remove it");
    }
    parsed.errors = faults.into_list();
    parsed
}

/// Documents whose object stands earlier in the same text.
fn repeats(documents: &[Document]) -> Vec<&Document> {
    let mut seen = std::collections::BTreeSet::new();
    documents.iter().filter(|d| !seen.insert(d.declared.key())).collect()
}

fn one(source: &str, mut root: Node, index: usize, options: &Options<'_>, faults: &mut Faults, parsed: &mut Parsed) {
    faults.document = index;
    let before = faults.count();
    let line = root.at.line;
    let kind = match envelope(&root, options, faults) {
        Ok(kind) => kind,
        Err(None) => return,
        Err(Some(Foreign { at: Pos { line, column }, message, fix })) => {
            parsed.skipped.push(Skipped { source: source.into(), document: index, line, column, message, fix });
            return;
        }
    };
    let secret = kind == Kind::Secret;
    if let Some(lookup) = options.interpolate.filter(|_| !secret) {
        interpolate::fill(&mut root, "", lookup, faults);
    }
    let mut walk = Walk { faults, options, warnings: Vec::new(), secret };
    let Some((metadata, spec)) = canonical(&mut walk, &root, kind) else { return };
    check::document(&mut walk, kind, &metadata, &spec);
    let mut warnings = std::mem::take(&mut walk.warnings);
    if faults.count() != before {
        return;
    }
    let node = spec;
    let Some(mut spec) = typed(kind, &node, faults) else { return };
    check::route::check(&spec, &node, faults);
    warnings.extend(check::route::without_certificate(&spec, &node));
    check::values::fetched(&mut spec, &node, options, faults);
    if faults.count() != before {
        return;
    }
    let text = |field: &str| metadata.get(field).and_then(Node::as_text).map(str::to_owned);
    let map = |field: &str| -> BTreeMap<String, String> {
        let entries = metadata.get(field).map(Node::entries).unwrap_or_default();
        entries.iter().filter_map(|e| Some((e.key.clone(), e.value.as_text()?.to_owned()))).collect()
    };
    let Some(name) = text("name") else { return };
    parsed.documents.push(Document {
        declared: Declared { name: name.into(), labels: map("labels"), annotations: map("annotations"), spec },
        managed_by: text("managedBy"),
        resource_version: metadata.get("resourceVersion").and_then(Node::as_u64),
        source: source.into(),
        index,
        line,
        warnings,
        name_at: metadata.position("name"),
    });
}

/// Why a document is skipped.
struct Foreign {
    at: Pos,
    message: String,
    fix: String,
}

/// The kind of a document that is ours. Otherwise nothing (it was reported), or why it is skipped.
fn envelope(root: &Node, options: &Options<'_>, faults: &mut Faults) -> Result<Kind, Option<Foreign>> {
    let client = options.resolve_paths.is_some();
    let add = format!("add `apiVersion: {API_VERSION}`");
    let Some(version) = root.get("apiVersion").or_else(|| root.get("api_version")) else {
        if client && matches!(root.value, Value::Map(_)) {
            let (what, fix) = if root.get("services").is_some() && root.get("kind").is_none() {
                let fix = format!(
                    "write each of its services as a document of `kind: Service`, with `apiVersion: {API_VERSION}`"
                );
                ("this is a compose file", fix)
            } else {
                ("it has no `apiVersion`", format!("{add} if it is meant for us"))
            };
            return Err(Some(Foreign { at: root.at, message: format!("skipped: {what}"), fix }));
        }
        let message = match root.value {
            Value::Map(_) => "`apiVersion` is missing".to_owned(),
            _ => format!("expected a document, found {}", root.kind()),
        };
        faults.push(root.at, "apiVersion", message, add);
        return Err(None);
    };
    let written = version.raw().unwrap_or_default();
    if written != API_VERSION {
        let ours = written.starts_with("constellation") || strsim::jaro_winkler(written, API_VERSION) > 0.9;
        if client && !ours {
            let message = format!("skipped: its apiVersion is {written:?}");
            let fix = format!("write `apiVersion: {API_VERSION}` if it is meant for us, or name only our files");
            return Err(Some(Foreign { at: version.at, message, fix }));
        }
        faults.push(
            version.at,
            "apiVersion",
            format!("unknown version {written:?}"),
            format!("write `apiVersion: {API_VERSION}`"),
        );
        return Err(None);
    }
    let known = "one of Service, Route, Middleware, Config, Secret, Node";
    let Some(kind) = root.get("kind") else {
        faults.push(root.at, "kind", "`kind` is missing", format!("add `kind:` with {known}"));
        return Err(None);
    };
    let written = kind.raw().unwrap_or_default();
    let found = Kind::ALL.into_iter().find(|k| k.name() == written);
    match found {
        Some(Kind::Replica) => {
            faults.push(kind.at, "kind", "a Replica is written by the cluster", "declare a Service with `replicas`");
        }
        Some(kind) => return Ok(kind),
        None if fields::LATER_KINDS.contains(&written) => {
            faults.push(
                kind.at,
                "kind",
                format!("kind {written} is not built yet"),
                format!("this version has {known}"),
            );
        }
        None => {
            let names = Kind::ALL.into_iter().filter(|k| *k != Kind::Replica).map(Kind::name);
            let fix = match nearest(written, names.chain(fields::LATER_KINDS)) {
                Some(near) => format!("did you mean {near}? It is {known}"),
                None if written == "Deployment" => "write `kind: Service`: it is the workload itself".to_owned(),
                None => format!("write {known}"),
            };
            faults.push(kind.at, "kind", format!("unknown kind {written:?}"), fix);
        }
    }
    Err(None)
}

/// Metadata and spec in their canonical form; what is wrong in them is left out and was reported.
fn canonical(walk: &mut Walk<'_, '_>, root: &Node, kind: Kind) -> Option<(Node, Node)> {
    let empty = || Node::new(root.at, Value::Map(Vec::new()));
    let (mut metadata, mut spec) = (None, None);
    for entry in root.entries() {
        match entry.key.as_str() {
            "apiVersion" | "api_version" | "kind" => {}
            "metadata" => metadata = Some((entry.at, entry.value.clone())),
            "spec" => spec = Some((entry.at, entry.value.clone())),
            "status" => walk.wrong(entry.at, "status", "`status` is written by the cluster", "remove it"),
            other => {
                let known = ["apiVersion", "kind", "metadata", "spec"];
                let fix = match nearest(other, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("a document has {}; what a {kind} is stands below `spec`", known.join(", ")),
                };
                walk.wrong(entry.at, other, format!("unknown field `{other}`"), fix);
            }
        }
    }
    let present = |found: Option<(Pos, Node)>| found.filter(|(_, node)| !node.is_null());
    let metadata = match present(metadata) {
        Some((_, node)) => walk.value(node, &Shape::Object(fields::METADATA), "metadata").unwrap_or_else(empty),
        None => {
            walk.wrong(root.at, "metadata", "`metadata` is missing", "add `metadata: {name: NAME}`");
            empty()
        }
    };
    let shape = fields::spec(kind)?;
    let spec = match present(spec) {
        Some((at, node)) => {
            // What is missing in a mapping is reported where its field stands.
            let node = if matches!(node.value, Value::Map(_)) { Node { at, ..node } } else { node };
            walk.value(node, &shape, "spec")?
        }
        // A Node needs none: everything in it has a default.
        None if kind == Kind::Node => empty(),
        None => {
            walk.wrong(root.at, "spec", "`spec` is missing", format!("add `spec:` with what the {kind} is"));
            return None;
        }
    };
    Some((metadata, spec))
}

/// The types of `model` from a canonical spec. The table of fields has checked everything before; what a
/// type still refuses is reported at the deepest place that serde names.
fn typed(kind: Kind, spec: &Node, faults: &mut Faults) -> Option<Spec> {
    match kind {
        Kind::Service => {
            // Alone first: within a flattened part serde forgets the path.
            typed_as::<ContainerSpec>(spec, faults)?;
            typed_as::<ServiceSpec>(spec, faults).map(|s| Spec::Service(Box::new(s)))
        }
        Kind::Config => typed_as(spec, faults).map(Spec::Config),
        Kind::Secret => typed_as(spec, faults).map(Spec::Secret),
        Kind::Node => typed_as(spec, faults).map(Spec::Node),
        Kind::Route => typed_as(spec, faults).map(Spec::Route),
        Kind::Middleware => typed_as(spec, faults).map(Spec::Middleware),
        Kind::Replica => None,
    }
}

fn typed_as<T: DeserializeOwned>(spec: &Node, faults: &mut Faults) -> Option<T> {
    match serde_path_to_error::deserialize(spec.to_json()) {
        Ok(value) => Some(value),
        Err(error) => {
            let path = error.path().to_string();
            let at = spec.position(&path);
            faults.push(at, &shape::join("spec", &path), error.into_inner().to_string(), "see `constellation schema`");
            None
        }
    }
}
