//! Answers that come in pieces: pulls, builds, logs, events.
//!
//! Here: the loops that read them under a deadline for each piece. Not here: the single calls.
//! Invariant: every wait for a piece ends; a stream ends after its first error; nothing is spawned, so
//! that dropping a stream closes its connection.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use bollard::{
    auth::DockerCredentials,
    body_try_stream,
    container::LogOutput,
    models::{BuildInfo, CreateImageInfo},
    query_parameters::{BuildImageOptionsBuilder, CreateImageOptions, EventsOptionsBuilder, LogsOptionsBuilder},
};
use bytes::Bytes as Chunk;
use futures::{
    SinkExt, Stream, StreamExt, TryStreamExt,
    channel::mpsc::{Sender, channel},
    future::ready,
    stream::{self, BoxStream},
};

use super::{
    Engine,
    error::{Subject, explain, translate},
    look,
};
use crate::runtime::{
    BuildProgress, BuildRequest, Credentials, LogChunk, LogQuery, PullProgress, RuntimeError, RuntimeEvent,
    limits::{self, Op},
    names,
};

/// Actions of containers that a loop cares for. The engine compares by prefix once `health_status` is
/// among them; `exec_*`, one for each health check, stay out.
const ACTIONS: [&str; 13] = [
    "create",
    "start",
    "die",
    "stop",
    "kill",
    "oom",
    "destroy",
    "health_status",
    "pause",
    "unpause",
    "rename",
    "restart",
    "update",
];
/// How long a followed log may be silent before its container is looked at.
const FOLLOW_SILENCE: Duration = Duration::from_secs(30);

type Out<T> = Sender<Result<T, RuntimeError>>;

/// A stream from a loop that sends its items. The loop runs when the stream is polled and ends with it.
fn generate<T, F>(make: impl FnOnce(Out<T>) -> F) -> BoxStream<'static, Result<T, RuntimeError>>
where
    T: Send + 'static,
    F: Future<Output = Result<(), RuntimeError>> + Send + 'static,
{
    let (out, items) = channel(0);
    let run = make(out);
    let end = stream::once(run).filter_map(|end| ready(end.err().map(Err)));
    // An error at the end comes after all items: the select ends only when both have.
    stream::select(items, end).boxed()
}

/// Sends one item; false when nobody listens any more.
async fn send<T>(out: &mut Out<T>, item: T) -> bool {
    out.send(Ok(item)).await.is_ok()
}

impl Engine {
    /// The next piece of an answer, under the deadline of `op`.
    async fn piece<T>(
        &self,
        op: Op,
        subject: Subject<'_>,
        pieces: &mut (impl Stream<Item = Result<T, bollard::errors::Error>> + Unpin + Send),
    ) -> Result<Option<T>, RuntimeError> {
        match tokio::time::timeout(op.limit, pieces.try_next()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(self.translated(&error, subject)),
            Err(_) => Err(op.missed()),
        }
    }

