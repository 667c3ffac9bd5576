//! Notices when nothing goes over a connection any more.
//!
//! In: a connection. Out: the same, and a future that resolves once no byte has gone either way for a time. The kubelet's
//! `streamingConnectionIdleTimeout`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A connection that is watched.
pub struct Watched<S> {
    inner: S,
    moved: Moved,
}

/// When something last went over it.
#[derive(Clone)]
pub struct Moved {
    since: Instant,
    /// Milliseconds from `since` on.
    last: Arc<AtomicU64>,
}

/// Watches a connection.
pub fn watch<S>(inner: S) -> (Watched<S>, Moved) {
    let moved = Moved { since: Instant::now(), last: Arc::default() };
    (Watched { inner, moved: moved.clone() }, moved)
}

impl Moved {
    fn now(&self) {
        let elapsed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// Resolves when nothing has moved for `limit`.
    pub async fn idle(&self, limit: Duration) {
        loop {
            let until = self.since + Duration::from_millis(self.last.load(Ordering::Relaxed)) + limit;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_read(context, into))?;
        self.moved.now();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.moved.now();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_moves_is_not_idle() {
        let (mut far, near) = tokio::io::duplex(100);
        let (mut near, moved) = watch(near);
        let began = Instant::now();
        let moving = async {
            tokio::time::sleep(Duration::from_secs(8)).await;
            near.write_all(b"x").await.unwrap();
            far.read_u8().await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = moved.idle(Duration::from_secs(10)) => {}
            () = moving => {}
        }
        assert_eq!(began.elapsed(), Duration::from_secs(18));
    }
}
