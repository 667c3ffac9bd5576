//! The program `orlop-shim`: where it is, and how one is started for a sandbox.
//!
//! Shims run from a sealed copy in memory that all of them share. A container's process that reached its own program's file through `/proc`
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

/// The file's name.
const NAME: &str = "orlop-shim";

/// How long a shim may take to make its namespaces. A loaded machine frees old network namespaces before it makes new ones.
const READY: Duration = Duration::from_secs(30);

/// The most that a shim says before it is ready, in bytes: one line of what went wrong.
const LINE_MAX_BYTES: u64 = 4096;

/// The program.
#[derive(Debug)]
pub struct Program {
    copy: OwnedFd,
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
    /// Copies the program.
    ///
    /// # Errors
    /// It cannot be read, or there is no memory.
    pub fn load(path: &Path) -> Result<Self, RuntimeError> {
        let copied = || -> io::Result<OwnedFd> {
            let mut from = File::open(path)?;
            let mut to = File::from(memfd_create(NAME, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
            io::copy(&mut from, &mut to)?;
            to.flush()?;
            let seals =
                SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
            fcntl(&to, FcntlArg::F_ADD_SEALS(seals))?;
            // What is open for writing cannot be run.
            let path = format!("/proc/self/fd/{}", to.as_raw_fd());
            Ok(File::open(path)?.into())
        };
        copied().map(|copy| Self { copy }).map_err(|it| failed(path, it))
    }

    /// Starts a shim in a sandbox's folder and waits until it listens.
    ///
    /// # Errors
    /// In the shim's words.
    pub async fn start(&self, folder: &Path) -> Result<(), RuntimeError> {
        let could_not = |it: io::Error| RuntimeError::CreateContainer(format!("the shim could not be started: {it}"));
        let log = File::options().append(true).create(true).open(folder.join("shim.log")).map_err(could_not)?;
        let mut child = Command::new(format!("/proc/self/fd/{}", self.copy.as_raw_fd()))
            .arg0(NAME)
            .arg("sandbox")
            .current_dir(folder)
            .stdin(Stdio::null())
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
