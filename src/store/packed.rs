//! From MessagePack to values: what every file of the store is read with.

use rmp_serde::{Deserializer, decode::Error};
use serde::de::DeserializeOwned;

/// Deepest nesting: more than any value of ours. The crate's own limit, 1024, lets a few bytes that nobody of us wrote
/// end a thread with a small stack, and with it the process.
const MOST_DEPTH: usize = 64;

/// Reads a value.
///
/// # Errors
/// When the bytes are not such a value.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut from = Deserializer::from_read_ref(bytes);
    from.set_max_depth(MOST_DEPTH);
    T::deserialize(&mut from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::witness::Witness;

    #[test]
    fn what_is_nested_without_end_is_an_error_and_no_end_of_the_process() {
        // A mapping with one unknown key, whose value are lists in lists.
        let deep = [&[0x81, 0xa1, b'x'][..], &vec![0x91; 100_000]].concat();
        assert!(matches!(read::<Witness>(&deep), Err(Error::DepthLimitExceeded)));
    }
}
