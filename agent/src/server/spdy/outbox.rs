//! What waits to be written to a SPDY connection.
//!
//! In: frames from the streams, in a queue that holds them up when it is full, and small words that must not wait for room (credit, answers to
//! pings, ends of streams), of which there are never more than streams. Out: bytes, in order. The compression of headers lives here, since its
//! order is that of the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use super::frame::{Frame, RstStatus};
use super::headers::{Deflater, Headers};

/// Frames that may wait: with pieces of 32 KiB, 256 KiB a connection.
const QUEUE: usize = 8;

/// Answers to pings that may wait. Who asks more often and does not read hears no more.
const PONGS_MAX: usize = 16;

/// So much is read before it is told to the other side: half a window.
const CREDIT_BYTES: usize = 32 << 10;

/// The writing end that everybody holds.
pub struct Outbox {
    queue: mpsc::Sender<Frame>,
    urgent: Arc<Urgent>,
    /// Whether the other side is told what was taken.
    tells_credit: bool,
}

/// What the writing task takes from.
pub struct Outgoing {
    queue: mpsc::Receiver<Frame>,
    urgent: Arc<Urgent>,
}

#[derive(Default)]
struct Urgent {
    words: Mutex<Words>,
    wake: Notify,
}

#[derive(Default)]
struct Words {
    /// By stream; 0 is the connection.
    credit: BTreeMap<u32, usize>,
    pongs: BTreeSet<u32>,
    ended: BTreeSet<u32>,
    closed: bool,
}

/// An empty one, for a side that is told what was taken of its data, or not.
pub fn new(tells_credit: bool) -> (Outbox, Outgoing) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let urgent = Arc::<Urgent>::default();
    (Outbox { queue: sender, urgent: urgent.clone(), tells_credit }, Outgoing { queue: receiver, urgent })
}

/// Nothing is written any more.
#[derive(Debug)]
pub struct Closed;

impl Outbox {
    /// Queues a frame, when there is room.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&self, frame: Frame) -> Result<(), Closed> {
        self.queue.send(frame).await.map_err(|_| Closed)
    }

    /// So much of a stream's data was taken, and of the connection's; `pending` collects a stream's small amounts.
    pub fn credit(&self, pending: Option<&mut usize>, id: u32, length: usize) {
        if !self.tells_credit {
            return;
        }
        let mut words = self.urgent.words.lock();
        *words.credit.entry(0).or_default() += length;
        if let Some(pending) = pending {
            *pending += length;
            if *pending >= CREDIT_BYTES {
                *words.credit.entry(id).or_default() += std::mem::take(pending);
            }
        }
        if words.credit.values().any(|it| *it >= CREDIT_BYTES) {
            drop(words);
            self.urgent.wake.notify_one();
        }
    }

    /// Answers a ping.
    pub fn pong(&self, id: u32) {
        let mut words = self.urgent.words.lock();
        if words.pongs.len() < PONGS_MAX {
            words.pongs.insert(id);
        }
        drop(words);
        self.urgent.wake.notify_one();
    }

    /// Ends a stream before its time.
    pub fn reset(&self, id: u32) {
        self.urgent.words.lock().ended.insert(id);
        self.urgent.wake.notify_one();
    }

    /// Ends the writing, once all that is queued is written.
    pub fn close(&self) {
        self.urgent.words.lock().closed = true;
        self.urgent.wake.notify_one();
    }
}

impl Outgoing {
    /// Writes until the outbox is closed, with a ping every so often.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn write(mut self, writer: impl AsyncWrite, ping_every: Duration) -> io::Result<()> {
        let mut writer = std::pin::pin!(writer);
        let mut deflater = Deflater::default();
        let mut out = BytesMut::new();
        let mut pings = interval(ping_every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.tick().await;
        // A server's have even numbers.
        let mut ping = 0u32;
        loop {
            let closed = self.urgent.take(&mut out);
            let mut queued = false;
            if out.is_empty() && !closed {
                tokio::select! {
                    frame = self.queue.recv() => match frame {
                        Some(frame) => { encode(frame, &mut deflater, &mut out); queued = true; }
                        None => return Ok(()),
                    },
                    () = self.urgent.wake.notified() => continue,
                    _ = pings.tick() => {
                        ping = ping.wrapping_add(2);
                        Frame::Ping { id: ping }.encode(&mut out);
                    }
                }
            }
            // What is there already goes along, in one write.
            while queued
                && out.len() < 64 << 10
                && let Ok(frame) = self.queue.try_recv()
            {
                encode(frame, &mut deflater, &mut out);
            }
            if closed {
                self.queue.close();
                while let Some(frame) = self.queue.recv().await {
                    encode(frame, &mut deflater, &mut out);
                }
            }
            writer.write_all(&out).await?;
            writer.flush().await?;
            out.clear();
            if closed {
                return writer.shutdown().await;
            }
        }
    }
}

/// A reply's headers are none, but they are compressed as all are; those of a stream that is opened come in their plain form.
fn encode(frame: Frame, deflater: &mut Deflater, out: &mut BytesMut) {
    match frame {
        Frame::SynReply { id, fin, .. } => {
            Frame::SynReply { id, fin, block: deflater.block(&Headers::default()) }.encode(out);
        }
        Frame::SynStream { id, fin, block } => {
            Frame::SynStream { id, fin, block: deflater.pack(&block) }.encode(out);
        }
        other => other.encode(out),
    }
}

impl Urgent {
    /// Writes down what is urgent; whether the outbox is closed.
    fn take(&self, out: &mut BytesMut) -> bool {
        let mut words = self.words.lock();
        for id in std::mem::take(&mut words.pongs) {
            Frame::Ping { id }.encode(out);
        }
        for id in std::mem::take(&mut words.ended) {
            words.credit.remove(&id);
            Frame::rst(id, RstStatus::Cancel).encode(out);
        }
        words.credit.retain(|id, length| {
            if *length < CREDIT_BYTES {
                return true;
            }
            let delta = u32::try_from(*length).unwrap_or(u32::MAX) & 0x7fff_ffff;
            Frame::WindowUpdate { id: *id, delta }.encode(out);
            false
        });
        words.closed
    }
}
