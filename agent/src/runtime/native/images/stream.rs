//! A layer as a plain stream: decompressed by what its first bytes are, hashed for its diff id, and bounded.
//!
//! Registries mislabel media types, so the bytes decide: gzip, zstd, or a tar stream as it is.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::fault::Fault;

/// The most a layer may unpack to, whatever its size: the largest layers in use (machine learning) have some 20 GB.
pub const MAX_LAYER_BYTES: u64 = 64 << 30;
/// The most bytes that one compressed byte may become. Programs and text shrink to a quarter or a tenth; gzip reaches 1,030 and zstd far more only
/// on repetition.
pub const MAX_RATIO: u64 = 100;
/// What every layer may unpack to regardless of the ratio: a file of zeros is no bomb.
pub const FREE_BYTES: u64 = 256 << 20;
/// The largest window a zstd stream may ask memory for, as a power of two: 128 MiB, the tool's own default limit.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Read from the file at once.
const BUFFER_BYTES: usize = 128 << 10;

/// The most that a stream of this many bytes may unpack to.
pub fn allowed(compressed_bytes: u64) -> u64 {
    compressed_bytes.saturating_mul(MAX_RATIO).clamp(FREE_BYTES, MAX_LAYER_BYTES)
}

/// Set when whoever wanted the stream is gone.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the work to stop at its next read.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Stops the work when it is dropped.
#[derive(Debug, Default)]
pub struct StopOnDrop(pub Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// The plain bytes.
pub struct Plain {
    inner: Box<dyn Read + Send>,
    hash: Sha256,
    bytes: u64,
    allowed: u64,
    stop: Stop,
}

impl Plain {
    /// Reads what `source` holds, which has `compressed_bytes`.
    ///
    /// # Errors
    /// As the source, or when the first bytes promise a form and the next break it.
    pub fn open(source: impl Read + Send + 'static, compressed_bytes: u64, stop: Stop) -> Result<Self, Fault> {
        Self::bounded(source, allowed(compressed_bytes), stop)
    }

    /// As [`Plain::open`], with the limit itself.
    ///
    /// # Errors
    /// As [`Plain::open`].
    pub fn bounded(mut source: impl Read + Send + 'static, allowed: u64, stop: Stop) -> Result<Self, Fault> {
        let mut magic = Vec::with_capacity(4);
        source.by_ref().take(4).read_to_end(&mut magic).map_err(|it| Fault::io("read the layer", it))?;
        let form = Form::of(&magic);
        let whole = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(magic).chain(source));
        let inner: Box<dyn Read + Send> = match form {
            Form::Gzip => Box::new(MultiGzDecoder::new(whole)),
            Form::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(whole).map_err(|it| Fault::io("set up zstd", it))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|it| Fault::io("set up zstd", it))?;
                Box::new(decoder)
            }
            Form::Tar => Box::new(whole),
        };
        Ok(Plain { inner, hash: Sha256::new(), bytes: 0, allowed, stop })
    }

    /// Reads what follows the archive's end mark, and gives the digest of everything.
    ///
    /// # Errors
    /// As reading does.
    pub fn finish(mut self) -> Result<Digest, Fault> {
        io::copy(&mut self, &mut io::sink()).map_err(|it| Fault::io("read the layer", it))?;
        Ok(Digest::finish(self.hash))
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(Fault::Canceled.into());
        }
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        if self.bytes > self.allowed {
            let text = format!("the layer unpacks to more than {} bytes, which its size does not allow", self.allowed);
            return Err(Fault::bad(text).into());
        }
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Gzip,
    Zstd,
    Tar,
}

impl Form {
    /// The form that begins with these four bytes.
    pub fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Form::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Form::Zstd,
            _ => Form::Tar,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: Vec<u8>, allowed: u64) -> Result<Digest, Fault> {
        Plain::bounded(io::Cursor::new(bytes), allowed, Stop::default())?.finish()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_form_has_the_same_digest() {
        let plain = vec![b'x'; 100_000];
        let expected = Digest::of(&plain);
        let twice = [gzip(&plain[..60_000]), gzip(&plain[60_000..])].concat();
        for form in [plain.clone(), gzip(&plain), twice, zstd::encode_all(plain.as_slice(), 3).unwrap()] {
            assert_eq!(read(form, 100_000).unwrap(), expected);
        }
        assert_eq!(read(Vec::new(), 0).unwrap(), Digest::of(b""));
    }

    #[test]
    fn bombs_and_broken_streams_are_refused() {
        let check = |bytes: Vec<u8>, expected: &str| {
            let error = read(bytes, 99_999).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} is not {expected}");
        };
        let plain = vec![0; 100_000];
        check(gzip(&plain), "more than 99999 bytes");
        check(zstd::encode_all(plain.as_slice(), 3).unwrap(), "more than 99999 bytes");
        let mut short = gzip(&plain[..1000]);
        short.truncate(short.len() - 4);
        check(short, "read the layer");
    }

    #[test]
    fn the_bound_follows_the_size() {
        assert_eq!(allowed(0), FREE_BYTES);
        assert_eq!(allowed(1 << 30), MAX_LAYER_BYTES);
        assert_eq!(allowed(10 << 20), 1000 << 20);
    }

    #[test]
    fn a_stopped_stream_ends() {
        let stop = StopOnDrop::default();
        let plain = Plain::bounded(io::repeat(0), u64::MAX, stop.0.clone()).unwrap();
        drop(stop);
        assert!(matches!(plain.finish(), Err(Fault::Canceled)));
    }
}
