//! Services that wait for each other for ever.
//!
//! Here: [`all`], over who waits for whom. Not here: what is waited for (`rollout`).
//! Invariant: a walk without recursion that looks at each service and each name once, so that no number of documents
//! costs more than their reading. Of circles that share services not each one is found; without a find there is none.

use std::collections::{BTreeMap, BTreeSet};

/// Circles that are told: who has more mends these first.
const TOLD: usize = 50;

/// How far the walk is with a service.
enum Walked {
    /// It stands on the path, at this place.
    Here(usize),
    /// It and everything behind it was looked at.
    Done,
}

/// The circles as `svc/a -> svc/b -> svc/a`, each from its smallest name on. One of a service with itself is none.
pub fn all(waits: &BTreeMap<&str, Vec<&str>>) -> BTreeSet<String> {
    let (mut found, mut walked) = (BTreeSet::new(), BTreeMap::new());
    for start in waits.keys() {
        if walked.contains_key(start) {
            continue;
        }
        // The path, and what each service on it waits for and was not looked at.
        let mut path = vec![*start];
        let mut left = vec![edges(waits, start)];
        walked.insert(*start, Walked::Here(0));
        while let Some(next) = left.last_mut().map(Iterator::next) {
            match next.map(|next| (next, walked.get(next))) {
                Some((next, None)) => {
                    walked.insert(next, Walked::Here(path.len()));
                    path.push(next);
                    left.push(edges(waits, next));
                }
                Some((_, Some(Walked::Here(place)))) => {
                    let circle = path.get(*place..).unwrap_or_default();
                    if circle.len() > 1 && found.len() < TOLD {
                        found.insert(told(circle));
                    }
                }
                Some((_, Some(Walked::Done))) => {}
                None => {
                    left.pop();
                    if let Some(done) = path.pop() {
                        walked.insert(done, Walked::Done);
                    }
                }
            }
        }
    }
    found
}

fn edges<'w, 'n>(
    waits: &'w BTreeMap<&'n str, Vec<&'n str>>,
    from: &str,
) -> impl Iterator<Item = &'n str> + use<'w, 'n> {
    waits.get(from).map(Vec::as_slice).unwrap_or_default().iter().copied()
}

fn told(circle: &[&str]) -> String {
    let smallest = circle.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(place, _)| place);
    let names = circle.iter().cycle().skip(smallest).take(circle.len() + 1);
    names.map(|name| format!("svc/{name}")).collect::<Vec<_>>().join(" -> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(waits: &[(&str, &[&str])]) -> Vec<String> {
        all(&waits.iter().map(|(name, on)| (*name, on.to_vec())).collect()).into_iter().collect()
    }

    #[test]
    fn each_circle_is_told_with_its_path_from_its_smallest_name() {
        assert_eq!(circles(&[("c", &["a"]), ("b", &["c"]), ("a", &["b"])]), ["svc/a -> svc/b -> svc/c -> svc/a"]);
        assert_eq!(
            circles(&[("a", &["b", "c"]), ("b", &["a"]), ("c", &["a", "d"]), ("d", &[]), ("x", &["z"]), ("z", &["x"])]),
            ["svc/a -> svc/b -> svc/a", "svc/a -> svc/c -> svc/a", "svc/x -> svc/z -> svc/x"]
        );
        assert_eq!(circles(&[("a", &["a"])]), [""; 0], "one that waits for itself is told at the service");
        assert_eq!(circles(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"])]), [""; 0]);
    }

    #[test]
    fn a_chain_of_ten_thousand_costs_no_stack() {
        let names: Vec<String> = (0..10_000).map(|n| format!("s{n:05}")).collect();
        let walk = move || {
            let mut waits: BTreeMap<&str, Vec<&str>> =
                names.windows(2).map(|pair| (pair[0].as_str(), vec![pair[1].as_str()])).collect();
            assert_eq!(all(&waits), BTreeSet::new());
            // Closed, it is one circle; and one from each to the first is many, which are told no more than may be.
            waits.insert("s09999", vec!["s00000"]);
            let told = all(&waits);
            assert_eq!(told.iter().map(|circle| circle.matches("svc/").count()).collect::<Vec<_>>(), [10_001]);
            waits.values_mut().for_each(|on| on.push("s00000"));
            assert_eq!(all(&waits).len(), TOLD);
        };
        // Of the size that a thread of the agent has, for everything.
        std::thread::Builder::new().stack_size(256 << 10).spawn(walk).unwrap().join().unwrap();
    }
}
