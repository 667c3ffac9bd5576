//! A network namespace that is bound to a file, so that it stays without a process, and the way into it.
//!
//! A namespace belongs to a thread: work gets a thread of its own, which enters, works and ends. A process that it starts is in the namespace.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// A namespace.
#[derive(Debug)]
pub struct Namespace {
    path: PathBuf,
    file: File,
}

impl Namespace {
    /// Makes one; what a reboot left of the file is used again.
    ///
    /// # Errors
    /// The kernel refuses: without root, for instance.
    pub fn make(path: &Path) -> Result<Self> {
        let made = || -> Result<()> {
            File::create(path)?;
            let bind = || -> io::Result<()> {
                unshare(CloneFlags::CLONE_NEWNET)?;
                let own = Path::new("/proc/thread-self/ns/net");
                Ok(mount(Some(own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
            };
            Ok(on_a_thread(bind)??)
        };
        made().with_context(|| format!("cannot make the network namespace {}", path.display()))?;
        Namespace::open(path)?.ok_or_else(|| anyhow!("the network namespace {} is gone", path.display()))
    }

    /// Opens one; none if it is not there, as after a reboot.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(it) => it,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
        };
        // A file of the kernel's list of namespaces lies on another device than that of its folder.
        let is_bound = file.metadata()?.dev() == std::fs::metadata("/proc/self/ns/net")?.dev();
        Ok(is_bound.then(|| Namespace { path: path.to_owned(), file }))
    }

    /// Unbinds it and removes the file; it ends with the last process in it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(path: &Path) -> Result<()> {
        while let Some(it) = Namespace::open(path)? {
            drop(it.file);
            umount2(path, MntFlags::MNT_DETACH).with_context(|| format!("cannot unmount {}", path.display()))?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel's number of it, which `/proc/<pid>/ns/net` shows of each process.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn number(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.ino())
    }

    /// Does work inside and gives its result.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the work's own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_a_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter {}", self.path.display()))?;
            work()
        })?
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join()).map_err(|_| anyhow!("the thread in the namespace died"))
}
