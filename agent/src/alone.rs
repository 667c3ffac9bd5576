//! Static pods on a node that is not known to the API yet: perhaps the API server is one of them.
//!
//! What brings the node up waits for the API server. If that takes a while, an [`Agent`] of static pods alone runs meanwhile, and ends when the node is
//! known; the one that comes after it finds its pods as after any other restart. Pods that need an address have one if the node had a range of
//! them before, which its data directory remembers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use orlop_api::ranges::Ranges;
use orlop_client::Store;
use orlop_client::events::Recorder;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::config::Config;
use crate::network::PodNetwork;
use crate::network::absent::AbsentNetwork;
use crate::network::ips::Ips;
use crate::node::Capacity;
use crate::power_off::PowerOff;
use crate::pressure::Board;
use crate::run::{host, open_network, runtime_name};
use crate::runtime::Runtime;
use crate::telling::Teller;

/// How long the API server is waited for first: longer than one that is there takes.
const AFTER: Duration = Duration::from_secs(3);

/// The file in a data directory that says which range of pod addresses the node had last.
const POD_CIDR: &str = "pod-cidr";

/// What an agent of static pods alone needs.
pub struct Alone<'a> {
    pub config: &'a Config,
    pub client: &'a kube::Client,
    pub runtime: &'a Arc<dyn Runtime>,
    pub capacity: &'a Capacity,
    pub power_off: &'a PowerOff,
    pub addresses: Ips,
    /// The pods; none where the node has no folder for them.
    pub files: Option<watch::Receiver<Vec<Arc<Pod>>>>,
}

impl Alone<'_> {
    /// Runs static pods for as long as `waiting` takes.
    pub async fn until<T>(self, waiting: impl Future<Output = T>) -> T {
        let Some(files) = self.files.clone() else { return waiting.await };
        let mut waiting = Box::pin(waiting);
        if let Ok(it) = tokio::time::timeout(AFTER, &mut waiting).await {
            return it;
        }
        let end = CancellationToken::new();
        let mut running = Box::pin(self.run(files, end.clone()));
        let outcome = tokio::select! {
            it = &mut waiting => it,
            () = &mut running => return waiting.await,
        };
        end.cancel();
        running.await;
        outcome
    }

    async fn run(&self, files: watch::Receiver<Vec<Arc<Pod>>>, end: CancellationToken) {
        let (config, client) = (self.config, self.client.clone());
        tracing::info!(node = config.node_name, "static pods run while the API server is waited for");
        let network: Option<Arc<dyn PodNetwork>> = match remembered(&config.data_dir) {
            Some(it) => open_network(config, self.runtime, it, false, &end).await,
            None => Some(Arc::new(AbsentNetwork)),
        };
        let Some(network) = network else { return };
        let name = runtime_name(self.runtime, &end).await;
        let teller = Teller(Recorder::start(client.clone(), "kubelet", &config.node_name, end.clone()));
        let runtime = Arc::clone(self.runtime);
        // There are no pods but those: the node is not known to the API yet.
        let (pods, pressure) = (Store::new(), Board::default());
        let (host, bells) = host(
            config,
            client,
            pods,
            runtime,
            network,
            None,
            None,
            teller,
            self.capacity,
            self.addresses,
            name,
            pressure,
            self.power_off.clone(),
        );
        let allocatable = config.eviction.allocatable(self.capacity);
        let agent = Agent::new(host, bells, allocatable, Default::default(), end);
        // No lease is lost that was never had.
        let (_renewed, renewed) = watch::channel(Instant::now());
        Box::pin(agent.with_statics(Some(files)).run(renewed, None)).await;
    }
}

/// Notes the node's range of pod addresses for the next start.
pub fn remember(data_dir: &Path, pod_cidr: Ranges) {
    if let Err(error) = std::fs::write(data_dir.join(POD_CIDR), pod_cidr.to_string()) {
        tracing::warn!(%error, "the node's range of pod addresses could not be noted");
    }
}

fn remembered(data_dir: &Path) -> Option<Ranges> {
    std::fs::read_to_string(data_dir.join(POD_CIDR)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(remembered(dir.path()), None);
        for cidr in ["10.1.2.0/24", "fd00:1::/64,10.1.2.0/24"] {
            let cidr: Ranges = cidr.parse().unwrap();
            remember(dir.path(), cidr);
            assert_eq!(remembered(dir.path()), Some(cidr));
        }
    }
}
