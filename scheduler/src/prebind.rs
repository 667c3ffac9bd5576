//! What comes before a binding: the volumes that a pod's claims were given with its node are theirs.
//!
//! In: the choices of a decision. Out: the volume's half of each binding, or the node on the claim, for which a volume is then made; and the wait
//! until others (the binder, a provisioner) have done the rest. Thin: what cannot be as it was decided is told, and decided anew. The wait
//! ends with the pod, with the term, and after [`BIND_WITHIN`].

use std::time::Duration;

use orlop_client::storage::{BOUND_BY_CONTROLLER, SELECTED_NODE};
use orlop_client::write::{Action, Resource};
use orlop_client::{Key, Store};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::pod::Pod;
use crate::snapshot::Node;
use crate::storage::{Choice, Storage, reaches};
use crate::view::PodView;

/// How long volumes may take to be made (`bindTimeoutSeconds` of `VolumeBinding`).
const BIND_WITHIN: Duration = Duration::from_secs(600);
/// How often at least a waiting pod is looked after, whose end wakes nobody here.
const LOOK_EVERY: Duration = Duration::from_secs(2);

const CLAIMS: Resource = Resource {
    group: "",
    version: "v1",
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    namespaced: true,
};
const VOLUMES: Resource =
    Resource { group: "", version: "v1", kind: "PersistentVolume", plural: "persistentvolumes", namespaced: false };

/// Everything that binding the volumes of pods needs.
#[derive(Clone)]
pub struct Prebinder {
    pub client: kube::Client,
    pub storage: Storage,
    pub pods: Store<PodView>,
    /// Changes whenever something of storage does.
    pub changed: watch::Receiver<u64>,
}

impl Prebinder {
    /// Binds the pod's claims as chosen, for a node.
    ///
    /// # Errors
    /// Why that is not possible any more, or has not come about in time.
    pub async fn bind(mut self, pod: &Pod, node: &Node, choices: &[(Key, Choice)]) -> Result<(), String> {
        // From before the first write, so that nothing is missed.
        self.changed.mark_unchanged();
        let mut written = 0;
        for (claim, choice) in choices {
            if let Some(action) = self.write(claim, choice, node)? {
                let done = action.apply(&self.client).await.map_err(|it| it.to_string())?;
                written = written.max(done.revision.parse().unwrap_or(0));
            }
        }
        let waiting = async {
            loop {
                if are_bound(&self.storage, &self.pods, (pod, node, choices), written)? {
                    return Ok(());
                }
                // An end of the time here is a look at the pod, too.
                let _ = tokio::time::timeout(LOOK_EVERY, self.changed.changed()).await;
            }
        };
        match tokio::time::timeout(BIND_WITHIN, waiting).await {
            Ok(outcome) => outcome,
            Err(_) => Err("timed out waiting for the condition".to_owned()),
        }
    }

