//! Whether overlays can be mounted over folders of a data directory: in a container without the right, or on an overlay, they cannot.

use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Tries it, and leaves nothing.
pub fn works(data_dir: &Path) -> bool {
    match probe(data_dir) {
        Ok(()) => true,
        Err(error) => {
            tracing::info!(%error, data_dir = %data_dir.display(), "the runtime native cannot be used: overlays cannot be mounted here");
            false
        }
    }
}

fn probe(data_dir: &Path) -> std::io::Result<()> {
    let dir = tempfile::Builder::new().prefix("overlay-").tempdir_in(data_dir)?;
    let folder = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).map(|()| path)
    };
    let (lower, upper, work, at) = (folder("lower")?, folder("upper")?, folder("work")?, folder("at")?);
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let options = std::ffi::CString::new(options)?;
    mount("orlop-probe", &at, "overlay", MountFlags::empty(), options.as_c_str())?;
    // Written, because some file systems take the mount and then no file.
    let written = std::fs::write(at.join("it"), "it");
    unmount(&at, UnmountFlags::DETACH)?;
    written?;
    dir.close()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_of_a_probe() {
        let dir = tempfile::tempdir().unwrap();
        let works = works(dir.path());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&dir.path().display().to_string()));
        // Root has the right wherever the kernel knows overlays and the folder is on a disk; the memory of `/dev/shm` takes them, too.
        assert!(works || !nix::unistd::geteuid().is_root());
    }
}
