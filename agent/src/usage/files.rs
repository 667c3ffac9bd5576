//! How much room files take: as `du` counts, each inode once, on one file system.
//!
//! A container may nest folders deeper than a path can be long and move them while they are counted. So folders are entered and left one at a time, and
//! one that is not where it was ends the count with what was seen. No link is followed.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};

use crate::runtime::Room;

/// Entries that are counted at the most: of so many nobody waits for the sum. It takes some seconds, and the names of one way down in memory.
const ENTRIES_MAX: u64 = 5_000_000;
/// What `st_blocks` counts in.
const BLOCK_BYTES: u64 = 512;

/// Counts a folder (or file) and everything below it that lies on the same file system.
///
/// # Errors
/// It cannot be looked at. What is gone or unreadable below it is left out.
pub fn measure(path: &Path) -> io::Result<Room> {
    let mut count = Count::default();
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    count.add(&stat);
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        count.walk(open(CWD, path)?, stat.st_dev)?;
    }
    Ok(count.room())
}

/// Counts the files of a folder with certain names, none of those below it. A folder that is not there has none.
pub fn those_named(folder: &Path, wanted: impl Fn(&str) -> bool) -> Room {
    let mut count = Count::default();
    for it in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if it.file_name().to_str().is_some_and(&wanted)
            && let Ok(stat) = statat(CWD, it.path(), AtFlags::SYMLINK_NOFOLLOW)
            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        {
            count.add(&stat);
        }
    }
    count.room()
}

#[derive(Default)]
struct Count {
    bytes: u64,
    inodes: u64,
    /// Files with several names.
    seen: HashSet<u64>,
}

/// A folder on the way down: what it is, and which of its folders have yet to be entered.
struct Level {
    inode: u64,
    left: Vec<CString>,
}

impl Count {
    fn add(&mut self, it: &Stat) {
        if it.st_nlink > 1 && FileType::from_raw_mode(it.st_mode) != FileType::Directory && !self.seen.insert(it.st_ino)
        {
            return;
        }
        self.bytes += u64::try_from(it.st_blocks).unwrap_or_default().saturating_mul(BLOCK_BYTES);
        self.inodes += 1;
    }

    fn room(&self) -> Room {
        Room { bytes: self.bytes, inodes: Some(self.inodes) }
    }

    fn walk(&mut self, root: OwnedFd, device: u64) -> io::Result<()> {
        let mut at = root;
        let mut levels = vec![self.read(&at, device)?];
        while let Some(level) = levels.last_mut() {
            if self.inodes > ENTRIES_MAX {
                return Ok(());
            }
            if let Some(name) = level.left.pop() {
                // Gone meanwhile, or another mount by now.
                let Ok(below) = open(&at, name.as_c_str()) else { continue };
                let Ok(next) = self.read(&below, device) else { continue };
                levels.push(next);
                at = below;
                continue;
            }
            levels.pop();
            let Some(above) = levels.last() else { break };
            at = open(&at, c"..")?;
            if fstat(&at)?.st_ino != above.inode {
                // Somebody moved it: what is above is none of ours.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Counts the entries of a folder.
    fn read(&mut self, folder: &OwnedFd, device: u64) -> io::Result<Level> {
        let own = fstat(folder)?;
        let mut level = Level { inode: own.st_ino, left: Vec::new() };
        if own.st_dev != device {
            return Ok(level);
        }
        let mut entries = Dir::read_from(folder)?;
        while let Some(Ok(entry)) = entries.read() {
            let name: &CStr = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || self.inodes > ENTRIES_MAX {
                continue;
            }
            let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if stat.st_dev != device {
                continue;
            }
            self.add(&stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                level.left.push(name.to_owned());
            }
        }
        Ok(level)
    }
}

fn open(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkdirat;

    #[test]
    fn each_file_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        let empty = measure(&root).unwrap();
        assert_eq!(empty.inodes, Some(3));
        std::fs::write(root.join("a/b/file"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(root.join("a/b/file"), root.join("again")).unwrap();
        std::os::unix::fs::symlink("/", root.join("elsewhere")).unwrap();
        let full = measure(&root).unwrap();
        assert_eq!(full.inodes, Some(5));
        let grown = full.bytes - empty.bytes;
        assert!((100_000..200_000).contains(&grown), "{grown}");
        assert_eq!(those_named(&root, |it| it == "again").inodes, Some(1));
        assert_eq!(those_named(&root.join("none"), |_| true), Room { bytes: 0, inodes: Some(0) });
        assert!(measure(&root.join("none")).is_err());
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let mut at = rustix::fs::open(&tree, OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..3000 {
            mkdirat(&at, "folder", Mode::RWXU).unwrap();
            at = openat(&at, "folder", OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
        }
        assert_eq!(measure(&tree).unwrap().inodes, Some(3001));
    }
}
