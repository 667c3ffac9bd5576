//! A pod to be placed: everything the filters and scores ask of it, computed once before any node is looked at.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelector, PreferredSchedulingTerm, Toleration};

use orlop_client::Key;

use crate::resources::{self, Amounts};
use crate::storage::Demand;
use crate::view::{ClaimUse, ContainerView, PodView};

/// A port of the host that a pod wants for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The address on which it listens; `0.0.0.0` is all of them.
    pub ip: Box<str>,
    pub port: u16,
    pub protocol: Box<str>,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let all = |it: &str| it == "0.0.0.0" || it == "::" || it.is_empty();
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || all(&self.ip) || all(&other.ip))
    }
}

/// Pods that ought to stand on different nodes have the same key: a hash of their namespace and the labels they share with their replicas.
pub type SpreadKey = u64;

/// A pod as the decision sees it.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    pub uid: Box<str>,
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub priority: i32,
    /// Exact requests, for the fit.
    pub requests: Amounts,
    /// Requests in which silent containers count too, for least-allocated scoring.
    pub assumed_requests: Amounts,
    pub node_selector: BTreeMap<String, String>,
    pub required_affinity: Option<NodeSelector>,
    pub preferred_affinity: Vec<PreferredSchedulingTerm>,
    pub tolerations: Vec<Toleration>,
    pub host_ports: Vec<HostPort>,
    pub images: Vec<Box<str>>,
    /// None for a pod without labels: it has no replicas to stay away from.
    pub spread: Option<SpreadKey>,
    /// Names of the gates that hold it back.
    pub gates: Vec<String>,
    /// The claims among its volumes.
    pub claims: Vec<Claim>,
    /// What these ask of a node; known only while a decision is made.
    pub storage: Option<Arc<Demand>>,
}

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub key: Key,
    /// Whether it is made for this pod.
    pub made: bool,
}

/// Labels that differ between the revisions of one workload, or between the pods of one revision.
const REVISION_LABELS: [&str; 6] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
];

impl Pod {
    /// Computes a pod's demands from its view.
    pub fn new(view: &PodView) -> Self {
        let spec = &view.spec;
        let (requests, assumed_requests) = resources::requests(spec);
        let affinity = spec.affinity.as_ref().and_then(|it| it.node_affinity.as_ref());
        Pod {
            uid: view.uid().into(),
            namespace: view.metadata.namespace.as_deref().unwrap_or_default().into(),
            name: view.metadata.name.as_deref().unwrap_or_default().into(),
            priority: spec.priority.unwrap_or(0),
            requests,
            assumed_requests,
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            required_affinity: affinity.and_then(|it| it.required.clone()),
            preferred_affinity: affinity.map(|it| it.preferred.clone()).unwrap_or_default(),
            tolerations: spec.tolerations.clone(),
            host_ports: host_ports(&spec.containers, spec.host_network),
            images: spec.containers.iter().chain(&spec.init_containers).map(|it| normalized_image(&it.image)).collect(),
            spread: spread_key(view),
            claims: claims(view),
            storage: None,
            gates: spec.scheduling_gates.iter().map(|it| it.name.clone()).collect(),
        }
    }
}

fn claims(view: &PodView) -> Vec<Claim> {
    let namespace = view.metadata.namespace.as_deref().unwrap_or_default();
    let pod = view.metadata.name.as_deref().unwrap_or_default();
    let claim = |it: &ClaimUse| match it {
        ClaimUse::Named(name) => Claim { key: Key::new(namespace, name), made: false },
        ClaimUse::Made(volume) => Claim { key: Key::new(namespace, &format!("{pod}-{volume}")), made: true },
    };
    view.spec.volumes.iter().map(claim).collect()
}

fn host_ports(containers: &[ContainerView], host_network: bool) -> Vec<HostPort> {
    let ports = containers.iter().flat_map(|it| &it.ports);
    ports
        .filter_map(|it| {
            // On the host's network every container port is one of the host's; the API server defaults hostPort so.
            let port = it.host_port.filter(|port| *port != 0).or(host_network.then_some(it.container_port))?;
            (port != 0).then(|| HostPort {
                ip: it.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0").into(),
                port,
                protocol: it.protocol.as_deref().unwrap_or("TCP").into(),
            })
        })
        .collect()
}

/// An image's name with the tag that is meant when none is given, as nodes report it.
pub fn normalized_image(name: &str) -> Box<str> {
    let after_slash = name.rfind('/').map_or(0, |at| at + 1);
    if name[after_slash..].contains([':', '@']) { name.into() } else { format!("{name}:latest").into() }
}

fn spread_key(view: &PodView) -> Option<SpreadKey> {
    let labels = view.metadata.labels.as_ref().filter(|it| !it.is_empty())?;
    // SipHash with fixed keys: the same in every run, so that a replay decides alike.
    let mut hasher = std::hash::DefaultHasher::new();
    view.metadata.namespace.hash(&mut hasher);
    for (key, value) in labels.iter().filter(|(key, _)| !REVISION_LABELS.contains(&key.as_str())) {
        (key, value).hash(&mut hasher);
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: &str) -> Pod {
        Pod::new(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn replicas_of_two_revisions_share_a_key() {
        let a = pod(r#"{"metadata":{"namespace":"d","labels":{"app":"web","pod-template-hash":"1"}}}"#);
        let b = pod(r#"{"metadata":{"namespace":"d","labels":{"app":"web","pod-template-hash":"2"}}}"#);
        let c = pod(r#"{"metadata":{"namespace":"e","labels":{"app":"web"}}}"#);
        assert_eq!(a.spread, b.spread);
        assert_ne!(a.spread, c.spread);
        assert_eq!(pod(r#"{"metadata":{"namespace":"d"}}"#).spread, None);
    }

    #[test]
    fn host_ports_conflict_by_address_and_protocol() {
        let port = |ip: &str, port, protocol: &str| HostPort { ip: ip.into(), port, protocol: protocol.into() };
        assert!(port("0.0.0.0", 80, "TCP").conflicts(&port("10.0.0.1", 80, "TCP")));
        assert!(!port("10.0.0.2", 80, "TCP").conflicts(&port("10.0.0.1", 80, "TCP")));
        assert!(!port("0.0.0.0", 80, "TCP").conflicts(&port("0.0.0.0", 80, "UDP")));
    }

    #[test]
    fn images_are_named_as_nodes_name_them() {
        assert_eq!(&*normalized_image("r:5000/web"), "r:5000/web:latest");
        assert_eq!(&*normalized_image("r:5000/web:1"), "r:5000/web:1");
        assert_eq!(&*normalized_image("web@sha256:00"), "web@sha256:00");
    }
}
