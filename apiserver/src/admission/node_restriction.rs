//! `NodeRestriction`: a node changes its own Node, its own lease, the pods bound to it and its hold on volumes whose folders it keeps, and
//! nothing in them that others rely on.
//!
//! The node authorizer has decided by names and verbs; this plugin sees the objects. Source: `plugin/pkg/admission/noderestriction`.

use std::collections::BTreeSet;

use async_trait::async_trait;
use orlop_api::kind::Sub;
use orlop_api::status;
use orlop_client::storage::{LOCAL_FINALIZER, LOCAL_NODE, LOCAL_PROVISIONER, PROVISIONED_BY};
use serde_json::Value;

use super::service_account::MIRROR;
use super::{Sight, forbidden, is};
use crate::authorize::node::LEASE_NAMESPACE;
use crate::authorize::node_name;
use crate::stage::{Admission, Operation, Plugin, Subject};

/// Labels of the reserved domains that a node may give itself (`k8s.io/kubelet/pkg/apis/well_known_labels.go`).
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// Domains below which a node may give itself any label.
const OWN_DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];

/// A domain whose labels only administrators set, so that workloads can be kept to nodes that did not choose themselves.
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";

/// See the file's header.
pub struct NodeRestriction {
    sight: Sight,
}

impl NodeRestriction {
    /// Looks there for the pods that nodes evict.
    pub fn new(sight: Sight) -> Self {
        NodeRestriction { sight }
    }

    /// An eviction names its pod and does not bring it. Of a pod that is not there the eviction itself tells.
    async fn judge_eviction(&self, node: &str, write: &Admission<'_>) -> status::Result<()> {
        let found = self.sight.find("Pod", write.namespace, write.name).await?;
        let pod = found.and_then(|it| serde_json::from_slice::<Value>(&it.json).ok());
        if pod.is_none_or(|it| it["spec"]["nodeName"] == node) {
            return Ok(());
        }
        Err(forbidden(write, &format!("node {node:?} can only evict pods with spec.nodeName set to itself")))
    }
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn sees_asides(&self) -> bool {
        true
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        // Of what is no object, evictions: connections and bindings are not for nodes, as the authorizer knows.
        node_name(write.identity).is_some() && (write.aside.is_none() || is_eviction(write))
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let (object, old) = (subject.json, write.old);
        let Some(node) = node_name(write.identity) else { return Ok(()) };
        if is_eviction(write) {
            return self.judge_eviction(node, write).await;
        }
        let read =
            |json: Option<&[u8]>| json.and_then(|it| serde_json::from_slice::<Value>(it).ok()).unwrap_or_default();
        let judged = if is(write.kind, "", "Pod") {
            judge_pod(node, write, &read(object), &read(old))
        } else if is(write.kind, "", "Node") {
            judge_node(node, write, &read(object), &read(old))
        } else if is(write.kind, "coordination.k8s.io", "Lease") {
            judge_lease(node, write, &read(object))
        } else if is(write.kind, "", "PersistentVolume") {
            judge_volume(node, &read(object), &read(old))
        } else {
            Ok(())
        };
        judged.map_err(|why| forbidden(write, &why))
    }
}

fn is_eviction(write: &Admission<'_>) -> bool {
    is(write.kind, "", "Pod") && write.aside.is_some() && write.subresource() == "eviction"
}

