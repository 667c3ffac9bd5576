//! The cluster as the scheduler believes it to be: nodes with what is taken on them, kept up to date change by change.
//!
//! Changes come in from the informers; a decision reads. A pod that was just given a node is *assumed* to be there until the API
//! says so, so that the next decision counts it. Every change costs its own size and nothing more: no decision ever lists all pods.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use k8s_openapi::api::core::v1::Taint;
use orlop_client::Key;

use crate::pod::{HostPort, Pod, SpreadKey, normalized_image};
use crate::resources::Amounts;
use crate::storage::Storage;
use crate::view::NodeView;

/// What a node that takes no new pods is tainted with.
pub const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

/// The label that says in which zone a node stands.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Takes a [`SpreadKey`], which is a hash already, as it is: a decision looks it up on every node.
#[derive(Clone, Debug, Default)]
pub struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// How many pods have each spread key.
pub type Spread = HashMap<SpreadKey, u32, BuildHasherDefault<Hashed>>;

/// One node, with what is taken on it.
#[derive(Clone, Debug, Default)]
pub struct Node {
    pub name: Box<str>,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Amounts,
    pub allocatable_pods: i64,
    /// The sum of the exact requests of its pods.
    pub requested: Amounts,
    /// The sum of their assumed requests: what least-allocated scoring counts.
    pub assumed_cpu_milli: i64,
    pub assumed_memory_bytes: i64,
    pub pods: i64,
    pub host_ports: Vec<HostPort>,
    /// Sizes in bytes of the images it has, by normalized name.
    pub images: HashMap<Box<str>, i64>,
    /// How many of its pods have each spread key.
    pub spread: Spread,
    pub zone: Box<str>,
}

/// What the snapshot remembers of a pod that takes room.
#[derive(Clone, Debug)]
struct Placed {
    node: Box<str>,
    requests: Amounts,
    assumed_cpu_milli: i64,
    assumed_memory_bytes: i64,
    host_ports: Vec<HostPort>,
    spread: Option<SpreadKey>,
    claims: Vec<Key>,
    /// Whether the API has confirmed it.
    confirmed: bool,
}

/// All nodes and what is taken on them.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    nodes: Vec<Node>,
    by_name: HashMap<Box<str>, usize>,
    pods: HashMap<Box<str>, Placed>,
    /// Pods bound to nodes that are not known (yet): counted once the node appears.
    homeless: HashMap<Box<str>, Vec<Box<str>>>,
    /// On how many nodes each image is.
    image_nodes: HashMap<Box<str>, usize>,
    zone_spread: HashMap<(Box<str>, SpreadKey), u32>,
    zones: HashMap<Box<str>, usize>,
    /// Claims, volumes and what is promised of them.
    pub storage: Storage,
}

