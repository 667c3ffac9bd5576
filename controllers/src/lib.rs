//! The controllers: they make the world as its objects describe it.
//!
//! In: the API, by watch. Out: writes to the API, made under a fenced lease by one of several copies. Each controller is
//! one file with one pure decision; [`runtime`] does the rest. A new controller is a file and a line in [`all`].

pub mod config;
pub mod finalizer;
pub mod plan;
pub mod runtime;
pub mod view;
pub mod world;

pub mod cluster_role_aggregation;
pub mod csr_approving;
pub mod csr_cleaner;
pub mod csr_signing;
pub mod kubelet_csr;
pub mod serving_names;

pub mod disruption;

pub mod deployment;
pub mod replica_set;
pub mod replication_controller;

pub mod endpoint_slice;
pub mod endpoint_slice_mirroring;
pub mod endpoints;
pub mod load_balancer;

pub mod event_expiry;
pub mod garbage_collector;
pub mod graph;
pub mod namespace;
pub mod pod_gc;

pub mod ephemeral_volumes;
pub mod local_provisioner;
pub mod volume_binder;
pub mod volume_expansion;

pub mod attributes_class_protection;
pub mod claim_protection;
pub mod volume_protection;

pub mod service_cidr;

pub mod node_ipam;
pub mod node_leaving;
pub mod node_lifecycle;

pub mod service_account;
pub mod service_account_token;

pub mod bootstrap_signer;
pub mod legacy_token_cleaner;
pub mod token_cleaner;

use std::sync::Arc;

use orlop_client::{agent, lease};
use tokio_util::sync::CancellationToken;

pub use self::config::{Args, Config};
use self::runtime::Controller;
use self::world::World;

/// Every controller.
pub fn all(config: &Config) -> Vec<Arc<dyn Controller>> {
    let mut all: Vec<Arc<dyn Controller>> = vec![
        Arc::new(deployment::Deployments),
        Arc::new(replica_set::ReplicaSets),
        Arc::new(replication_controller::ReplicationControllers),
        Arc::new(endpoint_slice::EndpointSlices),
        Arc::new(endpoint_slice_mirroring::EndpointSliceMirroring),
        Arc::new(endpoints::EndpointsOfServices),
        Arc::new(load_balancer::LoadBalancers { pool: config.load_balancer_pool }),
        Arc::new(namespace::Namespaces),
        Arc::new(garbage_collector::GarbageCollector),
        Arc::new(node_lifecycle::NodeLifecycle { grace: config.node_monitor_grace_period }),
        Arc::new(node_leaving::NodeLeaving),
        Arc::new(node_ipam::NodeIpam { ranges: config.cluster_cidr }),
        Arc::new(service_account::ServiceAccounts { root_ca: config.root_ca.clone() }),
        Arc::new(service_account_token::ServiceAccountTokens { root_ca: config.root_ca.clone() }),
        Arc::new(pod_gc::PodGc { ended_most: config.terminated_pod_gc_threshold }),
        Arc::new(event_expiry::EventExpiry { keep: config.event_ttl }),
        Arc::new(csr_approving::CsrApproving),
        Arc::new(csr_cleaner::CsrCleaner),
        Arc::new(cluster_role_aggregation::ClusterRoleAggregation),
        Arc::new(disruption::Disruption),
        Arc::new(ephemeral_volumes::EphemeralVolumes),
        Arc::new(volume_binder::VolumeBinder),
        Arc::new(local_provisioner::LocalProvisioner),
        Arc::new(volume_expansion::VolumeExpansion),
        Arc::new(claim_protection::ClaimProtection),
        Arc::new(volume_protection::VolumeProtection),
        Arc::new(attributes_class_protection::AttributesClassProtection),
        Arc::new(service_cidr::ServiceCidrs),
        Arc::new(token_cleaner::TokenCleaner),
        Arc::new(legacy_token_cleaner::LegacyTokenCleaner),
        Arc::new(bootstrap_signer::BootstrapSigner),
    ];
    // Who has no CA's key leaves signing to others.
    if let Some(authority) = config.signing.clone() {
        all.push(Arc::new(csr_signing::CsrSigning { authority }));
    }
    all
}

/// Runs all controllers until `shutdown`, whenever this copy holds the lease. It watches all the time, so that it acts
/// at once when another copy ends.
pub async fn run(config: Config, client: kube::Client, shutdown: CancellationToken) {
    let client = agent::named(&client, agent::CONTROLLER_MANAGER);
    let world = World::default();
    world.watch(&client, &shutdown);
    let lease = lease::Config::new(config::LEASE.0, config::LEASE.1, config.identity.clone());
    lease::lead(&client, &lease, shutdown, |fence, term| {
        let (world, client, controllers) = (world.clone(), client.clone(), all(&config));
        async move {
            match fence.client(&client) {
                Ok(fenced) => runtime::run(controllers, world, fenced, term).await,
                Err(error) => tracing::error!(%error, "the identity cannot be a fence"),
            }
        }
    })
    .await;
}
