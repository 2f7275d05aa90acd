//! What the command line reads beside manifests, changed as nobody should change it.

use std::time::Duration;

use super::{
    command::plan::Saved,
    dockerignore::Ignore,
    endpoint::{self, Endpoint},
    names,
    text::{clean, coloured_line, json},
    transport::{Request, Transport},
};
use crate::{
    api::wire::{ApplyAnswer, PlanAnswer, WatchLine},
    model::{Event, visible::reorders},
    mutate::{Answering, Mutations, answer, endless, plain, survives, survives_text},
};

#[test]
fn ignore_files_survive_what_is_written() {
    let corpus = [
        "# comment\n*.log\n!keep.log\n**/node_modules\na/**/z\n[a-c].txt\n\\*\ntemp?\n",
        "vendor\n!vendor/keep\n./a/../b\n[^a-c]*\n**/a/**/a/**/a/**/b\n",
        "*a*a*a*a*b\n**/**/**/**\n",
    ];
    let deep = "a/".repeat(40) + "a";
    survives_text(Mutations::of("ignore files", corpus, 1_500), move |text| {
        let mut ignore = Ignore::parse(text);
        for path in ["keep.log", "a/b/c/z", "vendor/keep/y", "node_modules", &deep, "aaaaaaaaaaaaaaaaaaaaaaaa"] {
            if ignore.skips(path) {
                assert!(ignore.excludes(&format!("{path}/x")), "{path} is not read, and not all below it is left out");
            }
        }
        ignore.keep("a/Dockerfile*");
        assert!(!ignore.excludes("a/Dockerfile*"), "what is kept is kept");
    });
}

#[test]
fn names_and_addresses_survive_what_is_written() {
    let corpus = [
        "svc/web",
        "web.1",
        "token/ci",
        "svc/web=5",
        "unix:///run/constellation/api.sock",
        "http://127.0.0.1:7443",
        "http://[::1]:7443/",
        "cst_0101010101010101_0202020202020202020202020202020202020202020202020202020202020202\n",
    ];
    survives_text(Mutations::of("arguments", corpus, 5_000), |text| {
        let key = |read: Result<crate::model::ObjectKey, String>| read.map(|key| key.to_string());
        let reads: [Result<String, String>; 9] = [
            key(names::key(text)),
            key(names::key_or_name(text)),
            names::service(text),
            names::node(text),
            names::about(text),
            names::label(text),
            names::set(text),
            names::scale(text).map(|to| to.service),
            names::kind(text).map(|kind| kind.to_string()),
        ];
        for error in reads.iter().filter_map(|read| read.as_ref().err()) {
            plain(error);
        }
        for name in reads[..4].iter().flatten() {
            // It becomes part of a path.
            let rest = name.rsplit('/').next().unwrap();
            assert!(!rest.starts_with('.') && rest.bytes().all(|b| b.is_ascii_graphic()), "{name:?}");
        }
        match text.parse::<Endpoint>() {
            Ok(read) => assert_eq!(read.to_string().parse::<Endpoint>().ok(), Some(read), "{text:?}"),
            Err(error) => plain(&error.to_string()),
        }
        let token = endpoint::token(|name| (name == "CONSTELLATION_TOKEN").then(|| text.to_owned()));
        assert!(token.is_err() || token.unwrap().is_none_or(|t| t.bytes().all(|b| b.is_ascii_graphic())));
    });
}

#[test]
fn saved_plans_survive_what_a_disk_holds() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan.json");
    let plan: PlanAnswer = serde_json::from_value(
        serde_json::json!({ "index": 7, "preconditions": { "svc/web": 7 }, "objects": [], "warnings": ["w"] }),
    )
    .unwrap();
    let documents = vec![serde_json::json!({ "kind": "Service", "metadata": { "name": "web" } })];
    Saved { form: 1, plan, documents, set: Some("home".into()), prune: true }.write(&file).unwrap();
    let own = std::fs::read(&file).unwrap();
    survives(Mutations::of("saved plans", [own], 1_500), move |bytes| {
        std::fs::write(&file, bytes).unwrap();
        match Saved::read(&file) {
            Ok(saved) => {
                saved.write(&file).unwrap();
                assert_eq!(Saved::read(&file).unwrap(), saved);
            }
            Err(error) => {
                assert!(error.to_string().contains("plan.json"), "{error}");
                plain(&error.to_string());
            }
        }
    });
}

#[test]
fn shown_text_survives_what_others_wrote() {
    let corpus = ["\u{1b}[31mred\u{1b}[0m", "\u{1b}]0;title\u{7}x", "a\u{9b}2Jb", "\u{1b}P\u{1b}\\x", "svc/web ✓\t1"];
    survives_text(Mutations::of("shown text", corpus, 4_000), |text| {
        let steers = |shown: &str| shown.contains(|c: char| c.is_control() && c != '\t' || reorders(c));
        assert!(!steers(&clean(text)));
        assert_eq!(clean(&clean(text)), clean(text));
        // Colours alone stay.
        assert!(!coloured_line(text).split("\u{1b}[").any(steers), "{:?}", coloured_line(text));
        let written = serde_json::to_string(text).unwrap();
        assert_eq!(serde_json::from_str::<String>(&json(&written)).unwrap(), text);
    });
}

#[tokio::test]
async fn clients_survive_what_an_api_answers() {
    let problem = r#"{"type":"https://constellation.dev/problems/conflict","title":"Conflict","detail":"svc/web moved","status":409,"errors":[{"source":"a","document":1,"line":2,"column":3,"path":"spec","message":"m"}]}"#;
    let applied = r#"{"index":9,"objects":[{"kind":"Service","name":"web","action":"created","uid":"u","generation":1,"resourceVersion":9}],"warnings":[]}"#;
    let lines = "{\"op\":\"put\",\"index\":1}\n\n{\"index\":2,\"reason\":\"Created\"}\n{\"resync\":{\"from\":1}}\n";
    let corpus = [
        answer(200, "application/json", applied),
        answer(409, "application/problem+json", problem),
        answer(502, "text/html", "<html>bad gateway</html>"),
        endless("application/x-ndjson", lines),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n".to_vec(),
    ];
    let server = Answering::new(|_| None).await;
    let transport = Transport::new(Endpoint::Tcp { host: "127.0.0.1".into(), port: server.address.port() }, None);
    let limit = Duration::from_secs(5);
    let all = async {
        for case in Mutations::of("answers of an API", corpus, 300) {
            server.say(case);
            let get = || Request { limit, ..Request::get("/api/v1/apply") };
            if let Ok(answer) = transport.send(&get()).await
                && let Err(error) = answer.json::<ApplyAnswer>(limit).await
            {
                assert!(!error.to_string().is_empty());
            }
            if let Ok(answer) = transport.send(&get()).await {
                let mut lines = answer.lines();
                while let Ok(Some(line)) = lines.next().await {
                    let _ = (serde_json::from_slice::<WatchLine>(&line), serde_json::from_slice::<Event>(&line));
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("each of them ends");
}
