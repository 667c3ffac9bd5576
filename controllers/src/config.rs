//! What the controllers are told at their start, and its form on the command line.

use std::path::PathBuf;
use std::time::Duration;

use orlop_client::lease::Identity;

use crate::node_ipam::Range;

/// The namespace and the name of the lease that the acting copy holds.
pub const LEASE: (&str, &str) = ("kube-system", "orlop-controllers");

/// What we call ourselves in the lease.
pub const COMPONENT: &str = "controllers";

/// What the controllers are told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are in the lease.
    pub identity: Identity,
    /// What the nodes' pod networks are parts of.
    pub cluster_cidr: Range,
    /// How long a node may be silent before its pods start elsewhere.
    pub node_monitor_grace_period: Duration,
    /// How long events are kept.
    pub event_ttl: Duration,
    /// How many ended pods are kept.
    pub terminated_pod_gc_threshold: usize,
    /// The cluster's CA, published to every namespace.
    pub root_ca: Option<String>,
}

/// The command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Range from which each node gets the addresses of its pods
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: Range,
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
}

impl Args {
    /// Reads what the arguments name.
    ///
    /// # Errors
    /// When the CA's file cannot be read.
    pub fn config(&self) -> std::io::Result<Config> {
        let root_ca = self.root_ca_file.as_ref().map(std::fs::read_to_string).transpose()?;
        Ok(Config {
            identity: Identity::unique(COMPONENT),
            cluster_cidr: self.cluster_cidr,
            node_monitor_grace_period: Duration::from_secs(self.node_monitor_grace_period_seconds),
            event_ttl: Duration::from_secs(self.event_ttl_seconds),
            terminated_pod_gc_threshold: self.terminated_pod_gc_threshold,
            root_ca,
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            identity: Identity::unique(COMPONENT),
            cluster_cidr: "10.244.0.0/16".parse().expect("a range that was tested"),
            node_monitor_grace_period: Duration::from_secs(8),
            event_ttl: Duration::from_secs(3600),
            terminated_pod_gc_threshold: 12_500,
            root_ca: None,
        }
    }
}
