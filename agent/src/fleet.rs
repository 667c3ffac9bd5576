//! A fleet of hollow nodes in one process: for scale tests and benchmarks of the scheduler and the API.
//!
//! One watch brings the pods of all its nodes, as slim views; one task renews all leases in turn; a pod that is bound becomes Running and
//! Ready with an address in one write, a pod that is deleted is gone at once. A node costs its name, a pod its view: 5,000 nodes with
//! 10,000 pods fit in some tens of megabytes. It runs no pod machine; what hollow pods do beyond that is `runtime/hollow`'s.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use ipnet::IpNet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use orlop_api::ranges::{self, Ranges};
use orlop_client::informer::Change;
use orlop_client::write::{Action, Refused, Resource};
use orlop_client::{Informer, Key, clock, random};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::machine::status::time;
use crate::node::lease::{NAMESPACE, NodeLease};
use crate::node::{About, Capacity, NodeKeeper};
use crate::power_off::PowerOff;
use crate::runtime::hollow::{Hollow, HollowOptions};

/// Requests at once, of each kind: enough to keep a server busy, few enough to leave it room for others.
const REQUESTS: usize = 32;
/// The size of a hollow node: kubemark's.
const CPU: i64 = 32;
const MEMORY_BYTES: i64 = 256 << 30;
const PODS_MOST: i64 = 110;
/// The least pause before a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often a write is tried before the next change of the pod has to bring it up again.
const ATTEMPTS: u32 = 5;

/// What the fleet reads of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
struct Slim {
    #[serde(default)]
    metadata: kube::core::ObjectMeta,
    #[serde(default)]
    spec: SlimSpec,
    #[serde(default)]
    status: SlimStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimSpec {
    #[serde(default)]
    node_name: String,
    #[serde(default)]
    containers: Vec<SlimContainer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SlimContainer {
    name: String,
    #[serde(default)]
    image: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SlimStatus {
    #[serde(default)]
    phase: String,
    #[serde(default)]
    conditions: Vec<Value>,
}

orlop_client::view!(Slim: Pod);

const PODS: Resource = Resource { group: "", version: "v1", kind: "Pod", plural: "pods", namespaced: true };

/// Runs `count` hollow nodes until `shutdown`.
pub async fn run(config: &Config, count: usize, client: kube::Client, shutdown: CancellationToken) {
    let names: Arc<HashMap<String, u32>> = Arc::new(
        (0..count).map(|it| (format!("{}-{it}", config.node_name), u32::try_from(it).unwrap_or(u32::MAX))).collect(),
    );
    tokio::join!(
        keep_nodes(config, &names, &client, &shutdown),
        run_pods(config, Arc::clone(&names), client.clone(), shutdown.clone())
    );
}

/// The address of a hollow node; it exists only as a word.
fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 0, 0)).saturating_add(number)))
}

/// One node of the fleet, and what its lease last was: half a kilobyte saves every second request.
struct Member {
    number: u32,
    lease: NodeLease,
    held: Option<Lease>,
}

/// Registers all nodes and keeps their leases. Leases of an idle fleet are its load: they last at least 40 s, as the kubelet's.
async fn keep_nodes(
    config: &Config,
    names: &HashMap<String, u32>,
    client: &kube::Client,
    shutdown: &CancellationToken,
) {
    let lasting = config.lease_duration.max(Duration::from_secs(40));
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let member = |(name, number): (&String, &u32)| {
        let lease = NodeLease { node: name.clone(), node_uid: String::new(), duration: lasting };
        Member { number: *number, lease, held: None }
    };
    let mut members: Vec<Member> = names.iter().map(member).collect();
    loop {
        register_all(config, &mut members, client, shutdown).await;
        tracing::info!(nodes = names.len(), "the hollow nodes are registered");
        // Nodes whose leases ran out may count as lost: they are registered anew, which says that they live.
        let mut renewed = Instant::now();
        while renewed.elapsed() < lasting {
            let pause = random::jitter(lasting / 4, 0.1);
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            let began = Instant::now();
            match shutdown.run_until_cancelled(renew_all(&leases, &mut members)).await {
                None => return,
                Some(0) => renewed = began,
                Some(failed) => tracing::warn!(failed, "leases of hollow nodes could not be renewed"),
            }
        }
    }
}

