//! A stream's headers: names and values, compressed with one state for the whole connection.
//!
//! In: a compressed block of at most a control frame's length. Out: [`Headers`]; and the other way. What unpacks to more than a bound is refused.
//! Source: "SPDY Protocol - Draft 3", section 2.6.10.

use bytes::{BufMut, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary;
use super::frame::Malformed;

/// The most that a block may unpack to.
const BLOCK_BYTES_MAX: usize = 64 << 10;

/// Names in small letters, and values; several values of one name stand in one, with NULs between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of a name, whose letters may be of any size; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.split('\0').next().unwrap_or_default())
    }

    fn parse(mut block: &[u8]) -> Result<Self, Malformed> {
        let short = Malformed("headers are cut");
        let number = |block: &mut &[u8]| -> Result<usize, Malformed> {
            let (bytes, rest) = block.split_first_chunk::<4>().ok_or(short)?;
            *block = rest;
            Ok(u32::from_be_bytes(*bytes) as usize)
        };
        let count = number(&mut block)?;
        let mut headers = Vec::new();
        let text = |block: &mut &[u8]| -> Result<String, Malformed> {
            let length = number(block)?;
            let (bytes, rest) = block.split_at_checked(length).ok_or(short)?;
            *block = rest;
            String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("a header is not UTF-8"))
        };
        for _ in 0..count {
            // However many are announced, each takes eight bytes of the block.
            headers.push((text(&mut block)?, text(&mut block)?));
        }
        Ok(Headers(headers))
    }

    /// The block that is compressed.
    pub fn plain(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32(self.0.len() as u32);
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            out.put_u32(text.len() as u32);
            out.put_slice(text.as_bytes());
        }
        out
    }
}

/// Unpacks what comes.
pub struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Inflater(Decompress::new(true))
    }
}

impl Inflater {
    /// The headers of the connection's next block.
    ///
    /// # Errors
    /// For what is not compressed as the draft says, is too much, or holds no headers. The connection cannot go on.
    pub fn headers(&mut self, block: &[u8]) -> Result<Headers, Malformed> {
        Headers::parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, Malformed> {
        let broken = Malformed("headers are not compressed");
        let (mut rest, mut out, mut piece) = (block, Vec::new(), [0; 4096]);
        loop {
            let (taken, made) = (self.0.total_in(), self.0.total_out());
            let result = self.0.decompress(rest, &mut piece, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - taken).map_err(|_| broken)?;
            let made = usize::try_from(self.0.total_out() - made).map_err(|_| broken)?;
            rest = rest.get(taken..).ok_or(broken)?;
            out.extend_from_slice(piece.get(..made).ok_or(broken)?);
            if out.len() > BLOCK_BYTES_MAX {
                return Err(Malformed("headers are too long"));
            }
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary::bytes()).map_err(|_| broken)?;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(broken),
                // A full piece means that there may be more.
                Ok(_) if made == piece.len() => {}
                Ok(_) if rest.is_empty() => return Ok(out),
                Ok(_) if taken == 0 && made == 0 => return Err(broken),
                Ok(_) => {}
            }
        }
    }
}

/// Packs what goes.
pub struct Deflater(Compress);

impl Default for Deflater {
    fn default() -> Self {
        let mut packing = Compress::new(Compression::fast(), true);
        packing.set_dictionary(&dictionary::bytes()).expect("a new stream takes any dictionary");
        Deflater(packing)
    }
}

impl Deflater {
    /// The connection's next block.
    pub fn block(&mut self, headers: &Headers) -> Bytes {
        self.pack(&headers.plain())
    }

    /// The connection's next block, of headers in their plain form.
    pub fn pack(&mut self, text: &[u8]) -> Bytes {
        // What does not shrink grows by a few bytes of framing.
        let mut out = Vec::with_capacity(text.len() + 64);
        let mut rest = text;
        loop {
            out.reserve(64);
            let before = self.0.total_in();
            let packed = self.0.compress_vec(rest, &mut out, FlushCompress::Sync);
            rest = &rest[usize::try_from(self.0.total_in() - before).unwrap_or(rest.len()).min(rest.len())..];
            if packed.is_err() || (rest.is_empty() && out.len() < out.capacity()) {
                return out.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        Headers(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn blocks_come_back_in_their_order() {
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        for it in [
            headers(&[("streamtype", "error"), ("port", "80"), ("requestid", "0")]),
            headers(&[]),
            headers(&[("streamtype", "data"), ("x", "one\0two")]),
            headers(&[("long", &"abc".repeat(10_000))]),
        ] {
            assert_eq!(inflater.headers(&deflater.block(&it)), Ok(it));
        }
        assert_eq!(headers(&[("StreamType", "a\0b")]).get("streamType"), "a");
        assert_eq!(headers(&[]).get("streamType"), "");
    }

    /// What Go's `compress/zlib` makes of one header, with the dictionary and a flush.
    #[test]
    fn a_block_of_another_implementation_is_read() {
        let block = b"\x78\xf9\xe3\xc6\xa7\xc2\x62\x60\x60\x60\x04\x00\x00\x00\xff\xff";
        // The count alone: one header is announced and none follows.
        assert_eq!(Inflater::default().headers(block), Err(Malformed("headers are cut")));
    }

    #[test]
    fn bombs_and_lies_are_refused() {
        let bomb = Deflater::default().block(&headers(&[("a", &"x".repeat(BLOCK_BYTES_MAX))]));
        assert!(bomb.len() < 1000);
        assert_eq!(Inflater::default().headers(&bomb), Err(Malformed("headers are too long")));
        assert!(Headers::parse(&[0, 0, 0, 1, 0, 0, 0, 1, 255, 0, 0, 0, 0]).is_err());
        assert!(Headers::parse(&[255; 40]).is_err());
        assert!(Inflater::default().headers(b"plain text").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_headers_or_refused(block: Vec<u8>, plain: Vec<u8>) {
            let _ = Inflater::default().headers(&block);
            let _ = Headers::parse(&plain);
            let mut inflater = Inflater::default();
            let first = Deflater::default().block(&Headers::default());
            prop_assert_eq!(inflater.headers(&first), Ok(Headers::default()));
            let _ = inflater.headers(&block);
        }
    }
}
