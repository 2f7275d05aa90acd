//! The languages of Traefik's rules and of its conditions, and the parts that they are made of: hosts, paths, regular
//! expressions.
//!
//! Here: [`check`] and [`expression`], which say what is wrong before Traefik does; [`hosts`], which a rule is about; [`is_host`], [`is_path`], [`regex`],
//! [`is_quotable`]. Not here: which rules contradict each other (`plan::routes`).
//! Invariant: what is found right cannot end the quotes that it is put between; no text makes this panic, and none
//! takes more than a time that grows with its length.
//! Why a parser of our own: Traefik switches off the one router whose rule it cannot read, and says so in its log only.

use std::collections::BTreeSet;

/// Longest rule, bytes.
pub const LONGEST: usize = 4096;
/// Deepest parentheses.
const DEEPEST: usize = 32;
/// Longest expression, bytes.
const LONGEST_REGEX: usize = 1024;

/// What a matcher takes.
#[derive(Clone, Copy)]
enum Takes {
    Host,
    Path,
    Regex,
    Method,
    Text,
    Address,
}

/// Matcher, what it takes, how many of them must be there.
const MATCHERS: [(&str, &[Takes], usize); 12] = [
    ("Host", &[Takes::Host], 1),
    ("HostRegexp", &[Takes::Regex], 1),
    ("Path", &[Takes::Path], 1),
    ("PathPrefix", &[Takes::Path], 1),
    ("PathRegexp", &[Takes::Regex], 1),
    ("Method", &[Takes::Method], 1),
    ("Header", &[Takes::Text, Takes::Text], 2),
    ("HeaderRegexp", &[Takes::Text, Takes::Regex], 2),
    ("Query", &[Takes::Text, Takes::Text], 1),
    ("QueryRegexp", &[Takes::Text, Takes::Regex], 1),
    ("ClientIP", &[Takes::Address], 1),
    // Of TCP; named so that whoever writes it is told.
    ("HostSNI", &[], 0),
];

/// Checks a rule.
///
/// # Errors
/// What is wrong, and where (in characters, from 1).
pub fn check(rule: &str) -> Result<(), String> {
    if rule.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    if rule.chars().any(char::is_control) {
        return Err("holds a control character".into());
    }
    whole(rule, None).map(drop)
}

/// Which hosts a rule is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Every host that stands in it: Traefik takes these for the options of TLS.
    pub named: BTreeSet<String>,
    /// It fits no request for another host than these; none: it may fit any.
    pub only: Option<BTreeSet<String>>,
}

/// The hosts of a rule; one that is not right names none and may fit any.
#[must_use]
pub fn hosts(rule: &str) -> Hosts {
    if check(rule).is_err() { Hosts::default() } else { whole(rule, None).unwrap_or_default() }
}

/// The functions of a condition.
#[derive(Clone, Copy)]
pub struct Language {
    /// For people.
    pub example: &'static str,
    /// Name, how many numbers it takes, what it gives.
    functions: &'static [(&'static str, usize, Gives)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gives {
    /// Stands alone.
    Truth,
    /// Is compared with a number.
    Number,
    /// Is compared with a text.
    Text,
}

/// When a circuit breaker opens.
pub const BREAKER: Language = Language {
    example: "NetworkErrorRatio() > 0.30",
    functions: &[
        ("NetworkErrorRatio", 0, Gives::Number),
        ("ResponseCodeRatio", 4, Gives::Number),
        ("LatencyAtQuantileMS", 1, Gives::Number),
    ],
};
/// When a request that is buffered is sent again.
pub const BUFFERING: Language = Language {
    example: "IsNetworkError() && Attempts() <= 2",
    functions: &[
        ("IsNetworkError", 0, Gives::Truth),
        ("Attempts", 0, Gives::Number),
        ("ResponseCode", 0, Gives::Number),
        ("RequestMethod", 0, Gives::Text),
    ],
};

/// Checks a condition.
///
/// # Errors
/// What is wrong, and where.
pub fn expression(text: &str, language: Language) -> Result<(), String> {
    if text.len() > LONGEST || text.chars().any(char::is_control) {
        return Err("is too long, or holds a control character".into());
    }
    whole(text, Some(language)).map(drop)
}

fn whole(rule: &str, language: Option<Language>) -> Result<Hosts, String> {
    let mut parser = Parser { rule, at: 0, language, named: BTreeSet::new() };
    let only = parser.any(0)?;
    parser.space();
    match parser.rest().chars().next() {
        None => Ok(Hosts { named: parser.named, only }),
        Some(found) => Err(parser.expected("&&, || or the end", Some(found))),
    }
}

