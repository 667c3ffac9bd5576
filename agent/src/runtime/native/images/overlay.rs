//! Overlay mounts: layers below, a container's own changes above.
//!
//! Layers are named one by one through the new mount API (Linux 6.8 and later). Where that does not know `lowerdir+`, all of them stand in the options
//! of `mount(2)`, which may take a page: there they go by the names of open folders, which are short.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::fault::Fault;

/// The longest value that `fsconfig` takes, in bytes.
const MAX_VALUE_BYTES: usize = 255;
/// What the options of `mount(2)` may take, in bytes: a page less the final NUL.
const MAX_OPTIONS_BYTES: usize = 4095;
/// Mounts on top of each other in one place; more is nothing that this module made.
const MAX_STACKED: usize = 64;

/// Of a place where something is mounted.
const ROOT: StatxAttributes = StatxAttributes::MOUNT_ROOT;

/// What is put over what.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The name by which the mount is found again: the first column of `/proc/mounts`.
    pub source: String,
    /// The layers, the lowest first.
    pub layers: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
}

impl Overlay {
    /// Mounts it at a folder.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mount(&self, at: &Path) -> Result<(), Fault> {
        match self.mount_by_parts(at) {
            // No `fsopen`, or no `lowerdir+`, or paths too long for it.
            Err(Errno::NOSYS | Errno::INVAL | Errno::NAMETOOLONG) => self.mount_by_options(at),
            outcome => outcome,
        }
        .map_err(|it| Fault::io(format!("mount the root of {} at {}", self.source, at.display()), it))
    }

    fn mount_by_parts(&self, at: &Path) -> Result<(), Errno> {
        let paths = self.layers.iter().chain([&self.upper, &self.work]);
        if paths.into_iter().any(|it| it.as_os_str().len() > MAX_VALUE_BYTES) {
            return Err(Errno::NAMETOOLONG);
        }
        let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&overlay, "source", self.source.as_str())?;
        for layer in self.layers.iter().rev() {
            fsconfig_set_string(&overlay, "lowerdir+", layer)?;
        }
        fsconfig_set_string(&overlay, "upperdir", &self.upper)?;
        fsconfig_set_string(&overlay, "workdir", &self.work)?;
        fsconfig_create(&overlay)?;
        let mount = fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        move_mount(&mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    }

    fn mount_by_options(&self, at: &Path) -> Result<(), Errno> {
        let open = |path: &PathBuf| -> Result<(OwnedFd, String), Errno> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::open(path, flags, Mode::empty())?;
            let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
            Ok((fd, name))
        };
        // Open until the mount is made.
        let layers = self.layers.iter().rev().map(open).collect::<Result<Vec<_>, _>>()?;
        let (upper, work) = (open(&self.upper)?, open(&self.work)?);
        let names: Vec<&str> = layers.iter().map(|(_, name)| name.as_str()).collect();
        let options = format!("lowerdir={},upperdir={},workdir={}", names.join(":"), upper.1, work.1);
        if options.len() > MAX_OPTIONS_BYTES {
            return Err(Errno::TOOBIG);
        }
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount(self.source.as_str(), at, "overlay", MountFlags::empty(), Some(options.as_c_str()))
    }
}

/// What is mounted at a folder: the type and the source of the topmost mount.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn mounted(at: &Path) -> Result<Option<(String, String)>, Fault> {
    let Ok(at) = at.canonicalize() else { return Ok(None) };
    // The list of a full node has a thousand lines: it is read only where something is mounted, or where the kernel (before Linux 5.8) does not say.
    let kind = statx(CWD, &at, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
    if kind.is_ok_and(|it| it.stx_attributes_mask.contains(ROOT) && !it.stx_attributes.contains(ROOT)) {
        return Ok(None);
    }
    let text = fs::read("/proc/self/mountinfo").map_err(|it| Fault::io("read /proc/self/mountinfo", it))?;
    Ok(topmost(&text, &at))
}

/// The last line wins: mounts stand in the order in which they were made.
fn topmost(text: &[u8], at: &Path) -> Option<(String, String)> {
    text.split(|it| *it == b'\n').rev().find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|it| *it == b' ').collect();
        if plain(fields.get(4)?) != at.as_os_str() {
            return None;
        }
        // Optional fields end with a dash; proc(5).
        let dash = fields.iter().skip(6).position(|it| *it == b"-")? + 6;
        let text = |at: usize| Some(plain(fields.get(at)?).to_string_lossy().into_owned());
        Some((text(dash + 1)?, text(dash + 2)?))
    })
}

