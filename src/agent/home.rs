//! The directories of an agent: who may use them, and what lies in them.
//!
//! Here: [`Home`], with the lock of the data directory, the run directory and its fallback, the
//! administrator's token; and [`EngineLock`], one agent for each engine.
//! Invariant: a lock is the kernel's (`flock`), so that it goes with the process whatever kills it; the
//! text in its file only says whose it is.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::AgentError;
use crate::store::{self, durable, seal::KEY_FILE};

/// Administrator's token in the data directory.
pub const TOKEN: &str = "admin.token";
/// What agents put into a data directory, and what a file system of its own has at its root.
pub(super) const OURS: [&str; 6] = ["lock", store::FOLDER, TOKEN, KEY_FILE, super::identity::FILE, "lost+found"];

/// Directories of one agent, held as long as this lives.
#[derive(Debug)]
pub struct Home {
    /// Log, snapshots, keys, token.
    pub data: PathBuf,
    /// What goes with the machine's memory: sockets, locks, clear files.
    pub run: PathBuf,
    /// Where the Unix socket stands.
    pub socket: PathBuf,
    /// May do everything.
    pub token: String,
    _lock: File,
}

impl Home {
    /// Makes the directories and takes the data directory.
    ///
    /// # Errors
    /// When another agent has it, or it cannot be written.
    pub fn take(data: &Path, run: &Path, socket: &Path) -> Result<Self, AgentError> {
        data_directory(data).map_err(|e| directory(data, e))?;
        let lock = hold(data)?;
        let (made, socket) = run_directory(run, socket)?;
        let token = token(data).map_err(|e| directory(data, e))?;
        Ok(Self { data: data.to_owned(), run: made, socket, token, _lock: lock })
    }

    /// Writes where the API listens, whole or not at all.
    ///
    /// # Errors
    /// When the run directory cannot be written.
    pub fn write_address(&self, address: std::net::SocketAddr) -> Result<(), AgentError> {
        let path = self.run.join("api.address");
        let draft = self.run.join(".api.address");
        fs::write(&draft, format!("{address}\n"))
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|e| directory(&self.run, e))
    }
}

/// Takes a data directory as long as the answer lives.
///
/// # Errors
/// When an agent has it, or the disk fails.
pub fn hold(data: &Path) -> Result<File, AgentError> {
    lock(&data.join("lock"), "").map_err(|taken| match taken {
        Taken::By(owner) => AgentError::DataInUse { path: data.to_owned(), owner },
        Taken::Io(source) => directory(data, source),
    })
}

/// One agent for each engine, held as long as this lives.
#[derive(Debug)]
pub struct EngineLock {
    _lock: File,
}

impl EngineLock {
    /// Takes an engine.
    ///
    /// # Errors
    /// When another agent drives it.
    pub fn take(home: &Home, engine: &str) -> Result<Self, AgentError> {
        let name: String = engine.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let path = home.run.join(format!("engine-{name}.lock"));
        let note = format!(" with the data directory {}", home.data.display());
        lock(&path, &note).map(|_lock| Self { _lock }).map_err(|taken| match taken {
            Taken::By(owner) => AgentError::EngineInUse { engine: engine.into(), owner },
            Taken::Io(source) => directory(&home.run, source),
        })
    }
}

enum Taken {
    By(String),
    Io(io::Error),
}

fn lock(path: &Path, note: &str) -> Result<File, Taken> {
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(Taken::Io)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            let owner = if owner.trim().is_empty() { "another process".into() } else { owner.trim().to_owned() };
            return Err(Taken::By(owner));
        }
        Err(error) => return Err(Taken::Io(error.into())),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "process {}{note}", std::process::id()));
    written.map_err(Taken::Io)?;
    Ok(file)
}

