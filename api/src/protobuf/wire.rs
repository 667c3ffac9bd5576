//! The wire format of protobuf: fields of a message, one after another, each with its number and its bytes.
//!
//! In: the bytes of one message. Out: its fields, which borrow from them; nothing is copied and nothing can be read beyond the end. It
//! knows no message. Groups, which proto3 gave up and Kubernetes never used, are refused. Source: protobuf.dev/programming-guides/encoding.

use super::Malformed;

/// What one field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The most bytes of a varint: 64 bits in groups of seven.
const VARINT_BYTES_MAX: usize = 10;

/// The fields that have not been read yet.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The fields of a message.
    pub fn new(message: &'a [u8]) -> Self {
        Reader { rest: message }
    }

    /// The next field and its number; none at the end.
    ///
    /// # Errors
    /// Where the bytes break off or are no field.
    pub fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed::Tag)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::BreaksOff)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.fixed()?)),
            _ => return Err(Malformed::Tag),
        };
        match tag >> 3 {
            0 => Err(Malformed::Tag),
            number => Ok(Some((number, wire))),
        }
    }

    /// The next number of a packed list; none at the end.
    ///
    /// # Errors
    /// Where the bytes break off within it.
    pub fn next_packed(&mut self) -> Result<Option<u64>, Malformed> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::BreaksOff)?;
        self.rest = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::BreaksOff)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut out = 0;
        for (at, byte) in self.rest.iter().enumerate().take(VARINT_BYTES_MAX) {
            let bits = u64::from(byte & 0x7f);
            // Only one bit of the tenth byte is left.
            if at == VARINT_BYTES_MAX - 1 && bits > 1 {
                return Err(Malformed::Overflow);
            }
            out |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(out);
            }
        }
        Err(if self.rest.len() < VARINT_BYTES_MAX { Malformed::BreaksOff } else { Malformed::Overflow })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Result<&[(u32, Wire<'_>)], Malformed>) {
        let mut reader = Reader::new(bytes);
        let mut found = Vec::new();
        let outcome = loop {
            match reader.next() {
                Ok(Some(field)) => found.push(field),
                Ok(None) => break Ok(&found[..]),
                Err(error) => break Err(error),
            }
        };
        assert_eq!(outcome, expected);
    }

    #[test]
    fn fields_are_read_one_after_another() {
        check(&[], Ok(&[]));
        check(&[0x08, 0x96, 0x01, 0x12, 2, b'h', b'i'], Ok(&[(1, Wire::Varint(150)), (2, Wire::Bytes(b"hi"))]));
        check(&[0x0d, 1, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0, 0, 0], Ok(&[(1, Wire::Fixed32(1)), (2, Wire::Fixed64(2))]));
        let mut minus_one = vec![0x08];
        minus_one.extend([0xff; 9]);
        minus_one.push(1);
        check(&minus_one, Ok(&[(1, Wire::Varint(u64::MAX))]));
    }

    #[test]
    fn what_breaks_off_is_refused() {
        check(&[0x08], Err(Malformed::BreaksOff));
        check(&[0x12, 5, b'h'], Err(Malformed::BreaksOff));
        check(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f], Err(Malformed::BreaksOff));
        check(&[0x0d, 1], Err(Malformed::BreaksOff));
        check(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], Err(Malformed::Overflow));
        check(&[0x0b], Err(Malformed::Tag));
        check(&[0x00, 0x00], Err(Malformed::Tag));
    }
}
