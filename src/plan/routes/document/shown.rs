//! The document as Traefik reads it: without what is empty, with what stands there beside it.
//!
//! Here: [`Document::bytes`]; [`Shown`], the document with one more entry where there is one, without a copy of it.
//! Not here: which characters stand there as they are (`text`).

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use serde::{Serialize, Serializer};

use super::{Document, Marker, Middleware, Name, Router, ServersTransport, Service, Tls, text};
use crate::model::middleware::Headers;

/// Bytes of a router, or of a service, as most are.
const USUAL: usize = 256;

impl Document {
    /// The bytes that Traefik reads, with a marker.
    ///
    /// # Errors
    /// When a value has no JSON form; no type here is so.
    pub fn bytes(&self, marker: Marker) -> Result<Vec<u8>, serde_json::Error> {
        let name = Name::from(marker.to_string());
        let header = [(Marker::HEADER.to_owned(), name.to_string())].into();
        let headers = Middleware::Headers(Headers { custom_response_headers: header, ..Headers::default() });
        let router = Marker::router(&name);
        let mut shown = Shown::from(self);
        shown.http.routers.more = Some((&name, &router));
        shown.http.middlewares.more = Some((&name, &headers));
        text::to_vec(&shown, (self.http.routers.len() + self.http.services.len() + 1) * USUAL)
    }
}

/// A document, and what is beside it.
#[derive(Serialize)]
struct Shown<'d> {
    http: ShownHttp<'d>,
    #[serde(skip_serializing_if = "Tls::is_empty")]
    tls: &'d Tls,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownHttp<'d> {
    #[serde(skip_serializing_if = "Part::is_empty")]
    routers: Part<'d, Router>,
    #[serde(skip_serializing_if = "Part::is_empty")]
    services: Part<'d, Service>,
    #[serde(skip_serializing_if = "Part::is_empty")]
    middlewares: Part<'d, Middleware>,
    #[serde(skip_serializing_if = "Part::is_empty")]
    servers_transports: Part<'d, ServersTransport>,
}

impl<'d> From<&'d Document> for Shown<'d> {
    fn from(Document { http, tls }: &'d Document) -> Self {
        let http = ShownHttp {
            routers: Part::of(&http.routers),
            services: Part::of(&http.services),
            middlewares: Part::of(&http.middlewares),
            servers_transports: Part::of(&http.servers_transports),
        };
        Self { http, tls }
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown::from(self).serialize(serializer)
    }
}

/// Entries by name, and one more, which takes the place of one of its name: all in the order of their names.
struct Part<'d, V> {
    all: &'d BTreeMap<Name, V>,
    more: Option<(&'d str, &'d V)>,
}

impl<'d, V> Part<'d, V> {
    fn of(all: &'d BTreeMap<Name, V>) -> Self {
        Self { all, more: None }
    }
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.more.is_none()
    }
}

impl<'d, V: Serialize> Serialize for Part<'d, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((name, value)) = self.more else { return serializer.collect_map(self.all) };
        let before = self.all.range::<str, _>((Unbounded, Excluded(name)));
        let after = self.all.range::<str, _>((Excluded(name), Unbounded));
        let named = |(name, value): (&'d Name, &'d V)| (&**name, value);
        serializer.collect_map(before.map(named).chain([(name, value)]).chain(after.map(named)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_stands_where_its_name_has_it() {
        let all: BTreeMap<Name, u8> = [("b".into(), 1), ("d".into(), 2)].into();
        for (more, shown) in [
            (None, r#"{"b":1,"d":2}"#),
            (Some("a"), r#"{"a":9,"b":1,"d":2}"#),
            (Some("c"), r#"{"b":1,"c":9,"d":2}"#),
            (Some("d"), r#"{"b":1,"d":9}"#),
            (Some("e"), r#"{"b":1,"d":2,"e":9}"#),
        ] {
            let part = Part { all: &all, more: more.map(|name| (name, &9)) };
            assert_eq!(serde_json::to_string(&part).unwrap(), shown, "{more:?}");
        }
    }
}
