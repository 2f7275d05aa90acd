//! Logs of replicas, as ndjson or as text, followed over restarts and replacements.
//!
//! Here: which containers are read, and their bytes made into lines. One reader holds up nobody: each
//! container's log is asked for by each reader anew. Only this node's containers can be read.
//! Not here: reading on where a log broke off ([`follow`]).

mod follow;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt,
    stream::{BoxStream, SelectAll},
};
use warp::reply::Response;

use self::follow::{Place, follow};
use super::{
    problem::Failure,
    reply::{self, Closed, NDJSON, Sink, TEXT},
    request::{Query, Request},
    wire::LogLine,
};
use crate::{
    model::{Desired, Kind, Replica, Run, Uid},
    runtime::{self, LogChunk, LogQuery, Runtime, RuntimeError},
    store::{Client, State},
};

/// A line longer than this is shown in parts.
const LINE: usize = 64 << 10;

/// `GET /api/v1/services/{name}/logs`.
///
/// # Errors
/// 400, 404, 429; 503, 504 when the engine does not answer.
pub async fn of_service(mut request: Request) -> Result<Response, Failure> {
    let state = request.server.shared.store.state();
    let key = request.key()?;
    let object = state.object(&key).ok_or_else(|| Failure::absent(&key))?;
    let which = Which::Service(object.meta.uid.clone());
    read(&mut request, &state, which).await
}

/// `GET /api/v1/replicas/{name}/logs`.
///
/// # Errors
/// 400, 404, 429; 503, 504 when the engine does not answer.
pub async fn of_replica(mut request: Request) -> Result<Response, Failure> {
    let state = request.server.shared.store.state();
    let key = request.key()?;
    let replica = state.replica(&key.name).ok_or_else(|| Failure::absent(&key))?;
    read(&mut request, &state, Which::Replica(replica.name.clone())).await
}

enum Which {
    Service(Uid),
    Replica(Arc<str>),
}

async fn read(request: &mut Request, state: &State, which: Which) -> Result<Response, Failure> {
    let server = request.server.clone();
    let (shared, query) = (&server.shared, &request.query);
    let text = match query.get("format") {
        None | Some("json" | "ndjson") => false,
        Some("text") => true,
        Some(other) => return Err(Failure::bad_request(format!("format={other}: there are ndjson and text"))),
    };
    let reader = Reader {
        which,
        slot: query.get("replica").map(str::to_owned),
        all: query.flag("allReplicas")?,
        run: query.number("run")?,
        node: shared.node.clone(),
        ask: LogQuery {
            follow: query.flag("follow")?,
            tail: query.number("tail")?,
            since: since(query)?,
            timestamps: query.flag("timestamps")?,
        },
        text,
        runtime: shared.runtime.clone(),
        read: BTreeSet::new(),
        reading: BTreeSet::new(),
        places: HashMap::new(),
    };
    if reader.slot.is_some() && reader.replicas(state).is_empty() {
        let slot = reader.slot.unwrap_or_default();
        return Err(Failure::new(404, "not-found", "No such object", format!("there is no replica {slot} to read"))
            .hint("constellation ps lists the replicas; --all-replicas reads ended ones too"));
    }
    // One that has just begun may have no attempt yet.
    if let Some(run) = reader.run.filter(|_| reader.replicas(state).is_empty() && !reader.under_way(state)) {
        let message = format!("there is no attempt of a run {run} to read");
        return Err(Failure::new(404, "not-found", "No such object", message)
            .hint("constellation job ls lists the runs; what ended long ago is not kept"));
    }
    let permit = reply::permit(request)?;
    // What reads a log may be silent for long. This look is not: an engine that hangs is told before it begins.
    if reader.replicas(state).iter().any(|r| reader.has_container(state, r)) {
        runtime::answers(&*shared.runtime).await.map_err(|error| Failure::engine(&error))?;
    }
    let store = shared.store.clone();
    let media = if text { TEXT } else { NDJSON };
    Ok(reply::stream_with(permit, &server, media, |sink| reader.run(store, sink)))
}

