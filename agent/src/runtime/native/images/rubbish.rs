//! Removing trees of files that somebody else made, however deep.
//!
//! A container can nest folders deeper than a path may be long or a process may have files open. So nothing is walked: a folder found in a folder
//! is moved beside the first one, and its turn comes. Nothing is followed, and nothing outside is touched.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::fault::Fault;

/// Removes `path`, whatever it is; folders within it are moved into its parent folder on the way, under names that begin with its own.
/// Nothing there is fine.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(path: &Path) -> Result<(), Fault> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Fault::bad(format!("{} cannot be removed", path.display())));
    };
    let what = || format!("remove {}", path.display());
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let parent = match rustix::fs::open(parent, flags, Mode::empty()) {
        Ok(it) => it,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Fault::io(what(), error)),
    };
    remove_at(&parent, name).map_err(|it| Fault::io(what(), it))
}

/// As [`remove`], of a name in an open folder.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_at(parent: &OwnedFd, name: &std::ffi::OsStr) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let mut folders = VecDeque::from([name.to_owned()]);
    let (mut moved, mut again) = (0_u64, 0);
    while let Some(folder) = folders.pop_front() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = match openat(parent, &folder, flags, Mode::empty()) {
            Ok(it) => it,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error),
        };
        let mut entries = Dir::read_from(&open)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let entry_name = entry.file_name();
            if matches!(entry_name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entry.file_type() != FileType::Directory {
                match unlinkat(&open, entry_name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    // A file system that does not tell types.
                    Err(Errno::ISDIR | Errno::PERM) => {}
                    Err(error) => return Err(error),
                }
            }
            match unlinkat(&open, entry_name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    folders.push_back(move_out(parent, name, &open, entry_name, &mut moved)?);
                }
                Err(error) => return Err(error),
            }
        }
        match unlinkat(parent, &folder, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Entries came while the folder was read, as a move can make them seem to: once more.
            Err(Errno::NOTEMPTY | Errno::EXIST) if again < MAX_AGAIN => {
                again += 1;
                folders.push_back(folder);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How often folders are read again because something was left in them: more only where somebody still writes.
const MAX_AGAIN: u32 = 1000;

fn move_out(
    parent: &OwnedFd,
    name: &std::ffi::OsStr,
    from: impl AsFd,
    entry: &std::ffi::CStr,
    moved: &mut u64,
) -> Result<OsString, Errno> {
    loop {
        *moved += 1;
        // Names may be 255 bytes long; the number has to fit, too.
        let mut to = OsString::from(std::ffi::OsStr::from_bytes(&name.as_bytes()[..name.len().min(200)]));
        to.push(format!(".{moved}"));
        // Never over what is there: the parent may hold more than rubbish.
        match renameat_with(&from, entry, parent, &to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(to),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkdirat;

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "kept").unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("link")).unwrap();
        let mut at = rustix::fs::open(&tree, OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..5000 {
            mkdirat(&at, "folder", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("/etc", &at, "link").ok();
            at = openat(&at, "folder", OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
        }
        remove(&tree).unwrap();
        remove(&tree).unwrap();
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["outside"]);
        assert_eq!(std::fs::read_to_string(outside.join("kept")).unwrap(), "kept");
    }
}
