//! From a request's body to declared objects.
//!
//! Here: the forms a body may have (YAML of many documents, a JSON array, a JSON envelope, one object),
//! the places of faults within it, and a short way for plain Configs. Not here: what is valid (`manifest`).
//! Why a short way: programs write many small Configs as JSON, and the parser that keeps every position
//! costs more than the write. It takes only what the parser takes for certain, and leaves the rest,
//! faults above all, to it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::{
    problem::Failure,
    request::{Format, json_fault},
    wire::{ManifestFault, Written},
};
use crate::{
    manifest::{self, ManifestError},
    model::{
        Declared, Index, Kind, Object, ObjectKey, Spec,
        config::{CONFIG_LIMIT, ConfigSpec},
        meta::API_VERSION,
    },
};

/// Documents of one request at most: more belong into several.
const MOST: usize = 10_000;

/// What a body says.
#[derive(Debug, Default)]
pub struct Documents {
    /// Its documents, in their order.
    pub items: Vec<Item>,
    /// What must still hold when they are written.
    pub preconditions: Vec<(ObjectKey, Option<Index>)>,
    /// Set of the documents that name none.
    pub set: Option<String>,
    /// Objects that shall go.
    pub deletes: Vec<ObjectKey>,
}

/// One document.
#[derive(Debug)]
pub struct Item {
    /// What it declares.
    pub declared: Declared,
    /// Its set.
    pub managed_by: Option<String>,
    /// `metadata.resourceVersion`: it must still be at it.
    pub at: Option<Index>,
    /// What works but a person should know.
    pub warnings: Vec<String>,
}

/// The long form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope<'b> {
    #[serde(borrow)]
    objects: Vec<&'b RawValue>,
    #[serde(default)]
    preconditions: BTreeMap<String, Option<u64>>,
    #[serde(default)]
    set: Option<String>,
    #[serde(default)]
    deletes: Vec<String>,
}

/// A body of one or many documents.
///
/// # Errors
/// 422 with every fault and its place.
pub fn many(body: &[u8], format: Format) -> Result<Documents, Failure> {
    let mut documents = match format {
        Format::Yaml => Documents { items: parse(body)?, ..Documents::default() },
        Format::Json => json(body)?,
    };
    let all = documents.items.len() + documents.deletes.len();
    if all > MOST {
        return Err(Failure::unprocessable(format!("{all} documents are more than {MOST}")));
    }
    let mut seen = BTreeMap::new();
    for (number, item) in documents.items.iter().enumerate() {
        if let Some(first) = seen.insert(item.declared.key(), number + 1) {
            let detail = format!("{} stands in document {first} and in document {}", item.declared.key(), number + 1);
            return Err(Failure::unprocessable(detail).hint("keep one of them"));
        }
    }
    let asked = documents.items.iter().filter_map(|i| Some((i.declared.key(), Some(i.at?))));
    documents.preconditions.extend(asked);
    // In the order in which they are written: what services name comes before them.
    documents.items.sort_by_key(|i| Kind::ALL.iter().position(|k| *k == i.declared.kind()));
    Ok(documents)
}

/// A body of exactly one document, about the object that the path names.
///
/// # Errors
/// 422 with every fault and its place.
pub fn one(body: &[u8], format: Format, key: &ObjectKey) -> Result<(Item, Option<Index>), Failure> {
    let mut documents = many(body, format)?;
    let (Some(item), true) = (documents.items.pop(), documents.items.is_empty()) else {
        return Err(
            Failure::unprocessable("this path takes exactly one document").hint("POST /api/v1/apply takes many")
        );
    };
    let found = item.declared.key();
    if found != *key {
        return Err(Failure::unprocessable(format!("the document is about {found}, the path about {key}"))
            .hint("use the same kind and name in both"));
    }
    let expected = documents.preconditions.into_iter().find(|(k, _)| k == key).and_then(|(_, at)| at);
    Ok((item, expected))
}

/// The document that a stored object would be, with another spec: checked like one that a user wrote.
///
/// # Errors
/// 422 when it is not valid (any more), naming the object and the field.
pub fn edited(object: &Object, edit: impl FnOnce(&mut serde_json::Value)) -> Result<Item, Failure> {
    let broken = |e| Failure::unreadable(&object.key(), e);
    let mut spec: serde_json::Value = object.parse().map_err(broken)?;
    edit(&mut spec);
    let document = serde_json::json!({
        "apiVersion": API_VERSION,
        "kind": object.kind,
        "metadata": {
            "name": object.meta.name,
            "labels": object.meta.labels,
            "annotations": object.meta.annotations,
        },
        "spec": spec,
    });
    Ok(Item { managed_by: object.meta.managed_by.clone(), ..ours(&object.key(), &document)? })
}

/// A document without labels, checked likewise.
///
/// # Errors
/// As [`edited`].
pub fn checked(key: &ObjectKey, spec: &serde_json::Value) -> Result<Item, Failure> {
    let metadata = serde_json::json!({ "name": key.name });
    ours(key, &serde_json::json!({ "apiVersion": API_VERSION, "kind": key.kind, "metadata": metadata, "spec": spec }))
}

