//! The configuration file: a mapping of keys to values, YAML or JSON.
//!
//! Here: which keys there are, and that each has the form of value that it needs. Not here: reading text
//! (`tree`), what a value must be (`settings`).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    Fault, Origin,
    load::suggest,
    origin::Written,
    settings::{NONE, SETTINGS, Setting},
    tree::{self, At, Entry, Tree, Value},
};

/// Largest file, bytes: all that can be said needs far less.
const MOST_BYTES: u64 = 64 << 10;

/// Which file, and whether somebody named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A flag or a variable says so: it has to be there.
    Named(PathBuf),
    /// The usual place: it need not be there.
    Usual(PathBuf),
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Where it was read; none when there is none.
    pub(super) path: Option<PathBuf>,
    pub(super) settings: BTreeMap<Setting, Written>,
}

/// Every setting of the file.
pub(super) fn read(source: &Source, faults: &mut Vec<Fault>) -> Content {
    let (path, fix) = match source {
        Source::Named(path) => (path, "check the path given with --config or CONSTELLATION_CONFIG"),
        Source::Usual(path) => (path, "let this user read it, or name another file with --config (/dev/null: none)"),
    };
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|f| f.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    let mut wrong = |message: String, fix: &str| faults.push(Fault::of(path.display().to_string(), message, fix));
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound && matches!(source, Source::Usual(_)) => {
            return Content::default();
        }
        Err(error) => wrong(format!("cannot be read: {error}"), fix),
        Ok(_) if bytes.len() as u64 > MOST_BYTES => {
            wrong("larger than 64 KiB".into(), "this is no configuration of an agent");
        }
        Ok(_) => match String::from_utf8(bytes) {
            Err(_) => wrong("not UTF-8".into(), "write it as text in UTF-8"),
            Ok(text) => return Reader { path, faults }.read(&text),
        },
    }
    Content { path: Some(path.clone()), ..Content::default() }
}

struct Reader<'r> {
    path: &'r Path,
    faults: &'r mut Vec<Fault>,
}

impl Reader<'_> {
    fn read(mut self, text: &str) -> Content {
        let mut content = Content { path: Some(self.path.to_owned()), ..Content::default() };
        let mut twice = Vec::new();
        let root = tree::read(text, &mut twice).unwrap_or_else(|fault| {
            twice.push(fault);
            None
        });
        for fault in twice {
            self.wrong(fault.at, "", fault.message, fault.fix);
        }
        match root.map(|tree| (tree.at, tree.value)) {
            None => {}
            Some((_, Value::Map(entries))) => self.fields(entries, None, &mut content.settings),
            Some((at, Value::Scalar(_) | Value::List(_))) => {
                let fix = "a configuration is a mapping, like `dataDir: /srv/constellation`";
                self.wrong(at, "", "expected KEY: VALUE".into(), fix);
            }
        }
        content
    }

    fn origin(&self, at: At) -> Origin {
        Origin::File { path: self.path.to_owned(), line: at.line, column: at.column }
    }

    fn wrong(&mut self, at: At, key: &str, message: String, fix: &str) {
        let place = self.origin(at).to_string();
        let place = if key.is_empty() { place } else { format!("{place}: {key}") };
        let (line, column) = (Some(at.line), Some(at.column));
        self.faults.push(Fault { place, line, column, message, fix: fix.into() });
    }

    /// The keys of one mapping: the file's own, or that of a section.
    fn fields(&mut self, entries: Vec<Entry>, section: Option<&str>, settings: &mut BTreeMap<Setting, Written>) {
        for entry in entries {
            self.field(entry, section, settings);
        }
    }

    fn field(&mut self, entry: Entry, section: Option<&str>, settings: &mut BTreeMap<Setting, Written>) {
        let named = match section {
            Some(section) => format!("{section}.{}", entry.key),
            None => entry.key.clone(),
        };
        if let Some(setting) = Setting::of_key(section, &entry.key) {
            return self.value(setting, entry.value, settings);
        }
        if section.is_none() && SETTINGS.iter().any(|s| s.nested().0 == Some(&*entry.key)) {
            match entry.value.value {
                Value::Map(entries) => self.fields(entries, Some(&entry.key), settings),
                // Everything in it is a comment.
                Value::Scalar(text) if matches!(text.as_str(), "" | "~" | "null") => {}
                Value::Scalar(_) | Value::List(_) => {
                    let inside = |s: &Setting| s.nested().0.filter(|inside| *inside == entry.key).map(|_| s.nested().1);
                    let keys: Vec<&str> = SETTINGS.iter().filter_map(inside).collect();
                    let fix = format!("write a mapping of {}", keys.join(", "));
                    self.wrong(entry.value.at, &named, "expected KEY: VALUE".into(), &fix);
                }
            }
            return;
        }
        let mut known: Vec<&str> = Vec::new();
        for (inside, key) in SETTINGS.iter().map(|s| s.nested()) {
            let key = if inside == section { Some(key) } else { inside.filter(|_| section.is_none()) };
            known.extend(key.filter(|key| !known.contains(key)));
        }
        let all = || format!("known: {}", known.join(", "));
        let fix = suggest(&entry.key, known.iter().copied()).unwrap_or_else(all);
        self.wrong(entry.at, &named, "unknown key".into(), &fix);
    }

    fn value(&mut self, setting: Setting, value: Tree, settings: &mut BTreeMap<Setting, Written>) {
        let origin = self.origin(value.at);
        match value.value {
            Value::Scalar(text) => {
                settings.insert(setting, Written::new(text, origin, setting.key()));
            }
            Value::List(items) if setting.is_list() => {
                let mut list = Vec::new();
                for item in items {
                    match item.value {
                        Value::Scalar(text) => list.push(Written::new(text, self.origin(item.at), setting.key())),
                        Value::List(_) | Value::Map(_) => {
                            let fix = "write a list of texts";
                            self.wrong(item.at, setting.key(), "expected a text".into(), fix);
                        }
                    }
                }
                settings.insert(setting, Written { list, ..Written::new(NONE.into(), origin, setting.key()) });
            }
            Value::List(_) | Value::Map(_) => {
                let fix = format!("write one value, like `{}: {}`", setting.nested().1, setting.sample());
                self.wrong(value.at, setting.key(), "expected one value".into(), &fix);
            }
        }
    }
}
