//! `backup create`, `verify`, `restore`, `confirm`, `key`.
//!
//! Here: files, passphrases and what people see. Not here: what a backup is (`store::backup`), a data directory made of
//! one (`agent::restore`).
//! Invariants: a file that is there is never replaced; one that is written is whole and on the disk before it has its name; a
//! passphrase comes from a file or a terminal, never from an argument.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use age::secrecy::{ExposeSecret as _, SecretString};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::agent as settings;
use crate::{
    agent::restore::{self, RestoreError},
    api::wire::{BackupRequest, RestoreConfirm, RestoreReport},
    cli::{
        args::{BackupCommand, BackupKey, ConfirmBackup, CreateBackup, Opens, RestoreBackup, VerifyBackup},
        client::{Api, Change},
        failure::{CliError, Exit},
        form::{BackedUp, Confirmed, DrawnKey, Restored, Verified},
        hidden,
        screen::Screen,
        text::{self, absolute, clean, count},
    },
    config::AgentFlags,
    model::Kind,
    store::{
        backup::{Backup, BackupError, Keys, LIMIT, Lock, draw_key},
        durable,
    },
};

/// Longest pause between two pieces of a backup.
const PIECE: Duration = Duration::from_secs(60);
/// Between two looks at what the nodes say.
const LOOK: Duration = Duration::from_millis(500);

/// Runs a `backup` command. `api` is only asked by those that need an agent.
///
/// # Errors
/// As the API; when a file cannot be read, written or opened.
pub async fn backup(
    api: impl FnOnce() -> Result<Api, CliError>,
    screen: &Screen,
    command: &BackupCommand,
) -> Result<Exit, CliError> {
    match command {
        BackupCommand::Create(args) => create(&api()?, screen, args).await.map(|()| Exit::Done),
        BackupCommand::Verify(args) => verify(screen, args).await.map(|()| Exit::Done),
        BackupCommand::Restore(args) => fill(screen, args).map(|()| Exit::Done),
        BackupCommand::Confirm(args) => confirm(&api()?, screen, args).await,
        BackupCommand::Key(args) => key(screen, args).map(|()| Exit::Done),
    }
}

async fn create(api: &Api, screen: &Screen, args: &CreateBackup) -> Result<(), CliError> {
    let mut wanted = BackupRequest { recipients: args.recipient.clone(), passphrase: None };
    if let Err(error) = Lock::to(&wanted.recipients) {
        return Err(CliError::usage(error.to_string(), "make a pair of keys: constellation backup key FILE"));
    }
    if wanted.recipients.is_empty() {
        let phrase = match &args.passphrase_file {
            Some(path) => first_line(path)?,
            None => {
                let phrase = hidden::ask(
                    screen,
                    "passphrase of the backup, not shown",
                    "name --recipient or --passphrase-file",
                )?;
                if hidden::ask(screen, "the same again", "")? != phrase {
                    return Err(CliError::usage("the two are not the same", "try again"));
                }
                phrase
            }
        };
        wanted.passphrase = Some(phrase.as_str().to_owned());
    }
    let change = Change { reason: args.reason.as_deref(), ..Change::default() };
    let to_stdout = args.file.as_os_str() == "-";
    let mut hasher = blake3::Hasher::new();
    let bytes = if to_stdout {
        let mut out = io::stdout().lock();
        let answer = api.backup(&wanted, change).await?;
        let bytes = answer
            .each(PIECE, |piece| {
                hasher.update(piece);
                out.write_all(piece).map_err(CliError::Output)
            })
            .await?;
        out.flush().map_err(CliError::Output)?;
        bytes
    } else {
        // Before the agent works for it.
        let mut draft = Draft::new(&args.file)?;
        let answer = api.backup(&wanted, change).await?;
        let bytes = answer
            .each(PIECE, |piece| {
                hasher.update(piece);
                draft.write(piece)
            })
            .await?;
        draft.finish()?;
        bytes
    };
    let file = args.file.display().to_string();
    let made = BackedUp { file: file.clone(), bytes, blake3: hasher.finalize().to_hex().to_string() };
    if to_stdout {
        screen.aside(&format!("{bytes} bytes, blake3 {}", made.blake3));
        return Ok(());
    }
    let opens = if wanted.recipients.is_empty() { "" } else { "-i KEYFILE " };
    let file = clean(&file);
    screen.line(&format!("{file} written, {bytes} bytes; try it: constellation backup verify {opens}{file}"))?;
    screen.answer(&made)
}