impl Cluster {
    /// The nodes, in no particular but a stable order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.by_name.get(name).map(|at| &self.nodes[*at])
    }

    /// On how many nodes an image is.
    pub fn nodes_with_image(&self, image: &str) -> usize {
        self.image_nodes.get(image).copied().unwrap_or(0)
    }

    /// How many pods with this key stand in a zone; nodes without a zone share the zone "".
    pub fn in_zone(&self, zone: &str, key: SpreadKey) -> u32 {
        self.zone_spread.get(&(zone.into(), key)).copied().unwrap_or(0)
    }

    /// How many zones there are.
    pub fn zones(&self) -> usize {
        self.zones.len()
    }

    /// Whether this pod takes room, and on which node.
    pub fn placed(&self, uid: &str) -> Option<&str> {
        self.pods.get(uid).map(|it| &*it.node)
    }

    /// How many pods are assumed to be on a node without the API having said so.
    pub fn assumed(&self) -> usize {
        self.pods.values().filter(|it| !it.confirmed).count()
    }

    /// A node came or changed.
    pub fn set_node(&mut self, view: &NodeView) {
        let name = view.metadata.name.as_deref().unwrap_or_default();
        let labels = view.metadata.labels.clone().unwrap_or_default();
        let zone: Box<str> = labels.get(ZONE_LABEL).map_or("", String::as_str).into();
        let images = view
            .status
            .images
            .iter()
            .flat_map(|image| image.names.iter().map(|it| (normalized_image(it), image.size_bytes)));
        let images: HashMap<Box<str>, i64> = images.collect();
        let at = match self.by_name.get(name) {
            Some(at) => *at,
            None => {
                self.nodes.push(Node { name: name.into(), ..Node::default() });
                self.by_name.insert(name.into(), self.nodes.len() - 1);
                *self.zones.entry("".into()).or_default() += 1;
                self.nodes.len() - 1
            }
        };
        self.move_zone(at, zone);
        self.move_images(at, images);
        let node = &mut self.nodes[at];
        node.labels = labels;
        node.taints.clone_from(&view.spec.taints);
        node.unschedulable = view.spec.unschedulable;
        node.allocatable = Amounts::read(&view.status.allocatable);
        let pods = view.status.allocatable.get("pods").and_then(|it| it.0.parse().ok());
        node.allocatable_pods = pods.unwrap_or(0);
        for uid in self.homeless.remove(name).unwrap_or_default() {
            if let Some(placed) = self.pods.get(&uid).cloned() {
                self.count(at, &placed, 1);
            }
        }
    }

    /// A node is gone. Its pods are remembered, in case it comes back before they go.
    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.by_name.remove(name) else { return };
        self.move_zone(at, "".into());
        self.move_images(at, HashMap::new());
        if let Some(left) = self.zones.get_mut("") {
            *left -= 1;
            if *left == 0 {
                self.zones.remove("");
            }
        }
        let gone = self.nodes.swap_remove(at);
        for (key, count) in gone.spread {
            lower(&mut self.zone_spread, ("".into(), key), count);
        }
        if let Some(moved) = self.nodes.get(at) {
            self.by_name.insert(moved.name.clone(), at);
        }
        let left = self.pods.iter().filter(|(_, it)| &*it.node == name).map(|(uid, _)| uid.clone());
        let left: Vec<_> = left.collect();
        if !left.is_empty() {
            self.homeless.insert(name.into(), left);
        }
    }

    /// A pod takes room on `node`: decided by us (`confirmed` false) or told by the API.
    pub fn place(&mut self, pod: &Pod, node: &str, confirmed: bool) {
        if let Some(known) = self.pods.get_mut(&pod.uid) {
            if &*known.node == node {
                known.confirmed |= confirmed;
                return;
            }
            // Assumed here, bound there: another scheduler was quicker. The API is right.
            self.remove_pod(&pod.uid);
        }
        let placed = Placed {
            node: node.into(),
            requests: pod.requests.clone(),
            assumed_cpu_milli: pod.assumed_requests.cpu_milli,
            assumed_memory_bytes: pod.assumed_requests.memory_bytes,
            host_ports: pod.host_ports.clone(),
            spread: pod.spread,
            claims: pod.claims.iter().map(|it| it.key.clone()).collect(),
            confirmed,
        };
        self.storage.use_claims(&placed.claims);
        match self.by_name.get(node) {
            Some(at) => self.count(*at, &placed, 1),
            None => self.homeless.entry(node.into()).or_default().push(pod.uid.clone()),
        }
        self.pods.insert(pod.uid.clone(), placed);
    }

    /// A pod takes no room any more. Returns whether it took any.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(placed) = self.pods.remove(uid) else { return false };
        self.storage.leave_claims(&placed.claims);
        match self.by_name.get(&placed.node) {
            Some(at) => self.count(*at, &placed, -1),
            None => {
                if let Some(list) = self.homeless.get_mut(&placed.node) {
                    list.retain(|it| &**it != uid);
                    if list.is_empty() {
                        self.homeless.remove(&placed.node);
                    }
                }
            }
        }
        true
    }

    /// A binding failed: the pod takes no room, unless the API has meanwhile said that it does.
    pub fn remove_unconfirmed(&mut self, uid: &str) {
        if self.pods.get(uid).is_some_and(|it| !it.confirmed) {
            self.remove_pod(uid);
        }
    }

    fn count(&mut self, at: usize, placed: &Placed, sign: i64) {
        let node = &mut self.nodes[at];
        node.pods += sign;
        node.assumed_cpu_milli += sign * placed.assumed_cpu_milli;
        node.assumed_memory_bytes += sign * placed.assumed_memory_bytes;
        if sign > 0 {
            node.requested.add(&placed.requests);
            node.host_ports.extend(placed.host_ports.iter().cloned());
        } else {
            node.requested.subtract(&placed.requests);
            for port in &placed.host_ports {
                if let Some(at) = node.host_ports.iter().position(|it| it == port) {
                    node.host_ports.swap_remove(at);
                }
            }
        }
        let Some(key) = placed.spread else { return };
        let zone = (node.zone.clone(), key);
        if sign > 0 {
            *node.spread.entry(key).or_default() += 1;
            *self.zone_spread.entry(zone).or_default() += 1;
        } else {
            lower(&mut node.spread, key, 1);
            lower(&mut self.zone_spread, zone, 1);
        }
    }

    fn move_zone(&mut self, at: usize, zone: Box<str>) {
        let node = &mut self.nodes[at];
        if node.zone == zone {
            return;
        }
        let before = std::mem::replace(&mut node.zone, zone.clone());
        for (key, count) in &node.spread {
            lower(&mut self.zone_spread, (before.clone(), *key), *count);
            *self.zone_spread.entry((zone.clone(), *key)).or_default() += count;
        }
        lower_usize(&mut self.zones, before);
        *self.zones.entry(zone).or_default() += 1;
    }

    fn move_images(&mut self, at: usize, images: HashMap<Box<str>, i64>) {
        let node = &mut self.nodes[at];
        if node.images == images {
            return;
        }
        for name in node.images.keys() {
            lower_usize(&mut self.image_nodes, name.clone());
        }
        for name in images.keys() {
            *self.image_nodes.entry(name.clone()).or_default() += 1;
        }
        node.images = images;
    }
}

