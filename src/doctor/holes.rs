//! Known holes of the programs below an engine, by version.
//!
//! Here: versions, which are read from what packagers write, and the table of holes with the versions that closed
//! them. Not here: other holes: the list is of those that let a container or a request out of its place, and is as
//! old as this release.
//! Sources: the advisories GHSA-v23v-6jw2-98fq, GHSA-x744-4wpc-v9h2 (Docker), GHSA-xr7r-f8xq-vfvv, GHSA-9493-h29p-rfm2,
//! GHSA-qw9x-cqr3-wc7r, GHSA-cgrx-mc8f-2prm (runc), GHSA-m3r6-h7wv-7xxv, GHSA-4v98-7qmw-rqr8, GHSA-wr6v-9f75-vh2g
//! (BuildKit), GHSA-xw73-rw38-6vjc (builder).

/// A version: three numbers, and of a release candidate its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
    /// Of a release the largest: it comes after its candidates.
    candidate: u32,
}

impl Version {
    /// The version at the beginning of a packager's: `20.10.24+dfsg1`, `1.6.20~ds1`, `v1.4.0-rc.2`, `27.1`.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (numbers, rest) = text.split_at(end);
        let mut numbers = numbers.split('.');
        let mut next = || numbers.next().filter(|n| !n.is_empty());
        let (major, minor, patch) = (next()?, next()?, next().unwrap_or("0"));
        let rest = rest.trim_start_matches(['-', '~']);
        let candidate = match rest.strip_prefix("rc") {
            Some(number) => {
                let number = number.trim_start_matches(['.', '-']);
                let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
                number.get(..end)?.parse().unwrap_or(0)
            }
            None => u32::MAX,
        };
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()?, patch: patch.parse().ok()?, candidate })
    }

    /// Whether it has what came with one of these: the newest of its own line, or anything after the newest of all.
    fn has(self, fixes: &[&str]) -> bool {
        let fixes = || fixes.iter().filter_map(|text| Self::of(text));
        let line = fixes().find(|fix| (fix.major, fix.minor) == (self.major, self.minor));
        line.or_else(|| fixes().max()).is_some_and(|fix| self >= fix)
    }
}

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The engine, with the BuildKit inside it.
    Docker,
    /// What starts containers.
    Runc,
}

/// One hole, or several that were closed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    part: Part,
    /// Its names.
    pub names: &'static str,
    /// What it lets happen.
    pub what: &'static str,
    /// Whether it needs an authorization plugin.
    pub by_plugin: bool,
    /// In each line of releases the first that has the fix, ascending.
    fixes: &'static [&'static str],
}

const HOLES: [Hole; 5] = [
    Hole {
        part: Part::Docker,
        names: "CVE-2024-41110",
        what: "a request without a body passes authorization plugins",
        by_plugin: true,
        fixes: &["23.0.15", "25.0.6", "26.1.5", "27.1.1"],
    },
    Hole {
        part: Part::Docker,
        names: "CVE-2026-34040",
        what: "a request with a large body passes authorization plugins",
        by_plugin: true,
        fixes: &["29.3.1"],
    },
    Hole {
        part: Part::Docker,
        names: "CVE-2024-23651, CVE-2024-23652, CVE-2024-23653, CVE-2024-24557",
        what: "a Dockerfile or image of a stranger reads, deletes or poisons while it is built",
        by_plugin: false,
        fixes: &["24.0.9", "25.0.2"],
    },
    Hole {
        part: Part::Runc,
        names: "CVE-2024-21626",
        what: "an image gets out of its container through a leaked directory",
        by_plugin: false,
        fixes: &["1.1.12"],
    },
    Hole {
        part: Part::Runc,
        names: "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
        what: "a container gets out by exchanging mounts while it starts",
        by_plugin: false,
        fixes: &["1.2.8", "1.3.3", "1.4.0-rc.3"],
    },
];

impl Hole {
    /// Where it is closed, for people.
    #[must_use]
    pub fn closed_in(&self) -> String {
        self.fixes.join(", ")
    }
}

/// The holes that a version of a program has, going by its number alone: a distribution may have closed them without
/// changing it.
#[must_use]
pub fn of(part: Part, version: Version) -> Vec<Hole> {
    HOLES.into_iter().filter(|hole| hole.part == part && !version.has(hole.fixes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_packagers_write() {
        let v = |text: &str| Version::of(text).unwrap();
        for (text, same) in
            [("20.10.24+dfsg1", "20.10.24"), ("1.6.20~ds1", "1.6.20"), ("v1.1.12", "1.1.12"), ("27.1", "27.1.0")]
        {
            assert_eq!(v(text), v(same), "{text}");
        }
        for (older, newer) in [
            ("1.4.0-rc.2", "1.4.0-rc.3"),
            ("1.4.0-rc.3", "1.4.0"),
            ("1.4.0~rc3", "1.4.0"),
            ("1.2.10", "1.3.3"),
            ("9.0.0", "10.0.0"),
        ] {
            assert!(v(older) < v(newer), "{older} {newer}");
        }
        for none in ["", "dev", "library-import", "1", "."] {
            assert_eq!(Version::of(none), None, "{none}");
        }
    }

    #[test]
    fn a_version_has_the_holes_that_its_own_line_did_not_close() {
        let table = [
            (Part::Docker, "20.10.24", &["CVE-2024-41110", "CVE-2026-34040", "CVE-2024-23651"][..]),
            (Part::Docker, "23.0.15", &["CVE-2026-34040", "CVE-2024-23651"]),
            (Part::Docker, "24.0.9", &["CVE-2024-41110", "CVE-2026-34040"]),
            (Part::Docker, "25.0.5", &["CVE-2024-41110", "CVE-2026-34040"]),
            (Part::Docker, "26.0.2", &["CVE-2024-41110", "CVE-2026-34040"]),
            (Part::Docker, "26.1.5", &["CVE-2026-34040"]),
            (Part::Docker, "27.1.0", &["CVE-2024-41110", "CVE-2026-34040"]),
            (Part::Docker, "28.0.0", &["CVE-2026-34040"]),
            (Part::Docker, "29.3.1", &[]),
            (Part::Runc, "1.1.5", &["CVE-2024-21626", "CVE-2025-31133"]),
            (Part::Runc, "1.1.12", &["CVE-2025-31133"]),
            (Part::Runc, "1.2.8", &[]),
            (Part::Runc, "1.3.2", &["CVE-2025-31133"]),
            (Part::Runc, "1.3.3", &[]),
            (Part::Runc, "1.4.0-rc.2", &["CVE-2025-31133"]),
            (Part::Runc, "1.4.0", &[]),
        ];
        for (part, version, names) in table {
            let found = of(part, Version::of(version).unwrap());
            let found: Vec<&str> = found.iter().map(|hole| hole.names.split(',').next().unwrap()).collect();
            assert_eq!(found, names, "{part:?} {version}");
        }
    }
}