/// Registers all nodes, each with its lease at once: a node that has none for some seconds counts as lost.
async fn register_all(config: &Config, members: &mut Vec<Member>, client: &kube::Client, shutdown: &CancellationToken) {
    let api: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let runtime: Arc<dyn crate::runtime::Runtime> = Arc::new(Hollow::new(HollowOptions::default()));
    let registering = futures::stream::iter(std::mem::take(members)).map(|mut it| {
        let capacity = Capacity { cpu: CPU, memory_bytes: MEMORY_BYTES, pods: PODS_MOST, ..Capacity::default() };
        let about = About {
            name: it.lease.node.clone(),
            addresses: address(it.number).into(),
            allocatable: config.eviction.allocatable(&capacity),
            capacity,
            pressure: None,
            power_off: PowerOff::default(),
            data_dir: config.data_dir.clone(),
            port: None,
        };
        let keeper = NodeKeeper { about, api: api.clone(), runtime: Arc::clone(&runtime) };
        let leases = leases.clone();
        async move {
            keeper.register(shutdown).await;
            if let Err(error) = it.lease.renew(&leases, &mut it.held).await {
                tracing::debug!(%error, node = it.lease.node, "a hollow node's lease could not be made");
            }
            it
        }
    });
    *members = registering.buffer_unordered(REQUESTS).collect().await;
}

/// Renews every lease once; says how many could not be.
async fn renew_all(api: &Api<Lease>, members: &mut Vec<Member>) -> usize {
    let renewing = futures::stream::iter(std::mem::take(members)).map(|mut it| {
        let api = api.clone();
        async move {
            let failed = it.lease.renew(&api, &mut it.held).await.is_err();
            (it, failed)
        }
    });
    let done: Vec<(Member, bool)> = renewing.buffer_unordered(REQUESTS).collect().await;
    let failed = done.iter().filter(|(_, failed)| *failed).count();
    *members = done.into_iter().map(|(it, _)| it).collect();
    failed
}

/// Makes bound pods run and deleted pods go.
async fn run_pods(
    config: &Config,
    names: Arc<HashMap<String, u32>>,
    client: kube::Client,
    shutdown: CancellationToken,
) {
    let selector = if names.len() == 1 {
        format!("spec.nodeName={}", names.keys().next().map_or("", String::as_str))
    } else {
        "spec.nodeName!=".to_owned()
    };
    let store = Informer::<Slim>::new(client.clone()).fields(&selector).start(shutdown.clone());
    let (there, mut changes) = store.subscribe();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Arc<Slim>>(REQUESTS);
    let own = |it: &Arc<Slim>| names.contains_key(&it.spec.node_name);
    let mut addresses = Addresses::new(config.cluster_cidr);
    let serving = tokio_stream::wrappers::ReceiverStream::new(receiver).for_each_concurrent(REQUESTS * 2, |pod| {
        let (client, shutdown) = (client.clone(), shutdown.clone());
        let (node, pod_ip) = (names.get(&pod.spec.node_name).copied().unwrap_or_default(), addresses.of(&pod));
        async move {
            let _ = shutdown.run_until_cancelled(settle(&client, &pod, address(node), pod_ip)).await;
        }
    });
    let until = shutdown.clone();
    let feeding = async move {
        for pod in there.into_iter().filter(&own) {
            let _ = sender.send(pod).await;
        }
        while let Some(Change { new, .. }) = until.run_until_cancelled(changes.next()).await {
            if let Some(pod) = new.filter(&own)
                && sender.send(pod).await.is_err()
            {
                return;
            }
        }
    };
    tokio::join!(feeding, serving);
}

/// Addresses for hollow pods, one each: counted up through the cluster's primary range, the same address for the same pod while it is remembered.
struct Addresses {
    range: IpNet,
    size: u32,
    next: u32,
    by_uid: BTreeMap<String, u32>,
}

/// Pods whose address is remembered: beyond it the oldest uid's is forgotten, it was written to the API long ago.
const REMEMBERED: usize = 65_536;

impl Addresses {
    fn new(ranges: Ranges) -> Self {
        let range = ranges.primary();
        let bits = range.max_prefix_len() - range.prefix_len();
        let size = 1u32.checked_shl(bits.into()).unwrap_or(u32::MAX).max(4);
        Addresses { range, size, next: 0, by_uid: BTreeMap::new() }
    }

