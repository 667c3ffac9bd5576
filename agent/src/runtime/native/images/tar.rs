//! A layer's tar stream, read entry by entry: ustar, GNU and PAX headers, long names, extended attributes and sparse files.
//!
//! In: a reader of the plain stream. Out: [`Entry`]s whose names are bytes nobody has judged yet, and their data. It is not the `tar` crate's
//! own iterator because that reads a PAX or long-name header of any size into memory, and splits binary attributes at newlines; the crate's
//! header type is used. Where the data goes is for [`unpack`](super::unpack) to say.

pub mod number;
pub mod pax;
pub mod sparse;

use std::io::{self, Read};

use super::fault::Fault;
use number::number;
use pax::Pax;
use sparse::Extent;

/// The unit of a tar stream in bytes.
const BLOCK: usize = 512;
/// The largest extension header (long name, PAX records) in bytes: an extended attribute has at most 64 KiB, an entry a handful of them.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// What kind of file an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    /// Another name for a file of the same layer, which `link` names.
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    /// Of no meaning here; passed over.
    Other,
}

/// One entry's header, extensions merged in.
#[derive(Clone, Debug)]
pub struct Entry {
    pub path: Vec<u8>,
    /// Of a link: where it leads.
    pub link: Vec<u8>,
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Seconds since 1970, may be before; and nanoseconds.
    pub mtime: (i64, u32),
    /// Bytes of the file when it is made, holes included.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data belongs, if the file has holes.
    pub sparse: Option<Vec<Extent>>,
}

/// Reads a stream. As a [`Read`] it gives the current entry's data.
#[derive(Debug)]
pub struct Tar<R> {
    inner: R,
    /// Bytes of the current entry's data that have not been read.
    left: u64,
    /// Bytes between the end of the data and the next header.
    padding: u64,
    /// What global PAX headers say of all that follow.
    global: Pax,
}

impl<R: Read> Tar<R> {
    /// Reads from the beginning of a stream.
    pub fn new(inner: R) -> Self {
        Tar { inner, left: 0, padding: 0, global: Pax::default() }
    }

    /// The reader, which stands at the current entry's data.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// The next entry, or none at the end.
    ///
    /// # Errors
    /// When the stream is cut off or is no tar stream, or as the reader fails.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Fault> {
        let mut pax = self.global.clone();
        let (mut long_path, mut long_link) = (None, None);
        loop {
            self.skip_data()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let stored = number("size", &header.as_old().size)?;
            let kind = header.entry_type();
            if kind.is_pax_local_extensions() {
                pax.merge(&self.extension(stored)?)?;
            } else if kind.is_pax_global_extensions() {
                let records = self.extension(stored)?;
                self.global.merge(&records)?;
                pax.merge(&records)?;
            } else if kind.is_gnu_longname() {
                long_path = Some(until_nul(self.extension(stored)?));
            } else if kind.is_gnu_longlink() {
                long_link = Some(until_nul(self.extension(stored)?));
            } else {
                return self.entry(&header, stored, pax, long_path, long_link).map(Some);
            }
        }
    }

    fn entry(
        &mut self,
        header: &tar::Header,
        stored: u64,
        pax: Pax,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, Fault> {
        let stored = pax.size.unwrap_or(stored);
        let mut path = pax.path.or(long_path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.link.or(long_link);
        let link = link.unwrap_or_else(|| header.link_name_bytes().map(|it| it.into_owned()).unwrap_or_default());
        let kind = match header.entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                // Before ustar, a folder was a file with a slash at the end of its name.
                if path.last() == Some(&b'/') { Kind::Folder } else { Kind::File }
            }
            tar::EntryType::Directory => Kind::Folder,
            tar::EntryType::Link => Kind::HardLink,
            tar::EntryType::Symlink => Kind::Symlink,
            tar::EntryType::Char => Kind::CharDevice,
            tar::EntryType::Block => Kind::BlockDevice,
            tar::EntryType::Fifo => Kind::Fifo,
            _ => Kind::Other,
        };
        let mut size = stored;
        let mut extents = None;
        if header.entry_type().is_gnu_sparse() {
            let (real, found) = sparse::of_gnu(header, &mut self.inner)?;
            (size, extents) = (real, Some(found));
        }
        // Only what a file stores follows; links and folders may name a size and have no data.
        let has_data = matches!(kind, Kind::File | Kind::Other) || header.entry_type().is_file();
        self.left = if has_data { stored } else { 0 };
        let whole = self.left.checked_next_multiple_of(BLOCK as u64);
        self.padding = whole.ok_or_else(|| Fault::bad("an entry's size is nonsense"))? - self.left;
        if let (Kind::File, Some(form)) = (kind, pax.sparse) {
            (size, extents) = match form.map {
                Some(map) => (form.real_size.unwrap_or(stored), Some(map)),
                None => (form.real_size.unwrap_or(stored), Some(sparse::of_data(self)?)),
            };
            path = form.name.unwrap_or(path);
        }
        if let Some(extents) = &extents {
            sparse::check(extents, size, self.left)?;
        }
        let old = header.as_old();
        let (major, minor) = match (kind, header.as_ustar(), header.as_gnu()) {
            (Kind::CharDevice | Kind::BlockDevice, Some(it), _) => (&it.dev_major, &it.dev_minor),
            (Kind::CharDevice | Kind::BlockDevice, _, Some(it)) => (&it.dev_major, &it.dev_minor),
            _ => (&[0; 8], &[0; 8]),
        };
        let device = |field: &[u8]| {
            let wrong = |_| Fault::bad("the layer has a device whose number no kernel has");
            number("device number", field).and_then(|it| u32::try_from(it).map_err(wrong))
        };
        Ok(Entry {
            path,
            link,
            kind,
            mode: number("mode", &old.mode)? as u32 & 0o7777,
            uid: pax.uid.map_or_else(|| number("user id", &old.uid), Ok)?,
            gid: pax.gid.map_or_else(|| number("group id", &old.gid), Ok)?,
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                // Base-256 numbers are two's complement: a time before 1970 comes as a huge unsigned one.
                None => (number("time", &old.mtime)? as i64, 0),
            },
            size,
            device: (device(major)?, device(minor)?),
            xattrs: pax.xattrs,
            sparse: extents,
        })
    }

    /// The next header block; none at the end of the stream or its mark, a block of zeros.
    fn header(&mut self) -> Result<Option<tar::Header>, Fault> {
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(Fault::bad("the tar stream is cut off")),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cut_off(error)),
            }
        }
        if block.iter().all(|it| *it == 0) {
            return Ok(None);
        }
        let sum: u32 =
            block.iter().enumerate().map(|(at, it)| u32::from(if (148..156).contains(&at) { b' ' } else { *it })).sum();
        match header.cksum() {
            Ok(told) if told == sum => Ok(Some(header)),
            _ => Err(Fault::bad("this is no tar stream: a header's checksum is wrong")),
        }
    }

    /// The content of an extension header.
    fn extension(&mut self, bytes: u64) -> Result<Vec<u8>, Fault> {
        if bytes > MAX_EXTENSION_BYTES {
            let text = format!("a header's extension has {bytes} bytes, more than {MAX_EXTENSION_BYTES}");
            return Err(Fault::bad(text));
        }
        self.left = bytes;
        self.padding = bytes.next_multiple_of(BLOCK as u64) - bytes;
        let mut content = Vec::with_capacity(bytes as usize);
        self.read_to_end(&mut content).map_err(cut_off)?;
        Ok(content)
    }

    /// Passes over what is left of the current entry.
    fn skip_data(&mut self) -> Result<(), Fault> {
        let rest = self.left.checked_add(self.padding).ok_or_else(|| Fault::bad("an entry's size is nonsense"))?;
        (self.left, self.padding) = (0, 0);
        let skipped = io::copy(&mut self.inner.by_ref().take(rest), &mut io::sink()).map_err(cut_off)?;
        if skipped < rest {
            return Err(Fault::bad("the tar stream is cut off"));
        }
        Ok(())
    }
}