struct Parser<'r> {
    rule: &'r str,
    at: usize,
    /// None: it is a rule.
    language: Option<Language>,
    /// Hosts so far.
    named: BTreeSet<String>,
}

/// The hosts that a part of a rule is limited to; none: it is not.
type Only = Option<BTreeSet<String>>;

impl<'r> Parser<'r> {
    fn rest(&self) -> &'r str {
        self.rule.get(self.at..).unwrap_or_default()
    }
    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(' ').len();
    }
    fn took(&mut self, token: &str) -> bool {
        self.space();
        let there = self.rest().starts_with(token);
        self.at += if there { token.len() } else { 0 };
        there
    }
    fn place(&self) -> usize {
        self.rule.get(..self.at).unwrap_or_default().chars().count() + 1
    }
    fn expected(&self, what: &str, found: Option<char>) -> String {
        let found = found.map_or_else(|| "its end".to_owned(), |c| format!("{c:?}"));
        format!("expected {what} at character {}, found {found}", self.place())
    }

    fn any(&mut self, depth: usize) -> Result<Only, String> {
        let mut only = self.all(depth)?;
        while self.took("||") {
            let other = self.all(depth)?;
            only = only.zip(other).map(|(one, other)| &one | &other);
        }
        Ok(only)
    }
    fn all(&mut self, depth: usize) -> Result<Only, String> {
        let mut only = self.one(depth)?;
        while self.took("&&") {
            let other = self.one(depth)?;
            only = match (only, other) {
                (Some(one), Some(other)) => Some(&one & &other),
                (one, other) => one.or(other),
            };
        }
        Ok(only)
    }
    fn one(&mut self, depth: usize) -> Result<Only, String> {
        if depth > DEEPEST {
            return Err(format!("has more than {DEEPEST} parentheses within each other"));
        }
        self.space();
        // Traefik's conditions have no negation.
        if self.language.is_none() && self.took("!") {
            return self.one(depth + 1).map(|_| None);
        }
        if self.took("(") {
            let only = self.any(depth + 1)?;
            return if self.took(")") { Ok(only) } else { Err(self.expected(")", self.rest().chars().next())) };
        }
        match self.language {
            Some(language) => self.condition(language).map(|()| None),
            None => self.matcher(),
        }
    }

    fn condition(&mut self, language: Language) -> Result<(), String> {
        self.space();
        let name = self.word();
        let Some((_, takes, gives)) = language.functions.iter().find(|(known, ..)| *known == name) else {
            let known: Vec<_> = language.functions.iter().map(|(known, ..)| *known).collect();
            return Err(format!("has no {name:?} (character {}); known: {}", self.place(), known.join(", ")));
        };
        self.at += name.len();
        for (i, token) in std::iter::once("(").chain(std::iter::repeat(",")).take((*takes).max(1)).enumerate() {
            if !self.took(token) {
                return Err(self.expected(token, self.rest().chars().next()));
            }
            if i < *takes {
                self.number()?;
            }
        }
        if !self.took(")") {
            return Err(self.expected(")", self.rest().chars().next()));
        }
        if *gives == Gives::Truth {
            return Ok(());
        }
        if !["<=", ">=", "==", "!=", "<", ">"].into_iter().any(|token| self.took(token)) {
            return Err(self.expected("one of < > <= >= == !=", self.rest().chars().next()));
        }
        if *gives == Gives::Number { self.number() } else { self.text().map(drop) }
    }

    fn number(&mut self) -> Result<(), String> {
        self.space();
        let rest = self.rest();
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())];
        if digits.parse::<f64>().is_err() {
            return Err(self.expected("a number", rest.chars().next()));
        }
        self.at += digits.len();
        Ok(())
    }

    fn word(&self) -> &'r str {
        let rest = self.rest();
        &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len())]
    }

    fn matcher(&mut self) -> Result<Only, String> {
        self.space();
        let start = self.place();
        let rest = self.rest();
        let name = self.word();
        let Some((_, takes, least)) = MATCHERS.iter().find(|(known, ..)| *known == name) else {
            if name.is_empty() {
                return Err(self.expected("a matcher like Host(`a.example.com`)", rest.chars().next()));
            }
            let near = MATCHERS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
            let hint = near.map_or_else(
                || "known: Host, HostRegexp, Path, PathPrefix, PathRegexp, Method, Header, HeaderRegexp, Query, QueryRegexp, ClientIP".to_owned(),
                |(known, ..)| format!("did you mean {known}?"),
            );
            return Err(format!("has no matcher {name:?} (character {start}); {hint}"));
        };
        if *least == 0 {
            return Err(format!("{name} (character {start}) is for TCP, which is not built yet"));
        }
        self.at += name.len();
        if !self.took("(") {
            return Err(self.expected("(", self.rest().chars().next()));
        }
        let (mut given, mut only) = (0, None);
        loop {
            let value = self.text()?;
            let Some(kind) = takes.get(given) else {
                return Err(format!("{name} (character {start}) takes {} at most; join several by ||", takes.len()));
            };
            right(*kind, &value).map_err(|why| format!("{name} (character {start}): {value:?} {why}"))?;
            given += 1;
            if name == "Host" {
                only = Some(BTreeSet::from([value.clone()]));
                self.named.insert(value);
            }
            if !self.took(",") {
                break;
            }
        }
        if given < *least {
            return Err(format!("{name} (character {start}) takes {least}"));
        }
        if self.took(")") { Ok(only) } else { Err(self.expected(")", self.rest().chars().next())) }
    }

    /// A text between back-ticks, or between double quotes with the escapes of Go.
    fn text(&mut self) -> Result<String, String> {
        self.space();
        let rest = self.rest();
        let unended = || "a quote is not closed".to_owned();
        if let Some(inner) = rest.strip_prefix('`') {
            let length = inner.find('`').ok_or_else(unended)?;
            self.at += length + 2;
            return Ok(inner[..length].to_owned());
        }
        let Some(inner) = rest.strip_prefix('"') else {
            return Err(self.expected("a text between ` and `", rest.chars().next()));
        };
        let mut out = String::new();
        let mut characters = inner.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.at += at + 2;
                    return Ok(out);
                }
                '\\' => match characters.next() {
                    Some((_, c @ ('\\' | '"'))) => out.push(c),
                    _ => return Err("has an escape other than \\\\ and \\\" between double quotes; use `".into()),
                },
                c => out.push(c),
            }
        }
        Err(unended())
    }
}

