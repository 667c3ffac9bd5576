//! Claims, volumes and storage classes as the scheduler, the controllers and the agent see them, and the words by which these speak of them.
//!
//! In: the API's JSON. Out: slim views, and in [`matching`] which volume fits which claim, so that the scheduler and the binder cannot
//! disagree. Pure: nothing here reads or writes.

pub mod affinity;
pub mod matching;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimCondition, TopologySelectorTerm};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::ObjectMeta;
use orlop_api::quantity::Quantity;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Key;

/// The claim's side of a binding is complete.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The binder chose the other side, so that it may be undone.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Who made a volume.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The node that the scheduler chose for the first pod that uses a claim.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Who is to make a claim's volume.
pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The older name of [`STORAGE_PROVISIONER`], which provisioners still read.
pub const STORAGE_PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// The older way to name a class.
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
/// What makes a class the default one.
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
/// The provisioner of classes whose volumes are made by hand.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// What amounts of storage are called among resources.
pub const STORAGE: &str = "storage";

/// The provisioner that makes volumes out of folders on the nodes.
pub const LOCAL_PROVISIONER: &str = "orlop.dev/local";
/// The label of the provisioner's volumes that names their node: by it, and by nothing else, a node may watch volumes.
pub const LOCAL_NODE: &str = "orlop.dev/node";
/// The node's finalizer on a volume of its own: there is a folder, which goes before the volume does.
pub const LOCAL_FINALIZER: &str = "orlop.dev/local-volume";
/// The annotation of a node that says in which folder it keeps such volumes.
pub const LOCAL_FOLDER: &str = "orlop.dev/volumes-folder";
/// Kubernetes' finalizer of volumes that are bound.
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// A claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClaimView {
    pub metadata: ObjectMeta,
    pub spec: ClaimSpecView,
    pub status: ClaimStatusView,
}

/// What a claim asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimSpecView {
    pub access_modes: Vec<String>,
    pub selector: Option<LabelSelector>,
    pub resources: AmountsView,
    pub volume_name: String,
    pub storage_class_name: Option<String>,
    pub volume_mode: Option<String>,
    pub volume_attributes_class_name: Option<String>,
    /// That it wants to begin as the copy of something.
    pub data_source: Option<IgnoredAny>,
    pub data_source_ref: Option<IgnoredAny>,
}

/// Amounts that are asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AmountsView {
    pub requests: BTreeMap<String, Text>,
}

/// What a claim was given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimStatusView {
    pub phase: String,
    pub access_modes: Vec<String>,
    pub capacity: BTreeMap<String, Text>,
    pub conditions: Vec<PersistentVolumeClaimCondition>,
    pub current_volume_attributes_class_name: Option<String>,
    pub modify_volume_status: TargetView,
}

/// The attributes that a volume is on its way to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TargetView {
    pub target_volume_attributes_class_name: String,
}

/// A volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VolumeView {
    pub metadata: ObjectMeta,
    pub spec: VolumeSpecView,
    pub status: VolumeStatusView,
}

/// What a volume is. Of where its storage is, only that is kept which somebody here acts on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeSpecView {
    pub capacity: BTreeMap<String, Text>,
    pub access_modes: Vec<String>,
    pub claim_ref: Option<ObjectReference>,
    pub persistent_volume_reclaim_policy: String,
    pub storage_class_name: String,
    pub volume_mode: Option<String>,
    pub volume_attributes_class_name: Option<String>,
    pub node_affinity: AffinityView,
    pub local: Option<PathView>,
    /// That a driver of CSI made it.
    pub csi: Option<IgnoredAny>,
}

/// From where a volume can be reached.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AffinityView {
    pub required: Option<NodeSelector>,
}

/// A folder of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PathView {
    pub path: String,
}

/// Where a volume stands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VolumeStatusView {
    pub phase: String,
}

/// A class of storage.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StorageClassView {
    pub metadata: ObjectMeta,
    pub provisioner: String,
    pub parameters: BTreeMap<String, String>,
    pub reclaim_policy: Option<String>,
    pub mount_options: Vec<String>,
    pub volume_binding_mode: Option<String>,
    pub allow_volume_expansion: bool,
    pub allowed_topologies: Vec<TopologySelectorTerm>,
}

crate::view!(ClaimView: PersistentVolumeClaim);
crate::view!(VolumeView: PersistentVolume);
crate::view!(StorageClassView: StorageClass);

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

fn text(it: &Option<String>) -> &str {
    it.as_deref().unwrap_or_default()
}

fn amount(amounts: &BTreeMap<String, Text>) -> Quantity {
    amounts.get(STORAGE).and_then(|it| Quantity::of(it).ok()).unwrap_or(Quantity::ZERO)
}

