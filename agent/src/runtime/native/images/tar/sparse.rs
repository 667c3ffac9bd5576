//! Sparse files in tar streams: GNU's old form, whose map is in and after the header, and PAX form 1.0, whose map stands before the data.

use std::io::Read;

use super::pax::number;
use crate::runtime::native::images::fault::Fault;

/// Extents of one file. More come only from files that were made to have them; 16 bytes each bound their memory to 2 MiB.
pub const MAX_EXTENTS: usize = 1 << 17;

/// A piece of a file that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// The size with holes and the map of an entry of GNU's type `S`. The blocks that continue the map are taken from the stream.
///
/// # Errors
/// When a number is wrong, or the stream ends.
pub fn of_gnu(header: &tar::Header, stream: &mut impl Read) -> Result<(u64, Vec<Extent>), Fault> {
    let wrong = |_| Fault::bad("a sparse file's map is malformed");
    let gnu = header.as_gnu().ok_or_else(|| Fault::bad("a sparse file without a GNU header"))?;
    let mut extents = Vec::new();
    let mut note = |pieces: &[tar::GnuSparseHeader]| -> Result<(), Fault> {
        for piece in pieces.iter().filter(|it| !it.is_empty()) {
            if extents.len() >= MAX_EXTENTS {
                return Err(Fault::bad(format!("a sparse file has more than {MAX_EXTENTS} pieces")));
            }
            extents.push(Extent { offset: piece.offset().map_err(wrong)?, length: piece.length().map_err(wrong)? });
        }
        Ok(())
    };
    note(&gnu.sparse)?;
    let mut more = gnu.is_extended();
    while more {
        let mut block = tar::GnuExtSparseHeader::new();
        stream.read_exact(block.as_mut_bytes()).map_err(|it| Fault::io("read a sparse file's map", it))?;
        note(block.sparse())?;
        more = block.is_extended();
    }
    Ok((gnu.real_size().map_err(wrong)?, extents))
}

/// The map of PAX form 1.0: lines of numbers before the data, filled up to a whole block.
///
/// # Errors
/// When it is not such a map, or the stream ends.
pub fn of_data(data: &mut impl Read) -> Result<Vec<Extent>, Fault> {
    let mut lines = Lines { data, block: [0; 512], at: 512 };
    let count = usize::try_from(lines.number()?).ok().filter(|it| *it <= MAX_EXTENTS);
    let count = count.ok_or_else(|| Fault::bad(format!("a sparse file has more than {MAX_EXTENTS} pieces")))?;
    let mut extents = Vec::new();
    for _ in 0..count {
        extents.push(Extent { offset: lines.number()?, length: lines.number()? });
    }
    Ok(extents)
}

/// Numbers that end in newlines, read in whole blocks.
struct Lines<'a, R> {
    data: &'a mut R,
    block: [u8; 512],
    at: usize,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> Result<u64, Fault> {
        let mut digits = Vec::new();
        loop {
            if self.at == self.block.len() {
                self.data.read_exact(&mut self.block).map_err(|it| Fault::io("read a sparse file's map", it))?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return number(&digits),
                _ if digits.len() < 20 => digits.push(byte),
                _ => return Err(Fault::bad("a sparse file's map is malformed")),
            }
        }
    }
}

/// That a map is in order, lies within the file, and accounts for all of the data.
///
/// # Errors
/// When it does not.
pub fn check(extents: &[Extent], size: u64, data_bytes: u64) -> Result<(), Fault> {
    let (mut end, mut total) = (0_u64, 0_u64);
    for it in extents {
        let stop = it.offset.checked_add(it.length);
        match stop {
            Some(stop) if it.offset >= end && stop <= size => end = stop,
            _ => return Err(Fault::bad("a sparse file's map is out of order or beyond its end")),
        }
        total += it.length;
    }
    if total != data_bytes {
        return Err(Fault::bad("a sparse file's map does not fit its data"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_before_the_data_takes_whole_blocks() {
        let mut data = b"2\n0\n5\n1024\n7\n".to_vec();
        data.resize(512, 0);
        data.extend_from_slice(b"rest");
        let mut stream = data.as_slice();
        let expected = [Extent { offset: 0, length: 5 }, Extent { offset: 1024, length: 7 }];
        assert_eq!(of_data(&mut stream).unwrap(), expected);
        assert_eq!(stream, b"rest");
        assert!(of_data(&mut &[b'9'; 512][..]).is_err());
        assert!(of_data(&mut &b"1\n"[..]).is_err());
    }

    #[test]
    fn maps_are_judged() {
        let check = |extents: &[(u64, u64)], size: u64, data: u64, good: bool| {
            let extents: Vec<_> = extents.iter().map(|it| Extent { offset: it.0, length: it.1 }).collect();
            assert_eq!(super::check(&extents, size, data).is_ok(), good, "{extents:?} of {size}");
        };
        check(&[], 100, 0, true);
        check(&[(0, 5), (10, 5)], 15, 10, true);
        check(&[(0, 5), (4, 5)], 15, 10, false);
        check(&[(10, 5), (0, 5)], 15, 10, false);
        check(&[(0, 16)], 15, 16, false);
        check(&[(u64::MAX, 2)], u64::MAX, 2, false);
        check(&[(0, 5)], 15, 6, false);
    }
}
