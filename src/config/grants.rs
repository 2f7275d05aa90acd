//! The settings below `grants`: which role may give a service which power over its host.
//!
//! Here: names of powers and directories, checked one by one. Not here: what a power is (`model::power`).

use std::{collections::BTreeSet, path::Path};

use super::{
    Fault,
    load::suggest,
    origin::Written,
    settings::{ALL, NONE},
};
use crate::model::{
    Power,
    power::{Places, holds},
};

/// The powers that are written; none when one of them is no power.
pub(super) fn powers(written: &Written, faults: &mut Vec<Fault>) -> Option<BTreeSet<Power>> {
    let names = || Power::ALL.into_iter().map(Power::name);
    let mut powers = Some(BTreeSet::new());
    for item in written.items() {
        let named: &[Power] = match Power::of_name(item.text.trim()) {
            Some(power) => &[power],
            None if item.text.trim() == ALL => &Power::ALL,
            None => {
                let known = || format!("write {ALL}, {NONE}, or some of {}", names().collect::<Vec<_>>().join(", "));
                let fix = suggest(item.text.trim(), names()).unwrap_or_else(known);
                faults.push(item.fault(format!("{:?} is no power over the host", item.text.trim()), &fix));
                powers = None;
                continue;
            }
        };
        if let Some(powers) = &mut powers {
            powers.extend(named);
        }
    }
    powers
}

/// The directories that are written; none when one of them may be none. `places`: what must not lie in one.
pub(super) fn roots(written: &Written, places: &Places, faults: &mut Vec<Fault>) -> Option<Vec<String>> {
    let mut roots = Some(Vec::new());
    for item in written.items() {
        let root = item.text.trim();
        if let Some((message, fix)) = unfit(root, places) {
            faults.push(item.fault(message, fix));
            roots = None;
        } else if let Some(roots) = &mut roots {
            roots.push(root.to_owned());
        }
    }
    roots
}

/// Why a directory cannot be free for everybody to mount, and what to do.
fn unfit(root: &str, places: &Places) -> Option<(String, &'static str)> {
    let fix = "write a directory that holds nothing but data, like /srv";
    if !root.starts_with('/') {
        return Some((format!("{root:?} is not an absolute path"), fix));
    }
    if root.contains(',') {
        return Some((
            format!("{root:?} has a comma in it"),
            "write each directory for itself; one with a comma cannot be",
        ));
    }
    if root.split('/').any(|step| step == "..") {
        return Some((format!("{root:?} has a .. in it"), "write the path without it"));
    }
    if Path::new(root).components().count() == 1 {
        return Some((format!("{root:?} is the whole machine"), fix));
    }
    if let Some(socket) = places.sockets.iter().find(|socket| holds(root, socket)) {
        return Some((format!("{root:?} holds the engine's socket {socket}, which is as good as root"), fix));
    }
    let own = places.own.iter().find(|own| holds(root, own) || holds(own, root))?;
    Some((format!("{root:?} reaches what is the agent's own: {own}"), fix))
}
