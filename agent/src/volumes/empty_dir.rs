//! `emptyDir`: a folder of the disk, or one in memory or in huge pages, which is as empty when the pod begins.

use std::path::Path;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};
use nix::mount::{MsFlags, mount};
use orlop_api::quantity::Quantity;

use super::{create, is_mounted, mount_tmpfs, own};
use crate::node::huge_pages;
use crate::resources::huge_page_sizes;

/// What a medium of huge pages is called, without a size or with one: `HugePages`, `HugePages-2Mi`.
const HUGE_PAGES: &str = "HugePages";

/// Makes the folder, and mounts its medium where it is none of the disk.
///
/// # Errors
/// It cannot be made; the pod asks for no huge pages of the medium's size.
pub fn fill(pod: &Pod, folder: &Path, of: &EmptyDirVolumeSource, fs_group: Option<i64>) -> Result<(), String> {
    if !folder.exists() {
        create(folder, 0o777)?;
        own(folder, fs_group)?;
    }
    let medium = of.medium.as_deref().unwrap_or_default();
    if medium.is_empty() || is_mounted(folder) {
        return Ok(());
    }
    if medium == "Memory" {
        let limit = of.size_limit.as_ref().and_then(|it| Quantity::parse(&it.0).ok());
        mount_tmpfs(folder, limit.map(|it| it.value_ceil()))?;
    } else {
        mount_huge_pages(folder, page_size(pod, medium)?)?;
    }
    own(folder, fs_group)
}

/// The size of the pages of a medium, in bytes, with the kubelet's words where the pod has none such.
fn page_size(pod: &Pod, medium: &str) -> Result<u64, String> {
    let sizes = huge_page_sizes(pod);
    let named = match medium.strip_prefix(HUGE_PAGES) {
        None => return Err(format!("unknown storage medium {medium:?}")),
        Some("") => None,
        Some(size) => {
            let size =
                size.strip_prefix('-').and_then(|it| huge_pages::size_of(&format!("{}{it}", huge_pages::PREFIX)));
            Some(size.ok_or_else(|| format!("invalid hugepage storage medium {medium:?}"))?)
        }
    };
    let none =
        || format!("medium {medium}: hugePages storage requested, but there is no resource request for huge pages");
    match named {
        Some(size) => sizes.contains(&size).then_some(size).ok_or_else(none),
        None if sizes.len() > 1 => Err(format!("medium {medium} doesn't allow for multiple page sizes")),
        None => sizes.first().copied().ok_or_else(none),
    }
}

fn mount_huge_pages(folder: &Path, page_size: u64) -> Result<(), String> {
    let options = format!("pagesize={page_size},mode=0777");
    mount(Some("nodev"), folder, Some("hugetlbfs"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|it| format!("mounting huge pages at {}: {it}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_of_the_size_that_the_pod_asks_for() {
        let check = |limits: serde_json::Value, medium: &str, expected: Result<u64, &str>| {
            let pod = serde_json::json!({"spec": {"containers": [{"name": "c", "resources": {"limits": limits}}]}});
            let found = page_size(&serde_json::from_value(pod).unwrap(), medium);
            assert_eq!(found.as_ref().map(|it| *it).map_err(String::as_str), expected, "{medium}");
        };
        let two = serde_json::json!({"hugepages-2Mi": "4Mi"});
        let both = serde_json::json!({"hugepages-2Mi": "4Mi", "hugepages-1Gi": "1Gi"});
        check(two.clone(), "HugePages", Ok(2 << 20));
        check(both.clone(), "HugePages-1Gi", Ok(1 << 30));
        check(both, "HugePages", Err("medium HugePages doesn't allow for multiple page sizes"));
        let none = "hugePages storage requested, but there is no resource request for huge pages";
        check(two.clone(), "HugePages-1Gi", Err(&format!("medium HugePages-1Gi: {none}")));
        check(serde_json::json!({}), "HugePages", Err(&format!("medium HugePages: {none}")));
        check(two.clone(), "HugePages-x", Err(r#"invalid hugepage storage medium "HugePages-x""#));
        check(two, "Tape", Err(r#"unknown storage medium "Tape""#));
    }
}
