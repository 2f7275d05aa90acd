//! One request as handlers see it: its route, its caller, its query, its headers, its body.
//!
//! Here: [`Request`] and [`Query`]. Invariant: a query parameter that the route does not know is an
//! error, never ignored; a body is read at most to its limit.

use std::{pin::Pin, str::FromStr, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::{HeaderMap, header::CONTENT_TYPE};

use super::{
    Server, accept::Call, auth::Caller, class::Place, guard, problem::Failure, routes::Route, socket::Handshake,
    wire::ManifestFault,
};
use crate::model::{Kind, ObjectKey, visible::made_visible};

/// Longest idempotency key, bytes.
const KEY_LIMIT: usize = 255;
/// Longest reason for a change, bytes.
const REASON_LIMIT: usize = 500;

/// Pieces of a body.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync>>;

/// One request, admitted.
pub struct Request {
    /// The server.
    pub server: Arc<Server>,
    /// What the connection knows.
    pub call: Call,
    /// The route that takes it.
    pub route: &'static Route,
    /// Who asks.
    pub caller: Caller,
    /// The `{name}` of the path, or empty.
    pub name: String,
    /// Its query.
    pub query: Query,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; none after it was taken.
    pub body: Option<Body>,
    /// Set when it wants to become a WebSocket.
    pub upgrade: Option<Handshake>,
    /// Its place among those of its class; a stream takes it along.
    pub place: Option<Place>,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML, many documents.
    Yaml,
}

impl Request {
    /// The kind that the route is about.
    ///
    /// # Errors
    /// A route without a kind asks: a fault of ours.
    pub fn kind(&self) -> Result<Kind, Failure> {
        self.route.kind.ok_or_else(|| Failure::internal(format!("{} is about no kind", self.route.path)))
    }
    /// The object that the path names.
    ///
    /// # Errors
    /// As [`Self::kind`].
    pub fn key(&self) -> Result<ObjectKey, Failure> {
        Ok(ObjectKey::new(self.kind()?, self.name.as_str()))
    }

    /// The whole body.
    ///
    /// # Errors
    /// 413 beyond the limit, 400 when the client broke off, 429 when the place was lost to others meanwhile.
    pub async fn bytes(&mut self) -> Result<Bytes, Failure> {
        let Some(mut body) = self.body.take() else { return Ok(Bytes::new()) };
        let stage = &self.call.0.stage;
        // Whoever sends slowly takes no place meanwhile, and goes when others want to come in.
        self.place = None;
        self.call.0.peer.turn().uploads();
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(piece) = body.next().await {
            match piece {
                // Most bodies come in one piece: it is not copied.
                Ok(piece) if first.is_empty() && all.is_empty() => first = piece,
                Ok(piece) => {
                    if all.is_empty() {
                        all.extend_from_slice(&first);
                    }
                    all.extend_from_slice(&piece);
                }
                Err(_) if self.call.0.over.is_set() => return Err(Failure::body_too_large(self.call.0.limit)),
                Err(error) if guard::is_stall(&error) => return Err(Failure::slow_body(&error)),
                Err(error) => return Err(Failure::bad_request(format!("the body broke off: {error}"))),
            }
        }
        self.call.0.peer.turn().uploaded();
        stage.body_is_here();
        // It may have been revoked while the body was on its way.
        if !self.caller.right(&self.server.shared.store).holds() {
            return Err(Failure::wrong_token());
        }
        self.place = Some(self.server.places.enter(self.call.0.class)?);
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    /// A small JSON body.
    ///
    /// # Errors
    /// 415 or 422 when it is not such a value.
    pub fn json<T: serde::de::DeserializeOwned>(&self, body: &[u8]) -> Result<T, Failure> {
        if let Some(given) = self.headers.get(CONTENT_TYPE)
            && self.format(body)? != Format::Json
        {
            return Err(Failure::media_type(given.to_str().unwrap_or("?"), "application/json"));
        }
        serde_json::from_slice(body).map_err(|error| json_fault(&error))
    }

    /// How the body is written: by its media type, else by its first character.
    ///
    /// # Errors
    /// 415 for other media types.
    pub fn format(&self, body: &[u8]) -> Result<Format, Failure> {
        let Some(given) = self.headers.get(CONTENT_TYPE) else { return Ok(guess(body)) };
        let given = given.to_str().unwrap_or("?");
        let media = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media.as_str() {
            "application/json" => Ok(Format::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Ok(Format::Yaml),
            _ => Err(Failure::media_type(given, "application/yaml or application/json")),
        }
    }

    /// `Idempotency-Key`.
    ///
    /// # Errors
    /// 400 when it is empty, too long, or not printable ASCII.
    pub fn idempotency_key(&self) -> Result<Option<&str>, Failure> {
        let Some(value) = self.headers.get("idempotency-key") else { return Ok(None) };
        let key = value.to_str().unwrap_or_default();
        if key.is_empty() || key.len() > KEY_LIMIT {
            let detail = format!("Idempotency-Key has 1 to {KEY_LIMIT} printable ASCII characters");
            return Err(Failure::bad_request(detail));
        }
        Ok(Some(key))
    }

    /// `X-Change-Reason`.
    ///
    /// # Errors
    /// 400 when it is too long or not text.
    pub fn reason(&self) -> Result<Option<Arc<str>>, Failure> {
        let Some(value) = self.headers.get("x-change-reason") else { return Ok(None) };
        match std::str::from_utf8(value.as_bytes()).map(str::trim) {
            Ok("") => Ok(None),
            Ok(text) if text.len() <= REASON_LIMIT && !text.contains(char::is_control) => Ok(Some(text.into())),
            _ => Err(Failure::bad_request(format!(
                "X-Change-Reason has at most {REASON_LIMIT} bytes of text without control characters"
            ))),
        }
    }
}

fn guess(body: &[u8]) -> Format {
    match body.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{' | b'[') => Format::Json,
        _ => Format::Yaml,
    }
}

/// A fault of JSON, at its place.
#[must_use]
pub fn json_fault(error: &serde_json::Error) -> Failure {
    let message = error.to_string();
    // serde_json ends with the place, which the fault carries itself.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what).to_owned();
    Failure::invalid(vec![ManifestFault {
        source: "request".into(),
        document: 1,
        line: error.line(),
        column: error.column(),
        message: made_visible(message),
        fix: Some("correct the JSON there".into()),
        ..ManifestFault::default()
    }])
}

/// Any body as pieces.
pub fn pieces<S, B>(stream: S) -> Body
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
    B: Buf,
{
    Box::pin(stream.map(|piece| piece.map(|mut buf| buf.copy_to_bytes(buf.remaining()))))
}

/// What stands after the `?`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads it; every parameter must be known to the route.
    ///
    /// # Errors
    /// 400 for an unknown parameter, one that stands twice and takes one value, or a broken escape.
    pub fn read(text: &str, known: &[super::routes::Param]) -> Result<Self, Failure> {
        let mut read = Vec::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = match (decode(name, true), decode(value, true)) {
                (Some(name), Some(value)) => (name, value),
                _ => return Err(Failure::bad_request(format!("{pair:?} in the query is not valid percent-encoding"))),
            };
            let Some(param) = known.iter().find(|p| p.name == name) else { return Err(unknown(&name, known)) };
            if !param.many && read.iter().any(|(n, _)| *n == name) {
                return Err(Failure::bad_request(format!("{name} stands twice in the query")).hint("keep one of them"));
            }
            read.push((name, value));
        }
        Ok(Self(read))
    }
    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    /// Every value of a parameter that takes lists, `a,b` and repeated.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name).flat_map(|v| v.split(',')).filter(|v| !v.is_empty()).map(str::to_owned).collect()
    }
    /// Whether a parameter is there and not `false`.
    ///
    /// # Errors
    /// 400 when it is neither `true` nor `false`.
    pub fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(Failure::bad_request(format!("{name}={other} is neither true nor false"))),
        }
    }
    /// A number.
    ///
    /// # Errors
    /// 400 when it is none.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        self.get(name)
            .map(|text| text.parse().map_err(|_| Failure::bad_request(format!("{name}={text} is not a whole number"))))
            .transpose()
    }
}

