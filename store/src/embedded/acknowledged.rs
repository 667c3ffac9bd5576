//! The highest revision that was answered as durable, in a file of its own.
//!
//! redb, when it finds the last commit's pages broken, goes back to the commit before: right for a commit that was torn by a
//! crash, a silent loss for one that had been answered. This file tells the two apart. It is written after a commit is
//! durable and before it is answered, and not synced: it can only lag behind, so it never accuses wrongly. It survives any
//! death of the process; after a loss of power it may be a little behind what was answered, which only weakens the check.
//!
//! `magic (8) | revision (8) | crc32 (4)`, in one sector, written in one call.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Revision;

const MAGIC: &[u8; 8] = b"orlopack";
const BYTES: usize = 8 + 8 + 4;

/// The open file.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    file: File,
}

impl Acknowledged {
    /// Reads what was acknowledged: none if the file does not stand yet.
    pub fn read(path: &Path) -> io::Result<Option<Revision>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "its checksum does not match");
        let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| broken())?;
        let (body, checksum) = bytes.split_at(16);
        let (magic, revision) = body.split_at(8);
        if magic != MAGIC || checksum != crc32fast::hash(body).to_le_bytes() {
            return Err(broken());
        }
        Ok(Some(Revision(u64::from_le_bytes(revision.try_into().expect("eight bytes")))))
    }

    /// Opens the file for writing and puts `revision` there, synced.
    pub fn open(path: &Path, revision: Revision) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        let opened = Self { file };
        opened.write(revision)?;
        opened.file.sync_all()?;
        Ok(opened)
    }

    pub fn write(&self, revision: Revision) -> io::Result<()> {
        let mut out = [0; BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..16].copy_from_slice(&revision.0.to_le_bytes());
        let checksum = crc32fast::hash(&out[..16]);
        out[16..].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&out, 0)
    }

    /// Makes what was written last outlive a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_written_or_that_it_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acknowledged");
        assert_eq!(Acknowledged::read(&path).unwrap(), None);
        let file = Acknowledged::open(&path, Revision(1)).unwrap();
        file.write(Revision(77)).unwrap();
        assert_eq!(Acknowledged::read(&path).unwrap(), Some(Revision(77)));
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 1;
            std::fs::write(&path, &broken).unwrap();
            assert!(Acknowledged::read(&path).is_err());
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(Acknowledged::read(&path).is_err());
        }
    }
}
