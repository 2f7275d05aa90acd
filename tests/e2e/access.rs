//! Doors: who may ask over TCP, what the unauthenticated see.

use crate::{agent::Agent, lab::Lab};

/// Status and body of a request over TCP.
fn tcp(agent: &Agent<'_>, path: &str, token: Option<&str>) -> (u16, String) {
    let url = format!("{}{path}", agent.tcp());
    let mut command = agent.lab.inside("curl");
    command.args(["-sS", "-m", "10", "-w", "\n%{http_code}", &url]);
    if let Some(token) = token {
        command.args(["-H", &format!("Authorization: Bearer {token}")]);
    }
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn tcp_needs_the_token_and_the_socket_needs_none_of_root() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    for path in ["/health", "/ready"] {
        assert_eq!(tcp(&agent, path, None).0, 200, "{path} is open");
    }
    for path in ["/api/v1/services", "/api/v1/secrets", "/metrics", "/openapi.json", "/api/v1/status"] {
        assert_eq!(tcp(&agent, path, None).0, 401, "{path} without a token");
        assert_eq!(tcp(&agent, path, Some("wrong")).0, 401, "{path} with a wrong one");
        let (status, body) = tcp(&agent, path, Some(&agent.token()));
        assert_eq!(status, 200, "{path}: {body}");
        assert_eq!(agent.ask("GET", path, "application/json", b"").status, 200, "{path} by the socket");
    }
    let (status, body) = tcp(&agent, "/api/v1/services/none", Some(&agent.token()));
    assert_eq!(status, 404);
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(agent.path("data/admin.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_description_of_the_interface_names_its_paths() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let document = agent.get("/openapi.json");
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.")), "{document}");
    for path in ["/api/v1/apply", "/api/v1/plan", "/api/v1/events", "/health", "/ready"] {
        assert!(document["paths"].get(path).is_some(), "{path} is missing");
    }
    let metrics = agent.ask("GET", "/metrics", "text/plain", b"").text();
    for family in ["store_index gauge", "store_log_sync_seconds histogram", "controller_queue_depth gauge"] {
        assert!(metrics.contains(&format!("# TYPE constellation_{family}\n")), "{family} in {metrics}");
    }
    assert!(
        metrics.contains("# HELP constellation_store_index ")
            && metrics.contains("\nconstellation_store_is_leader 1\n")
    );
    assert!(agent.get("/api/v1/raft/status").is_object());
}