fn right(takes: Takes, value: &str) -> Result<(), String> {
    let good = |good: bool, why: &str| if good { Ok(()) } else { Err(why.to_owned()) };
    match takes {
        Takes::Host => good(is_host(value) && !value.starts_with('*'), "is not a host name"),
        Takes::Path => good(is_path(value), "is not a path"),
        Takes::Regex => regex(value),
        Takes::Method => {
            good((1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphabetic()), "is not a method")
        }
        Takes::Text => good(!value.is_empty() && value.len() <= 1024, "is empty or too long"),
        Takes::Address => good(is_range(value), "is not an address or a range like 192.0.2.0/24"),
    }
}

/// Whether a text is a host name as a rule takes it: lower case, `*.` before it for all of one more part.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let bare = text.strip_prefix("*.").unwrap_or(text);
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let part = |p: &str| (1..=63).contains(&p.len()) && p.bytes().all(word) && !p.starts_with('-') && !p.ends_with('-');
    bare.len() <= 253 && bare.split('.').all(part)
}

/// Whether a text is a path: begins with `/`, printable, without spaces, quotes and what ends a path.
#[must_use]
pub fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= 1024
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'`' | b'"' | b'?' | b'#' | b'\\'))
}

/// Whether a text can stand between back-ticks: none in it, no control character, not too long.
#[must_use]
pub fn is_quotable(text: &str) -> bool {
    text.len() <= LONGEST_REGEX && !text.chars().any(|c| c == '`' || c.is_control())
}

/// Whether a text is an address or a range of addresses.
#[must_use]
pub fn is_range(text: &str) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|b| b.bytes().all(|b| b.is_ascii_digit()) && b.parse::<u8>().is_ok_and(|bits| bits <= most))
}

