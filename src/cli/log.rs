//! The agent's own log: each record is one line, whatever containers, images, labels or users put into it.
//!
//! Here: [`OneLine`], between the subscriber and standard error. Not here: what is logged, and how (`command::agent`).
//! Why: `tracing-subscriber` writes ESC out and leaves a line break in a value as it is, so that a name could forge
//! the record that follows it.

use std::io::{self, Write};

use super::text::{self, colour, visible};

/// What the subscriber writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Records {
    /// Text.
    Plain,
    /// Text with colours of its own, which stay.
    Coloured,
    /// A JSON object each.
    Json,
}

/// Writes each record as one line.
#[derive(Debug)]
pub struct OneLine<W> {
    /// Where to.
    pub to: W,
    /// What comes.
    pub records: Records,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let line = one_line(&String::from_utf8_lossy(record), self.records);
        self.to.write_all(line.as_bytes()).map(|()| record.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn one_line(record: &str, records: Records) -> String {
    let (mut rest, end) = record.strip_suffix('\n').map_or((record, ""), |text| (text, "\n"));
    if records == Records::Json {
        return format!("{}{end}", text::json(rest));
    }
    let mut out = String::with_capacity(record.len());
    while let Some((at, after)) = colour(rest).filter(|_| records == Records::Coloured) {
        out.push_str(&visible(&rest[..at]));
        out.push_str(&rest[at..after]);
        rest = &rest[after..];
    }
    out.push_str(&visible(rest));
    out.push_str(end);
    out
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::{fmt, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_others_wrote_forges_no_record_and_steers_no_terminal() {
        const EVIL: &str = "web\x1b[2J\u{9b}31m\x07\r\n2026-01-01T00:00:00Z  WARN all is well";
        for records in [Records::Plain, Records::Coloured, Records::Json] {
            let kept = Kept::default();
            let to = kept.clone();
            let writer = move || OneLine { to: to.clone(), records };
            let log = || {
                tracing::warn!(service = %EVIL, label = ?EVIL, exit = EVIL, "{EVIL}");
            };
            if records == Records::Json {
                tracing::subscriber::with_default(
                    tracing_subscriber::registry().with(fmt::layer().json().with_writer(writer)),
                    log,
                );
            } else {
                let layer = fmt::layer().with_ansi(records == Records::Coloured).with_writer(writer);
                tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
            }
            let mut said = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            assert!(said.contains("all is well"), "{said}");
            while let Some((at, after)) = colour(&said).filter(|_| records == Records::Coloured) {
                said.replace_range(at..after, "");
            }
            let steers: Vec<char> = said.chars().filter(|c| c.is_control()).collect();
            assert_eq!(steers, ['\n'], "{records:?}: {said:?}");
            assert!(said.ends_with('\n'));
            if records == Records::Json {
                let record: serde_json::Value = serde_json::from_str(&said).unwrap();
                assert_eq!(record["fields"]["message"], EVIL, "it says the same");
            }
        }
    }
}
