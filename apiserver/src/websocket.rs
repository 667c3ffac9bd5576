//! WebSockets, as far as the server speaks them itself: it sends messages and hears only that the client goes.
//!
//! In: a request that asks for the change of protocol, and a stream of messages. Out: `101 Switching Protocols`, with the conversation that begins
//! when the connection is ours ([`Session`]). What the client sends is thrown away, but for pings, which are answered, and its close. Source: RFC
//! 6455; `k8s.io/apimachinery/pkg/util/httpstream/wsstream` and the watch handler for which subprotocols are answered how.

use std::io;
use std::pin::pin;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response as HttpResponse, StatusCode};
use hyper_util::rt::TokioIo;
use orlop_api::status::{self, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::authenticate::websocket::is_token;
use crate::present::{Body, Response, Session};
use crate::request::Request;

/// What a server adds to a client's key before it is hashed (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// How long the client may take to accept one message. One that does not read is told no more.
const WRITE_MAX: Duration = Duration::from_secs(60);

/// How long the client may take to answer our close.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// The most bytes that a control frame carries (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The status of a close in good order.
const NORMAL: [u8; 2] = 1000u16.to_be_bytes();

/// Whether a request asks to go on as a WebSocket.
pub fn is_asked(headers: &HeaderMap) -> bool {
    let has = |name: header::HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|it| it.to_str().ok());
        values.flat_map(|it| it.split(',')).any(|it| it.trim().eq_ignore_ascii_case(word))
    };
    has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade")
}

/// How the messages of a log may go: as bytes, or as base64 in texts (`wsstream.NewDefaultReaderProtocols`).
const READER_PROTOCOLS: [&str; 3] = ["", "binary.k8s.io", BASE64_PROTOCOL];
const BASE64_PROTOCOL: &str = "base64.binary.k8s.io";

/// Changes the protocol, and sends messages until they end or the client goes.
///
/// # Errors
/// `BadRequest` where the handshake is not one of RFC 6455, or the connection cannot change.
pub fn serve(
    request: &Request,
    messages: impl Stream<Item = Bytes> + Send + 'static,
    text: bool,
) -> status::Result<Response> {
    let key = key(request)?;
    // A watch has no subprotocols of its own: it repeats the only one that is named, and cannot choose among several.
    let named = protocols(request);
    if named.len() > 1 {
        return Err(bad("bad protocol: only one subprotocol can be named"));
    }
    // As Go's server of WebSockets does: whoever asks says where from, be it anywhere.
    if !is_place(given(request, header::ORIGIN)) {
        return Ok(forbidden());
    }
    switch(request, key, named.first().copied().unwrap_or_default(), messages, text)
}

/// Changes the protocol, and sends bytes as they come, in the first of the client's subprotocols that is known.
///
/// # Errors
/// As [`serve`].
pub fn stream(request: &Request, pieces: impl Stream<Item = Bytes> + Send + 'static) -> status::Result<Response> {
    let key = key(request)?;
    let Some(protocol) = readable(&protocols(request)) else { return Ok(forbidden()) };
    if protocol == BASE64_PROTOCOL {
        let texts = pieces.map(|it| Bytes::from(STANDARD.encode(it)));
        return switch(request, key, protocol, texts, true);
    }
    switch(request, key, protocol, pieces, false)
}

/// The first of the client's subprotocols that a log goes by; the one without a name where it names none.
fn readable<'a>(named: &[&'a str]) -> Option<&'a str> {
    if named.is_empty() {
        return Some("");
    }
    named.iter().copied().find(|it| READER_PROTOCOLS.contains(it))
}

fn bad(why: &str) -> Status {
    Status::bad_request(format!("websocket: {why}"))
}

fn given(request: &Request, name: header::HeaderName) -> &str {
    request.headers.get(name).and_then(|it: &HeaderValue| it.to_str().ok()).unwrap_or_default()
}

