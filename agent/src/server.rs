//! The agent's own port: logs of its containers for the API server, and whether it lives.
//!
//! TLS with a client certificate of the cluster's CA; who has none gets no further than the handshake. Paths are the kubelet's.

pub mod logs;
pub mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
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
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
            .with_state((runtime, logs));
        let connections = TaskTracker::new();
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), router, connections.clone(), shutdown));
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
            let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_WITHIN);
            let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
            tokio::select! {
                it = serving => if let Err(error) = it { tracing::debug!(%error, "a connection ended") },
                () = shutdown.cancelled() => {}
            }
        });
    }
}

type Shared = (Arc<dyn Runtime>, Logs);

async fn healthz(State((runtime, _)): State<Shared>) -> Response {
    match runtime.info().await {
        Ok(_) => "ok".into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn container_logs(
    State((_, logs)): State<Shared>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(host) = logs.host() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the agent is starting").into_response();
    };
    let asked = match logs::Asked::parse(query.as_deref().unwrap_or_default()) {
        Ok(it) => it,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    logs::answer(&host, &namespace, &pod, &container, &asked).await
}