    pub(super) fn pull(
        self: Arc<Self>,
        reference: String,
        platform: Option<String>,
        credentials: Option<Credentials>,
    ) -> BoxStream<'static, Result<PullProgress, RuntimeError>> {
        generate(move |mut out| async move {
            let parsed = names::reference(&reference)?;
            let options = CreateImageOptions {
                from_image: Some(parsed.name()),
                tag: Some(parsed.digest.clone().unwrap_or_else(|| parsed.tag_or_latest().to_owned())),
                platform: platform.unwrap_or_default(),
                ..CreateImageOptions::default()
            };
            let client = self.client(limits::PULL).await?;
            let mut pieces = client.docker.create_image(Some(options), None, credentials.map(header)).boxed();
            let mut layers = Layers::default();
            while let Some(info) = self.piece(limits::PULL, Subject::Image(&reference), &mut pieces).await? {
                if !send(&mut out, layers.take(info)).await {
                    break;
                }
            }
            Ok(())
        })
    }

    pub(super) fn events(
        self: Arc<Self>,
        key: String,
        value: String,
        since: Option<i64>,
    ) -> BoxStream<'static, Result<RuntimeEvent, RuntimeError>> {
        generate(move |mut out| async move {
            let list = |items: &[&str]| items.iter().map(|&i| i.to_owned()).collect::<Vec<_>>();
            let filters = HashMap::from([
                ("type".to_owned(), list(&["container"])),
                ("label".to_owned(), vec![format!("{key}={value}")]),
                ("event".to_owned(), list(&ACTIONS)),
            ]);
            let mut options = EventsOptionsBuilder::default().filters(&filters);
            if let Some(since) = since {
                let (seconds, nanos) = (since.div_euclid(1_000_000_000), since.rem_euclid(1_000_000_000));
                options = options.since(&format!("{seconds}.{nanos:09}"));
            }
            let client = self.client(limits::INFO).await?;
            let mut pieces = client.docker.events(Some(options.build())).boxed();
            loop {
                match self.piece(limits::EVENTS, Subject::Engine, &mut pieces).await {
                    Ok(Some(message)) => {
                        if let Some(event) = look::event(message)
                            && !send(&mut out, event).await
                        {
                            return Ok(());
                        }
                    }
                    // The engine went away, perhaps to come back as another version.
                    Ok(None) => {
                        self.connection.forget();
                        return Ok(());
                    }
                    // Nothing happened, or a dead connection: the caller resumes where it was.
                    Err(RuntimeError::Unresponsive { .. }) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        })
    }

    pub(super) fn logs(
        self: Arc<Self>,
        id: String,
        query: LogQuery,
    ) -> BoxStream<'static, Result<LogChunk, RuntimeError>> {
        generate(move |mut out| async move {
            names::identifier(&id, "container")?;
            let mut options = LogsOptionsBuilder::default()
                .follow(query.follow)
                .stdout(true)
                .stderr(true)
                .timestamps(query.timestamps)
                .tail(&query.tail.map_or_else(|| "all".to_owned(), |n| n.to_string()));
            if let Some(since) = query.since {
                options = options.since(i32::try_from(since.max(0)).unwrap_or(i32::MAX));
            }
            let client = self.client(limits::LOGS).await?;
            let mut pieces = client.docker.logs(&id, Some(options.build())).boxed();
            let op = if query.follow { limits::LOGS.within(FOLLOW_SILENCE) } else { limits::LOGS };
            loop {
                let piece = match self.piece(op, Subject::Container(&id), &mut pieces).await {
                    Ok(Some(piece)) => piece,
                    Ok(None) => return Ok(()),
                    // A quiet container is no error; a hung engine is: this look has a deadline of its own.
                    Err(RuntimeError::Unresponsive { .. }) if query.follow => match self.inspect(&id).await? {
                        Some(_) => continue,
                        None => return Ok(()),
                    },
                    Err(error) => return Err(error),
                };
                let (stderr, bytes) = match piece {
                    LogOutput::StdErr { message } => (true, message),
                    LogOutput::StdOut { message } | LogOutput::Console { message } => (false, message),
                    LogOutput::StdIn { .. } => continue,
                };
                if !send(&mut out, LogChunk { stderr, bytes }).await {
                    return Ok(());
                }
            }
        })
    }

    pub(super) fn build(
        self: Arc<Self>,
        request: BuildRequest,
        context: BoxStream<'static, std::io::Result<Chunk>>,
    ) -> BoxStream<'static, Result<BuildProgress, RuntimeError>> {
        generate(move |mut out| async move {
            let options = build_options(&request)?;
            // The transport says only that sending failed; why is kept here.
            let unread = Arc::new(Mutex::new(None::<String>));
            let note = unread.clone();
            let context = context.inspect_err(move |error| {
                if let Ok(mut note) = note.lock() {
                    *note = Some(error.to_string());
                }
            });
            let client = self.client(limits::BUILD).await?;
            let mut pieces = client.docker.build_image(options, None, Some(body_try_stream(context))).boxed();
            let mut steps = Steps::default();
            loop {
                let piece = match self.piece(limits::BUILD, Subject::Build, &mut pieces).await {
                    Ok(Some(piece)) => piece,
                    Ok(None) => break,
                    Err(error) => {
                        if let Some(why) = unread.lock().ok().and_then(|mut w| w.take()) {
                            return Err(RuntimeError::Refused { message: format!("reading the build context: {why}") });
                        }
                        return Err(steps.named(error));
                    }
                };
                for line in steps.take(piece)? {
                    if !send(&mut out, BuildProgress::Output(line)).await {
                        return Ok(());
                    }
                }
            }
            if let Some(line) = steps.rest() {
                send(&mut out, BuildProgress::Output(line)).await;
            }
            let id = match steps.id.take() {
                Some(id) => id,
                // An engine that does not name the result: it stands under its tag.
                None => {
                    let image = self.image(&request.tag).await?;
                    image.map(|i| i.id).ok_or_else(|| RuntimeError::Failed {
                        message: format!("the build ended without an image {}", request.tag),
                    })?
                }
            };
            send(&mut out, BuildProgress::Done(id)).await;
            Ok(())
        })
    }

    /// An error in our words; a lost engine is looked for anew by the next call.
    pub(super) fn translated(&self, error: &bollard::errors::Error, subject: Subject<'_>) -> RuntimeError {
        let error = translate(error, self.connection.address(), subject);
        if matches!(error, RuntimeError::Down { .. }) {
            self.connection.forget();
        }
        error
    }
}