    fn of(&mut self, pod: &Slim) -> IpAddr {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if self.by_uid.len() >= REMEMBERED {
            self.by_uid.pop_first();
        }
        let (next, size) = (&mut self.next, self.size);
        let offset = *self.by_uid.entry(uid).or_insert_with(|| {
            *next = *next % (size - 2) + 1;
            *next
        });
        ranges::nth(self.range, offset)
    }
}

/// Brings one pod to where it belongs: gone where it is being deleted, running where it is not yet.
async fn settle(client: &kube::Client, pod: &Slim, host: IpAddr, pod_ip: IpAddr) {
    let meta = &pod.metadata;
    let deleting = meta.deletion_timestamp.is_some();
    if !deleting && pod.status.phase != "Pending" && !pod.status.phase.is_empty() {
        return;
    }
    let key = Key::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let uid = meta.uid.clone().unwrap_or_default();
    for attempt in 0..ATTEMPTS {
        let (key, uid, revision) = (key.clone(), uid.clone(), None);
        let action = if deleting {
            Action::Delete { resource: PODS, key, uid, revision, grace_seconds: Some(0), propagation: None }
        } else {
            let patch = running(pod, host, pod_ip);
            Action::Patch { resource: PODS, key, sub: Some("status"), uid, revision, patch }
        };
        match action.apply(client).await {
            Err(Refused::Later(why)) => tracing::debug!(why, %action, attempt, "a hollow pod could not be written"),
            // Done; or gone, or changed: the change comes by watch.
            Ok(_) | Err(Refused::NotFound(_) | Refused::Conflict(_)) => return,
            Err(refused) => {
                tracing::warn!(%refused, %action, "a hollow pod was refused");
                return;
            }
        }
        tokio::time::sleep(random::jitter(RETRY * 2u32.pow(attempt), 0.5)).await;
    }
}

/// The status of a pod that runs.
fn running(pod: &Slim, host: IpAddr, pod_ip: IpAddr) -> Value {
    let now = time(clock::now());
    let own = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];
    let mut conditions: Vec<Value> =
        own.iter().map(|it| json!({ "type": it, "status": "True", "lastTransitionTime": now })).collect();
    let foreign = pod.status.conditions.iter().filter(|it| !own.iter().any(|own| it["type"] == *own));
    conditions.extend(foreign.cloned());
    let statuses: Vec<Value> = pod
        .spec
        .containers
        .iter()
        .map(|it| {
            json!({
                "name": it.name, "image": it.image, "imageID": it.image, "ready": true, "started": true, "restartCount": 0,
                "containerID": format!("hollow://{}-{}", pod.metadata.uid.as_deref().unwrap_or_default(), it.name),
                "state": { "running": { "startedAt": now } }, "lastState": {}
            })
        })
        .collect();
    json!({
        "status": {
            "phase": "Running", "startTime": now, "hostIP": host, "hostIPs": [{ "ip": host }], "podIP": pod_ip,
            "podIPs": [{ "ip": pod_ip }], "conditions": conditions, "containerStatuses": statuses,
            "observedGeneration": pod.metadata.generation
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_pod_keeps_the_conditions_of_others() {
        let pod: Slim = serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": "h-1", "containers": [{"name": "c", "image": "x"}]},
            "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}]}
        }))
        .unwrap();
        let status = running(&pod, address(1), address(2));
        let conditions = status["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 5);
        assert_eq!(conditions.iter().filter(|it| it["status"] == "True").count(), 5);
        assert_eq!(status["status"]["hostIP"], "172.16.0.1");
        assert_eq!(status["status"]["containerStatuses"][0]["containerID"], "hollow://u-c");
    }

    #[test]
    fn addresses_are_of_the_range_and_stay() {
        let mut addresses = Addresses::new("10.9.0.0/29".parse().unwrap());
        let pod = |uid: &str| Slim {
            metadata: kube::core::ObjectMeta { uid: Some(uid.into()), ..Default::default() },
            ..Slim::default()
        };
        let first = addresses.of(&pod("a"));
        assert_eq!(first.to_string(), "10.9.0.1");
        assert_eq!(addresses.of(&pod("b")).to_string(), "10.9.0.2");
        assert_eq!(addresses.of(&pod("a")), first);
    }
}