/// The replicas of a service whose logs are asked for by a slot (`1`, `web.1`, `web.preDeploy`, a full name), or by none. Of
/// one hook those of the newest revision that it ran for are read, whether they run or have ended; `all` reads every one.
fn asked<'r>(of: impl Iterator<Item = &'r Arc<Replica>>, slot: Option<&str>, all: bool) -> Vec<&'r Arc<Replica>> {
    let fits = |r: &&Arc<Replica>| match (slot, &r.hook) {
        (None, hook) => hook.is_none(),
        (Some(slot), None) => r.slot.to_string() == slot || *r.name == *slot || r.display() == slot,
        (Some(slot), Some(run)) => run.stage.as_str() == slot || *r.name == *slot || r.display() == slot,
    };
    let found: Vec<_> = of.filter(fits).collect();
    let newest = found.iter().filter(|r| r.hook.is_some()).map(|r| r.revision).max();
    let reads = |r: &&Arc<Replica>| {
        let named = slot.is_some_and(|slot| *r.name == *slot);
        all || named || if r.hook.is_some() { Some(r.revision) == newest } else { r.desired == Desired::Run }
    };
    found.into_iter().filter(reads).collect()
}

/// Seconds since 1970, or an age.
fn since(query: &Query) -> Result<Option<i64>, Failure> {
    let Some(text) = query.get("since") else { return Ok(None) };
    if let Ok(seconds) = text.parse() {
        return Ok(Some(seconds));
    }
    let age = humantime::parse_duration(text).map_err(|_| {
        Failure::bad_request(format!("since={text} is neither seconds since 1970 nor an age")).hint("like 10m or 1h30m")
    })?;
    Ok(Some(seconds(SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH))))
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// One start of one container: each is read once.
type Start = (Arc<str>, String, Option<String>);

struct Reader {
    which: Which,
    slot: Option<String>,
    all: bool,
    /// Only attempts of this run of a job.
    run: Option<u64>,
    node: Arc<str>,
    ask: LogQuery,
    text: bool,
    runtime: Arc<dyn Runtime>,
    read: BTreeSet<Start>,
    /// Containers that are read now.
    reading: BTreeSet<String>,
    /// How far each followed log was read: the container's next start is read from there.
    places: HashMap<String, Arc<Mutex<Place>>>,
}

/// What one container's log gives.
enum Piece {
    Chunk(usize, Result<LogChunk, RuntimeError>),
    End(usize),
}

/// One container's log while it is read.
struct Source {
    replica: Arc<str>,
    display: String,
    container: String,
    out: BytesMut,
    err: BytesMut,
}

impl Reader {
    fn replicas(&self, state: &State) -> Vec<Arc<Replica>> {
        let chosen = state.replicas().filter(|r| match &self.which {
            Which::Service(uid) => r.service_uid == *uid,
            Which::Replica(name) => r.name == *name,
        });
        let of_run = chosen.filter(|r| self.run.is_none_or(|run| r.run == Some(run)));
        match &self.which {
            Which::Replica(_) => of_run.cloned().collect(),
            Which::Service(_) => asked(of_run, self.slot.as_deref(), self.all).into_iter().cloned().collect(),
        }
    }

    async fn run(mut self, store: Client, sink: Sink) -> Result<(), Closed> {
        let mut states = store.watch();
        let mut pieces: SelectAll<BoxStream<'static, Piece>> = SelectAll::new();
        let mut sources: Vec<Source> = Vec::new();
        loop {
            let state = states.borrow_and_update().clone();
            for replica in self.replicas(&state) {
                if replica.node != self.node {
                    self.elsewhere(&replica, &sink).await?;
                } else if let Some((source, log)) = self.begin(&state, &replica, sources.len()) {
                    sources.push(source);
                    pieces.push(log);
                }
            }
            let over = self.over(&state);
            drop(state);
            // News are looked at between pieces, so that a chatty container does not hide a new one.
            loop {
                let step = async {
                    tokio::select! {
                        Some(piece) = pieces.next(), if !pieces.is_empty() => Some(Some(piece)),
                        changed = states.changed(), if self.ask.follow && !over => changed.ok().map(|()| None),
                        else => None,
                    }
                };
                match sink.wait(step).await? {
                    Some(Some(piece)) => {
                        let ended = matches!(piece, Piece::End(_));
                        self.piece(piece, &mut sources, &store, &sink).await?;
                        if ended {
                            break;
                        }
                    }
                    Some(None) => break,
                    None => return Ok(()),
                }
            }
        }
    }

