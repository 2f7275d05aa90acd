//! Histories of the queue against a model that is too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const fn ms(n: u64) -> Moment {
    Moment::from_millis(n)
}

#[test]
fn a_waiting_key_is_not_queued_twice() {
    let mut queue = Queue::new(4);
    for key in ["a", "b", "a", "a"] {
        queue.add(key);
    }
    assert_eq!([queue.take(ms(0)), queue.take(ms(0)), queue.take(ms(0))], [Some("a"), Some("b"), None]);
}

#[test]
fn a_key_named_while_its_pass_runs_is_run_once_more() {
    let mut queue = Queue::new(4);
    queue.add("a");
    assert_eq!(queue.take(ms(0)), Some("a"));
    queue.add("a");
    queue.add("a");
    assert_eq!(queue.take(ms(0)), None, "never two passes of a key");
    queue.finish(&"a", ms(1), Finish::Done);
    assert_eq!(queue.take(ms(1)), Some("a"));
    queue.finish(&"a", ms(2), Finish::Done);
    assert_eq!(queue.take(ms(2)), None);
    assert!(queue.is_empty(), "nothing is remembered of a key that is done");
}

#[test]
fn the_earlier_naming_wins() {
    let mut queue = Queue::new(1);
    queue.add_at("a", ms(50));
    queue.add_at("a", ms(90));
    assert_eq!(queue.next_due(), Some(ms(50)));
    queue.add_at("a", ms(20));
    assert_eq!((queue.next_due(), queue.take(ms(19))), (Some(ms(20)), None));
    queue.add("a");
    assert_eq!(queue.take(ms(19)), Some("a"));
    queue.add_at("a", ms(40));
    queue.finish(&"a", ms(30), Finish::After(ms(100)));
    assert_eq!((queue.take(ms(39)), queue.take(ms(40))), (None, Some("a")));
}

#[test]
fn failures_count_in_a_row_and_a_success_resets_them() {
    let mut queue = Queue::new(1);
    queue.add("a");
    for (now, how, failures) in [
        (0, Finish::Failed(ms(1)), 1),
        (1, Finish::Failed(ms(1)), 2),
        (2, Finish::After(ms(1)), 0),
        (3, Finish::Failed(ms(1)), 1),
    ] {
        assert_eq!(queue.take(ms(now)), Some("a"));
        queue.finish(&"a", ms(now), how);
        assert_eq!(queue.failures(&"a"), failures, "after {how:?}");
    }
}

#[derive(Debug, Clone)]
enum Op {
    Add(u8),
    AddAt(u8, u64),
    Take,
    Finish(u8, u8, u64),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0u8..6).prop_map(Op::Add),
        2 => (0u8..6, 0u64..40).prop_map(|(k, t)| Op::AddAt(k, t)),
        4 => Just(Op::Take),
        4 => (0u8..6, 0u8..3, 0u64..30).prop_map(|(k, how, t)| Op::Finish(k, how, t)),
        2 => (1u64..20).prop_map(Op::Wait),
    ]
}

/// When each key that is owed a pass is due; which keys run.
#[derive(Default)]
struct Model {
    owed: BTreeMap<u8, u64>,
    running: BTreeSet<u8>,
}
impl Model {
    fn owe(&mut self, key: u8, at: u64) {
        let due = self.owed.entry(key).or_insert(at);
        *due = (*due).min(at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_wake_up_is_lost_no_key_runs_twice_and_the_limit_holds(
        limit in 1usize..4,
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let (mut queue, mut model, mut now) = (Queue::new(limit), Model::default(), 0u64);
        for op in ops {
            match op {
                Op::Add(key) => { queue.add(key); model.owe(key, 0); }
                Op::AddAt(key, wait) => { queue.add_at(key, ms(now + wait)); model.owe(key, now + wait); }
                Op::Wait(time) => now += time,
                Op::Take => {
                    let due = |m: &Model| m.owed.iter().any(|(k, at)| *at <= now && !m.running.contains(k));
                    match queue.take(ms(now)) {
                        Some(key) => {
                            let at = model.owed.remove(&key);
                            prop_assert!(at.is_some_and(|at| at <= now), "{} was owed at {:?}, taken at {}", key, at, now);
                            prop_assert!(model.running.insert(key), "two passes of {}", key);
                            prop_assert!(model.running.len() <= limit);
                        }
                        None => prop_assert!(model.running.len() == limit || !due(&model), "a wake-up was lost: {:?}", model.owed),
                    }
                }
                Op::Finish(key, how, wait) => {
                    let how = match how { 0 => Finish::Done, 1 => Finish::After(ms(wait)), _ => Finish::Failed(ms(wait)) };
                    queue.finish(&key, ms(now), how);
                    if model.running.remove(&key) && how != Finish::Done {
                        model.owe(key, now + wait);
                    }
                }
            }
            prop_assert_eq!(queue.running(), model.running.len());
            prop_assert_eq!(queue.is_empty(), model.owed.is_empty() && model.running.is_empty(), "memory stays");
            prop_assert_eq!(queue.entries.len(), model.owed.keys().chain(&model.running).collect::<BTreeSet<_>>().len());
            prop_assert_eq!(
                queue.ready.len() + queue.timed.len(),
                model.owed.keys().filter(|k| !model.running.contains(k)).count(),
                "a key stands in two places"
            );
        }
    }

    #[test]
    fn a_key_waits_for_no_more_passes_than_keys_stood_before_it(
        noise in prop::collection::vec(0u8..8, 1..60),
        ahead in prop::collection::vec(0u8..8, 0..8),
    ) {
        let mut queue = Queue::new(1);
        ahead.iter().for_each(|k| queue.add(*k));
        let before = queue.depth();
        queue.add(99);
        let mut passes = 0;
        // Others name themselves and each other all the time.
        for key in noise.iter().cycle() {
            queue.add(*key);
            let taken = queue.take(ms(0)).unwrap();
            if taken == 99 { break; }
            passes += 1;
            prop_assert!(passes <= before, "{} passes before its turn, {} stood before it", passes, before);
            queue.add(taken);
            queue.finish(&taken, ms(0), Finish::After(Duration::ZERO));
        }
    }
}