    fn write(&self, key: &Key, choice: &Choice, node: &Node) -> Result<Option<Action>, String> {
        let gone = || format!("persistentvolumeclaim {:?} not found", key.name());
        let claim = self.storage.claims.get(key).ok_or_else(gone)?;
        match choice {
            Choice::Made if claim.selected_node() == Some(&node.name) => Ok(None),
            Choice::Made => {
                let patch = json!({ "metadata": { "annotations": { SELECTED_NODE: node.name } } });
                Ok(Some(at(CLAIMS, key.clone(), &claim.metadata, patch)))
            }
            Choice::Volume(name) => {
                let at_volume = Key::new("", name);
                let volume = self.storage.volumes.get(&at_volume);
                let volume = volume.ok_or_else(|| format!("persistentvolume {name:?} not found"))?;
                let uid = claim.metadata.uid.as_deref();
                if volume.spec.claim_ref.as_ref().and_then(|it| it.uid.as_deref()) == uid {
                    return Ok(None);
                }
                let mut patch = json!({ "spec": { "claimRef": { "apiVersion": "v1", "kind": CLAIMS.kind, "uid": uid,
                    "namespace": claim.metadata.namespace, "name": claim.metadata.name,
                    "resourceVersion": claim.metadata.resource_version } } });
                if volume.spec.claim_ref.is_none() {
                    patch["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
                }
                Ok(Some(at(VOLUMES, at_volume, &volume.metadata, patch)))
            }
        }
    }
}

fn at(resource: Resource, key: Key, meta: &kube::core::ObjectMeta, patch: Value) -> Action {
    let (uid, revision) = (meta.uid.clone().unwrap_or_default(), meta.resource_version.clone());
    Action::Patch { resource, key, sub: None, uid, revision, patch }
}

/// Whether all claims have what was chosen for them (`checkBindings`); `written` is the last version that our own writes made.
fn are_bound(
    storage: &Storage,
    pods: &Store<PodView>,
    (pod, node, choices): (&Pod, &Node, &[(Key, Choice)]),
    written: u64,
) -> Result<bool, String> {
    let here = pods.get(&Key::new(&pod.namespace, &pod.name));
    if here.is_none_or(|it| it.uid() != &*pod.uid || it.metadata.deletion_timestamp.is_some()) {
        return Err(format!("pod {:?} does not exist any more", pod.full_name()));
    }
    for (key, choice) in choices {
        let claim = storage.claims.get(key);
        let claim = claim.ok_or_else(|| format!("persistentvolumeclaim {:?} not found", key.name()))?;
        if !claim.is_bound() || claim.spec.volume_name.is_empty() {
            let chosen = claim.selected_node();
            if *choice == Choice::Made && chosen.is_some_and(|it| *it != *node.name) {
                return Err(format!(
                    "selectedNode annotation value {chosen:?} not set to scheduled node {:?}",
                    node.name
                ));
            }
            // Who cannot make it there takes the node off again; until our own write is shown there is none, either.
            if *choice == Choice::Made && chosen.is_none() && storage.claims.revision() >= written {
                return Err(format!("provisioning failed for PVC {:?}", key.name()));
            }
            return Ok(false);
        }
        let bound = &claim.spec.volume_name;
        if let Choice::Volume(name) = choice
            && **name != **bound
        {
            return Err(format!("PVC {:?} is bound to volume {bound:?}, not to {name:?}", key.name()));
        }
        let Some(volume) = storage.volumes.get(&Key::new("", bound)) else { return Ok(false) };
        if !reaches(&volume, node) {
            return Err(format!("pv {bound:?} node affinity doesn't match node {:?}", node.name));
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod that was given the node `n1`, with one claim and one volume as they stand.
    fn check(choice: Choice, claim: Value, volume: Value, written: u64, expected: Result<bool, &str>) {
        let (storage, pods) = (Storage::default(), Store::<PodView>::new());
        let view = json!({ "metadata": { "namespace": "d", "name": "p", "uid": "p" } });
        pods.apply(serde_json::from_value(view.clone()).unwrap());
        let mut it = json!({ "metadata": { "namespace": "d", "name": "c", "uid": "c", "resourceVersion": "5" } });
        it["metadata"]["annotations"] = claim["annotations"].clone();
        it["spec"]["volumeName"] = claim["volume"].as_str().unwrap_or_default().into();
        storage.claims.apply(serde_json::from_value(it).unwrap());
        if let Some(host) = volume.as_str() {
            let it = json!({ "metadata": { "name": "v" }, "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": [{
                "matchExpressions": [{ "key": "host", "operator": "In", "values": [host] }] }] } } } });
            storage.volumes.apply(serde_json::from_value(it).unwrap());
        }
        let node = Node { name: "n1".into(), labels: [("host".to_owned(), "n1".to_owned())].into(), ..Node::default() };
        let pod = Pod::new(&serde_json::from_value(view).unwrap());
        let told = are_bound(&storage, &pods, (&pod, &node, &[(Key::new("d", "c"), choice)]), written);
        assert_eq!(told, expected.map_err(str::to_owned), "{claim}");
    }

    #[test]
    fn a_pod_waits_until_its_claims_have_what_was_chosen() {
        let chosen = |node: &str| json!({ "annotations": { SELECTED_NODE: node } });
        let bound =
            |volume: &str| json!({ "annotations": { "pv.kubernetes.io/bind-completed": "yes" }, "volume": volume });
        check(Choice::Made, chosen("n1"), Value::Null, 5, Ok(false));
        check(Choice::Made, bound("v"), "n1".into(), 5, Ok(true));
        check(Choice::Volume("v".into()), json!({}), "n1".into(), 5, Ok(false));
        check(Choice::Volume("v".into()), bound("v"), "n1".into(), 5, Ok(true));
        // The volume's event is yet to come.
        check(Choice::Made, bound("v"), Value::Null, 5, Ok(false));
        // Our own write is not shown yet; or it was, and somebody took the node off again.
        check(Choice::Made, json!({}), Value::Null, 6, Ok(false));
        check(Choice::Made, json!({}), Value::Null, 5, Err("provisioning failed for PVC \"c\""));
        let other = "selectedNode annotation value Some(\"n2\") not set to scheduled node \"n1\"";
        check(Choice::Made, chosen("n2"), Value::Null, 5, Err(other));
        check(
            Choice::Volume("w".into()),
            bound("v"),
            "n1".into(),
            5,
            Err("PVC \"c\" is bound to volume \"v\", not to \"w\""),
        );
        check(Choice::Made, bound("v"), "n2".into(), 5, Err("pv \"v\" node affinity doesn't match node \"n1\""));
    }

    #[test]
    fn the_wait_ends_with_its_pod() {
        let (storage, pods) = (Storage::default(), Store::<PodView>::new());
        let pod = Pod { namespace: "d".into(), name: "p".into(), uid: "p".into(), ..Pod::default() };
        let told = are_bound(&storage, &pods, (&pod, &Node::default(), &[]), 0);
        assert_eq!(told, Err("pod \"d/p\" does not exist any more".to_owned()));
    }
}
