//! The JSON Schema of a document, for editors: completion, help at the field, red lines before `apply`.
//!
//! Here: the types' own schema with its descriptions, and what the parser takes beside the long form: short
//! forms, and compose's spelling. Not here: checks that need two fields.
//! Invariant: the schema accepts what the parser accepts in shape; an editor that warns of a good manifest
//! teaches people to ignore it. `manifests/schema/constellation.schema.json` is this, checked by a test.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::model::{
    Kind, ServiceSpec, config::ConfigSpec, meta::API_VERSION, middleware::MiddlewareSpec, node::NodeSpec,
    route::RouteSpec, secret::SecretSpec,
};

/// The schema of one manifest document, of whichever kind.
#[must_use]
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let kinds = [
        (Kind::Service, "A workload, as compose and Swarm mean the word.", of::<ServiceSpec>(&mut generator)),
        (Kind::Config, "Plain files and values for services.", of::<ConfigSpec>(&mut generator)),
        (Kind::Secret, "Sealed files and values for services.", of::<SecretSpec>(&mut generator)),
        (Kind::Node, "A machine with a Docker engine.", of::<NodeSpec>(&mut generator)),
        (Kind::Route, "Which requests from outside go to which Service.", of::<RouteSpec>(&mut generator)),
        (Kind::Middleware, "What a request passes on its way.", of::<MiddlewareSpec>(&mut generator)),
    ];
    let documents: Vec<Value> = kinds.iter().map(|(kind, about, spec)| document(*kind, about, spec)).collect();
    let mut definitions = generator.take_definitions(true);
    for (name, definition) in &mut definitions {
        widen(name, definition);
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://constellation.dev/schema/constellation.schema.json",
        "title": "Constellation manifest",
        "description": "One document of a manifest. Several stand in one file, with --- between them.",
        "type": "object",
        "oneOf": documents,
        "definitions": definitions,
    })
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn document(kind: Kind, about: &str, spec: &Value) -> Value {
    let most = if kind == Kind::Service { 50 } else { 63 };
    let texts = json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } });
    let mut required = vec!["apiVersion", "kind", "metadata"];
    if kind != Kind::Node {
        required.push("spec");
    }
    json!({
        "description": about,
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": {
            "apiVersion": { "const": API_VERSION },
            "kind": { "const": kind.name() },
            "metadata": {
                "type": "object",
                "description": "Name, labels and annotations.",
                "additionalProperties": false,
                "required": ["name"],
                "properties": {
                    "name": {
                        "type": "string", "maxLength": most, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                        "description": "Unique within the kind.",
                    },
                    "labels": texts,
                    "annotations": texts,
                    "managedBy": { "type": "string", "description": "Set of the object, for apply --prune --set NAME." },
                    "resourceVersion": { "type": "integer", "description": "The object must still be at this index." },
                },
            },
            "spec": spec,
        },
    })
}

/// Adds what the parser takes beside the long form.
fn widen(definition: &str, schema: &mut Value) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, property) in properties.iter_mut() {
        if let Some(short) = short_form(definition, name) {
            accept(property, short);
        }
    }
    for (name, property) in extra(definition) {
        properties.insert(name.into(), property);
    }
    let snake: Map<String, Value> = properties
        .iter()
        .filter_map(|(name, property)| {
            let snake = snake(name);
            let mut property = property.clone();
            property
                .as_object_mut()?
                .insert("deprecationMessage".into(), format!("compose's spelling of {name}").into());
            (snake != *name).then_some((snake, property))
        })
        .collect();
    properties.extend(snake);
}