/// Checks a regular expression.
///
/// # Errors
/// What is wrong.
pub fn regex(text: &str) -> Result<(), String> {
    if text.is_empty() || !is_quotable(text) {
        return Err("is empty, too long, or holds a back-tick or a control character".into());
    }
    match regex_syntax::ast::parse::ParserBuilder::new().nest_limit(50).build().parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("is not a regular expression: {}", error.kind())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_that_traefik_takes_are_right() {
        for rule in [
            "Host(`a.example.com`)",
            "Host(`a.example.com`) && PathPrefix(`/api`)",
            "(Host(`a`) || Host(`b`)) && !(Method(`POST`) || Path(`/x`))",
            "HostRegexp(`^[a-z]+\\.example\\.com$`) && Header(`X-A`, `b`) && HeaderRegexp(`X-A`, `^b`)",
            "Query(`a`) || Query(`a`, `b`) || QueryRegexp(`a`, `^b$`) || ClientIP(`192.0.2.0/24`) || ClientIP(`::1`)",
            "Host(\"a.example.com\")&&PathRegexp(\"^/a\\\\.b\")",
            "!!Path(`/`)",
        ] {
            assert_eq!(check(rule), Ok(()), "{rule}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (rule, said) in [
            ("", "expected a matcher"),
            ("Host(`a`", "expected ) at character 9, found its end"),
            ("Host(`a)", "not closed"),
            ("host(`a`)", "did you mean Host?"),
            ("Hosts(`a`)", "known: Host"),
            ("HostSNI(`*`)", "TCP"),
            ("Host(`a`, `b`)", "takes 1 at most"),
            ("Header(`a`)", "takes 2"),
            ("Host(`A`)", "not a host name"),
            ("Host(`a`) Path(`/`)", "expected &&, || or the end at character 11"),
            ("Host(`a`) &&", "expected a matcher"),
            ("PathPrefix(`api`)", "not a path"),
            ("HostRegexp(`(`)", "not a regular expression"),
            ("ClientIP(`192.0.2.0/33`)", "not an address"),
            ("Host('a')", "expected a text between"),
            ("Host(`a`)\n", "control character"),
            (&"(".repeat(40), "parentheses"),
            (&"!".repeat(4000), "parentheses"),
            (&"a".repeat(5000), "longer"),
        ] {
            let error = check(rule).expect_err(rule);
            assert!(error.contains(said), "{rule}: {error}");
        }
    }

    #[test]
    fn the_hosts_of_a_rule_are_known() {
        let set = |hosts: &str| hosts.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
        for (rule, named, only) in [
            ("Host(`a`)", "a", Some("a")),
            ("Host(`a`) && PathPrefix(`/x`)", "a", Some("a")),
            ("PathPrefix(`/x`) && (Host(`a`) || Host(`b`))", "a b", Some("a b")),
            ("Host(`a`) && Host(`b`)", "a b", Some("")),
            ("Host(`a`) || PathPrefix(`/`)", "a", None),
            ("!Host(`a`)", "a", None),
            ("!(Host(`a`) && Path(`/`))", "a", None),
            ("Host(`a`) && !Path(`/`)", "a", Some("a")),
            ("HostRegexp(`^a$`)", "", None),
            ("Host(`a`", "", None),
        ] {
            assert_eq!(hosts(rule), Hosts { named: set(named), only: only.map(set) }, "{rule}");
        }
    }

    #[test]
    fn conditions_are_read_as_traefik_does() {
        for good in [
            "NetworkErrorRatio() > 0.30",
            "LatencyAtQuantileMS(50.0) > 50 || ResponseCodeRatio(500, 600, 0, 600) >= 0.25",
            "(NetworkErrorRatio() < 1) && NetworkErrorRatio() != 0",
        ] {
            assert_eq!(expression(good, BREAKER), Ok(()), "{good}");
        }
        assert_eq!(expression(BUFFERING.example, BUFFERING), Ok(()));
        assert_eq!(expression("RequestMethod() == \"GET\" && ResponseCode() == 503", BUFFERING), Ok(()));
        for (bad, said) in [
            ("", "has no \"\""),
            ("!(NetworkErrorRatio() > 1)", "has no"),
            ("NetworkErrorRatio()", "expected one of <"),
            ("NetworkErrorRatio() > a", "expected a number"),
            ("NetworkErrorRatio(1) > 1", "expected )"),
            ("ResponseCodeRatio(1, 2) > 1", "expected ,"),
            ("Attempts() > 1", "known: NetworkErrorRatio"),
            ("NetworkErrorRatio() > 1..2", "expected a number"),
        ] {
            let error = expression(bad, BREAKER).expect_err(bad);
            assert!(error.contains(said), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,80}") {
            let _ = (check(&text), expression(&text, BREAKER), expression(&text, BUFFERING));
        }
        #[test]
        fn what_looks_like_a_rule_does_not_either(text in "((Host|Path|!|\\(|\\)|&&|\\|\\||`|\"|\\\\|,| |/|a){0,40})") {
            let _ = check(&text);
        }
        #[test]
        fn hosts_and_paths_never_end_their_quotes(text in "\\PC{0,40}") {
            if is_host(&text) || is_path(&text) || regex(&text).is_ok() {
                prop_assert!(!text.contains('`'));
            }
        }
    }
}
