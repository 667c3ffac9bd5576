//! `fsGroup`: a volume's files become those of the pod's group, which may then read and write them.
//!
//! In: a folder and a group. Out: the group of everything in it, its mode widened, and folders that hand their group on. No link is followed on
//! the way, also if a container that has the volume already moves things about meanwhile. Source: `pkg/volume/volume_linux.go`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, fchownat};

/// What the group gets of a file.
const FILE: u32 = 0o660;
/// What it gets of a folder: to enter it, too, and that new files in it are the group's.
const FOLDER: u32 = 0o2770;

/// Gives a folder to a group. With `unless_root_fits`, nothing is done where the folder itself is so already
/// (`fsGroupChangePolicy: OnRootMismatch`).
///
/// # Errors
/// The disk fails. What was done stays.
pub fn give(root: &Path, group: u32, unless_root_fits: bool) -> io::Result<()> {
    let meta = fs::metadata(root)?;
    if unless_root_fits && meta.gid() == group && meta.mode() & FOLDER == FOLDER {
        return Ok(());
    }
    let top = openat2(nix::fcntl::AT_FDCWD, root, OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY))?;
    let mut folders = vec![PathBuf::from(".")];
    while let Some(folder) = folders.pop() {
        let Some(open) = below(&top, &folder)? else { continue };
        for entry in fs::read_dir(proc_path(&open))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if let Some(open) = below(&top, &path)? {
                change(&open, group)?;
            }
        }
        // Last, so that a root that fits tells of a whole that does.
        change(&open, group)?;
    }
    change(&top, group)
}

/// Something below the root, without following links; none if it has gone or changed meanwhile.
fn below(root: &OwnedFd, path: &Path) -> io::Result<Option<OwnedFd>> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(root.as_fd(), path, how) {
        Ok(it) => Ok(Some(it)),
        Err(nix::Error::ENOENT | nix::Error::ELOOP | nix::Error::ENOTDIR | nix::Error::EXDEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn change(open: &OwnedFd, group: u32) -> io::Result<()> {
    fchownat(open.as_fd(), "", None, Some(Gid::from_raw(group)), AtFlags::AT_EMPTY_PATH)?;
    let it = nix::sys::stat::fstat(open.as_fd())?;
    let kind = it.st_mode & nix::libc::S_IFMT;
    // A link has no mode of its own.
    if kind == nix::libc::S_IFLNK {
        return Ok(());
    }
    let mode = it.st_mode | if kind == nix::libc::S_IFDIR { FOLDER } else { FILE };
    if mode == it.st_mode {
        return Ok(());
    }
    let mode = Mode::from_bits_truncate(mode & 0o7777).bits();
    fs::set_permissions(proc_path(open), fs::Permissions::from_mode(mode))
}

/// A path by which what is open is reached, wherever it is now.
fn proc_path(open: &OwnedFd) -> OsString {
    format!("/proc/self/fd/{}", open.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_the_groups_and_links_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("volume");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        fs::set_permissions(root.join("a/b/file"), fs::Permissions::from_mode(0o600)).unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, "x").unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        let of = |path: &Path| {
            let it = fs::symlink_metadata(path).unwrap();
            (it.gid(), it.mode() & 0o7777)
        };
        let own = of(&outside);
        if !nix::unistd::geteuid().is_root() {
            // Who is not root can give to a group only what is theirs: their own group.
            give(&root, own.0, false).unwrap();
            assert_eq!(of(&root.join("a/b/file")).1, 0o660);
            return;
        }
        give(&root, 4321, false).unwrap();
        assert_eq!((of(&root).0, of(&root).1 & 0o2770), (4321, 0o2770));
        assert_eq!((of(&root.join("a/b")).0, of(&root.join("a/b")).1 & 0o2770), (4321, 0o2770));
        assert_eq!((of(&root.join("a/b/file")), of(&root.join("link")).0), ((4321, 0o660), 4321));
        assert_eq!(of(&outside), own);
        fs::set_permissions(root.join("a/b/file"), fs::Permissions::from_mode(0o600)).unwrap();
        give(&root, 4321, true).unwrap();
        assert_eq!(of(&root.join("a/b/file")).1, 0o600);
        give(&root, 4322, true).unwrap();
        assert_eq!(of(&root.join("a/b/file")), (4322, 0o660));
    }
}
