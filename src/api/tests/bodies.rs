//! Bodies that are wrong: in what they say, how they are written, and how big they are.

use serde_json::{Value, json};

use super::rig::{Rig, config};

const BROKEN: &str = "\
apiVersion: constellation.dev/v1
kind: Service
metadata: {name: web}
spec:
  image: nginx:1
  replcas: 2
---
apiVersion: constellation.dev/v1
kind: Config
metadata: {name: Not_A_Name}
spec: {data: {a: b}}
";

#[tokio::test]
async fn a_broken_manifest_is_answered_with_every_fault_its_place_and_its_fix() {
    let rig = Rig::new().await;
    let before = rig.index();
    for path in ["/api/v1/apply", "/api/v1/plan"] {
        let answer = rig.post(path, BROKEN).await;
        assert_eq!(answer.problem(), (422, "invalid-manifest".into()));
        let errors = answer.json()["errors"].take();
        let place = |e: &Value| (e["document"].clone(), e["line"].clone(), e["column"].clone(), e["path"].clone());
        assert_eq!(place(&errors[0]), (json!(1), json!(6), json!(3), json!("spec.replcas")), "{errors}");
        assert!(errors[0]["fix"].as_str().unwrap().contains("replicas"), "{errors}");
        assert_eq!(place(&errors[1]), (json!(2), json!(10), json!(18), json!("metadata.name")), "{errors}");
        assert!(errors[1]["fix"].as_str().is_some_and(|f| !f.is_empty()), "{errors}");
        assert_eq!(errors.as_array().unwrap().len(), 2, "{errors}");
    }
    let put = rig.ask("PUT", "/api/v1/services/web").media("text/yaml").body(&BROKEN[..120]).send().await;
    assert_eq!(put.problem(), (422, "invalid-manifest".into()));
    assert_eq!(rig.index(), before);
}

#[tokio::test]
async fn a_fault_in_a_json_array_stands_at_its_place_in_the_whole_body() {
    let rig = Rig::new().await;
    let body = "[\n {\"apiVersion\":\"constellation.dev/v1\",\"kind\":\"Config\",\"metadata\":{\"name\":\"a\"},\
                \"spec\":{\"data\":{\"a\":\"b\"}}},\n  {\"apiVersion\":\"constellation.dev/v1\",\"kind\":\"Config\",\n\
                \"metadata\":{\"name\":\"b\"},\"spec\":{\"dta\":{}}}\n]";
    let answer = rig.post("/api/v1/apply", body).await;
    let errors = answer.json()["errors"].take();
    let fault =
        errors.as_array().unwrap().iter().find(|e| e["path"] == "spec.dta").unwrap_or_else(|| panic!("{errors}"));
    let column = "\"metadata\":{\"name\":\"b\"},\"spec\":{".len() + 1;
    assert_eq!(
        (&fault["document"], &fault["line"], &fault["column"]),
        (&json!(2), &json!(4), &json!(column)),
        "{fault}"
    );
}

#[tokio::test]
async fn malformed_json_is_a_fault_with_its_place() {
    let rig = Rig::new().await;
    let table = [("{\"apiVersion\": ", 1, 15), ("[{},\n {]", 2, 3), ("[1, 2", 1, 5), ("[] []", 1, 4)];
    for (body, line, column) in table {
        let answer = rig.ask("POST", "/api/v1/apply").media("application/json").body(body).send().await;
        assert_eq!(answer.problem(), (422, "invalid-manifest".into()), "{body}");
        let fault = answer.json()["errors"][0].take();
        assert_eq!((&fault["line"], &fault["column"]), (&json!(line), &json!(column)), "{body}: {fault}");
        assert!(fault["fix"].as_str().is_some_and(|f| !f.is_empty()), "{fault}");
    }
    let table: [(&str, &[u8]); 7] = [
        ("empty", b""),
        ("only spaces", b"  \n"),
        ("a number", b"7"),
        ("a text", b"\"text\""),
        ("null", b"null"),
        ("an array of scalars", b"[1, \"x\", null]"),
        ("half a surrogate", b"[\"\\ud800\"]"),
    ];
    for media in ["application/json", "application/yaml"] {
        for (what, body) in table {
            let answer = rig.ask("POST", "/api/v1/apply").media(media).body(body).send().await;
            assert_eq!(answer.status, 422, "{what} as {media}: {answer:?}");
        }
        let answer = rig.ask("POST", "/api/v1/apply").media(media).body(b"{\"a\": \"\xff\"}").send().await;
        assert!([400, 422].contains(&answer.status), "not UTF-8 as {media}: {answer:?}");
    }
}

#[tokio::test]
async fn depth_and_aliases_cost_nothing() {
    let rig = Rig::new().await;
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let within = |inner: &str| {
        format!(
            "{{\"apiVersion\":\"constellation.dev/v1\",\"kind\":\"Config\",\"metadata\":{{\"name\":\"c\"}},\"spec\":{{\"data\":{inner}}}}}"
        )
    };
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let names = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{names}]\n"));
    }
    let bodies = [
        deep("[", "]"),
        deep("{\"a\":", "}").replace(":}", ":1}"),
        within(&deep("[", "]")),
        format!("[{}]", within(&deep("{\"a\":", "}").replace(":}", ":1}"))),
        format!("{{\"objects\":[{}]}}", within(&deep("[", "]"))),
        deep("- ", ""),
        "a:\n ".to_owned() + &deep("? ", ""),
        bomb,
    ];
    for media in ["application/json", "application/yaml"] {
        for body in &bodies {
            let answer = rig.ask("POST", "/api/v1/apply").media(media).body(body).send().await;
            assert_eq!(answer.status, 422, "{media} {}: {answer:?}", &body[..60]);
        }
    }
    assert_eq!(rig.get("/health").await.status, 200);
}

