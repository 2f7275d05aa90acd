//! Who has a host and path: the older object keeps it, the younger is told whose it is, and the older who asks for it.
//!
//! Here: [`Claim`], one host and path at one entry point, its rule and its priority; [`Claims`], who has which.
//! Not here: what a router says beside its rule.

use std::{collections::BTreeMap, fmt};

use super::{Owner, Reason, Refusal, Verdict, refusal};
use crate::model::{
    ObjectKey,
    route::{EntryPoint, PathKind, PathMatch},
};

/// What of all wildcards is asked after every host that is written out.
const AFTER_HOSTS: i64 = -100_000;

/// One host and path, or one raw rule, at one entry point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) entry_point: EntryPoint,
    /// It sends to HTTPS.
    pub(super) redirect: bool,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Pair { host: String, path: PathMatch },
    Rule(String),
}

impl Claim {
    pub(super) fn pair(entry_point: EntryPoint, redirect: bool, host: &str, path: &PathMatch) -> Self {
        Self { entry_point, redirect, what: What::Pair { host: host.to_owned(), path: path.clone() } }
    }
    pub(super) fn rule(entry_point: EntryPoint, redirect: bool, rule: &str) -> Self {
        Self { entry_point, redirect, what: What::Rule(rule.trim().to_owned()) }
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
    /// comes after every host, and a path that is meant exactly before one that only begins so.
    pub(super) fn priority(&self) -> Option<i64> {
        let What::Pair { host, path } = &self.what else { return None };
        let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::from(i32::MAX));
        let of_path = match (path.kind, path.value.as_str()) {
            (PathKind::Prefix, "/") => 0,
            (PathKind::Prefix, value) => length(" && PathPrefix(``)") + length(value),
            (PathKind::Exact, value) => length(" && PathPrefix(``)") + length(value) + 1,
            (PathKind::Regex, value) => length(" && PathRegexp(``)") + length(value),
        };
        let wild = if host.starts_with("*.") { AFTER_HOSTS } else { 0 };
        Some(length("Host(``)") + length(host) + of_path + wild)
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
    fn host(&self) -> Option<&str> {
        match &self.what {
            What::Pair { host, .. } => Some(host),
            What::Rule(_) => None,
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.what, self.shown()) {
            (What::Rule(rule), _) => write!(f, "{rule} on {}", self.entry_point),
            (What::Pair { .. }, (host, path)) => write!(f, "{host}{path} on {}", self.entry_point),
        }
    }
}

/// Who has which host and path.
#[derive(Default)]
pub(super) struct Claims {
    taken: BTreeMap<(EntryPoint, What), Owner>,
    /// Options of TLS of a host: Traefik takes none of two that differ.
    options: BTreeMap<String, (String, Owner)>,
    /// Who has it, who else asks for it.
    lost: Vec<(ObjectKey, String)>,
}

impl Claims {
    /// Takes it, or says who has it. `tls`: options of TLS that its router has.
    pub(super) fn take(&mut self, claim: &Claim, tls: Option<&str>, owner: &Owner) -> Result<(), Refusal> {
        let at = (claim.entry_point, claim.what.clone());
        if let Some(first) = self.taken.get(&at) {
            let message = if first.key == owner.key {
                format!("{claim} stands in it twice")
            } else {
                self.lost
                    .push((first.key.clone(), format!("{claim} is asked for by {} too, which came later", owner.key)));
                format!("{claim} is {}'s, which was first; rename one of the two", first.key)
            };
            return Err(refusal(Reason::HostConflict, message));
        }
        if let (Some(tls), Some(host)) = (tls, claim.host()) {
            match self.options.get(host) {
                Some((other, first)) if other != tls => {
                    let message = format!(
                        "{claim}: {} was first with {host} and has another `tls.minVersion`, or asks clients for a certificate; a host has one of them",
                        first.key
                    );
                    self.lost.push((
                        first.key.clone(),
                        format!("{host} is asked for by {} with other options of TLS", owner.key),
                    ));
                    return Err(refusal(Reason::HostConflict, message));
                }
                Some(_) => {}
                None => {
                    self.options.insert(host.to_owned(), (tls.to_owned(), owner.clone()));
                }
            }
        }
        self.taken.insert(at, owner.clone());
        Ok(())
    }

    /// Tells those that were first who came later.
    pub(super) fn tell_winners(self, said: &mut BTreeMap<ObjectKey, Verdict>) {
        for (key, message) in self.lost {
            let Some(verdict) = said.get_mut(&key).filter(|v| v.accepted.holds && v.accepted.message.is_empty()) else {
                continue;
            };
            verdict.accepted.message = message;
        }
    }
}
