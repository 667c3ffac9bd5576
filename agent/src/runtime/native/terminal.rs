//! A terminal's master: what is read there a process has written, what is written there it reads as if it were typed.
//!
//! It has no end of input of its own: shutting it down does nothing, as with Docker's. Its end of output is the kernel's EIO, which comes when
//! nobody holds the other side any more.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use crate::runtime::session::{SIZES, TerminalSize};

/// A terminal's master; clones are the same.
#[derive(Clone, Debug)]
pub struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    /// Of a master.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(master: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&master, FcntlArg::F_GETFL)?);
        fcntl(&master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        // What follows it in tokio leaves it to its caller, with `unsafe`, that the descriptor stays the same. An `OwnedFd` is that by its type.
        #[expect(deprecated, reason = "its successor is unsafe, and nothing else here is")]
        let master = AsyncFd::new(master)?;
        Ok(Self(Arc::new(master)))
    }

    /// Gives it the sizes that come, until nobody gives any more.
    pub fn sizes(&self) -> mpsc::Sender<TerminalSize> {
        let (sender, mut receiver) = mpsc::channel::<TerminalSize>(SIZES);
        let terminal = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            while let Some(TerminalSize { width, height }) = receiver.recv().await {
                // It lives by its streams, not by its sizes.
                let Some(terminal) = terminal.upgrade() else { return };
                let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
                if let Err(error) = tcsetwinsize(terminal.get_ref(), size) {
                    tracing::debug!(%error, "a terminal did not take its size");
                }
            }
        });
        sender
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let room = into.initialize_unfilled();
            match ready.try_io(|it| nix::unistd::read(it.get_ref(), room).map_err(io::Error::from)) {
                Ok(Ok(count)) => {
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::EIO as i32) => return Poll::Ready(Ok(())),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(context))?;
            match ready.try_io(|it| nix::unistd::write(it.get_ref(), bytes).map_err(io::Error::from)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(done) => return Poll::Ready(done),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