/// The client's key, of a handshake that is one of RFC 6455.
fn key(request: &Request) -> status::Result<&str> {
    let key = given(request, header::SEC_WEBSOCKET_KEY);
    if STANDARD.decode(key).map_or(0, |it| it.len()) != 16 {
        return Err(bad("the key is no 16 bytes in base64"));
    }
    if given(request, header::SEC_WEBSOCKET_VERSION) != "13" {
        return Err(bad("the version is not 13"));
    }
    Ok(key)
}

/// The subprotocols that the client would speak, in its order. A token is none.
fn protocols(request: &Request) -> Vec<&str> {
    let named = request.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|it| it.to_str().ok());
    named.flat_map(|it| it.split(',')).map(str::trim).filter(|it| !is_token(it)).collect()
}

/// Go's answer to a handshake that it does not like.
fn forbidden() -> Response {
    let mut refused = HttpResponse::new(Body::Whole(Bytes::new()));
    *refused.status_mut() = StatusCode::FORBIDDEN;
    refused
}

fn switch(
    request: &Request,
    key: &str,
    protocol: &str,
    messages: impl Stream<Item = Bytes> + Send + 'static,
    text: bool,
) -> status::Result<Response> {
    let upgrade = request.upgrade.clone().ok_or_else(|| bad("this connection cannot change its protocol"))?;
    let mut response = HttpResponse::new(Body::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accepted = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()));
    if let Ok(value) = HeaderValue::from_str(&accepted) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, value);
    }
    if !protocol.is_empty()
        && let Ok(value) = HeaderValue::from_str(protocol)
    {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    Session::put(&mut response, async move {
        match upgrade.await {
            Ok(connection) => {
                let ended = converse(TokioIo::new(connection), messages, text).await;
                if let Err(error) = ended {
                    tracing::debug!(%error, "a websocket broke");
                }
            }
            Err(error) => tracing::debug!(%error, "a connection did not become a websocket"),
        }
    });
    Ok(response)
}

/// Whether an `Origin` is an address or an absolute path, which is all that is asked of it (`checkOrigin` in `golang.org/x/net/websocket`).
fn is_place(origin: &str) -> bool {
    origin.starts_with('/') || origin.parse::<http::Uri>().is_ok_and(|it| it.scheme().is_some())
}

/// What came from the client.
enum Heard {
    Nothing,
    Ping(Vec<u8>),
    Close,
}

