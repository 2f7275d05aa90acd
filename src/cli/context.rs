//! The context of a build: a directory as a tar stream, made while it is sent.
//!
//! Here: [`Context::open`], which reads the ignore file and finds the Dockerfile, and [`Context::stream`].
//! Not here: patterns (`dockerignore`), the request (`command::build`).
//! Invariants: memory is bounded by a few chunks whatever the size of the directory; a file that shrinks or
//! cannot be read ends the stream with an error instead of a damaged archive.

use std::{
    fs, io,
    io::{Read as _, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::{dockerignore::Ignore, failure::CliError, transport::Outgoing};

/// Bytes of one chunk, and how many of them may wait for the connection.
const CHUNK: usize = 256 << 10;
const CHUNKS: usize = 8;

/// A directory that is ready to be sent.
#[derive(Debug)]
pub struct Context {
    root: PathBuf,
    ignore: Ignore,
    /// Path of the Dockerfile within the archive.
    pub dockerfile: String,
    /// A Dockerfile from outside, sent under that path.
    outside: Option<Vec<u8>>,
}

impl Context {
    /// Looks at a directory. `dockerfile` is as the user wrote it, relative to the working directory.
    ///
    /// # Errors
    /// When the directory or the Dockerfile is not there.
    pub fn open(root: &Path, dockerfile: Option<&Path>) -> Result<Self, CliError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CliError::File { doing: "read", path, source }
        };
        let absolute = root.canonicalize().map_err(failed(root))?;
        if !absolute.is_dir() {
            return Err(CliError::usage(
                format!("{} is no directory", root.display()),
                "name the directory that the Dockerfile copies from",
            ));
        }
        let named = dockerfile.map_or_else(|| absolute.join("Dockerfile"), Path::to_owned);
        let text = fs::read(&named).map_err(failed(&named))?;
        let place = named.canonicalize().map_err(failed(&named))?;
        // By its own path, not by what a link points at: the link is what the archive holds.
        let lexical =
            named.parent().and_then(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p }.canonicalize().ok());
        let lexical = lexical.zip(named.file_name()).map_or(place, |(parent, name)| parent.join(name));
        let inside = lexical.strip_prefix(&absolute).ok().and_then(slashed);
        let mut ignore = Ignore::parse(&ignore_file(&absolute, &lexical)?);
        let (dockerfile, outside) = match inside {
            Some(path) => {
                // The engine needs it whatever the patterns say.
                ignore.keep(&path);
                (path, None)
            }
            None => (format!(".dockerfile.{:016x}", rand::random::<u64>()), Some(text)),
        };
        Ok(Self { root: absolute, ignore, dockerfile, outside })
    }

    /// Sends it. The counter grows with the bytes of files that were read.
    #[must_use]
    pub fn stream(self, read: Arc<AtomicU64>) -> Outgoing {
        let (sender, receiver) = mpsc::channel::<Result<Bytes, io::Error>>(CHUNKS);
        tokio::task::spawn_blocking(move || {
            let mut pipe = Pipe { sender: sender.clone(), buffer: Vec::with_capacity(CHUNK) };
            let done = self.write(&mut pipe, &read).and_then(|()| pipe.flush());
            if let Err(error) = done {
                // When nobody listens any more, the request has failed and says so itself.
                let _ = sender.blocking_send(Err(error));
            }
        });
        let frames = futures::stream::unfold(receiver, |mut receiver| async move {
            let chunk = receiver.recv().await?;
            Some((chunk.map(Frame::data).map_err(Into::into), receiver))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// When a file cannot be read or the archive cannot be written.
    pub fn write(&self, out: &mut impl Write, read: &AtomicU64) -> io::Result<()> {
        let mut archive = tar::Builder::new(out);
        archive.mode(tar::HeaderMode::Complete);
        let mut waiting = vec![self.root.clone()];
        while let Some(directory) = waiting.pop() {
            let at = |path: &Path, e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
            let mut entries: Vec<fs::DirEntry> =
                fs::read_dir(&directory).and_then(Iterator::collect).map_err(|e| at(&directory, e))?;
            // In the order of names, so that one directory makes one archive and the engine's cache holds.
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let path = entry.path();
                let Some(name) = path.strip_prefix(&self.root).ok().and_then(slashed) else {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is no UTF-8", path.display())));
                };
                let kind = entry.file_type().map_err(|e| at(&path, e))?;
                if kind.is_dir() && !self.ignore.skips(&name) {
                    waiting.push(path.clone());
                }
                if !self.ignore.excludes(&name) {
                    append(&mut archive, &path, &name, read).map_err(|e| at(&path, e))?;
                }
            }
        }
        if let Some(text) = &self.outside {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            archive.append_data(&mut header, &self.dockerfile, text.as_slice())?;
        }
        archive.finish()
    }
}

/// `Dockerfile.dockerignore` beside the Dockerfile, else `.dockerignore` of the context, else nothing.
fn ignore_file(root: &Path, dockerfile: &Path) -> Result<String, CliError> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), root.join(".dockerignore")] {
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(CliError::File { doing: "read", path, source }),
        }
    }
    Ok(String::new())
}