    /// Whether nothing can follow: the one replica that is read has ended, or the run of a job.
    fn over(&self, state: &State) -> bool {
        match &self.which {
            Which::Service(_) if self.run.is_some() => !self.under_way(state),
            Which::Service(uid) => !state.replicas().any(|r| r.service_uid == *uid) && !self.lives(state, uid),
            Which::Replica(name) => state.replica(name).is_none_or(|r| r.desired == Desired::Stop),
        }
    }
    /// Whether the run that is asked for has not ended.
    fn under_way(&self, state: &State) -> bool {
        let Which::Service(uid) = &self.which else { return false };
        self.run.and_then(|number| state.job(uid)?.run(number)).is_some_and(Run::runs)
    }
    fn lives(&self, state: &State, service: &Uid) -> bool {
        state.objects(Kind::Service).any(|o| o.meta.uid == *service)
    }

    async fn elsewhere(&mut self, replica: &Replica, sink: &Sink) -> Result<(), Closed> {
        let start = (replica.name.clone(), String::new(), None);
        if !self.read.insert(start) {
            return Ok(());
        }
        let line = format!("its log is on node {}: ask the API there", replica.node);
        let failure = Failure::new(503, "elsewhere", "It runs on another node", line.clone());
        self.unread(&replica.name, &replica.label(), &line, Some(&failure), sink).await
    }

    /// Whether a replica is of this node, and its container was made already.
    fn has_container(&self, state: &State, replica: &Replica) -> bool {
        replica.node == self.node && state.replica_status(&replica.name).is_some_and(|s| s.container.is_some())
    }

    /// Begins to read a start of a container that was not read yet.
    fn begin(
        &mut self,
        state: &State,
        replica: &Replica,
        number: usize,
    ) -> Option<(Source, BoxStream<'static, Piece>)> {
        let status = state.replica_status(&replica.name)?;
        let container = status.container.clone()?;
        if self.reading.contains(&container) {
            return None;
        }
        if !self.read.insert((replica.name.clone(), container.clone(), status.started_at.clone())) {
            return None;
        }
        self.reading.insert(container.clone());
        let (runtime, ask) = (self.runtime.clone(), self.ask.clone());
        let log = if ask.follow {
            let place = self.places.entry(container.clone()).or_default().clone();
            follow(runtime, container.clone(), ask, place)
        } else {
            runtime.logs(container.clone(), ask)
        };
        let end = futures::stream::once(async move { Piece::End(number) });
        let pieces = log.map(move |chunk| Piece::Chunk(number, chunk)).chain(end).boxed();
        let source = Source {
            replica: replica.name.clone(),
            display: replica.label(),
            container,
            out: BytesMut::new(),
            err: BytesMut::new(),
        };
        Some((source, pieces))
    }

    async fn piece(&mut self, piece: Piece, sources: &mut [Source], store: &Client, sink: &Sink) -> Result<(), Closed> {
        match piece {
            Piece::Chunk(number, Ok(chunk)) => {
                let Some(source) = sources.get_mut(number) else { return Ok(()) };
                let stream = if chunk.stderr { "stderr" } else { "stdout" };
                let rest = if chunk.stderr { &mut source.err } else { &mut source.out };
                rest.extend_from_slice(&chunk.bytes);
                let mut whole = Vec::new();
                while let Some(line) = cut(rest) {
                    whole.push(line);
                }
                for line in whole {
                    self.line(&source.replica, &source.display, stream, &String::from_utf8_lossy(&line), sink).await?;
                }
                Ok(())
            }
            Piece::Chunk(number, Err(error)) => {
                let Some(source) = sources.get(number) else { return Ok(()) };
                let gone = matches!(error, RuntimeError::NotFound { .. });
                let expected = gone && !runs(&store.state(), &source.replica);
                let failure = (!expected).then(|| Failure::engine(&error));
                self.unread(&source.replica, &source.display, &error.to_string(), failure.as_ref(), sink).await
            }
            Piece::End(number) => {
                let Some(source) = sources.get_mut(number) else { return Ok(()) };
                self.reading.remove(&source.container);
                for (stream, rest) in [("stdout", source.out.split()), ("stderr", source.err.split())] {
                    if !rest.is_empty() {
                        let line = String::from_utf8_lossy(&rest);
                        self.line(&source.replica, &source.display, stream, &line, sink).await?;
                    }
                }
                Ok(())
            }
        }
    }

