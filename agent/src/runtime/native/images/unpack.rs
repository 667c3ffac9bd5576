//! A layer's tar stream made into files for overlayfs.
//!
//! In: a stream that nobody trusts. Out: a [`Tree`] in which white-outs are overlayfs's: a `0/0` character device hides a name, and
//! `trusted.overlay.opaque` hides all of a folder that lies below (OCI image specification, "Representing Changes"; the kernel's overlayfs.rst).
//! Owners, modes, attributes and times are as told. What the kernel's overlay reads for itself is never taken from an image.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fsetxattr, ftruncate, futimens, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::fault::Fault;
use super::inside::Inside;
use super::rubbish;
use super::stream::MAX_LAYER_BYTES;
use super::tar::{Entry, Kind, Tar};
use super::tree::{Tree, is, is_white_out, opaque};

/// The most files a layer may have. The largest in use have some hundred thousand; each costs an inode and, here, nothing else.
const MAX_ENTRIES: u64 = 2_000_000;
/// Memory for folders whose times are set in the end: 64 MiB is half a million of them.
const MAX_FOLDERS_BYTES: usize = 64 << 20;
/// What one takes of it beside its name: the times, the pointers and the allocation.
const FOLDER_BYTES: usize = 80;
/// Marks of the layer format, at the beginning of a name.
const WHITE_OUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What else begins so belongs to the file system that the format comes from (aufs) and means nothing here.
const META: &[u8] = b".wh..wh.";
/// Copied at once.
const BUFFER_BYTES: usize = 128 << 10;

/// Unpacks a stream into a tree; gives the bytes that its files take.
///
/// # Errors
/// When the stream is damaged, has a name that leads out or more than is allowed, or the kernel refuses. What was made stays: the tree is the
/// caller's to throw away.
pub fn unpack(stream: &mut impl Read, tree: &Tree) -> Result<u64, Fault> {
    let mut tar = Tar::new(stream);
    let mut unpacker = Unpacker { tree, folders: Vec::new(), folders_bytes: 0, buffer: vec![0; BUFFER_BYTES] };
    let (mut entries, mut bytes) = (0, 0_u64);
    while let Some(entry) = tar.next_entry()? {
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(Fault::bad(format!("the layer has more than {MAX_ENTRIES} entries")));
        }
        bytes += unpacker.entry(&entry, &mut tar)?;
    }
    unpacker.finish()?;
    Ok(bytes)
}

