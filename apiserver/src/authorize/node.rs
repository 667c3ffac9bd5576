//! The node authorizer: a node may see and change its own affairs, and of everybody's only what its pods need.
//!
//! In: every Pod, of which is kept where it runs and what it refers to, and every PersistentVolume, of which is kept whose it is. Out: a [`Decision`] for requests of `system:node:<name>`. Objects
//! that pods refer to (secrets, config maps, claims, service accounts) may be read by the nodes those pods are bound to; the node
//! itself, its pods and its lease by their names; all else as the fixed rules of the role `system:node` say. Pure. What a node may
//! write into its own objects is for the admission plugin `NodeRestriction`. Source: `plugin/pkg/auth/authorizer/node`.

use std::collections::HashMap;

use orlop_api::head::Head;
use orlop_api::selector::label;
use orlop_client::storage::LOCAL_NODE;
use serde::Deserialize;

use super::rbac::Rule;
use crate::stage::{Attributes, Decision};

/// Where nodes keep their heartbeats.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What pods refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object {
    Secret,
    ConfigMap,
    Claim,
    ServiceAccount,
}

/// An object of the pod's own namespace.
type Reference = (Object, Box<str>);

/// How many pods refer to an object.
type Counts = HashMap<Reference, u32>;

#[derive(Debug)]
struct Pod {
    node: Box<str>,
    uid: Box<str>,
    references: Box<[Reference]>,
}

/// Whose a volume is.
#[derive(Debug, Default)]
struct Volume {
    /// Namespace and name of the claim that has it.
    claim: Option<(Box<str>, Box<str>)>,
    /// The node that keeps its folder.
    node: Option<Box<str>>,
}

/// Which node's pods refer to what.
#[derive(Debug, Default)]
pub struct Graph {
    volumes: HashMap<Box<str>, Volume>,
    pods: HashMap<(Box<str>, Box<str>), Pod>,
    /// Node → namespace → what the node's pods there refer to.
    nodes: HashMap<Box<str>, HashMap<Box<str>, Counts>>,
}

impl Graph {
    /// Takes in a pod that was made or changed. What a bound pod refers to never changes, so each is read once.
    pub fn put(&mut self, head: &Head, json: &[u8]) {
        let key = (head.namespace.clone(), head.name.clone());
        if self.pods.get(&key).is_some_and(|known| known.uid == head.uid) {
            return;
        }
        self.remove(&head.namespace, &head.name);
        let Ok(slim) = serde_json::from_slice::<Slim>(json) else { return };
        if slim.spec.node_name.is_empty() {
            return;
        }
        let references: Box<[Reference]> = slim.spec.references(&head.name).into();
        let node: Box<str> = slim.spec.node_name.as_str().into();
        let counts = self.nodes.entry(node.clone()).or_default().entry(head.namespace.clone()).or_default();
        for reference in &references {
            *counts.entry(reference.clone()).or_default() += 1;
        }
        self.pods.insert(key, Pod { node, uid: head.uid.clone(), references });
    }

