//! How one change and the log's head look on disk.
//!
//! In: changes. Out: bytes with a checksum, and back, with every byte checked. A record is
//! `crc32 (4) | kind (1) | created (8) | key length (4) | key | value`, little-endian, stored under its revision; the
//! checksum covers the revision too, so that a record in the wrong place is found. The head counts the records and sums
//! their digests, so that a record that is missing as a whole is found as well.
//!
//! Pure: it knows no file.

use std::sync::Arc;

use bytes::Bytes;

use crate::mvcc::{Change, FIRST};
use crate::{Key, Revision};

/// The form written by this build; another number is refused, not guessed at.
const FORMAT: u32 = 1;

const WRITTEN: u8 = 1;
const DELETED: u8 = 2;

/// Checksum, kind, created, key length.
const FIXED_BYTES: usize = 4 + 1 + 8 + 4;

/// A record that is not what was written, and how it shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub &'static str);

/// A record as read back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub key: Key,
    pub created: Revision,
    /// None for a deletion.
    pub value: Option<Bytes>,
}

/// How many bytes [`write`] fills for a change.
pub(crate) fn len(change: &Change) -> usize {
    FIXED_BYTES + change.event.key.len() + change.event.value.as_ref().map_or(0, Bytes::len)
}

/// Writes a change into `out`, which has [`len`] bytes.
pub(crate) fn write(change: &Change, out: &mut [u8]) {
    let key = change.event.key.as_bytes();
    out[4] = if change.event.value.is_some() { WRITTEN } else { DELETED };
    out[5..13].copy_from_slice(&change.created.0.to_le_bytes());
    // A key longer than 4 GiB cannot have come through any door.
    out[13..17].copy_from_slice(&u32::try_from(key.len()).expect("a key is far shorter than 4 GiB").to_le_bytes());
    out[FIXED_BYTES..FIXED_BYTES + key.len()].copy_from_slice(key);
    if let Some(value) = &change.event.value {
        out[FIXED_BYTES + key.len()..].copy_from_slice(value);
    }
    let checksum = checksum(change.event.revision, &out[4..]);
    out[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads a record back and checks it.
pub(crate) fn read(revision: Revision, bytes: &[u8]) -> Result<Record, Broken> {
    if bytes.len() < FIXED_BYTES {
        return Err(Broken("it is cut short"));
    }
    if u32_at(bytes, 0) != checksum(revision, &bytes[4..]) {
        return Err(Broken("its checksum does not match"));
    }
    let key_end = FIXED_BYTES + u32_at(bytes, 13) as usize;
    let key = bytes.get(FIXED_BYTES..key_end).ok_or(Broken("its key is cut short"))?;
    let key = std::str::from_utf8(key).map_err(|_| Broken("its key is not UTF-8"))?;
    let value = match bytes[4] {
        WRITTEN => Some(Bytes::copy_from_slice(&bytes[key_end..])),
        DELETED => None,
        _ => return Err(Broken("its kind is unknown")),
    };
    Ok(Record { key: Arc::from(key), created: Revision(u64_at(bytes, 5)), value })
}

/// What a record adds to the head's digest. The stored checksum is taken as it is: whoever adds or removes a record has
/// just written or read it.
pub(crate) fn digest(revision: Revision, bytes: &[u8]) -> u64 {
    // The finaliser of splitmix64, so that the sum over records tells apart what differs in few bits.
    let mut x = (u64::from(u32_at(bytes, 0)) << 32) ^ revision.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What the log as a whole must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub oldest: Revision,
    pub current: Revision,
    pub records: u64,
    pub digest: u64,
}

impl Head {
    pub const BYTES: usize = 4 + 4 + 4 * 8;

    /// The head of an empty log.
    pub fn new() -> Self {
        Self { oldest: Revision(0), current: FIRST, records: 0, digest: 0 }
    }

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[4..8].copy_from_slice(&FORMAT.to_le_bytes());
        let fields = [self.oldest.0, self.current.0, self.records, self.digest];
        for (place, field) in out[8..].chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        let checksum = crc32fast::hash(&out[4..]);
        out[..4].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Broken> {
        if bytes.len() != Self::BYTES {
            return Err(Broken("it has the wrong length"));
        }
        if u32_at(bytes, 0) != crc32fast::hash(&bytes[4..]) {
            return Err(Broken("its checksum does not match"));
        }
        if u32_at(bytes, 4) != FORMAT {
            return Err(Broken("it was written in another format"));
        }
        Ok(Self {
            oldest: Revision(u64_at(bytes, 8)),
            current: Revision(u64_at(bytes, 16)),
            records: u64_at(bytes, 24),
            digest: u64_at(bytes, 32),
        })
    }

    pub fn add(&mut self, digest: u64) {
        self.records = self.records.wrapping_add(1);
        self.digest = self.digest.wrapping_add(digest);
    }

    pub fn remove(&mut self, digest: u64) {
        self.records = self.records.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(digest);
    }
}

fn checksum(revision: Revision, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&revision.0.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    fn bytes(key: &str, revision: u64, created: u64, value: Option<&'static [u8]>) -> Vec<u8> {
        let value = value.map(Bytes::from_static);
        let event = Event { key: key.into(), revision: Revision(revision), created: created == revision, value };
        let change = Change { event, created: Revision(created), before: None };
        let mut out = vec![0; len(&change)];
        write(&change, &mut out);
        out
    }

    #[test]
    fn records_come_back_as_written() {
        for (key, created, value) in [("/a", 7, Some(&b"x"[..])), ("/a", 3, Some(b"")), ("", 7, None), ("/é", 2, None)]
        {
            let expected = Record { key: key.into(), created: Revision(created), value: value.map(Bytes::from_static) };
            assert_eq!(read(Revision(7), &bytes(key, 7, created, value)), Ok(expected));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let record = bytes("/registry/pods/a", 9, 4, Some(b"value"));
        let head = Head { oldest: Revision(4), current: Revision(9), records: 3, digest: 77 }.to_bytes();
        for at in 0..record.len() * 8 {
            let mut broken = record.clone();
            broken[at / 8] ^= 1 << (at % 8);
            assert!(read(Revision(9), &broken).is_err(), "bit {at}");
        }
        for cut in 0..record.len() {
            assert!(read(Revision(9), &record[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(Revision(8), &record).is_err());
        for at in 0..head.len() * 8 {
            let mut broken = head;
            broken[at / 8] ^= 1 << (at % 8);
            assert!(Head::from_bytes(&broken).is_err(), "bit {at}");
        }
        assert_eq!(Head::from_bytes(&head).unwrap().to_bytes(), head);
    }
}
