//! WebSockets, the accepting side: messages in both directions, in pieces.
//!
//! In: a request that asks for the change of protocol, then its connection. Out: [`Reader`] and [`Writer`], used apart. Messages of any length are
//! passed on in pieces, and nothing of them is kept. Extensions are not offered. Source: RFC 6455.

pub mod frame;
pub mod tunnel;

use std::io;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use frame::{CONTROL_BYTES_MAX, Head, Opcode};

/// What a server adds to a client's key before it is hashed (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Messages that may wait to be written: with pieces of 32 KiB, 256 KiB a connection.
const QUEUE: usize = 8;

/// A message is passed on in pieces of at most this.
pub const PIECE_BYTES: usize = 32 << 10;

/// How often the other side is asked whether it is there: what is written to one that has gone fails.
const PING_EVERY: Duration = Duration::from_secs(30);

/// The status of a close in good order (RFC 6455, section 7.4.1).
const NORMAL: [u8; 2] = 1000u16.to_be_bytes();

/// Whether a request asks to go on as a WebSocket.
pub fn is_asked(headers: &HeaderMap) -> bool {
    has_word(headers, header::UPGRADE, "websocket") && has_word(headers, header::CONNECTION, "upgrade")
}

/// Whether a header has this word among those between its commas.
pub fn has_word(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|it| it.to_str().ok());
    values.flat_map(|it| it.split(',')).any(|it| it.trim().eq_ignore_ascii_case(word))
}

/// The subprotocols that the client would speak, in its order.
pub fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let named = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|it| it.to_str().ok());
    named.flat_map(|it| it.split(',')).map(str::trim).filter(|it| !it.is_empty())
}

/// The headers that accept the change of protocol.
///
/// # Errors
/// In words for the client, where the handshake is not one of RFC 6455.
pub fn accept(headers: &HeaderMap, protocol: &str) -> Result<HeaderMap, &'static str> {
    let given = |name| headers.get(name).and_then(|it: &HeaderValue| it.to_str().ok()).unwrap_or_default();
    let key = given(header::SEC_WEBSOCKET_KEY);
    if STANDARD.decode(key).map_or(0, |it| it.len()) != 16 {
        return Err("websocket: the key is no 16 bytes in base64");
    }
    if given(header::SEC_WEBSOCKET_VERSION) != "13" {
        return Err("websocket: the version is not 13");
    }
    let accepted = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()));
    let mut out = HeaderMap::new();
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let value = HeaderValue::from_str(&accepted).map_err(|_| "websocket: the key cannot be answered")?;
    out.insert(header::SEC_WEBSOCKET_ACCEPT, value);
    if !protocol.is_empty() {
        let value = HeaderValue::from_str(protocol).map_err(|_| "websocket: the protocol is no header")?;
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok(out)
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub bytes: Bytes,
    /// Whether the message begins here, and whether it ends.
    pub first: bool,
    pub last: bool,
}

/// What the client sends.
pub struct Reader<R> {
    from: R,
    writer: Writer,
    /// Of the frame under way: what is still to come, its mask, and how far that has turned.
    left: u64,
    mask: [u8; 4],
    turned: usize,
    /// Whether the frame under way ends its message, and whether a message is under way.
    ends: bool,
    within: bool,
    fresh: bool,
}

/// What the client is sent; copies write to the same connection.
#[derive(Clone)]
pub struct Writer(mpsc::Sender<Outgoing>);

enum Outgoing {
    Message { text: bool, bytes: Bytes },
    Pong(Bytes),
    Close,
}

/// Writes while it is held.
pub type Writing = AbortOnDropHandle<()>;

/// Speaks WebSocket over a connection that has changed to it.
pub fn start<S>(io: S) -> (Reader<tokio::io::BufReader<tokio::io::ReadHalf<S>>>, Writer, Writing)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(io);
    let (sender, queue) = mpsc::channel(QUEUE);
    let writing = tokio::spawn(async move {
        if let Err(error) = write(writer, queue).await {
            tracing::debug!(%error, "a websocket could not be written to");
        }
    });
    let from = tokio::io::BufReader::with_capacity(PIECE_BYTES, reader);
    let writer = Writer(sender);
    let reader = Reader {
        from,
        writer: writer.clone(),
        left: 0,
        mask: [0; 4],
        turned: 0,
        ends: true,
        within: false,
        fresh: true,
    };
    (reader, writer, AbortOnDropHandle::new(writing))
}

