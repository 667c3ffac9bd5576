//! Claims and volumes as placement sees them: what a pod's claims ask of a node, and what decisions have promised already.
//!
//! In: the stores of claims, volumes and classes. [`Storage::demand`] looks at a pod's claims once for a decision; a [`Demand`] then says of each
//! node what is missing there, and which choices binding the pod to it takes. A choice that was made is a promise until the pod is bound: two
//! pods do not get one volume, and a claim that two pods share is made for where the first goes. Pods without claims never come here.
//! Source: `pkg/scheduler/framework/plugins/volumebinding`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use orlop_client::storage::matching::{self, For};
use orlop_client::storage::{ClaimView, NO_PROVISIONER, StorageClassView, VolumeView, affinity};
use orlop_client::{Key, Store};

use crate::pod::{Claim, Pod};
use crate::snapshot::Node;

/// A volume that a claim has cannot be reached from a node.
const FAR: &str = "node(s) had volume node affinity conflict";
/// There is no volume for a claim on a node, and none can be made there.
const NONE_HERE: &str = "node(s) didn't find available persistent volumes to bind";
/// A claim has a volume that is gone.
const GONE: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
/// A claim is bound by somebody else, and is not yet.
const UNBOUND: &str = "pod has unbound immediate PersistentVolumeClaims";

/// What is known of storage.
#[derive(Clone)]
pub struct Storage {
    pub claims: Store<ClaimView>,
    pub volumes: Store<VolumeView>,
    pub classes: Store<StorageClassView>,
    /// How many pods that have a node use each claim.
    users: HashMap<Key, u32>,
    /// By the uid of the pod that is being bound.
    promises: BTreeMap<Box<str>, Vec<Promise>>,
}

#[derive(Clone, Debug)]
struct Promise {
    claim: Key,
    node: Box<str>,
    choice: Choice,
}

/// How a claim gets its volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The volume of this name.
    Volume(Box<str>),
    /// One that is made where the pod goes.
    Made,
}

impl Default for Storage {
    fn default() -> Self {
        let volumes = Store::new();
        matching::index(&volumes);
        Storage {
            claims: Store::new(),
            volumes,
            classes: Store::new(),
            users: HashMap::new(),
            promises: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("users", &self.users).field("promises", &self.promises).finish_non_exhaustive()
    }
}

impl Storage {
    /// What the pod's claims ask of a node.
    ///
    /// # Errors
    /// Why no node can do, in Kubernetes' words.
    pub fn demand(&self, pod: &Pod) -> Result<Demand, String> {
        let mut demand = Demand::default();
        let mut unbound = false;
        for it in &pod.claims {
            let claim = self.claim(pod, it)?;
            if claim.is_for_one_pod() && self.users.contains_key(&it.key) {
                demand.is_taken = true;
            }
            if claim.is_bound() && !claim.spec.volume_name.is_empty() {
                match self.volumes.get(&Key::new("", &claim.spec.volume_name)) {
                    Some(volume) => demand.bound.push(volume),
                    None => demand.is_gone = true,
                }
                continue;
            }
            let class = self.classes.get(&Key::new("", claim.class()));
            match class.filter(|it| it.waits_for_consumer() && claim.spec.volume_name.is_empty()) {
                Some(class) => demand.open.push(self.open(pod, claim, class)),
                None => unbound = true,
            }
        }
        if unbound {
            return Err(UNBOUND.to_owned());
        }
        // Small ones first, so that they do not take the volumes that the large ones need.
        demand.open.sort_by_key(|it| it.claim.requested());
        let others = self.promises.iter().filter(|(uid, _)| **uid != pod.uid).flat_map(|(_, it)| it);
        demand.taken = others
            .filter(|it| !pod.claims.iter().any(|own| own.key == it.claim))
            .filter_map(|it| match &it.choice {
                Choice::Volume(name) => Some(name.to_string()),
                Choice::Made => None,
            })
            .collect();
        Ok(demand)
    }

