//! One record of the log on disk: checked and chained.
//!
//! Layout, little endian: magic 4, format 1, kind 1, zero 2, length 4, CRC-32C of the record before 4,
//! index 8, term 8, CRC-32C of all that and the payload 4, payload.
//! Invariant: a flipped bit in a record, or a record in another's place, is seen when it is read.
//! What it cannot see: a tail that is missing as a whole. `super::witness` does.

use super::fault::{Mistake, is_made};

/// Bytes before the payload.
pub const HEADER: usize = 36;
const MAGIC: [u8; 4] = *b"CSTL";
const FORMAT: u8 = 1;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Raft entry.
    Entry = 1,
    /// Raft's vote.
    Vote = 2,
    /// Up to where the log was purged.
    Purged = 3,
    /// Up to where entries were known to be committed; may be behind.
    Committed = 4,
    /// What was durable, noted outside of the log.
    Witness = 5,
}

/// A record without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What it holds.
    pub kind: Kind,
    /// Raft's index; 0 for vote and purge mark.
    pub index: u64,
    /// Raft's term; 0 for vote and purge mark.
    pub term: u64,
    /// Checksum of the record before it.
    pub previous: u32,
    /// Its own checksum.
    pub checksum: u32,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Fewer bytes than a header, or than the header says.
    #[error("it is cut off")]
    Short,
    /// Not a record of this format.
    #[error("it does not begin like a record")]
    Magic,
    /// The checksum does not match.
    #[error("its checksum does not match")]
    Checksum,
    /// Whole, and of a kind that this version does not know.
    #[error("it is of kind {0}, which this version does not know")]
    Unknown(u8),
}

/// How every record of a kind begins.
#[must_use]
pub const fn beginning(kind: Kind) -> [u8; 8] {
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, FORMAT, kind as u8, 0, 0]
}

/// Writes a record; answers its bytes and checksum.
#[must_use]
pub fn encode(kind: Kind, index: u64, term: u64, previous: u32, payload: &[u8]) -> (Vec<u8>, u32) {
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(&beginning(kind));
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&previous.to_le_bytes());
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&term.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&out), payload);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(payload);
    (out, checksum)
}

/// Reads a record that fills `bytes`.
///
/// # Errors
/// [`Damage`] when the bytes are not what was written.
pub fn decode(bytes: &[u8]) -> Result<(Record, &[u8]), Damage> {
    let (header, payload) = bytes.split_at_checked(HEADER).ok_or(Damage::Short)?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    if header[..4] != MAGIC || header[4] != FORMAT {
        return Err(Damage::Magic);
    }
    if word(8) as usize != payload.len() {
        return Err(Damage::Short);
    }
    let checksum = word(32);
    let sum = crc32c::crc32c_append(crc32c::crc32c(&header[..32]), payload);
    if sum != checksum && !is_made(Mistake::SkipChecksum) {
        return Err(Damage::Checksum);
    }
    let kind = match header[5] {
        1 => Kind::Entry,
        2 => Kind::Vote,
        3 => Kind::Purged,
        4 => Kind::Committed,
        5 => Kind::Witness,
        other => return Err(Damage::Unknown(other)),
    };
    Ok((Record { kind, index: long(16), term: long(24), previous: word(12), checksum }, payload))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(index: u64, term: u64, previous: u32, payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let (bytes, checksum) = encode(Kind::Entry, index, term, previous, &payload);
            let expected = Record { kind: Kind::Entry, index, term, previous, checksum };
            prop_assert_eq!(decode(&bytes), Ok((expected, &payload[..])));
        }

        #[test]
        fn a_flipped_bit_is_seen(payload in prop::collection::vec(any::<u8>(), 0..64), at: prop::sample::Index, bit in 0u8..8) {
            let (mut bytes, _) = encode(Kind::Vote, 7, 3, 9, &payload);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn a_cut_is_seen(payload in prop::collection::vec(any::<u8>(), 0..64), keep: prop::sample::Index) {
            let (bytes, _) = encode(Kind::Purged, 7, 3, 9, &payload);
            let kept = keep.index(bytes.len());
            prop_assert!(decode(&bytes[..kept]).is_err());
        }
    }
}
