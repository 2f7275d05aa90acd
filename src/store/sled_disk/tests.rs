//! Whatever is written, cut, purged and opened again, sled holds what the twin in memory holds.

use proptest::prelude::*;

use super::Sled;
use crate::store::disk::{Disk, Memory};

#[derive(Debug, Clone)]
enum Step {
    /// Records of these sizes, in one append.
    Append(Vec<usize>),
    /// The newest records go.
    Cut(u64),
    /// The oldest ones go.
    Purge(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 1..3_000usize, 4 => 10_000..60_000usize, 1 => 100_000..300_000usize];
    prop_oneof![
        8 => prop::collection::vec(size, 1..5).prop_map(Step::Append),
        2 => (1..12u64).prop_map(Step::Cut),
        1 => (1..12u64).prop_map(Step::Purge),
        2 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn sled_holds_what_memory_holds(steps in prop::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        // A small generation, so that several follow each other.
        let open = || Sled::open(dir.path(), 1 << 20).unwrap();
        let (mut sled, mut memory) = (open(), Memory::default());
        // What is there: first..next.
        let (mut first, mut next) = (0_u64, 0_u64);
        for step in steps {
            match step {
                Step::Append(sizes) => {
                    let records: Vec<_> = sizes.iter().zip(next..).map(|(size, i)| (i, vec![i as u8; *size])).collect();
                    next += records.len() as u64;
                    sled.append(records.clone()).unwrap();
                    memory.append(records).unwrap();
                    sled.sync().unwrap();
                }
                Step::Cut(some) => {
                    next = next.saturating_sub(some).max(first);
                    sled.truncate(next).unwrap();
                    memory.truncate(next).unwrap();
                }
                Step::Purge(some) if first + some < next => {
                    first += some;
                    sled.purge(first - 1).unwrap();
                    memory.purge(first - 1).unwrap();
                }
                Step::Purge(_) => {}
                Step::Reopen => {
                    sled.sync().unwrap();
                    drop(sled);
                    sled = open();
                }
            }
            prop_assert_eq!(sled.read(first, u64::MAX, usize::MAX).unwrap(), memory.read(first, u64::MAX, usize::MAX).unwrap());
            let middle = first + (next - first) / 2;
            prop_assert_eq!(sled.read(middle, middle + 2, 1).unwrap(), memory.read(middle, middle + 2, 1).unwrap());
        }
    }
}
