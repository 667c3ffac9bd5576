//! Exec and attach over a WebSocket: the first byte of each message says to which stream the others belong.
//!
//! In the `base64` forms messages are text, and the first character is the stream's number. From the fifth version on a client can say on stream
//! 255 that another one ends. Source: `k8s.io/apimachinery/pkg/util/httpstream/wsstream`, KEP-4006.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::outcome::{self, Asked};
use super::{Channel, Ends, LINGER, Outlet, Wanted, converse};
use crate::runtime::RuntimeError;
use crate::runtime::session::Session;
use crate::server::websocket::{self, Piece, Reader, Writer};

/// Pieces of one stream that may wait for the process.
const PIECES: usize = 2;

/// How long a client is given to make its streams before something is sent on one. kubectl reads from the connection before it has made them, and throws
/// away what comes meanwhile ("Unknown stream id 1, discarding message", seen of 1.30 and 1.31). A node that takes longer to start a command hardly ever
/// shows it.
const CLIENT_WITHIN: Duration = Duration::from_millis(30);

/// The longest message in base64, which has to be whole to be decoded.
const BASE64_BYTES_MAX: usize = 1 << 20;

/// On which a client says that a stream ends.
const CLOSE: u8 = 255;

struct Outlets {
    writer: Writer,
    base64: bool,
}

#[async_trait]
impl Outlet for Outlets {
    async fn write(&self, channel: Channel, bytes: Bytes) -> io::Result<()> {
        self.writer.send(self.base64, message(self.base64, channel as u8, &bytes)).await
    }
}

/// A message to one stream.
pub fn message(base64: bool, channel: u8, bytes: &[u8]) -> Bytes {
    if base64 {
        let mut text = String::from(char::from(b'0' + channel));
        STANDARD.encode_string(bytes, &mut text);
        return text.into();
    }
    let mut out = BytesMut::with_capacity(1 + bytes.len());
    out.put_u8(channel);
    out.put_slice(bytes);
    out.freeze()
}

/// Puts pieces of messages into their streams.
#[derive(Debug)]
pub struct Splitter {
    base64: bool,
    /// The stream of the message under way.
    channel: Option<u8>,
    /// In base64, what has come of it.
    text: BytesMut,
}

impl Splitter {
    /// Before the first message.
    pub fn new(base64: bool) -> Self {
        Splitter { base64, channel: None, text: BytesMut::new() }
    }

    /// What a piece carries: its stream's number and the bytes; none where there is nothing yet.
    ///
    /// # Errors
    /// Where it is no base64, or too long.
    pub fn split(&mut self, mut piece: Piece) -> io::Result<Option<(u8, Bytes)>> {
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        if piece.first {
            self.channel = None;
            self.text.clear();
        }
        if self.base64 {
            if self.text.len() + piece.bytes.len() > BASE64_BYTES_MAX {
                return Err(invalid("a message in base64 is too long"));
            }
            self.text.extend_from_slice(&piece.bytes);
            if !piece.last {
                return Ok(None);
            }
            let Some((channel, text)) = self.text.split_first() else { return Ok(None) };
            let channel = channel.checked_sub(b'0').ok_or_else(|| invalid("a message has no channel"))?;
            let bytes = STANDARD.decode(text).map_err(|_| invalid("a message is no base64"))?;
            return Ok(Some((channel, bytes.into())));
        }
        if self.channel.is_none() && !piece.bytes.is_empty() {
            self.channel = Some(piece.bytes.split_to(1)[0]);
        }
        Ok(self.channel.map(|it| (it, piece.bytes)))
    }
}

/// Whether a subprotocol's messages are text.
pub fn is_base64(protocol: &str) -> bool {
    protocol.contains("base64.")
}