async fn verify(screen: &Screen, args: &VerifyBackup) -> Result<(), CliError> {
    let backup = open(screen, &args.file, &args.opens)?;
    let values = backup.opens().map_err(|error| no_good(&args.file, &error))?;
    let hash = restore::rehearse(&backup, &std::env::temp_dir())
        .await
        .map_err(|error| failed(error, "look at the room in the folder for temporary files (TMPDIR)"))?;
    let about = &backup.about;
    let mut verified = Verified {
        name: about.name.to_string(),
        cluster: about.cluster.to_string(),
        index: about.index.0,
        time: about.time,
        node: about.node.to_string(),
        version: about.version.clone(),
        hash,
        services: backup.state.objects(Kind::Service).count(),
        configs: backup.state.objects(Kind::Config).count(),
        secrets: backup.state.objects(Kind::Secret).count(),
        secret_values: values,
        nodes: backup.state.objects(Kind::Node).count(),
        replicas: backup.state.replicas().count(),
        as_noted: true,
    };
    // A newer version may write a state down in another way: then the two hashes say nothing of each other.
    verified.as_noted = verified.hash == about.hash;
    if !verified.as_noted && verified.version == env!("CARGO_PKG_VERSION") {
        let message = format!("{}: its state is {}, and {} was noted", args.file.display(), verified.hash, about.hash);
        return Err(CliError::No { message, hint: Some("make another backup, and keep this one as evidence".into()) });
    }
    told(screen, &verified)?;
    screen.answer(&verified)
}

fn told(screen: &Screen, v: &Verified) -> Result<(), CliError> {
    screen.line(&format!(
        "cluster {} at index {}, {}; made on {} by version {}",
        clean(&v.name),
        v.index,
        absolute(v.time),
        clean(&v.node),
        clean(&v.version)
    ))?;
    let kinds = [
        count(v.services, "service"),
        count(v.configs, "config"),
        count(v.secrets, "secret"),
        count(v.nodes, "node"),
        count(v.replicas, "replica"),
    ];
    screen.line(&format!("{}; {} opened", kinds.join(", "), count(v.secret_values, "secret value")))?;
    screen.line(&format!("a store was made of it, opened and compared: the same state, {}", v.hash))
}

fn fill(screen: &Screen, args: &RestoreBackup) -> Result<(), CliError> {
    let flags = AgentFlags { data_dir: args.data_dir.clone(), config: args.config.clone(), ..AgentFlags::default() };
    let config = settings::read(&flags).map_err(|error| settings::faulty(&error, Exit::Usage))?;
    let data = &config.data_dir;
    let backup = open(screen, &args.file, &args.opens)?;
    backup.opens().map_err(|error| no_good(&args.file, &error))?;
    let made = restore::restore(data, &backup, args.node.as_deref()).map_err(|error| {
        let hint = match &error {
            RestoreError::NotEmpty(_) => {
                format!("move {} away first: it may hold what the backup has not", data.display())
            }
            RestoreError::WhichNode(_) | RestoreError::NoNode { .. } => "name one: --node NAME".into(),
            RestoreError::Home(_) => "stop the agent first".into(),
            _ => format!("look at the disk of {} (room, mount, permissions)", data.display()),
        };
        failed(error, &hint)
    })?;
    screen.line(&format!("{} is the data directory of {} now", data.display(), clean(&made.node)))?;
    screen.line(
        "start the agent: it takes over what runs, and starts and stops nothing until: constellation backup confirm",
    )?;
    screen.answer(&Restored {
        data_dir: data.display().to_string(),
        node: made.node.to_string(),
        cluster: made.cluster.to_string(),
        index: backup.about.index.0,
    })
}

