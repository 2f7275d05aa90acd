//! `.dockerignore`: which paths of a directory are no part of a build's context.
//!
//! Here: [`Ignore`], with Docker's rules, not git's: patterns start at the root of the context, the last one
//! that matches decides, and `!` brings back what stands below an excluded directory. Not here: walking
//! (`context`).
//! Why our own matcher: the `ignore` crate knows git's rules, where `foo` matches at any depth and nothing
//! below an excluded directory comes back; a context built by them would differ from Docker's.

/// The patterns, in their order.
///
/// # Source
/// moby/patternmatcher `patternmatcher.go`, `ignorefile/ignorefile.go`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    keep: bool,
    segments: Vec<Vec<char>>,
}

impl Ignore {
    /// Reads the lines of a `.dockerignore`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(pattern).collect())
    }

    /// Brings a path back whatever the other patterns say.
    pub fn keep(&mut self, path: &str) {
        // A name is meant, not a pattern.
        let literal: String =
            path.chars().flat_map(|c| if "*?[\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
        self.0.extend(pattern(&format!("!{literal}")));
    }

    /// Whether a path (relative, with `/`) is left out: it or a directory above it matches last.
    #[must_use]
    pub fn excludes(&self, path: &str) -> bool {
        let segments: Vec<Vec<char>> = path.split('/').map(|s| s.chars().collect()).collect();
        let mut excluded = false;
        for pattern in &self.0 {
            // What is settled already need not be matched again.
            if pattern.keep == excluded
                && (1..=segments.len()).any(|n| segments_match(&pattern.segments, &segments[..n]))
            {
                excluded = !pattern.keep;
            }
        }
        excluded
    }

    /// Whether nothing below an excluded directory can come back, so that it need not be read.
    #[must_use]
    pub fn skips(&self, directory: &str) -> bool {
        let segments: Vec<Vec<char>> = directory.split('/').map(|s| s.chars().collect()).collect();
        self.excludes(directory) && !self.0.iter().any(|p| p.keep && may_be_below(&p.segments, &segments))
    }
}

fn pattern(line: &str) -> Option<Pattern> {
    let line = line.trim();
    let (keep, text) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    let mut segments: Vec<Vec<char>> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            part => segments.push(part.chars().collect()),
        }
    }
    // `.` or `/` alone names the context itself, which is never an entry of it.
    (!segments.is_empty()).then_some(Pattern { keep, segments })
}

