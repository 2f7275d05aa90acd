//! JSON that a reader of YAML takes for what was meant: Traefik reads every document as YAML.
//!
//! Here: [`to_vec`]. YAML refuses a whole document for one control character that JSON lets stand, and folds others as the
//! ends of lines; in the form `\u0085` it takes them all. What is beyond U+FFFF stays as it is: the two halves that JSON
//! would write for it are no characters to YAML.
//! Not here: YAML takes no key of 1,024 characters and more. All keys are names of ours, or of headers, which
//! `model::route::problems` bounds.
//! Source: YAML 1.2, 5.1 and 5.4; tried with Traefik 3.7.15 (`tests/traefik.rs`).

use std::io;

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Nearly every one; and what is odd begins above them.
        if fragment.bytes().all(|b| b < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, odd)) = rest.char_indices().find(|(_, c)| is_odd(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(odd))?;
            rest = &rest[at + odd.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Whether YAML refuses it as it is, or reads something else.
const fn is_odd(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// The bytes of a value, of which there are about so many.
///
/// # Errors
/// When it has no JSON form.
pub(super) fn to_vec(value: &impl Serialize, about: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(about);
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Escaping))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Auth, Document, Marker, Middleware, Router};
    use crate::model::{
        middleware::{Headers, MiddlewareSpec},
        route::{EntryPoint, problems::of_middleware},
    };

    /// The characters of YAML that are no end of a line.
    fn stands_in_yaml(c: char) -> bool {
        matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
            && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
    }

    fn any_text() -> impl Strategy<Value = String> {
        let odd = prop::sample::select(vec![
            '\0',
            '\t',
            '\n',
            '\r',
            '"',
            '\\',
            '\u{7f}',
            '\u{80}',
            '\u{85}',
            '\u{9f}',
            '\u{2028}',
            '\u{feff}',
            '\u{fffe}',
            '\u{ffff}',
            '\u{1f600}',
            '\u{10ffff}',
        ]);
        prop::collection::vec(prop_oneof![odd, any::<char>()], 0..40).prop_map(|all| all.into_iter().collect())
    }

    proptest! {
        #[test]
        fn whatever_a_text_holds_the_document_is_read_as_it_was_meant(texts in prop::collection::vec(any_text(), 9)) {
            let mut texts = texts.into_iter();
            let mut next = || texts.next().unwrap_or_default();
            let mut document = Document::default();
            let headers = Headers {
                custom_request_headers: [(next(), next())].into(),
                allowed_hosts: vec![next()],
                access_control_allow_origin_list: vec![next()],
                content_security_policy: Some(next()),
                permissions_policy: Some(next()),
                ..Headers::default()
            };
            document.http.middlewares.insert("mw-a".into(), Middleware::Headers(headers));
            let auth = Auth { users: vec![next()], realm: Some(next()), remove_header: false, header_field: None };
            document.http.middlewares.insert("mw-b".into(), Middleware::BasicAuth(auth));
            let router = Router {
                entry_points: vec![EntryPoint::Web],
                rule: next(),
                priority: None,
                middlewares: vec![],
                service: "s".into(),
                tls: None,
            };
            document.http.routers.insert("r".into(), router);
            let text = String::from_utf8(document.bytes(Marker::default()).unwrap()).unwrap();
            prop_assert_eq!(text.chars().find(|c| !stands_in_yaml(*c)), None, "{}", &text);
            // Two halves of one character would be two wrong ones.
            let halves = (0xd8..=0xdf).any(|high| text.replace(r"\\", "").contains(&format!("\\u{high:x}")));
            prop_assert!(!halves, "{}", &text);
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            let mut meant = serde_json::to_value(&document).unwrap();
            for part in ["middlewares", "routers"] {
                let marker = read["http"][part]["gen-0-0"].clone();
                prop_assert!(marker.is_object());
                meant["http"][part]["gen-0-0"] = marker;
            }
            prop_assert_eq!(read, meant);
        }
    }

    #[test]
    fn a_name_of_a_header_that_yaml_takes_for_no_key_is_refused() {
        let refused = |length: usize| {
            let headers =
                Headers { custom_request_headers: [("x".repeat(length), String::new())].into(), ..Headers::default() };
            !of_middleware("", &MiddlewareSpec { headers: Some(headers), ..MiddlewareSpec::default() }).is_empty()
        };
        assert_eq!([256, 257, 1_023, 60_000].map(refused), [false, true, true, true]);
    }
    #[test]
    fn what_traefik_would_take_for_two_items_is_refused() {
        let written = serde_json::json!({"stripPrefix": {"prefixes": ["/a", "/b║/c"]}});
        let found = of_middleware("spec.", &serde_json::from_value(written).unwrap());
        let paths: Vec<&str> = found.iter().map(|problem| problem.path.as_str()).collect();
        assert!(paths.contains(&"spec.stripPrefix.prefixes[1]"), "{found:?}");
        let headers = Headers {
            sts_seconds: Some(1),
            access_control_allow_methods: vec!["GET║PUT".into()],
            ..Headers::default()
        };
        let found = of_middleware("", &MiddlewareSpec { headers: Some(headers), ..MiddlewareSpec::default() });
        assert!(
            found.iter().any(|p| p.path == "headers.accessControlAllowMethods[0]" && p.message.contains('║')),
            "{found:?}"
        );
    }
}