    /// Forgets a pod.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        let Some(pod) = self.pods.remove(&(namespace.into(), name.into())) else { return };
        let Some(namespaces) = self.nodes.get_mut(&pod.node) else { return };
        if let Some(counts) = namespaces.get_mut(namespace) {
            for reference in &pod.references {
                if let Some(count) = counts.get_mut(reference) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(reference);
                    }
                }
            }
            if counts.is_empty() {
                namespaces.remove(namespace);
            }
        }
        if namespaces.is_empty() {
            self.nodes.remove(&pod.node);
        }
    }

    /// Takes in a volume that was made or changed.
    pub fn put_volume(&mut self, head: &Head, json: &[u8]) {
        let Ok(slim) = serde_json::from_slice::<SlimVolume>(json) else { return };
        let claim = slim.spec.claim_ref.map(|it| (it.namespace.into(), it.name.into()));
        let node = slim.metadata.labels.get(LOCAL_NODE).map(|it| it.as_str().into());
        self.volumes.insert(head.name.clone(), Volume { claim, node });
    }

    /// Forgets a volume.
    pub fn remove_volume(&mut self, name: &str) {
        self.volumes.remove(name);
    }

    /// Whether the volume's folder is the node's.
    fn keeps(&self, node: &str, volume: &str) -> bool {
        self.volumes.get(volume).and_then(|it| it.node.as_deref()) == Some(node)
    }

    /// Whether the volume is that of a claim to which a pod on the node refers.
    fn mounts(&self, node: &str, volume: &str) -> bool {
        let claim = self.volumes.get(volume).and_then(|it| it.claim.as_ref());
        claim.is_some_and(|(namespace, name)| self.refers(node, Object::Claim, namespace, name))
    }

    /// Whether a pod on the node refers to the object.
    pub fn refers(&self, node: &str, object: Object, namespace: &str, name: &str) -> bool {
        let counts = self.nodes.get(node).and_then(|it| it.get(namespace));
        counts.is_some_and(|it| it.contains_key(&(object, name.into())))
    }

    /// Whether the pod is bound to the node.
    pub fn runs(&self, node: &str, namespace: &str, name: &str) -> bool {
        self.pods.get(&(namespace.into(), name.into())).is_some_and(|it| &*it.node == node)
    }
}

/// Decides on a request of the node called `node`.
pub fn decide(graph: &Graph, rules: &[Rule], node: &str, it: &Attributes<'_>) -> Decision {
    if node.is_empty() {
        return no(format!("unknown node for user {:?}", it.identity.user));
    }
    if !it.resource_request {
        return by_rules(rules, it);
    }
    match (it.group, it.resource) {
        ("", "secrets") => referred(graph, node, Object::Secret, it),
        ("", "configmaps") => referred(graph, node, Object::ConfigMap, it),
        ("", "persistentvolumeclaims") if it.subresource.is_empty() && it.verb == "get" => {
            referred(graph, node, Object::Claim, it)
        }
        ("", "persistentvolumes") => volume(graph, node, it),
        ("", "serviceaccounts") => account(graph, node, it),
        ("", "nodes") => own_node(node, it),
        ("", "pods") => own_pods(graph, rules, node, it),
        ("coordination.k8s.io", "leases") => own_lease(node, it),
        _ => by_rules(rules, it),
    }
}

fn no(why: impl Into<String>) -> Decision {
    Decision::NoOpinion(why.into())
}

fn by_rules(rules: &[Rule], it: &Attributes<'_>) -> Decision {
    if rules.iter().any(|rule| rule.allows(it)) { Decision::Allow } else { no("") }
}

fn referred(graph: &Graph, node: &str, object: Object, it: &Attributes<'_>) -> Decision {
    if !matches!(it.verb, "get" | "list" | "watch") {
        return no("can only read resources of this type");
    }
    if !it.subresource.is_empty() {
        return no("cannot read subresource");
    }
    if it.namespace.is_empty() {
        return no("can only read namespaced object of this type");
    }
    if it.name.is_empty() {
        return no("No Object name found");
    }
    if graph.refers(node, object, it.namespace, it.name) {
        Decision::Allow
    } else {
        no(format!("no relationship found between node '{node}' and this object"))
    }
}

/// Volumes that its pods have mounted, and those whose folders it keeps; which field of the latter it may change is for admission.
fn volume(graph: &Graph, node: &str, it: &Attributes<'_>) -> Decision {
    match (it.verb, it.subresource) {
        ("get", "") => {
            if graph.mounts(node, it.name) || graph.keeps(node, it.name) {
                Decision::Allow
            } else {
                no(format!("no relationship found between node '{node}' and this object"))
            }
        }
        ("list" | "watch", "") => {
            let chosen = label::Selector::parse(it.label_selector).ok();
            if chosen.as_ref().and_then(|it| it.required(LOCAL_NODE)) == Some(node) {
                Decision::Allow
            } else {
                no(format!("can only list/watch volumes with {LOCAL_NODE} label selector"))
            }
        }
        ("patch", "") if graph.keeps(node, it.name) => Decision::Allow,
        _ => no("can only read the volumes of its pods, and hold those whose folders it keeps"),
    }
}

