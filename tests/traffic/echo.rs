//! WebSockets that say something every moment and want to hear it again.

use std::{net::SocketAddr, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, protocol::frame::coding::CloseCode},
};
use tokio_util::sync::CancellationToken;

use crate::{
    exchange,
    report::{Answered, Failure, Report},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to open one.
const PAUSE: Duration = Duration::from_millis(100);

/// What is said.
#[derive(Debug, Clone)]
pub struct Plan {
    /// To whom.
    pub to: SocketAddr,
    /// The host in the request.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// How many.
    pub sockets: u64,
    /// Between two words of each.
    pub every: Duration,
    /// For how long.
    pub lasts: Duration,
}

type Outcome = (Duration, Result<Answered, (Failure, String)>);

/// Talks until the time is over or `stop`.
pub async fn run(plan: Plan, stop: CancellationToken) -> Report {
    let began = Instant::now();
    let mut talking = JoinSet::new();
    for _ in 0..plan.sockets {
        talking.spawn(one(plan.clone(), began, stop.clone()));
    }
    let mut report = Report::default();
    while let Some(Ok((outcomes, reopened))) = talking.join_next().await {
        report.reopened += reopened;
        for (due, outcome) in outcomes {
            report.add(due, outcome);
        }
    }
    report
}

async fn one(plan: Plan, began: Instant, stop: CancellationToken) -> (Vec<Outcome>, u64) {
    let (mut outcomes, mut reopened) = (Vec::new(), 0);
    let mut open: Option<(WebSocketStream<TcpStream>, String)> = None;
    let mut due = Duration::ZERO;
    while due < plan.lasts && stop.run_until_cancelled(sleep_until(began + due)).await.is_some() {
        let said = async {
            loop {
                let (socket, version) = match &mut open {
                    Some(found) => found,
                    none => none.insert(opened(&plan).await?),
                };
                match word(socket, &due.as_nanos().to_string()).await {
                    Ok(()) => return Ok(Answered { took: (began + due).elapsed(), version: version.clone() }),
                    // Sent away in good order, before it heard us: not a failure, but another one is needed.
                    Err(None) => (open, reopened) = (None, reopened + 1),
                    Err(Some(failure)) => return Err(failure),
                }
            }
        };
        let outcome = timeout(PATIENCE, said).await;
        let outcome = outcome.unwrap_or_else(|_| Err((Failure::Timeout, format!("{PATIENCE:?}"))));
        if outcome.is_err() {
            open = None;
            sleep(PAUSE).await;
        }
        outcomes.push((due, outcome));
        due += plan.every;
    }
    if let Some((mut socket, _)) = open {
        // It may be gone.
        let _ = timeout(PATIENCE, socket.close(None)).await;
    }
    (outcomes, reopened)
}

async fn opened(plan: &Plan) -> Result<(WebSocketStream<TcpStream>, String), (Failure, String)> {
    let stream = exchange::connect(plan.to).await?;
    let (socket, answer) = client_async(format!("ws://{}{}", plan.host, plan.path), stream).await.map_err(|error| {
        let failure = if matches!(error, Error::Http(_)) { Failure::Status } else { Failure::Reset };
        (failure, error.to_string())
    })?;
    let version = answer.headers().get("x-version").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    Ok((socket, version))
}

/// Says one word and hears it. `None`: the server goes away, and says so.
async fn word(socket: &mut WebSocketStream<TcpStream>, word: &str) -> Result<(), Option<(Failure, String)>> {
    let broken = |error: Error| Some((Failure::Reset, error.to_string()));
    // It may have said goodbye while we were silent; then that is to be read, though nothing can be sent.
    let sent = socket.send(Message::text(word)).await;
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(heard))) if heard.as_str() == word => return Ok(()),
            Some(Ok(Message::Close(Some(why)))) if why.code == CloseCode::Away => return Err(None),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other)) => return Err(Some((Failure::Status, format!("{other:?}")))),
            Some(Err(error)) => return Err(broken(sent.err().unwrap_or(error))),
            None => return Err(Some((Failure::Reset, "ended without a word".into()))),
        }
    }
}