impl Writer {
    /// Sends a message.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&self, text: bool, bytes: Bytes) -> io::Result<()> {
        self.put(Outgoing::Message { text, bytes }).await
    }

    /// Says that nothing more comes; what is sent afterwards is thrown away.
    pub async fn close(&self) {
        let _ = self.put(Outgoing::Close).await;
    }

    /// Resolves when the connection cannot be written to any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    async fn put(&self, it: Outgoing) -> io::Result<()> {
        self.0.send(it).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// The next piece; none once the client has closed. Not to be dropped half-way.
    ///
    /// # Errors
    /// When the connection breaks off, or what comes is no WebSocket.
    pub async fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if self.left > 0 {
                let most = usize::try_from(self.left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
                let mut bytes = BytesMut::zeroed(most);
                let length = self.from.read(&mut bytes).await?;
                if length == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                bytes.truncate(length);
                for byte in bytes.iter_mut() {
                    *byte ^= self.mask[self.turned % 4];
                    self.turned += 1;
                }
                self.left -= length as u64;
                return Ok(Some(self.piece(bytes.freeze())));
            }
            let Some(head) = self.head().await? else { return Ok(None) };
            match head.opcode {
                Opcode::Close => {
                    self.control(&head).await?;
                    // Where nothing can be written any more, nobody waits for the answer.
                    self.writer.close().await;
                    return Ok(None);
                }
                Opcode::Ping => {
                    let payload = self.control(&head).await?;
                    // A client that does not read hears no answers, either.
                    let _ = self.writer.0.try_send(Outgoing::Pong(payload));
                }
                Opcode::Pong => drop(self.control(&head).await?),
                Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                    if (head.opcode == Opcode::Continuation) != self.within {
                        return Err(invalid("a message within another"));
                    }
                    (self.left, self.mask, self.turned) = (head.length, head.mask, 0);
                    self.fresh = !self.within;
                    self.within = !head.last;
                    self.ends = head.last;
                    if self.left == 0 {
                        return Ok(Some(self.piece(Bytes::new())));
                    }
                }
            }
        }
    }

    fn piece(&mut self, bytes: Bytes) -> Piece {
        let first = std::mem::take(&mut self.fresh);
        Piece { bytes, first, last: self.ends && self.left == 0 }
    }

    async fn head(&mut self) -> io::Result<Option<Head>> {
        let mut start = [0; 2];
        match self.from.read_exact(&mut start).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut rest = [0; frame::REST_BYTES_MAX];
        let rest = &mut rest[..frame::rest_bytes(start)];
        self.from.read_exact(rest).await?;
        Head::parse(start, rest).map(Some).map_err(invalid)
    }

    /// The payload of a control frame.
    async fn control(&mut self, head: &Head) -> io::Result<Bytes> {
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        if length > CONTROL_BYTES_MAX || !head.last {
            return Err(invalid("a control frame is too long"));
        }
        let mut payload = vec![0; length];
        self.from.read_exact(&mut payload).await?;
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte ^= head.mask[at % 4];
        }
        Ok(payload.into())
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("websocket: {why}"))
}

async fn write(writer: impl AsyncWrite, mut queue: mpsc::Receiver<Outgoing>) -> io::Result<()> {
    let mut writer = std::pin::pin!(writer);
    let mut out = BytesMut::new();
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.tick().await;
    loop {
        let mut next = tokio::select! {
            it = queue.recv() => match it {
                Some(it) => Some(it),
                None => return Ok(()),
            },
            _ = pings.tick() => {
                frame::encode(Opcode::Ping, &[], &mut out);
                None
            }
        };
        let mut closed = false;
        while let Some(it) = next {
            match it {
                Outgoing::Message { text, bytes } => {
                    frame::encode(if text { Opcode::Text } else { Opcode::Binary }, &bytes, &mut out);
                }
                Outgoing::Pong(payload) => frame::encode(Opcode::Pong, &payload, &mut out),
                Outgoing::Close => {
                    frame::encode(Opcode::Close, &NORMAL, &mut out);
                    closed = true;
                    break;
                }
            }
            // What is there already goes along, in one write.
            next = if out.len() < 64 << 10 { queue.try_recv().ok() } else { None };
        }
        writer.write_all(&out).await?;
        writer.flush().await?;
        out.clear();
        if closed {
            return writer.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = vec![first, 0x80 | payload.len() as u8];
        out.extend_from_slice(&mask);
        out.extend(payload.iter().enumerate().map(|(at, it)| it ^ mask[at % 4]));
        out
    }

    async fn check(sent: &[Vec<u8>], expected: &[(&str, bool, bool)], fine: bool) {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (mut reader, _writer, _writing) = start(server);
        client.write_all(&sent.concat()).await.unwrap();
        client.shutdown().await.unwrap();
        for (text, first, last) in expected {
            let piece = reader.next().await.unwrap().unwrap();
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            assert_eq!(piece, Piece { bytes, first: *first, last: *last });
        }
        assert_eq!(reader.next().await.is_ok_and(|it| it.is_none()), fine);
    }

    #[tokio::test]
    async fn messages_come_in_pieces() {
        check(&[masked(0x82, b"hello")], &[("hello", true, true)], true).await;
        check(&[masked(0x82, b"")], &[("", true, true)], true).await;
        let parts = [masked(0x01, b"a"), masked(0x89, b"ping"), masked(0x00, b"b"), masked(0x80, b"c")];
        check(&parts, &[("a", true, false), ("b", false, false), ("c", false, true)], true).await;
        check(&[masked(0x88, &NORMAL), masked(0x82, b"late")], &[], true).await;
        check(&[masked(0x80, b"no begin")], &[], false).await;
        check(&[masked(0x02, b"a"), masked(0x82, b"b")], &[("a", true, false)], false).await;
        check(&[b"\x82\x01x".to_vec()], &[], false).await;
        check(&[b"\x82\x85\x01\x02\x03\x04h".to_vec()], &[("i", true, false)], false).await;
    }

    #[tokio::test]
    async fn pings_are_answered_and_the_close_is() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (mut reader, writer, _writing) = start(server);
        client.write_all(&[masked(0x89, b"hey"), masked(0x88, &NORMAL)].concat()).await.unwrap();
        writer.send(false, Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(reader.next().await.unwrap(), None);
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"\x82\x01x\x8a\x03hey\x88\x02\x03\xe8");
    }

    #[test]
    fn the_handshake_is_that_of_the_rfc() {
        let mut headers = HeaderMap::new();
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(accept(&headers, "").is_err());
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("a, b"));
        let answer = accept(&headers, "b").unwrap();
        assert_eq!(answer[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer[header::SEC_WEBSOCKET_PROTOCOL], "b");
        assert_eq!(protocols(&headers).collect::<Vec<_>>(), ["a", "b"]);
    }
}
