//! The runtime's streaming server: from the address that it gave for an exec or attach to a SPDY connection with the client's streams.
//!
//! SPDY and not WebSocket: in the WebSocket protocol of containerd's version (`v4.channel.k8s.io`) an input cannot end before its connection. Source:
//! `k8s.io/kubelet/pkg/cri/streaming`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, UPGRADE};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::endpoint::QUICK;
use crate::runtime::RuntimeError;
use crate::server::spdy::Connection;
use crate::server::spdy::headers::Headers;
use crate::server::spdy::stream::Stream;

/// The version whose end is told as a status in JSON.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// How much of a refusal is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// How long the runtime may take to begin: it starts the command first.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Which streams are wanted; the one for the end always is.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub sizes: bool,
}

/// A conversation with the runtime.
pub struct Streams {
    pub connection: Connection,
    pub error: Stream,
    pub stdin: Option<Stream>,
    pub stdout: Option<Stream>,
    pub stderr: Option<Stream>,
    pub sizes: Option<Stream>,
}

/// Connects to the address that the runtime gave, and opens the streams.
///
/// # Errors
/// The runtime refuses, is not reached, or serves by something else than HTTP on this machine.
pub async fn open(url: &str, wanted: Wanted) -> Result<Streams, RuntimeError> {
    let broken = |error: &dyn std::fmt::Display| RuntimeError::Unavailable(format!("the runtime's streams: {error}"));
    let late = |what: &str| RuntimeError::Timeout(format!("the runtime's streams: {what}"));
    let uri: http::Uri = url.parse().map_err(|it: http::uri::InvalidUri| broken(&it))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority.ok_or_else(|| RuntimeError::Other(format!("the runtime serves streams at {url}")))?;
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    let address = (authority.host(), authority.port_u16().unwrap_or(80));
    let stream = timeout(QUICK, TcpStream::connect(address)).await.map_err(|_| late("connect"))?;
    let stream = stream.map_err(|it| broken(&it))?;
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(|it| broken(&it))?;
    // Ends when the connection is taken, or with the answer.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a stream of the runtime's broke");
        }
    });
    let request = http::Request::post(path)
        .header(HOST, authority.as_str())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "SPDY/3.1")
        .header("X-Stream-Protocol-Version", PROTOCOL)
        .body(Empty::new())
        .map_err(|it| broken(&it))?;
    let answer = timeout(ANSWER_WITHIN, sender.send_request(request)).await.map_err(|_| late("no answer"))?;
    let answer = answer.map_err(|it| broken(&it))?;
    if answer.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        let status = answer.status();
        let body = timeout(QUICK, Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect()).await;
        let text = body.ok().and_then(Result::ok).map(|it| it.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        return Err(RuntimeError::Other(if text.is_empty() { format!("the runtime answered {status}") } else { text }));
    }
    let upgraded = timeout(QUICK, hyper::upgrade::on(answer)).await.map_err(|_| late("upgrade"))?;
    let connection = Connection::start_client(TokioIo::new(upgraded.map_err(|it| broken(&it))?));
    let open = async |name: &str, wanted: bool| -> Result<Option<Stream>, RuntimeError> {
        if !wanted {
            return Ok(None);
        }
        let headers = Headers(vec![("streamtype".to_owned(), name.to_owned())]);
        connection.open(headers).await.map(Some).map_err(|_| broken(&"the connection ended"))
    };
    let error = open("error", true).await?.ok_or_else(|| broken(&"no stream for errors"))?;
    let (stdin, stdout) = (open("stdin", wanted.stdin).await?, open("stdout", wanted.stdout).await?);
    let (stderr, sizes) = (open("stderr", wanted.stderr).await?, open("resize", wanted.sizes).await?);
    Ok(Streams { connection, error, stdin, stdout, stderr, sizes })
}
