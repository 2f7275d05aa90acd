//! From a request to its route: find, admit, run, count.
//!
//! Here: warp's filters, which take a request apart, and `dispatch`, which asks the route table. Not
//! here: the table (`routes`), what a route does (`read`, `write`, …).
//! Why a table and not a chain of filters: the roles, the allowed methods, the metrics' labels and the
//! OpenAPI document come from the same lines that route, so that none of them can be forgotten.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{HeaderMap, Method, header::AUTHORIZATION};
use warp::{Filter, Rejection, Reply, reply::Response};

use super::{
    Server,
    accept::Call,
    auth::{Caller, Role},
    class::Class,
    metrics::{Refusal, RouteLabels, TimeLabels},
    problem::Failure,
    request::{self, Body, Query, Request},
    routes::{self, Found, Route},
};

/// The filters: every request ends in `dispatch`.
pub fn filter(
    server: Arc<Server>,
) -> impl Filter<Extract = (impl Reply + use<>,), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
    warp::any()
        .map(move || server.clone())
        .and(warp::ext::get::<Call>())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(|server, call, method, headers, body| {
            dispatch(server, Incoming { call, method, headers, body: request::pieces(body) })
        })
}

/// A request taken apart.
struct Incoming {
    call: Call,
    method: Method,
    headers: HeaderMap,
    body: Body,
}

async fn dispatch(server: Arc<Server>, incoming: Incoming) -> Response {
    let began = Instant::now();
    let call = incoming.call.clone();
    let path = call.0.uri.path();
    let (route, name) = match routes::find(&incoming.method, path) {
        Found::Route(route, name) => (route, name),
        other => {
            let failure = match other {
                Found::Methods(allowed) => Failure::method(incoming.method.as_str(), &allowed),
                Found::Unbuilt(what) => Failure::not_built(what),
                Found::Route(..) | Found::Nothing => Failure::no_route(path),
            };
            return count(&server, None, began, failure.into_response());
        }
    };
    let response = match run(server.clone(), route, name, incoming).await {
        Ok(response) => response,
        Err(failure) => {
            server.denied.note(&server.shared.http, route, call.0.peer.origin(), &failure);
            failure.into_response()
        }
    };
    count(&server, Some(route), began, response)
}

async fn run(server: Arc<Server>, route: &'static Route, name: &str, incoming: Incoming) -> Result<Response, Failure> {
    let Incoming { call, headers, body, .. } = incoming;
    let (class, source, store) = (call.0.class, call.0.peer.source(), &server.shared.store);
    let admitted = server.gate.admit(&headers, call.0.peer.uid, route.role, &store.state(), store.now());
    let caller = admitted.map_err(|failure| stranger(&server, class, source, &headers, failure))?;
    paced(&server, class, source, &caller)?;
    let place = Some(server.places.enter(class)?);
    let name = request::decode(name, false)
        .ok_or_else(|| Failure::bad_request(format!("{name:?} in the path is not valid percent-encoding")))?;
    let query = Query::read(call.0.uri.query().unwrap_or_default(), route.query)?;
    let (upgrade, body) = (call.0.upgrade(), Some(body));
    let request = Request { server, call, route, caller, name, query, headers, body, upgrade, place };
    (route.run)(request).await
}

/// So many changes of one caller from one source. Whoever may do everything can do worse than to do it often.
fn paced(server: &Server, class: Class, source: Option<IpAddr>, caller: &Caller) -> Result<(), Failure> {
    if class != Class::Change || caller.role == Role::Admin {
        return Ok(());
    }
    server.changes.take((caller.identity().into(), source), Instant::now()).map_err(|wait| {
        server.shared.http.refuse(class, Refusal::Rate);
        Failure::too_often(server.shared.limits.changes, wait)
    })
}

/// Whoever sent a token that is not known, once more; too often, and it is told so. A good token is let in all
/// the same: it has too many bits to be guessed, and to be locked out by a neighbour is the greater danger.
fn stranger(server: &Server, class: Class, source: Option<IpAddr>, headers: &HeaderMap, failure: Failure) -> Failure {
    if failure.status() != 401 || !headers.contains_key(AUTHORIZATION) {
        return failure;
    }
    let Err(wait) = server.wrong_tokens.take(source, Instant::now()) else { return failure };
    server.shared.http.refuse(class, Refusal::WrongTokens);
    Failure::too_many_wrong_tokens(wait)
}

fn count(server: &Server, route: Option<&'static Route>, began: Instant, response: Response) -> Response {
    let (route, method) = route.map_or(("(none)", "(none)"), |r| (r.path, r.method));
    let http = &server.shared.http;
    http.requests.get_or_create(&RouteLabels { route, method, code: response.status().as_u16() }).inc();
    http.seconds.get_or_create(&TimeLabels { route, method }).observe(began.elapsed().as_secs_f64());
    response
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::api::{rates::Rate, tests::rig::Rig};

    #[tokio::test]
    async fn one_caller_changes_so_often_and_an_administrator_as_often_as_it_likes() {
        let rig = Rig::with(|l| l.changes = Rate { per_second: 1, burst: 5 }).await;
        let server = Server::new(rig.shared.clone(), CancellationToken::new());
        let passed = |class, caller: &Caller, from: u8| {
            let source = Some(IpAddr::from([127, 0, 0, from]));
            (0..20).filter(|_| paced(&server, class, source, caller).is_ok()).count()
        };
        let (writer, other) = (caller(Role::Write, "ci"), caller(Role::Write, "me"));
        assert_eq!(passed(Class::Change, &writer, 1), 5);
        assert_eq!(passed(Class::Change, &other, 1), 5, "another caller");
        assert_eq!(passed(Class::Change, &writer, 2), 5, "another source");
        assert_eq!(passed(Class::Read, &writer, 1), 20, "it may still read");
        assert_eq!(passed(Class::Change, &caller(Role::Admin, "admin-token"), 1), 20);
    }

    fn caller(role: Role, name: &str) -> Caller {
        Caller { role, name: name.into(), token: None }
    }
}