    fn claim(&self, pod: &Pod, it: &Claim) -> Result<Arc<ClaimView>, String> {
        let name = it.key.name();
        let Some(claim) = self.claims.get(&it.key) else {
            return Err(match it.made {
                true => format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"),
                false => format!("persistentvolumeclaim {name:?} not found"),
            });
        };
        if claim.status.phase == "Lost" {
            let volume = &claim.spec.volume_name;
            return Err(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        let mut owners = claim.metadata.owner_references.iter().flatten();
        if it.made && !owners.any(|it| it.controller == Some(true) && it.uid == *pod.uid) {
            return Err(format!("PVC {} was not created for pod {} (pod is not owner)", it.key, pod.full_name()));
        }
        Ok(claim)
    }

    fn open(&self, pod: &Pod, claim: Arc<ClaimView>, class: Arc<StorageClassView>) -> Open {
        let key = claim.key();
        let mut candidates = matching::candidates(&self.volumes, &claim);
        let mut only_node = claim.selected_node().map(Box::from);
        // Another pod that uses it, too, may be on its way.
        let others = self.promises.iter().filter(|(uid, _)| **uid != pod.uid).flat_map(|(_, it)| it);
        for promise in others.filter(|it| it.claim == key) {
            match &promise.choice {
                Choice::Volume(name) => {
                    candidates.retain(|it| it.name() == &**name);
                    only_node.get_or_insert_with(|| promise.node.clone());
                }
                Choice::Made => only_node = Some(promise.node.clone()),
            }
        }
        Open { claim, class, candidates, only_node }
    }

    /// A decision was made: what it takes is the pod's until [`Self::settle`].
    pub fn promise(&mut self, pod: &str, node: &str, choices: &[(Key, Choice)]) {
        let promise = |(claim, choice): &(Key, Choice)| Promise {
            claim: claim.clone(),
            node: node.into(),
            choice: choice.clone(),
        };
        self.promises.insert(pod.into(), choices.iter().map(promise).collect());
    }

    /// The pod is bound, and the API shows what was promised; or it is not, and nothing is promised any more.
    pub fn settle(&mut self, pod: &str) {
        self.promises.remove(pod);
    }

    /// A pod that uses these has a node.
    pub fn use_claims(&mut self, claims: &[Key]) {
        for it in claims {
            *self.users.entry(it.clone()).or_default() += 1;
        }
    }

    /// A pod that used these has left.
    pub fn leave_claims(&mut self, claims: &[Key]) {
        for it in claims {
            if let Some(users) = self.users.get_mut(it) {
                *users -= 1;
                if *users == 0 {
                    self.users.remove(it);
                }
            }
        }
    }
}

/// What a pod's claims ask of a node.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    bound: Vec<Arc<VolumeView>>,
    open: Vec<Open>,
    /// Volumes that are promised to other claims.
    taken: BTreeSet<String>,
    /// A claim has a volume that is gone.
    is_gone: bool,
    /// A claim for one pod has another.
    pub is_taken: bool,
}

/// A claim that gets its volume with its pod's node.
#[derive(Clone, Debug)]
struct Open {
    claim: Arc<ClaimView>,
    class: Arc<StorageClassView>,
    candidates: Vec<Arc<VolumeView>>,
    only_node: Option<Box<str>>,
}

/// Whether a volume can be reached from a node.
pub fn reaches(volume: &VolumeView, node: &Node) -> bool {
    let required = volume.spec.node_affinity.required.as_ref();
    affinity::reaches(required, |key| node.labels.get(key).map(String::as_str), &node.name)
}

impl Demand {
    /// What is missing on a node, in Kubernetes' words; nothing if the pod can go there.
    pub fn complaints(&self, node: &Node) -> Vec<&'static str> {
        let mut out = Vec::new();
        if self.is_gone {
            out.push(GONE);
        }
        if !self.bound.iter().all(|it| reaches(it, node)) {
            out.push(FAR);
        }
        if self.choose(node).is_none() {
            out.push(NONE_HERE);
        }
        out
    }

    /// How each claim that has no volume gets one on a node; none if one cannot.
    pub fn choose(&self, node: &Node) -> Option<Vec<(Key, Choice)>> {
        let mut out = Vec::with_capacity(self.open.len());
        let mut taken = self.taken.clone();
        for it in &self.open {
            if it.only_node.as_ref().is_some_and(|only| *only != node.name) {
                return None;
            }
            let asked = For::Node { reaches: &|volume| reaches(volume, node), taken: &taken };
            // One that is being made is not looked for, but one that was made may be there already.
            let found = matching::find(&it.candidates, &it.claim, &asked);
            let found = found.filter(|volume| it.claim.selected_node().is_none() || volume.is_for(&it.claim));
            let choice = match found {
                Some(volume) => {
                    taken.insert(volume.name().to_owned());
                    Choice::Volume(volume.name().into())
                }
                None if it.can_be_made(node) => Choice::Made,
                None => return None,
            };
            out.push((it.claim.key(), choice));
        }
        Some(out)
    }
}

impl Open {
    fn can_be_made(&self, node: &Node) -> bool {
        let kept = self.candidates.iter().any(|it| it.is_for(&self.claim));
        !kept
            && !self.class.provisioner.is_empty()
            && self.class.provisioner != NO_PROVISIONER
            && self.class.allows(|key| node.labels.get(key).map(String::as_str))
    }
}

#[cfg(test)]
mod tests;
