//! What a user decides about an API server; everything else it makes or finds itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;
use orlop_api::ranges::Ranges;
use orlop_store::etcd::Tls;

/// The settings of one API server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The engine: `embedded`, `memory` or `etcd=URL[,URL]`.
    pub store: String,
    /// What the server shows to etcd, and asks of it.
    pub etcd: Tls,
    /// Where keys, certificates, kubeconfigs and the embedded store live.
    pub data_dir: PathBuf,
    /// Where TLS listens; port 0 takes a free one; none serves in-process clients only and makes no listener.
    pub listen: Option<SocketAddr>,
    /// Names and addresses for the serving certificate beside localhost, the listen address and the `kubernetes` service.
    pub extra_sans: Vec<String>,
    /// Addresses of services, of one family or of both; the first is the `kubernetes` service's.
    pub service_cidr: Ranges,
    /// Addresses of pods.
    pub cluster_cidr: Ranges,
    /// The address at which the cluster's nodes reach this server, for the `kubernetes` endpoints; the listen address if none.
    pub advertise_address: Option<IpAddr>,
    /// The server that the kubeconfigs in the data directory name, as a URL, if not this one: what leads to several of them.
    pub kubeconfig_server: Option<String>,
    /// Static tokens, as kube-apiserver's `--token-auth-file` has them.
    pub token_auth_file: Option<PathBuf>,
    /// What is encrypted at rest and how, as kube-apiserver's `--encryption-provider-config` has it; Secrets, with a key of the data
    /// directory, if none.
    pub encryption_provider_config: Option<PathBuf>,
    /// Whether a pod's token for this server lives a year instead of the hour that it asks for, as kube-apiserver's
    /// `--service-account-extend-token-expiration`.
    pub extend_token_expiration: bool,
    pub limits: Limits,
    /// What admission does differently.
    pub admission: crate::admission::Options,
}

/// What one server takes on before it sheds load.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Read requests at once (kube-apiserver's `--max-requests-inflight`).
    pub reads: usize,
    /// Mutating requests at once (kube-apiserver's `--max-mutating-requests-inflight`).
    pub writes: usize,
    /// Watches one user may have open: informers of all kinds for some hundred processes.
    pub watchers_per_user: usize,
    /// Watches at once in all: a watcher costs some 4 KiB, so this is 80 MiB at the utmost; nodes of 5,000 with some watches each fit in.
    pub watchers: usize,
    /// The largest request body, as kube-apiserver's.
    pub body_bytes: usize,
    /// Open connections at once.
    pub connections: usize,
    /// How long a request may take that is not long-running (kube-apiserver's `--request-timeout`).
    pub request_timeout: Duration,
    /// How long all is served on after a stop was asked for, while `/readyz` fails (kube-apiserver's `--shutdown-delay-duration`).
    pub shutdown_delay: Duration,
    /// How long open requests may go on after that.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            reads: 400,
            writes: 200,
            watchers_per_user: 5_000,
            watchers: 20_000,
            body_bytes: 3 << 20,
            connections: 10_000,
            request_timeout: Duration::from_secs(60),
            shutdown_delay: Duration::ZERO,
            drain: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// A server over `store` in `data_dir`, without a listener, with the cluster's usual addresses.
    pub fn new(store: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Config {
            store: store.into(),
            etcd: Tls::default(),
            data_dir: data_dir.into(),
            listen: None,
            extra_sans: Vec::new(),
            service_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16).into(),
            cluster_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16).into(),
            advertise_address: None,
            kubeconfig_server: None,
            token_auth_file: None,
            encryption_provider_config: None,
            extend_token_expiration: true,
            limits: Limits::default(),
            admission: crate::admission::Options::default(),
        }
    }

    /// The address of the `kubernetes` service: the first of the service range.
    pub fn kubernetes_service_address(&self) -> IpAddr {
        self.service_cidr.nth(1)
    }
}