#[tokio::test]
async fn another_media_type_is_not_guessed() {
    let rig = Rig::new().await;
    let body = config("c", "1").to_string();
    for media in ["text/plain", "application/xml", "application/x-www-form-urlencoded", "json", ""] {
        let answer = rig.ask("POST", "/api/v1/apply").media(media).body(&body).send().await;
        assert_eq!(answer.problem(), (415, "unsupported-media-type".into()), "{media:?}");
    }
    for media in ["application/json", "Application/JSON; charset=utf-8", "application/yaml", "text/x-yaml"] {
        let answer = rig.ask("POST", "/api/v1/apply").media(media).body(&body).send().await;
        assert_eq!(answer.status, 200, "{media}: {answer:?}");
    }
    let scale = rig.ask("PUT", "/api/v1/services/x/scale").media("application/yaml").body("replicas: 2").send().await;
    assert_eq!(scale.status, 415);
    assert_eq!(rig.ask("POST", "/api/v1/builds?tag=x").media("application/json").body("{}").send().await.status, 415);
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused_announced_or_not() {
    let rig = Rig::with(|l| l.body = 1_000).await;
    let big = config("c", &"x".repeat(2_000)).to_string();
    // By its length, before it is sent.
    let mut wire = rig.tcp().await;
    let whole = rig.ask("POST", "/api/v1/apply").body(&big).bytes();
    wire.write(&whole[..whole.len() - big.len()]).await;
    let answer = wire.answer().await;
    assert_eq!(answer.problem(), (413, "too-large".into()));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(wire.read_to_close().await, b"");
    // In chunks, when the limit is passed.
    for path in ["/api/v1/apply", "/api/v1/plan"] {
        let mut wire = rig.tcp().await;
        wire.write(rig.ask("POST", path).header("transfer-encoding", "chunked").bytes()).await;
        for piece in big.as_bytes().chunks(100) {
            if !wire.try_write(format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece))).await {
                break;
            }
        }
        assert_eq!(wire.answer().await.problem(), (413, "too-large".into()), "{path}");
    }
    assert_eq!(rig.get("/api/v1/configs/c").await.status, 404);
    let small = config("c", &"x".repeat(700)).to_string();
    assert!(small.len() < 1_000);
    assert_eq!(rig.post("/api/v1/apply", &small).await.status, 200);
}

#[tokio::test]
async fn what_is_about_one_object_is_refused_where_there_are_many() {
    let rig = Rig::new().await;
    rig.apply(&config("c", "1").to_string()).await;
    let before = rig.index();
    for path in ["/api/v1/apply", "/api/v1/plan"] {
        for (name, value) in [("if-match", "\"1\""), ("if-none-match", "*")] {
            let answer = rig.ask("POST", path).header(name, value).body(config("c", "2").to_string()).send().await;
            assert_eq!(answer.problem(), (400, "bad-request".into()), "{path} {name}");
            assert!(answer.json()["hint"].as_str().unwrap().contains("preconditions"), "{answer:?}");
        }
    }
    let unclear = rig.post("/api/v1/apply?dryRun=true&dryRun=false", &config("c", "2").to_string()).await;
    assert_eq!(unclear.problem(), (400, "bad-request".into()));
    assert_eq!(rig.index(), before);
}

#[tokio::test]
async fn a_big_body_is_read_planned_written_and_listed_like_a_small_one() {
    let rig = Rig::new().await;
    let yaml: String = (0..3)
        .map(|n| {
            let text = "x".repeat(100_000);
            format!("apiVersion: constellation.dev/v1\nkind: Config\nmetadata: {{name: c{n}}}\nspec: {{data: {{a: {text}}}}}\n---\n")
        })
        .collect();
    let ask = |path: &str| rig.ask("POST", path).media("application/yaml").body(&yaml).send();
    let planned = ask("/api/v1/plan").await;
    assert_eq!(planned.json()["objects"].as_array().unwrap().len(), 3, "{:?}", planned.status);
    let (dry, done) = (ask("/api/v1/apply?dryRun=true").await.json(), ask("/api/v1/apply").await.json());
    assert_eq!((&dry["objects"][2]["result"], &done["objects"][2]["result"]), (&json!("created"), &json!("created")));
    assert_eq!(rig.read("/api/v1/configs").await["items"].as_array().unwrap().len(), 3);
    let again = ask("/api/v1/apply").await;
    assert_eq!(again.json()["objects"][0]["result"], "unchanged");
    let wrong = rig.post("/api/v1/apply", &yaml.replace("data:", "dta:")).await;
    assert_eq!(wrong.problem(), (422, "invalid-manifest".into()));
}
