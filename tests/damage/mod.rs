//! Damage of files: copies of a folder with one thing wrong, and a table of how they ended.
//!
//! Here: [`Files`], [`Damage`], [`End`], [`Table`]. Not here: what has to be right (`store_damage`).

// Each test uses a part of it.
#![allow(dead_code)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rand::{Rng as _, rngs::StdRng};

/// All files below a folder, by their path in it.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Reads a folder.
pub fn files(dir: &Path) -> Files {
    fn add(dir: &Path, below: &Path, all: &mut Files) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(&path, below, all);
            } else {
                all.insert(path.strip_prefix(below).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut all = Files::new();
    add(dir, dir, &mut all);
    all
}

/// Writes them to a folder.
pub fn write(files: &Files, dir: &Path) {
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// One way to damage a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    Bit,
    Sector,
    Page,
    Cut,
    Missing,
    Exchanged,
    Older,
}

impl Damage {
    pub const ALL: [Self; 7] =
        [Self::Bit, Self::Sector, Self::Page, Self::Cut, Self::Missing, Self::Exchanged, Self::Older];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bit => "a flipped bit",
            Self::Sector => "512 bytes of zeros",
            Self::Page => "4096 bytes of zeros",
            Self::Cut => "a file cut off",
            Self::Missing => "a file missing",
            Self::Exchanged => "another file's content",
            Self::Older => "one older file",
        }
    }

    /// A copy with one damage, and what it was. `older`: the same folder at an earlier time.
    pub fn of(self, files: &Files, older: &Files, random: &mut StdRng) -> (Files, String) {
        loop {
            let (copy, what) = self.attempt(files, older, random);
            // Zeros over zeros are no damage.
            if copy != *files {
                return (copy, what);
            }
        }
    }

    fn attempt(self, files: &Files, older: &Files, random: &mut StdRng) -> (Files, String) {
        let mut copy = files.clone();
        let (name, at) = place(files, random);
        let mut what = format!("{} at {at}", name.display());
        let bytes = copy.get_mut(&name).unwrap();
        let mut zero = |size: usize| {
            let to = bytes.len().min((at / size + 1) * size);
            bytes[(at / size * size).min(to)..to].fill(0);
        };
        match self {
            Self::Sector => zero(512),
            Self::Page => zero(4_096),
            Self::Cut => bytes.truncate(at),
            Self::Bit => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.random_range(0..8u32);
                }
            }
            Self::Missing => drop(copy.remove(&name)),
            Self::Exchanged => {
                let others: Vec<_> = files.iter().filter(|(other, _)| **other != name).collect();
                let (other, other_bytes) = others[random.random_range(0..others.len())];
                what = format!("{} in the place of {}", other.display(), name.display());
                bytes.clone_from(other_bytes);
            }
            Self::Older => {
                let both: Vec<_> = older.iter().filter(|(n, b)| files.get(*n).is_some_and(|now| now != *b)).collect();
                let (name, bytes) = both[random.random_range(0..both.len())];
                what = name.display().to_string();
                copy.insert(name.clone(), bytes.clone());
            }
        }
        (copy, what)
    }
}

/// A byte of all bytes, or of the used ones of a file of all files: most bytes are in few files.
fn place(files: &Files, random: &mut StdRng) -> (PathBuf, usize) {
    if random.random_ratio(1, 3) {
        let mut at = random.random_range(0..files.values().map(Vec::len).sum());
        for (name, bytes) in files {
            match at.checked_sub(bytes.len()) {
                Some(rest) => at = rest,
                None => return (name.clone(), at),
            }
        }
    }
    let (name, bytes) = files.iter().nth(random.random_range(0..files.len())).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    (name.clone(), random.random_range(0..used.max(1)))
}

/// How a damaged copy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Intact,
    Detected(String),
    /// It ended in another way: another exit code, a panic, a hang.
    Neither(String),
    Lost(String),
}

impl End {
    /// Of two starts, one after the other: nothing heals itself, or is lost by a start.
    pub fn then(self, second: impl FnOnce() -> Self) -> Self {
        if matches!(self, Self::Lost(_) | Self::Neither(_)) {
            return self;
        }
        match (&self, second()) {
            (Self::Intact, Self::Intact) | (Self::Detected(_), Self::Detected(_)) => self,
            (_, second) => Self::Lost(format!("first {self:?}, then {second:?}")),
        }
    }
}

/// Ends by kind of damage.
#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<&'static str, [usize; 4]>,
    wrong: Vec<String>,
}

impl Table {
    /// Counts one. `what` exactly was damaged; a `limit` is expected to be lost.
    pub fn add(&mut self, row: &'static str, what: &str, end: &End, limit: bool) {
        let (column, how) = match end {
            End::Intact => (0, None),
            End::Detected(_) => (1, None),
            End::Neither(how) => (2, Some(how)),
            End::Lost(how) => (3, Some(how).filter(|_| !limit)),
        };
        self.rows.entry(row).or_default()[column] += 1;
        self.wrong.extend(how.map(|how| format!("{row}, {what}: {how}")));
    }

    /// Ends of a row: intact, detected, neither, lost.
    pub fn row(&self, row: &str) -> [usize; 4] {
        self.rows.get(row).copied().unwrap_or_default()
    }

    /// Prints it.
    ///
    /// # Panics
    /// When one ended wrongly.
    pub fn show(&self) {
        println!("{:<24} {:>7} {:>9} {:>8} {:>5}", "damage", "intact", "detected", "neither", "LOST");
        for (row, [intact, detected, neither, lost]) in &self.rows {
            println!("{row:<24} {intact:>7} {detected:>9} {neither:>8} {lost:>5}");
        }
        assert!(self.wrong.is_empty(), "{} ended wrongly:\n{}", self.wrong.len(), self.wrong.join("\n"));
    }
}
