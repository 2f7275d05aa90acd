//! Asking Traefik what it serves.
//!
//! Here: [`read_back`], which asks until the answer is the newest document, and sees when who answered is gone. Not here:
//! one question ([`super::line`]), what follows from it (`plan::edge`).
//! Nothing is asked while no document is outstanding, nor before Traefik has come back for the one after it: then it has
//! read it whole, and needs about 65 ms to serve it. What is asked for is whatever document of ours there is: while they
//! change faster than Traefik follows, it serves one of those before the newest.
//! What is asked are the entry points themselves, by the way that clients come: each of them switches for itself. The
//! connections stay open, and Traefik ends them in the moment in which it begins to stop: it refuses clients from then
//! on, and goes on asking us for as long as it takes to end.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Offered, line::Lines};
use crate::plan::routes::Marker;

/// Between two questions while the answer is expected.
const SOON: Duration = Duration::from_millis(15);
/// How long it is expected.
const EXPECTED: Duration = Duration::from_secs(1);
/// Longest time between two questions after that.
const LATE: Duration = Duration::from_secs(5);

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
    /// How often one that had served did not any more: it stops, or another listens there that has nothing yet.
    pub lost: u64,
}

/// Asks for whatever is outstanding, and tells what is served and that it is not any more. Ends with whoever says what is
/// outstanding.
pub async fn read_back(
    entry_points: [SocketAddr; 2],
    offered: Offered,
    mut outstanding: watch::Receiver<Option<Outstanding>>,
    served: watch::Sender<Served>,
) {
    let mut reader = Reader { lines: Lines::new(entry_points), serves: false, served };
    loop {
        let wanted = outstanding.borrow_and_update().clone();
        tokio::select! {
            changed = outstanding.changed() => if changed.is_err() { return },
            () = reader.read(wanted.as_ref(), &offered) => {}
        }
    }
}

/// Who asks.
struct Reader {
    lines: Lines,
    /// A document of ours was served when it was asked last.
    serves: bool,
    served: watch::Sender<Served>,
}

impl Reader {
    /// Without an end.
    async fn read(&mut self, wanted: Option<&Outstanding>, offered: &Offered) {
        if let Some(wanted) = wanted {
            let taken = offered.taken(wanted.oldest);
            tokio::pin!(taken);
            while tokio::select! { () = &mut taken => false, () = self.lines.ended() => true } {
                // What follows from this answer comes as another turn.
                let _ = self.ask(None).await;
            }
            let began = Instant::now();
            while !matches!(self.ask(Some(wanted.turn)).await, Ok(Some(marker)) if marker == wanted.newest) {
                sleep(pause(began)).await;
            }
        }
        let mut began = Instant::now();
        while self.serves {
            if self.lines.open() {
                // Traefik ends those that were silent for long, too: then it answers on the next.
                self.lines.ended().await;
                began = Instant::now();
            }
            if self.ask(None).await.is_err() {
                sleep(pause(began)).await;
            }
        }
        std::future::pending().await
    }

    /// Asks once. What is served is told of a turn; that nothing is any more, always.
    async fn ask(&mut self, turn: Option<u64>) -> io::Result<Option<Marker>> {
        let answer = self.lines.ask().await;
        match &answer {
            Ok(Some(marker)) => {
                self.serves = true;
                if let Some(turn) = turn {
                    self.served.send_if_modified(|old| {
                        let new = Served { marker: *marker, turn, lost: old.lost };
                        std::mem::replace(old, new) != new
                    });
                }
            }
            Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => {
                tracing::debug!(%error, "Traefik was asked and did not answer");
            }
            Ok(None) | Err(_) => {
                if std::mem::take(&mut self.serves) {
                    self.served.send_modify(|old| old.lost += 1);
                }
            }
        }
        answer
    }
}

