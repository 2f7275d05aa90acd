//! `/traefik/config`: what Traefik is to do, by long poll.
//!
//! Here: who waits, and for how long. Not here: what the document says (`plan::routes`), who makes it (`edge`).
//! Traefik asks again as soon as it is answered and sends nothing that says what it has. So the connection remembers
//! which document was answered last on it: whoever asks again there has read that one, and waits for another; whoever is
//! new is answered at once. An answer that is the same again after [`super::Limits::hold`] tells that the connection
//! lives, and Traefik ignores it.
//! Invariant: the answer is 200 with a whole document. Any other makes Traefik wait up to 12 s before it asks again, so
//! only a caller that may not, or has no place, gets one; and a server that ends before its first document was made:
//! one without the routes would take them all away.

use tokio::time::timeout;
use warp::reply::Response;

use super::{
    auth::Role,
    problem::Failure,
    reply::{self, JSON},
    request::Request,
};

/// `GET /traefik/config`.
///
/// # Errors
/// 401 when the token is revoked while it waits, 429 without a place, 503 when there is no document.
pub async fn config(request: Request) -> Result<Response, Failure> {
    let shared = &request.server.shared;
    let told = &request.call.0.peer.told;
    let has = told.number();
    let right = request.caller.right(&shared.store);
    // An administrator who looks at it is no edge.
    let _polling = (request.caller.role == Role::Edge).then(|| shared.traefik.polls(told));
    let other = timeout(shared.limits.hold, shared.traefik.other_than(has));
    let found = tokio::select! {
        // What is new is told even to whom the end would be told.
        biased;
        found = other => found.ok(),
        () = shared.traefik.hurried() => None,
        () = request.server.stop.cancelled() => None,
        () = right.ends() => return Err(Failure::wrong_token()),
    };
    let Some(document) = found.or_else(|| shared.traefik.now()) else { return Err(Failure::no_document()) };
    told.answered(document.number);
    Ok(reply::whole(JSON, document.bytes.clone()))
}
