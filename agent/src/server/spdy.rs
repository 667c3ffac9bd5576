//! SPDY/3.1: streams within one connection, as kubectl opens them for exec, attach and port-forward, and as the agent does towards a runtime of the CRI.
//!
//! In: a connection. Out: the streams that the other side opens, or those that are opened here. [`frame`] is the form on the wire, [`headers`] their compressed headers, [`stream`]
//! one stream, [`outbox`] what waits to be written; here one task reads and one writes. Everything waits in bounded places: what a stream's
//! reader does not take stops the reading of the whole connection, as in Kubernetes' own implementation, whose clients know no flow control.
//! Who does know it is told what may be sent, and is sent no more than it allows: its windows count from its first word about them.
//! Deliberately absent: both sides opening streams of one
//! connection, push, priorities. Source: "SPDY Protocol - Draft 3.1"; `github.com/moby/spdystream`.

pub mod dictionary;
pub mod frame;
pub mod headers;
pub mod outbox;
pub mod stream;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use frame::{CONTROL_BYTES_MAX, Frame, Head, Malformed, RstStatus};
use headers::{Headers, Inflater};
use outbox::{Outbox, Outgoing};
use stream::{Credit, Stream};

/// Streams at once. A port-forward has two a connection, so this is 64 connections; with [`PIECES`] they hold at most 8 MiB.
pub const STREAMS_MAX: usize = 128;

/// Pieces of one stream that may wait for its reader.
pub const PIECES: usize = 2;

/// A frame's data is passed on in pieces of at most this.
pub const PIECE_BYTES: usize = 32 << 10;

/// What may be sent on a stream before its first window update (SPDY/3, section 2.6.8).
pub const WINDOW_BYTES: i64 = 64 << 10;

/// How often the other side is asked whether it is there: what is written to one that has gone fails.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

/// A connection: its streams as they are opened. Dropping it ends it.
pub struct Connection {
    opened: mpsc::Receiver<Stream>,
    shared: Arc<Shared>,
    /// The number of the next stream that is opened from here, as a client: held until it is announced, for numbers must grow.
    next: tokio::sync::Mutex<u32>,
    _reading: AbortOnDropHandle<()>,
    writing: AbortOnDropHandle<()>,
}

/// What the tasks and the streams of a connection share.
struct Shared {
    streams: Mutex<BTreeMap<u32, Entry>>,
    outbox: Outbox,
    /// What may be sent on all streams together.
    credit: Credit,
    /// Nothing comes any more.
    ended: CancellationToken,
}

/// A stream as the reading task knows it.
struct Entry {
    /// None once the other side has sent its last.
    to_reader: Option<mpsc::Sender<Bytes>>,
    credit: Arc<Credit>,
    sent_last: bool,
}

impl Connection {
    /// Speaks SPDY over a connection that is there, with a client.
    pub fn start<S>(io: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        Self::begin(io, Side::Server)
    }

    /// Speaks SPDY over a connection that is there, as a client of Kubernetes' own implementation, which knows no flow control and closes the
    /// connection when it has said all: what is written to it then has the kernel throw away what was not read yet. So it is told nothing
    /// about windows, and is read to its end even if nothing can be written any more.
    pub fn start_client<S>(io: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        Self::begin(io, Side::Client)
    }

