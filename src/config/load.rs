//! Puts a configuration together: flags, environment, file, defaults.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    AgentConfig, AgentFlags, ConfigError, Fault, Origin, check,
    file::{self, Source},
    origin::Written,
    settings::{SETTINGS, Setting},
};

/// Variables that clients read, and an agent leaves alone.
const OF_CLIENTS: [&str; 4] =
    ["CONSTELLATION_API", "CONSTELLATION_TOKEN", "CONSTELLATION_TOKEN_FILE", "CONSTELLATION_CONTEXT"];
/// What the tests are told begins so. No setting does: a shell that was made ready for them starts agents too.
const OF_TESTS: &str = "CONSTELLATION_TEST_";
/// Names the engine of Docker's own clients. An agent is bound to one engine for good: what a shell happens to
/// say must not choose another.
const OF_DOCKER: &str = "DOCKER_HOST";
/// Says what is logged, to every program that logs with the same crate; it wins.
const RUST_LOG: &str = "RUST_LOG";
/// Names the configuration file itself; empty: none is read.
const CONFIG_FILE: &str = "CONSTELLATION_CONFIG";

/// What the environment says.
#[derive(Default)]
struct Environment {
    /// Ours, by name.
    ours: BTreeMap<String, String>,
    of_docker: Option<String>,
    rust_log: Option<String>,
}

fn environment(
    variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    faults: &mut Vec<Fault>,
) -> Environment {
    let mut found = Environment::default();
    for (name, value) in variables {
        let name = name.into().to_string_lossy().into_owned();
        let value: OsString = value.into();
        if name == OF_DOCKER {
            found.of_docker = Some(value.to_string_lossy().into_owned()).filter(|other| !other.is_empty());
            continue;
        }
        if name != RUST_LOG && (!name.starts_with("CONSTELLATION_") || name.starts_with(OF_TESTS)) {
            continue;
        }
        match value.into_string() {
            Ok(value) if name == RUST_LOG => found.rust_log = Some(value).filter(|text| !text.trim().is_empty()),
            Ok(value) => drop(found.ours.insert(name, value)),
            // A name that is not UTF-8 is none of ours either: it is refused as unknown.
            Err(_) if !OF_CLIENTS.contains(&name.as_str()) => faults.push(not_utf8(name)),
            Err(_) => {}
        }
    }
    found
}

/// Puts the configuration of an agent together. `variables`: the whole environment, as the process has it;
/// `hostname`: the machine's, for the default name of the node; `usual`: the file that is read when no other is
/// named, [`super::USUAL_FILE`] but in tests.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong: unknown keys and variables, values that are not what they
/// should be, a file that cannot be read, an address that is not loopback.
pub fn load(
    flags: &AgentFlags,
    variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    hostname: &str,
    usual: Option<&Path>,
) -> Result<AgentConfig, ConfigError> {
    let mut faults = Vec::new();
    let Environment { ours, of_docker, rust_log } = environment(variables, &mut faults);
    let known = |n: &str| Setting::of_variable(n).is_some() || n == CONFIG_FILE || OF_CLIENTS.contains(&n);
    faults.extend(ours.keys().filter(|n| !known(n)).map(|n| unknown_variable(n)));
    let named = flags.config.clone().or_else(|| ours.get(CONFIG_FILE).map(PathBuf::from));
    let source = match named {
        Some(none) if none.as_os_str().is_empty() => None,
        Some(path) => Some(Source::Named(path)),
        None => usual.map(|path| Source::Usual(path.to_owned())),
    };
    let mut from_file = source.map(|source| file::read(&source, &mut faults)).unwrap_or_default();
    let mut written: BTreeMap<Setting, Written> = BTreeMap::new();
    for setting in SETTINGS {
        let key = setting.key();
        let last_word = rust_log.as_ref().filter(|_| setting == Setting::LogFilter);
        let value = if let Some(text) = last_word {
            Written::new(text.clone(), Origin::Environment(RUST_LOG.into()), key)
        } else if let Some(text) = flags.value(setting) {
            Written::new(text.clone(), Origin::Flag(setting.flag()), key)
        } else if let Some(text) = ours.get(&setting.variable()) {
            Written::new(text.clone(), Origin::Environment(setting.variable()), key)
        } else if let Some(value) = from_file.settings.remove(&setting) {
            value
        } else {
            continue;
        };
        written.insert(setting, value);
    }
    match check::check(&written, hostname, &mut faults) {
        Some(config) if faults.is_empty() => {
            let passed_over = of_docker.filter(|other| *other != config.docker_host);
            Ok(AgentConfig { passed_over, file: from_file.path, ..config })
        }
        _ => Err(ConfigError { faults: faults.into_iter().map(Fault::made_visible).collect() }),
    }
}

/// Whether two addresses lead to the same socket, as `/run/docker.sock` and `/var/run/docker.sock` do where one is a
/// link: looks at the disk. Addresses of another form are the same when they are written alike.
#[must_use]
pub fn same_engine(one: &str, other: &str) -> bool {
    let place = |address: &str| {
        let path = Path::new(address.strip_prefix("unix://")?);
        // Before the engine runs there is only the directory.
        let beside = || Some(std::fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
        std::fs::canonicalize(path).ok().or_else(beside)
    };
    one == other || place(one).is_some_and(|found| place(other) == Some(found))
}

fn not_utf8(name: String) -> Fault {
    Fault::of(name, "the value is not UTF-8", "write it in UTF-8, or unset it")
}

fn unknown_variable(name: &str) -> Fault {
    let known: Vec<String> = SETTINGS.iter().map(|s| s.variable()).chain([CONFIG_FILE.into()]).collect();
    let fix = suggest(name, known.iter().map(String::as_str))
        .unwrap_or_else(|| "unset it; `constellation agent --help` lists all".into());
    Fault::of(name, "no such variable", fix)
}

/// "did you mean …?", when something is near.
pub(super) fn suggest<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 5))
        .map(|(_, name)| format!("did you mean {name}?"))
}
