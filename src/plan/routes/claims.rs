//! Who has a host and path: the older object keeps it, the younger is told whose it is, and the older who asks for it.
//! A younger object may have a longer path of an older one's host, and both are told; what says no more and comes first by
//! a number, an expression or a rule is left out, unless the older object has a `priority` too.
//!
//! Here: [`Claim`], one host and path at one entry point, its rule and its priority; [`Claims`], who has which.
//! Not here: what a router says beside its rule.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use super::{Owner, Reason, Refusal, Verdict, refusal};
use crate::model::{
    ObjectKey,
    route::{EntryPoint, PathKind, PathMatch},
    rule,
};

/// What of all wildcards is asked after every host that is written out, and what names no host after those.
const AFTER_HOSTS: i64 = -100_000;

/// Options of TLS that Traefik has for what names no host.
const DEFAULT_OPTIONS: &str = "tls12";

/// One host and path, or one raw rule, at one entry point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) entry_point: EntryPoint,
    /// It sends to HTTPS.
    pub(super) redirect: bool,
    /// What somebody wrote as `priority`; 0: nothing.
    asked: i32,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Pair { host: String, path: PathMatch },
    Rule(String),
}

/// Which requests somebody's may be: of a host (`*.example.com` of those with one more part), of every host of one more
/// part than this, of any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Host(String),
    Below(String),
    Any,
}

impl Claim {
    pub(super) fn pair((entry_point, redirect): (EntryPoint, bool), asked: i32, host: &str, path: &PathMatch) -> Self {
        Self { entry_point, redirect, asked, what: What::Pair { host: host.to_owned(), path: path.clone() } }
    }
    pub(super) fn rule((entry_point, redirect): (EntryPoint, bool), asked: i32, rule: &str) -> Self {
        let rule = rule.trim();
        let what = plain(rule).unwrap_or_else(|| What::Rule(rule.to_owned()));
        Self { entry_point, redirect, asked, what }
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
        let What::Pair { host, path } = &self.what else {
            let What::Rule(rule) = &self.what else { return String::new() };
            return rule.clone();
        };
        let host = match host.strip_prefix("*.") {
            Some(rest) => format!("HostRegexp(`^[^.]+\\.{}$`)", rest.replace('.', "\\.")),
            None => format!("Host(`{host}`)"),
        };
        match (path.kind, path.value.as_str()) {
            (PathKind::Prefix, "/") => host,
            (PathKind::Prefix, value) => format!("{host} && PathPrefix(`{value}`)"),
            (PathKind::Exact, value) => format!("{host} && Path(`{value}`)"),
            (PathKind::Regex, value) => format!("{host} && PathRegexp(`{value}`)"),
        }
    }
    /// Traefik asks the longest rule first. So do we, but for what is written in more letters and says less: a wildcard
    /// comes after every host, what names no host after all of them, and a path that is meant exactly before one that only
    /// begins so.
    pub(super) fn priority(&self) -> i64 {
        if self.asked > 0 {
            return self.asked.into();
        }
        let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::from(i32::MAX));
        let (host, path) = match &self.what {
            What::Pair { host, path } => (host, path),
            What::Rule(rule) => {
                let open = rule::hosts(rule).only.is_none();
                return length(rule) + if open { 2 * AFTER_HOSTS } else { 0 };
            }
        };
        let of_path = match (path.kind, path.value.as_str()) {
            (PathKind::Prefix, "/") => 0,
            (PathKind::Prefix, value) => length(" && PathPrefix(``)") + length(value),
            (PathKind::Exact, value) => length(" && PathPrefix(``)") + length(value) + 1,
            (PathKind::Regex, value) => length(" && PathRegexp(``)") + length(value),
        };
        let wild = if host.starts_with("*.") { AFTER_HOSTS } else { 0 };
        length("Host(``)") + length(host) + of_path + wild
    }
    /// Host and path for people.
    pub(super) fn shown(&self) -> (String, String) {
        match &self.what {
            What::Rule(rule) => ("-".into(), rule.clone()),
            What::Pair { host, path } => {
                let mark = match path.kind {
                    PathKind::Prefix => "",
                    PathKind::Exact => "=",
                    PathKind::Regex => "~",
                };
                (host.clone(), format!("{mark}{}", path.value))
            }
        }
    }
    /// Hosts whose options of TLS it has.
    fn hosts(&self) -> BTreeSet<String> {
        match &self.what {
            What::Pair { host, .. } if host.starts_with('*') => BTreeSet::new(),
            What::Pair { host, .. } => [host.clone()].into(),
            What::Rule(rule) => rule::hosts(rule).named,
        }
    }
    /// Whether Traefik knows a host for every request that it fits.
    fn is_open(&self) -> bool {
        match &self.what {
            What::Pair { host, .. } => host.starts_with('*'),
            What::Rule(rule) => rule::hosts(rule).only.is_none(),
        }
    }
    /// Where it takes requests from others that have them.
    fn reaches(&self) -> Vec<Place> {
        match &self.what {
            What::Pair { host, .. } => match host.strip_prefix("*.") {
                Some(rest) => vec![Place::Host(host.clone()), Place::Below(rest.to_owned())],
                None => vec![Place::Host(host.clone())],
            },
            What::Rule(rule) => match rule::hosts(rule).only {
                Some(hosts) => hosts.into_iter().map(Place::Host).collect(),
                None => vec![Place::Any],
            },
        }
    }
    /// Where others would take requests from it. What names no host has none of its own.
    fn owns(&self) -> Vec<Place> {
        let mut all = Vec::new();
        for place in self.reaches() {
            let Place::Host(host) = &place else { continue };
            all.extend(host.split_once('.').map(|(_, rest)| Place::Below(rest.to_owned())));
            all.push(place);
        }
        all.extend((!all.is_empty()).then_some(Place::Any));
        all
    }
    /// Whether its words may put it before what it says no more than: numbers, expressions and rules can, a longer path
    /// cannot.
    fn pushes(&self) -> bool {
        let narrow = matches!(&self.what, What::Pair { path, .. } if path.kind != PathKind::Regex);
        self.asked > 0 || !narrow
    }
}