/// A document that we made.
fn ours(key: &ObjectKey, document: &serde_json::Value) -> Result<Item, Failure> {
    let parsed = manifest::parse("request", document.to_string().as_bytes(), &manifest::Options::default());
    if !parsed.errors.is_empty() {
        // Nobody but us has seen this text: its lines and columns would send the reader searching.
        let unplaced = |e: &ManifestError| ManifestFault {
            source: key.to_string(),
            document: 0,
            line: 0,
            column: 0,
            ..ManifestFault::from(e)
        };
        return Err(Failure::invalid(parsed.errors.iter().map(unplaced).collect()));
    }
    items(parsed).pop().ok_or_else(|| Failure::internal(format!("{key} has no document")))
}

fn json(body: &[u8]) -> Result<Documents, Failure> {
    let text = std::str::from_utf8(body)
        .map_err(|e| Failure::bad_request(format!("the body is not UTF-8 after byte {}", e.valid_up_to())))?;
    let mut documents = Documents::default();
    let objects: Vec<&RawValue> = match text.trim_start().as_bytes().first() {
        Some(b'[') => serde_json::from_str(text).map_err(|e| json_fault(&e))?,
        Some(b'{') if is_envelope(text) => {
            let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|e| json_fault(&e))?;
            for (key, at) in envelope.preconditions {
                let key = key.parse().map_err(|e| Failure::bad_request(format!("preconditions: {e}")))?;
                documents.preconditions.push((key, at.map(Index)));
            }
            for key in envelope.deletes {
                documents.deletes.push(key.parse().map_err(|e| Failure::bad_request(format!("deletes: {e}")))?);
            }
            documents.set = envelope.set;
            envelope.objects
        }
        _ => {
            if let Some(item) = short(text) {
                documents.items.push(item);
                return Ok(documents);
            }
            vec![serde_json::from_str(text).map_err(|e| json_fault(&e))?]
        }
    };
    let mut faults = Vec::new();
    for (number, raw) in objects.into_iter().enumerate() {
        let raw = raw.get();
        if let Some(item) = short(raw) {
            documents.items.push(item);
            continue;
        }
        let parsed = manifest::parse("request", raw.as_bytes(), &manifest::Options::default());
        faults.extend(parsed.errors.iter().map(|e| moved(e, number, text, raw)));
        documents.items.extend(items(parsed));
    }
    if faults.is_empty() { Ok(documents) } else { Err(Failure::invalid(faults)) }
}

/// Whether a JSON object is an envelope: documents have a kind.
fn is_envelope(text: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Look {
        objects: Option<de::IgnoredAny>,
        kind: Option<de::IgnoredAny>,
    }
    text.contains("\"objects\"")
        && serde_json::from_str::<Look>(text).is_ok_and(|l| l.objects.is_some() && l.kind.is_none())
}

fn parse(text: &[u8]) -> Result<Vec<Item>, Failure> {
    let parsed = manifest::parse("request", text, &manifest::Options::default());
    if parsed.errors.is_empty() {
        return Ok(items(parsed));
    }
    Err(Failure::invalid(parsed.errors.iter().map(ManifestFault::from).collect()))
}

fn items(parsed: manifest::Parsed) -> Vec<Item> {
    parsed
        .documents
        .into_iter()
        .map(|d| Item {
            declared: d.declared,
            managed_by: d.managed_by,
            at: d.resource_version.map(Index),
            warnings: d.warnings,
        })
        .collect()
}

/// A fault within one document of an array, at its place in the whole body.
fn moved(error: &ManifestError, number: usize, body: &str, document: &str) -> ManifestFault {
    // The document is a part of the body.
    let offset = (document.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
    let before = body.get(..offset).unwrap_or_default();
    let lines = before.matches('\n').count();
    let columns = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let mut moved = ManifestFault::from(error);
    moved.document = number + 1;
    if moved.line == 1 {
        moved.column += columns;
    }
    moved.line += lines;
    moved
}

/// The short way: a Config without labels, with plain names and text.
fn short(text: &str) -> Option<Item> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Plain {
        data: Unique,
    }
    if !text.contains("\"Config\"") {
        return None;
    }
    let written: Written<Plain> = serde_json::from_str(text).ok()?;
    let meta = written.metadata;
    let plain = written.api_version == API_VERSION
        && written.kind == Kind::Config
        && is_name(&meta.name)
        && meta.labels.is_empty()
        && meta.annotations.is_empty()
        && meta.managed_by.is_none();
    let data = written.spec.data.0;
    let size: usize = data.iter().map(|(k, v)| k.len() + v.len()).sum();
    let texts = data.iter().all(|(k, v)| is_file(k) && !v.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
    if !plain || !texts || data.is_empty() || size > CONFIG_LIMIT {
        return None;
    }
    let declared = Declared {
        name: meta.name.into(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        spec: Spec::Config(ConfigSpec { data, ..ConfigSpec::default() }),
    };
    Some(Item { declared, managed_by: None, at: meta.resource_version.map(Index), warnings: Vec::new() })
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 63
        && text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain)
        && text.bytes().all(|b| plain(b) || b == b'-')
}

fn is_file(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && text.bytes().any(|b| b.is_ascii_alphanumeric())
}

/// A map that has no key twice.
struct Unique(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Unique;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    if all.insert(key, value).is_some() {
                        return Err(de::Error::custom("a key stands twice"));
                    }
                }
                Ok(Unique(all))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