impl<R: Read> Read for Tar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.inner.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(Fault::bad("the tar stream is cut off").into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Why reading the stream failed; a decompressor says `UnexpectedEof` where its input ends too early.
fn cut_off(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Fault::bad("the stream is cut off"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Fault::bad(format!("the stream is damaged: {error}"))
        }
        _ => Fault::io("read the stream", error),
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|it| *it == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Fault> {
        let mut tar = Tar::new(bytes);
        let mut found = Vec::new();
        while let Some(entry) = tar.next_entry()? {
            let mut data = Vec::new();
            tar.read_to_end(&mut data).map_err(cut_off)?;
            found.push((entry, data));
        }
        Ok(found)
    }

    fn archive(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        fill(&mut builder);
        builder.into_inner().unwrap()
    }

    fn header(size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o4755);
        header.set_mtime(7);
        header
    }

    #[test]
    fn long_names_and_records_are_merged() {
        let long = format!("{}/name", "folder/".repeat(40));
        let bytes = archive(|it| {
            it.append_data(&mut header(3), &long, &b"abc"[..]).unwrap();
            let records = [("mtime", &b"-5.25"[..]), ("SCHILY.xattr.user.x", b"a\nb\0c"), ("uid", b"70000")];
            it.append_pax_extensions(records).unwrap();
            it.append_data(&mut header(0), "short", &b""[..]).unwrap();
        });
        let found = read(&bytes).unwrap();
        assert_eq!(found[0].0.path, long.as_bytes());
        assert_eq!((found[0].1.as_slice(), found[0].0.mode, found[0].0.mtime), (&b"abc"[..], 0o4755, (7, 0)));
        let second = &found[1].0;
        assert_eq!((second.mtime, second.uid), ((-6, 750_000_000), 70_000));
        assert_eq!(second.xattrs, [(b"user.x".to_vec(), b"a\nb\0c".to_vec())]);
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        let good = archive(|it| it.append_data(&mut header(600), "a", &[1; 600][..]).unwrap());
        let check = |bytes: &[u8], expected: &str| {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} is not {expected}");
        };
        check(&good[..900], "cut off");
        check(&good[..100], "cut off");
        check(&[b'x'; 512], "checksum");
        let mut huge = header(0);
        huge.set_entry_type(tar::EntryType::XHeader);
        huge.set_size(MAX_EXTENSION_BYTES + 1);
        huge.set_cksum();
        check(huge.as_bytes(), "extension");
    }
}