async fn confirm(api: &Api, screen: &Screen, args: &ConfirmBackup) -> Result<Exit, CliError> {
    let end = Instant::now() + args.timeout.0;
    let mut waited = false;
    let report = loop {
        let report = api.restoring().await?;
        if report.unheard.iter().all(|node| args.without.iter().any(|w| *w == **node)) || Instant::now() >= end {
            break report;
        }
        if !waited {
            screen.aside(&format!("waiting until {} has looked at its containers", names(&report)));
            waited = true;
        }
        sleep(LOOK).await;
    };
    let Some(from) = &report.from else {
        screen.line("nothing waits to be confirmed")?;
        screen.answer(&Confirmed { report: report.clone(), confirmed: false })?;
        return Ok(Exit::Done);
    };
    screen.line(&format!(
        "this cluster goes on from the state of cluster {} at index {}, {}",
        clean(&from.cluster.to_string()),
        from.index,
        absolute(from.time)
    ))?;
    show(screen, &report)?;
    if args.dry_run {
        screen.answer(&Confirmed { report, confirmed: false })?;
        return Ok(Exit::No);
    }
    if !args.yes {
        if !screen.interactive() {
            return Err(CliError::usage("nobody can be asked here", "look with --dry-run, then say -y"));
        }
        if !screen.confirm("Do this?")? {
            screen.aside("nothing was done");
            return Ok(Exit::No);
        }
    }
    let change = Change { reason: args.reason.as_deref(), ..Change::default() };
    let seen = RestoreConfirm { shown: report.shown.clone(), without: args.without.clone() };
    api.confirm(&seen, change).await?;
    screen.line("confirmed: it is carried out; constellation status shows how it goes on")?;
    screen.answer(&Confirmed { report, confirmed: true })?;
    Ok(Exit::Done)
}

fn names(report: &RestoreReport) -> String {
    report.unheard.iter().map(|name| clean(name).into_owned()).collect::<Vec<_>>().join(", ")
}

fn show(screen: &Screen, report: &RestoreReport) -> Result<(), CliError> {
    let adopted = usize::try_from(report.adopted).unwrap_or(usize::MAX);
    screen.line(&format!(
        "{} as the backup declares: nothing happens to them",
        match adopted {
            1 => "1 container runs".to_owned(),
            n => format!("{n} containers run"),
        }
    ))?;
    if !report.unheard.is_empty() {
        screen
            .aside(&format!("warning: {} did not say what runs there: what would happen is not known", names(report)));
    }
    if report.steps.is_empty() {
        return screen.line("nothing would be started or stopped");
    }
    let row = |step: &crate::api::wire::RestoreStep| {
        vec![
            clean(&step.node).into_owned(),
            step.action.as_str().to_owned(),
            clean(&step.replica).into_owned(),
            step.service.as_deref().map_or_else(|| "-".into(), |s| clean(s).into_owned()),
            clean(&step.message).into_owned(),
        ]
    };
    let rows: Vec<_> = report.steps.iter().map(row).collect();
    for line in text::table(0, &["NODE", "DO", "CONTAINER", "SERVICE", "WHY"], &rows).lines() {
        screen.line(line)?;
    }
    if report.untold > 0 {
        screen.line(&format!("and {} more", report.untold))?;
    }
    Ok(())
}

fn key(screen: &Screen, args: &BackupKey) -> Result<(), CliError> {
    let (secret, public) = draw_key();
    let mut draft = Draft::new(&args.file)?;
    let text = Zeroizing::new(format!("# public key: {public}\n{}\n", secret.expose_secret()));
    draft.write(text.as_bytes())?;
    draft.finish()?;
    screen.aside(&format!("the secret key is in {}: keep it in another place than this machine", args.file.display()));
    screen.line(&public)?;
    screen.answer(&DrawnKey { file: args.file.display().to_string(), public })
}

