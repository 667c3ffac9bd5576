//! Numbers in tar headers, in the two forms that there are. Pure.

use crate::runtime::native::images::fault::Fault;

/// A number of a header: octal digits among blanks, none for zero, or with the highest bit set the bytes of the number itself, as GNU tar writes
/// those that do not fit. What is longer than 64 bits is cut: only the sign is there.
///
/// # Errors
/// When it is in neither form; `name` tells which field.
pub fn number(name: &str, field: &[u8]) -> Result<u64, Fault> {
    if field.first().is_some_and(|it| it & 0x80 != 0) {
        let negative = field[0] & 0x40 != 0;
        let start = if negative { u64::MAX } else { 0 };
        // Of the first byte the two highest bits are the mark and the sign.
        let first = if negative { field[0] } else { field[0] & 0x3f };
        let bytes = std::iter::once(first).chain(field[1..].iter().copied());
        return Ok(bytes.fold(start, |sum, it| sum << 8 | u64::from(it)));
    }
    let text = field.split(|it| *it == 0).next().unwrap_or_default().trim_ascii();
    if text.is_empty() {
        return Ok(0);
    }
    let digits = std::str::from_utf8(text).ok().and_then(|it| u64::from_str_radix(it, 8).ok());
    digits.ok_or_else(|| Fault::bad(format!("this is no tar stream: a header's {name} is no number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_two_forms() {
        let check = |field: &[u8], expected: Option<i64>| {
            assert_eq!(number("x", field).ok().map(|it| it as i64), expected, "{field:?}");
        };
        check(b"0000755\0", Some(0o755));
        check(b"   755 \0", Some(0o755));
        check(b"\0\0\0\0\0\0\0\0", Some(0));
        check(b"0000789\0", None);
        check(b"\x80\0\0\0\0\0\x01\x02", Some(258));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2));
    }
}
