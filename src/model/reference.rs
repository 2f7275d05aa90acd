//! The image reference: what people write after `image:`, taken apart.
//!
//! Here: [`ImageReference`], its parser and its short form. Not here: asking a registry for the
//! digest (`runtime`), deciding when to ask (`reconcile::resolver`).
//! Invariant: parsing is total, and the printed form parses to the same value.
//!
//! # Source
//! The grammar of `github.com/distribution/reference`, which engines and registries share.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Registry of a reference that names none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// First part of a bare name at the default registry.
const DEFAULT_NAMESPACE: &str = "library/";
/// Longest `registry/repository`.
const NAME_MAX: usize = 255;
/// Longest tag.
const TAG_MAX: usize = 128;

/// An image reference, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageReference {
    /// `docker.io` when none was written; with its port.
    pub registry: String,
    /// Path at the registry; `library/x` for a bare `x` at Docker Hub.
    pub repository: String,
    /// What stands after `:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// `sha256:…`, what stands after `@`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What is wrong with an image reference, with what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing stands there, or nothing before `:` or `@`.
    #[error("an image has a name; write it like redis:7 or ghcr.io/team/app:1.2")]
    Empty,
    /// A capital letter in the repository.
    #[error("{text:?}: repository names are lowercase; write {lowercase}")]
    Uppercase {
        /// What stood there.
        text: String,
        /// The same in lowercase.
        lowercase: String,
    },
    /// A character or an order of characters that no registry takes.
    #[error("{text:?}: {part:?} is not a {what}; write it like {example}")]
    Malformed {
        /// What stood there.
        text: String,
        /// The part that does not fit.
        part: String,
        /// What it should be.
        what: &'static str,
        /// A right one.
        example: &'static str,
    },
    /// More than 255 characters.
    #[error("an image name has at most {NAME_MAX} characters, this one has {length}")]
    TooLong {
        /// How many it has.
        length: usize,
    },
}

impl ImageReference {
    /// Takes a reference apart.
    ///
    /// # Errors
    /// [`ReferenceError`] says which part does not fit and what to write.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let malformed = |part: &str, what, example| ReferenceError::Malformed {
            text: text.to_owned(),
            part: part.to_owned(),
            what,
            example,
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some((_, digest)) => return Err(malformed(digest, "digest", "redis@sha256: and 64 hexadecimal digits")),
            None => (text, None),
        };
        // A colon before the last slash belongs to a registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if name.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(malformed(tag, "tag", "redis:7.2-alpine"));
        }
        if name.len() > NAME_MAX {
            return Err(ReferenceError::TooLong { length: name.len() });
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, path)) if is_registry(first) => (first, path.to_owned()),
            Some(_) => (DEFAULT_REGISTRY, name.to_owned()),
            None => (DEFAULT_REGISTRY, format!("{DEFAULT_NAMESPACE}{name}")),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        let repository = match repository.contains('/') || registry != DEFAULT_REGISTRY {
            true => repository,
            false => format!("{DEFAULT_NAMESPACE}{repository}"),
        };
        if !is_host(registry) {
            return Err(malformed(registry, "registry", "registry.example.org:5000/app"));
        }
        if let Some(part) = repository.split('/').find(|part| !is_component(part)) {
            let lowercase = text.to_ascii_lowercase();
            // Only what would be taken is proposed.
            if lowercase != text && Self::parse(&lowercase).is_ok() {
                return Err(ReferenceError::Uppercase { text: text.to_owned(), lowercase });
            }
            return Err(malformed(part, "part of a repository name", "ghcr.io/team/my-app"));
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }

    /// Registry and repository in the engine's short form: without what it adds by itself.
    #[must_use]
    pub fn name(&self) -> String {
        match self.registry.as_str() {
            DEFAULT_REGISTRY => {
                let short = self.repository.strip_prefix(DEFAULT_NAMESPACE).unwrap_or(&self.repository);
                // `library/a/b` is not the same as `a/b`; a first part like a host needs the registry before it.
                match (short.contains('/') && short.len() != self.repository.len(), short.split_once('/')) {
                    (true, _) => self.repository.clone(),
                    (false, Some((first, _))) if is_registry(first) => format!("{DEFAULT_REGISTRY}/{short}"),
                    (false, _) => short.to_owned(),
                }
            }
            registry => format!("{registry}/{}", self.repository),
        }
    }
    /// The tag, `latest` when none was written.
    #[must_use]
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }
    /// `name@digest`: the same bytes for ever, in the form in which the engine lists them.
    #[must_use]
    pub fn pinned(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name())
    }
    /// Whether both name the same repository, whatever their tags.
    #[must_use]
    pub fn same_repository(&self, other: &Self) -> bool {
        self.registry == other.registry && self.repository == other.repository
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The engine's rule: a first part is a registry when it looks like a host and not like a user.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match (text.strip_prefix('['), text.rsplit_once(':')) {
        (Some(rest), _) => match rest.split_once(']') {
            Some((v6, "")) => return v6.parse::<std::net::Ipv6Addr>().is_ok(),
            Some((v6, rest)) if v6.parse::<std::net::Ipv6Addr>().is_ok() => match rest.strip_prefix(':') {
                Some(port) => ("v6", Some(port)),
                None => return false,
            },
            _ => return false,
        },
        (None, Some((host, port))) => (host, Some(port)),
        (None, None) => (text, None),
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label)
        && port.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok_and(|p| p > 0))
}