/// Speaks with a client until the process ends or the client goes.
pub async fn run(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    protocol: &'static str,
    asked: Asked,
    wanted: Wanted,
    session: BoxFuture<'static, Result<Session, RuntimeError>>,
) {
    let begun = Instant::now();
    let (reader, writer, writing) = websocket::start(io);
    let base64 = is_base64(protocol);
    let gone = CancellationToken::new();
    let pipe = |wanted: bool| {
        let (sender, receiver) = mpsc::channel::<Bytes>(PIECES);
        if wanted { (Some(sender), Some(ReceiverStream::new(receiver))) } else { (None, None) }
    };
    let ((to_stdin, stdin), (to_sizes, sizes)) = (pipe(wanted.stdin), pipe(wanted.tty));
    let inputs = Inputs { stdin: to_stdin, sizes: to_sizes, closes: protocol.starts_with("v5.") };
    let reading = tokio::spawn({
        let gone = gone.clone().drop_guard();
        async move {
            let _gone = gone;
            if let Err(error) = take(reader, inputs, base64).await {
                tracing::debug!(%error, "a client's websocket broke");
            }
        }
    });
    let reading = AbortOnDropHandle::new(reading);
    let outlets = Outlets { writer: writer.clone(), base64 };
    let session = session.await;
    sleep_until(begun + CLIENT_WITHIN).await;
    // An empty message says that the streams are there.
    let first = match wanted {
        Wanted { stdout: true, .. } => Channel::Stdout,
        Wanted { stderr: true, .. } => Channel::Stderr,
        _ => Channel::Error,
    };
    let _ = outlets.write(first, Bytes::new()).await;
    let outcome = match session {
        Ok(session) => {
            let gone = Box::pin(async {
                tokio::select! {
                    () = gone.cancelled() => {}
                    () = writer.closed() => {}
                }
            });
            let boxed = |it: ReceiverStream<Bytes>| Box::pin(it.map(|piece| piece)) as _;
            let ends = Ends { stdin: stdin.map(boxed), sizes: sizes.map(boxed), outlet: &outlets, gone };
            let Some(outcome) = converse(session, ends).await else { return };
            outcome
        }
        Err(error) => Err(error),
    };
    if let Some(text) = outcome::text(asked, &outcome, protocol) {
        let _ = outlets.write(Channel::Error, text).await;
    }
    writer.close().await;
    // To close a connection on which something unread has come is to reset it: the client is the one to go.
    let _ = timeout(LINGER, async { tokio::join!(writing, reading) }).await;
}

/// Where a client's messages go.
struct Inputs {
    stdin: Option<mpsc::Sender<Bytes>>,
    sizes: Option<mpsc::Sender<Bytes>>,
    /// Whether the client can say that its input ends.
    closes: bool,
}

/// Puts what comes where it belongs, until the client goes.
async fn take(mut reader: Reader<impl AsyncRead + Unpin>, mut inputs: Inputs, base64: bool) -> io::Result<()> {
    let mut splitter = Splitter::new(base64);
    while let Some(piece) = reader.next().await? {
        let Some((channel, bytes)) = splitter.split(piece)? else { continue };
        if channel == CLOSE && inputs.closes {
            if bytes.contains(&(Channel::Stdin as u8)) {
                inputs.stdin = None;
            }
            continue;
        }
        let to = match channel {
            it if it == Channel::Stdin as u8 => &inputs.stdin,
            it if it == Channel::Resize as u8 => &inputs.sizes,
            _ => &None,
        };
        // An empty message opens a stream and says nothing more; nobody reads what comes after the process's end.
        if let Some(to) = to.as_ref().filter(|_| !bytes.is_empty()) {
            let _ = to.send(bytes).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &'static [u8], first: bool, last: bool) -> Piece {
        Piece { bytes: Bytes::from_static(bytes), first, last }
    }

    #[track_caller]
    fn check(base64: bool, pieces: Vec<Piece>, expected: Option<&[(u8, &[u8])]>) {
        let mut splitter = Splitter::new(base64);
        let all: io::Result<Vec<_>> = pieces.into_iter().map(|it| splitter.split(it)).collect();
        let all = all.ok().map(|it| it.into_iter().flatten().collect::<Vec<_>>());
        let expected = expected.map(|it| it.iter().map(|(at, it)| (*at, Bytes::copy_from_slice(it))).collect());
        assert_eq!(all, expected);
    }

    #[test]
    fn messages_say_whose_they_are() {
        check(
            false,
            vec![piece(b"\0hello", true, true), piece(b"\x04{}", true, true)],
            Some(&[(0, b"hello"), (4, b"{}")]),
        );
        check(false, vec![piece(b"\0he", true, false), piece(b"llo", false, true)], Some(&[(0, b"he"), (0, b"llo")]));
        check(false, vec![piece(b"", true, true), piece(b"\xff\0", true, true)], Some(&[(255, b"\0")]));
        check(true, vec![piece(b"0aGVs", true, false), piece(b"bG8=", false, true)], Some(&[(0, b"hello")]));
        check(true, vec![piece(b"0!!!", true, true)], None);
        check(true, vec![piece(b"\x01", true, true)], None);
        assert_eq!(message(false, 1, b"out"), &b"\x01out"[..]);
        assert_eq!(message(true, 1, b"hello"), &b"1aGVsbG8="[..]);
    }
}
