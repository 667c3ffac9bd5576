//! Randomness: the only source of it in the workspace, so that a simulation can seed it.
//!
//! Out: uids, name suffixes, jitter. Seeded from the operating system unless [`seed`] was called. Keys and certificates
//! do not come from here: they are made by the crypto provider.

use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// What Kubernetes' generated names are made of: no vowels, and no 0, 1 and 3, so that no word is spelled by accident.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// The length of the suffix that `generateName` gets.
pub const SUFFIX_LENGTH: usize = 5;

static SOURCE: LazyLock<Mutex<StdRng>> = LazyLock::new(|| Mutex::new(StdRng::from_os_rng()));

/// Makes everything that follows reproducible.
pub fn seed(seed: u64) {
    *SOURCE.lock() = StdRng::seed_from_u64(seed);
}

/// A random (version 4) UUID in its usual text form (RFC 9562).
pub fn uid() -> String {
    let mut bytes = [0u8; 16];
    SOURCE.lock().fill_bytes(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).expect("a nibble is a hexadecimal digit"));
        }
    }
    text
}

/// Five characters for the end of a generated name.
pub fn suffix() -> String {
    let mut source = SOURCE.lock();
    (0..SUFFIX_LENGTH).map(|_| ALPHABET[source.random_range(0..ALPHABET.len())] as char).collect()
}

/// `duration` lengthened by a random part of at most `fraction` of itself.
pub fn jitter(duration: Duration, fraction: f64) -> Duration {
    duration + duration.mul_f64(fraction.max(0.0) * SOURCE.lock().random::<f64>())
}

/// A number in `0..bound`; 0 when `bound` is 0.
pub fn below(bound: u64) -> u64 {
    if bound == 0 { 0 } else { SOURCE.lock().random_range(0..bound) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_of_version_4() {
        let uid = uid();
        assert_eq!(uid.len(), 36);
        assert_eq!(&uid[14..15], "4");
        assert!(matches!(&uid[19..20], "8" | "9" | "a" | "b"), "{uid}");
    }

    #[test]
    fn suffixes_are_short_and_safe() {
        let suffix = suffix();
        assert_eq!(suffix.len(), SUFFIX_LENGTH);
        assert!(suffix.bytes().all(|it| ALPHABET.contains(&it)), "{suffix}");
    }

    #[test]
    fn jitter_only_lengthens() {
        for _ in 0..100 {
            let it = jitter(Duration::from_secs(10), 0.2);
            assert!((10.0..=12.0).contains(&it.as_secs_f64()), "{it:?}");
        }
    }
}
