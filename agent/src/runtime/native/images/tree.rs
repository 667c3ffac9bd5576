//! The tree that a layer is unpacked into: an open folder below which every name is resolved, so that no symbolic link leads out.
//!
//! `openat2` with `RESOLVE_IN_ROOT` makes the kernel take the folder for `/`. What a layer does not have yet is made step by step; a folder that it
//! only implies (`a/b` without `a`) takes the attributes it has in the layers below, as the union will show this layer's.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, XattrFlags, fchmod, fchown, fsetxattr, fstat,
    mkdirat, openat, openat2, readlinkat, statat, unlinkat,
};
use rustix::io::Errno;

use super::fault::Fault;
use super::inside::Inside;

/// Symbolic links on the way of one name: the kernel's own limit.
const MAX_LINKS: usize = 40;
/// How overlayfs knows a folder that hides what is below it.
pub const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// Parts of a name that links may make it grow to.
const MAX_PARTS: usize = 4096;

/// The folder, and where the layers below are.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// The roots of the layers below, the nearest first.
    below: Vec<PathBuf>,
}

impl Tree {
    /// Opens an empty folder, and gives it the attributes of the root below.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(path: &Path, below: Vec<PathBuf>) -> Result<Self, Fault> {
        let tree = Tree { root: open_root(path)?, below };
        tree.inherit(&tree.root, &Inside::default())?;
        Ok(tree)
    }

    /// The open folder `path`. What is missing on the way is made.
    ///
    /// # Errors
    /// When something else is in the way, or the kernel refuses.
    pub fn folder(&self, path: &Inside) -> Result<OwnedFd, Fault> {
        match self.resolve(&path.relative()) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOENT | Errno::NOTDIR) => self.make(path),
            Err(Errno::LOOP) => Err(Fault::bad(format!("the layer has links in a circle at {path}"))),
            Err(error) => Err(Fault::io(format!("open {path} of the layer"), error)),
        }
    }

    /// The folder under a name within the layer ([`Inside::relative`]), if it is there.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn existing_folder(&self, relative: &OsStr) -> Result<OwnedFd, Errno> {
        self.resolve(relative)
    }

    fn resolve(&self, relative: &OsStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        again(|| openat2(&self.root, relative, flags, Mode::empty(), resolve))
    }

    /// Walks to a folder, making what is missing and following links below the root, also those whose goal is missing.
    fn make(&self, path: &Inside) -> Result<OwnedFd, Fault> {
        let mut ahead: VecDeque<OsString> = path.parts().iter().cloned().collect();
        let mut behind: Vec<OsString> = Vec::new();
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            if part == ".." {
                behind.pop();
                continue;
            }
            let failed = |error| Fault::io(format!("make {path} in the layer"), error);
            let here = self.resolve(&of(&behind)).map_err(failed)?;
            match statat(&here, &part, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) if is(&found, FileType::Directory) => {}
                Ok(found) if is(&found, FileType::Symlink) => {
                    links += 1;
                    let goal = readlinkat(&here, &part, Vec::new()).map_err(failed)?.into_bytes();
                    if goal.first() == Some(&b'/') {
                        behind.clear();
                    }
                    for part in goal.split(|it| *it == b'/').rev().filter(|it| !matches!(*it, b"" | b".")) {
                        ahead.push_front(OsString::from_vec(part.to_vec()));
                    }
                    if links > MAX_LINKS || ahead.len() > MAX_PARTS {
                        return Err(Fault::bad(format!("the layer has links in a circle at {path}")));
                    }
                    continue;
                }
                Ok(found) if !is_white_out(&found) => {
                    let text = format!("the layer has something below {path}, which is no folder");
                    return Err(Fault::bad(text));
                }
                found @ (Ok(_) | Err(Errno::NOENT)) => {
                    let hidden = found.is_ok();
                    if hidden {
                        unlinkat(&here, &part, AtFlags::empty()).map_err(failed)?;
                    }
                    mkdirat(&here, &part, Mode::from_raw_mode(0o755)).map_err(failed)?;
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let made = openat(&here, &part, flags, Mode::empty()).map_err(failed)?;
                    behind.push(part);
                    let made_path = Inside::parse(of(&behind).as_bytes())?;
                    if hidden {
                        // It is not the one below, which stays hidden as a whole.
                        opaque(&made, &made_path)?;
                        fchmod(&made, Mode::from_raw_mode(0o755)).map_err(failed)?;
                    } else {
                        self.inherit(&made, &made_path)?;
                    }
                    continue;
                }
                Err(error) => return Err(failed(error)),
            }
            behind.push(part);
        }
        self.resolve(&of(&behind)).map_err(|it| Fault::io(format!("open {path} of the layer"), it))
    }

    /// Gives a folder that was just made the owner and mode of the one it will be merged with.
    fn inherit(&self, made: &OwnedFd, path: &Inside) -> Result<(), Fault> {
        let failed = |error| Fault::io(format!("set the attributes of {path} in the layer"), error);
        for below in &self.below {
            let root = open_root(below)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let found = match again(|| openat2(&root, path.relative(), flags, Mode::empty(), resolve)) {
                Ok(found) => fstat(&found).map_err(failed)?,
                Err(Errno::NOENT) => continue,
                // A file, a link or a white-out is in the way: what lies further below does not show.
                Err(_) => break,
            };
            if is(&found, FileType::Directory) {
                // An id that a file has is no -1.
                fchown(made, Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid))).map_err(failed)?;
                return fchmod(made, Mode::from_raw_mode(found.st_mode & 0o7777)).map_err(failed);
            }
            break;
        }
        // Whatever the process's mask was.
        fchmod(made, Mode::from_raw_mode(0o755)).map_err(failed)
    }
}

/// Whether this is a file of that type.
pub fn is(found: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(found.st_mode) == kind
}

/// Whether this hides a name of the layers below: a `0/0` character device.
pub fn is_white_out(found: &Stat) -> bool {
    is(found, FileType::CharacterDevice) && found.st_rdev == 0
}

/// Marks a folder so that it hides all that is below it.
///
/// # Errors
/// When the kernel refuses.
pub fn opaque(folder: &OwnedFd, path: &Inside) -> Result<(), Fault> {
    let set = fsetxattr(folder, OPAQUE_XATTR, b"y", XattrFlags::empty());
    set.map_err(|it| Fault::io(format!("hide what is below {path}"), it))
}

fn open_root(path: &Path) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|it| Fault::io(format!("open {}", path.display()), it))
}

fn of(parts: &[OsString]) -> OsString {
    if parts.is_empty() { ".".into() } else { parts.join(OsStr::new("/")) }
}

/// `openat2` says EAGAIN when something on the machine was renamed or mounted meanwhile and `..` may have been fooled.
fn again<T>(mut open: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    /// Far more than renames on a busy machine ever take.
    const TRIES: usize = 128;
    for _ in 0..TRIES {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
    open()
}
