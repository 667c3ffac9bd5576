//! What this machine can give to containers, looked at once. The only thing it decides is what counts as a device.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{major, minor};

use super::spec::{Device, capabilities};
use crate::node::huge_pages;

/// How deep below `/dev` devices are looked for, and how many are taken at the most.
const DEVICE_DEPTH: usize = 4;
const DEVICES_MAX: usize = 4096;

/// Folders of `/dev` that a container has of its own.
const OWN: &[&str] = &["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/.lxc", "/dev/.udev"];

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Whether it has cgroups of version 2 alone.
    pub unified: bool,
    /// Where the hierarchies of version 1 are mounted.
    pub cgroups: Vec<PathBuf>,
    /// Whether swap is counted.
    pub swap_limit: bool,
    /// The sizes of huge pages whose use is counted, in bytes.
    pub huge_pages: Vec<u64>,
    /// The capabilities that this process may hand on.
    pub capabilities: Vec<&'static str>,
    /// The most open files that this process may hand on.
    pub open_files: u64,
}

impl Machine {
    /// This one.
    pub fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|it| it.strip_prefix("CapBnd:"));
        let mask = mask.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).unwrap_or(u64::MAX);
        let swap = ["/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "/proc/swaps"];
        let unified = orlop_shim::cgroup::is_unified();
        let sizes = huge_pages::of_this_machine().into_keys();
        Self {
            unified,
            cgroups: orlop_shim::cgroup::mounts_of_version_1(),
            swap_limit: Path::new(swap[usize::from(unified)]).exists(),
            huge_pages: if counts_huge_pages(unified) { sizes.collect() } else { Vec::new() },
            capabilities: capabilities::of_mask(mask),
            open_files: getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |it| it.1),
        }
    }
}

/// Whether the kernel's controller of huge pages is mounted.
fn counts_huge_pages(unified: bool) -> bool {
    let controllers = || fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    match unified {
        true => controllers().split_whitespace().any(|it| it == "hugetlb"),
        false => Path::new("/sys/fs/cgroup/hugetlb/cgroup.procs").exists(),
    }
}

/// The devices of this machine, for a privileged container.
pub fn devices() -> Vec<Device> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), DEVICE_DEPTH, &mut found);
    found
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<Device>) {
    for it in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, Ok(metadata)) = (it.path(), it.metadata()) else { continue };
        let kind = metadata.file_type();
        if kind.is_dir() && depth > 0 && !OWN.iter().any(|it| Path::new(it) == path) {
            collect(&path, depth - 1, found);
        } else if (kind.is_char_device() || kind.is_block_device())
            && path != Path::new("/dev/console")
            && found.len() < DEVICES_MAX
        {
            let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
            let block = kind.is_block_device();
            let mode = metadata.mode() & 0o7777;
            found.push(Device { path: path.display().to_string(), block, major, minor, mode });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_its_null_device() {
        let found = devices();
        let null = found.iter().find(|it| it.path == "/dev/null").expect("every machine has one");
        assert_eq!((null.block, null.major, null.minor), (false, 1, 3));
        assert!(found.iter().all(|it| !it.path.starts_with("/dev/pts/")));
    }
}
