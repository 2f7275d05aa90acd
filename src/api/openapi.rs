//! The OpenAPI 3.1 document, made from the route table and the types.
//!
//! Made once, at the first request for it. Not here: the routes (`routes`).

use bytes::Bytes;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use warp::reply::Response;

use super::{
    auth::Role,
    problem::Failure,
    reply::{self, JSON, TEXT},
    request::Request,
    routes::{Content, Route, TABLE},
    wire::Problem,
};

/// `GET /openapi.json`.
///
/// # Errors
/// Never for a reason of the caller.
pub async fn document(request: Request) -> Result<Response, Failure> {
    let made = request.server.openapi.get_or_init(|| Bytes::from(build().to_string()));
    Ok(reply::whole(JSON, made.clone()))
}

/// The whole document.
#[must_use]
pub fn build() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut shapes = settings.into_generator();
    let problem = shapes.subschema_for::<Problem>();
    let mut paths = Map::new();
    for route in TABLE.iter() {
        let operation = operation(route, &mut shapes, &json!(problem));
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_ascii_lowercase(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Constellation",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Errors are application/problem+json (RFC 9457); `type` is stable. Streams are ndjson: an empty line \
                            only shows that the stream lives; its header X-Constellation-Index is the index after which it begins. \
                            Every write takes Idempotency-Key and X-Change-Reason.",
        },
        "paths": paths,
        "components": {
            "schemas": shapes.take_definitions(true),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn operation(route: &Route, shapes: &mut SchemaGenerator, problem: &Value) -> Value {
    let mut parameters: Vec<Value> = route
        .query
        .iter()
        .map(|p| json!({"name": p.name, "in": "query", "description": p.about, "schema": {"type": "string"}}))
        .collect();
    if route.path.contains("{name}") {
        parameters.push(json!({"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}));
    }
    let key = route.write.then_some(("Idempotency-Key", "The same key and request get the same answer again."));
    let why = "Why; in the audit record, and in the events of what is written.";
    let reason = (route.write || route.context).then_some(("X-Change-Reason", why));
    for (name, about) in key.into_iter().chain(reason) {
        parameters.push(json!({"name": name, "in": "header", "description": about, "schema": {"type": "string"}}));
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.about,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done.", "content": content(&route.gives, shapes)},
            "default": {"description": "A problem.", "content": {"application/problem+json": {"schema": problem}}},
        },
        "x-role": route.role.name(),
    });
    if let Some(fields) = operation.as_object_mut() {
        if !route.takes.is_empty() {
            fields.insert("requestBody".into(), json!({"required": true, "content": content(&route.takes, shapes)}));
        }
        if route.role != Role::None {
            fields.insert("security".into(), json!([{"token": []}]));
        }
    }
    operation
}

fn content(contents: &[Content], shapes: &mut SchemaGenerator) -> Value {
    let mut all = Map::new();
    for one in contents {
        let entry = match one.shape {
            Some(shape) => json!({"schema": shape(shapes)}),
            None => json!({}),
        };
        all.insert(one.media.to_owned(), entry);
    }
    Value::Object(all)
}

/// `getServicesNameWhy`. What gives nothing but text says so: `/metrics` stands beside `/api/v1/metrics`.
fn operation_id(route: &Route) -> String {
    let mut id = route.method.to_ascii_lowercase();
    let path = route.path.strip_prefix("/api/v1").unwrap_or(route.path);
    for word in path.split(['/', '{', '}', '.']).filter(|w| !w.is_empty()) {
        let mut letters = word.chars();
        id.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        id.extend(letters);
    }
    if !route.gives.is_empty() && route.gives.iter().all(|c| c.media == TEXT) {
        id.push_str("Text");
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_once_and_every_reference_leads_somewhere() {
        let document = build();
        let paths = document["paths"].as_object().unwrap();
        let operations: usize = paths.values().map(|p| p.as_object().unwrap().len()).sum();
        assert_eq!(operations, TABLE.len());
        let mut ids: Vec<&str> = paths
            .values()
            .flat_map(|p| p.as_object().unwrap().values())
            .map(|o| o["operationId"].as_str().unwrap())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), TABLE.len(), "{ids:?}");
        for route in TABLE.iter() {
            let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            let parameters = operation["parameters"].as_array().unwrap();
            let keyed = parameters.iter().any(|p| p["name"] == "Idempotency-Key");
            // A plan writes nothing, a build or a backup is not a write of the store, another key twice is as good as once.
            let unkeyed = ["/api/v1/plan", "/api/v1/builds", "/api/v1/backups", "/api/v1/cluster/rekey"];
            let writes = route.method != "GET" && !unkeyed.contains(&route.path);
            assert_eq!(keyed, writes, "{} {}", route.method, route.path);
        }
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut seen = 0;
        for reference in text.split("\"$ref\":\"").skip(1) {
            let reference = reference.split('"').next().unwrap();
            let name = reference.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{reference}"));
            assert!(schemas.contains_key(name), "{name}");
            seen += 1;
        }
        assert!(seen > TABLE.len());
        assert!(!text.contains("#/$defs/"));
    }
}
