//! Keeps the ways to other nodes as the Nodes say.
//!
//! Every change of a Node's address or range rings; what is to be done is then found by comparing what should be with what the kernel has, and so it
//! is from time to time, and after a failure. Nothing is done before all Nodes are known, for until then what an earlier run left is nearer
//! to the truth; and while the API is away, the ways stay as they were.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use orlop_api::ranges::Ranges;
use orlop_client::{Store, queue, random};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::kernel::{Device, Kernel};
use super::peers::{self, Here, PeerView};
use super::{Overlay, tunnel_bytes};
use crate::network::ips::Ips;
use crate::network::link::Links;
use crate::network::names::Names;
use crate::network::{NetworkError, PodNetwork};

/// How long changes are gathered after the first: nodes come in groups.
const GATHER: Duration = Duration::from_millis(5);
/// How long between two looks at the kernel, without jitter, as for the rules of services.
pub const COMPARE_EVERY: Duration = Duration::from_secs(20);
/// The longest delay after a failure.
const RETRY_MOST: Duration = Duration::from_secs(10);
/// Failures are tried again no earlier than queue::backoff's fifth delay.
const RETRY_HEAD_START: u32 = 4;
/// After this many failures the delay has reached its limit.
const FAILURES_MOST: u32 = 32;

/// What the keeper is told of its node.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    /// The node's ranges.
    pub pod_cidr: Ranges,
    pub cluster_cidr: Ranges,
    /// The node's own addresses, which other nodes know.
    pub addresses: Ips,
    pub overlay: Overlay,
    /// How long between two looks at the kernel: [`COMPARE_EVERY`].
    pub compare_every: Duration,
}

/// The keeper of one node's ways.
pub struct Keeper {
    config: Config,
    names: Names,
    nodes: Store<PeerView>,
    network: Arc<dyn PodNetwork>,
    /// Whether there was a tunnel the last time; none before the first.
    tunnelled: Option<bool>,
    last_failure: String,
}

impl Keeper {
    /// A keeper that has not done anything. `network` is told when a tunnel comes or goes, since pods' packets must fit into it.
    pub fn new(config: Config, nodes: Store<PeerView>, network: Arc<dyn PodNetwork>) -> Self {
        let names = Names::of(&config.node_name);
        Keeper { config, names, nodes, network, tunnelled: None, last_failure: String::new() }
    }

    /// Keeps the ways until `shutdown`; they stay.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(self.run_for_ever()).await;
    }

    async fn run_for_ever(&mut self) {
        self.nodes.synced().await;
        let rung = Arc::new(Notify::new());
        let weak = Arc::downgrade(&rung);
        self.nodes.listen(move |change| {
            let Some(rung) = weak.upgrade() else { return false };
            // Heartbeats say nothing new.
            if change.old.as_ref().and_then(|it| it.peer()) != change.new.as_ref().and_then(|it| it.peer()) {
                rung.notify_one();
            }
            true
        });
        let mut failures: u32 = 0;
        loop {
            let outcome = self.settle().await;
            self.tell(outcome.as_ref().err().map(ToString::to_string).unwrap_or_default());
            if outcome.is_err() {
                failures = (failures + 1).min(FAILURES_MOST);
                let delay = queue::backoff(failures + RETRY_HEAD_START).min(RETRY_MOST);
                tokio::time::sleep(random::jitter(delay, 0.5)).await;
                continue;
            }
            failures = 0;
            tokio::select! {
                () = rung.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(random::jitter(self.config.compare_every, 0.5)) => {}
            }
        }
    }

    /// A failure is told once, and so is its end.
    fn tell(&mut self, failure: String) {
        if failure != self.last_failure {
            match failure.as_str() {
                "" => tracing::info!("the ways to other nodes are as they should be again"),
                reason => tracing::warn!(reason, "the ways to other nodes could not be set; it is tried again"),
            }
            self.last_failure = failure;
        }
    }

    /// Brings the kernel up to the Nodes.
    async fn settle(&mut self) -> Result<(), NetworkError> {
        let kernel = Kernel { links: Links::open()? };
        let addresses = kernel.addresses().await?;
        let here = Here {
            node: self.config.node_name.clone(),
            ranges: self.config.pod_cidr,
            cluster: self.config.cluster_cidr,
            overlay: self.config.overlay,
            addresses,
        };
        let peers: Vec<_> = self.nodes.list().iter().filter_map(|it| it.peer()).collect();
        let wanted = peers::wanted(&peers, &here);
        let device = match wanted.ends.is_empty() {
            true => {
                kernel.links.remove(&self.names.tunnel).await?;
                None
            }
            false => {
                let ranges = self.config.pod_cidr;
                let mtu = kernel.links.outward_mtu().await?.saturating_sub(tunnel_bytes(ranges));
                let local = self.local(&here);
                let device = Device { name: &self.names.tunnel, ranges, local, mtu };
                let device = kernel.device(&device).await?;
                kernel.ends(device, &wanted.ends).await?;
                Some(device)
            }
        };
        kernel.routes(device, &wanted).await?;
        if self.tunnelled.replace(device.is_some()) != Some(device.is_some()) {
            self.network.refresh().await?;
        }
        Ok(())
    }

    /// The node's address of the primary family, if it is one of this namespace: behind a translation it is not.
    fn local(&self, here: &Here) -> Option<IpAddr> {
        let address = self.config.addresses.like(self.config.pod_cidr.primary().addr())?;
        here.addresses.iter().any(|(_, net)| net.addr() == address).then_some(address)
    }
}
