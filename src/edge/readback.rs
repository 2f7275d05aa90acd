//! Asking Traefik what it serves.
//!
//! Here: [`serves`], one question about one marker, and [`read_back`], which asks until the answer is yes. Not here: what
//! follows from it (`plan::edge`).
//! Nothing is asked while no marker is outstanding, nor before Traefik has come back for the document after it: then it
//! has read it whole, and needs about 65 ms to serve it.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::Offered;

/// For one answer: Traefik is on this machine.
const ANSWER: Duration = Duration::from_secs(1);
/// Between two questions while the answer is expected.
const SOON: Duration = Duration::from_millis(15);
/// How long it is expected.
const EXPECTED: Duration = Duration::from_secs(1);
/// Longest time between two questions after that.
const LATE: Duration = Duration::from_secs(5);

/// A document that Traefik shall be seen to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outstanding {
    /// Its number.
    pub number: u64,
    /// Name of the middleware that only it has.
    pub marker: String,
}

/// Asks for whatever is outstanding, and tells the number of what is served. Ends with whoever says what is outstanding.
pub async fn read_back(
    api: SocketAddr,
    offered: Offered,
    mut outstanding: watch::Receiver<Option<Outstanding>>,
    served: watch::Sender<u64>,
) {
    loop {
        let wanted = outstanding.borrow_and_update().clone();
        let asking = async {
            let Some(Outstanding { number, marker }) = &wanted else { return std::future::pending().await };
            offered.taken(*number).await;
            ask(api, marker).await;
            served.send_replace(*number);
            std::future::pending().await
        };
        tokio::select! {
            changed = outstanding.changed() => if changed.is_err() { return },
            () = asking => {}
        }
    }
}

/// Until it is served.
async fn ask(api: SocketAddr, marker: &str) {
    let (began, mut pause) = (Instant::now(), SOON);
    loop {
        match serves(api, marker).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, %api, "Traefik was asked and did not answer"),
        }
        if began.elapsed() > EXPECTED {
            pause = (pause * 2).min(LATE);
        }
        sleep(pause).await;
    }
}

/// Whether Traefik has this middleware from us.
///
/// # Errors
/// When it does not answer in time, or does not speak HTTP.
pub async fn serves(api: SocketAddr, marker: &str) -> io::Result<bool> {
    /// `HTTP/1.1 200`.
    const HEAD: usize = 12;
    let asked = async {
        let mut stream = TcpStream::connect(api).await?;
        let request =
            format!("GET /api/http/middlewares/{marker}@http HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; HEAD];
        stream.read_exact(&mut head).await?;
        if !head.starts_with(b"HTTP/1.") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"));
        }
        Ok(head.ends_with(b" 200"))
    };
    timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        edge::Offer,
        mutate::{Answering, answer},
    };

    #[tokio::test]
    async fn only_200_is_a_yes() {
        let traefik = Answering::new(|_| None).await;
        let ask = async |text: Vec<u8>| {
            traefik.say(text);
            serves(traefik.address, "gen-1-2").await.map_err(|e| e.kind())
        };
        assert_eq!(ask(answer(200, "application/json", "{}")).await, Ok(true));
        assert_eq!(ask(answer(404, "application/json", "{}")).await, Ok(false));
        assert_eq!(ask(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()).await, Err(io::ErrorKind::InvalidData));
        assert_eq!(ask(b"HTTP".to_vec()).await, Err(io::ErrorKind::UnexpectedEof));
    }

    #[tokio::test]
    async fn nothing_is_asked_before_the_document_was_taken_and_nothing_after_the_answer() {
        let traefik = Answering::new(|head| {
            head.starts_with("GET /api/http/middlewares/gen-7-1@http HTTP/1.1\r\n").then_some("HTTP/1.1 200 OK\r\n\r\n")
        })
        .await;
        traefik.say(answer(404, "text/plain", ""));
        let (offer, wanted, served) = (Offer::default(), watch::Sender::new(None), watch::Sender::new(0));
        offer.put("a".into());
        let mut heard = served.subscribe();
        let reading = tokio::spawn(read_back(traefik.address, offer.offered(), wanted.subscribe(), served));
        wanted.send_replace(Some(Outstanding { number: 1, marker: "gen-7-1".into() }));
        let early = timeout(Duration::from_millis(100), heard.changed()).await;
        assert!(early.is_err(), "Traefik has not read it yet");
        let _asks_for_the_next = offer.offered().polls(1);
        timeout(Duration::from_secs(20), heard.changed()).await.unwrap().unwrap();
        assert_eq!(*heard.borrow_and_update(), 1);
        drop(wanted);
        timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
    }
}
