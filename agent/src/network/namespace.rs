//! Work inside another network namespace.
//!
//! A namespace belongs to a thread, so the work gets a thread of its own, which enters, works and ends. No other code ever runs on it,
//! so nothing can find itself in the wrong namespace.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use super::NetworkError;

/// How long the work may take: a few messages to the kernel.
const LIMIT: Duration = Duration::from_secs(10);

/// A network namespace, held open.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// The namespace of a process, which must have one of its own.
    pub fn of_process(pid: u32) -> Result<Self, NetworkError> {
        let unreadable = |it: io::Error| match it.kind() {
            io::ErrorKind::NotFound => NetworkError::NamespaceGone(pid),
            _ => NetworkError::Kernel { what: format!("network namespace of process {pid}"), reason: it.to_string() },
        };
        let file = File::open(format!("/proc/{pid}/ns/net")).map_err(unreadable)?;
        let own = std::fs::metadata("/proc/thread-self/ns/net").map_err(unreadable)?;
        let its = file.metadata().map_err(unreadable)?;
        if (own.dev(), own.ino()) == (its.dev(), its.ino()) {
            return Err(NetworkError::Config(format!("process {pid} is on the host's network: it cannot be attached")));
        }
        Ok(Self { file })
    }

    /// The descriptor, for a message that names the namespace. It is valid while `self` lives.
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Does work inside and returns its result.
    pub async fn run<T, F>(&self, what: &str, work: impl FnOnce() -> F + Send + 'static) -> Result<T, NetworkError>
    where
        F: Future<Output = Result<T, NetworkError>>,
        T: Send + 'static,
    {
        let failed = |reason: String| NetworkError::Kernel { what: what.to_owned(), reason };
        let file = self.file.try_clone().map_err(|it| failed(it.to_string()))?;
        let (sender, receiver) = oneshot::channel();
        let name = what.to_owned();
        let thread = move || {
            let outcome = enter(&file).and_then(|runtime| {
                runtime.block_on(async { tokio::time::timeout(LIMIT, work()).await }).map_err(io::Error::other)
            });
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(error) => Err(NetworkError::Kernel { what: name, reason: error.to_string() }),
            };
            // Nobody is left to hear it if the caller was cancelled.
            let _ = sender.send(outcome);
        };
        std::thread::Builder::new()
            .name("orlop-netns".to_owned())
            .spawn(thread)
            .map_err(|it| failed(it.to_string()))?;
        receiver.await.map_err(|_| failed("the thread in the namespace died".to_owned()))?
    }
}

fn enter(file: &File) -> io::Result<tokio::runtime::Runtime> {
    setns(file, CloneFlags::CLONE_NEWNET)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