/// The run directory that can be written: the configured one, else the user's own; and where the
/// socket stands then.
fn run_directory(run: &Path, socket: &Path) -> Result<(PathBuf, PathBuf), AgentError> {
    let error = match usable(run) {
        Ok(()) => return Ok((run.to_owned(), socket.to_owned())),
        Err(error) => error,
    };
    if !matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
        return Err(directory(run, error));
    }
    let uid = rustix::process::getuid().as_raw();
    let own = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| format!("/run/user/{uid}").into(), PathBuf::from);
    let own = own.join("constellation");
    usable(&own).map_err(|_| directory(run, error))?;
    tracing::warn!(
        wanted = %run.display(),
        used = %own.display(),
        "the run directory cannot be written: the user's own is used, and the lock of the engine only keeps out agents of this user"
    );
    let moved = socket.strip_prefix(run).map_or_else(|_| socket.to_owned(), |name| own.join(name));
    Ok((own, moved))
}

/// Makes a directory, and tries it out.
fn usable(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    let trial = path.join(format!(".trial-{}", std::process::id()));
    File::create(&trial)?;
    fs::remove_file(trial)
}

/// Makes the data directory; closes one that others may enter, if it is this agent's alone. What lies in
/// it is closed in any case.
fn data_directory(path: &Path) -> io::Result<()> {
    durable::directory(path)?;
    let found = fs::metadata(path)?;
    let open = found.permissions().mode() & 0o777;
    if open & 0o077 == 0 {
        return Ok(());
    }
    let own = found.uid() == rustix::process::geteuid().as_raw() && only_ours(path)?;
    let closed = if own { fs::set_permissions(path, fs::Permissions::from_mode(0o700)).is_ok() } else { false };
    if !closed {
        tracing::warn!(
            data = %path.display(),
            mode = %format!("{open:o}"),
            "others may enter the data directory; what is in it is closed to them"
        );
    }
    Ok(())
}

/// Whether a directory has nothing in it but what agents put there.
fn only_ours(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !OURS.contains(&name.trim_end_matches(".tmp")) && !name.starts_with(store::REPLACED) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The administrator's token: made once, read afterwards. Durable before anybody hears of it.
fn token(data: &Path) -> io::Result<String> {
    let path = data.join(TOKEN);
    match fs::read_to_string(&path) {
        Ok(token) if !token.trim().is_empty() => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            return Ok(token.trim().to_owned());
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // Not there, or emptied by somebody.
        Ok(_) | Err(_) => {}
    }
    let token: String = rand::random::<[u8; 32]>().iter().map(|b| format!("{b:02x}")).collect();
    durable::write_durably(data, TOKEN, format!("{token}\n").as_bytes())?;
    Ok(token)
}

fn directory(path: &Path, source: io::Error) -> AgentError {
    AgentError::Directory { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_for_a_data_directory_and_one_for_an_engine() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let first = Home::take(&at("data"), &at("run"), &at("run/api.sock")).unwrap();
        let engine = EngineLock::take(&first, "AB:CD").unwrap();
        let said = Home::take(&at("data"), &at("run"), &at("run/api.sock")).unwrap_err().to_string();
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
        let second = Home::take(&at("data2"), &at("run"), &at("run/api.sock")).unwrap();
        let said = EngineLock::take(&second, "AB:CD").unwrap_err().to_string();
        assert!(said.contains("data") && said.contains("AB:CD"), "{said}");
        EngineLock::take(&second, "EF").unwrap();
        drop((engine, first));
        EngineLock::take(&second, "AB:CD").unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_token_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        // A start was cut off while it was written.
        fs::write(dir.path().join("admin.token.tmp"), "half").unwrap();
        let first = token(dir.path()).unwrap();
        assert_eq!((first.len(), token(dir.path()).unwrap()), (64, first));
        assert_eq!(mode(&dir.path().join(TOKEN)), 0o600);
        assert!(!dir.path().join("admin.token.tmp").exists(), "it is there whole, by its name, or not at all");
    }

    #[test]
    fn an_open_data_directory_is_closed_when_it_is_the_agents_alone() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        open(dir.path());
        for name in OURS {
            fs::write(dir.path().join(name), "").unwrap();
        }
        data_directory(dir.path()).unwrap();
        assert_eq!(mode(dir.path()), 0o700);
        // Somebody keeps other things there.
        open(dir.path());
        fs::write(dir.path().join("holiday.jpg"), "").unwrap();
        data_directory(dir.path()).unwrap();
        assert_eq!(mode(dir.path()), 0o755);
    }
}