    fn begin<S>(io: S, side: Side) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(io);
        let (outbox, outgoing) = outbox::new(side == Side::Server);
        let shared = Arc::new(Shared {
            streams: Mutex::default(),
            outbox,
            credit: Credit::new(WINDOW_BYTES),
            ended: CancellationToken::new(),
        });
        let (sender, opened) = mpsc::channel(1);
        let reading = tokio::spawn(read(reader, shared.clone(), sender));
        let writing = tokio::spawn(write(writer, shared.clone(), outgoing, side));
        Connection {
            opened,
            shared,
            next: tokio::sync::Mutex::new(1),
            _reading: AbortOnDropHandle::new(reading),
            writing: AbortOnDropHandle::new(writing),
        }
    }

    /// The next stream that the other side opens; none when the connection has ended.
    pub async fn next(&mut self) -> Option<Stream> {
        self.opened.recv().await
    }

    /// Opens a stream, as a client does.
    ///
    /// # Errors
    /// When the connection has ended, or has too many.
    pub async fn open(&self, headers: Headers) -> Result<Stream, outbox::Closed> {
        let mut next = self.next.lock().await;
        let id = *next;
        let (to_reader, pieces) = mpsc::channel(PIECES);
        let credit = Arc::new(Credit::new(WINDOW_BYTES));
        {
            let mut streams = self.shared.streams.lock();
            if streams.len() >= STREAMS_MAX || self.shared.ended.is_cancelled() {
                return Err(outbox::Closed);
            }
            streams.insert(id, Entry { to_reader: Some(to_reader), credit: credit.clone(), sent_last: false });
        }
        let block = headers.plain().into();
        self.shared.outbox.send(Frame::SynStream { id, fin: false, block }).await?;
        *next += 2;
        Ok(Stream::new(id, headers, pieces, credit, self.shared.clone()))
    }

    /// Takes nothing more; what has been read can be had from the streams still.
    pub fn finish(&self) {
        self.shared.end();
    }

    /// Cancelled when the other side has gone.
    pub fn ended(&self) -> CancellationToken {
        self.shared.ended.clone()
    }

    /// Waits until all that was sent is written and the other side, which has been sent the last of each stream, goes; at most `limit`.
    pub async fn close(self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.shared.ended.cancelled()).await;
        let _ = self.shared.outbox.send(Frame::GoAway { last: 0, status: 0 }).now_or_never();
        self.shared.outbox.close();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.writing).await;
    }
}

async fn write(writer: impl AsyncWrite, shared: Arc<Shared>, outgoing: Outgoing, side: Side) {
    if let Err(error) = outgoing.write(writer, PING_EVERY).await {
        tracing::debug!(%error, "a SPDY connection could not be written to");
    }
    if side == Side::Server {
        shared.end();
    }
}

async fn read(reader: impl AsyncRead, shared: Arc<Shared>, opened: mpsc::Sender<Stream>) {
    let mut reading =
        Reading { shared: shared.clone(), opened, inflater: Inflater::default(), last: 0, initial: WINDOW_BYTES };
    let read = shared.ended.clone().run_until_cancelled_owned(async move { reading.run(reader).await }).await;
    if let Some(Err(error)) = read {
        tracing::debug!(%error, "a SPDY connection could not be read");
    }
    shared.end();
}

impl Shared {
    /// Nothing comes any more, and nothing can be sent.
    fn end(&self) {
        self.ended.cancel();
        self.credit.close();
        for (_, entry) in std::mem::take(&mut *self.streams.lock()) {
            entry.credit.close();
        }
    }

    /// The stream's other side has sent its last.
    fn finish_reading(&self, id: u32) {
        let mut streams = self.streams.lock();
        if let Some(entry) = streams.get_mut(&id) {
            entry.to_reader = None;
            if entry.sent_last {
                streams.remove(&id);
            }
        }
    }
}

/// The reading task.
struct Reading {
    shared: Arc<Shared>,
    opened: mpsc::Sender<Stream>,
    inflater: Inflater,
    /// The newest stream.
    last: u32,
    /// What may be sent on a new stream.
    initial: i64,
}

