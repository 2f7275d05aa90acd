//! The API as calls: paths, bodies and types of each request that a command makes.
//!
//! Here: [`Api`]. Not here: connections and retries (`transport`), what an answer means to a person (`command`).
//! Invariant: every change carries an idempotency key of its own, made here from randomness.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    failure::CliError,
    transport::{Answer, Lines, Outgoing, Request, Transport},
};
use crate::{
    api::wire::{
        ApplyAnswer, ApplyRequest, AuditList, BackupRequest, ClusterStatus, History, JobList, JobReport, List, Object,
        PlanAnswer, Rekeyed, RestoreConfirm, RestoreReport, RolloutOrder, RolloutReport, RouteTable, Scale,
        SecretRotate, SecretSet, ServiceReport, TokenMade, TokenRequest, TokenRevoked, TokenView, WatchLine, WhyReport,
    },
    model::{Kind, ObjectKey},
};

/// Longest wait for an answer; the API gives up before that and says why.
const LIMIT: Duration = Duration::from_secs(40);
/// Longest wait for the head of a build's answer: it comes once the context arrived.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// One API.
#[derive(Debug, Clone)]
pub struct Api {
    transport: Transport,
}

/// What a change carries beside itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    /// Why, kept with it.
    pub reason: Option<&'a str>,
    /// Set to prune.
    pub prune: Option<&'a str>,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// Whether what others need is deleted too.
    pub force: bool,
}