fn unknown(name: &str, known: &[super::routes::Param]) -> Failure {
    let failure = Failure::bad_request(format!("the query parameter {name:?} is not known here"));
    let near = known
        .iter()
        .map(|p| p.name)
        .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    match near {
        None => failure.hint("this path takes no query"),
        Some(near) if strsim::jaro_winkler(near, name) > 0.8 => failure.hint(format!("did you mean {near}?")),
        Some(_) => {
            let names: Vec<&str> = known.iter().map(|p| p.name).collect();
            failure.hint(format!("known: {}", names.join(", ")))
        }
    }
}

/// Percent-encoding; in a query `+` is a space.
#[must_use]
pub fn decode(text: &str, query: bool) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if query => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes::Param;

    const KNOWN: &[Param] =
        &[Param { name: "fromIndex", about: "", many: false }, Param { name: "kinds", about: "", many: true }];

    #[test]
    fn a_query_is_decoded_and_an_unknown_parameter_is_named() {
        let query = Query::read("fromIndex=12&kinds=Service,Node&kinds=a%20b+c", KNOWN).unwrap();
        assert_eq!(query.number::<u64>("fromIndex").unwrap(), Some(12));
        assert_eq!(query.list("kinds"), ["Service", "Node", "a b c"]);
        assert!(query.number::<u64>("kinds").is_err());
        let failure = Query::read("fromindex=1", KNOWN).unwrap_err();
        assert_eq!((failure.status(), failure.problem().hint.as_deref()), (400, Some("did you mean fromIndex?")));
        for twice in ["fromIndex=1&fromIndex=2", "fromIndex=1&kinds=a&from%49ndex=1", "fromIndex&fromIndex"] {
            assert_eq!(Query::read(twice, KNOWN).unwrap_err().status(), 400, "{twice}: which one is meant?");
        }
        assert_eq!(Query::read("kinds=%zz", KNOWN).unwrap_err().status(), 400);
        assert_eq!(Query::read("kinds=%ff", KNOWN).unwrap_err().status(), 400, "not UTF-8");
    }

    #[test]
    fn a_flag_is_true_false_or_an_error() {
        let table = [
            ("", Ok(false)),
            ("kinds", Ok(true)),
            ("kinds=true", Ok(true)),
            ("kinds=false", Ok(false)),
            ("kinds=ja", Err(400)),
        ];
        for (text, want) in table {
            let got = Query::read(text, KNOWN).unwrap().flag("kinds").map_err(|f| f.status());
            assert_eq!(got, want, "{text}");
        }
    }
}
