//! Where everything of the store lies on disk, and how it comes there whole.
//!
//! ```text
//! <root>/lock                     held by the process whose store this is
//! <root>/index.json               images and names
//! <root>/blobs/sha256/<hex>       configurations; layers until they are unpacked
//! <root>/layers/<chain id>/fs/    a layer's files, beside layer.json
//! <root>/containers/<name>/       upper, work, and image.json: what it is mounted from
//! <root>/tmp/                     everything half-done; emptied at the start
//! ```
//!
//! What lies under its own name is whole: it was made in `tmp`, synced and renamed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;

use super::digest::Digest;
use super::fault::Fault;
use super::rubbish;

/// The longest name of a container in bytes; ids have 64.
const MAX_CONTAINER_BYTES: usize = 200;

/// The store's folders.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
    /// Holds the lock as long as it is open.
    _lock: File,
    next: AtomicU64,
}

impl Layout {
    /// Opens (or makes) a store, and removes what a crash left half-done.
    ///
    /// # Errors
    /// When another process has it open, or the kernel refuses.
    pub fn open(root: &Path) -> Result<Self, Fault> {
        for folder in ["blobs/sha256", "layers", "containers", "tmp"] {
            make_folder(&root.join(folder))?;
        }
        let root = root.canonicalize().map_err(|it| Fault::io(format!("open {}", root.display()), it))?;
        // What is in it belongs to images' users, not to the host's: set-user-id programs must not be reachable.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&root, private)
            .map_err(|it| Fault::io(format!("set the mode of {}", root.display()), it))?;
        let path = root.join("lock");
        let lock = File::create(&path).map_err(|it| Fault::io(format!("create {}", path.display()), it))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|it| Fault::io(format!("the image store {} is used by another process", root.display()), it))?;
        let layout = Layout { root, _lock: lock, next: AtomicU64::new(0) };
        for left in list(&layout.root.join("tmp"))? {
            rubbish::remove(&left)?;
        }
        Ok(layout)
    }

    /// The store's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The index of images and names.
    pub fn index(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// The folder of blobs.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    /// A blob.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// The folder of layers.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// A layer: its folder `fs` and what is told of it.
    pub fn layer(&self, chain_id: &Digest) -> PathBuf {
        self.layers().join(chain_id.hex())
    }

    /// The folder of containers.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// A container's folder.
    ///
    /// # Errors
    /// When the name is no name for a folder.
    pub fn container(&self, name: &str) -> Result<PathBuf, Fault> {
        let allowed = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.');
        let good = !name.is_empty()
            && name.len() <= MAX_CONTAINER_BYTES
            && !name.starts_with('.')
            && name.bytes().all(allowed);
        if !good {
            return Err(Fault::bad(format!("{name:?} cannot name a container")));
        }
        Ok(self.containers().join(name))
    }

    /// A new name for something half-done, removed with everything in it when it is dropped.
    pub fn temporary(&self) -> Temporary {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Temporary { path: self.root.join("tmp").join(number.to_string()), kept: false }
    }

    /// Writes a file so that a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        let temporary = self.temporary();
        let failed = |it| Fault::io(format!("write {}", path.display()), it);
        let mut file = File::create(temporary.path()).map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        temporary.rename(path)
    }

    /// Takes something out of its place at once, and then removes it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn discard(&self, path: &Path) -> Result<Temporary, Fault> {
        let temporary = self.temporary();
        match fs::rename(path, temporary.path()) {
            Ok(()) => Ok(temporary),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(temporary),
            Err(error) => Err(Fault::io(format!("remove {}", path.display()), error)),
        }
    }
}

/// Something in `tmp`, which goes when this is dropped.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Temporary {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its true name, durably.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn rename(self, to: &Path) -> Result<(), Fault> {
        self.put(to)?;
        let parent = to.parent().unwrap_or(to);
        let synced = File::open(parent).and_then(|it| it.sync_all());
        synced.map_err(|it| Fault::io(format!("write {}", to.display()), it))
    }

    /// Gives it its true name, which a power failure may take away again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn put(mut self, to: &Path) -> Result<(), Fault> {
        fs::rename(&self.path, to).map_err(|it| Fault::io(format!("write {}", to.display()), it))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = rubbish::remove(&self.path)
        {
            // The next start of the agent tries again.
            tracing::warn!(path = %self.path.display(), %error, "something half-done stays");
        }
    }
}

/// Makes a folder and those above it.
///
/// # Errors
/// When the kernel refuses.
pub fn make_folder(path: &Path) -> Result<(), Fault> {
    fs::create_dir_all(path).map_err(|it| Fault::io(format!("make {}", path.display()), it))
}

/// What lies in a folder.
///
/// # Errors
/// When it cannot be read.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let entries = fs::read_dir(folder).and_then(|it| it.map(|it| it.map(|it| it.path())).collect());
    entries.map_err(|it| Fault::io(format!("list {}", folder.display()), it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_one_owner_and_starts_clean() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let error = Layout::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("used by another process"), "{error}");
        let left = layout.temporary();
        make_folder(&left.path().join("some/folder")).unwrap();
        let path = left.path().to_owned();
        std::mem::forget(left);
        drop(layout);
        Layout::open(dir.path()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn containers_have_safe_names() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let check = |name: &str, good: bool| assert_eq!(layout.container(name).is_ok(), good, "{name}");
        check("0a1b", true);
        check("web_1.x-y", true);
        check("", false);
        check("..", false);
        check("a/b", false);
        check(&"a".repeat(201), false);
    }
}