struct Unpacker<'a> {
    tree: &'a Tree,
    /// Folders with the times they shall have: what is made in them changes it until then.
    folders: Vec<(OsString, Timestamps)>,
    folders_bytes: usize,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    /// Makes what one entry says; gives the bytes of data.
    fn entry<R: Read>(&mut self, entry: &Entry, data: &mut Tar<R>) -> Result<u64, Fault> {
        if entry.kind == Kind::Other {
            return Ok(0);
        }
        let path = Inside::parse(&entry.path)?;
        let Some((folder, name)) = path.split() else {
            return match entry.kind {
                Kind::Folder => {
                    let root = self.tree.folder(&path)?;
                    self.folder(entry, &path, reopen(&root, &path)?).map(|()| 0)
                }
                _ => Err(Fault::bad("the layer has a root that is no folder")),
            };
        };
        if name.as_bytes().starts_with(WHITE_OUT) {
            return self.white_out(&folder, name).map(|()| 0);
        }
        let parent = self.tree.folder(&folder)?;
        let failed = |error: Errno| Fault::io(format!("unpack {path}"), error);
        let (uid, gid) = owner(entry)?;
        if entry.kind == Kind::Folder {
            let hidden = self.make_way(&parent, name, true).map_err(failed)?;
            match mkdirat(&parent, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error)),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = openat(&parent, name, flags, Mode::empty()).map_err(failed)?;
            if hidden {
                // What was hidden one by one, before it came anew, is hidden as a whole.
                opaque(&made, &path)?;
            }
            return self.folder(entry, &path, made).map(|()| 0);
        }
        if entry.kind == Kind::HardLink {
            return self.hard_link(entry, &path, &parent, name).map(|()| 0);
        }
        self.make_way(&parent, name, false).map_err(failed)?;
        let mode = Mode::from_raw_mode(entry.mode);
        let (kind, device) = match entry.kind {
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(&parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
                let mut file = File::from(file);
                let bytes = self.write(entry, &path, data, &mut file)?;
                // The owner first: changing it takes away set-user-id bits and capabilities.
                fchown(&file, uid, gid).map_err(failed)?;
                fchmod(&file, mode).map_err(failed)?;
                set_xattrs(&file, entry, &path)?;
                futimens(&file, &times(entry)).map_err(failed)?;
                return Ok(bytes);
            }
            Kind::Symlink => {
                if entry.link.is_empty() || entry.link.contains(&0) {
                    return Err(Fault::bad(format!("the layer has a symbolic link to nothing at {path}")));
                }
                symlinkat(OsStr::from_bytes(&entry.link), &parent, name).map_err(failed)?;
                chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                utimensat(&parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                return Ok(0);
            }
            Kind::CharDevice => (FileType::CharacterDevice, makedev(entry.device.0, entry.device.1)),
            Kind::BlockDevice => (FileType::BlockDevice, makedev(entry.device.0, entry.device.1)),
            _ => (FileType::Fifo, 0),
        };
        mknodat(&parent, name, kind, Mode::RUSR | Mode::WUSR, device).map_err(failed)?;
        chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        // It was just made, and is no link.
        chmodat(&parent, name, mode, AtFlags::empty()).map_err(failed)?;
        utimensat(&parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        Ok(0)
    }

    /// Takes away what is under a name, but a folder where a folder comes. Whether it was a white-out.
    fn make_way(&self, parent: &OwnedFd, name: &OsStr, for_folder: bool) -> Result<bool, Errno> {
        let found = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error),
        };
        if for_folder && is(&found, FileType::Directory) {
            return Ok(false);
        }
        rubbish::remove_at(parent, name)?;
        Ok(is_white_out(&found))
    }

    /// Sets the attributes of a folder and remembers its time.
    fn folder(&mut self, entry: &Entry, path: &Inside, made: OwnedFd) -> Result<(), Fault> {
        let failed = |error: Errno| Fault::io(format!("unpack {path}"), error);
        let (uid, gid) = owner(entry)?;
        fchown(&made, uid, gid).map_err(failed)?;
        fchmod(&made, Mode::from_raw_mode(entry.mode)).map_err(failed)?;
        set_xattrs(&made, entry, path)?;
        let relative = path.relative();
        self.folders_bytes += relative.len() + FOLDER_BYTES;
        if self.folders_bytes > MAX_FOLDERS_BYTES {
            return Err(Fault::bad(format!(
                "the layer's folders take more than {MAX_FOLDERS_BYTES} bytes to remember"
            )));
        }
        self.folders.push((relative, times(entry)));
        Ok(())
    }

    /// Hides a name, or all that is below a folder.
    fn white_out(&self, folder: &Inside, mark: &OsStr) -> Result<(), Fault> {
        let mark = mark.as_bytes();
        if mark == OPAQUE {
            let parent = self.tree.folder(folder)?;
            return opaque(&reopen(&parent, folder)?, folder);
        }
        if mark.starts_with(META) {
            return Ok(());
        }
        let name = OsStr::from_bytes(&mark[WHITE_OUT.len()..]);
        if matches!(name.as_bytes(), b"" | b"." | b"..") {
            return Err(Fault::bad(format!("the layer has a white-out of {name:?} in {folder}")));
        }
        let parent = self.tree.folder(folder)?;
        let failed = |error: Errno| Fault::io(format!("hide {name:?} in {folder}"), error);
        match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            // A white-out is about what lies below. What this layer itself has stays, and hides it anyway; but a folder would merge.
            Ok(found) if is(&found, FileType::Directory) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                opaque(&openat(&parent, name, flags, Mode::empty()).map_err(failed)?, folder)
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn hard_link(&self, entry: &Entry, path: &Inside, parent: &OwnedFd, name: &OsStr) -> Result<(), Fault> {
        let failed = |error: Errno| Fault::io(format!("link {path}"), error);
        let goal = Inside::parse(&entry.link)?;
        let absent = || Fault::bad(format!("the layer has a hard link {path} to {goal}, which is not in the layer"));
        let (folder, goal_name) = goal.split().ok_or_else(absent)?;
        let goal_parent = self.tree.existing_folder(&folder.relative()).map_err(|_| absent())?;
        let found = statat(&goal_parent, goal_name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| absent())?;
        if is(&found, FileType::Directory) {
            return Err(Fault::bad(format!("the layer has a hard link {path} to {goal}, which is a folder")));
        }
        if let Ok(here) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            && (here.st_dev, here.st_ino) == (found.st_dev, found.st_ino)
        {
            return Ok(());
        }
        self.make_way(parent, name, false).map_err(failed)?;
        // Without AT_SYMLINK_FOLLOW: a link to a link is a link to the link.
        linkat(&goal_parent, goal_name, parent, name, AtFlags::empty()).map_err(|error| match error {
            // It was below what made way.
            Errno::NOENT => absent(),
            error => failed(error),
        })
    }

    /// Writes a file's data, leaving its holes; gives the bytes written.
    fn write<R: Read>(
        &mut self,
        entry: &Entry,
        path: &Inside,
        data: &mut Tar<R>,
        file: &mut File,
    ) -> Result<u64, Fault> {
        let what = || format!("unpack {path}");
        let Some(extents) = &entry.sparse else {
            return copy(data, file, &mut self.buffer, u64::MAX).map_err(|it| Fault::io(what(), it));
        };
        if entry.size > MAX_LAYER_BYTES {
            return Err(Fault::bad(format!("{path} has {} bytes, more than {MAX_LAYER_BYTES}", entry.size)));
        }
        let mut bytes = 0;
        for extent in extents {
            file.seek(SeekFrom::Start(extent.offset)).map_err(|it| Fault::io(what(), it))?;
            bytes += copy(data, file, &mut self.buffer, extent.length).map_err(|it| Fault::io(what(), it))?;
        }
        ftruncate(&*file, entry.size).map_err(|it| Fault::io(what(), it))?;
        Ok(bytes)
    }

    /// Sets the times of folders, the last word on each winning.
    fn finish(self) -> Result<(), Fault> {
        for (path, times) in self.folders {
            // A later entry may have put something else in its place.
            let Ok(folder) = self.tree.existing_folder(&path) else { continue };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let set = openat(&folder, ".", flags, Mode::empty()).and_then(|it| futimens(&it, &times));
            set.map_err(|it| Fault::io(format!("set the time of {}", path.display()), it))?;
        }
        Ok(())
    }
}

