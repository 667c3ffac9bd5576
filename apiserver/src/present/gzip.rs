//! Large answers, compressed for clients that take it (kube-apiserver's `APIResponseCompression`).
//!
//! In: a body or its pieces. Out: the same as one gzip stream, at the level that costs least. Small answers are not worth it: at 128 KiB a body
//! takes some milliseconds on a network of 1 Gbit/s, which is what compressing it costs.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, HeaderValue, VARY};

use super::{Body, Response};

/// What is larger is compressed (`defaultGzipThresholdBytes`).
pub const LARGE_BYTES: usize = 128 << 10;

/// Compresses the whole body of a response.
pub fn whole(response: &mut Response, body: &[u8]) {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to memory does not fail; if it did, the body would go as it is.
    if encoder.write_all(body).is_ok()
        && let Ok(done) = encoder.finish()
    {
        *response.body_mut() = Body::Whole(done.into());
        name(response);
    }
}

/// Says that the body of a response is compressed.
pub fn name(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// Compresses pieces as they are taken.
pub struct Pieces<I> {
    pieces: I,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<I: Iterator<Item = Bytes>> Pieces<I> {
    /// The same pieces in one gzip stream.
    pub fn new(pieces: I) -> Self {
        Pieces { pieces, encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())) }
    }
}

impl<I: Iterator<Item = Bytes>> Iterator for Pieces<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            let encoder = self.encoder.as_mut()?;
            match self.pieces.next() {
                Some(piece) => {
                    encoder.write_all(&piece).ok()?;
                    let made = std::mem::take(encoder.get_mut());
                    if !made.is_empty() {
                        return Some(made.into());
                    }
                }
                None => return self.encoder.take()?.finish().ok().map(Bytes::from),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn pieces_come_back_as_they_went() {
        let pieces: Vec<Bytes> = (0..50).map(|it| Bytes::from(format!("piece {it} ").repeat(5000))).collect();
        let packed: Vec<u8> = Pieces::new(pieces.clone().into_iter()).flatten().collect();
        let mut back = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, pieces.concat());
        assert!(packed.len() < back.len() / 10);
    }
}