fn open(screen: &Screen, path: &Path, opens: &Opens) -> Result<Backup, CliError> {
    let file = read(path, LIMIT)?;
    let keys = match (&opens.identity, &opens.passphrase_file) {
        (Some(path), _) => {
            let bytes = Zeroizing::new(read(path, 1 << 16)?);
            let text = std::str::from_utf8(&bytes).unwrap_or_default();
            Keys::of_file(text).map_err(|error| {
                CliError::usage(format!("{}: {error}", path.display()), "name the file that `backup key` wrote")
            })?
        }
        (None, Some(path)) => Keys::Passphrase(SecretString::from(first_line(path)?.as_str().to_owned())),
        (None, None) => {
            let asked =
                hidden::ask(screen, "passphrase of the backup, not shown", "name --identity or --passphrase-file")?;
            Keys::Passphrase(SecretString::from(asked.as_str().to_owned()))
        }
    };
    Backup::open(&file, &keys).map_err(|error| no_good(path, &error))
}

fn no_good(path: &Path, error: &BackupError) -> CliError {
    let hint = match error {
        BackupError::Refused(_) | BackupError::OtherLock { .. } => "look which key or passphrase it was sealed with",
        BackupError::Newer(_) => "open it with the version that made it, or a newer one",
        BackupError::Closed { .. } => "make another backup: the keys in this one are not those of its secrets",
        _ => "take another copy of it, or an older backup",
    };
    let message = match error {
        BackupError::Closed { source, .. } => format!("{}: {error}: {source}", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    CliError::No { message, hint: Some(hint.into()) }
}

fn failed(error: RestoreError, hint: &str) -> CliError {
    CliError::No { message: error.to_string(), hint: Some(hint.to_owned()) }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::File { doing: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes"))));
    }
    Ok(bytes)
}

fn first_line(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let bytes = Zeroizing::new(read(path, 1 << 16)?);
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Zeroizing::new(line.to_owned())),
        None => Err(CliError::usage(format!("{} has no first line", path.display()), "write the passphrase there")),
    }
}

/// A file that has its name once it is whole.
struct Draft {
    file: File,
    draft: PathBuf,
    path: PathBuf,
}

impl Draft {
    fn new(path: &Path) -> Result<Self, CliError> {
        let failed = |source| CliError::File { doing: "write", path: path.to_owned(), source };
        if path.symlink_metadata().is_ok() {
            let message = format!("{} is there already, and is not replaced", path.display());
            return Err(CliError::usage(message, "choose another name, or move it away"));
        }
        let mut name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?.to_owned();
        // Nobody else's, nor where somebody laid a link for it.
        name.push(format!(".{:08x}.partial", rand::random::<u32>()));
        let draft = path.with_file_name(name);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        Ok(Self { file, draft, path: path.to_owned() })
    }
    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file.write_all(bytes).map_err(|source| CliError::File { doing: "write", path: self.draft.clone(), source })
    }
    fn finish(self) -> Result<(), CliError> {
        let named = || {
            self.file.sync_all()?;
            match renameat_with(CWD, &self.draft, CWD, &self.path, RenameFlags::NOREPLACE) {
                // Some file systems cannot promise it; a second name for a file is not given where there is one.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    fs::hard_link(&self.draft, &self.path)?;
                    fs::remove_file(&self.draft)?;
                }
                renamed => renamed?,
            }
            let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            durable::sync(folder)
        };
        named().map_err(|source| CliError::File { doing: "write", path: self.path.clone(), source })
    }
}
impl Drop for Draft {
    fn drop(&mut self) {
        // It is gone when it was finished.
        let _ = fs::remove_file(&self.draft);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_has_its_name_once_it_is_whole_and_replaces_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.age");
        let mut draft = Draft::new(&path).unwrap();
        draft.write(b"half").unwrap();
        drop(draft);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a try that failed leaves nothing");
        let mut draft = Draft::new(&path).unwrap();
        draft.write(b"whole").unwrap();
        assert!(!path.exists());
        draft.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Draft::new(&path).is_err(), "it is there");
        let other = dir.path().join("c.age");
        let draft = Draft::new(&other).unwrap();
        fs::write(&other, "somebody's").unwrap();
        assert!(draft.finish().is_err());
        assert_eq!(fs::read(&other).unwrap(), b"somebody's");
    }

    #[test]
    fn a_passphrase_is_the_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        for (text, want) in
            [("horse\n", Some("horse")), ("horse", Some("horse")), ("a b\nc\n", Some("a b")), ("", None), ("\nx", None)]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(first_line(&path).ok().as_deref().map(String::as_str), want, "{text:?}");
        }
    }
}
