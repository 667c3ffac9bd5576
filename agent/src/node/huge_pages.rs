//! Huge pages: what this machine has of each size, and what the API calls them.
//!
//! As with the kubelet, a node tells what its kernel had set aside when its agent began. Source: Kubernetes' "Manage HugePages".

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use orlop_api::quantity::{Format, Quantity};

/// Resources of this name are pages of the size that follows.
pub const PREFIX: &str = "hugepages-";

/// Where the kernel has a folder for each size.
const KERNEL: &str = "/sys/kernel/mm/hugepages";

/// The bytes that this machine has in pages of each size, by the size in bytes.
pub fn of_this_machine() -> BTreeMap<u64, i64> {
    below(Path::new(KERNEL))
}

fn below(folder: &Path) -> BTreeMap<u64, i64> {
    let folders = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = folders.filter_map(|it| {
        let name = it.file_name();
        let kib: u64 = name.to_str()?.strip_prefix(PREFIX)?.strip_suffix("kB")?.parse().ok()?;
        let count: i64 = fs::read_to_string(it.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
        let size = kib.checked_mul(1024)?;
        Some((size, count.saturating_mul(i64::try_from(size).ok()?)))
    });
    sizes.collect()
}

/// The resource that pages of a size are: `hugepages-2Mi`.
pub fn name_of(size: u64) -> String {
    let size = Quantity::from_units(i64::try_from(size).unwrap_or(i64::MAX), Format::BinarySi);
    format!("{PREFIX}{size}")
}

/// The size of the pages that a resource is, in bytes; none of another resource.
pub fn size_of(resource: &str) -> Option<u64> {
    let size = Quantity::parse(resource.strip_prefix(PREFIX)?).ok()?;
    u64::try_from(size.value_ceil()).ok().filter(|it| *it > 0)
}

/// A size as the kernel and the OCI write it: `2MB`, `1GB`, `64KB`.
pub fn in_words(size: u64) -> String {
    let units = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    let unit = units.into_iter().find(|(unit, _)| size >= *unit && size.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{size}B"), |(unit, name)| format!("{}{name}", size / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_folders_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for (name, count) in [("hugepages-2048kB", "8\n"), ("hugepages-1048576kB", "0\n"), ("other", "1\n")] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("nr_hugepages"), count).unwrap();
        }
        assert_eq!(below(folder.path()), BTreeMap::from([(2 << 20, 16 << 20), (1 << 30, 0)]));
        assert_eq!(below(&folder.path().join("none")), BTreeMap::new());
    }

    #[test]
    fn sizes_have_names() {
        for (size, name, words) in
            [(2 << 20, "hugepages-2Mi", "2MB"), (1 << 30, "hugepages-1Gi", "1GB"), (64 << 10, "hugepages-64Ki", "64KB")]
        {
            assert_eq!((name_of(size).as_str(), size_of(name), in_words(size).as_str()), (name, Some(size), words));
        }
        assert_eq!([size_of("memory"), size_of("hugepages-"), size_of("hugepages-0")], [None; 3]);
    }
}
