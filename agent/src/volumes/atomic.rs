//! Files that change in one step: the kubelet's scheme of a timestamped folder behind the link `..data`.
//!
//! Each file that a container sees is a link to `..data/<path>`; `..data` is a link to a folder with the content of one moment. New content
//! is written beside the old, then `..data` is renamed over, which readers see whole or not at all.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use super::Files;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes `folder` show exactly `files`; does nothing where it does so already.
///
/// # Errors
/// The disk fails or is full; readers then still see what was there before.
pub fn write(folder: &Path, files: &Files, group: Option<i64>) -> io::Result<()> {
    if read(folder).is_some_and(|it| same(folder, &it, files)) {
        return Ok(());
    }
    let old = std::fs::read_link(folder.join(DATA)).ok();
    // A folder that has never been linked may be left from a death; it is not in the way of the next number.
    let next = (0..).map(|it| format!("..{it}")).find(|it| !folder.join(it).exists());
    let next = next.ok_or_else(|| io::Error::other("no name left"))?;
    let fresh = folder.join(&next);
    std::fs::create_dir(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    for (path, it) in files {
        let file = fresh.join(path);
        if let Some(above) = file.parent() {
            std::fs::create_dir_all(above)?;
        }
        std::fs::write(&file, &it.content)?;
        // The group of the pod may read what the owner may.
        let mode = if group.is_some() { it.mode | ((it.mode & 0o400) >> 3) } else { it.mode };
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
        let group = group.and_then(|it| u32::try_from(it).ok());
        if group.is_some() || it.owner.is_some() {
            chown(&file, it.owner, group)?;
        }
    }
    let _ = std::fs::remove_file(folder.join(NEW_DATA));
    symlink(&next, folder.join(NEW_DATA))?;
    std::fs::rename(folder.join(NEW_DATA), folder.join(DATA))?;

    let tops = tops(files);
    for top in &tops {
        let link = folder.join(top);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(top), link)?;
        }
    }
    for entry in std::fs::read_dir(folder)?.flatten() {
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if !name.starts_with("..") && !tops.contains(name.as_str()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    if let Some(old) = old.filter(|it| *it != Path::new(&next)) {
        std::fs::remove_dir_all(folder.join(old))?;
    }
    Ok(())
}

/// What lies in the volume's folder itself.
fn tops(files: &Files) -> BTreeSet<&str> {
    files.keys().filter_map(|it| it.split('/').next()).collect()
}

/// The files that the folder shows, if it shows any.
fn read(folder: &Path) -> Option<BTreeSet<String>> {
    let root = folder.join(DATA);
    let mut paths = BTreeSet::new();
    let mut folders = vec![root.clone()];
    while let Some(it) = folders.pop() {
        for entry in std::fs::read_dir(it).ok()?.flatten() {
            if entry.file_type().ok()?.is_dir() {
                folders.push(entry.path());
            } else {
                paths.insert(entry.path().strip_prefix(&root).ok()?.to_str()?.to_owned());
            }
        }
    }
    Some(paths)
}

/// Whether these files are shown with this content. A death may have come between the content and the links to it.
fn same(folder: &Path, paths: &BTreeSet<String>, files: &Files) -> bool {
    let root = folder.join(DATA);
    paths.len() == files.len()
        && tops(files).iter().all(|it| folder.join(it).symlink_metadata().is_ok())
        && files.iter().all(|(path, file)| std::fs::read(root.join(path)).is_ok_and(|it| it == file.content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::File;

    fn files(entries: &[(&str, &str)]) -> Files {
        let file = |content: &str| File { content: content.as_bytes().to_vec(), mode: 0o644, owner: None };
        entries.iter().map(|(path, content)| ((*path).to_owned(), file(content))).collect()
    }

    #[test]
    fn content_changes_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let text = |path: &str| std::fs::read_to_string(at.join(path)).ok();
        write(at, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!((text("a").as_deref(), text("d/b").as_deref()), (Some("1"), Some("2")));
        let first = std::fs::read_link(at.join(DATA)).unwrap();
        write(at, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(std::fs::read_link(at.join(DATA)).unwrap(), first, "nothing changed");
        write(at, &files(&[("a", "3"), ("c", "4")]), None).unwrap();
        assert_eq!((text("a").as_deref(), text("c").as_deref(), text("d/b")), (Some("3"), Some("4"), None));
        // As a death leaves it before the last step.
        std::fs::remove_file(at.join("c")).unwrap();
        write(at, &files(&[("a", "3"), ("c", "4")]), None).unwrap();
        assert_eq!(text("c").as_deref(), Some("4"));
        let left = std::fs::read_dir(at).unwrap().count();
        assert_eq!(left, 4, "a, c, ..data and the folder behind it");
    }
}
