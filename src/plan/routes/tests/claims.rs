//! Whose a host is, when several ask for it in different words.

use super::*;

fn with(mut spec: Value, more: Value) -> Value {
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// An older Route of `shop`, and a younger one that asks for something.
fn beside(older: Value, younger: Value) -> Table {
    let older = with(json!({"hosts": ["shop.example"], "backends": [{"service": "web"}]}), older);
    let younger = with(json!({"backends": [{"service": "web"}]}), younger);
    table(&input(vec![route("younger", 20, younger), route("older", 10, older)]))
}

#[test]
fn nobody_takes_a_host_by_numbers_expressions_or_rules() {
    let cases = [
        ("an expression", json!({"hosts": ["shop.example"], "paths": [{"type": "Regex", "value": "^/"}]})),
        ("a number", json!({"hosts": ["shop.example"], "paths": [{"value": "/x"}], "priority": 1000})),
        ("a rule", json!({"rule": "Host(`shop.example`) && Method(`GET`)"})),
        ("a rule with a number", json!({"rule": "Host(`shop.example`) && Method(`GET`)", "priority": 1_000_000})),
        ("one of several hosts", json!({"rule": "Host(`shop.example`) && Method(`GET`) || Host(`b`)"})),
        ("a rule for every host", json!({"rule": "PathPrefix(`/`)", "priority": 1_000_000})),
        ("an expression of hosts", json!({"rule": "HostRegexp(`shop`)", "priority": 1_000_000})),
        ("all but one host", json!({"rule": "!Host(`b`)", "priority": 1_000_000})),
        ("a wildcard with a number", json!({"hosts": ["*.example"], "priority": 1_000_000})),
    ];
    for (case, younger) in cases {
        let found = beside(json!({}), younger.clone());
        let verdict = said(&found, "younger");
        let [(reason, why), ..] = wrong(verdict)[..] else { panic!("{case}: {verdict:?}") };
        assert_eq!(reason, Reason::HostConflict, "{case}");
        assert!(why.contains("would come before what route/older has"), "{case}: {why}");
        assert!(found.entries.iter().all(|e| e.by.name == "older".into()), "{case}: {:?}", found.entries);
        let older = &said(&found, "older").accepted;
        assert!(older.holds && older.message.contains("route/younger"), "{case}: {older:?}");
        // Whoever has a number lets numbers decide.
        let found = beside(json!({"priority": 1}), younger);
        assert!(wrong(said(&found, "younger")).is_empty(), "{case}: {:?}", said(&found, "younger"));
        for (name, other) in [("younger", "route/older"), ("older", "route/younger")] {
            let told = &said(&found, name).accepted;
            assert!(told.holds && told.message.contains(other), "{case}: {name}: {told:?}");
        }
    }
}

#[test]
fn what_takes_nothing_from_others_is_served() {
    for younger in [
        json!({"hosts": ["shop.example"], "paths": [{"value": "/api"}]}),
        json!({"rule": "Host(`shop.example`) && PathPrefix(`/api`)"}),
        json!({"hosts": ["other.example"], "priority": 1000}),
        json!({"hosts": ["*.example"]}),
        json!({"rule": "PathPrefix(`/a/very/long/path/that/is/longer/than/the/host`)"}),
        json!({"rule": "HostRegexp(`^[a-z]+\\.a-long-name\\.example$`)"}),
    ] {
        let found = beside(json!({}), younger.clone());
        assert!(wrong(said(&found, "younger")).is_empty(), "{younger}: {:?}", said(&found, "younger"));
        let older = found.document.http.routers.iter().find(|(name, _)| name.ends_with("older")).unwrap().1;
        let open = younger.get("rule").is_some_and(|rule| !rule.as_str().unwrap().starts_with("Host("));
        let other = found.document.http.routers.iter().find(|(name, _)| name.ends_with("younger")).unwrap().1;
        assert!(!open || other.priority < older.priority, "{younger}: what names no host comes after all that do");
    }
    // A longer path is its right, and no secret.
    let found = beside(json!({}), json!({"hosts": ["shop.example"], "paths": [{"value": "/api"}]}));
    assert!(said(&found, "older").accepted.message.contains("go to route/younger"), "{:?}", said(&found, "older"));
    assert!(said(&found, "younger").accepted.message.contains("before what route/older has"));
}

#[test]
fn the_same_in_other_words_is_the_same() {
    let found = beside(json!({}), json!({"rule": "Host(`shop.example`)"}));
    assert!(wrong(said(&found, "younger"))[0].1.contains("is route/older's"), "{:?}", said(&found, "younger"));
}

#[test]
fn options_of_tls_are_those_of_a_host_and_nothing_else_has_any() {
    let tls = |version: &str| json!({"tls": {"mode": "secret", "secretRef": "cert", "minVersion": version}});
    let told = |older: Value, younger: Value| {
        let backends = json!({"backends": [{"service": "web"}]});
        let both = [route("younger", 20, with(younger, backends.clone())), route("older", 10, with(older, backends))];
        let mut input = input(both.into());
        middlewares(&mut input, json!({"client": {"passTLSClientCert": {"pem": true}}}));
        certificate(&mut input, "cert");
        let found = table(&input);
        let verdict = said(&found, "younger").clone();
        wrong(&verdict).first().map(|(reason, why)| (*reason, (*why).to_owned()))
    };
    let shop = |version| with(json!({"hosts": ["shop.example"], "priority": 1}), tls(version));
    let rule = |version| with(json!({"rule": "Host(`shop.example`) && Method(`GET`)"}), tls(version));
    let (reason, why) = told(shop("1.3"), rule("1.2")).unwrap();
    assert!(reason == Reason::HostConflict && why.contains("another `tls.minVersion`"), "{why}");
    assert_eq!(told(shop("1.3"), rule("1.3")), None);
    for (case, open) in [
        ("a wildcard", with(json!({"hosts": ["*.b.example"]}), tls("1.3"))),
        ("an expression", with(json!({"rule": "HostRegexp(`^[a-z]+\\.b\\.example$`)"}), tls("1.3"))),
        ("any host", with(json!({"rule": "PathPrefix(`/`)"}), tls("1.3"))),
        ("a client's certificate", with(json!({"hosts": ["*.b.example"], "middlewares": ["client"]}), tls("1.2"))),
    ] {
        let (reason, why) = told(shop("1.2"), open).expect(case);
        assert!(reason == Reason::InvalidRoute && why.contains("names no single host"), "{case}: {why}");
    }
    assert_eq!(told(shop("1.3"), with(json!({"hosts": ["*.b.example"]}), tls("1.2"))), None);
}
