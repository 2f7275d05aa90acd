//! Whatever objects say: no panic, no document that Traefik would refuse, no harm to others.

use proptest::prelude::*;

use super::*;
use crate::model::{middleware::MiddlewareSpec, route::MiddlewareRef};

/// Texts that want out of their quotes.
fn hostile() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-z]{1,3}",
        "\\PC{0,12}",
        "[`\"'\\\\(){}|&!*.$\u{0}-\u{1f}a/-]{0,12}",
        Just("a.example`) || Host(`b.example".to_owned()),
        Just("../../etc/passwd".to_owned()),
        Just("gen-7-2".to_owned()),
        Just("default-transport".to_owned()),
        Just("mw-a@file".to_owned()),
        Just(String::new()),
    ]
    .boxed()
}

fn any_middleware() -> BoxedStrategy<MiddlewareSpec> {
    let parts = (0..8, hostile(), hostile());
    let made = parts.prop_map(|(which, a, b)| {
        let spec = match which {
            0 => json!({"chain": {"middlewares": [a, b]}}),
            1 => json!({"redirectRegex": {"regex": a, "replacement": b}}),
            2 => json!({"headers": {"customRequestHeaders": {a: b}}}),
            3 => json!({"forwardAuth": {"address": a, "headerField": b}}),
            4 => json!({"basicAuth": {"secretRef": a, "realm": b}}),
            5 => json!({"errors": {"status": [a], "service": b}}),
            6 => json!({}),
            _ => json!({"addPrefix": {"prefix": a}, "stripPrefix": {"prefixes": [b]}}),
        };
        serde_json::from_value(spec).unwrap()
    });
    made.boxed()
}

prop_compose! {
    fn any_route()(
        name in prop_oneof![Just("h".to_owned()), hostile()],
        hosts in prop::collection::vec(hostile(), 0..3),
        paths in prop::collection::vec((0..3_usize, hostile()), 0..3),
        rule in prop::option::weighted(0.2, hostile()),
        service in hostile(),
        url in prop::option::of(hostile()),
        priority in any::<i32>(),
        names in prop::collection::vec(hostile(), 0..3),
        inline in prop::option::of(any_middleware()),
        secret in prop::option::of(hostile()),
    ) -> Stored<RouteSpec> {
        let kinds = ["Prefix", "Exact", "Regex"];
        let paths: Vec<Value> = paths.into_iter().map(|(kind, value)| json!({"type": kinds[kind], "value": value})).collect();
        let mut stored = route(&name, 50, json!({
            "hosts": hosts, "paths": paths, "rule": rule, "priority": priority,
            "backends": [{"service": service}, {"url": url}],
            "tls": {"mode": if secret.is_some() { "secret" } else { "none" }, "secretRef": secret},
        }));
        let spec = Arc::make_mut(&mut stored.spec);
        spec.middlewares = names.into_iter().map(MiddlewareRef::Name).collect();
        spec.middlewares.extend(inline.map(|m| MiddlewareRef::Inline(Box::new(m))));
        stored
    }
}

/// Every empty mapping and every null of a document, by path.
fn refused(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(path.to_owned()),
        Value::Object(map) if map.is_empty() => found.push(path.to_owned()),
        Value::Object(map) => map.iter().for_each(|(key, value)| refused(value, &format!("{path}.{key}"), found)),
        Value::Array(items) => items.iter().for_each(|item| refused(item, &format!("{path}[]"), found)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What Traefik would refuse as a whole, or read as something else.
fn sound(document: &Value) {
    let mut found = Vec::new();
    refused(document, "", &mut found);
    assert!(found.is_empty(), "{found:?} in {document}");
    let http = document["http"].as_object().unwrap();
    let words = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    for (_, part) in http {
        for name in part.as_object().unwrap().keys() {
            assert!(words(name), "{name:?}");
        }
    }
    for (name, router) in http.get("routers").and_then(Value::as_object).into_iter().flatten() {
        let rule = router["rule"].as_str().unwrap();
        assert_eq!(crate::model::rule::check(rule), Ok(()), "{name}: {rule}");
        let service = router["service"].as_str().unwrap();
        assert!(service == "noop@internal" || http["services"].get(service).is_some(), "{name} names {service}");
        for middleware in router["middlewares"].as_array().into_iter().flatten() {
            assert!(http["middlewares"].get(middleware.as_str().unwrap()).is_some(), "{name} names {middleware}");
        }
    }
    for service in http.get("services").and_then(Value::as_object).into_iter().flat_map(|s| s.values()) {
        if let Some(transport) = service["loadBalancer"]["serversTransport"].as_str() {
            let timeouts = &http["serversTransports"][transport]["forwardingTimeouts"];
            assert_eq!(timeouts["idleConnTimeout"], "1s", "{service}");
        }
        for share in service["weighted"]["services"].as_array().into_iter().flatten() {
            assert!(http["services"].get(share["name"].as_str().unwrap()).is_some(), "{share}");
        }
    }
}

/// Two Routes that everybody else has to leave alone.
fn honest() -> Input {
    let mut input = input(vec![
        route(
            "good",
            10,
            json!({"hosts": ["good.example"], "backends": [{"service": "web"}], "middlewares": ["fine"]}),
        ),
        route(
            "tls",
            11,
            json!({"hosts": ["tls.example"], "backends": [{"service": "auth"}],
            "tls": {"mode": "secret", "secretRef": "cert"}}),
        ),
    ]);
    middlewares(&mut input, json!({"fine": {"compress": {}}}));
    certificate(&mut input, "cert");
    input
}

proptest! {
    #[test]
    fn one_hostile_object_changes_no_other(
        routes in prop::collection::vec(any_route(), 1..4),
        name in hostile(),
        middleware in any_middleware(),
    ) {
        let (alone, mut input) = (table(&honest()), honest());
        input.routes.extend(routes);
        if &*name != "fine" {
            input.middlewares.insert(name.into(), Arc::new(middleware));
        }
        let found = table(&input);
        sound(&json(&found));
        for (name, router) in &alone.document.http.routers {
            prop_assert_eq!(found.document.http.routers.get(name), Some(router));
        }
        for (name, service) in &alone.document.http.services {
            prop_assert_eq!(found.document.http.services.get(name), Some(service));
        }
        for (name, middleware) in &alone.document.http.middlewares {
            prop_assert_eq!(found.document.http.middlewares.get(name), Some(middleware));
        }
        prop_assert_eq!(wrong(said(&found, "good")), vec![]);
        prop_assert_eq!(table(&input).document, found.document, "the same each time");
    }

    #[test]
    fn the_order_of_objects_does_not_count(mut routes in prop::collection::vec(any_route(), 2..5)) {
        for (i, route) in routes.iter_mut().enumerate() {
            route.name = format!("r{i}").into();
        }
        let first = table(&input(routes.clone()));
        routes.reverse();
        prop_assert_eq!(first.document, table(&input(routes)).document);
    }
}
