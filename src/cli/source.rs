//! Manifests from files: `-f FILE`, `-f DIR`, `-f -`.
//!
//! Here: [`read`], which walks directories, fills in `${VARIABLES}` from the environment and resolves
//! relative paths from each file's own folder; [`documents`], what is sent. Not here: what a manifest means
//! (`manifest`).
//! Invariant: nothing is sent while any document has an error, and each error has its place.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    failure::CliError,
    values::{Fetcher, Programs},
};
use crate::{
    api::wire::ManifestFault,
    manifest::{self, Document, Skipped},
    model::{Kind, ObjectKey, meta::API_VERSION, rotation::ValueFrom},
};

/// Largest file.
const FILE_LIMIT: u64 = 16 << 20;
/// Most files and deepest directory: a wrong `-f /` ends soon.
const FILES: usize = 10_000;
const DEPTH: usize = 32;

/// What the files say.
#[derive(Debug, Default)]
pub struct Manifests {
    /// In the order of the files.
    pub documents: Vec<Document>,
    /// Fields that do nothing, and documents that are not ours.
    pub warnings: Vec<String>,
    /// Documents that are not ours: with them it is not known what the files declare.
    pub skipped: Vec<Skipped>,
}

/// Reads everything that `-f` names. `programs`: what values of Configs and Secrets may be fetched by; without it none
/// is fetched, where only names count.
///
/// # Errors
/// When a file or a value cannot be read, a document has errors, one object is declared twice, or nothing is declared.
pub fn read(
    paths: &[PathBuf],
    env: &dyn Fn(&str) -> Option<String>,
    programs: Option<Programs>,
) -> Result<Manifests, CliError> {
    let fetcher = programs.map(|programs| Fetcher::new(env, programs));
    let fetch = fetcher.as_ref().map(|fetcher| |from: &ValueFrom, folder: &Path| fetcher.fetch(from, folder));
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            files.push(None);
            continue;
        }
        let facts = fs::metadata(path).map_err(unreadable(path))?;
        if facts.is_dir() {
            let before = files.len();
            walk(path, 0, &mut files)?;
            if files.len() == before {
                return Err(CliError::usage(
                    format!("{} has no manifests", path.display()),
                    "manifests are *.yaml, *.yml and *.json files",
                ));
            }
        } else {
            files.push(Some(path.clone()));
        }
    }
    let (mut all, mut errors) = (Manifests::default(), Vec::new());
    for file in files {
        let (name, text, folder) = match &file {
            None => ("stdin".to_owned(), standard_input()?, Path::new(".")),
            Some(path) => (path.display().to_string(), content(path)?, path.parent().unwrap_or(Path::new("."))),
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let folder = folder.canonicalize().map_err(unreadable(folder))?;
        let options = manifest::Options {
            resolve_paths: Some(folder),
            interpolate: Some(env),
            values: fetch.as_ref().map(|fetch| fetch as manifest::Fetch<'_>),
        };
        let parsed = manifest::parse(&name, &text, &options);
        errors.extend(parsed.errors.iter().map(ManifestFault::from));
        all.skipped.extend(parsed.skipped);
        for document in parsed.documents {
            all.warnings
                .extend(document.warnings.iter().map(|w| format!("{}:{}: {w}", document.source, document.line)));
            all.documents.push(document);
        }
    }
    twice(&all.documents, &mut errors);
    if !errors.is_empty() {
        return Err(CliError::Manifests(errors));
    }
    if all.documents.is_empty() && !all.skipped.is_empty() {
        return Err(CliError::Manifests(all.skipped.into_iter().map(foreign).collect()));
    }
    all.warnings.extend(all.skipped.iter().map(ToString::to_string));
    if all.documents.is_empty() {
        return Err(CliError::usage(
            "the files declare nothing",
            format!("a manifest begins with apiVersion: {API_VERSION}; `constellation schema` describes the rest"),
        ));
    }
    Ok(all)
}

/// A document that is not ours, where nothing else is there.
fn foreign(skipped: Skipped) -> ManifestFault {
    let Skipped { source, document, line, column, message, fix } = skipped;
    ManifestFault { source, document, line, column, message, fix: Some(fix), ..ManifestFault::default() }
}

/// Refuses documents that are not ours where what is *not* declared is deleted.
///
/// # Errors
/// When there is one.
pub fn whole(manifests: &Manifests) -> Result<(), CliError> {
    if manifests.skipped.is_empty() {
        return Ok(());
    }
    Err(CliError::Usage {
        message: format!(
            "--prune deletes what no manifest declares, and not every document could be read as one: {}",
            manifests.skipped.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        ),
        hint: Some("mend these documents, or name only files with manifests; nothing was changed".into()),
    })
}

/// One object may be declared once over all files: which of two would win depends on their names. Within one
/// file the parser has said so already.
fn twice(documents: &[Document], errors: &mut Vec<ManifestFault>) {
    let mut seen: BTreeMap<ObjectKey, &Document> = BTreeMap::new();
    for document in documents {
        let key = document.declared.key();
        if let Some(first) = seen.get(&key) {
            if first.source == document.source {
                continue;
            }
            errors.push(ManifestFault {
                source: document.source.clone(),
                document: document.index,
                line: document.line,
                column: 1,
                path: "metadata.name".into(),
                message: format!("{key} is declared at {}:{} already", first.source, first.line),
                fix: Some("rename one or remove it".into()),
            });
        } else {
            seen.insert(key, document);
        }
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> CliError + use<> {
    let path = path.to_owned();
    move |source| CliError::File { doing: "read", path, source }
}

fn content(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut text = Vec::new();
    fs::File::open(path).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut text)).map_err(unreadable(path))?;
    within(text, path)
}

fn standard_input() -> Result<Vec<u8>, CliError> {
    let mut text = Vec::new();
    let path = Path::new("standard input");
    io::stdin().lock().take(FILE_LIMIT + 1).read_to_end(&mut text).map_err(unreadable(path))?;
    within(text, path)
}

fn within(text: Vec<u8>, path: &Path) -> Result<Vec<u8>, CliError> {
    if text.len() as u64 > FILE_LIMIT {
        return Err(CliError::usage(format!("{} has more than {} MiB", path.display(), FILE_LIMIT >> 20), "split it"));
    }
    Ok(text)
}

/// Manifests below a directory, in the order of their paths. Links to directories are not followed: a
/// circle would not end.
fn walk(directory: &Path, depth: usize, files: &mut Vec<Option<PathBuf>>) -> Result<(), CliError> {
    let too = |what: &str| {
        CliError::usage(
            format!("{} has too many {what}", directory.display()),
            "name the directory that holds the manifests",
        )
    };
    if depth > DEPTH {
        return Err(too("levels"));
    }
    let mut entries: Vec<fs::DirEntry> =
        fs::read_dir(directory).and_then(Iterator::collect).map_err(unreadable(directory))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(unreadable(&path))?;
        let manifest = path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known));
        if kind.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if manifest && (kind.is_file() || path.is_file()) {
            files.push(Some(path));
        }
        if files.len() > FILES {
            return Err(too("manifests"));
        }
    }
    Ok(())
}

