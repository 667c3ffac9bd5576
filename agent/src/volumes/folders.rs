//! The folders that are volumes of this node: `<data-dir>/volumes/<volume>`, made empty and removed with all that is in them.
//!
//! In: names of volumes and the paths that the API has for them. Out: folders. Only what lies directly in the folder of volumes under the
//! volume's own name is ever made or removed, never through a link, and nothing on which something is mounted.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::plain;

/// The folder of volumes in a data directory.
const FOLDER: &str = "volumes";

/// What the name of a folder begins with that is being removed: no name of a volume begins with a dot.
const GOING: &str = ".going-";

/// This node's folder of volumes.
#[derive(Clone, Debug)]
pub struct Folders {
    root: PathBuf,
}

impl Folders {
    /// Folders in `<data-dir>/volumes`.
    pub fn new(data_dir: &Path) -> Self {
        Folders { root: data_dir.join(FOLDER) }
    }

    /// Where they are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a volume, if the path that the API has for it is that of a folder in some node's folder of volumes: this one, or where the
    /// data directory was before it was moved, or restored from a snapshot.
    pub fn of(&self, volume: &str, path: &str) -> Option<PathBuf> {
        let name = plain(volume).ok().filter(|it| !it.starts_with('.'))?;
        let path = Path::new(path);
        (path.is_absolute() && path.ends_with(Path::new(FOLDER).join(name))).then(|| self.root.join(name))
    }

    /// Makes a volume's folder, for everybody, unless it is there; it has reached the disk then.
    ///
    /// # Errors
    /// The disk fails or is full, or something else bears the name.
    pub fn make(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(&self.root)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !fs::symlink_metadata(folder)?.is_dir() {
            return Err(io::Error::other(format!("{} is no folder", folder.display())));
        }
        // Its pods choose their users; what keeps others of this machine out is the mode of the data directory.
        fs::set_permissions(folder, Permissions::from_mode(0o777))?;
        File::open(&self.root)?.sync_all()
    }

    /// Removes a volume's folder with all that is in it; one that is gone already is as wanted.
    ///
    /// # Errors
    /// Something is mounted in it, or the disk fails. What is left is removed by the next attempt.
    pub fn remove(&self, volume: &str, folder: &Path) -> io::Result<()> {
        let going = self.root.join(format!("{GOING}{}", plain(volume).map_err(io::Error::other)?));
        // Renamed first: a removal that is broken off leaves nothing that looks like a volume.
        match fs::rename(folder, &going) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let Some(at) = mounted_below(&going)? {
            return Err(io::Error::other(format!("{at} is mounted in it")));
        }
        match fs::symlink_metadata(&going) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
            // A link in place of the folder is taken away and not followed.
            Ok(it) if it.is_dir() => fs::remove_dir_all(&going)?,
            Ok(_) => fs::remove_file(&going)?,
        }
        File::open(&self.root)?.sync_all()
    }
}

/// A place at or below a folder on which something is mounted.
fn mounted_below(folder: &Path) -> io::Result<Option<String>> {
    let Ok(folder) = folder.canonicalize() else { return Ok(None) };
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|it| it.split(' ').nth(4));
    let below = points.map(unescaped).find(|it| Path::new(it).starts_with(&folder));
    Ok(below)
}

/// A path as the kernel writes it there: spaces, tabs, line ends and backslashes in octal.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_once_and_removed_whole() {
        let data = tempfile::tempdir().unwrap();
        let folders = Folders::new(data.path());
        let path = data.path().join("volumes/pvc-1");
        let own = folders.of("pvc-1", path.to_str().unwrap()).unwrap();
        assert_eq!(own, path);
        assert_eq!(folders.of("pvc-1", "/elsewhere/volumes/pvc-1"), Some(path), "the data directory was moved");
        folders.make(&own).unwrap();
        assert_eq!(own.metadata().unwrap().permissions().mode() & 0o7777, 0o777);
        fs::create_dir(own.join("deep")).unwrap();
        fs::write(own.join("deep/file"), "x").unwrap();
        let outside = data.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, own.join("link")).unwrap();
        folders.make(&own).unwrap();
        assert!(own.join("deep/file").exists());
        folders.remove("pvc-1", &own).unwrap();
        folders.remove("pvc-1", &own).unwrap();
        assert!(outside.join("kept").exists() && fs::read_dir(folders.root()).unwrap().next().is_none());
        // A removal that was broken off after its first step is completed.
        folders.make(&own).unwrap();
        fs::rename(&own, folders.root().join(".going-pvc-1")).unwrap();
        folders.remove("pvc-1", &own).unwrap();
        assert!(fs::read_dir(folders.root()).unwrap().next().is_none());
    }

    #[test]
    fn nothing_else_is_touched() {
        let data = tempfile::tempdir().unwrap();
        let folders = Folders::new(data.path());
        for (volume, path) in [
            ("pvc-1", "/etc"),
            ("pvc-1", "/"),
            ("pvc-1", "volumes/pvc-1"),
            ("pvc-1", "/x/volumes/pvc-1/deeper"),
            ("pvc-1", "/x/other/pvc-1"),
            ("..", "/x/volumes/.."),
            ("a/b", "/x/volumes/a/b"),
            (".going-a", "/x/volumes/.going-a"),
        ] {
            let path = path.replace("/x", data.path().to_str().unwrap());
            assert_eq!(folders.of(volume, &path), None, "{volume} {path}");
        }
        let other = data.path().join("volumes/other").display().to_string();
        assert_eq!(folders.of("pvc-1", &other), None);
        // A link in the place of a volume's folder goes, and what it points to stays.
        let outside = data.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::create_dir_all(folders.root()).unwrap();
        let own = folders.root().join("pvc-1");
        std::os::unix::fs::symlink(&outside, &own).unwrap();
        assert!(folders.make(&own).is_err());
        folders.remove("pvc-1", &own).unwrap();
        assert!(outside.exists() && own.symlink_metadata().is_err());
    }
}
