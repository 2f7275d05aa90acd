use serde_json::{Value, json};

use super::*;
use crate::{
    model::{ObjectKey, Reason},
    plan::routes::table,
};

fn declared(name: &str, spec: Spec) -> Declared {
    Declared { name: name.into(), labels: BTreeMap::new(), annotations: BTreeMap::new(), spec }
}
fn route(name: &str, spec: Value) -> Declared {
    declared(name, Spec::Route(Box::new(serde_json::from_value(spec).unwrap())))
}
fn to_web(host: &str) -> Value {
    json!({"hosts": [host], "backends": [{"service": "web", "port": 80}]})
}
fn with(spec: Value, more: Value) -> Value {
    let mut spec = spec;
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// What is said of these wishes, where `blog` has a.example by way of the middleware `fine`.
fn said(wishes: &[Wish<'_>]) -> Vec<String> {
    let mut before = Input::default();
    let spec = with(to_web("a.example"), json!({"middlewares": ["fine"]}));
    before.routes.push(Stored {
        name: "blog".into(),
        created_at: 5,
        spec: Arc::new(serde_json::from_value(spec).unwrap()),
    });
    let fine = serde_json::from_value(json!({"compress": {}})).unwrap();
    before.middlewares.insert("fine".into(), Arc::new(fine));
    before.services.insert("web".into(), Backing { created_at: 9, ..Backing::default() });
    let after = after(wishes, &before);
    warnings(wishes, &table(&before), &table(&after))
}

#[test]
fn what_would_not_be_served_is_said_before_in_the_words_that_are_said_after() {
    let put = |declared: &Declared| said(&[Wish::Put { declared, managed_by: None, digest: None }]);
    let tls = json!({"tls": {"mode": "secret", "secretRef": "cert"}});
    let web = serde_json::from_value(json!({"image": "a", "expose": [80], "routes": [{"host": "a.example"}]}));
    let until = "requests get 503 until then";
    let table = [
        ("nothing is wrong", route("b", to_web("b.example")), vec![]),
        (
            // Its name is before the other's, and it is younger all the same.
            "somebody has the host",
            route("a", to_web("a.example")),
            vec![
                "route/a: left out (HostConflict): a.example/ on web is route/blog's, which was first; rename one of \
                 the two"
                    .to_owned(),
            ],
        ),
        (
            "the middleware is missing",
            route("b", with(to_web("b.example"), json!({"middlewares": ["gone"]}))),
            vec![format!("route/b: b.example/ on web left out (MiddlewareNotFound): mw/gone does not exist; {until}")],
        ),
        (
            "the certificate is missing",
            route("b", with(to_web("b.example"), tls)),
            vec![format!(
                "route/b: b.example/ on websecure, b.example/ on web left out (SecretMissing): secret/cert does not \
                 exist; {until}"
            )],
        ),
        (
            "a short form",
            declared("web", Spec::Service(web.unwrap())),
            vec![
                "svc/web: left out (HostConflict): a.example/ on web is route/blog's, which was first; rename one of \
                 the two"
                    .to_owned(),
            ],
        ),
        (
            "nobody is behind it",
            route("b", json!({"hosts": ["b.example"], "backends": [{"service": "gone"}]})),
            vec![
                "route/b: not all of it answers (BackendNotFound): svc/gone does not exist; requests get 503"
                    .to_owned(),
            ],
        ),
    ];
    for (case, declared, want) in table {
        assert_eq!(put(&declared), want, "{case}");
    }
}

#[test]
fn what_comes_with_it_is_there_and_what_others_lose_is_said() {
    let put = |declared| Wish::Put { declared, managed_by: None, digest: None };
    let block = |label: &str| format!("-----BEGIN {label}-----\nMAAA\n-----END {label}-----\n");
    let values =
        json!({"type": "tls", "stringData": {"tls.crt": block("CERTIFICATE"), "tls.key": block("PRIVATE KEY")}});
    let cert = declared("cert", Spec::Secret(serde_json::from_value(values).unwrap()));
    let secure = route("b", with(to_web("b.example"), json!({"tls": {"mode": "secret", "secretRef": "cert"}})));
    assert_eq!(said(&[put(&cert), put(&secure)]), [""; 0]);

    let gone = [Wish::Delete(ObjectKey::new(Kind::Middleware, "fine"))];
    let lost = said(&gone);
    assert!(lost.len() == 1 && lost[0].contains(&Reason::MiddlewareNotFound.to_string()), "{lost:?}");
    assert_eq!(said(&[Wish::Delete(ObjectKey::new(Kind::Route, "blog"))]), [""; 0]);
    assert_eq!(
        said(&[Wish::Delete(ObjectKey::service("web"))]),
        ["route/blog: not all of it answers (BackendNotFound): svc/web does not exist; requests get 503"]
    );
}

#[test]
fn who_answers_after_a_deletion_is_said() {
    let key = ObjectKey::new(Kind::Route, "blog");
    assert_eq!(said(&[Wish::Delete(key.clone())]), [""; 0], "that is what was asked for");
    let rival = route("rival", to_web("a.example"));
    let both = [Wish::Put { declared: &rival, managed_by: None, digest: None }, Wish::Delete(key)];
    assert_eq!(said(&both), ["route/blog: a.example/ on web goes to route/rival"]);
    let mut before = Input::default();
    let spec = |routes| {
        Reached::from(&serde_json::from_value(json!({"image": "a", "expose": [80], "routes": routes})).unwrap())
    };
    let web = Backing {
        created_at: 9,
        declared: spec(json!([{"host": "a.example"}, {"host": "b.example"}])),
        ..Backing::default()
    };
    let late = Backing { created_at: 10, declared: spec(json!([{"host": "b.example"}])), ..Backing::default() };
    before.services = [("web".into(), web), ("late".into(), late)].into();
    let wishes = [Wish::Delete(ObjectKey::service("web"))];
    let told = warnings(&wishes, &table(&before), &table(&after(&wishes, &before)));
    assert_eq!(told, ["svc/web: a.example/ on web is served no more", "svc/web: b.example/ on web goes to svc/late"]);
}
