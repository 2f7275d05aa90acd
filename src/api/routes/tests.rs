//! The table says one thing of each path.

use super::*;

#[test]
fn a_path_leads_to_its_route_its_methods_or_a_reason() {
    let say = |method: Method, path: &str| match find(&method, path) {
        Found::Route(route, name) => format!("{} {} {name}", route.method, route.path),
        Found::Methods(methods) => methods.join(","),
        Found::Unbuilt(what) => format!("unbuilt {what}"),
        Found::Nothing => "nothing".into(),
    };
    let table = [
        (Method::GET, "/api/v1/services", "GET /api/v1/services "),
        (Method::GET, "/api/v1/services/web", "GET /api/v1/services/{name} web"),
        (Method::PUT, "/api/v1/services/web/scale", "PUT /api/v1/services/{name}/scale web"),
        (Method::POST, "/api/v1/nodes/n1/cordon", "POST /api/v1/nodes/{name}/cordon n1"),
        (Method::PUT, "/api/v1/replicas/web-1-abcde", "GET"),
        (Method::POST, "/api/v1/services/web", "GET,PUT,DELETE"),
        (Method::GET, "/api/v1/services/", "nothing"),
        (Method::GET, "/api/v1/routes", "GET /api/v1/routes "),
        (Method::PUT, "/api/v1/middlewares/sso", "PUT /api/v1/middlewares/{name} sso"),
        (Method::GET, "/api/v1/redis/cache", "unbuilt redis"),
        (Method::POST, "/api/v1/nodes/n1/drain", "unbuilt drain"),
        (Method::GET, "/api/v1/builds", "POST"),
        (Method::GET, "/api/v1/builds/7", "unbuilt builds"),
        (Method::GET, "/api/v2/services", "nothing"),
        (Method::GET, "/", "nothing"),
    ];
    for (method, path, want) in table {
        assert_eq!(say(method.clone(), path), want, "{method} {path}");
    }
}

#[test]
fn a_request_has_the_class_of_its_route_and_a_watched_list_is_a_watch() {
    let table = [
        (Method::GET, "/health", Class::Control),
        (Method::GET, "/metrics", Class::Control),
        (Method::GET, "/api/v1/status", Class::Control),
        (Method::GET, "/api/v1/raft/status", Class::Control),
        (Method::GET, "/api/v1/configs", Class::Read),
        (Method::GET, "/api/v1/configs?watch=false", Class::Read),
        (Method::GET, "/api/v1/configs?watch=true", Class::Watch),
        (Method::GET, "/api/v1/replicas?node=n1&w%61tch=1", Class::Watch),
        (Method::GET, "/api/v1/configs/a", Class::Read),
        (Method::GET, "/api/v1/events?follow=false", Class::Watch),
        (Method::GET, "/ws", Class::Watch),
        (Method::GET, "/api/v1/services/web/logs", Class::Logs),
        (Method::POST, "/api/v1/builds?tag=a", Class::Logs),
        (Method::POST, "/api/v1/plan", Class::Read),
        (Method::PUT, "/api/v1/configs/a", Class::Change),
        (Method::DELETE, "/api/v1/configs/a", Class::Change),
        (Method::POST, "/api/v1/nodes/n1/cordon", Class::Change),
        (Method::GET, "/traefik/config", Class::Edge),
        (Method::GET, "/nowhere", Class::Read),
    ];
    for (method, uri, class) in table {
        let got = bounds(&method, &uri.parse().unwrap(), &Limits::default()).0;
        assert_eq!(got, class, "{method} {uri}");
    }
    for route in TABLE.iter().filter(|r| r.write) {
        assert_eq!(route.class, Class::Change, "{} {}", route.method, route.path);
    }
}

#[test]
fn no_two_routes_share_method_and_path_and_only_probes_need_no_token() {
    let mut seen = std::collections::BTreeSet::new();
    for route in TABLE.iter() {
        assert!(seen.insert((route.method, route.path)), "{} {}", route.method, route.path);
        assert_eq!(route.role == Nobody, matches!(route.path, "/health" | "/ready"), "{}", route.path);
        assert!(
            route.method == "GET" || matches!(route.role, Write | Admin) || route.path == "/api/v1/plan",
            "{}",
            route.path
        );
        let of_admins = ["/api/v1/tokens", "/api/v1/audit"].iter().any(|p| route.path.starts_with(p));
        assert!(!of_admins || route.role == Admin, "{}", route.path);
    }
}