fn account(graph: &Graph, node: &str, it: &Attributes<'_>) -> Decision {
    match (it.verb, it.subresource) {
        ("create", "token") | ("get", "") if it.name.is_empty() || it.namespace.is_empty() => {
            no("can only get individual resources of this type")
        }
        ("create", "token") | ("get", "") => {
            if graph.refers(node, Object::ServiceAccount, it.namespace, it.name) {
                Decision::Allow
            } else {
                no(format!("no relationship found between node '{node}' and this object"))
            }
        }
        _ => no("can only get service accounts or create tokens for individual service accounts"),
    }
}

/// Which fields of it may change is for admission.
fn own_node(node: &str, it: &Attributes<'_>) -> Decision {
    match (it.verb, it.subresource) {
        ("create", "") => Decision::Allow,
        ("update" | "patch", "" | "status") => Decision::Allow,
        ("get", "") if it.name == node => Decision::Allow,
        // The agent is the network between nodes, too, which elsewhere has an identity that may read them all.
        ("list" | "watch", "") => Decision::Allow,
        ("get", "") => no(format!("node '{node}' cannot read '{}', only its own Node object", it.name)),
        ("get", "status") if it.name == node => Decision::Allow,
        _ => no("can only create, read and update its own Node object"),
    }
}

fn own_pods(graph: &Graph, rules: &[Rule], node: &str, it: &Attributes<'_>) -> Decision {
    match (it.verb, it.subresource) {
        ("get", "" | "status") if graph.runs(node, it.namespace, it.name) => Decision::Allow,
        ("get", "" | "status") => no(format!("no relationship found between node '{node}' and this object")),
        // Not only its own: the agent enforces network policies, whose peers are all pods. Elsewhere a program beside the kubelet has that right.
        ("list" | "watch", "") => by_rules(rules, it),
        ("create" | "delete", "") | ("update" | "patch", "status") | ("create", "eviction") => Decision::Allow,
        _ => no("can only read, delete and report the status of its own pods"),
    }
}

