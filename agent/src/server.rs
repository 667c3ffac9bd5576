//! The agent's own port: the way to its containers for the API server (logs, exec, attach, port-forward), what they use, and
//! whether it lives.
//!
//! TLS with a client certificate of the cluster's CA; who has none gets no further than the handshake, and who is no administrator is asked for
//! at the API server ([`access`]). Paths are the kubelet's.

pub mod access;
pub mod forward;
pub mod idle;
pub mod logs;
pub mod spdy;
pub mod streams;
pub mod terminal;
pub mod tls;
pub mod upgrade;
pub mod usage;
pub mod websocket;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router, middleware};
use http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::host::Host;
use crate::runtime::Runtime;

/// Connections at once: followers of logs of a node's 110 pods, some of them twice.
const CONNECTIONS: usize = 256;
/// How long a handshake or a request's head may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long open answers may hold up a shutdown.
const DRAIN_WITHIN: Duration = Duration::from_millis(500);
/// How long a client may take to open its streams, once the protocol has changed: the kubelet's `DefaultStreamCreationTimeout`.
pub const OPENING_MAX: Duration = Duration::from_secs(30);
/// After a failed accept (no file descriptors left) the next attempt waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("{0}")]
    Tls(String),
}

/// The way to the containers' logs; empty until the agent has everything it needs to find them.
#[derive(Clone, Default)]
pub struct Logs(Arc<RwLock<Option<Arc<Host>>>>);

impl Logs {
    /// From now on logs are served.
    pub fn serve(&self, host: Arc<Host>) {
        *self.0.write() = Some(host);
    }

    fn host(&self) -> Option<Arc<Host>> {
        self.0.read().clone()
    }
}

/// The port, while it is open.
pub struct Server {
    port: u16,
    connections: TaskTracker,
}

impl Server {
    /// Opens the port and serves until `shutdown`.
    ///
    /// # Errors
    /// The port is taken, or the certificates cannot be used.
    pub async fn start(
        config: &Config,
        runtime: Arc<dyn Runtime>,
        logs: Logs,
        address: IpAddr,
        shutdown: CancellationToken,
    ) -> Result<Self, ServerError> {
        let tls = tls::config(config).map_err(ServerError::Tls)?;
        let address = SocketAddr::new(address, config.port);
        let listener = TcpListener::bind(address).await.map_err(|it| ServerError::Listen(address, it))?;
        let port = listener.local_addr().map_err(|it| ServerError::Listen(address, it))?.port();
        let connections = TaskTracker::new();
        let shared = Shared {
            runtime,
            logs,
            places: streams::Places::default(),
            answers: access::Answers::default(),
            connections: connections.clone(),
            shutdown: shutdown.clone(),
        };
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), router(shared), connections.clone(), shutdown));
        Ok(Server { port, connections })
    }

    /// The port that was bound.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for open answers to end, not for long.
    pub async fn stopped(&self) {
        self.connections.close();
        let _ = tokio::time::timeout(DRAIN_WITHIN, self.connections.wait()).await;
    }
}

/// What the handlers share.
#[derive(Clone)]
pub struct Shared {
    runtime: Arc<dyn Runtime>,
    logs: Logs,
    places: streams::Places,
    answers: access::Answers,
    /// Sessions go on beside the connection that they began with.
    connections: TaskTracker,
    shutdown: CancellationToken,
}

fn router(shared: Shared) -> Router {
    // WebSockets come by GET, SPDY by POST.
    let into_container = Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/exec/{namespace}/{pod}/{container}", get(streams::exec).post(streams::exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", get(streams::exec_by_uid).post(streams::exec_by_uid))
        .route("/attach/{namespace}/{pod}/{container}", get(streams::attach).post(streams::attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", get(streams::attach_by_uid).post(streams::attach_by_uid))
        .route("/portForward/{namespace}/{pod}", get(streams::port_forward).post(streams::port_forward))
        .route(
            "/portForward/{namespace}/{pod}/{uid}",
            get(streams::port_forward_by_uid).post(streams::port_forward_by_uid),
        )
        .route("/stats/summary", get(usage::summary))
        .route("/metrics/resource", get(usage::resource))
        .route_layer(middleware::from_fn_with_state(shared.clone(), access::check));
    Router::new().route("/healthz", get(healthz)).merge(into_container).with_state(shared)
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    connections: TaskTracker,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Some(Ok(place)) = shutdown.run_until_cancelled(Arc::clone(&places).acquire_owned()).await else { return };
        let stream = match shutdown.run_until_cancelled(listener.accept()).await {
            None => return,
            Some(Ok((stream, _))) => stream,
            Some(Err(error)) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, router, shutdown) = (tls.clone(), router.clone(), shutdown.clone());
        connections.spawn(async move {
            let _place = place;
            let stream = match tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
                Ok(Ok(it)) => it,
                Ok(Err(error)) => return tracing::debug!(%error, "a handshake failed"),
                Err(_) => return,
            };
            let shown = stream.get_ref().1.peer_certificates().and_then(|it| it.first());
            let peer = Arc::new(shown.map(|it| access::Peer::of_certificate(it)).unwrap_or_default());
            let router = router.layer(Extension(peer));
            let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_WITHIN);
            let serving =
                builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router));
            tokio::select! {
                it = serving => if let Err(error) = it { tracing::debug!(%error, "a connection ended") },
                () = shutdown.cancelled() => {}
            }
        });
    }
}

async fn healthz(State(shared): State<Shared>) -> Response {
    match shared.runtime.info().await {
        Ok(_) => "ok".into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn container_logs(
    State(shared): State<Shared>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(host) = shared.logs.host() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the agent is starting").into_response();
    };
    let asked = match logs::Asked::parse(query.as_deref().unwrap_or_default()) {
        Ok(it) => it,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    logs::answer(&host, &namespace, &pod, &container, &asked).await
}