/// Between two questions of which the first was asked then.
fn pause(began: Instant) -> Duration {
    let late = began.elapsed().saturating_sub(EXPECTED);
    (SOON + late / 2).min(LATE)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        task::JoinSet,
        time::timeout,
    };

    use super::*;
    use crate::{
        edge::{Offer, Told},
        model::Index,
    };

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(100);

    /// One that listens at both entry points until it is dropped.
    struct Traefik {
        says: Arc<Mutex<String>>,
        asked: Arc<AtomicUsize>,
        cut: watch::Sender<()>,
        _tasks: JoinSet<()>,
    }

    impl Traefik {
        async fn at(entry_points: [SocketAddr; 2]) -> Self {
            let (says, cut) = (Arc::new(Mutex::new(String::new())), watch::Sender::new(()));
            let (asked, mut tasks) = (Arc::<AtomicUsize>::default(), JoinSet::new());
            for at in entry_points {
                let listener = TcpListener::bind(at).await.unwrap();
                let (says, asked, cut) = (says.clone(), asked.clone(), cut.clone());
                tasks.spawn(async move {
                    let mut open = JoinSet::new();
                    while let Ok((mut stream, _)) = listener.accept().await {
                        let (says, asked, mut cut) = (says.clone(), asked.clone(), cut.subscribe());
                        let answering = async move {
                            let mut head = Vec::new();
                            while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                                if head.ends_with(b"\r\n\r\n") {
                                    head.clear();
                                    asked.fetch_add(1, Ordering::Relaxed);
                                    let answer = says.lock().unwrap().clone();
                                    stream.write_all(answer.as_bytes()).await.unwrap();
                                }
                            }
                        };
                        open.spawn(async move {
                            tokio::select! {
                                () = answering => {}
                                _ = cut.changed() => {}
                            }
                        });
                    }
                });
            }
            Self { says, asked, cut, _tasks: tasks }
        }
        fn serves(&self, marker: Marker) {
            let head =
                format!("HTTP/1.1 418 I'm a teapot\r\n{}: {marker}\r\nContent-Length: 0\r\n\r\n", Marker::HEADER);
            *self.says.lock().unwrap() = head;
        }
        fn has_nothing(&self) {
            *self.says.lock().unwrap() = "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n".to_owned();
        }
    }

    /// What is asked, and what was heard.
    struct Rig {
        entry_points: [SocketAddr; 2],
        offer: Offer,
        wanted: watch::Sender<Option<Outstanding>>,
        heard: watch::Receiver<Served>,
        reading: tokio::task::JoinHandle<()>,
    }

    impl Rig {
        fn new() -> Self {
            let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let (entry_points, offer, wanted) = ([free(), free()], Offer::default(), watch::Sender::new(None));
            let (served, heard) = watch::channel(Served::default());
            let reading = tokio::spawn(read_back(entry_points, offer.offered(), wanted.subscribe(), served));
            Self { entry_points, offer, wanted, heard, reading }
        }
        async fn next(&mut self, patience: Duration) -> Option<Served> {
            timeout(patience, self.heard.changed()).await.ok()?.unwrap();
            Some(*self.heard.borrow_and_update())
        }
    }

    fn marker(sub: u64) -> Marker {
        Marker { index: Index(6 + sub), sub }
    }

    #[tokio::test]
    async fn nothing_is_asked_before_a_document_was_taken_and_nothing_after_the_newest_was_seen() {
        let mut rig = Rig::new();
        let traefik = Traefik::at(rig.entry_points).await;
        traefik.serves(marker(1));
        rig.wanted.send_replace(Some(Outstanding { oldest: 1, newest: marker(2), turn: 5 }));
        assert_eq!(rig.next(SHORT).await, None, "Traefik has not read it yet");
        let told = Told::default();
        told.answered(1);
        let _asks_for_the_next = rig.offer.offered().polls(&told);
        let older = Served { marker: marker(1), turn: 5, lost: 0 };
        assert_eq!(rig.next(LONG).await, Some(older), "while the newest is not there yet");
        traefik.serves(marker(2));
        assert_eq!(rig.next(LONG).await, Some(Served { marker: marker(2), ..older }));
        traefik.serves(marker(3));
        let asked = traefik.asked.load(Ordering::Relaxed);
        assert_eq!(rig.next(SHORT).await, None, "nobody asks any more");
        assert_eq!(traefik.asked.load(Ordering::Relaxed), asked);
        drop(rig.wanted);
        timeout(LONG, rig.reading).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn that_traefik_stops_is_seen_at_once_and_the_next_serves_nothing_before_it_says_so() {
        let mut rig = Rig::new();
        let told = Told::default();
        told.answered(1);
        // It asks on for as long as it takes to end.
        let _asks = rig.offer.offered().polls(&told);
        for stop in 0..3 {
            let wanted = Outstanding { oldest: 1, newest: marker(1), turn: stop };
            rig.wanted.send_replace(Some(wanted.clone()));
            assert_eq!(rig.next(SHORT).await, None, "nobody is there");
            let traefik = Traefik::at(rig.entry_points).await;
            traefik.has_nothing();
            assert_eq!(rig.next(SHORT).await, None, "it listens, and has nothing");
            traefik.serves(marker(1));
            assert_eq!(rig.next(LONG).await, Some(Served { marker: marker(1), turn: stop, lost: stop }));
            if stop == 1 {
                // With and without something to ask for.
                rig.wanted.send_replace(None);
            }
            drop(traefik);
            let lost = rig.next(LONG).await.map(|served| served.lost);
            assert_eq!(lost, Some(stop + 1));
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_silent_for_too_long_is_opened_again() {
        let mut rig = Rig::new();
        let told = Told::default();
        told.answered(1);
        let _asks = rig.offer.offered().polls(&told);
        let traefik = Traefik::at(rig.entry_points).await;
        traefik.serves(marker(1));
        rig.wanted.send_replace(Some(Outstanding { oldest: 1, newest: marker(1), turn: 1 }));
        assert!(rig.next(LONG).await.is_some());
        rig.wanted.send_replace(None);
        for _ in 0..3 {
            traefik.cut.send_replace(());
            assert_eq!(rig.next(SHORT).await, None, "it is there");
        }
        drop(traefik);
        assert_eq!(rig.next(LONG).await.map(|served| served.lost), Some(1));
    }
}
