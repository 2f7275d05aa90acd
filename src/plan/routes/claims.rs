//! Who has a host and path: the older object keeps it, the younger is told whose it is, and the older who asks for it.
//! A younger object may have a longer path of an older one's host, and both are told; what says no more and comes first by
//! a number, an expression or a rule is left out, unless the older object has a `priority` too.
//!
//! Here: [`Claim`], one host and path at one entry point, its rule and its priority; [`Claims`], who has which.
//! Not here: what a router says beside its rule.
//! All of it is borrowed from what was declared: a table asks for thousands of these, and keeps none.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use super::{Reason, Refusal, Verdict, refusal};
use crate::model::{
    ObjectKey,
    route::{EntryPoint, PathKind, PathMatch},
    rule::{self, Hosts},
};

/// What of all wildcards is asked after every host that is written out, and what names no host after those.
const AFTER_HOSTS: i64 = -100_000;

/// Options of TLS that Traefik has for what names no host.
const DEFAULT_OPTIONS: &str = "tls12";

/// One host and path, or one raw rule, at one entry point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    pub(super) entry_point: EntryPoint,
    /// It sends to HTTPS.
    pub(super) redirect: bool,
    /// What somebody wrote as `priority`; 0: nothing.
    asked: i32,
    what: What<'a>,
    /// The hosts of a rule.
    of_rule: Hosts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What<'a> {
    Pair { host: &'a str, kind: PathKind, path: &'a str },
    Rule(&'a str),
}

/// Which requests somebody's may be: of a host (`*.example.com` of those with one more part), of every host of one more
/// part than this, of any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place<'a> {
    Host(Cow<'a, str>),
    Below(Cow<'a, str>),
    Any,
}

impl<'a> Claim<'a> {
    pub(super) fn pair(
        (entry_point, redirect): (EntryPoint, bool),
        asked: i32,
        host: &'a str,
        path: &'a PathMatch,
    ) -> Self {
        let what = What::Pair { host, kind: path.kind, path: &path.value };
        Self { entry_point, redirect, asked, what, of_rule: Hosts::default() }
    }
    pub(super) fn rule((entry_point, redirect): (EntryPoint, bool), asked: i32, rule: &'a str) -> Self {
        let rule = rule.trim();
        let (what, of_rule) = match plain(rule) {
            Some(pair) => (pair, Hosts::default()),
            None => (What::Rule(rule), rule::hosts(rule)),
        };
        Self { entry_point, redirect, asked, what, of_rule }
    }
    pub(super) fn secure(&self) -> bool {
        self.entry_point == EntryPoint::Websecure
    }
    /// Part of its router's name.
    pub(super) fn letter(&self) -> char {
        match (self.redirect, self.entry_point) {
            (true, _) => 'd',
            (false, EntryPoint::Web) => 'w',
            (false, EntryPoint::Websecure) => 's',
        }
    }
    /// As Traefik reads it. Hosts and paths were checked: none of them holds a back-tick.
    pub(super) fn rule_text(&self) -> String {
        let (host, kind, path) = match self.what {
            What::Rule(rule) => return rule.to_owned(),
            What::Pair { host, kind, path } => (host, kind, path),
        };
        let (open, host, close) = match host.strip_prefix("*.") {
            Some(rest) => ("HostRegexp(`^[^.]+\\.", Cow::Owned(rest.replace('.', "\\.")), "$`)"),
            None => ("Host(`", Cow::Borrowed(host), "`)"),
        };
        let matcher = match (kind, path) {
            (PathKind::Prefix, "/") => return [open, &host, close].concat(),
            (PathKind::Prefix, _) => " && PathPrefix(`",
            (PathKind::Exact, _) => " && Path(`",
            (PathKind::Regex, _) => " && PathRegexp(`",
        };
        [open, &host, close, matcher, path, "`)"].concat()
    }
    /// Traefik asks the longest rule first. So do we, but for what is written in more letters and says less: a wildcard
    /// comes after every host, what names no host after all of them, and a path that is meant exactly before one that only
    /// begins so.
    pub(super) fn priority(&self) -> i64 {
        if self.asked > 0 {
            return self.asked.into();
        }
        let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::from(i32::MAX));
        let (host, kind, path) = match self.what {
            What::Pair { host, kind, path } => (host, kind, path),
            What::Rule(rule) => return length(rule) + if self.is_open() { 2 * AFTER_HOSTS } else { 0 },
        };
        let of_path = match (kind, path) {
            (PathKind::Prefix, "/") => 0,
            (PathKind::Prefix, _) => length(" && PathPrefix(``)") + length(path),
            (PathKind::Exact, _) => length(" && PathPrefix(``)") + length(path) + 1,
            (PathKind::Regex, _) => length(" && PathRegexp(``)") + length(path),
        };
        let wild = if host.starts_with("*.") { AFTER_HOSTS } else { 0 };
        length("Host(``)") + length(host) + of_path + wild
    }
    /// The host that it names; of a rule none.
    pub(super) fn host(&self) -> Option<&'a str> {
        match self.what {
            What::Rule(_) => None,
            What::Pair { host, .. } => Some(host),
        }
    }
    /// Host and path for people.
    pub(super) fn shown(&self) -> (String, String) {
        match self.what {
            What::Rule(rule) => ("-".into(), rule.to_owned()),
            What::Pair { host, kind, path } => {
                let mark = match kind {
                    PathKind::Prefix => "",
                    PathKind::Exact => "=",
                    PathKind::Regex => "~",
                };
                (host.to_owned(), [mark, path].concat())
            }
        }
    }
    /// Hosts whose options of TLS it has.
    fn hosts(&self) -> BTreeSet<&str> {
        match self.what {
            What::Pair { host, .. } if host.starts_with('*') => BTreeSet::new(),
            What::Pair { host, .. } => [host].into(),
            What::Rule(_) => self.of_rule.named.iter().map(String::as_str).collect(),
        }
    }
    /// Whether Traefik knows a host for every request that it fits.
    fn is_open(&self) -> bool {
        match self.what {
            What::Pair { host, .. } => host.starts_with('*'),
            What::Rule(_) => self.of_rule.only.is_none(),
        }
    }
    /// Where it takes requests from others that have them.
    fn reaches(&self) -> Vec<Place<'a>> {
        match self.what {
            What::Pair { host, .. } => match host.strip_prefix("*.") {
                Some(rest) => vec![Place::Host(host.into()), Place::Below(rest.into())],
                None => vec![Place::Host(host.into())],
            },
            What::Rule(_) => match &self.of_rule.only {
                Some(hosts) => hosts.iter().map(|host| Place::Host(host.clone().into())).collect(),
                None => vec![Place::Any],
            },
        }
    }
    /// Where others would take requests from it. What names no host has none of its own.
    fn owns(&self) -> Vec<Place<'a>> {
        let mut all = Vec::with_capacity(3);
        for place in self.reaches() {
            let below = match &place {
                Place::Host(Cow::Borrowed(host)) => host.split_once('.').map(|(_, rest)| Cow::Borrowed(rest)),
                Place::Host(Cow::Owned(host)) => host.split_once('.').map(|(_, rest)| Cow::Owned(rest.to_owned())),
                Place::Below(_) | Place::Any => continue,
            };
            all.extend(below.map(Place::Below));
            all.push(place);
        }
        all.extend((!all.is_empty()).then_some(Place::Any));
        all
    }
    /// Whether its words may put it before what it says no more than: numbers, expressions and rules can, a longer path
    /// cannot.
    fn pushes(&self) -> bool {
        let narrow = matches!(self.what, What::Pair { kind, .. } if kind != PathKind::Regex);
        self.asked > 0 || !narrow
    }
}

