//! One API server: everything made, connected and started, and stopped in good order.
//!
//! In: a [`Config`] and a token that stops it. Out: a running [`Server`], reachable by TLS and by clients bound in process. Both go
//! the same way through the [`Pipeline`]; a client in process only saves the socket, and brings its identity with it.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use orlop_api::kind::Kind;
use orlop_client::agent;
use orlop_store::history::{HISTORY_AGE_MAX, keep_history_bounded};
use orlop_store::{OpenError, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{self, Sight};
use crate::args;
use crate::at_rest::Sealed;
use crate::at_rest::configuration::{Configuration, ConfigurationError};
use crate::authenticate::last_used::{self, LastUsed};
use crate::authenticate::revocation::Revocations;
use crate::authenticate::service_account::Issuer;
use crate::authenticate::{Credentials, Found, Objects, TokenFileError};
use crate::authorize::Policy;
use crate::bootstrap::{self, BootstrapError, Reach};
use crate::cache::{Cache, Object, Observer, Table};
use crate::callout::Caller;
use crate::config::Config;
use crate::connect;
use crate::core::Core;
use crate::definitions;
use crate::feed;
use crate::labels::Labels;
use crate::pipeline::Pipeline;
use crate::pki::{Pki, PkiError, files};
use crate::plain::Plain;
use crate::policy_types;
use crate::present::Response;
use crate::proxy::Proxies;
use crate::quota::Ledger;
use crate::registry;
use crate::serve::tls::Identification;
use crate::serve::{self, Listener, ServeError};
use crate::service_addresses::ServiceAddresses;
use crate::stage::{Identity, Peer};
use crate::standing::Standing;
use crate::usage::Usage;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Encryption(#[from] ConfigurationError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the store cannot be listed: {0}")]
    List(#[source] StoreError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    #[error("the keys of service accounts cannot be used: {0}")]
    Issuer(String),
    #[error("the cluster's first objects cannot be made: {0}")]
    Bootstrap(#[from] BootstrapError),
}

/// A running API server.
#[derive(Clone)]
pub struct Server {
    pipeline: Pipeline,
    pki: Arc<Pki>,
    address: Option<SocketAddr>,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Authorization rests on objects: it hears of each before readers do.
struct Follows(Arc<Policy>);

impl Observer for Follows {
    fn put(&self, kind: &'static Kind, object: &Object) {
        self.0.put(kind, &object.head, &object.json);
    }

    fn removed(&self, kind: &'static Kind, object: &Object) {
        self.0.remove(kind, &object.head);
    }
}

impl Objects for Cache {
    fn find(&self, group: &str, kind: &str, namespace: &str, name: &str) -> Option<Found> {
        let found = self.get(registry::named(group, kind)?, namespace, name)?;
        Some(Found { uid: found.head.uid.to_string(), deleting: found.head.deleting, json: found.json.clone() })
    }

    fn table(&self, kind: &'static Kind) -> Option<Arc<Table>> {
        Some(Cache::table(self, kind))
    }

    fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
        self.registry().kinds().of(group, version, kind)
    }

    fn equivalents(&self, kind: &'static Kind) -> Vec<&'static Kind> {
        self.registry().kinds().equivalents(kind)
    }
}

impl Server {
    /// Starts a server, and returns once it is ready. It runs until `shutdown`, and then until what is open is done with.
    ///
    /// # Errors
    /// [`StartError`] says what to mend.
    pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Self, StartError> {
        let service_address = config.kubernetes_service_address();
        let names = args::names(&config);
        let now = orlop_client::clock::now();
        let pki = Arc::new(Pki::open(&config.data_dir, &names, service_address, now)?);
        let listener = match config.listen {
            Some(address) => Some(Listener::bind(address).await?),
            None => None,
        };
        let address = listener.as_ref().map(Listener::address);
        let encryption = Configuration::open(config.encryption_provider_config.as_deref(), &config.data_dir)?;
        let store = orlop_store::open(&config.store, &config.data_dir, &config.etcd).await?;
        let store: Arc<dyn Store> = Arc::new(Sealed::new(store, encryption));

        let policy = Arc::new(Policy::default());
        let ledger = Arc::new(Ledger::default());
        let revocations = Arc::new(Revocations::default());
        let cache = Arc::new(Cache::new(vec![Arc::new(Follows(policy.clone())), ledger.clone(), revocations.clone()]));
        // The feed and the rest outlive the requests that are drained.
        let background = CancellationToken::new();
        let followed = feed::start(store.clone(), cache.clone(), background.clone()).await.map_err(StartError::List)?;

        let (used, uses) = LastUsed::new();
        let issuer = Issuer::new(&pki.service_account).map_err(StartError::Issuer)?;
        let issuer = Arc::new(issuer.extending(config.extend_token_expiration).telling(used));
        let objects: Arc<dyn Objects> = cache.clone();
        let sight = Sight { objects: objects.clone(), store: store.clone() };
        let addresses = ServiceAddresses::new(config.service_cidr);
        let draining = CancellationToken::new();
        let caller = Arc::new(Caller::new(&sight));
        let plugins = admission::plugins(&sight, &policy, &ledger, &caller, &config.admission);
        let core = Arc::new(Core {
            store: store.clone(),
            cache: cache.clone(),
            connectors: connect::connectors(&pki, &issuer, &sight, &plugins)?,
            plugins,
            addresses: addresses.clone(),
            labels: Labels::new(cache.clone()),
            usage: Usage::new(pki.ca(), &pki.kubelet_client)?,
            proxies: Proxies::new(pki.ca(), &pki.kubelet_client, sight.clone(), draining.clone())?,
            caller,
            stopping: shutdown.clone(),
            draining: draining.clone(),
        });
        let authenticator = Credentials::new(config.token_auth_file.as_deref(), issuer.clone(), objects)?;
        let authenticator = Arc::new(authenticator.heeding(revocations.clone()));
        let plain = Plain { address: address.map(|it| it.to_string()).unwrap_or_default(), issuer };
        let pipeline = Pipeline::new(core, authenticator, policy, config.limits, plain);

        let tasks = TaskTracker::new();
        tasks.spawn(keep_history_bounded(store.clone(), HISTORY_AGE_MAX, background.clone()));
        tasks.spawn(ledger.count(store.clone(), cache.clone(), background.clone()));
        tasks.spawn(cache.clone().forget_snapshots(background.clone()));
        tasks.spawn(addresses.sweep(store, cache, background.clone()));
        let server = Server { pipeline: pipeline.clone(), pki: pki.clone(), address, tasks: tasks.clone() };
        let settling = server.client("system:apiserver", &["system:masters"]);
        tasks.spawn(last_used::write_down(uses, settling.clone(), background.clone()));
        tasks.spawn(definitions::run(server.pipeline.core().clone(), settling.clone(), background.clone()));
        tasks.spawn(policy_types::run(server.pipeline.core().clone(), settling, background.clone()));
        // Before anything listens: whoever reaches the server finds the cluster's first objects there.
        let reach = Reach {
            service: service_address,
            services: config.service_cidr,
            endpoint: address.and_then(|it| Reach::endpoint(it, config.advertise_address)),
            shared: orlop_store::is_shared(&config.store),
        };
        let own = agent::named(&server.client("system:apiserver", &["system:masters"]), agent::API_SERVER);
        let mended = bootstrap::run(&own, &reach).await.map_err(StartError::from);
        // The files, too: who finds the server ready starts the other parts with them.
        let named = server.url().map(|own| config.kubeconfig_server.unwrap_or(own));
        let written = named.map_or(Ok(()), |url| server.pki.write_kubeconfigs(&url, now));
        if let Err(error) = mended.and(written.map_err(StartError::from)) {
            background.cancel();
            return Err(error);
        }
        if let Some(mut standing) = Standing::new(own, reach, files::host_name()).filter(|_| reach.shared) {
            // A server that is ready stands behind the Service, unless the store has just gone away; then it will.
            if let Err(error) = standing.round().await {
                tracing::warn!(%error, "this server does not stand behind the Service `kubernetes` yet");
            }
            tasks.spawn(standing.keep(shutdown.clone()));
        }
        let serving = match listener {
            Some(listener) => {
                let tls = Arc::new(Identification::new(pki.ca(), &pki.serving)?.heeding(revocations));
                let limits = serve::Limits {
                    connections: config.limits.connections,
                    drain: config.limits.drain,
                    ..serve::Limits::default()
                };
                Some(listener.run(tls, limits, pipeline.clone(), draining.clone()))
            }
            None => None,
        };
        tasks.spawn({
            let draining = draining.clone();
            async move {
                shutdown.cancelled().await;
                // Not ready any more, but serving: whoever watches `/readyz` has time to turn elsewhere.
                tokio::time::sleep(config.limits.shutdown_delay).await;
                draining.cancel();
            }
        });
        tasks.spawn(async move {
            match serving {
                Some(serving) => serving.await,
                None => draining.cancelled().await,
            }
            background.cancel();
            if followed.await.is_err() {
                tracing::error!("the feed of the cache has panicked");
            }
        });
        server.tasks.close();
        Ok(server)
    }

    /// A client of this user, bound to the server without a socket.
    pub fn client(&self, user: &str, groups: &[&str]) -> kube::Client {
        let identity = Some(Arc::new(Identity::new(user, groups)));
        let peer = Arc::new(Peer { identity, ..Peer::default() });
        kube::Client::new(InProcess { pipeline: self.pipeline.clone(), peer }, "default")
    }

    /// Where it listens; none without a listener.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The URL at which this machine reaches it.
    pub fn url(&self) -> Option<String> {
        let mut address = self.address?;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::from([127, 0, 0, 1]));
        }
        Some(format!("https://{address}"))
    }

    /// The cluster's keys and certificates.
    pub fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }

    /// The way of every request.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Waits until it has stopped: all requests are answered, or the drain is over.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

/// The service of clients bound in process.
#[derive(Clone)]
struct InProcess {
    pipeline: Pipeline,
    peer: Arc<Peer>,
}

impl tower_service::Service<http::Request<kube::client::Body>> for InProcess {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<kube::client::Body>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        let pipeline = self.pipeline.clone();
        Box::pin(async move { Ok(pipeline.handle(request).await) })
    }
}

/// Runs a server until `shutdown`.
///
/// # Errors
/// [`StartError`] where it does not start.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), StartError> {
    let server = Server::start(config, shutdown).await?;
    if let Some(url) = server.url() {
        tracing::info!(%url, "the API server is ready");
    }
    server.stopped().await;
    Ok(())
}