/// Whether a volume holds folders and files, which is what it does if nothing is said.
fn mode(it: &Option<String>) -> &str {
    it.as_deref().filter(|it| !it.is_empty()).unwrap_or("Filesystem")
}

impl ClaimView {
    /// Namespace and name.
    pub fn key(&self) -> Key {
        Key::new(text(&self.metadata.namespace), text(&self.metadata.name))
    }

    /// The class that it names; empty for none. The older annotation comes first, as in Kubernetes.
    pub fn class(&self) -> &str {
        annotation(&self.metadata, CLASS_BETA).unwrap_or_else(|| text(&self.spec.storage_class_name))
    }

    /// Whether it says which class it wants, and be it none.
    pub fn names_class(&self) -> bool {
        annotation(&self.metadata, CLASS_BETA).is_some() || self.spec.storage_class_name.is_some()
    }

    /// How much it asks for.
    pub fn requested(&self) -> Quantity {
        amount(&self.spec.resources.requests)
    }

    /// How much it was given.
    pub fn capacity(&self) -> Quantity {
        amount(&self.status.capacity)
    }

    /// Whether its side of the binding is complete.
    pub fn is_bound(&self) -> bool {
        annotation(&self.metadata, BIND_COMPLETED).is_some()
    }

    /// The node on which its volume is to be made.
    pub fn selected_node(&self) -> Option<&str> {
        annotation(&self.metadata, SELECTED_NODE).filter(|it| !it.is_empty())
    }

    /// `Filesystem` or `Block`.
    pub fn volume_mode(&self) -> &str {
        mode(&self.spec.volume_mode)
    }

    /// Whether only one pod may use it at a time.
    pub fn is_for_one_pod(&self) -> bool {
        self.spec.access_modes.iter().any(|it| it == "ReadWriteOncePod")
    }
}

impl VolumeView {
    /// Its name.
    pub fn name(&self) -> &str {
        text(&self.metadata.name)
    }

    /// The class that it is of; empty for none.
    pub fn class(&self) -> &str {
        annotation(&self.metadata, CLASS_BETA).unwrap_or(&self.spec.storage_class_name)
    }

    /// How much it holds.
    pub fn capacity(&self) -> Quantity {
        amount(&self.spec.capacity)
    }

    /// `Filesystem` or `Block`.
    pub fn volume_mode(&self) -> &str {
        mode(&self.spec.volume_mode)
    }

    /// The claim that has it, or is to have it.
    pub fn claim(&self) -> Option<Key> {
        let it = self.spec.claim_ref.as_ref()?;
        Some(Key::new(text(&it.namespace), text(&it.name)))
    }

    /// Whether it is given to this claim, or kept for one of its name.
    pub fn is_for(&self, claim: &ClaimView) -> bool {
        let Some(it) = &self.spec.claim_ref else { return false };
        let uid = text(&it.uid);
        self.claim().as_ref() == Some(&claim.key()) && (uid.is_empty() || uid == text(&claim.metadata.uid))
    }

    /// Whether the local provisioner made it.
    pub fn is_provisioned_locally(&self) -> bool {
        annotation(&self.metadata, PROVISIONED_BY) == Some(LOCAL_PROVISIONER)
    }

    /// The node that has the folder of a volume of the local provisioner.
    pub fn local_node(&self) -> Option<&str> {
        let label = self.metadata.labels.as_ref()?.get(LOCAL_NODE)?;
        self.is_provisioned_locally().then_some(label.as_str())
    }

    /// Whether this finalizer holds it.
    pub fn is_held_by(&self, finalizer: &str) -> bool {
        self.metadata.finalizers.iter().flatten().any(|it| it == finalizer)
    }
}

impl StorageClassView {
    /// Its name.
    pub fn name(&self) -> &str {
        text(&self.metadata.name)
    }

    /// Whether its claims are bound only when a pod wants them.
    pub fn waits_for_consumer(&self) -> bool {
        self.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
    }

    /// Whether claims that name no class get this one.
    pub fn is_default(&self) -> bool {
        DEFAULT_CLASS.iter().any(|it| annotation(&self.metadata, it) == Some("true"))
    }

    /// Whether its volumes can be made where a node has these labels.
    pub fn allows<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let fits = |term: &TopologySelectorTerm| {
            let mut wanted = term.match_label_expressions.iter().flatten();
            wanted.all(|it| label(&it.key).is_some_and(|label| it.values.iter().any(|it| it == label)))
        };
        self.allowed_topologies.is_empty() || self.allowed_topologies.iter().any(fits)
    }
}