/// A rule that says no more than a host and a path.
fn plain(rule: &str) -> Option<What<'_>> {
    let (host, rest) = rule.strip_prefix("Host(`")?.split_once("`)")?;
    let rest = rest.trim();
    let (kind, path) = if rest.is_empty() {
        (PathKind::Prefix, "/")
    } else {
        let matcher = rest.strip_prefix("&&")?.trim();
        let (kind, path) = match matcher.strip_prefix("PathPrefix(`") {
            Some(path) => (PathKind::Prefix, path),
            None => (PathKind::Exact, matcher.strip_prefix("Path(`")?),
        };
        (kind, path.strip_suffix("`)")?)
    };
    let good = rule::is_host(host) && !host.starts_with('*') && rule::is_path(path);
    good.then_some(What::Pair { host, kind, path })
}

impl fmt::Display for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.what, self.shown()) {
            (What::Rule(rule), _) => write!(f, "{rule} on {}", self.entry_point),
            (What::Pair { .. }, (host, path)) => write!(f, "{host}{path} on {}", self.entry_point),
        }
    }
}

/// Who is asked last at a place: two of different objects, since one's own is no other's.
#[derive(Default)]
struct Last<'a>([Option<(i64, &'a ObjectKey)>; 2]);

impl<'a> Last<'a> {
    fn add(&mut self, priority: i64, key: &'a ObjectKey) {
        let [first, second] = self.0;
        let mut all = [first, second, None];
        match all.iter_mut().flatten().find(|(_, known)| *known == key) {
            Some((lowest, _)) => *lowest = priority.min(*lowest),
            None => all[2] = Some((priority, key)),
        }
        all.sort_by_key(|one| (one.is_none(), one.map(|(priority, _)| priority)));
        self.0 = [all[0], all[1]];
    }
    /// Another object than this, of which something is asked no sooner than this priority.
    fn behind(&self, priority: i64, key: &ObjectKey) -> Option<&'a ObjectKey> {
        self.0.iter().flatten().find(|(lowest, other)| *other != key && *lowest <= priority).map(|(_, other)| *other)
    }
}