/// Sends messages until they end or the client goes.
async fn converse<S>(stream: S, messages: impl Stream<Item = Bytes>, text: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let mut messages = pin!(messages);
    // A frame is read piece by piece: what listens must not be dropped half-way, and so is one stream of its own.
    let heard = futures::stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        let heard = hear(&mut reader).await;
        let next = matches!(heard, Ok(Heard::Nothing | Heard::Ping(_))).then_some(reader);
        Some((heard, next))
    });
    let mut heard = pin!(heard);
    let opcode = if text { TEXT } else { BINARY };
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => send(&mut writer, opcode, &message).await?,
                None => break,
            },
            it = heard.next() => match it {
                Some(Ok(Heard::Nothing)) => {}
                Some(Ok(Heard::Ping(payload))) => send(&mut writer, PONG, &payload).await?,
                Some(Ok(Heard::Close)) => {
                    send(&mut writer, CLOSE, &NORMAL).await?;
                    return writer.shutdown().await;
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
    send(&mut writer, CLOSE, &NORMAL).await?;
    let answered = async { while matches!(heard.next().await, Some(Ok(Heard::Nothing | Heard::Ping(_)))) {} };
    let _ = tokio::time::timeout(CLOSE_MAX, answered).await;
    writer.shutdown().await
}

/// Sends one message in one frame.
async fn send(writer: &mut (impl AsyncWrite + Unpin), opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut head = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => head.push(length as u8),
        length @ 126..=0xffff => {
            head.push(126);
            head.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            head.push(127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let written = async {
        writer.write_all(&head).await?;
        writer.write_all(payload).await?;
        writer.flush().await
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the client does not read");
    tokio::time::timeout(WRITE_MAX, written).await.map_err(late)?
}

/// Reads one frame of the client's.
async fn hear(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Heard> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut head = [0; 2];
    reader.read_exact(&mut head).await?;
    let opcode = head[0] & 0x0f;
    if head[1] & 0x80 == 0 {
        return Err(bad("a client's frame is not masked"));
    }
    let length = match head[1] & 0x7f {
        126 => u64::from(reader.read_u16().await?),
        127 => reader.read_u64().await?,
        short => u64::from(short),
    };
    let mut mask = [0; 4];
    reader.read_exact(&mut mask).await?;
    if opcode < CLOSE {
        // However long it is, it is not kept.
        let thrown = tokio::io::copy(&mut reader.take(length), &mut tokio::io::sink()).await?;
        return if thrown == length { Ok(Heard::Nothing) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
    }
    if length > CONTROL_BYTES_MAX {
        return Err(bad("a control frame is too long"));
    }
    let mut payload = vec![0; length as usize];
    reader.read_exact(&mut payload).await?;
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
    Ok(match opcode {
        CLOSE => Heard::Close,
        PING => Heard::Ping(payload),
        _ => Heard::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_asked_for() {
        for (origin, expected) in
            [("https://localhost", true), ("http://a.example:8080", true), ("", false), ("null", false)]
        {
            assert_eq!(is_place(origin), expected, "{origin}");
        }
    }

    #[test]
    fn a_log_goes_by_the_first_protocol_that_is_known() {
        for (named, expected) in [
            (&[][..], Some("")),
            (&["v4.channel.k8s.io", BASE64_PROTOCOL, "binary.k8s.io"], Some(BASE64_PROTOCOL)),
            (&["v4.channel.k8s.io"], None),
        ] {
            assert_eq!(readable(named), expected, "{named:?}");
        }
    }

    fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = vec![0x80 | opcode, 0x80 | payload.len() as u8];
        out.extend_from_slice(&mask);
        out.extend(payload.iter().enumerate().map(|(at, it)| it ^ mask[at % 4]));
        out
    }

    #[tokio::test]
    async fn messages_go_out_and_pings_are_answered() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let long = Bytes::from(vec![b'x'; 70_000]);
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let messages = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
        let task = tokio::spawn(converse(server, messages, true));
        sender.send(Bytes::from_static(b"hello")).unwrap();
        let mut seen = [0; 7];
        client.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"\x81\x05hello");
        client.write_all(&[masked(TEXT, b"ignored"), masked(PING, b"hey")].concat()).await.unwrap();
        let mut pong = [0; 5];
        client.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\x8a\x03hey");
        sender.send(long.clone()).unwrap();
        let mut head = [0; 10];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!(head, [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
        let mut body = vec![0; long.len()];
        client.read_exact(&mut body).await.unwrap();
        drop(sender);
        let mut close = [0; 4];
        client.read_exact(&mut close).await.unwrap();
        assert_eq!(close, [0x88, 2, 3, 0xe8]);
        client.write_all(&masked(CLOSE, &NORMAL)).await.unwrap();
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_closes_or_breaks_the_rules_ends_it() {
        for (sent, fine) in [
            (masked(CLOSE, &NORMAL), true),
            (b"\x81\x01x".to_vec(), false),
            ([&[0x89, 0x80 | 126][..], &[1, 0], &[0; 4]].concat(), false),
        ] {
            let (mut client, server) = tokio::io::duplex(1 << 10);
            let task = tokio::spawn(converse(server, futures::stream::pending(), true));
            client.write_all(&sent).await.unwrap();
            assert_eq!(task.await.unwrap().is_ok(), fine);
        }
    }
}
