//! The programs `orlop-shim` and `orlop-shim-helper`: where they are, and how a shim is started for a sandbox.
//!
//! They run from sealed copies in memory that all pods share. A container's process that reached its own program's file through `/proc`
//! would find the copy, which nobody can write (CVE-2019-5736); and a shim outlives an upgrade of the file with the program it began with.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::record::failed;
use crate::runtime::RuntimeError;

/// The files' names. The helper lies beside the shim.
const NAME: &str = "orlop-shim";
const HELPER: &str = "orlop-shim-helper";

/// How long a shim may take to make its namespaces. A loaded machine frees old network namespaces before it makes new ones.
const READY: Duration = Duration::from_secs(30);

/// How often a program is copied and sealed, and the pause after a time when the kernel would not seal: see [`sealed`].
const COPIES: u32 = 10;
const UNTIL_THE_NEXT_COPY: Duration = Duration::from_millis(50);

/// The most that a shim says before it is ready, in bytes: one line of what went wrong.
const LINE_MAX_BYTES: u64 = 4096;

/// The programs.
#[derive(Debug)]
pub struct Program {
    shim: OwnedFd,
    helper: OwnedFd,
}

/// The shim's file: beside the program that runs, or where `configured` says.
pub fn find(configured: Option<&Path>) -> Option<PathBuf> {
    if let Some(it) = configured {
        return Some(it.to_path_buf());
    }
    let own = std::env::current_exe().ok()?;
    let folder = own.parent()?;
    // The tests' own programs lie one folder deeper.
    [folder.join(NAME), folder.parent()?.join(NAME)].into_iter().find(|it| it.is_file())
}

impl Program {
    /// Copies the programs; `shim` is the shim's path.
    ///
    /// # Errors
    /// They cannot be read, or there is no memory.
    pub async fn load(shim: &Path) -> Result<Self, RuntimeError> {
        let copied = async |path: &Path| sealed(|| copy(path)).await.map_err(|it| failed(path, it));
        Ok(Self { shim: copied(shim).await?, helper: copied(&shim.with_file_name(HELPER)).await? })
    }

    /// Starts a shim in a sandbox's folder and waits until it listens.
    ///
    /// # Errors
    /// In the shim's words.
    pub async fn start(&self, folder: &Path) -> Result<(), RuntimeError> {
        let could_not = |it: io::Error| RuntimeError::CreateContainer(format!("the shim could not be started: {it}"));
        let log = File::options().append(true).create(true).open(folder.join("shim.log")).map_err(could_not)?;
        let helper = self.helper.try_clone().map_err(could_not)?;
        let mut child = Command::new(format!("/proc/self/fd/{}", self.shim.as_raw_fd()))
            .arg0(NAME)
            .arg("sandbox")
            .current_dir(folder)
            .stdin(Stdio::from(helper))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(could_not)?;
        let mut said = String::new();
        if let Some(out) = child.stdout.take() {
            let mut out = out.take(LINE_MAX_BYTES);
            let read = out.read_to_string(&mut said);
            match tokio::time::timeout(READY, read).await {
                Ok(it) => drop(it.map_err(could_not)?),
                Err(_) => {
                    let _ = child.kill().await;
                    return Err(RuntimeError::Timeout("the shim does not get ready".to_owned()));
                }
            }
        }
        // It is this process's child until this process ends; somebody has to take note of its end.
        tokio::spawn(async move { child.wait().await });
        match said.trim() {
            "ready" => Ok(()),
            "" => Err(RuntimeError::CreateContainer("the shim died before it was ready".to_owned())),
            why => Err(RuntimeError::CreateContainer(why.to_owned())),
        }
    }
}

/// What `copy` makes, with patience: the kernel seals no file of which it holds a page at that moment, which it does for
/// its own housekeeping, too (EBUSY of `fcntl_add_seals(2)`, after a wait of up to 150 ms). A new copy has other pages.
async fn sealed<T>(mut copy: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..COPIES {
        match copy() {
            Err(it) if it.kind() == io::ErrorKind::ResourceBusy => tokio::time::sleep(UNTIL_THE_NEXT_COPY).await,
            done => return done,
        }
    }
    copy()
}

/// A copy of a file in memory that nobody can write any more.
fn copy(path: &Path) -> io::Result<OwnedFd> {
    let mut from = File::open(path)?;
    let name = path.file_name().unwrap_or_default();
    let mut to = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    io::copy(&mut from, &mut to)?;
    to.flush()?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&to, FcntlArg::F_ADD_SEALS(seals))?;
    // What is open for writing cannot be run.
    Ok(File::open(format!("/proc/self/fd/{}", to.as_raw_fd()))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("it"), "program").unwrap();
        let copied = copy(&folder.path().join("it")).unwrap();
        let path = format!("/proc/self/fd/{}", copied.as_raw_fd());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "program");
        let written = File::options().write(true).open(&path).and_then(|mut it| it.write_all(b"x"));
        assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[tokio::test(start_paused = true)]
    async fn a_kernel_that_is_busy_is_asked_again_and_not_for_ever() {
        let busy = || io::Error::from_raw_os_error(libc::EBUSY);
        let mut asked = 0;
        let second = sealed(|| {
            asked += 1;
            if asked == 2 { Ok(asked) } else { Err(busy()) }
        });
        assert_eq!(second.await.unwrap(), 2);

        let mut asked = 0;
        let never = sealed(|| -> io::Result<()> {
            asked += 1;
            Err(busy())
        });
        assert_eq!(never.await.unwrap_err().raw_os_error(), Some(libc::EBUSY));
        assert_eq!(asked, COPIES);

        let mut asked = 0;
        let refused = sealed(|| -> io::Result<()> {
            asked += 1;
            Err(io::Error::from_raw_os_error(libc::ENOENT))
        });
        assert_eq!(refused.await.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(asked, 1, "what else fails is told at once");
    }
}