/// Options of TLS of a host, and whose they are.
type Opted<'a> = (&'static str, &'a ObjectKey);

/// Who has which host and path.
#[derive(Default)]
pub(super) struct Claims<'a> {
    taken: HashMap<(EntryPoint, What<'a>), &'a ObjectKey>,
    /// Options of TLS of a host: Traefik takes none of two that differ.
    options: BTreeMap<String, Opted<'a>>,
    /// What of a place is there: all of it, and what is in the order that hosts and paths give it.
    places: HashMap<(EntryPoint, Place<'a>), (Last<'a>, Last<'a>)>,
    /// Who is to be told what.
    told: Vec<(&'a ObjectKey, String)>,
}

impl<'a> Claims<'a> {
    /// Takes it, or says who has it. `tls`: options of TLS that its router has.
    pub(super) fn take(
        &mut self,
        claim: &Claim<'a>,
        tls: Option<&'static str>,
        owner: &'a ObjectKey,
    ) -> Result<(), Refusal> {
        let at = (claim.entry_point, claim.what);
        if let Some(first) = self.taken.get(&at).copied() {
            let message = if first == owner {
                format!("{claim} stands in it twice")
            } else {
                self.told.push((first, format!("{claim} is asked for by {owner} too, which came later")));
                format!("{claim} is {first}'s, which was first; rename one of the two")
            };
            return Err(refusal(Reason::HostConflict, message));
        }
        self.pushed(claim, owner)?;
        if let Some(tls) = tls {
            self.opted(claim, tls, owner)?;
        }
        let priority = claim.priority();
        for place in claim.owns() {
            let (all, ordered) = self.places.entry((claim.entry_point, place)).or_default();
            all.add(priority, owner);
            if claim.asked == 0 {
                ordered.add(priority, owner);
            }
        }
        self.taken.insert(at, owner);
        Ok(())
    }

    /// Whether it may come before what older objects have. A longer path may; a number, an expression or a rule only
    /// before those whose `priority` says that numbers decide. Both are told when it does.
    fn pushed(&mut self, claim: &Claim<'a>, owner: &'a ObjectKey) -> Result<(), Refusal> {
        let priority = claim.priority();
        let mut before = None;
        for place in claim.reaches() {
            let Some((all, ordered)) = self.places.get(&(claim.entry_point, place)) else { continue };
            if let Some(first) = ordered.behind(priority, owner).filter(|_| claim.pushes()) {
                let told = "which came later and is left out: it would come first";
                self.told.push((first, format!("{claim} is asked for by {owner}, {told}")));
                let message = format!(
                    "{claim} would come before what {first} has of this host, which was first; give {first} a \
                     `priority` too, or write a longer path instead of a priority, an expression or a rule"
                );
                return Err(refusal(Reason::HostConflict, message));
            }
            before = before.or_else(|| all.behind(priority, owner));
        }
        if let Some(other) = before {
            self.told.push((other, format!("requests for {claim} go to {owner}, which comes before it")));
            self.told.push((owner, format!("{claim} comes before what {other} has of this host")));
        }
        Ok(())
    }

    /// Whether Traefik would take these options of TLS for it.
    fn opted(&mut self, claim: &Claim<'a>, tls: &'static str, owner: &'a ObjectKey) -> Result<(), Refusal> {
        if claim.is_open() && tls != DEFAULT_OPTIONS {
            let message = format!(
                "{claim} names no single host: Traefik has no `tls.minVersion` and asks no client for a certificate \
                 there; name the hosts"
            );
            return Err(refusal(Reason::InvalidRoute, message));
        }
        let hosts = claim.hosts();
        for host in &hosts {
            let Some((_, first)) = self.options.get(*host).copied().filter(|(other, _)| *other != tls) else {
                continue;
            };
            let message = format!(
                "{claim}: {first} was first with {host} and has another `tls.minVersion`, or asks clients for a \
                 certificate; a host has one of them"
            );
            self.told.push((first, format!("{host} is asked for by {owner} with other options of TLS")));
            return Err(refusal(Reason::HostConflict, message));
        }
        for host in hosts {
            if !self.options.contains_key(host) {
                self.options.insert(host.to_owned(), (tls, owner));
            }
        }
        Ok(())
    }

    /// Tells everybody of the others.
    pub(super) fn tell(self, said: &mut BTreeMap<ObjectKey, Verdict>) {
        for (key, message) in self.told {
            let Some(verdict) = said.get_mut(key).filter(|v| v.accepted.holds && v.accepted.message.is_empty()) else {
                continue;
            };
            verdict.accepted.message = message;
        }
    }
}