/// A field without the octal escapes of spaces, tabs, newlines and backslashes.
fn plain(field: &[u8]) -> OsString {
    let (mut bytes, mut at) = (Vec::with_capacity(field.len()), 0);
    while at < field.len() {
        let digits =
            field.get(at + 1..at + 4).filter(|it| field[at] == b'\\' && it.iter().all(|it| matches!(it, b'0'..=b'7')));
        let byte = digits.and_then(|it| u8::from_str_radix(std::str::from_utf8(it).ok()?, 8).ok());
        bytes.push(byte.unwrap_or(field[at]));
        at += if byte.is_some() { 4 } else { 1 };
    }
    OsString::from_vec(bytes)
}

/// Takes away the overlay mounts of a source at a folder. None there is fine; what is not ours stays.
///
/// # Errors
/// When the kernel refuses.
pub fn unmount(source: &str, at: &Path) -> Result<(), Fault> {
    for _ in 0..MAX_STACKED {
        match mounted(at)? {
            Some((kind, found)) if kind == "overlay" && found == source => {}
            _ => return Ok(()),
        }
        let outcome = match rustix::mount::unmount(at, UnmountFlags::NOFOLLOW) {
            // Somebody still has a file open; the mount goes with the last.
            Err(Errno::BUSY) => rustix::mount::unmount(at, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH),
            outcome => outcome,
        };
        match outcome {
            // Gone meanwhile.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(Fault::io(format!("unmount {}", at.display()), error)),
        }
    }
    Err(Fault::bad(format!("{} has more than {MAX_STACKED} mounts", at.display())))
}

/// Whether a path can be a mount's place: absolute, and a folder of ours rather than what a link leads to.
pub fn is_place(at: &Path) -> bool {
    at.is_absolute() && !OsStr::as_bytes(at.as_os_str()).contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_mounts_is_read() {
        let text = b"22 1 8:1 / / rw - ext4 /dev/vda rw\n\
            30 22 0:5 / /a\\040b rw shared:3 master:1 - overlay one rw,lowerdir+=/x\n\
            31 30 0:6 / /a\\040b rw - overlay two rw\n";
        let check = |at: &str, expected: Option<(&str, &str)>| {
            let found = topmost(text, Path::new(at));
            assert_eq!(found.as_ref().map(|(a, b)| (a.as_str(), b.as_str())), expected, "{at}");
        };
        check("/", Some(("ext4", "/dev/vda")));
        check("/a b", Some(("overlay", "two")));
        check("/a", None);
    }

    /// A mount that ends with the test.
    struct Mounted<'a>(&'a Path);

    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            unmount("test", self.0).unwrap();
        }
    }

    #[test]
    fn many_layers_are_mounted_either_way() {
        type Way = fn(&Overlay, &Path) -> Result<(), Errno>;
        let ways: [Way; 2] = [Overlay::mount_by_parts, Overlay::mount_by_options];
        for way in ways {
            let dir = tempfile::tempdir().unwrap();
            let make = |name: &str| {
                let path = dir.path().join(name);
                fs::create_dir(&path).unwrap();
                path
            };
            let layers: Vec<PathBuf> =
                (0..super::super::manifest::MAX_LAYERS).map(|it| make(&format!("layer-{it:0>200}"))).collect();
            for (at, layer) in layers.iter().enumerate() {
                fs::write(layer.join("top"), at.to_string()).unwrap();
                fs::write(layer.join(at.to_string()), "").unwrap();
            }
            let (upper, work, at) = (make("upper"), make("work"), make("at"));
            let overlay = Overlay { source: "test".into(), layers, upper, work };
            way(&overlay, &at).unwrap();
            let _mounted = Mounted(&at);
            assert_eq!(fs::read_to_string(at.join("top")).unwrap(), "199");
            assert!(at.join("0").exists() && at.join("199").exists());
            fs::write(at.join("top"), "changed").unwrap();
            assert_eq!(fs::read_to_string(overlay.upper.join("top")).unwrap(), "changed");
            assert_eq!(mounted(&at).unwrap(), Some(("overlay".into(), "test".into())));
        }
    }
}
