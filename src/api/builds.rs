//! Builds on this node's engine: a tar of the context goes in as it arrives, progress comes out as ndjson.
//!
//! The answer begins before the context is read: an error after that is the last line.

use std::{collections::BTreeMap, io, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use http::header::CONTENT_TYPE;
use warp::reply::Response;

use super::{
    audit, grants,
    guard::Over,
    heavy,
    problem::Failure,
    reply::{self, Closed, NDJSON, Sink},
    request::{Body, Query, Request},
    wire::BuildLine,
};
use crate::{
    model::{Kind, reference::ImageReference},
    runtime::{self, BuildProgress, BuildRequest, RuntimeError},
};

/// The next piece of a context comes within this time, or the build ends.
const PIECE: Duration = Duration::from_secs(60);

/// `POST /api/v1/builds`.
///
/// # Errors
/// 400, 403 for a name that a service with power runs, 413, 415, 429, and those of every write before it begins: a build
/// that no record tells of is none. The engine's errors are the last line.
pub async fn build(mut request: Request) -> Result<Response, Failure> {
    if let Some(given) = request.headers.get(CONTENT_TYPE) {
        let given = given.to_str().unwrap_or("?");
        if !matches!(given, "application/x-tar" | "application/tar" | "application/octet-stream") {
            return Err(Failure::media_type(given, "application/x-tar"));
        }
    }
    let asked = read(&request.query)?;
    let image = ImageReference::parse(&asked.tag).map_err(|e| Failure::bad_request(format!("tag: {e}")))?;
    let shared = &request.server.shared;
    let (state, caller, granted) = (shared.store.state(), request.caller.clone(), shared.granted());
    let named = heavy::stored(&state, Kind::Service);
    heavy::run(&request.server, named, move || grants::may_name(&image, &state, (&caller, &granted))).await??;
    let body = request.body.take().ok_or_else(|| Failure::bad_request("the request carries no context"))?;
    let facts = request.call.0.clone();
    let engine = request.server.shared.runtime.clone();
    let permit = reply::permit(&mut request)?;
    audit::record(&request, format!("image/{}", asked.tag)).await?;
    let answer = reply::stream_with(permit, &request.server, NDJSON, move |sink| async move {
        // A step may be silent for long. This look is not: an engine that hangs is told before it begins.
        if let Err(error) = sink.wait(runtime::answers(&*engine)).await? {
            return sink.line(&failed(&Failure::engine(&error))).await;
        }
        lines(engine.build(asked, context(body)), facts.over.clone(), facts.limit, sink).await
    });
    Ok(answer)
}

fn read(query: &Query) -> Result<BuildRequest, Failure> {
    let tag = query.get("tag").filter(|t| !t.is_empty());
    let tag = tag.ok_or_else(|| Failure::bad_request("a build needs a name").hint("add ?tag=name:tag"))?;
    let mut args = BTreeMap::new();
    for arg in query.all("arg") {
        let (key, value) = arg
            .split_once('=')
            .filter(|(k, _)| !k.is_empty())
            .ok_or_else(|| Failure::bad_request(format!("arg={arg} is not KEY=VALUE")))?;
        args.insert(key.to_owned(), value.to_owned());
    }
    Ok(BuildRequest {
        tag: tag.to_owned(),
        dockerfile: query.get("dockerfile").filter(|d| !d.is_empty()).unwrap_or("Dockerfile").to_owned(),
        args,
        target: query.get("target").map(str::to_owned),
        no_cache: query.flag("noCache")?,
        pull: query.flag("pull")?,
        platform: query.get("platform").map(str::to_owned),
        labels: BTreeMap::new(),
    })
}

/// The context with a deadline for each piece.
fn context(body: Body) -> BoxStream<'static, io::Result<Bytes>> {
    futures::stream::unfold(Some(body), |body| async {
        let mut body = body?;
        match tokio::time::timeout(PIECE, body.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(body))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => {
                let late = format!("the context stopped: no piece for {PIECE:?}");
                Some((Err(io::Error::new(io::ErrorKind::TimedOut, late)), None))
            }
        }
    })
    .boxed()
}

async fn lines(
    mut progress: BoxStream<'static, Result<BuildProgress, RuntimeError>>,
    over: Over,
    limit: u64,
    sink: Sink,
) -> Result<(), Closed> {
    while let Some(step) = sink.wait(progress.next()).await? {
        let line = match step {
            Ok(BuildProgress::Output(output)) => BuildLine { output: Some(output), ..BuildLine::default() },
            Ok(BuildProgress::Done(image)) => BuildLine { image: Some(image), ..BuildLine::default() },
            // The engine only saw the context break off.
            Err(_) if over.is_set() => failed(&Failure::body_too_large(limit)),
            Err(error) => failed(&Failure::build(&error)),
        };
        let last = line.output.is_none();
        sink.line(&line).await?;
        if last {
            return Ok(());
        }
    }
    let ended = RuntimeError::Failed { message: "the build ended without an image".into() };
    sink.line(&failed(&Failure::build(&ended))).await
}

fn failed(failure: &Failure) -> BuildLine {
    BuildLine { error: Some(failure.problem().clone()), ..BuildLine::default() }
}
