//! What the controllers are told at their start, and its form on the command line.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use orlop_client::lease::Identity;

use crate::csr_signing::authority::Authority;
use crate::load_balancer::Pool;
use crate::node_ipam::ClusterRanges;

/// How long signed certificates live, unless their requests ask for less, in seconds: a year.
pub const SIGNING_SECONDS: u64 = 365 * 24 * 3600;

/// The namespace and the name of the lease that the acting copy holds.
pub const LEASE: (&str, &str) = ("kube-system", "orlop-controllers");

/// Beside the services' own addresses, 10.96.0.0/16.
const LOAD_BALANCER_POOL: &str = "10.97.0.0/24";

/// What we call ourselves in the lease.
pub const COMPONENT: &str = "controllers";

/// What the controllers are told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are in the lease.
    pub identity: Identity,
    /// What the nodes' pod networks are parts of.
    pub cluster_cidr: ClusterRanges,
    /// What services of type LoadBalancer get their addresses out of.
    pub load_balancer_pool: Pool,
    /// How long a node may be silent before its pods start elsewhere.
    pub node_monitor_grace_period: Duration,
    /// How long events are kept.
    pub event_ttl: Duration,
    /// How many ended pods are kept.
    pub terminated_pod_gc_threshold: usize,
    /// The cluster's CA, published to every namespace.
    pub root_ca: Option<String>,
    /// The CA that signs certificate requests; nobody signs if none.
    pub signing: Option<Arc<Authority>>,
}

/// The command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Range from which each node gets the addresses of its pods, or one of each family, the primary first
    #[arg(long, value_name = "CIDR[,CIDR]", default_value = "10.244.0.0/16")]
    pub cluster_cidr: ClusterRanges,
    /// Range from which services of type LoadBalancer get their addresses; `none` leaves them to somebody else
    #[arg(long, value_name = "CIDR|none", default_value = LOAD_BALANCER_POOL)]
    pub service_load_balancer_pool: Pool,
    /// Seconds a node may be silent before its pods start elsewhere
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub node_monitor_grace_period_seconds: u64,
    /// Seconds an event is kept after it last happened
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    pub event_ttl_seconds: u64,
    /// Number of ended pods to keep
    #[arg(long, default_value_t = 12_500)]
    pub terminated_pod_gc_threshold: usize,
    /// Certificate of the cluster's CA, to be published to every namespace
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// Certificate of the CA that signs certificate requests
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    pub cluster_signing_cert_file: Option<PathBuf>,
    /// Key of the CA that signs certificate requests
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// Longest life of the certificates it signs, in seconds
    #[arg(long, default_value_t = SIGNING_SECONDS, value_parser = clap::value_parser!(u64).range(600..=3_153_600_000))]
    pub cluster_signing_duration_seconds: u64,
}

impl Args {
    /// Reads what the arguments name.
    ///
    /// # Errors
    /// When a file cannot be read, or holds no CA.
    pub fn config(&self) -> io::Result<Config> {
        let root_ca = self.root_ca_file.as_ref().map(std::fs::read_to_string).transpose()?;
        let signing = match (&self.cluster_signing_cert_file, &self.cluster_signing_key_file) {
            (Some(certificate), Some(key)) => {
                let (certificate, key) = (std::fs::read_to_string(certificate)?, std::fs::read_to_string(key)?);
                let life = SignedDuration::from_secs(self.cluster_signing_duration_seconds.cast_signed());
                Some(Arc::new(Authority::new(&certificate, &key, life).map_err(io::Error::other)?))
            }
            _ => None,
        };
        Ok(Config {
            identity: Identity::unique(COMPONENT),
            cluster_cidr: self.cluster_cidr,
            load_balancer_pool: self.service_load_balancer_pool,
            node_monitor_grace_period: Duration::from_secs(self.node_monitor_grace_period_seconds),
            event_ttl: Duration::from_secs(self.event_ttl_seconds),
            terminated_pod_gc_threshold: self.terminated_pod_gc_threshold,
            root_ca,
            signing,
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            identity: Identity::unique(COMPONENT),
            cluster_cidr: "10.244.0.0/16".parse().expect("a range that was tested"),
            load_balancer_pool: LOAD_BALANCER_POOL.parse().expect("a range that was tested"),
            node_monitor_grace_period: Duration::from_secs(8),
            event_ttl: Duration::from_secs(3600),
            terminated_pod_gc_threshold: 12_500,
            root_ca: None,
            signing: None,
        }
    }
}
