//! Looks at the host's disks that may take for ever: a file server that is away answers nothing.
//!
//! Here: [`Disk::look`], a look with a deadline beside the passes, and [`resolve`], where a path leads.
//! Not here: what is looked for (`data`), what follows from it (`agent::prepare`).
//! Invariants: no look holds up its caller for longer than the deadline; where one sticks no other is begun until it
//! is back, so that the threads that a dead disk takes stay about as few as the paths on it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout},
};

/// Longest wait for an answer: a disk that sleeps takes some seconds to wake.
const ANSWER: Duration = Duration::from_secs(15);
/// Looks at once, those that stick among them.
const LOOKS: usize = 256;

/// A path that did not answer in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} does not answer: is its disk or file server there?", .0.display())]
pub struct Silent(pub PathBuf);

/// Looks at disks.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Since when each path is being looked at.
    running: Arc<Mutex<BTreeMap<PathBuf, Instant>>>,
    room: Arc<Semaphore>,
    answer: Duration,
}

impl Default for Disk {
    fn default() -> Self {
        Self::with_deadline(ANSWER)
    }
}

impl Disk {
    /// With another deadline.
    #[must_use]
    pub fn with_deadline(answer: Duration) -> Self {
        Self { running: Arc::default(), room: Arc::new(Semaphore::new(LOOKS)), answer }
    }

    /// What `look` finds at a path.
    ///
    /// # Errors
    /// [`Silent`] when it does not end in time, or an earlier one has not ended yet.
    pub async fn look<T: Send + 'static>(
        &self,
        path: &Path,
        look: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> Result<T, Silent> {
        if self.running().get(path).is_some_and(|since| since.elapsed() >= self.answer) {
            return Err(Silent(path.to_owned()));
        }
        let (disk, at) = (self.clone(), path.to_owned());
        let looked = async {
            // A closed semaphore cannot be: nobody closes it.
            let place = self.room.clone().acquire_owned().await.ok();
            self.running().entry(at.clone()).or_insert_with(Instant::now);
            let looking = spawn_blocking(move || {
                let _place = place;
                let found = look(&at);
                disk.running().remove(&at);
                found
            });
            looking.await.ok()
        };
        timeout(self.answer, looked).await.ok().flatten().ok_or_else(|| Silent(path.to_owned()))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Instant>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a path leads when every link is followed. Of one that is not there yet: its nearest directory that is, and
/// the rest as it is written.
///
/// # Errors
/// A link that leads nowhere, a path that may not be looked at, one that is not there and goes up again.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => Ok(resolve(parent)?.join(name)),
                _ => Err(error),
            }
        }
        known => known,
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, sync::mpsc};

    use super::*;

    #[tokio::test]
    async fn a_disk_that_does_not_answer_holds_up_nobody_and_takes_one_thread() {
        let disk = Disk::with_deadline(Duration::from_millis(50));
        let (dead, silent) = (Path::new("/mnt/dead/x"), Silent("/mnt/dead/x".into()));
        let (back, waits) = mpsc::channel::<()>();
        assert_eq!(disk.look(dead, move |_| waits.recv().ok()).await, Err(silent.clone()));
        assert_eq!(disk.look(dead, |_| panic!("a second thread")).await, Err::<(), _>(silent));
        assert_eq!(disk.look(Path::new("/mnt/x"), |path| path.to_owned()).await, Ok("/mnt/x".into()));
        back.send(()).unwrap();
        while !disk.running().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(disk.look(dead, |_| 7).await, Ok(7), "it is back");
    }

    #[test]
    fn a_path_leads_through_every_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        std::fs::create_dir_all(at("data/app")).unwrap();
        symlink("data", at("link")).unwrap();
        symlink(at("data/app"), at("data/deep")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        for (path, leads) in [
            ("data/app", Some("data/app")),
            ("link/app", Some("data/app")),
            ("link/deep", Some("data/app")),
            ("link/../link/app/.", Some("data/app")),
            ("link/deep/new/er", Some("data/app/new/er")),
            ("dangling", None),
            ("dangling/x", None),
            ("new/../../etc", None),
        ] {
            assert_eq!(resolve(&at(path)).ok(), leads.map(at), "{path}");
        }
    }
}