/// Lowercase letters and digits, between them one `.`, one or two `_`, or any number of `-`.
fn is_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().zip(bytes.last()).is_some_and(|(a, z)| alphanumeric(*a) && alphanumeric(*z));
    ends && part
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let hex = |text: &str, length| text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match digest.split_once(':') {
        Some(("sha256", value)) => hex(value, 64),
        Some(("sha512", value)) => hex(value, 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const D: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_reference_is_taken_apart_as_the_engine_does() {
        let pinned = format!("ghcr.io/team/app:1@{D}");
        for (text, registry, repository, tag, digest, printed) in [
            ("redis", "docker.io", "library/redis", None, None, "redis"),
            ("redis:7", "docker.io", "library/redis", Some("7"), None, "redis:7"),
            ("docker.io/redis", "docker.io", "library/redis", None, None, "redis"),
            ("docker.io/library/redis:7", "docker.io", "library/redis", Some("7"), None, "redis:7"),
            ("grafana/loki", "docker.io", "grafana/loki", None, None, "grafana/loki"),
            ("index.docker.io/grafana/loki", "docker.io", "grafana/loki", None, None, "grafana/loki"),
            ("localhost/a", "localhost", "a", None, None, "localhost/a"),
            (
                "127.0.0.1:5000/team/a:v1.2_x-3",
                "127.0.0.1:5000",
                "team/a",
                Some("v1.2_x-3"),
                None,
                "127.0.0.1:5000/team/a:v1.2_x-3",
            ),
            ("host:5000/a", "host:5000", "a", None, None, "host:5000/a"),
            ("[::1]:5000/a", "[::1]:5000", "a", None, None, "[::1]:5000/a"),
            (pinned.as_str(), "ghcr.io", "team/app", Some("1"), Some(D), pinned.as_str()),
            (
                "constellation-test/busybox:1",
                "docker.io",
                "constellation-test/busybox",
                Some("1"),
                None,
                "constellation-test/busybox:1",
            ),
            ("a__b/c--d.e", "docker.io", "a__b/c--d.e", None, None, "a__b/c--d.e"),
        ] {
            let got = ImageReference::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let want = (registry, repository, tag, digest);
            assert_eq!(
                (got.registry.as_str(), got.repository.as_str(), got.tag.as_deref(), got.digest.as_deref()),
                want,
                "{text}"
            );
            assert_eq!(got.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_no_registry_takes_is_refused_with_what_to_write() {
        for (text, hint) in [
            ("", "has a name"),
            (":1", "has a name"),
            (&format!("@{D}"), "has a name"),
            ("Redis", "write redis"),
            ("team/App:1", "write team/app:1"),
            ("redis:", "tag"),
            ("redis:-x", "tag"),
            ("redis@sha256:12", "digest"),
            ("redis@md5:12", "digest"),
            ("a//b", "repository name"),
            ("a/-b", "repository name"),
            ("a/b c", "repository name"),
            ("a___b", "repository name"),
            ("a..b/c", "registry"),
            ("host:99999/a", "registry"),
            ("-x.org/a", "registry"),
            ("[fd00::1]x:5000/a", "registry"),
            ("[fd00::1]5000/a", "registry"),
            ("Redis!:1", "repository name"),
            (&"a".repeat(256), "255"),
        ] {
            let error = ImageReference::parse(text).expect_err(text).to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn a_digest_pins_the_name_the_engine_lists() {
        let reference = ImageReference::parse("docker.io/library/redis:7").unwrap();
        assert_eq!(reference.pinned(D), format!("redis@{D}"));
        assert!(reference.same_repository(&ImageReference::parse(&reference.pinned(D)).unwrap()));
        assert!(!reference.same_repository(&ImageReference::parse("ghcr.io/library/redis").unwrap()));
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(text in "([a-zA-Z0-9.:\\[\\]-]{1,12}/)?[a-z0-9_.-]{1,12}(/[a-z0-9_.-]{1,12})?(:[a-zA-Z0-9_.-]{1,8})?") {
            if let Ok(reference) = ImageReference::parse(&text) {
                prop_assert_eq!(ImageReference::parse(&reference.to_string()), Ok(reference));
            }
        }
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC*") {
            let _ = ImageReference::parse(&text);
        }
    }
}
