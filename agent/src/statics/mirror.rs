//! Which pods should stand in the API for the static ones, and what is to be done about those that do. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::manifest::key;

/// Says which static pod a pod of the API stands for, by its id; such a pod is run by nobody.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make a pod of the API that stands for this static one.
    Make(Arc<Pod>),
    /// Take this one away at once, and no other of its name.
    Remove(Arc<Pod>),
}

/// Whether a pod of the API stands for a static one.
pub fn is_one(pod: &Pod) -> bool {
    stands_for(pod).is_some()
}

fn stands_for(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(MIRROR).map(String::as_str)
}

/// What is to be done. `own` are the static pods that live here, `here` all pods of the API that are this node's. One that was deleted is taken away at
/// once, for nothing of it runs, and made again.
pub fn plan(own: &[Arc<Pod>], here: &[Arc<Pod>]) -> Vec<Step> {
    let current = |mirror: &Pod| {
        let of = own.iter().find(|it| key(it) == key(mirror));
        let same = of.is_some_and(|it| it.metadata.uid.as_deref() == stands_for(mirror));
        same && mirror.metadata.deletion_timestamp.is_none()
    };
    let mirrors = || here.iter().filter(|it| is_one(it));
    let stale = mirrors().filter(|it| !current(it)).map(|it| Step::Remove(Arc::clone(it)));
    let missing = own.iter().filter(|pod| !mirrors().any(|it| key(it) == key(pod)));
    stale.chain(missing.map(|it| Step::Make(Arc::clone(it)))).collect()
}

/// The pod that stands for a static one; its owner is the node.
pub fn of(pod: &Pod, node: &str, node_uid: &str) -> Pod {
    let meta = &pod.metadata;
    let mut notes = meta.annotations.clone().unwrap_or_default();
    notes.insert(MIRROR.to_owned(), meta.uid.clone().unwrap_or_default());
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid: node_uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let metadata = ObjectMeta {
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        labels: meta.labels.clone(),
        annotations: Some(notes),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: pod.spec.clone(), status: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, uid: &str, mirrors: Option<&str>, deleted: bool) -> Arc<Pod> {
        let notes = mirrors.map(|it| json!({MIRROR: it}));
        let deletion = deleted.then_some("2026-01-01T00:00:00Z");
        let meta =
            json!({"name": name, "namespace": "n", "uid": uid, "annotations": notes, "deletionTimestamp": deletion});
        Arc::new(serde_json::from_value(json!({ "metadata": meta })).unwrap())
    }

    #[test]
    fn mirrors_follow_their_pods() {
        let own = [pod("a", "h1", None, false)];
        let check = |here: &[Arc<Pod>], expected: &[Step]| assert_eq!(plan(&own, here), expected);
        let make = Step::Make(Arc::clone(&own[0]));
        check(&[], std::slice::from_ref(&make));
        check(&[pod("a", "1", Some("h1"), false), pod("other", "2", None, false)], &[]);
        for stale in [pod("a", "1", Some("h0"), false), pod("a", "1", Some("h1"), true)] {
            check(&[Arc::clone(&stale)], &[Step::Remove(stale)]);
        }
        let orphan = pod("b", "3", Some("h3"), false);
        check(&[Arc::clone(&orphan)], &[Step::Remove(orphan), make]);
    }

    #[test]
    fn a_mirror_belongs_to_its_node() {
        let it = of(&pod("a", "h1", None, false), "n1", "nu");
        assert_eq!(it.metadata.annotations.as_ref().unwrap()[MIRROR], "h1");
        let owner = &it.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.controller), ("Node", "nu", Some(true)));
        assert_eq!(it.metadata.uid, None);
    }
}