fn lower<K: std::hash::Hash + Eq, S: BuildHasher>(counts: &mut HashMap<K, u32, S>, key: K, by: u32) {
    if let std::collections::hash_map::Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() = entry.get().saturating_sub(by);
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

fn lower_usize<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(name: &str, zone: &str) -> NodeView {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "images": [{"names": ["web:1"], "sizeBytes": 5}]}
        }))
        .unwrap()
    }

    fn pod(uid: usize) -> Pod {
        let requests = Amounts { cpu_milli: 100 + uid as i64, ..Amounts::default() };
        let host_ports = vec![HostPort { ip: "0.0.0.0".into(), port: uid as u16, protocol: "TCP".into() }];
        Pod { uid: uid.to_string().into(), requests, host_ports, spread: Some(uid as u64 % 2), ..Pod::default() }
    }

    /// What the counts must be, computed from nothing but the list of pods.
    fn consistent(cluster: &Cluster) {
        for node in cluster.nodes() {
            let here: Vec<_> = cluster.pods.values().filter(|it| it.node == node.name).collect();
            assert_eq!(node.pods, here.len() as i64);
            assert_eq!(node.requested.cpu_milli, here.iter().map(|it| it.requests.cpu_milli).sum::<i64>());
            assert_eq!(node.host_ports.len(), here.len());
            for key in [0, 1] {
                let expected = here.iter().filter(|it| it.spread == Some(key)).count() as u32;
                assert_eq!(node.spread.get(&key).copied().unwrap_or(0), expected);
            }
        }
        for zone in ["a", "b"] {
            for key in [0, 1] {
                let nodes = cluster.nodes().iter().filter(|it| &*it.zone == zone);
                let expected: u32 = nodes.map(|it| it.spread.get(&key).copied().unwrap_or(0)).sum();
                assert_eq!(cluster.in_zone(zone, key), expected);
            }
        }
        assert_eq!(cluster.nodes_with_image("web:1"), cluster.nodes().len());
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_pods_after_any_changes(changes in proptest::collection::vec((0..5u8, 0..4usize, 0..12usize), 0..80)) {
            let mut cluster = Cluster::default();
            for (change, n, p) in changes {
                let name = format!("n{n}");
                match change {
                    0 => cluster.set_node(&node(&name, if n % 2 == 0 { "a" } else { "b" })),
                    1 => cluster.remove_node(&name),
                    2 => cluster.place(&pod(p), &name, false),
                    3 => cluster.place(&pod(p), &name, true),
                    _ => { cluster.remove_pod(&p.to_string()); }
                }
                consistent(&cluster);
            }
        }
    }

    #[test]
    fn an_assumed_pod_counts_once() {
        let mut cluster = Cluster::default();
        cluster.set_node(&node("n", "a"));
        cluster.place(&pod(1), "n", false);
        assert_eq!(cluster.assumed(), 1);
        cluster.place(&pod(1), "n", true);
        assert_eq!((cluster.assumed(), cluster.nodes()[0].pods), (0, 1));
    }
}