impl Reading {
    async fn run(&mut self, reader: impl AsyncRead) -> io::Result<()> {
        let mut reader = std::pin::pin!(tokio::io::BufReader::with_capacity(PIECE_BYTES, reader));
        loop {
            let mut head = [0; 8];
            match reader.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
            match Head::parse(head).map_err(invalid)? {
                Head::Data { id, fin, length } => {
                    let mut left = length;
                    while left > 0 {
                        let mut piece = vec![0; left.min(PIECE_BYTES)];
                        reader.read_exact(&mut piece).await?;
                        left -= piece.len();
                        self.data(id, piece.into()).await;
                    }
                    if fin {
                        self.shared.finish_reading(id);
                    }
                }
                Head::Control { kind, flags, length } => {
                    if length > CONTROL_BYTES_MAX {
                        return Err(invalid(Malformed("a control frame is too long")));
                    }
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).await?;
                    match Frame::parse(kind, flags, &body).map_err(invalid)? {
                        Some(Frame::GoAway { .. }) => return Ok(()),
                        Some(frame) => self.control(frame).await?,
                        // Of a kind that we do not know (SPDY/3, section 2.2.1): ignored.
                        None => {}
                    }
                }
            }
        }
    }

    /// Gives a piece to its stream's reader, and waits until there is room for it.
    async fn data(&self, id: u32, piece: Bytes) {
        let found = self.shared.streams.lock().get(&id).map(|it| it.to_reader.clone());
        let length = piece.len();
        match found {
            Some(Some(to_reader)) => {
                if to_reader.send(piece).await.is_err() {
                    // Nobody reads it any more; it still counts as taken.
                    self.shared.outbox.credit(None, id, length);
                }
            }
            // After its last, or after we have ended the stream: thrown away.
            Some(None) | None => self.shared.outbox.credit(None, 0, length),
        }
    }

    async fn control(&mut self, frame: Frame) -> io::Result<()> {
        match frame {
            Frame::SynStream { id, fin, block } => {
                // The state of the compression goes on, whatever becomes of the stream.
                let headers = self.inflater.headers(&block).map_err(invalid)?;
                self.open(id, fin, headers).await
            }
            Frame::SynReply { block, .. } => self.inflater.headers(&block).map(drop).map_err(invalid),
            Frame::Headers { id, fin, block } => {
                self.inflater.headers(&block).map_err(invalid)?;
                if fin {
                    self.shared.finish_reading(id);
                }
                Ok(())
            }
            Frame::RstStream { id, .. } => {
                if let Some(entry) = self.shared.streams.lock().remove(&id) {
                    entry.credit.close();
                }
                Ok(())
            }
            Frame::Settings { entries } => {
                for (_, value) in entries.into_iter().filter(|(id, _)| *id == frame::INITIAL_WINDOW_SIZE) {
                    let value = i64::from(value & 0x7fff_ffff);
                    let change = value - self.initial;
                    self.initial = value;
                    self.shared.credit.begin();
                    for entry in self.shared.streams.lock().values() {
                        entry.credit.add(change);
                    }
                }
                Ok(())
            }
            Frame::WindowUpdate { id, delta } => {
                self.shared.credit.begin();
                if id == 0 {
                    self.shared.credit.add(delta.into());
                } else if let Some(entry) = self.shared.streams.lock().get(&id) {
                    entry.credit.add(delta.into());
                }
                Ok(())
            }
            // Our own have even numbers, and come back.
            Frame::Ping { id } if id % 2 == 1 => {
                self.shared.outbox.pong(id);
                Ok(())
            }
            Frame::Ping { .. } | Frame::GoAway { .. } | Frame::Data { .. } => Ok(()),
        }
    }

    /// Takes a stream, or refuses it.
    async fn open(&mut self, id: u32, fin: bool, headers: Headers) -> io::Result<()> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        // A client's numbers are odd and grow (SPDY/3, section 2.3.2).
        if id.is_multiple_of(2) || id <= self.last {
            return self.shared.outbox.send(Frame::rst(id, RstStatus::ProtocolError)).await.map_err(gone);
        }
        self.last = id;
        let (to_reader, pieces) = mpsc::channel(PIECES);
        let credit = Arc::new(Credit::new(self.initial));
        {
            let mut streams = self.shared.streams.lock();
            if streams.len() < STREAMS_MAX {
                let to_reader = (!fin).then_some(to_reader);
                streams.insert(id, Entry { to_reader, credit: credit.clone(), sent_last: false });
            }
        }
        if !self.shared.streams.lock().contains_key(&id) {
            return self.shared.outbox.send(Frame::rst(id, RstStatus::RefusedStream)).await.map_err(gone);
        }
        let stream = Stream::new(id, headers, pieces, credit, self.shared.clone());
        // The client throws away what comes before this.
        self.shared.outbox.send(Frame::SynReply { id, fin: false, block: Bytes::new() }).await.map_err(gone)?;
        // Dropped, and so ended, if nobody waits for streams any more.
        let _ = self.opened.send(stream).await;
        Ok(())
    }
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