fn own_lease(node: &str, it: &Attributes<'_>) -> Decision {
    if !matches!(it.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if it.namespace != LEASE_NAMESPACE {
        return no(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    // The name of what is created is in its body, which admission judges.
    if it.verb != "create" && it.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    Decision::Allow
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SlimVolume {
    metadata: VolumeMetadata,
    spec: VolumeSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct VolumeMetadata {
    labels: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeSpec {
    claim_ref: Option<ClaimRef>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClaimRef {
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Slim {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    service_account_name: String,
    image_pull_secrets: Vec<Named>,
    volumes: Vec<PodVolume>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodVolume {
    name: String,
    secret: Option<VolumeSecret>,
    config_map: Option<Named>,
    persistent_volume_claim: Option<VolumeClaim>,
    ephemeral: Option<serde::de::IgnoredAny>,
    projected: Option<Projected>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeSecret {
    secret_name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeClaim {
    claim_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Projected {
    sources: Vec<Source>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    secret: Option<Named>,
    config_map: Option<Named>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    env: Vec<Env>,
    env_from: Vec<EnvFrom>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Env {
    value_from: Option<ValueFrom>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ValueFrom {
    secret_key_ref: Option<Named>,
    config_map_key_ref: Option<Named>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EnvFrom {
    secret_ref: Option<Named>,
    config_map_ref: Option<Named>,
}

impl Spec {
    /// What the pod of this name refers to.
    fn references(&self, pod: &str) -> Vec<Reference> {
        let mut out: Vec<Reference> = Vec::new();
        let mut add = |object: Object, name: &str| {
            if !name.is_empty() {
                out.push((object, name.into()));
            }
        };
        add(Object::ServiceAccount, &self.service_account_name);
        for secret in &self.image_pull_secrets {
            add(Object::Secret, &secret.name);
        }
        for volume in &self.volumes {
            volume.secret.iter().for_each(|it| add(Object::Secret, &it.secret_name));
            volume.config_map.iter().for_each(|it| add(Object::ConfigMap, &it.name));
            volume.persistent_volume_claim.iter().for_each(|it| add(Object::Claim, &it.claim_name));
            volume.ephemeral.iter().for_each(|_| add(Object::Claim, &format!("{pod}-{}", volume.name)));
            for source in volume.projected.iter().flat_map(|it| &it.sources) {
                source.secret.iter().for_each(|it| add(Object::Secret, &it.name));
                source.config_map.iter().for_each(|it| add(Object::ConfigMap, &it.name));
            }
        }
        for container in self.containers.iter().chain(&self.init_containers).chain(&self.ephemeral_containers) {
            for from in container.env.iter().filter_map(|it| it.value_from.as_ref()) {
                from.secret_key_ref.iter().for_each(|it| add(Object::Secret, &it.name));
                from.config_map_key_ref.iter().for_each(|it| add(Object::ConfigMap, &it.name));
            }
            for from in &container.env_from {
                from.secret_ref.iter().for_each(|it| add(Object::Secret, &it.name));
                from.config_map_ref.iter().for_each(|it| add(Object::ConfigMap, &it.name));
            }
        }
        out.sort();
        out.dedup();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Identity;

    const POD: &str = r#"{"spec":{"nodeName":"n1","serviceAccountName":"sa","imagePullSecrets":[{"name":"pull"}],
        "volumes":[{"secret":{"secretName":"vol"}},{"configMap":{"name":"cm"}},{"persistentVolumeClaim":{"claimName":"pvc"}},{"name":"scratch","ephemeral":{}},
          {"projected":{"sources":[{"secret":{"name":"proj"}},{"configMap":{"name":"projcm"}},{"serviceAccountToken":{}}]}},{"emptyDir":{}}],
        "initContainers":[{"envFrom":[{"secretRef":{"name":"initenv"}}]}],
        "containers":[{"env":[{"name":"A","value":"1"},{"valueFrom":{"secretKeyRef":{"name":"key","key":"k"}}},{"valueFrom":{"fieldRef":{}}}],
          "envFrom":[{"configMapRef":{"name":"envcm"}}]}]}}"#;

    fn head(name: &str, uid: &str) -> Head {
        Head { namespace: "d".into(), name: name.into(), uid: uid.into(), ..Head::default() }
    }

    fn graph() -> Graph {
        let mut it = Graph::default();
        it.put(&head("p", "1"), POD.as_bytes());
        let volume = |name: &str| Head { name: name.into(), ..Head::default() };
        it.put_volume(&volume("pv"), br#"{"spec":{"claimRef":{"namespace":"d","name":"pvc"}}}"#);
        it.put_volume(&volume("kept"), br#"{"metadata":{"labels":{"orlop.dev/node":"n1"}},"spec":{}}"#);
        it.put_volume(
            &volume("far"),
            br#"{"metadata":{"labels":{"orlop.dev/node":"n2"}},"spec":{"claimRef":{"namespace":"e","name":"pvc"}}}"#,
        );
        it.put(&head("pending", "2"), br#"{"spec":{"volumes":[{"secret":{"secretName":"unbound"}}]}}"#);
        it
    }

    fn ask(graph: &Graph, question: &str) -> Decision {
        let words: Vec<&str> = question.split(' ').collect();
        let identity = Identity::new("system:node:n1", &["system:nodes"]);
        let (group, rest) = words[1].split_once(':').unwrap_or(("", words[1]));
        let (resource, subresource) = rest.split_once('/').unwrap_or((rest, ""));
        let labelled = words.get(4).is_some_and(|it| it.starts_with("orlop.dev/"));
        let blank = |at: usize| words.get(at).copied().filter(|it| *it != "-").unwrap_or_default();
        let rules = super::super::built_in_rules(&["system:node", "orlop:node"]);
        decide(
            graph,
            &rules,
            "n1",
            &Attributes {
                identity: &identity,
                verb: words[0],
                resource_request: true,
                group,
                version: "v1",
                resource,
                subresource,
                namespace: blank(2),
                name: blank(3),
                path: "",
                field_selector: if labelled { "" } else { blank(4) },
                label_selector: if labelled { blank(4) } else { "" },
            },
        )
    }

    fn check(question: &str, allowed: bool) {
        let got = ask(&graph(), question);
        assert_eq!(got == Decision::Allow, allowed, "{question}: {got:?}");
    }

    #[test]
    fn reads_what_its_pods_refer_to() {
        for name in ["pull", "vol", "proj", "initenv", "key"] {
            check(&format!("get secrets d {name}"), true);
        }
        for name in ["cm", "projcm", "envcm"] {
            check(&format!("watch configmaps d {name}"), true);
        }
        check("get persistentvolumeclaims d pvc", true);
        check("watch persistentvolumeclaims d pvc", false);
        check("get persistentvolumeclaims d p-scratch", true);
        check("get persistentvolumeclaims d q-scratch", false);
        check("list persistentvolumeclaims d", false);
        check("update persistentvolumeclaims d pvc", false);
        check("create serviceaccounts/token d sa", true);
        check("create serviceaccounts/token d other", false);
        check("get secrets d cm", false);
        check("get secrets e vol", false);
        check("get secrets d unbound", false);
        check("list secrets d", false);
        check("list secrets -", false);
        check("update secrets d vol", false);
    }

    #[test]
    fn sees_and_holds_the_volumes_that_are_its_own() {
        check("get persistentvolumes - pv", true);
        check("watch persistentvolumes - pv", false);
        check("get persistentvolumes - kept", true);
        check("get persistentvolumes - far", false);
        check("get persistentvolumes - unknown", false);
        check("list persistentvolumes - -", false);
        check("watch persistentvolumes - - orlop.dev/node=n1", true);
        check("list persistentvolumes - - orlop.dev/node=n2", false);
        check("patch persistentvolumes - kept", true);
        check("patch persistentvolumes - pv", false);
        check("patch persistentvolumes - far", false);
        check("patch persistentvolumes/status - kept", false);
        check("update persistentvolumes - kept", false);
        check("delete persistentvolumes - kept", false);
        check("create persistentvolumes -", false);
        let mut it = graph();
        it.remove_volume("kept");
        assert_ne!(ask(&it, "get persistentvolumes - kept"), Decision::Allow);
    }

    #[test]
    fn minds_its_own_affairs() {
        check("get nodes - n1", true);
        check("get nodes - n2", false);
        check("list nodes -", true);
        check("watch nodes -", true);
        check("patch nodes/status - n1", true);
        check("create nodes -", true);
        check("delete nodes - n1", false);
        check("list pods - - spec.nodeName=n1", true);
        // Peers of network policies may be anywhere.
        check("watch pods - - spec.nodeName=n2", true);
        check("list pods -", true);
        check("deletecollection pods d", false);
        check("get pods d p", true);
        check("get pods d pending", false);
        check("patch pods/status d p", true);
        check("delete pods d p", true);
        check("update pods d p", false);
        check("update coordination.k8s.io:leases kube-node-lease n1", true);
        check("update coordination.k8s.io:leases kube-node-lease n2", false);
        check("get coordination.k8s.io:leases kube-system kube-scheduler", false);
        check("create events d", true);
        check("watch services -", true);
        check("watch discovery.k8s.io:endpointslices -", true);
        check("watch networking.k8s.io:networkpolicies -", true);
        check("watch namespaces -", true);
        check("create apps:deployments d", false);
        check("bind rbac.authorization.k8s.io:clusterroles - cluster-admin", false);
    }

    #[test]
    fn follows_pods() {
        let mut it = graph();
        it.put(&head("q", "3"), POD.as_bytes());
        it.remove("d", "p");
        assert_eq!(ask(&it, "get secrets d vol"), Decision::Allow);
        it.remove("d", "q");
        assert_ne!(ask(&it, "get secrets d vol"), Decision::Allow);
        assert!(it.nodes.is_empty() && it.pods.is_empty());
        // Another pod of the same name is another pod.
        it.put(&head("p", "4"), POD.as_bytes());
        it.put(&head("p", "5"), br#"{"spec":{"nodeName":"n2"}}"#);
        assert_ne!(ask(&it, "get pods d p"), Decision::Allow);
    }
}