impl Api {
    /// Through this transport.
    #[must_use]
    pub const fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.transport.endpoint().to_string()
    }

    async fn read<T: DeserializeOwned>(&self, target: String) -> Result<T, CliError> {
        self.transport.send(&Request::get(target)).await?.json(LIMIT).await
    }

    /// The cluster in numbers.
    ///
    /// # Errors
    /// As [`Transport::send`], like every call here.
    pub async fn status(&self) -> Result<ClusterStatus, CliError> {
        self.read("/api/v1/status".into()).await
    }

    /// All of a kind.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn list(&self, kind: Kind) -> Result<List, CliError> {
        self.select(kind, None).await
    }

    /// Those of a kind that a label selector fits.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn select(&self, kind: Kind, labels: Option<&str>) -> Result<List, CliError> {
        let query: Query = [("labels", labels.map(str::to_owned))].into();
        self.read(query.onto(&format!("/api/v1/{}", kind.plural()))).await
    }

    /// One object.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn get(&self, key: &ObjectKey) -> Result<Object, CliError> {
        self.read(path(key, "")).await
    }

    /// Desired beside actual of a service.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn report(&self, service: &str) -> Result<ServiceReport, CliError> {
        self.read(path(&ObjectKey::service(service), "/status")).await
    }

    /// Why an object is not as declared.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn why(&self, key: &ObjectKey) -> Result<WhyReport, CliError> {
        self.read(path(key, "/why")).await
    }

    /// What an apply would do.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn plan(&self, wanted: &ApplyRequest, prune: Option<&str>) -> Result<PlanAnswer, CliError> {
        let change = Change { prune, ..Change::default() };
        let request = post("/api/v1/plan", Some(wanted), change)?;
        // A plan changes nothing: it needs no key and is not sent twice.
        self.transport.send(&request).await?.json(LIMIT).await
    }

    /// Writes objects.
    ///
    /// # Errors
    /// As [`Transport::change`].
    pub async fn apply(&self, wanted: &ApplyRequest, change: Change<'_>) -> Result<ApplyAnswer, CliError> {
        self.change(post("/api/v1/apply", Some(wanted), change)?).await
    }

    /// Deletes one object.
    ///
    /// # Errors
    /// As [`Transport::change`].
    pub async fn delete(&self, key: &ObjectKey, change: Change<'_>) -> Result<ApplyAnswer, CliError> {
        let request = post(&path(key, ""), None::<&()>, change)?;
        self.change(Request { method: Method::DELETE, ..request }).await
    }

    /// Sets the number of replicas.
    ///
    /// # Errors
    /// As [`Transport::change`].
    pub async fn scale(&self, service: &str, replicas: u32, change: Change<'_>) -> Result<ApplyAnswer, CliError> {
        let request = post(&path(&ObjectKey::service(service), "/scale"), Some(&Scale { replicas }), change)?;
        self.change(Request { method: Method::PUT, ..request }).await
    }

    /// `cordon` or `uncordon`.
    ///
    /// # Errors
    /// As [`Transport::change`].
    pub async fn node(&self, node: &str, verb: &str, change: Change<'_>) -> Result<ApplyAnswer, CliError> {
        let target = path(&ObjectKey::node(node), &format!("/{verb}"));
        self.change(post(&target, None::<&()>, change)?).await
    }

    /// How far the rollout of a service is.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn rollout(&self, service: &str) -> Result<RolloutReport, CliError> {
        self.read(path(&ObjectKey::service(service), "/rollout")).await
    }

    /// Says a word about a rollout.
    ///
    /// # Errors
    /// As [`Transport::change`].
    pub async fn order(
        &self,
        service: &str,
        order: &RolloutOrder,
        change: Change<'_>,
    ) -> Result<ApplyAnswer, CliError> {
        self.change(post(&path(&ObjectKey::service(service), "/rollout"), Some(order), change)?).await
    }

    /// What is served from outside, and what is left out.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn route_table(&self) -> Result<RouteTable, CliError> {
        self.read("/api/v1/route-table".into()).await
    }

    /// Every job.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn jobs(&self) -> Result<JobList, CliError> {
        self.read("/api/v1/jobs".to_owned()).await
    }

    /// The runs of a job.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn runs(&self, service: &str) -> Result<JobReport, CliError> {
        self.read(path(&ObjectKey::service(service), "/runs")).await
    }

    /// Begins a run of a job.
    ///
    /// # Errors
    /// As [`Transport::change`].
    pub async fn run(&self, service: &str, change: Change<'_>) -> Result<ApplyAnswer, CliError> {
        self.change(post(&path(&ObjectKey::service(service), "/runs"), None::<&()>, change)?).await
    }

    /// Who changed what.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn audit(&self, query: &Query) -> Result<AuditList, CliError> {
        self.read(query.onto("/api/v1/audit")).await
    }

    /// Writes some keys of a Secret.
    ///
    /// # Errors
    /// As [`Transport::change`].
    pub async fn set_secret(
        &self,
        name: &str,
        wanted: &SecretSet,
        change: Change<'_>,
    ) -> Result<ApplyAnswer, CliError> {
        let target = path(&ObjectKey::new(Kind::Secret, name), "/set");
        self.change(post(&target, Some(wanted), change)?).await
    }

    /// Makes a new version of a Secret.
    ///
    /// # Errors
    /// As [`Transport::change`].
    pub async fn rotate_secret(
        &self,
        name: &str,
        wanted: &SecretRotate,
        change: Change<'_>,
    ) -> Result<ApplyAnswer, CliError> {
        let target = path(&ObjectKey::new(Kind::Secret, name), "/rotate");
        self.change(post(&target, Some(wanted), change)?).await
    }

    /// The versions of a Config or Secret.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn history(&self, key: &ObjectKey) -> Result<History, CliError> {
        self.read(path(key, "/history")).await
    }

    /// Seals every Secret with a new key.
    ///
    /// # Errors
    /// As [`Transport::send`].
    pub async fn rekey(&self, change: Change<'_>) -> Result<Rekeyed, CliError> {
        let request = post("/api/v1/cluster/rekey", None::<&()>, change)?;
        self.transport.send(&request).await?.json(LIMIT).await
    }

    /// The tokens of the API.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn tokens(&self) -> Result<List<TokenView>, CliError> {
        self.read("/api/v1/tokens".into()).await
    }

    /// Makes a token.
    ///
    /// # Errors
    /// As [`Transport::change`].
    pub async fn create_token(&self, wanted: &TokenRequest, change: Change<'_>) -> Result<TokenMade, CliError> {
        self.change(post("/api/v1/tokens", Some(wanted), change)?).await
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// As [`Transport::change`].
    pub async fn revoke_token(&self, name: &str, change: Change<'_>) -> Result<TokenRevoked, CliError> {
        let request = post(&format!("/api/v1/tokens/{}", escape(name)), None::<&()>, change)?;
        self.change(Request { method: Method::DELETE, ..request }).await
    }

    /// A backup, as it comes.
    ///
    /// # Errors
    /// As [`Transport::send`].
    pub async fn backup(&self, wanted: &BackupRequest, change: Change<'_>) -> Result<Answer, CliError> {
        self.transport.send(&post("/api/v1/backups", Some(wanted), change)?).await
    }

    /// What a confirmation of the restored backup would change.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub async fn restoring(&self) -> Result<RestoreReport, CliError> {
        self.read("/api/v1/cluster/restore".into()).await
    }

    /// Confirms the restored backup.
    ///
    /// # Errors
    /// As [`Transport::change`].
    pub async fn confirm(&self, seen: &RestoreConfirm, change: Change<'_>) -> Result<ApplyAnswer, CliError> {
        self.change(post("/api/v1/cluster/restore", Some(seen), change)?).await
    }

    async fn change<T: DeserializeOwned>(&self, request: Request) -> Result<T, CliError> {
        let key = format!("{:032x}", rand::random::<u128>());
        self.transport.change(request, &key).await?.json(LIMIT).await
    }

    /// Changes of a kind after an index.
    ///
    /// # Errors
    /// As [`Transport::send`]; 410 when that index is no longer kept.
    pub async fn watch(&self, kind: Kind, from: u64, labels: Option<&str>) -> Result<Stream<WatchLine>, CliError> {
        let query: Query = [
            ("watch", Some("true".to_owned())),
            ("fromIndex", Some(from.to_string())),
            ("labels", labels.map(str::to_owned)),
        ]
        .into();
        self.stream(query.onto(&format!("/api/v1/{}", kind.plural()))).await
    }

    /// A stream of lines.
    ///
    /// # Errors
    /// As [`Transport::send`].
    pub async fn stream<T>(&self, target: String) -> Result<Stream<T>, CliError> {
        let lines = self.transport.send(&Request::get(target)).await?.lines();
        Ok(Stream { lines, line: std::marker::PhantomData })
    }

    /// Sends a build's context and reads what comes of it.
    ///
    /// # Errors
    /// As [`Transport::send`].
    pub async fn build<T>(&self, target: String, context: Outgoing) -> Result<Stream<T>, CliError> {
        let request = Request {
            method: Method::POST,
            limit: BUILD_LIMIT,
            headers: vec![("content-type", "application/x-tar".into())],
            ..Request::get(target)
        };
        let answer: Answer = self.transport.send_body(&request, context).await?;
        Ok(Stream { lines: answer.lines(), line: std::marker::PhantomData })
    }
}