/// The documents as the API takes them, canonical. Those of Secrets hold clear values.
///
/// # Errors
/// When a spec has no JSON form; no type of `model` is so.
pub fn documents(documents: &[Document]) -> Result<Vec<Value>, CliError> {
    let written = |document| {
        manifest::written(document)
            .map_err(|source| CliError::Usage { message: format!("a document has no JSON form: {source}"), hint: None })
    };
    documents.iter().map(written).collect()
}

/// Keys of the documents, in the order in which they are deleted: services before what they use.
#[must_use]
pub fn keys_to_delete(documents: &[Document]) -> Vec<ObjectKey> {
    let mut keys: Vec<ObjectKey> = documents.iter().map(|d| d.declared.key()).collect();
    let place = |kind: Kind| Kind::ALL.iter().position(|k| *k == kind);
    keys.sort_by_key(|key| std::cmp::Reverse(place(key.kind)));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, image: &str) -> String {
        format!(
            "apiVersion: constellation.dev/v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{image: \"{image}\"}}\n"
        )
    }

    fn no_env(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_directory_is_read_whole_in_the_order_of_its_paths() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("b/deep/c.yml", &service("c", "x"));
        write("a.yaml", &format!("{}---\n{}", service("a1", "x"), service("a2", "${TAG:-x}")));
        write("notes.txt", "not read");
        write("z.json", r#"{"some": "other file"}"#);
        let env = |name: &str| (name == "TAG").then(|| "from-env".to_owned());
        let read = read(&[root.path().to_owned()], &env, Some(Programs::Refuse)).unwrap();
        let names: Vec<&str> = read.documents.iter().map(|d| &*d.declared.name).collect();
        assert_eq!(names, ["a1", "a2", "c"]);
        assert_eq!(read.warnings.len(), 1, "{:?}", read.warnings);
        let sent = documents(&read.documents).unwrap();
        assert_eq!(sent[1]["spec"]["image"], "from-env");
    }

    #[test]
    fn relative_sources_are_meant_from_the_files_own_folder() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("web.yaml");
        let text = service("web", "x")
            .replace("{image: \"x\"}", "{image: x, volumes: [{type: bind, source: ./data, target: /d}]}");
        fs::write(&path, text).unwrap();
        let sent = documents(&read(&[path], &no_env, Some(Programs::Refuse)).unwrap().documents).unwrap();
        let source = root.path().canonicalize().unwrap().join("data");
        assert_eq!(sent[0]["spec"]["volumes"][0]["source"], source.to_str().unwrap());
    }

    #[test]
    fn what_is_wrong_is_said_once_for_all_files() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.yaml"), service("web", "x")).unwrap();
        fs::write(root.path().join("b.yaml"), service("web", "y")).unwrap();
        fs::write(root.path().join("c.yaml"), service("bad", "x").replace("image:", "imagee:")).unwrap();
        let error = read(&[root.path().to_owned()], &no_env, Some(Programs::Refuse)).unwrap_err();
        let report = error.report();
        assert_eq!(error.exit().code(), 2);
        assert!(report.contains("b.yaml:") && report.contains("declared at"), "{report}");
        assert!(report.contains("c.yaml:"), "{report}");
    }

    #[test]
    fn nothing_to_do_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        for paths in [vec![root.path().to_owned()], vec![root.path().join("none.yaml")]] {
            assert_eq!(read(&paths, &no_env, Some(Programs::Refuse)).unwrap_err().exit().code(), 2);
        }
    }

    #[test]
    fn a_secret_is_sent_with_its_values_and_services_are_deleted_first() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s.yaml");
        let secret = "apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {name: s}\nspec: {stringData: {password: hunter2}}\n";
        fs::write(&path, format!("{secret}---\n{}", service("web", "x"))).unwrap();
        let read = read(&[path], &no_env, Some(Programs::Refuse)).unwrap();
        assert_eq!(documents(&read.documents).unwrap()[0]["spec"]["data"]["password"], "aHVudGVyMg==");
        let keys: Vec<String> = keys_to_delete(&read.documents).iter().map(ToString::to_string).collect();
        assert_eq!(keys, ["svc/web", "secret/s"]);
    }
}
