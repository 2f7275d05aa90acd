//! An engine that answers as no engine should: its JSON, its streams, its errors.

use std::time::Duration;

use bollard::models::{
    BuildInfo, ContainerInspectResponse, ContainerSummary, CreateImageInfo, EventMessage, ImageInspect,
};
use serde_json::json;

use super::{
    super::{BuildRequest, LogQuery, Runtime as _, names},
    Docker,
    error::{Subject, explain},
    look,
};
use crate::mutate::{Answering, Mutations, answer, endless, survives, survives_text};

/// Answers as engines give them.
fn corpus() -> [String; 9] {
    let inspected = json!({
        "Id": "c1", "Name": "/web-1", "Image": "sha256:1", "Created": "2026-01-01T00:00:00Z",
        "State": {
            "Status": "running", "Running": true, "Pid": 42, "ExitCode": 0, "OOMKilled": false, "Error": "",
            "StartedAt": "2026-01-01T00:00:00.5Z", "FinishedAt": "0001-01-01T00:00:00Z",
            "Health": { "Status": "unhealthy", "FailingStreak": 3, "Log": [{ "ExitCode": 1, "Output": "connection refused\n" }] }
        },
        "Config": { "Labels": { "constellation.lineage": "l" }, "StopSignal": "SIGRTMIN+3", "StopTimeout": 40 },
        "HostConfig": {
            "RestartPolicy": { "Name": "unless-stopped" }, "NanoCpus": 500_000_000, "CpuQuota": 50_000, "CpuPeriod": 100_000,
            "Memory": 67_108_864, "MemoryReservation": 1, "PidsLimit": 77, "CpuShares": 2, "CpusetCpus": "0-1"
        },
        "NetworkSettings": {
            "Ports": { "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }, { "HostIp": "::", "HostPort": "8080" }], "90/tcp": null },
            "Networks": { "front": { "IPAddress": "172.18.0.2" }, "back": { "IPAddress": "", "GlobalIPv6Address": "fd00::2" } }
        }
    });
    let listed = json!([{
        "Id": "c1", "Names": ["/web-1", "/other/web"], "State": "running", "Labels": { "a": "b" },
        "Ports": [{ "IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp" }],
        "NetworkSettings": { "Networks": { "front": {} } }
    }]);
    let image = json!({
        "Id": "sha256:1", "RepoDigests": ["redis@sha256:1"], "Architecture": "amd64", "Os": "linux",
        "Config": { "Healthcheck": { "Test": ["CMD", "a"] }, "ExposedPorts": { "80/tcp": {}, "53/udp": {} }, "Volumes": { "/data": {} } }
    });
    let event = json!({
        "Type": "container", "Action": "health_status: healthy", "time": 1, "timeNano": 1_000_000_005,
        "Actor": { "ID": "c1", "Attributes": { "name": "web-1", "image": "web", "a": "b", "signal": "15" } }
    });
    let pulled = json!({ "status": "Downloading", "id": "l1", "progressDetail": { "current": 5, "total": 10 } });
    let built = json!({ "stream": "Step 1/2 : FROM scratch\n", "aux": { "ID": "sha256:2" } });
    let known =
        json!({ "Version": "27.1", "ApiVersion": "1.46", "NCPU": 4, "MemTotal": 8_000_000_000_u64, "ID": "e1" });
    let network = json!([{ "Name": "front", "Id": "n1", "Created": "2026-01-01T00:00:00Z", "Labels": { "a": "b" } }]);
    // The part that is counted with, once more and alone.
    let limits = json!({ "HostConfig": { "CpuQuota": 50_000, "CpuPeriod": 100_000, "NanoCpus": 1, "Memory": 2, "PidsLimit": 3 } });
    [inspected, listed, image, event, pulled, built, known, network, limits].map(|json| json.to_string())
}

#[test]
fn answers_survive_any_engine() {
    survives(Mutations::of("answers of an engine", corpus(), 6_000), |bytes| {
        if let Ok(answer) = serde_json::from_slice::<ContainerInspectResponse>(bytes) {
            let container = look::container(answer);
            assert!(container.health_log.is_none_or(|log| log.chars().count() <= 1_000));
        }
        for answer in serde_json::from_slice::<Vec<ContainerSummary>>(bytes).unwrap_or_default() {
            let _ = look::summary(answer);
        }
        let _ = serde_json::from_slice::<ImageInspect>(bytes).map(look::image);
        let _ = serde_json::from_slice::<EventMessage>(bytes).map(look::event);
        let _ = (serde_json::from_slice::<CreateImageInfo>(bytes), serde_json::from_slice::<BuildInfo>(bytes));
    });
}

#[test]
fn errors_names_and_signals_survive_any_engine() {
    let corpus = [
        "Bind for 0.0.0.0:8080 failed: port is already allocated",
        "listen tcp6 [::]:8080: bind: address already in use",
        "failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use",
        "network front_0123 not found",
        "invalid mount config for type \"bind\": bind source path does not exist: /srv/nope",
        "manifest for r.io/app:1 not found: manifest unknown",
        "SIGRTMIN+3",
        "RTMAX-30",
        "sha256:0123",
    ];
    survives_text(Mutations::of("errors of an engine", corpus, 4_000), |text| {
        for status in [400, 401, 404, 409, 500] {
            for subject in [
                Subject::Container("c1"),
                Subject::Making("web:1"),
                Subject::Network("n"),
                Subject::Image("a:1"),
                Subject::Build,
            ] {
                assert!(!explain(status, text, subject).to_string().is_empty());
            }
        }
        if names::identifier(text, "container").is_ok() {
            assert!(!text.contains(['/', '?', '%', '#', '\\']) && text.is_ascii(), "{text:?} in a path");
        }
        let _ = (names::signal(text), names::is_image_id(text), names::reference(text));
    });
}

/// Every call and every stream of an engine that answers all of them alike.
#[tokio::test]
async fn calls_and_streams_survive_any_engine() {
    let json = corpus();
    let frame = |kind: u8, text: &str| {
        [&[kind, 0, 0, 0], &u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
    };
    let log = [frame(1, "2026-01-01T00:00:00.5Z out\n"), frame(2, "err\n"), frame(1, "more"), frame(0, "in")].concat();
    let multiplexed = "application/vnd.docker.multiplexed-stream";
    let mut whole: Vec<Vec<u8>> = json.iter().map(|body| answer(200, "application/json", body)).collect();
    whole.extend(json[3..6].iter().map(|line| endless("application/json", format!("{line}\n{line}\n"))));
    whole.push(endless(multiplexed, &log));
    whole.push(answer(
        500,
        "application/json",
        r#"{"message":"Bind for 0.0.0.0:80 failed: port is already allocated"}"#,
    ));
    whole.push(answer(404, "text/plain", "page not found"));
    whole.push(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"
            .to_vec(),
    );
    // How it is negotiated stays good, or nothing would get further.
    let engine = Answering::new(|head| {
        head.starts_with("GET /version").then_some(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 40\r\n\r\n\
             {\"Version\":\"27.1\",\"ApiVersion\":\"1.46\"  }",
        )
    })
    .await;
    let docker = Docker::connect(&format!("tcp://{}", engine.address)).unwrap();
    let text = |text: &str| text.to_owned();
    let mut good = 0;
    for case in Mutations::of("an engine", whole, 250) {
        engine.say(case);
        let all = async {
            good += u32::from(docker.inspect(text("c1")).await.is_ok());
            good += u32::from(docker.list(text("a"), text("b")).await.is_ok());
            good += u32::from(docker.image(text("redis:7")).await.is_ok());
            good += u32::from(docker.capacity().await.is_ok());
            let _ = (docker.info().await, docker.publishing(80).await, docker.began().await);
            let _ = docker.ensure_network(text("front"), [].into()).await;
            let _ = (docker.volume(text("v")).await, docker.resolve(text("redis:7"), None).await);
            let _ = docker.events(text("a"), text("b"), Some(1)).take(1_000).count().await;
            let _ =
                docker.logs(text("c1"), LogQuery { timestamps: true, ..LogQuery::default() }).take(1_000).count().await;
            let _ = docker.pull(text("redis:7"), None, None).take(1_000).count().await;
            let build = BuildRequest { tag: text("a:1"), dockerfile: text("Dockerfile"), ..BuildRequest::default() };
            let _ = docker.build(build, futures::stream::empty().boxed()).take(1_000).count().await;
        };
        // It hangs up behind each answer: there is nothing to wait for.
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("every call and stream ends");
    }
    assert!(good > 20, "{good} of the answers are whole");
}

use futures::StreamExt as _;
