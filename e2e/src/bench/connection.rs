//! One keep-alive HTTP/1.1 connection, and requests over it one after the other.
//!
//! In: a [`Target`] or a Unix socket. Out: answers whose bodies are kept, only counted, or streamed. It retries nothing and pools nothing: one
//! client of the load generator is one connection.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::target::Target;

/// How long connection and handshake may take: 200 of them at once on two cores need well under a second.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// A request that takes longer is a failure.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// A request that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// JSON, or nothing.
    pub body: Bytes,
    /// What the body is, where there is one.
    pub content_type: &'static str,
}

/// What all bodies are but those of patches.
const JSON: &str = "application/json";

impl Request {
    /// A GET.
    pub fn get(path: impl Into<String>) -> Request {
        Request { method: Method::GET, path: path.into(), body: Bytes::new(), content_type: JSON }
    }

    /// A POST of JSON.
    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Request {
        Request { method: Method::POST, path: path.into(), body: body.into(), content_type: JSON }
    }

    /// A PUT of JSON.
    pub fn put(path: impl Into<String>, body: impl Into<Bytes>) -> Request {
        Request { method: Method::PUT, path: path.into(), body: body.into(), content_type: JSON }
    }

    /// A DELETE with default options.
    pub fn delete(path: impl Into<String>) -> Request {
        Request { method: Method::DELETE, path: path.into(), body: Bytes::new(), content_type: JSON }
    }

    /// A server-side apply of JSON; the manager stands in the path's query.
    pub fn apply(path: impl Into<String>, body: impl Into<Bytes>) -> Request {
        let content_type = "application/apply-patch+yaml";
        Request { method: Method::PATCH, path: path.into(), body: body.into(), content_type }
    }
}

/// One client's connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

impl Connection {
    /// Connects, shakes hands and is ready to send.
    ///
    /// # Errors
    /// When the server does not listen, or does not accept the handshake in time.
    pub async fn open(target: &Target) -> Result<Connection> {
        let opening = async {
            let socket = TcpStream::connect(&target.authority).await?;
            socket.set_nodelay(true)?;
            let connector = TlsConnector::from(target.tls.clone());
            let stream = connector.connect(target.server_name.clone(), socket).await?;
            Self::over(stream, &target.authority, target.authorization.clone()).await
        };
        let opened = tokio::time::timeout(CONNECT_LIMIT, opening).await;
        opened
            .context("the handshake takes too long")?
            .with_context(|| format!("cannot connect to {}", target.authority))
    }

    /// A connection over a Unix socket, such as the Docker Engine's.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn open_unix(socket: &Path) -> Result<Connection> {
        let stream = UnixStream::connect(socket).await.with_context(|| format!("{}", socket.display()))?;
        Self::over(stream, "localhost", None).await
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        host: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<Connection> {
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the connection; why is told by the request that fails.
        tokio::spawn(driver);
        Ok(Connection { sender, host: HeaderValue::from_str(host)?, authorization })
    }

    async fn begin(&mut self, request: Request) -> Result<http::Response<Incoming>> {
        self.sender.ready().await?;
        let mut message = http::Request::new(Full::new(request.body));
        *message.uri_mut() = request.path.parse()?;
        let headers = message.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if request.method != Method::GET {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(request.content_type));
        }
        if let Some(it) = &self.authorization {
            headers.insert(AUTHORIZATION, it.clone());
        }
        *message.method_mut() = request.method;
        Ok(self.sender.send_request(message).await?)
    }

    /// Sends a request and reads its answer to the end, keeping nothing of it: the code, and the body's length in bytes.
    ///
    /// # Errors
    /// When the connection breaks or the answer takes too long.
    pub async fn exchange(&mut self, request: Request) -> Result<(StatusCode, usize)> {
        let asking = async {
            let answer = self.begin(request).await?;
            let (code, mut body) = (answer.status(), answer.into_body());
            let mut length = 0;
            while let Some(frame) = body.frame().await {
                length += frame?.data_ref().map_or(0, Bytes::len);
            }
            Ok((code, length))
        };
        tokio::time::timeout(REQUEST_LIMIT, asking).await.context("no answer in time")?
    }

    /// Sends a request and gives the answer's body.
    ///
    /// # Errors
    /// When the connection breaks, or the code is not one of success; the body is in the error.
    pub async fn ask(&mut self, request: Request) -> Result<Bytes> {
        let what = format!("{} {}", request.method, request.path);
        let asking = async {
            let answer = self.begin(request).await?;
            let code = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            if !code.is_success() {
                bail!("{what}: {code}: {}", String::from_utf8_lossy(&body));
            }
            Ok(body)
        };
        tokio::time::timeout(REQUEST_LIMIT, asking).await.context("no answer in time")?
    }

    /// Begins a watch; the stream is the caller's to read.
    ///
    /// # Errors
    /// When the connection breaks or the server refuses.
    pub async fn watch(&mut self, path: String) -> Result<Incoming> {
        let begun = tokio::time::timeout(REQUEST_LIMIT, self.begin(Request::get(path))).await;
        let answer = begun.context("no answer in time")??;
        if !answer.status().is_success() {
            let code = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            bail!("the watch is refused: {code}: {}", String::from_utf8_lossy(&body));
        }
        Ok(answer.into_body())
    }
}
