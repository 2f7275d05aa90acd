//! From a request to its route: find, admit, run, count.
//!
//! Here: warp's filters, which take a request apart, and `dispatch`, which asks the route table. Not
//! here: the table (`routes`), what a route does (`read`, `write`, …).
//! Why a table and not a chain of filters: the roles, the allowed methods, the metrics' labels and the
//! OpenAPI document come from the same lines that route, so that none of them can be forgotten.

use std::{sync::Arc, time::Instant};

use http::{HeaderMap, Method};
use warp::{Filter, Rejection, Reply, reply::Response};

use super::{
    Server,
    accept::Call,
    metrics::{RouteLabels, TimeLabels},
    problem::Failure,
    request::{self, Body, Query, Request},
    routes::{self, Found, Route},
};

/// The filters: every request ends in `dispatch`.
pub fn filter(
    server: Arc<Server>,
) -> impl Filter<Extract = (impl Reply + use<>,), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
    let parts = move || {
        let server = server.clone();
        warp::any()
            .map(move || server.clone())
            .and(warp::ext::get::<Call>())
            .and(warp::method())
            .and(warp::header::headers_cloned())
    };
    let upgrade = parts().and(warp::ws()).then(|server, call, method, headers, ws| async move {
        dispatch(server, Incoming { call, method, headers, body: None, upgrade: Some(ws) }).await
    });
    let plain = parts().and(warp::body::stream()).then(|server, call, method, headers, body| {
        let body = Some(request::pieces(body));
        async move { dispatch(server, Incoming { call, method, headers, body, upgrade: None }).await }
    });
    upgrade.or(plain).unify()
}

/// A request taken apart.
struct Incoming {
    call: Call,
    method: Method,
    headers: HeaderMap,
    body: Option<Body>,
    upgrade: Option<warp::ws::Ws>,
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
        Err(failure) => failure.into_response(),
    };
    count(&server, Some(route), began, response)
}

async fn run(server: Arc<Server>, route: &'static Route, name: &str, incoming: Incoming) -> Result<Response, Failure> {
    let Incoming { call, headers, body, upgrade, .. } = incoming;
    let store = &server.shared.store;
    let caller = server.gate.admit(&headers, call.0.peer.uid, route.role, &store.state(), store.now())?;
    let name = request::decode(name, false)
        .ok_or_else(|| Failure::bad_request(format!("{name:?} in the path is not valid percent-encoding")))?;
    let query = Query::read(call.0.uri.query().unwrap_or_default(), route.query)?;
    let request = Request { server, call, route, caller, name, query, headers, body, upgrade };
    (route.run)(request).await
}

fn count(server: &Server, route: Option<&'static Route>, began: Instant, response: Response) -> Response {
    let (route, method) = route.map_or(("(none)", "(none)"), |r| (r.path, r.method));
    let http = &server.shared.http;
    http.requests.get_or_create(&RouteLabels { route, method, code: response.status().as_u16() }).inc();
    http.seconds.get_or_create(&TimeLabels { route, method }).observe(began.elapsed().as_secs_f64());
    response
}
