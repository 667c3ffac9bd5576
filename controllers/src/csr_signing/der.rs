//! The little of DER that a certificate takes (ITU-T X.690): tags, lengths, and the few types of which it is made.
//!
//! In: values. Out: their encoding. What comes from elsewhere (names, keys) is encoded already and only put in place.

use jiff::Timestamp;

/// The tag of: a whole number.
pub const INTEGER: u8 = 0x02;
/// The tag of: bits, behind a byte that counts the unused ones of the last.
pub const BIT_STRING: u8 = 0x03;
/// The tag of: bytes.
pub const OCTET_STRING: u8 = 0x04;
/// The tag of: nothing.
pub const NULL: u8 = 0x05;
/// The tag of: a name in the tree of object identifiers.
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// The tag of: values one after the other.
pub const SEQUENCE: u8 = 0x30;
/// `true`, whole.
pub const TRUE: [u8; 3] = [0x01, 0x01, 0xff];
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Times from this year on have four digits for the year (RFC 5280, 4.1.2.5).
const FOUR_DIGITS_FROM: i16 = 2050;

/// A value of this tag that consists of these parts.
pub fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|it| it.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|it| **it == 0).count();
            // At most eight bytes, so that the sum fits.
            out.push(0x80 + (bytes.len() - zeros) as u8);
            out.extend_from_slice(&bytes[zeros..]);
        }
    }
    parts.iter().for_each(|it| out.extend_from_slice(it));
    out
}

/// A sequence of values.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(SEQUENCE, parts)
}

/// A bit string of whole bytes.
pub fn bits(bytes: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], bytes])
}

/// A positive whole number from its bytes, the highest first.
pub fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|it| **it == 0).count().min(bytes.len().saturating_sub(1));
    let bytes = &bytes[zeros..];
    // A set highest bit would make it negative.
    let sign: &[u8] = if bytes.first().is_some_and(|it| it & 0x80 != 0) { &[0] } else { &[] };
    value(INTEGER, &[sign, bytes])
}

/// A time, to the second.
pub fn time(it: Timestamp) -> Vec<u8> {
    let civil = it.to_zoned(jiff::tz::TimeZone::UTC);
    if civil.year() < FOUR_DIGITS_FROM {
        value(UTC_TIME, &[civil.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()])
    } else {
        value(GENERALIZED_TIME, &[civil.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()])
    }
}

/// A set of flags, the first the highest bit; without the zeros at its end, as DER wants it.
pub fn flags(set: u16) -> Vec<u8> {
    let bytes = set.to_be_bytes();
    let bytes = if bytes[1] == 0 { &bytes[..1] } else { &bytes[..] };
    let unused = bytes.last().map_or(0, |it| it.trailing_zeros().min(7)) as u8;
    value(BIT_STRING, &[&[unused], bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_as_der_has_them() {
        assert_eq!(value(OCTET_STRING, &[&[1, 2], &[3]]), [4, 3, 1, 2, 3]);
        assert_eq!(value(OCTET_STRING, &[&[0; 200]])[..3], [4, 0x81, 200]);
        assert_eq!(value(OCTET_STRING, &[&[0; 300]])[..4], [4, 0x82, 1, 44]);
        assert_eq!(unsigned(&[0, 0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[0]), [2, 1, 0]);
        assert_eq!(flags(0xa000), [3, 2, 5, 0xa0]);
        assert_eq!(flags(0x0080), [3, 3, 7, 0, 0x80]);
        assert_eq!(time("2026-01-02T03:04:05Z".parse().unwrap()), b"\x17\x0d260102030405Z");
        assert_eq!(time("2050-01-02T03:04:05Z".parse().unwrap()), b"\x18\x0f20500102030405Z");
    }
}