/// A rule that says no more than a host and a path.
fn plain(rule: &str) -> Option<What> {
    let (host, rest) = rule.strip_prefix("Host(`")?.split_once("`)")?;
    let rest = rest.trim();
    let (kind, value) = if rest.is_empty() {
        (PathKind::Prefix, "/")
    } else {
        let matcher = rest.strip_prefix("&&")?.trim();
        let (kind, value) = match matcher.strip_prefix("PathPrefix(`") {
            Some(value) => (PathKind::Prefix, value),
            None => (PathKind::Exact, matcher.strip_prefix("Path(`")?),
        };
        (kind, value.strip_suffix("`)")?)
    };
    let good = rule::is_host(host) && !host.starts_with('*') && rule::is_path(value);
    good.then(|| What::Pair { host: host.to_owned(), path: PathMatch { kind, value: value.to_owned() } })
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.what, self.shown()) {
            (What::Rule(rule), _) => write!(f, "{rule} on {}", self.entry_point),
            (What::Pair { .. }, (host, path)) => write!(f, "{host}{path} on {}", self.entry_point),
        }
    }
}

/// Who is asked last at a place: two of different objects, since one's own is no other's.
#[derive(Default)]
struct Last(Vec<(i64, ObjectKey)>);

impl Last {
    fn add(&mut self, priority: i64, key: &ObjectKey) {
        match self.0.iter_mut().find(|(_, known)| known == key) {
            Some((lowest, _)) => *lowest = priority.min(*lowest),
            None => self.0.push((priority, key.clone())),
        }
        self.0.sort_by_key(|(priority, _)| *priority);
        self.0.truncate(2);
    }
    /// Another object than this, of which something is asked no sooner than this priority.
    fn behind(&self, priority: i64, key: &ObjectKey) -> Option<&ObjectKey> {
        self.0.iter().find(|(lowest, other)| other != key && *lowest <= priority).map(|(_, other)| other)
    }
}