/// One entry, owned by root as Docker's own client sends it: who builds must not change the layer.
fn append<W: Write>(archive: &mut tar::Builder<W>, path: &Path, name: &str, read: &AtomicU64) -> io::Result<()> {
    let facts = fs::symlink_metadata(path)?;
    let kind = facts.file_type();
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&facts);
    header.set_uid(0);
    header.set_gid(0);
    if kind.is_symlink() {
        header.set_size(0);
        archive.append_link(&mut header, name, fs::read_link(path)?)
    } else if kind.is_dir() {
        header.set_size(0);
        archive.append_data(&mut header, format!("{name}/"), io::empty())
    } else if kind.is_file() {
        let file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        header.set_size(size);
        let mut exact = Exact { from: file.take(size), left: size, read };
        archive.append_data(&mut header, name, &mut exact)
    } else {
        // Sockets, pipes and devices have no content to build from.
        Ok(())
    }
}

/// Reads as many bytes as the header promised, or fails.
struct Exact<'a> {
    from: io::Take<fs::File>,
    left: u64,
    read: &'a AtomicU64,
}

impl io::Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.from.read(buffer)?;
        if got == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it shrank while it was read"));
        }
        self.left -= got as u64;
        self.read.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

/// A path with `/` between its parts; none when it is not UTF-8.
fn slashed(path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path.components().map(|part| part.as_os_str().to_str()).collect();
    parts.map(|parts| parts.join("/"))
}

/// Cuts what is written into chunks and hands them on, waiting when the connection is slower.
struct Pipe {
    sender: mpsc::Sender<Result<Bytes, io::Error>>,
    buffer: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(Ok(chunk.into())).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn entries(bytes: &[u8]) -> Vec<(String, u64, u64)> {
        let mut archive = tar::Archive::new(bytes);
        let entry = |e: io::Result<tar::Entry<'_, &[u8]>>| {
            let e = e.unwrap();
            (e.path().unwrap().display().to_string(), e.size(), e.header().uid().unwrap())
        };
        archive.entries().unwrap().map(entry).collect()
    }

    async fn sent(context: Context) -> Result<Vec<u8>, String> {
        let body = context.stream(Arc::default());
        body.collect().await.map(|b| b.to_bytes().to_vec()).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn what_is_not_ignored_is_sent_in_order_and_owned_by_root() {
        let root = directory(&[
            ("Dockerfile", "FROM scratch"),
            (".dockerignore", "*.log\nvendor\n!vendor/keep\nDockerfile"),
            ("b.txt", "bb"),
            ("a.txt", "a"),
            ("x.log", "noise"),
            ("vendor/keep", "k"),
            ("vendor/drop", "d"),
        ]);
        std::os::unix::fs::symlink("a.txt", root.path().join("link")).unwrap();
        let context = Context::open(root.path(), None).unwrap();
        assert_eq!(context.dockerfile, "Dockerfile");
        let bytes = sent(context).await.unwrap();
        let names: Vec<String> = entries(&bytes).iter().map(|(name, ..)| name.clone()).collect();
        assert_eq!(names, [".dockerignore", "Dockerfile", "a.txt", "b.txt", "link", "vendor/keep"]);
        assert!(entries(&bytes).iter().all(|(_, _, uid)| *uid == 0));
    }

    #[tokio::test]
    async fn a_dockerfile_from_outside_and_its_own_ignore_file_are_used() {
        let root = directory(&[("a.txt", "a"), (".dockerignore", "nothing")]);
        let other = directory(&[("x.Dockerfile", "FROM scratch"), ("x.Dockerfile.dockerignore", "a.txt")]);
        let context = Context::open(root.path(), Some(&other.path().join("x.Dockerfile"))).unwrap();
        let dockerfile = context.dockerfile.clone();
        let bytes = sent(context).await.unwrap();
        let found = entries(&bytes);
        assert_eq!(
            found.iter().map(|(n, s, _)| (n.as_str(), *s)).collect::<Vec<_>>(),
            [(".dockerignore", 7), (dockerfile.as_str(), 12)]
        );
    }

    #[tokio::test]
    async fn a_context_larger_than_all_chunks_arrives_whole() {
        let big = "x".repeat(CHUNK * (CHUNKS + 4));
        let root = directory(&[("Dockerfile", "FROM scratch"), ("big", &big)]);
        let bytes = sent(Context::open(root.path(), None).unwrap()).await.unwrap();
        assert!(entries(&bytes).iter().any(|(name, size, _)| name == "big" && *size == big.len() as u64));
    }

    #[tokio::test]
    async fn what_cannot_be_read_ends_the_stream_with_its_name() {
        let root = directory(&[("Dockerfile", "FROM scratch"), ("gone/x", "y")]);
        let context = Context::open(root.path(), None).unwrap();
        let removed = root.path().to_owned();
        drop(root);
        let error = sent(context).await.unwrap_err();
        assert!(error.contains(removed.to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_missing_directory_or_dockerfile_is_named() {
        let root = directory(&[("file", "")]);
        for (path, dockerfile) in [
            (root.path().join("none"), None),
            (root.path().to_owned(), None),
            (root.path().to_owned(), Some(Path::new("/nowhere"))),
        ] {
            let error = Context::open(&path, dockerfile).unwrap_err();
            assert_eq!(error.exit().code(), 2, "{error}");
        }
        assert!(Context::open(&root.path().join("file"), None).is_err());
    }
}
