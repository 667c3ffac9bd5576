//! Images from a file: what `docker save` writes, and OCI image layouts in a tar archive; plain, gzipped or zstd.
//!
//! An archive is read twice: once for what is in it and where, and then each part from its place. A compressed one is unpacked into the store's
//! folder for temporary files first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::fault::Fault;
use super::inside::Inside;
use super::layout::{Layout, Temporary};
use super::stream::{Form, Plain, Stop};
use super::tar::{Kind, Tar};

/// The most files in an archive.
const MAX_MEMBERS: usize = 100_000;
/// Bytes of the names of all of them, and of where links lead.
const MAX_NAME_BYTES: usize = 16 << 20;
/// The largest JSON file in bytes: manifests, configurations, indexes.
const MAX_JSON_BYTES: u64 = 4 << 20;
/// Symbolic links on the way to a file: old versions of `docker save` link layers that images share.
const MAX_LINKS: usize = 8;
const BUFFER_BYTES: usize = 256 << 10;

/// An archive's table of contents.
#[derive(Debug)]
pub struct Archive {
    file: Arc<File>,
    members: BTreeMap<String, Member>,
    /// The unpacked archive, if it was compressed.
    _unpacked: Option<Temporary>,
}

#[derive(Clone, Debug)]
enum Member {
    File { offset: u64, size_bytes: u64 },
    Link(String),
}

impl Archive {
    /// Reads what is in an archive. Blocks.
    ///
    /// # Errors
    /// When it cannot be read or is no archive, or there is no space to unpack it.
    pub fn open(layout: &Layout, path: &Path, stop: Stop) -> Result<Self, Fault> {
        let what = || format!("read {}", path.display());
        let mut file = File::open(path).map_err(|it| Fault::io(what(), it))?;
        let mut magic = [0; 4];
        let filled = file.read_at(&mut magic, 0).map_err(|it| Fault::io(what(), it))?;
        let mut unpacked = None;
        if Form::of(&magic[..filled]) != Form::Tar {
            let size = file.metadata().map_err(|it| Fault::io(what(), it))?.len();
            let mut plain = Plain::open(file, size, stop)?;
            let temporary = layout.temporary();
            let path = temporary.path();
            let made = File::options().read(true).write(true).create_new(true).open(path);
            file = made.map_err(|it| Fault::io("unpack the archive", it))?;
            io::copy(&mut plain, &mut file).map_err(|it| Fault::io("unpack the archive", it))?;
            unpacked = Some(temporary);
        }
        let file = Arc::new(file);
        let whole = Slice { file: Arc::clone(&file), offset: 0, left: u64::MAX };
        let members = members(Tar::new(Counted { inner: whole, buffer: io::Cursor::default(), position: 0 }))?;
        Ok(Archive { file, members, _unpacked: unpacked })
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// A file's bytes from their place, and how many.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read(&self, name: &str) -> Result<(Slice, u64), Fault> {
        let mut at = Inside::parse(name.as_bytes())?.to_string().trim_start_matches('/').to_owned();
        for _ in 0..=MAX_LINKS {
            match self.members.get(&at) {
                Some(Member::File { offset, size_bytes }) => {
                    let slice = Slice { file: Arc::clone(&self.file), offset: *offset, left: *size_bytes };
                    return Ok((slice, *size_bytes));
                }
                Some(Member::Link(goal)) => at.clone_from(goal),
                None => break,
            }
        }
        Err(Fault::bad(format!("the archive has no file {name:?}")))
    }

    /// A small file.
    ///
    /// # Errors
    /// When it is not there or not small.
    pub fn json(&self, name: &str) -> Result<Vec<u8>, Fault> {
        let (mut slice, size_bytes) = self.read(name)?;
        if size_bytes > MAX_JSON_BYTES {
            return Err(Fault::bad(format!("{name} has {size_bytes} bytes, more than {MAX_JSON_BYTES}")));
        }
        let mut bytes = Vec::new();
        slice.read_to_end(&mut bytes).map_err(|it| Fault::io(format!("read {name}"), it))?;
        Ok(bytes)
    }
}

fn members(mut tar: Tar<Counted>) -> Result<BTreeMap<String, Member>, Fault> {
    let (mut members, mut name_bytes) = (BTreeMap::new(), 0);
    while let Some(entry) = tar.next_entry()? {
        let path = Inside::parse(&entry.path)?;
        let name = path.to_string().trim_start_matches('/').to_owned();
        let member = match entry.kind {
            Kind::File if entry.sparse.is_none() => {
                Member::File { offset: tar.get_ref().position, size_bytes: entry.size }
            }
            Kind::Symlink => match beside(&name, &entry.link) {
                Some(goal) => Member::Link(goal),
                None => continue,
            },
            Kind::HardLink => match Inside::parse(&entry.link) {
                Ok(goal) => Member::Link(goal.to_string().trim_start_matches('/').to_owned()),
                Err(_) => continue,
            },
            _ => continue,
        };
        name_bytes += entry.path.len() + entry.link.len();
        if name_bytes > MAX_NAME_BYTES {
            return Err(Fault::bad(format!("the archive has names of more than {MAX_NAME_BYTES} bytes")));
        }
        if members.len() >= MAX_MEMBERS {
            return Err(Fault::bad(format!("the archive has more than {MAX_MEMBERS} files")));
        }
        members.insert(name, member);
    }
    Ok(members)
}

/// Where a link in an archive leads, as a name in the archive; none where it leads out.
fn beside(name: &str, goal: &[u8]) -> Option<String> {
    let goal = std::str::from_utf8(goal).ok().filter(|it| !it.starts_with('/'))?;
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in goal.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop()?,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A piece of a file, read without moving anybody else's place in it.
#[derive(Clone, Debug)]
pub struct Slice {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A buffered reader that knows where it is.
#[derive(Debug)]
struct Counted {
    inner: Slice,
    buffer: io::Cursor<Vec<u8>>,
    position: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = self.buffer.read(buffer)?;
        if read == 0 {
            let mut next = std::mem::take(&mut self.buffer).into_inner();
            next.resize(BUFFER_BYTES, 0);
            let filled = self.inner.read(&mut next)?;
            next.truncate(filled);
            self.buffer = io::Cursor::new(next);
            read = self.buffer.read(buffer)?;
        }
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_archive() {
        let check = |name: &str, goal: &str, expected: Option<&str>| {
            assert_eq!(beside(name, goal.as_bytes()).as_deref(), expected, "{name} -> {goal}");
        };
        check("a/layer.tar", "../b/layer.tar", Some("b/layer.tar"));
        check("a/layer.tar", "layer2.tar", Some("a/layer2.tar"));
        check("a/layer.tar", "../../b", None);
        check("a/layer.tar", "/etc/passwd", None);
    }
}