fn judge_pod(node: &str, write: &Admission<'_>, new: &Value, old: &Value) -> Result<(), String> {
    let bound_here = |pod: &Value| pod["spec"]["nodeName"] == node;
    match (write.operation, write.sub) {
        (Operation::Create, None) if new["metadata"]["annotations"][MIRROR].is_null() => {
            Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"))
        }
        (Operation::Create, None) if !bound_here(new) => {
            Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"))
        }
        (Operation::Create, None) => {
            let spec = &new["spec"];
            let account = spec["serviceAccountName"].as_str().unwrap_or_default();
            if account.is_empty() {
                Ok(())
            } else {
                Err(format!("node {node:?} can not create pods that reference a service account"))
            }
        }
        (Operation::Delete, None) if !bound_here(old) => {
            Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        (Operation::Delete, None) => Ok(()),
        (Operation::Update, Some(Sub::Status)) if !bound_here(old) => {
            Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
        }
        (Operation::Update, Some(Sub::Status)) if new["metadata"]["labels"] != old["metadata"]["labels"] => {
            Err(format!("node {node:?} cannot update labels through pod status"))
        }
        (Operation::Update, Some(Sub::Status)) => Ok(()),
        (operation, _) => Err(format!(
            "unexpected operation {operation:?}, node {node:?} can only create, delete and report the status of pods"
        )),
    }
}

fn judge_node(node: &str, write: &Admission<'_>, new: &Value, old: &Value) -> Result<(), String> {
    let named = new["metadata"]["name"].as_str().unwrap_or(write.name);
    if named != node {
        return Err(format!("node {node:?} is not allowed to modify node {named:?}"));
    }
    match write.operation {
        Operation::Delete => Err(format!("node {node:?} is not allowed to delete node {named:?}")),
        Operation::Create => judge_labels(node, &labels(new), &BTreeSet::new()),
        Operation::Update => {
            if new["spec"]["taints"] != old["spec"]["taints"] {
                return Err(format!("node {node:?} is not allowed to modify taints"));
            }
            if new["metadata"]["ownerReferences"] != old["metadata"]["ownerReferences"] {
                return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            judge_labels(node, &labels(new), &labels(old))
        }
        // Nothing is written.
        Operation::Connect => Ok(()),
    }
}

fn judge_lease(node: &str, write: &Admission<'_>, new: &Value) -> Result<(), String> {
    if write.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    let named = new["metadata"]["name"].as_str().unwrap_or(write.name);
    if named == node {
        Ok(())
    } else {
        Err("can only access node lease with the same name as the requesting node".to_owned())
    }
}

/// Of a volume whose folder it keeps, a node puts on and takes off the one finalizer that says so.
fn judge_volume(node: &str, new: &Value, old: &Value) -> Result<(), String> {
    let meta = &old["metadata"];
    if meta["labels"][LOCAL_NODE] != node || meta["annotations"][PROVISIONED_BY] != LOCAL_PROVISIONER {
        return Err(format!("node {node:?} can only hold volumes whose folders it keeps"));
    }
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(meta) = object["metadata"].as_object_mut() {
            // What the server itself writes with every change.
            meta.retain(|field, _| !matches!(field.as_str(), "finalizers" | "managedFields" | "resourceVersion"));
        }
        object
    };
    let others = |object: &Value| {
        let all = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|it| *it != LOCAL_FINALIZER).collect::<Vec<_>>()
    };
    if rest(new) == rest(old) && others(new) == others(old) {
        return Ok(());
    }
    Err(format!("node {node:?} can change nothing of a volume but the finalizer {LOCAL_FINALIZER}"))
}

type Labels = BTreeSet<(String, String)>;

fn labels(object: &Value) -> Labels {
    let labels = object["metadata"]["labels"].as_object();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    labels.into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn judge_labels(node: &str, new: &Labels, old: &Labels) -> Result<(), String> {
    let changed: BTreeSet<&str> = new.symmetric_difference(old).map(|(key, _)| key.as_str()).collect();
    let forbidden: Vec<&str> = changed.into_iter().filter(|it| !may_set(it)).collect();
    if forbidden.is_empty() {
        return Ok(());
    }
    Err(format!("is not allowed to modify labels of node {node:?}: {}", forbidden.join(", ")))
}

fn may_set(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return true };
    let within = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
    if within(RESTRICTED_DOMAIN) {
        return false;
    }
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&label) || OWN_DOMAINS.iter().any(|it| within(it))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_holds_its_volumes_and_changes_nothing_else() {
        let volume = |node: &str, finalizers: &[&str], path: &str| {
            json!({ "metadata": { "name": "v", "labels": { LOCAL_NODE: node }, "finalizers": finalizers, "resourceVersion": path,
                "annotations": { PROVISIONED_BY: LOCAL_PROVISIONER } }, "spec": { "local": { "path": path } } })
        };
        let check = |new: &Value, old: &Value, allowed: bool| {
            assert_eq!(judge_volume("n1", new, old).is_ok(), allowed, "{new}");
        };
        let bare = volume("n1", &["a/b"], "/d");
        check(&volume("n1", &["a/b", LOCAL_FINALIZER], "/d"), &bare, true);
        check(&bare, &volume("n1", &[LOCAL_FINALIZER, "a/b"], "/d"), true);
        check(&volume("n1", &[], "/d"), &bare, false);
        check(&volume("n1", &["a/b"], "/etc"), &bare, false);
        check(&volume("n2", &["a/b"], "/d"), &bare, false);
        check(&volume("n2", &["a/b", LOCAL_FINALIZER], "/d"), &volume("n2", &["a/b"], "/d"), false);
        let by_hand = json!({ "metadata": { "labels": { LOCAL_NODE: "n1" } } });
        check(&by_hand, &by_hand, false);
    }
}
