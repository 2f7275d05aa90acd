//! How a wait looks: a spinner for each service at a terminal, plain lines with times elsewhere.
//!
//! Here: [`Display`]. Not here: what is awaited (`wait`), where it comes from (`follow`).
//! Invariant: without a terminal nothing moves and nothing is printed twice.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{screen::Screen, text};
use crate::model::{Event, EventType};

/// Shows a wait on standard error.
#[derive(Debug)]
pub struct Display<'a> {
    screen: &'a Screen,
    spinners: Option<Spinners>,
    said: BTreeMap<Arc<str>, String>,
    /// Time of the newest event that was shown, milliseconds since 1970.
    newest: u64,
    /// Events are lines of JSON too.
    lines: bool,
}

/// Repeats are counted for a while before they are told. One older than this beside the newest event is
/// of the time before, milliseconds.
const PAST: u64 = 2_000;

#[derive(Debug)]
struct Spinners {
    all: MultiProgress,
    each: BTreeMap<Arc<str>, ProgressBar>,
}

impl<'a> Display<'a> {
    /// Shows these services.
    pub fn new<'n>(screen: &'a Screen, services: impl Iterator<Item = &'n Arc<str>>, lines: bool) -> Self {
        let spinners = screen.animates().then(|| {
            let all = MultiProgress::new();
            let style = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}  {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let each = services
                .map(|name| {
                    let bar = all.add(ProgressBar::new_spinner().with_style(style.clone()));
                    bar.set_prefix(format!("svc/{name}"));
                    bar.enable_steady_tick(Duration::from_millis(120));
                    (name.clone(), bar)
                })
                .collect();
            Spinners { all, each }
        });
        Self { screen, spinners, said: BTreeMap::new(), newest: 0, lines }
    }

    /// How far a service is.
    pub fn service(&mut self, name: &Arc<str>, said: &str) {
        if self.said.get(name).is_some_and(|before| before == said) {
            return;
        }
        self.said.insert(name.clone(), said.to_owned());
        let said = text::clean(said).into_owned();
        match &self.spinners {
            Some(spinners) => {
                if let Some(bar) = spinners.each.get(name) {
                    bar.set_message(said);
                }
            }
            None => self.screen.aside(&format!("{}  svc/{name}  {said}", text::clock(text::now()))),
        }
    }

    /// Something happened. At a terminal only what a person should look at stays on the screen.
    pub fn event(&mut self, event: &Event, object: &str) {
        if event.time + PAST < self.newest {
            return;
        }
        self.newest = self.newest.max(event.time);
        if self.lines {
            // A reader that is gone is noticed by the answer that follows.
            let _ = self.screen.json_line(event);
        }
        let node = event.node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
        let line = format!(
            "{}  {:<7}  {object}{node}  {}: {}",
            text::clock(event.time),
            format!("{:?}", event.kind),
            event.reason,
            event.message
        );
        let line = text::clean(&line);
        match &self.spinners {
            Some(spinners) if event.kind == EventType::Warning => {
                let _ = spinners.all.println(line.as_ref());
            }
            Some(_) => {}
            None => self.screen.aside(&line),
        }
    }
}

impl Drop for Display<'_> {
    fn drop(&mut self) {
        if let Some(spinners) = &self.spinners {
            let _ = spinners.all.clear();
        }
    }
}