/// Whether a pattern matches a whole path; `**` stands for any number of segments. As [`glob`],
/// with one point to come back to: a later `**` can do all that an earlier one could.
fn segments_match(pattern: &[Vec<char>], path: &[Vec<char>]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut any: Option<(usize, usize)> = None;
    while let Some(name) = path.get(n) {
        match pattern.get(p) {
            Some(first) if is_any(first) => {
                // `a/**` matches what is below `a`, not `a` itself.
                if p + 1 == pattern.len() {
                    return true;
                }
                any = Some((p, n));
                p += 1;
            }
            Some(first) if glob(first, name) => (p, n) = (p + 1, n + 1),
            Some(_) | None => {
                let Some((at, from)) = any else { return false };
                any = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
        }
    }
    p == pattern.len()
}

/// Whether a pattern could match something below a directory.
fn may_be_below(pattern: &[Vec<char>], directory: &[Vec<char>]) -> bool {
    match (pattern.split_first(), directory.split_first()) {
        (Some(_), None) => true,
        (None, _) => false,
        (Some((first, _)), _) if is_any(first) => true,
        (Some((first, rest)), Some((name, tail))) => glob(first, name) && may_be_below(rest, tail),
    }
}

fn is_any(segment: &[char]) -> bool {
    segment == ['*', '*']
}

/// One segment: `*`, `?`, `[a-z]`, `[^a]`, `\c`. Iterative with one point to come back to, so that no
/// pattern takes exponential time.
fn glob(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
            continue;
        }
        if let Some(width) = one(&pattern[p..], name[n]) {
            p += width;
            n += 1;
            continue;
        }
        let Some((at, from)) = star else { return false };
        star = Some((at, from + 1));
        (p, n) = (at + 1, from + 1);
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Length of the pattern's first element when it matches this character.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', escaped, ..] => (*escaped == c).then_some(2),
        ['[', rest @ ..] => {
            let Some(end) = rest.iter().skip(1).position(|x| *x == ']').map(|i| i + 1) else {
                // An unclosed bracket is a bracket.
                return (c == '[').then_some(1);
            };
            let (not, set) = match &rest[..end] {
                ['^' | '!', set @ ..] => (true, set),
                set => (false, set),
            };
            let mut found = false;
            let mut i = 0;
            while i < set.len() {
                match set[i..] {
                    [low, '-', high, ..] => {
                        found |= (low..=high).contains(&c);
                        i += 3;
                    }
                    _ => {
                        found |= set[i] == c;
                        i += 1;
                    }
                }
            }
            (found != not).then_some(end + 2)
        }
        [first, ..] => (*first == c).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_double_stars_takes_exponential_time() {
        // Tried one after the other, the ways to share these names out are some 10^19.
        let ignore = Ignore::parse(&format!("{}b", "**/a/".repeat(32)));
        let path = |last: &str| format!("{}{last}", "a/".repeat(64));
        assert!(!ignore.excludes(&path("a")) && ignore.excludes(&path("b")));
        assert!(Ignore::parse(&"**/".repeat(64)).excludes(&path("a")));
    }

    /// What [`segments_match`] means, tried out in every way.
    fn every_way(pattern: &[Vec<char>], path: &[Vec<char>]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, _) => path.is_empty(),
            (Some((first, [])), _) if is_any(first) => !path.is_empty(),
            (Some((first, rest)), _) if is_any(first) => (0..=path.len()).any(|n| every_way(rest, &path[n..])),
            (Some((first, rest)), Some((name, tail))) => glob(first, name) && every_way(rest, tail),
            (Some(_), None) => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn double_stars_mean_what_every_way_of_sharing_means(
            pattern in proptest::collection::vec("a|b|\\*\\*|\\*", 1..7),
            path in proptest::collection::vec("[ab]", 1..7),
        ) {
            let segments = |texts: &[String]| texts.iter().map(|t| t.chars().collect()).collect::<Vec<Vec<char>>>();
            let (pattern, path) = (segments(&pattern), segments(&path));
            proptest::prop_assert_eq!(segments_match(&pattern, &path), every_way(&pattern, &path));
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_to_docker() {
        let table: &[(&str, &[(&str, bool)])] = &[
            ("", &[("a", false)]),
            ("# comment\n\n  \n", &[("# comment", false), ("a", false)]),
            // From the root only, unlike git.
            ("foo", &[("foo", true), ("foo/bar", true), ("a/foo", false), ("foobar", false)]),
            ("/foo", &[("foo", true), ("a/foo", false)]),
            ("foo/", &[("foo", true), ("foo/x", true)]),
            ("./a/../b", &[("b", true), ("a", false)]),
            ("*.log", &[("x.log", true), ("a/x.log", false), (".log", true)]),
            ("*/*.log", &[("x.log", false), ("a/x.log", true), ("a/b/x.log", false)]),
            ("**/*.log", &[("x.log", true), ("a/x.log", true), ("a/b/x.log", true), ("a/b/x.txt", false)]),
            ("**/node_modules", &[("node_modules", true), ("a/node_modules/b", true), ("anode_modules", false)]),
            ("a/**", &[("a", false), ("a/b", true), ("a/b/c", true)]),
            ("a/**/z", &[("a/z", true), ("a/b/z", true), ("a/b/c/z", true), ("z", false)]),
            ("**", &[("a", true), ("a/b", true)]),
            ("temp?", &[("temp1", true), ("temp", false), ("temp12", false)]),
            ("[a-c].txt", &[("b.txt", true), ("d.txt", false)]),
            ("[^a-c].txt", &[("b.txt", false), ("d.txt", true)]),
            ("\\*", &[("*", true), ("a", false)]),
            // The last match decides.
            ("*.md\n!README.md", &[("a.md", true), ("README.md", false)]),
            ("*.md\n!README*.md\nREADME-secret.md", &[("README.md", false), ("README-secret.md", true)]),
            ("!a\na", &[("a", true)]),
            // Below an excluded directory something comes back, unlike git.
            ("vendor\n!vendor/keep", &[("vendor/x", true), ("vendor/keep", false), ("vendor/keep/y", false)]),
            ("*\n!src\nsrc/**/*.tmp", &[("Makefile", true), ("src/a.rs", false), ("src/x/y.tmp", true)]),
            (" spaced \t", &[("spaced", true)]),
            ("*a*a*a*a*a*a*b", &[("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false)]),
        ];
        for (text, paths) in table {
            let ignore = Ignore::parse(text);
            for (path, excluded) in *paths {
                assert_eq!(ignore.excludes(path), *excluded, "{text:?} on {path:?}");
            }
        }
    }

    #[test]
    fn a_directory_is_skipped_only_when_nothing_below_can_come_back() {
        for (text, directory, skipped) in [
            ("node_modules", "node_modules", true),
            ("vendor\n!vendor/keep", "vendor", false),
            ("vendor\n!vendor/keep", "vendor/other", true),
            ("*\n!a/b/c", "a", false),
            ("*\n!a/b/c", "z", true),
            ("*\n!**/*.rs", "z", false),
            ("b", "a", false),
        ] {
            assert_eq!(Ignore::parse(text).skips(directory), skipped, "{text:?} {directory:?}");
        }
    }

    #[test]
    fn a_kept_name_is_no_pattern() {
        let mut ignore = Ignore::parse("*");
        ignore.keep("Docker[1]file");
        assert!(!ignore.excludes("Docker[1]file"));
        assert!(ignore.excludes("Docker1file"));
    }
}
