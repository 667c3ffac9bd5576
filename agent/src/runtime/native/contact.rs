//! When the node last had contact with the API server, in a file in memory that the shims of its pods hold: an agent that dies leaves it to them, and with
//! `--fence-after` a pod ends by itself when that is too long ago.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use orlop_shim::clock;
use orlop_shim::fence::stamp;
use orlop_shim::protocol::{Request, Response};

use super::line::{Line, QUICK};

/// The file, and after how long without contact pods end.
#[derive(Debug)]
pub struct Contact {
    file: File,
    after: Option<Duration>,
}

impl Contact {
    /// None yet. Without `after` no pod ends for want of it.
    ///
    /// # Errors
    /// There is no memory.
    pub fn none_yet(after: Option<Duration>) -> io::Result<Self> {
        let file = File::from(memfd_create("orlop-contact", MFdFlags::MFD_CLOEXEC)?);
        file.write_all_at(&stamp(Duration::ZERO), 0)?;
        Ok(Self { file, after })
    }

    /// There was contact so long ago.
    pub fn note(&self, ago: Duration) {
        let noted = clock::since_boot().and_then(|it| self.file.write_all_at(&stamp(it.saturating_sub(ago)), 0));
        if let Err(error) = noted {
            tracing::warn!(%error, "the contact with the API server could not be noted for the pods' shims");
        }
    }

    /// Has the shim of a pod's folder heed it, or no longer heed one.
    ///
    /// # Errors
    /// The shim is gone, or does not know of it.
    pub async fn hand_to(&self, folder: &Path) -> io::Result<()> {
        let handing = async {
            let mut line = Line::open(folder).await?;
            match self.after {
                Some(after) => {
                    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                    // A shim reads it and cannot write it.
                    let file = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
                    line.hand(&Request::Fence { after_ms: Some(after_ms) }, vec![OwnedFd::from(file)]).await?;
                }
                None => line.send(&Request::Fence { after_ms: None }).await?,
            }
            match line.receive().await? {
                Response::Done => Ok(()),
                other => Err(io::Error::other(format!("the shim answers {other:?}"))),
            }
        };
        tokio::time::timeout(QUICK, handing).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}
