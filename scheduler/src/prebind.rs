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
                if self.are_bound(pod, node, choices, written)? {
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

    /// Whether all claims have what was chosen for them (`checkBindings`); `written` is the last version that our own writes made.
    fn are_bound(&self, pod: &Pod, node: &Node, choices: &[(Key, Choice)], written: u64) -> Result<bool, String> {
        let here = self.pods.get(&Key::new(&pod.namespace, &pod.name));
        if here.is_none_or(|it| it.uid() != &*pod.uid || it.metadata.deletion_timestamp.is_some()) {
            return Err(format!("pod {:?} does not exist any more", pod.full_name()));
        }
        for (key, choice) in choices {
            let claim = self.storage.claims.get(key);
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
                if *choice == Choice::Made && chosen.is_none() && self.storage.claims.revision() >= written {
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
            let Some(volume) = self.storage.volumes.get(&Key::new("", bound)) else { return Ok(false) };
            if !reaches(&volume, node) {
                return Err(format!("pv {bound:?} node affinity doesn't match node {:?}", node.name));
            }
        }
        Ok(true)
    }
}

fn at(resource: Resource, key: Key, meta: &kube::core::ObjectMeta, patch: Value) -> Action {
    let (uid, revision) = (meta.uid.clone().unwrap_or_default(), meta.resource_version.clone());
    Action::Patch { resource, key, sub: None, uid, revision, patch }
}
