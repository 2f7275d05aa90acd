//! The configuration file: one flat mapping of keys to scalars, YAML or JSON.
//!
//! Its values are texts until they are checked, so that `peerPort: 7444` and `--peer-port 7444` mean one thing.

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path};

use saphyr_parser::{Event, Parser};

use super::{
    Fault, Origin, Written,
    settings::{SETTINGS, Setting},
    suggest,
};

/// Largest file, bytes: thirteen keys need far less.
const MOST_BYTES: u64 = 64 << 10;

/// Line and column, both from 1.
type Place = (usize, usize);

/// Every setting of the file.
pub(super) fn read(path: &Path, faults: &mut Vec<Fault>) -> BTreeMap<Setting, Written> {
    let mut text = String::new();
    let opened = File::open(path).and_then(|f| f.take(MOST_BYTES + 1).read_to_string(&mut text));
    let problem = match opened {
        Err(error) => {
            Some((format!("cannot be read: {error}"), "check the path given with --config or CONSTELLATION_CONFIG"))
        }
        Ok(_) if text.len() as u64 > MOST_BYTES => {
            Some(("larger than 64 KiB".into(), "this is no configuration of an agent"))
        }
        Ok(_) => None,
    };
    let mut reader = Reader { path, settings: BTreeMap::new(), faults };
    match problem {
        Some((message, fix)) => {
            reader.faults.push(Fault { place: path.display().to_string(), message, fix: fix.into() });
        }
        None => reader.read(&text),
    }
    reader.settings
}

struct Reader<'r> {
    path: &'r Path,
    settings: BTreeMap<Setting, Written>,
    faults: &'r mut Vec<Fault>,
}

impl Reader<'_> {
    fn read(&mut self, text: &str) {
        let flat = "a configuration is a flat mapping, like `dataDir: /srv/constellation`";
        let (mut key, mut inside, mut documents): (Option<(String, Place)>, bool, usize) = (None, false, 0);
        for event in Parser::new_from_str(text) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let at = (error.marker().line(), error.marker().col() + 1);
                    self.wrong(at, "", format!("not readable: {}", error.info()), flat);
                    return;
                }
            };
            let at = (span.start.line(), span.start.col() + 1);
            match event {
                Event::DocumentStart(_) => documents += 1,
                Event::MappingStart(..) if !inside && documents == 1 => inside = true,
                Event::MappingEnd if inside => inside = false,
                // An empty file, or one of comments only.
                Event::Scalar(text, ..) if !inside && documents == 1 && matches!(text.as_ref(), "" | "~") => {}
                Event::Scalar(text, ..) if inside => match key.take() {
                    None => key = Some((text.into_owned(), at)),
                    Some((name, key_at)) => self.field(&name, key_at, &text, at),
                },
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => {}
                Event::MappingStart(..)
                | Event::SequenceStart(..)
                | Event::Alias(_)
                | Event::Scalar(..)
                | Event::MappingEnd
                | Event::SequenceEnd => {
                    match key {
                        Some((name, _)) => self.wrong(at, &name, "expected one value".into(), flat),
                        None => self.wrong(at, "", "expected KEY: VALUE".into(), flat),
                    }
                    return;
                }
            }
        }
    }

    fn place(&self, (line, column): Place, key: &str) -> String {
        let place = format!("{}:{line}:{column}", self.path.display());
        if key.is_empty() { place } else { format!("{place}: {key}") }
    }

    fn wrong(&mut self, at: Place, key: &str, message: String, fix: &str) {
        let place = self.place(at, key);
        self.faults.push(Fault { place, message, fix: fix.into() });
    }

    fn field(&mut self, name: &str, key_at: Place, text: &str, at: Place) {
        let Some(setting) = Setting::of_key(name) else {
            let known = || SETTINGS.iter().map(|s| s.key());
            let all = || format!("known: {}", known().collect::<Vec<_>>().join(", "));
            self.wrong(key_at, name, "unknown key".into(), &suggest(name, known()).unwrap_or_else(all));
            return;
        };
        if let Some(first) = self.settings.get(&setting) {
            let message = format!("stands twice: at {} too", first.origin);
            self.wrong(key_at, name, message, "remove one of the two");
            return;
        }
        let origin = Origin::File { path: self.path.to_owned(), line: at.0, column: at.1 };
        let place = self.place(at, name);
        self.settings.insert(setting, Written { text: text.to_owned(), origin, place });
    }
}