/// What may stand in place of the long form of a field.
fn short_form(definition: &str, name: &str) -> Option<Value> {
    let text = || json!({ "type": "string" });
    let scalar = || json!({ "type": ["string", "number", "boolean"] });
    let texts = || json!({ "type": "array", "items": { "type": ["string", "number", "boolean"] } });
    let map =
        || json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } });
    Some(match (definition, name) {
        ("ServiceSpec", "command" | "entrypoint") | ("Readiness", "exec") | ("Healthcheck", "test") => text(),
        ("ServiceSpec", "tmpfs" | "dns" | "dnsSearch" | "dnsOpt") => text(),
        ("ServiceSpec", "environment" | "labels" | "sysctls" | "extraHosts")
        | ("Logging", "options")
        | ("HttpProbe", "headers") => {
            json!({ "anyOf": [texts(), map()] })
        }
        ("ServiceSpec", "user") | ("HttpProbe", "status") => scalar(),
        ("ServiceSpec", "groupAdd" | "expose") => texts(),
        ("ServiceSpec", "ports") => {
            json!({ "type": "array", "items": { "anyOf": [{ "type": ["string", "integer"] }, { "$ref": "#/definitions/Port" }] } })
        }
        ("ServiceSpec", "volumes") => items_or("Mount"),
        ("ServiceSpec", "configs" | "secrets") => items_or("FileRef"),
        ("ServiceSpec", "networks") => json!({ "anyOf": [items_or("NetworkAttachment"), { "type": "object" }] }),
        ("ServiceSpec", "dependsOn") => json!({ "anyOf": [items_or("Dependency"), { "type": "object" }] }),
        ("ServiceSpec", "devices") => json!({ "type": "array", "items": { "type": ["string", "object"] } }),
        ("ServiceSpec", "ulimits") => {
            json!({ "type": "object", "additionalProperties": { "anyOf": [{ "type": "integer" }, { "$ref": "#/definitions/Ulimit" }] } })
        }
        ("RouteTls", "minVersion") => json!({ "enum": [1.2, 1.3] }),
        ("Errors" | "Retry", "status") | ("Retries", "on") => texts(),
        ("HealthCheck", "headers")
        | ("Headers", "customRequestHeaders" | "customResponseHeaders" | "sslProxyHeaders") => {
            json!({ "anyOf": [texts(), map()] })
        }
        ("Port", "published") | ("FileRef", "uid" | "gid") => json!({ "type": "string", "pattern": "^[0-9]+$" }),
        ("FileRef" | "TmpfsOptions", "mode") => json!({ "type": ["string", "integer"] }),
        ("Mount", "dataPolicy") => json!({ "const": "auto" }),
        ("ConfigSpec", "data") | ("SecretSpec", "stringData") => map(),
        _ => return None,
    })
}

fn items_or(definition: &str) -> Value {
    json!({ "type": "array", "items": { "anyOf": [{ "type": "string" }, { "$ref": format!("#/definitions/{definition}") }] } })
}

/// Fields that are moved or taken off.
fn extra(definition: &str) -> Vec<(&'static str, Value)> {
    let amount = |about: &str| json!({ "type": ["string", "number"], "description": about });
    match definition {
        "ServiceSpec" => vec![
            ("cpus", amount("As resources.limits.cpus.")),
            ("memLimit", amount("As resources.limits.memory.")),
            ("memReservation", amount("As resources.reservations.memory.")),
            ("pidsLimit", amount("As resources.limits.pids.")),
        ],
        "Port" => vec![("mode", json!({ "const": "host", "description": "The only one that is built." }))],
        "HttpProbe" => vec![("scheme", json!({ "const": "http", "description": "The only one that is built." }))],
        "RouteSpec" => vec![("protocol", json!({ "const": "http", "description": "The only one that is built." }))],
        "Dependency" => vec![("restart", json!({ "const": false, "description": "The only one that is built." }))],
        _ => Vec::new(),
    }
}

/// Keeps the description and default of a property and lets another form stand in its place.
fn accept(property: &mut Value, short: Value) {
    let Some(object) = property.as_object_mut() else { return };
    let mut kept = Map::new();
    for key in ["description", "default"] {
        kept.extend(object.remove_entry(key));
    }
    let long = Value::Object(std::mem::take(object));
    kept.insert("anyOf".into(), json!([long, short]));
    *object = kept;
}

/// Our spelling in compose's: `stopGracePeriod` → `stop_grace_period`.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
