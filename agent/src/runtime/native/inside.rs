//! Folders made inside an image's root, which is a stranger's: no link of it leads out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};

/// Opens a folder, which must be one, below a root.
fn open(at: impl AsFd, path: &str, resolve: ResolveFlag) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat2(at, path, OpenHow::new().flags(flags).mode(Mode::empty()).resolve(resolve))
}

/// Makes a folder and those it is in, as far as they are not there.
///
/// # Errors
/// What is in the way is no folder, or the disk fails.
pub fn make_folder(root: &Path, path: &str) -> io::Result<()> {
    let below = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let root = openat2(
        AT_FDCWD,
        root,
        OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).mode(Mode::empty()),
    )?;
    let mut done = String::from(".");
    for part in path.split('/').filter(|it| !it.is_empty() && *it != ".") {
        let parent = open(&root, &done, below)?;
        done = format!("{done}/{part}");
        match open(&root, &done, below) {
            Ok(_) => {}
            Err(Errno::ENOENT) if part != ".." => mkdirat(&parent, part, Mode::from_bits_truncate(0o755))?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_below_the_root_alone() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        make_folder(root.path(), "/a/b").unwrap();
        make_folder(root.path(), "/a/b/c").unwrap();
        assert!(root.path().join("a/b/c").is_dir());
        std::os::unix::fs::symlink(outside.path(), root.path().join("out")).unwrap();
        let _ = make_folder(root.path(), "/out/x");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        std::fs::write(root.path().join("file"), "").unwrap();
        assert!(make_folder(root.path(), "/file/x").is_err());
        make_folder(root.path(), "/../../up").unwrap();
        assert!(root.path().join("up").is_dir());
    }
}