/// Who has which host and path.
#[derive(Default)]
pub(super) struct Claims {
    taken: BTreeMap<(EntryPoint, What), Owner>,
    /// Options of TLS of a host: Traefik takes none of two that differ.
    options: BTreeMap<String, (String, Owner)>,
    /// What of a place is there: all of it, and what is in the order that hosts and paths give it.
    places: HashMap<(EntryPoint, Place), (Last, Last)>,
    /// Who is to be told what.
    told: Vec<(ObjectKey, String)>,
}

impl Claims {
    /// Takes it, or says who has it. `tls`: options of TLS that its router has.
    pub(super) fn take(&mut self, claim: &Claim, tls: Option<&str>, owner: &Owner) -> Result<(), Refusal> {
        let at = (claim.entry_point, claim.what.clone());
        if let Some(first) = self.taken.get(&at) {
            let message = if first.key == owner.key {
                format!("{claim} stands in it twice")
            } else {
                self.told
                    .push((first.key.clone(), format!("{claim} is asked for by {} too, which came later", owner.key)));
                format!("{claim} is {}'s, which was first; rename one of the two", first.key)
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
            all.add(priority, &owner.key);
            if claim.asked == 0 {
                ordered.add(priority, &owner.key);
            }
        }
        self.taken.insert(at, owner.clone());
        Ok(())
    }

    /// Whether it may come before what older objects have. A longer path may; a number, an expression or a rule only
    /// before those whose `priority` says that numbers decide. Both are told when it does.
    fn pushed(&mut self, claim: &Claim, owner: &Owner) -> Result<(), Refusal> {
        let priority = claim.priority();
        let mut before = None;
        for place in claim.reaches() {
            let Some((all, ordered)) = self.places.get(&(claim.entry_point, place)) else { continue };
            if let Some(first) = ordered.behind(priority, &owner.key).filter(|_| claim.pushes()) {
                self.told.push((
                    first.clone(),
                    format!(
                        "{claim} is asked for by {}, which came later and is left out: it would come first",
                        owner.key
                    ),
                ));
                let message = format!(
                    "{claim} would come before what {first} has of this host, which was first; give {first} a \
                     `priority` too, or write a longer path instead of a priority, an expression or a rule"
                );
                return Err(refusal(Reason::HostConflict, message));
            }
            before = before.or_else(|| all.behind(priority, &owner.key).cloned());
        }
        if let Some(other) = before {
            self.told.push((other.clone(), format!("requests for {claim} go to {}, which comes before it", owner.key)));
            self.told.push((owner.key.clone(), format!("{claim} comes before what {other} has of this host")));
        }
        Ok(())
    }

    /// Whether Traefik would take these options of TLS for it.
    fn opted(&mut self, claim: &Claim, tls: &str, owner: &Owner) -> Result<(), Refusal> {
        if claim.is_open() && tls != DEFAULT_OPTIONS {
            let message = format!(
                "{claim} names no single host: Traefik has no `tls.minVersion` and asks no client for a certificate \
                 there; name the hosts"
            );
            return Err(refusal(Reason::InvalidRoute, message));
        }
        let hosts = claim.hosts();
        for host in &hosts {
            let Some((_, first)) = self.options.get(host).filter(|(other, _)| other != tls) else { continue };
            let message = format!(
                "{claim}: {} was first with {host} and has another `tls.minVersion`, or asks clients for a certificate; a host has one of them",
                first.key
            );
            self.told
                .push((first.key.clone(), format!("{host} is asked for by {} with other options of TLS", owner.key)));
            return Err(refusal(Reason::HostConflict, message));
        }
        for host in hosts {
            self.options.entry(host).or_insert_with(|| (tls.to_owned(), owner.clone()));
        }
        Ok(())
    }

    /// Tells everybody of the others.
    pub(super) fn tell(self, said: &mut BTreeMap<ObjectKey, Verdict>) {
        for (key, message) in self.told {
            let Some(verdict) = said.get_mut(&key).filter(|v| v.accepted.holds && v.accepted.message.is_empty()) else {
                continue;
            };
            verdict.accepted.message = message;
        }
    }
}
