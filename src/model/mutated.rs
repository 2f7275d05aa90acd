//! Small texts that people write, as nobody should write them.

use std::str::FromStr;

use super::{
    Bytes, Epoch, Kind, Millicores, ObjectKey, Period, constraint::Constraint, meta::is_label,
    reference::ImageReference, route::outside, rule, token,
};
use crate::mutate::{Mutations, plain, survives_text};

const CASES: u64 = 6_000;

/// What is read prints to a text that reads as the same; what is not has an error that names it.
fn circle<T>(text: &str)
where
    T: FromStr<Err: std::fmt::Display> + ToString + PartialEq + std::fmt::Debug,
{
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            assert_eq!(printed.parse::<T>().ok().as_ref(), Some(&value), "{text:?} is printed as {printed:?}");
        }
        Err(error) => plain(&error.to_string()),
    }
}

#[test]
fn quantities_survive_what_is_written() {
    let corpus = [
        "512m",
        "1Gi",
        "1.5g",
        "100",
        "64kb",
        "0",
        "16777215Ti",
        "0.5",
        "500m",
        "2",
        "1e3",
        "90s",
        "1m30s",
        "250ms",
        "1h",
        "1.5s",
        "100us",
        "7d",
        "0s",
        "36500d",
        "1h1m1s1ms",
    ];
    survives_text(Mutations::of("quantities", corpus, CASES), |text| {
        circle::<Bytes>(text);
        circle::<Millicores>(text);
        circle::<Period>(text);
        for json in [serde_json::to_string(text).unwrap(), text.to_owned()] {
            let read = (
                serde_json::from_str::<Bytes>(&json).map(|b| b.to_string()),
                serde_json::from_str::<Millicores>(&json).map(|m| m.to_string()),
                serde_json::from_str::<Period>(&json).map(|p| p.to_string()),
            );
            for answer in [read.0, read.1, read.2] {
                plain(&answer.unwrap_or_else(|e| e.to_string()));
            }
        }
    });
}

#[test]
fn names_constraints_and_tokens_survive_what_is_written() {
    let corpus = [
        "svc/web",
        "replica/web-1-abcde",
        "Secret/db",
        "0.7",
        "4294967295.18446744073709551615",
        "node.labels.gpu == intel",
        "node.role != edge",
        "node.hostname in (a,b , 'c')",
        "node.labels.a.b/c exists",
        "cst_0101010101010101_0202020202020202020202020202020202020202020202020202020202020202",
    ];
    survives_text(Mutations::of("names", corpus, CASES), |text| {
        circle::<ObjectKey>(text);
        circle::<Epoch>(text);
        circle::<Constraint>(text);
        if let Some((id, secret)) = token::parts(text) {
            assert_eq!(format!("cst_{id}_{secret}"), text);
        }
        assert!(Kind::parse(text).is_none_or(|kind| text.eq_ignore_ascii_case(kind.short())
            || text.eq_ignore_ascii_case(kind.plural())
            || text.eq_ignore_ascii_case(kind.name())));
        assert!(!is_label(text, 63) || text.len() <= 63 && text.is_ascii());
    });
}

#[test]
fn references_survive_what_is_written() {
    let corpus = [
        "nginx",
        "nginx:1.27",
        "ghcr.io/team/app:1",
        "localhost:5000/a/b@sha256:0123456789012345678901234567890123456789012345678901234567890123",
        "[fd00::1]:5000/a",
        "docker.io/library/redis:7",
    ];
    survives_text(Mutations::of("references", corpus, CASES), |text| {
        circle::<ImageReference>(text);
        if let Ok(reference) = ImageReference::parse(text) {
            // What the engine and a registry are told.
            assert!(reference.name().is_ascii() && !reference.name().contains(char::is_whitespace), "{text:?}");
            assert!(reference.same_repository(&reference));
        }
    });
}

#[test]
fn rules_and_conditions_survive_what_is_written() {
    let corpus = [
        "Host(`a.example.com`) && PathPrefix(`/api`)",
        "(Host(`a`) || HostRegexp(`^[a-z]+\\.b$`)) && !Method(\"POST\") && !Query(`a`, `b`)",
        "HeaderRegexp(`X-A`, `^b`) || ClientIP(`192.0.2.0/24`) || ClientIP(`2001:db8::/32`)",
        "NetworkErrorRatio() > 0.30 || ResponseCodeRatio(500, 600, 0, 600) >= 0.25",
        "IsNetworkError() && Attempts() <= 2 && RequestMethod() == \"GET\"",
        "*.example.com",
        "/a/{b}/c",
        "^/v[0-9]{1,3}(/|$)",
        "http://auth:9000/check",
        "https://[2001:db8::7]:443/",
        "192.0.2.0/24",
    ];
    survives_text(Mutations::of("rules and conditions", corpus, CASES), |text| {
        let found = [
            rule::check(text),
            rule::expression(text, rule::BREAKER),
            rule::expression(text, rule::BUFFERING),
            rule::regex(text),
        ];
        found.into_iter().filter_map(Result::err).for_each(|why| plain(&why));
        let quoted = rule::is_host(text) || rule::is_path(text) || rule::regex(text).is_ok();
        assert!(!quoted || !text.contains(['`', '\n', '\0']), "{text:?} would end its quotes");
        let _ = (rule::is_range(text), outside(text));
    });
}