    async fn line(&self, replica: &str, display: &str, stream: &str, line: &str, sink: &Sink) -> Result<(), Closed> {
        if self.text {
            return sink.send(Bytes::from(format!("{display} | {line}\n"))).await;
        }
        let (time, line) = match line.split_once(' ') {
            Some((time, line)) if self.ask.timestamps => (Some(time.to_owned()), line),
            _ => (None, line),
        };
        sink.line(&LogLine { replica: replica.into(), stream: stream.into(), line: line.into(), time, error: None })
            .await
    }

    /// Says why there is no (more) log of a replica.
    async fn unread(
        &self,
        replica: &str,
        display: &str,
        line: &str,
        failure: Option<&Failure>,
        sink: &Sink,
    ) -> Result<(), Closed> {
        if self.text {
            return self.line(replica, display, "error", line, sink).await;
        }
        let error = failure.map(|failure| Box::new(failure.problem().clone()));
        sink.line(&LogLine { replica: replica.into(), stream: "error".into(), line: line.into(), time: None, error })
            .await
    }
}

/// Whether a replica shall run and has not ended: only then its container must be there.
fn runs(state: &State, replica: &str) -> bool {
    state.replica(replica).is_some_and(|r| r.desired == Desired::Run)
        && state.replica_status(replica).is_none_or(|s| !s.phase.ended())
}

/// The next whole line, without its end; a part of one that is too long.
fn cut(rest: &mut BytesMut) -> Option<BytesMut> {
    match rest.iter().take(LINE).position(|b| *b == b'\n') {
        Some(end) => {
            let mut line = rest.split_to(end + 1);
            line.truncate(end);
            if line.last() == Some(&b'\r') {
                line.truncate(end - 1);
            }
            Some(line)
        }
        None if rest.len() >= LINE => Some(rest.split_to(LINE)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;

    fn replica(name: &str, revision: u64, desired: &str, stage: Option<&str>) -> Arc<Replica> {
        let hook = stage.map(|stage| serde_json::json!({"stage": stage, "position": 0, "hook": {"command": ["x"]}}));
        let spec = serde_json::json!({
            "name": name, "uid": name, "service": "web", "serviceUid": "u", "slot": 1, "revision": revision,
            "specHash": "h", "node": "n1", "nodeUid": "n", "epoch": Epoch::default(), "desired": desired, "hook": hook,
            "decision": {"score": 0, "considered": []}, "index": 1, "resourceVersion": 1, "createdAt": 0,
        });
        Arc::new(serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn of_a_hook_the_newest_revision_is_read_whether_it_runs_or_has_ended() {
        let all = [
            replica("web-1-a", 2, "Run", None),
            replica("web-1-b", 1, "Stop", None),
            replica("web-predeploy-a", 1, "Run", Some("preDeploy")),
            replica("web-predeploy-b", 2, "Stop", Some("preDeploy")),
            replica("web-postdeploy-c", 1, "Run", Some("postDeploy")),
        ];
        for (slot, every, names) in [
            (None, false, vec!["web-1-a"]),
            (None, true, vec!["web-1-a", "web-1-b"]),
            (Some("1"), false, vec!["web-1-a"]),
            (Some("web-1-b"), false, vec!["web-1-b"]),
            (Some("web.preDeploy"), false, vec!["web-predeploy-b"]),
            (Some("preDeploy"), false, vec!["web-predeploy-b"]),
            (Some("web.preDeploy"), true, vec!["web-predeploy-a", "web-predeploy-b"]),
            (Some("web-predeploy-a"), false, vec!["web-predeploy-a"]),
            (Some("web.postDeploy"), false, vec!["web-postdeploy-c"]),
            (Some("7"), false, vec![]),
        ] {
            let read = asked(all.iter(), slot, every);
            assert_eq!(read.iter().map(|r| &*r.name).collect::<Vec<_>>(), names, "{slot:?}, {every}");
        }
        assert_eq!((all[0].label().as_str(), all[3].label().as_str()), ("web.1", "web.preDeploy (revision 2)"));
    }

    #[test]
    fn lines_are_cut_at_their_ends_and_at_the_limit() {
        let mut rest = BytesMut::from("a\r\nb\nc");
        assert_eq!(cut(&mut rest).unwrap(), "a");
        assert_eq!(cut(&mut rest).unwrap(), "b");
        assert_eq!(cut(&mut rest), None);
        assert_eq!(rest, "c");
        let mut long = BytesMut::from("x".repeat(LINE + 5).as_str());
        assert_eq!(cut(&mut long).unwrap().len(), LINE);
        assert_eq!(cut(&mut long), None);
    }
}
