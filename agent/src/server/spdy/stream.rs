//! One stream of a SPDY connection: what the other side said when it opened it, what it sends, and what it is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{Notify, mpsc};

use super::frame::Frame;
use super::headers::Headers;
use super::outbox::Closed;
use super::{PIECE_BYTES, Shared};

/// A stream, whose two directions are used apart.
pub struct Stream {
    pub id: u32,
    pub headers: Headers,
    pub input: Inbound,
    pub output: Outbound,
}

/// What the other side sends.
pub struct Inbound {
    id: u32,
    pieces: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
    taken: usize,
}

/// What it is sent. Dropped without [`Outbound::close`], it ends the stream in both directions.
pub struct Outbound {
    id: u32,
    credit: Arc<Credit>,
    shared: Arc<Shared>,
    closed: bool,
}

impl Stream {
    pub(super) fn new(
        id: u32,
        headers: Headers,
        pieces: mpsc::Receiver<Bytes>,
        credit: Arc<Credit>,
        shared: Arc<Shared>,
    ) -> Self {
        let input = Inbound { id, pieces, shared: shared.clone(), taken: 0 };
        Stream { id, headers, input, output: Outbound { id, credit, shared, closed: false } }
    }
}

impl Inbound {
    /// The next piece; none after the last, or when the stream or the connection has ended.
    pub async fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.recv().await?;
        self.shared.outbox.credit(Some(&mut self.taken), self.id, piece.len());
        Some(piece)
    }

    /// The pieces as a stream.
    pub fn into_stream(self) -> BoxStream<'static, Bytes> {
        futures::stream::unfold(self, |mut it| async move { it.next().await.map(|piece| (piece, it)) }).boxed()
    }
}

impl Drop for Inbound {
    /// What still comes is thrown away.
    fn drop(&mut self) {
        self.shared.finish_reading(self.id);
    }
}

impl Outbound {
    /// Sends bytes, as fast as the other side takes them.
    ///
    /// # Errors
    /// When the stream or the connection has ended.
    pub async fn write(&self, mut bytes: Bytes) -> Result<(), Closed> {
        while !bytes.is_empty() {
            let wanted = bytes.len().min(PIECE_BYTES);
            let allowed = self.credit.take(wanted, &self.shared.credit).await?;
            let piece = bytes.split_to(allowed);
            self.shared.outbox.send(Frame::Data { id: self.id, fin: false, bytes: piece }).await?;
        }
        Ok(())
    }

    /// Says that nothing more comes; the other side may go on.
    pub async fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let _ = self.shared.outbox.send(Frame::Data { id: self.id, fin: true, bytes: Bytes::new() }).await;
        let mut streams = self.shared.streams.lock();
        if let Some(entry) = streams.get_mut(&self.id) {
            entry.sent_last = true;
            if entry.to_reader.is_none() {
                streams.remove(&self.id);
            }
        }
    }

    /// Ends the stream in both directions.
    pub fn reset(&mut self) {
        self.closed = true;
        // Who is not there any more need not be told.
        if self.shared.streams.lock().remove(&self.id).is_some() {
            self.shared.outbox.reset(self.id);
        }
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if !self.closed {
            self.reset();
        }
    }
}

/// How much may be sent. Before the other side has said a word about it, any amount.
pub(super) struct Credit {
    left: AtomicI64,
    /// Whether the other side knows flow control; asked of the connection's.
    counts: AtomicBool,
    closed: AtomicBool,
    changed: Notify,
}

impl Credit {
    pub(super) fn new(left: i64) -> Self {
        Credit {
            left: AtomicI64::new(left),
            counts: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// From now on it counts, from what was sent before on.
    pub(super) fn begin(&self) {
        self.counts.store(true, Ordering::Release);
    }

    pub(super) fn add(&self, more: i64) {
        // Together no more than a window may have, whatever is sent.
        let _ = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |it| {
            Some(it.saturating_add(more).min(i64::from(i32::MAX)))
        });
        self.changed.notify_waiters();
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Takes up to `wanted` bytes of this stream's and of the connection's credit, at least one; waits while there is none.
    async fn take(&self, wanted: usize, connection: &Credit) -> Result<usize, Closed> {
        loop {
            let (own, all) = (self.changed.notified(), connection.changed.notified());
            tokio::pin!(own, all);
            own.as_mut().enable();
            all.as_mut().enable();
            if self.closed.load(Ordering::Acquire) || connection.closed.load(Ordering::Acquire) {
                return Err(Closed);
            }
            let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
            let counts = connection.counts.load(Ordering::Acquire);
            let own_left = self.left.load(Ordering::Acquire);
            // Only this stream's writer takes from its credit, but many take from the connection's.
            let taken = connection.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |all_left| {
                let allowed = if counts { wanted.min(own_left).min(all_left) } else { wanted };
                (allowed > 0).then(|| all_left.saturating_sub(allowed))
            });
            if let Ok(all_left) = taken {
                let allowed = if counts { wanted.min(own_left).min(all_left) } else { wanted };
                self.left.fetch_sub(allowed, Ordering::AcqRel);
                return usize::try_from(allowed).map_err(|_| Closed);
            }
            tokio::select! {
                () = &mut own => {}
                () = &mut all => {}
            }
        }
    }
}
