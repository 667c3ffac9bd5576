//! The agent's end of a shim's socket: one connection for each request, and one to hear of changes.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use orlop_shim::protocol::{self, FRAME_MAX_BYTES, Failure, Request, Response, SOCKET};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::runtime::RuntimeError;

/// How long a shim may take to answer what needs no waiting. It has one thread, which writes logs.
pub const QUICK: Duration = Duration::from_secs(10);

/// A connection to a shim.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
}

impl Line {
    /// Connects to the shim that listens in a pod's folder.
    ///
    /// # Errors
    /// There is none, or it does not live any more.
    pub async fn open(folder: &Path) -> io::Result<Self> {
        // An address has room for a hundred bytes, and a folder may be deeper: it is reached through a descriptor of the folder.
        let folder = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(SOCKET);
        let stream =
            tokio::time::timeout(QUICK, UnixStream::connect(path)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(Self { stream })
    }

    /// Asks.
    ///
    /// # Errors
    /// The shim is gone.
    pub async fn send(&mut self, request: &Request) -> io::Result<()> {
        self.stream.write_all(&protocol::message(request).map_err(io::Error::other)?).await
    }

    /// Asks, and hands descriptors over with it, at most [`DESCRIPTORS_MAX`](protocol::DESCRIPTORS_MAX).
    ///
    /// # Errors
    /// The shim is gone.
    pub async fn hand(&mut self, request: &Request, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let bytes = protocol::message(request).map_err(io::Error::other)?;
        let rights: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let sent = self.stream.async_io(Interest::WRITABLE, || {
            let (bytes, message) = ([IoSlice::new(&bytes)], [ControlMessage::ScmRights(&rights)]);
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            sendmsg::<()>(self.stream.as_raw_fd(), &bytes, &message, flags, None).map_err(io::Error::from)
        });
        let sent = sent.await?;
        self.stream.write_all(&bytes[sent..]).await
    }

    /// The next answer.
    ///
    /// # Errors
    /// The shim is gone, or talks nonsense.
    pub async fn receive(&mut self) -> io::Result<Response> {
        Ok(serde_json::from_slice(&self.frame().await?)?)
    }

    /// The bytes of the next frame.
    ///
    /// # Errors
    /// The shim is gone, or talks nonsense.
    pub async fn frame(&mut self) -> io::Result<Vec<u8>> {
        let length = self.stream.read_u32().await? as usize;
        if length > FRAME_MAX_BYTES {
            return Err(io::Error::other(protocol::TooLong(length)));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(body)
    }
}

/// Asks the shim of a pod's folder one thing, and takes its answer and, after an exec, the output.
///
/// # Errors
/// As [`RuntimeError`] has them; `Unavailable` where no shim answers.
pub async fn ask(folder: &Path, request: &Request, within: Duration) -> Result<(Response, Vec<u8>), RuntimeError> {
    let asked = async {
        let mut line = Line::open(folder).await?;
        line.send(request).await?;
        let response = line.receive().await?;
        let output = match response {
            Response::Executed { .. } => line.frame().await?,
            _ => Vec::new(),
        };
        io::Result::Ok((response, output))
    };
    match tokio::time::timeout(within, asked).await {
        Err(_) => Err(RuntimeError::Timeout(format!("the shim in {} does not answer", folder.display()))),
        Ok(Err(error)) => Err(RuntimeError::Unavailable(format!("the shim in {}: {error}", folder.display()))),
        Ok(Ok((Response::Failed { why, message }, _))) => Err(refused(why, message)),
        Ok(Ok(it)) => Ok(it),
    }
}

/// A shim's failure as the runtime's.
pub fn refused(why: Failure, message: String) -> RuntimeError {
    match why {
        Failure::NotFound => RuntimeError::NotFound(message),
        Failure::Start => RuntimeError::StartContainer(message),
        Failure::Timeout => RuntimeError::Timeout(message),
        Failure::Other => RuntimeError::Other(message),
    }
}