/// An entry's user and group. The largest number means nobody: `chown` leaves things as they are for it.
fn owner(entry: &Entry) -> Result<(Option<Uid>, Option<Gid>), Fault> {
    let id = |it: u64| u32::try_from(it).ok().filter(|it| *it != u32::MAX);
    match (id(entry.uid), id(entry.gid)) {
        (Some(uid), Some(gid)) => Ok((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))),
        _ => Err(Fault::bad(format!("the layer has an owner that no user can be: {}:{}", entry.uid, entry.gid))),
    }
}

/// Copies at most `most` bytes.
fn copy(from: &mut impl Read, to: &mut impl Write, buffer: &mut [u8], most: u64) -> io::Result<u64> {
    let mut copied = 0;
    while copied < most {
        let room = usize::try_from(most - copied).unwrap_or(usize::MAX).min(buffer.len());
        let read = match from.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..read])?;
        copied += read as u64;
    }
    Ok(copied)
}

/// A folder that was opened by its path alone, opened for its attributes.
fn reopen(folder: &OwnedFd, path: &Inside) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(folder, ".", flags, Mode::empty()).map_err(|it| Fault::io(format!("open {path} of the layer"), it))
}

/// Whether an image may set an attribute. `trusted.` is the kernel's overlay's, `security.` but for capabilities the host's policy's.
fn is_allowed(name: &[u8]) -> bool {
    name == b"security.capability"
        || name == b"system.posix_acl_access"
        || name == b"system.posix_acl_default"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

fn set_xattrs(file: impl AsFd, entry: &Entry, path: &Inside) -> Result<(), Fault> {
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_allowed(name) && !name.contains(&0)) {
        match fsetxattr(&file, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            // A file system without them; only a capability is something that programs do not work without.
            Err(Errno::OPNOTSUPP) if name != b"security.capability" => {}
            outcome => outcome.map_err(|error| {
                let name = String::from_utf8_lossy(name).into_owned();
                Fault::io(format!("set the attribute {name} of {path}"), error)
            })?,
        }
    }
    Ok(())
}

/// Both times of a file: when it was read last no layer tells.
fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
