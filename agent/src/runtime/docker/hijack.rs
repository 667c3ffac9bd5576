//! Streams of the Engine's: a request after which the connection belongs to a process, and what comes over it.
//!
//! In: a path and a body. Out: the two halves of the connection, and a [`Demux`] that copies what the process writes to its outputs. The client
//! of the other calls guesses from the first byte whether a stream has frames, and holds as much as a frame's head announces: with a terminal,
//! both are the container's to choose. Here it is known, and nothing is held. Source: Docker Engine API, "Attach to a container".

use std::io;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::engine::{Engine, QUICK, SLOW};
use crate::runtime::RuntimeError;

/// How much of a refusal is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// How much is copied at once.
const PIECE_BYTES: usize = 32 << 10;

/// A connection that is a process's.
pub struct Hijacked {
    /// What the process writes, behind what came with the Engine's answer.
    pub reader: tokio::io::Chain<io::Cursor<Bytes>, OwnedReadHalf>,
    pub writer: OwnedWriteHalf,
}

/// Asks for a path (without its version) with a body, and takes the connection.
///
/// # Errors
/// The Engine's own refusal, or that it does not answer.
pub async fn open(engine: &Engine, path: &str, body: String) -> Result<Hijacked, RuntimeError> {
    let late = |what: &str| RuntimeError::Timeout(format!("docker: {what}"));
    let broken = |error: &dyn std::fmt::Display| RuntimeError::Unavailable(format!("docker: {error}"));
    // By the client of the other calls, which has found out the version and explains an Engine that is away.
    let version = engine.client(QUICK).await?.client_version();
    let stream = timeout(QUICK, UnixStream::connect(engine.socket())).await.map_err(|_| late("connect"))?;
    let stream = stream.map_err(|it| broken(&it))?;
    let (mut sender, connection) =
        http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(|it| broken(&it))?;
    // Ends when the connection is taken, or with the answer.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a stream of the Engine's broke");
        }
    });
    let uri = format!("/v{}.{}{path}", version.major_version, version.minor_version);
    let request = http::Request::post(uri)
        .header(HOST, "docker")
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(Full::from(body))
        .map_err(|it| broken(&it))?;
    let answer = timeout(SLOW, sender.send_request(request)).await.map_err(|_| late("attach"))?;
    let answer = answer.map_err(|it| broken(&it))?;
    let status = answer.status();
    if status != http::StatusCode::SWITCHING_PROTOCOLS {
        let body = timeout(QUICK, Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect()).await;
        let text = body.ok().and_then(Result::ok).map(|it| it.to_bytes()).unwrap_or_default();
        let message = serde_json::from_slice::<serde_json::Value>(&text)
            .ok()
            .and_then(|it| it["message"].as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("docker answered {status}"));
        return Err(if status == http::StatusCode::NOT_FOUND {
            RuntimeError::NotFound(message)
        } else {
            RuntimeError::Other(message)
        });
    }
    let upgraded = timeout(QUICK, hyper::upgrade::on(answer)).await.map_err(|_| late("upgrade"))?;
    let parts = upgraded.map_err(|it| broken(&it))?.downcast::<TokioIo<UnixStream>>();
    let parts = parts.map_err(|_| RuntimeError::Other("docker: the connection is of another kind".to_owned()))?;
    let (reader, writer) = parts.io.into_inner().into_split();
    Ok(Hijacked { reader: io::Cursor::new(parts.read_buf).chain(reader), writer })
}

/// Where a process's outputs go; what is not wanted is thrown away.
pub struct Demux<W> {
    pub stdout: Option<W>,
    pub stderr: Option<W>,
}

impl<W: AsyncWrite + Unpin> Demux<W> {
    /// Copies to the end. With `frames`, eight bytes before each piece say whose it is and how long; a terminal's stream has none.
    ///
    /// # Errors
    /// Where the stream breaks off, or an output is no longer read.
    pub async fn copy(mut self, mut from: impl AsyncRead + Unpin, frames: bool) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        if !frames {
            loop {
                let length = from.read(&mut piece).await?;
                if length == 0 {
                    return Ok(());
                }
                put(&mut self.stdout, &piece[..length]).await?;
            }
        }
        loop {
            let mut head = [0; 8];
            match from.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
            let mut left = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
            while left > 0 {
                let most = left.min(piece.len());
                let length = from.read(&mut piece[..most]).await?;
                if length == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                left -= length;
                match head[0] {
                    0 | 1 => put(&mut self.stdout, &piece[..length]).await?,
                    // 3 is an error of the Engine's own, which belongs beside the process's.
                    2 | 3 => put(&mut self.stderr, &piece[..length]).await?,
                    other => {
                        let text = format!("the Engine wrote to stream {other}");
                        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                    }
                }
            }
        }
    }
}

async fn put(to: &mut Option<impl AsyncWrite + Unpin>, bytes: &[u8]) -> io::Result<()> {
    match to {
        Some(to) => to.write_all(bytes).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(input: &[u8], frames: bool, expected: Option<(&[u8], &[u8])>) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let copied = Demux { stdout: Some(&mut stdout), stderr: Some(&mut stderr) }.copy(input, frames).await;
        assert_eq!(copied.ok().map(|()| (stdout.as_slice(), stderr.as_slice())), expected);
    }

    #[tokio::test]
    async fn frames_say_whose_bytes_they_are() {
        let frame = |stream: u8, bytes: &[u8]| [&[stream, 0, 0, 0, 0, 0, 0, bytes.len() as u8], bytes].concat();
        let mixed = [frame(1, b"out"), frame(2, b"err"), frame(1, b""), frame(1, b"put")].concat();
        check(&mixed, true, Some((b"output", b"err"))).await;
        check(b"", true, Some((b"", b""))).await;
        check(&frame(9, b"x"), true, None).await;
        check(&mixed[..10], true, None).await;
        // A terminal's bytes are no frames, whatever they look like, and nothing is held for what they announce.
        check(&[1, 0, 0, 0, 255, 255, 255, 255, b'x'], false, Some((&[1, 0, 0, 0, 255, 255, 255, 255, b'x'], b"")))
            .await;
    }
}
