//! The cgroup above those of a node's pods, kept in the runtime's folder: whoever cleans up after the agent has no other way to know it.

use std::io;
use std::path::Path;

/// The file's name.
const FILE: &str = "cgroup-root";

/// Keeps it for [`read`].
///
/// # Errors
/// When it is no path of plain names, or the disk refuses.
pub fn keep(folder: &Path, root: &str) -> io::Result<()> {
    let root = plain(root)?;
    if read(folder)? == root {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let next = folder.join(format!("{FILE}.next"));
    std::fs::write(&next, &root)?;
    std::fs::rename(&next, folder.join(FILE))
}

/// What was kept: empty for the hierarchies' own root, else a path that begins with a slash.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn read(folder: &Path) -> io::Result<String> {
    match std::fs::read_to_string(folder.join(FILE)) {
        Ok(it) => plain(&it),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn plain(root: &str) -> io::Result<String> {
    let parts: Vec<&str> = root.trim().split('/').filter(|it| !it.is_empty()).collect();
    let good =
        |it: &&str| !it.starts_with('.') && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it));
    match parts.iter().all(good) {
        true => Ok(parts.iter().map(|it| format!("/{it}")).collect()),
        false => Err(io::Error::other(format!("{root:?} is no path of a cgroup"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_kept_as_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("native");
        assert_eq!(read(&folder).unwrap(), "");
        for (given, kept) in [("/", ""), ("orlop/a-1", "/orlop/a-1"), ("/orlop//a/", "/orlop/a"), ("", "")] {
            keep(&folder, given).unwrap();
            assert_eq!(read(&folder).unwrap(), kept, "{given}");
        }
        for wrong in ["/../etc", "/a/.", "/a b", "/a\n/b"] {
            assert!(keep(&folder, wrong).is_err(), "{wrong:?}");
        }
    }
}
