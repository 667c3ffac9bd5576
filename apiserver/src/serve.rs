//! The listener: TLS connections in, HTTP requests with their [`Peer`] out, and an end in good order.
//!
//! In: a bound address, a TLS identity and the service that answers. Each connection is a task; it hands every request on with who is
//! at the other end. What a peer may cost is bounded here: connections in all and per address, the time for a handshake, for a first request
//! and for each request's head, the size of heads, streams per connection. Bodies are bounded by the verb that reads them.
//! It knows no paths, no users and no objects.
//!
//! HTTP/2 or HTTP/1.1 is what ALPN agreed on, not what the first bytes look like: waiting for those has no time limit in hyper-util.

pub mod connections;
pub mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::present::Response;
use crate::stage::Peer;
use connections::{Connections, Place};
use tls::Identification;

/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long a connection may live without a first request. Clients connect because they have one.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(30);

/// How long the head of a further HTTP/1.1 request may take, the idle time before it included. Clients keep idle connections for 90 s
/// (Go, hyper): they, not we, close first, so that no request is sent into a closing connection.
const NEXT_HEAD_MAX: Duration = Duration::from_secs(100);

/// The largest head of a request: a service account's token has 1 KiB, a URL with selectors some more.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The most header fields of one request.
const HEADERS_MAX: usize = 128;

/// Requests at once on one HTTP/2 connection, as Go's server allows; client-go puts all its watches on one.
const STREAMS_MAX: u32 = 250;

/// Streams that a peer may open and reset before we have looked at them, before the connection is closed ("rapid reset").
const RESET_STREAMS_MAX: usize = 20;

/// What may be under way to us per HTTP/2 stream and connection before we have read it.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// What is kept per HTTP/2 stream that the peer does not read: 250 streams cost 16 MiB at the utmost.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// A peer that does not answer a ping is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_MAX: Duration = Duration::from_secs(20);

/// The same for connections without pings: after this, the kernel asks whether the peer is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The pause after the system could not give us a connection (no file descriptors are left, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the address {0} is in use: another server runs there; choose another with --listen, or stop that one")]
    InUse(SocketAddr),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the server's certificate cannot be used: {0}")]
    Certificate(String),
}

/// What connections may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address that is not this machine.
    pub connections_per_peer: usize,
    pub handshake: Duration,
    pub first_request: Duration,
    pub next_head: Duration,
    /// How long open requests may go on after a stop was asked for.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 10_000,
            // A node needs few; a tenth leaves room for many peers behind one address.
            connections_per_peer: 1_000,
            handshake: HANDSHAKE_MAX,
            first_request: FIRST_REQUEST_MAX,
            next_head: NEXT_HEAD_MAX,
            drain: Duration::from_secs(10),
        }
    }
}

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes the address; port 0 takes a free port.
    ///
    /// # Errors
    /// [`ServeError::InUse`] where another process has it.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::InUse(address),
            _ => ServeError::Listen { address, source },
        };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Listener { socket, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, and then until all requests are answered or `limits.drain` is over. New connections are refused from
    /// `stop` on; a service whose answers have no end of their own (watches) must end them when `stop` comes.
    pub async fn run<S>(self, tls: Arc<Identification>, limits: Limits, service: S, stop: CancellationToken)
    where
        S: Service<http::Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let places = Connections::new(limits.connections, limits.connections_per_peer);
        let graceful = GracefulShutdown::new();
        let mut tasks: JoinSet<()> = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = tasks.join_next() => continue,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = places.take(peer.ip()) else {
                tracing::debug!(%peer, "too many connections; closed");
                continue;
            };
            let (tls, service, watcher) = (tls.clone(), service.clone(), graceful.watcher());
            let stopping = stop.clone();
            tasks.spawn(async move {
                let handshake = timeout(limits.handshake, handshake(stream, &tls));
                let accepted = tokio::select! {
                    () = stopping.cancelled() => return,
                    accepted = handshake => accepted,
                };
                match accepted {
                    Ok(Ok((stream, http2))) => {
                        let peer = Arc::new(tls.peer(peer, &stream));
                        // From before the first request on.
                        let revoked = tls.revoked(&peer);
                        tokio::select! {
                            () = converse(stream, http2, peer.clone(), limits, service, watcher, place) => {}
                            // Whatever is under way, watches above all.
                            () = revoked => tracing::info!(peer = ?peer.address, "a connection of a revoked node; closed"),
                        }
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
                }
            });
        }
        drop(self.socket);
        let ended = async {
            graceful.shutdown().await;
            while tasks.join_next().await.is_some() {}
        };
        if timeout(limits.drain, ended).await.is_err() {
            tracing::warn!(
                seconds = limits.drain.as_secs(),
                "requests were still open at the end of the drain; they are cut off"
            );
        }
    }
}

async fn handshake(stream: TcpStream, tls: &Identification) -> io::Result<(TlsStream<TcpStream>, bool)> {
    stream.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4);
    SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
    let stream = tls.acceptor().accept(stream).await?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((stream, http2))
}

/// Answers the requests of one connection until it ends.
async fn converse<S>(
    stream: TlsStream<TcpStream>,
    http2: bool,
    peer: Arc<Peer>,
    limits: Limits,
    service: S,
    watcher: hyper_util::server::graceful::Watcher,
    _place: Place,
) where
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let answer = service_fn({
        let (asked, peer) = (asked.clone(), peer.clone());
        move |mut request: http::Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer.clone());
            service.clone().call(request)
        }
    });
    let builder = builder(http2, &limits);
    let connection = watcher.watch(builder.serve_connection_with_upgrades(TokioIo::new(stream), answer).into_owned());
    tokio::pin!(connection);
    let first = sleep(limits.first_request);
    tokio::pin!(first);
    let mut waiting = true;
    let ended = loop {
        tokio::select! {
            ended = &mut connection => break ended,
            () = &mut first, if waiting => {
                waiting = false;
                if !asked.load(Ordering::Relaxed) {
                    tracing::debug!(peer = ?peer.address, "a connection without a request; closed");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = ?peer.address, %error, "a connection broke");
    }
}

fn builder(http2: bool, limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.next_head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX);
    if http2 { builder.http2_only() } else { builder.http1_only() }
}

#[cfg(test)]
mod tests;
