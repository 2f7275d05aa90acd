//! Asking Traefik what it serves.
//!
//! Here: [`serves`], one question, and [`read_back`], which asks until the answer is the newest document. Not here: what
//! follows from it (`plan::edge`).
//! Nothing is asked while no document is outstanding, nor before Traefik has come back for the one after it: then it has
//! read it whole, and needs about 65 ms to serve it. What is asked for is whatever document of ours there is: while they
//! change faster than Traefik follows, it serves one of those before the newest.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::Offered;
use crate::{model::Index, plan::routes::Marker};

/// For one answer: Traefik is on this machine.
const ANSWER: Duration = Duration::from_secs(1);
/// Between two questions while the answer is expected.
const SOON: Duration = Duration::from_millis(15);
/// How long it is expected.
const EXPECTED: Duration = Duration::from_secs(1);
/// Longest time between two questions after that.
const LATE: Duration = Duration::from_secs(5);

/// Most bytes of an answer that are looked at.
const LONGEST: u64 = 16 << 10;

/// Documents that Traefik shall be seen to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outstanding {
    /// Number of the first of them.
    pub oldest: u64,
    /// Marker of the newest.
    pub newest: Marker,
    /// How often a Traefik came or went: then it is another that is asked.
    pub turn: u64,
}

/// What Traefik was seen to serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// The marker of it.
    pub marker: Marker,
    /// From what was outstanding.
    pub turn: u64,
}

/// Asks for whatever is outstanding, and tells what is served. Ends with whoever says what is outstanding.
pub async fn read_back(
    api: SocketAddr,
    offered: Offered,
    mut outstanding: watch::Receiver<Option<Outstanding>>,
    served: watch::Sender<Served>,
) {
    loop {
        let wanted = outstanding.borrow_and_update().clone();
        let asking = async {
            let Some(wanted) = &wanted else { return std::future::pending().await };
            offered.taken(wanted.oldest).await;
            ask(api, wanted, &served).await;
            std::future::pending().await
        };
        tokio::select! {
            changed = outstanding.changed() => if changed.is_err() { return },
            () = asking => {}
        }
    }
}

/// Until the newest is served.
async fn ask(api: SocketAddr, wanted: &Outstanding, served: &watch::Sender<Served>) {
    let (began, mut pause) = (Instant::now(), SOON);
    loop {
        match serves(api).await {
            Ok(Some(marker)) => {
                let new = Served { marker, turn: wanted.turn };
                served.send_if_modified(|old| std::mem::replace(old, new) != new);
                if marker == wanted.newest {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, %api, "Traefik was asked and did not answer"),
        }
        if began.elapsed() > EXPECTED {
            pause = (pause * 2).min(LATE);
        }
        sleep(pause).await;
    }
}

/// The marker of the document that Traefik serves; none: it has none of ours.
///
/// # Errors
/// When it does not answer in time, or does not speak HTTP.
pub async fn serves(api: SocketAddr) -> io::Result<Option<Marker>> {
    let asked = async {
        let mut stream = TcpStream::connect(api).await?;
        // In the order of their names: of those that hold these letters a marker comes first. In the old protocol an
        // answer is one piece.
        let request = format!("GET /api/http/middlewares?search=gen-&per_page=1 HTTP/1.0\r\nHost: {api}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST).read_to_end(&mut answer).await?;
        if !answer.starts_with(b"HTTP/1.") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"));
        }
        Ok(marker(&String::from_utf8_lossy(&answer)))
    };
    timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The marker among middlewares.
fn marker(text: &str) -> Option<Marker> {
    let (_, rest) = text.split_once("\"name\":\"gen-")?;
    let (name, _) = rest.split_once("@http\"")?;
    let (index, sub) = name.split_once('-')?;
    Some(Marker { index: Index(index.parse().ok()?), sub: sub.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        edge::{Offer, Told},
        mutate::{Answering, answer},
    };

    fn serving(name: &str) -> Vec<u8> {
        answer(200, "application/json", format!("[{{\"status\":\"enabled\",\"name\":\"{name}@http\"}}]"))
    }

    #[tokio::test]
    async fn only_a_marker_is_a_yes() {
        let traefik = Answering::new(|_| None).await;
        let ask = async |text: Vec<u8>| {
            traefik.say(text);
            serves(traefik.address).await.map_err(|e| e.kind())
        };
        assert_eq!(ask(serving("gen-7-2")).await, Ok(Some(Marker { index: Index(7), sub: 2 })));
        for other in ["mw-gen-7-2", "gen-x-2", "gen-7", "gen-7-2-1"] {
            assert_eq!(ask(serving(other)).await, Ok(None), "{other}");
        }
        assert_eq!(ask(answer(200, "application/json", "[]")).await, Ok(None));
        assert_eq!(ask(answer(404, "text/plain", "404 page not found")).await, Ok(None));
        assert_eq!(ask(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()).await, Err(io::ErrorKind::InvalidData));
        assert_eq!(ask(b"".to_vec()).await, Err(io::ErrorKind::InvalidData));
    }

    #[tokio::test]
    async fn nothing_is_asked_before_a_document_was_taken_and_nothing_after_the_newest_was_seen() {
        let traefik = Answering::new(|_| None).await;
        traefik.say(serving("gen-7-1"));
        let (offer, wanted) = (Offer::default(), watch::Sender::new(None));
        let served = watch::Sender::new(Served::default());
        let mut heard = served.subscribe();
        let reading = tokio::spawn(read_back(traefik.address, offer.offered(), wanted.subscribe(), served));
        let newest = Marker { index: Index(8), sub: 2 };
        wanted.send_replace(Some(Outstanding { oldest: 1, newest, turn: 5 }));
        let early = timeout(Duration::from_millis(100), heard.changed()).await;
        assert!(early.is_err(), "Traefik has not read it yet");
        let told = Told::default();
        told.answered(1);
        let _asks_for_the_next = offer.offered().polls(&told);
        let mut next = async || {
            timeout(Duration::from_secs(20), heard.changed()).await.unwrap().unwrap();
            *heard.borrow_and_update()
        };
        let older = Marker { index: Index(7), sub: 1 };
        assert_eq!(next().await, Served { marker: older, turn: 5 }, "while the newest is not there yet");
        traefik.say(serving("gen-8-2"));
        assert_eq!(next().await, Served { marker: newest, turn: 5 });
        traefik.say(serving("gen-9-3"));
        assert!(timeout(Duration::from_millis(100), next()).await.is_err(), "nobody asks any more");
        drop(wanted);
        timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
    }
}