/// Credentials as the engine takes them.
pub(super) fn header(credentials: Credentials) -> DockerCredentials {
    DockerCredentials {
        username: Some(credentials.username),
        password: Some(credentials.password),
        serveraddress: Some(credentials.server),
        ..DockerCredentials::default()
    }
}

fn build_options(request: &BuildRequest) -> Result<bollard::query_parameters::BuildImageOptions, RuntimeError> {
    let tag = names::reference(&request.tag)?;
    let map = |m: &std::collections::BTreeMap<String, String>| -> HashMap<String, String> {
        m.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let mut options = BuildImageOptionsBuilder::default()
        .t(&format!("{}:{}", tag.name(), tag.tag_or_latest()))
        .rm(true)
        .forcerm(true)
        .nocache(request.no_cache)
        .buildargs(&map(&request.args))
        .labels(&map(&request.labels));
    if !request.dockerfile.is_empty() {
        options = options.dockerfile(&request.dockerfile);
    }
    if let Some(target) = &request.target {
        options = options.target(target);
    }
    if let Some(platform) = &request.platform {
        options = options.platform(platform);
    }
    if request.pull {
        options = options.pull("1");
    }
    Ok(options.build())
}

/// Progress of a pull, summed over the layers known so far.
#[derive(Default)]
struct Layers {
    of: HashMap<String, (u64, u64)>,
}

impl Layers {
    fn take(&mut self, info: CreateImageInfo) -> PullProgress {
        let status = info.status.unwrap_or_default();
        if let Some(id) = info.id {
            let layer = self.of.entry(id).or_default();
            let detail = info.progress_detail.unwrap_or_default();
            let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
            match status.as_str() {
                "Downloading" => {
                    *layer = (number(detail.current).unwrap_or(0), number(detail.total).unwrap_or(layer.1));
                }
                // What is unpacked has been fetched; unpacking counts anew from zero and is not shown.
                "Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete" => layer.0 = layer.1,
                _ => {}
            }
        }
        let (current, total) =
            self.of.values().fold((0u64, 0u64), |(c, t), (cur, tot)| (c.saturating_add(*cur), t.saturating_add(*tot)));
        PullProgress { status, current, total }
    }
}

/// Output of a build as lines, the step it is at, and the image when it is done.
#[derive(Default)]
struct Steps {
    /// Begun and not ended yet.
    line: String,
    /// `Step 2/4 : COPY x /y`.
    step: Option<String>,
    id: Option<String>,
}

/// A line longer than this is passed on in pieces.
const LINE_MAX: usize = 16 * 1024;

impl Steps {
    /// Lines that ended with this piece, or the error that it is.
    fn take(&mut self, info: BuildInfo) -> Result<Vec<String>, RuntimeError> {
        if let Some(detail) = info.error_detail {
            let message = detail.message.unwrap_or_else(|| "the engine gives no reason".into());
            return Err(self.named(explain(500, &message, Subject::Build)));
        }
        if let Some(id) = info.aux.and_then(|aux| aux.id) {
            self.id = Some(id);
        }
        let mut lines = Vec::new();
        // Progress of a base image that is pulled comes as a status, without line ends.
        if let Some(status) = info.status
            && info.progress_detail.is_none_or(|d| d.current.is_none())
        {
            lines.push(match info.id {
                Some(id) => format!("{id}: {status}"),
                None => status,
            });
        }
        self.line.push_str(info.stream.as_deref().unwrap_or_default());
        while let Some(end) = self.line.find('\n').or_else(|| (self.line.len() > LINE_MAX).then_some(LINE_MAX)) {
            let end = (0..=end).rev().find(|&i| self.line.is_char_boundary(i)).unwrap_or(0);
            let rest = self.line.split_off(end);
            let line = std::mem::replace(&mut self.line, rest.strip_prefix('\n').unwrap_or(&rest).to_owned());
            let line = line.trim_end_matches('\r').to_owned();
            if line.starts_with("Step ") {
                self.step = Some(line.clone());
            }
            if !line.trim().is_empty() {
                lines.push(line);
            }
        }
        Ok(lines)
    }
    /// What stood there without a line end.
    fn rest(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        (!line.trim().is_empty()).then_some(line)
    }
    fn name(&self, message: &str) -> String {
        match &self.step {
            Some(step) => format!("{step}: {message}"),
            None => message.to_owned(),
        }
    }
    fn named(&self, error: RuntimeError) -> RuntimeError {
        match error {
            RuntimeError::Refused { message } => RuntimeError::Refused { message: self.name(&message) },
            RuntimeError::DiskFull { message } => RuntimeError::DiskFull { message: self.name(&message) },
            RuntimeError::Failed { message } => RuntimeError::Failed { message: self.name(&message) },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulled(id: &str, status: &str, detail: Option<(i64, i64)>) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: detail
                .map(|(current, total)| bollard::models::ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn a_pull_is_summed_over_its_layers() {
        let mut layers = Layers::default();
        let steps = [
            (pulled("a", "Pulling fs layer", None), (0, 0)),
            (pulled("a", "Downloading", Some((10, 100))), (10, 100)),
            (pulled("b", "Downloading", Some((5, 50))), (15, 150)),
            (pulled("a", "Download complete", None), (105, 150)),
            (pulled("a", "Extracting", Some((1, 100))), (105, 150)),
            (pulled("b", "Pull complete", None), (150, 150)),
        ];
        for (info, want) in steps {
            let got = layers.take(info.clone());
            assert_eq!((got.current, got.total), want, "{info:?}");
        }
    }

    #[test]
    fn a_failed_build_names_its_step() {
        let said = |text: &str| BuildInfo { stream: Some(text.into()), ..BuildInfo::default() };
        let mut steps = Steps::default();
        assert_eq!(steps.take(said("Step 1/2 : FROM")).unwrap(), Vec::<String>::new());
        assert_eq!(
            steps.take(said(" scratch\n ---> \nStep 2/2 : COPY a b\n")).unwrap(),
            ["Step 1/2 : FROM scratch", " ---> ", "Step 2/2 : COPY a b"]
        );
        let error = steps.named(RuntimeError::Refused { message: "COPY failed: no such file".into() });
        assert_eq!(error.to_string(), "the engine refused: Step 2/2 : COPY a b: COPY failed: no such file");
    }

    #[test]
    fn a_line_without_end_is_passed_on_in_pieces() {
        let mut steps = Steps::default();
        let long = "é".repeat(LINE_MAX);
        let lines = steps.take(BuildInfo { stream: Some(long.clone()), ..BuildInfo::default() }).unwrap();
        let all = lines.concat() + &steps.rest().unwrap_or_default();
        assert_eq!(all, long);
        assert!(lines.iter().all(|l| l.len() <= LINE_MAX));
    }

    #[tokio::test]
    async fn the_error_of_a_stream_is_its_last_item() {
        let items: Vec<_> = generate(|mut out| async move {
            for n in 0..3 {
                send(&mut out, n).await;
            }
            Err(RuntimeError::NotFound { what: "end".into() })
        })
        .collect()
        .await;
        assert_eq!(items.len(), 4);
        assert_eq!(items[..3], [Ok(0), Ok(1), Ok(2)]);
        assert!(items[3].is_err());
    }
}