/// Lines of one type.
#[derive(Debug)]
pub struct Stream<T> {
    lines: Lines,
    line: std::marker::PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Stream<T> {
    /// The next one; none at the end. May be dropped while it waits.
    ///
    /// # Errors
    /// As [`Lines::next_as`].
    pub async fn next(&mut self) -> Result<Option<T>, CliError> {
        self.lines.next_as().await
    }
}

/// `/api/v1/services/web` and what follows.
fn path(key: &ObjectKey, rest: &str) -> String {
    format!("/api/v1/{}/{}{rest}", key.kind.plural(), escape(&key.name))
}

fn post<T: Serialize>(target: &str, body: Option<&T>, change: Change<'_>) -> Result<Request, CliError> {
    let body = body
        .map(serde_json::to_vec)
        .transpose()
        .map_err(|source| CliError::Usage { message: format!("the request has no JSON form: {source}"), hint: None })?;
    let flag = |said: bool| said.then(|| "true".to_owned());
    let query: Query =
        [("prune", change.prune.map(str::to_owned)), ("dryRun", flag(change.dry_run)), ("force", flag(change.force))]
            .into();
    Ok(Request {
        method: Method::POST,
        body: body.map(|body| ("application/json", Bytes::from(body))),
        headers: change.reason.map(|reason| ("x-change-reason", header_text(reason))).into_iter().collect(),
        ..Request::get(query.onto(target))
    })
}

/// A header is one line without control characters.
fn header_text(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// A query made from names and values.
#[derive(Debug, Default, Clone)]
pub struct Query(Vec<(&'static str, String)>);

impl<const N: usize> From<[(&'static str, Option<String>); N]> for Query {
    fn from(pairs: [(&'static str, Option<String>); N]) -> Self {
        Self(pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

impl Query {
    /// One more.
    pub fn push(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }
    /// The path with this query.
    #[must_use]
    pub fn onto(&self, path: &str) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986).
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        if plain(b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_reasons_are_escaped() {
        let query: Query = [("tag", Some("a/b:1&x=y".to_owned())), ("none", None)].into();
        assert_eq!(query.onto("/p"), "/p?tag=a%2Fb%3A1%26x%3Dy");
        assert_eq!(Query::default().onto("/p"), "/p");
        assert_eq!(header_text("größer:\n100%\n"), "größer: 100%");
    }
}
