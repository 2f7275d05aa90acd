//! Answers of the engine that hold for a while, asked once even by many at the same time.
//!
//! Here: [`Remembered`]: images that are there, networks that were made. Failures are not remembered.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};

/// Answers kept at most; the oldest knowledge goes first when there are more.
const KEPT: usize = 1_024;

type Cell<T> = Arc<Mutex<Option<(T, Instant)>>>;

/// Answers by name.
#[derive(Debug)]
pub struct Remembered<T> {
    cells: std::sync::Mutex<BTreeMap<String, Cell<T>>>,
    holds: Duration,
}

impl<T: Clone> Remembered<T> {
    /// Answers hold for this time.
    #[must_use]
    pub fn new(holds: Duration) -> Self {
        Self { cells: std::sync::Mutex::default(), holds }
    }

    /// The answer for a name: the remembered one, or that of `ask`, which one caller at a time carries out.
    ///
    /// # Errors
    /// That of `ask`.
    pub async fn get<E>(&self, name: &str, ask: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let cell = {
            let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            if cells.len() >= KEPT && !cells.contains_key(name) {
                cells.clear();
            }
            cells.entry(name.to_owned()).or_default().clone()
        };
        let mut kept = cell.lock().await;
        if let Some((answer, at)) = &*kept
            && at.elapsed() < self.holds
        {
            return Ok(answer.clone());
        }
        let answer = ask.await?;
        *kept = Some((answer.clone(), Instant::now()));
        Ok(answer)
    }

    /// Forgets one answer: what it spoke of proved to be otherwise.
    pub fn forget(&self, name: &str) {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_ask_once_and_failures_are_asked_again() {
        let (known, asked) = (Remembered::new(Duration::from_secs(60)), AtomicU32::new(0));
        let ask = |good: bool| {
            let (known, asked) = (&known, &asked);
            async move {
                let answer = async {
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    if good { Ok(7) } else { Err("no") }
                };
                known.get("x", answer).await
            }
        };
        assert_eq!(ask(false).await, Err("no"));
        let answers = futures::future::join_all((0..10).map(|_| ask(true))).await;
        assert!(answers.iter().all(|a| *a == Ok(7)));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        known.forget("x");
        assert_eq!(ask(true).await, Ok(7));
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
