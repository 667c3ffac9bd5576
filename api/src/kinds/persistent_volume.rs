//! `PersistentVolume`: storage that is there, and the claim that has it.

mod inline;
mod sources;

pub use inline::validate_inline;

use k8s_openapi::api::core::v1::{
    NodeSelectorRequirement, PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus, VolumeNodeAffinity,
};
use serde_json::{Map, Value};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy, Sub};
use crate::kinds::cells::{self, AGE, str_of};
use crate::kinds::checks;
use crate::kinds::pod_spec::warnings as pod_warnings;
use crate::kinds::pod_spec::{resources, scheduling};
use crate::kinds::volume_rules as rules;
use crate::name;
use crate::table::{Cell, Column};

/// The fields of a specification that do not say where the storage comes from.
pub const GENERAL_FIELDS: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];
impl Strategy for PersistentVolume {
    const NAMES: Names =
        Names { plural: "persistentvolumes", singular: "persistentvolume", short: &["pv"], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const RETURNS_DELETED: bool = true;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const COLUMNS: &'static [Column] = &[
        cells::text("Capacity", |it| Cell::Text(rules::size(&it["spec"]["capacity"]))).doc("capacity is the description of the persistent volume's resources and capacity. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#capacity"),
        cells::text("Access Modes", |it| Cell::Text(rules::access_modes(&it["spec"]["accessModes"]))).doc("accessModes contains all ways the volume can be mounted. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes"),
        cells::text("Reclaim Policy", |it| cells::cell(&it["spec"]["persistentVolumeReclaimPolicy"])).doc("persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim. Valid options are Retain (default for manually created PersistentVolumes), Delete (default for dynamically provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported by the volume plugin underlying this PersistentVolume. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#reclaiming"),
        cells::text("Status", rules::phase).doc("phase indicates if a volume is available, bound to a claim, or released by a claim. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#phase"),
        cells::text("Claim", claim).doc("claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding"),
        cells::text("StorageClass", rules::class).doc("StorageClass of the pv"),
        cells::text("VolumeAttributesClass", |it| rules::or_unset(&it["spec"]["volumeAttributesClassName"])).doc("VolumeAttributesClass of the pv"),
        cells::text("Reason", |it| cells::cell(&it["status"]["reason"])).doc("reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI."),
        AGE,
        cells::wide("VolumeMode", |it| rules::or_unset(&it["spec"]["volumeMode"])).doc("volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state. Value of Filesystem is implied when not included in spec."),
    ];

    fn default(&mut self) {
        checks::fill(&mut self.status.get_or_insert_with(Default::default).phase, "Pending");
        let spec = self.spec.get_or_insert_with(Default::default);
        checks::fill(&mut spec.persistent_volume_reclaim_policy, "Retain");
        spec.volume_mode.get_or_insert_with(|| "Filesystem".into());
        resources::canonicalize(spec.capacity.as_mut());
        if let Some(host) = &mut spec.host_path {
            host.type_.get_or_insert_with(String::new);
        }
        if let Some(iscsi) = &mut spec.iscsi {
            checks::fill(&mut iscsi.iscsi_interface, "default");
        }
        if let Some(rbd) = &mut spec.rbd {
            checks::fill(&mut rbd.pool, "rbd");
            checks::fill(&mut rbd.user, "admin");
            checks::fill(&mut rbd.keyring, "/etc/ceph/keyring");
        }
        if let Some(disk) = &mut spec.azure_disk {
            disk.caching_mode.get_or_insert_with(|| "ReadWrite".into());
            disk.kind.get_or_insert_with(|| "Shared".into());
            disk.fs_type.get_or_insert_with(|| "ext4".into());
            disk.read_only.get_or_insert(false);
        }
        if let Some(scale) = &mut spec.scale_io {
            checks::fill(&mut scale.storage_mode, "ThinProvisioned");
            checks::fill(&mut scale.fs_type, "xfs");
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => {
                self.status = Some(PersistentVolumeStatus {
                    phase: Some("Pending".to_owned()),
                    last_phase_transition_time: self.metadata.creation_timestamp.clone(),
                    ..PersistentVolumeStatus::default()
                });
            }
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        let (Some(spec), before) = (&self.spec, old.and_then(|it| it.spec.as_ref())) else { return };
        if part == Part::Status || before == Some(spec) {
            return;
        }
        let path = Path::new("spec");
        validate_spec(spec, self.metadata.name.as_deref().unwrap_or_default(), &path, errors);
        if let Some(before) = before {
            validate_update(spec, before, &path, errors);
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        rules::warn_of_class(self.metadata.annotations.as_ref(), &mut warnings);
        let Some(spec) = &self.spec else { return warnings };
        let path = Path::new("spec");
        if spec.persistent_volume_reclaim_policy.as_deref() == Some("Recycle") {
            let path = path.child("persistentVolumeReclaimPolicy");
            warnings.push(format!("{path}: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."));
        }
        if let Some(required) = spec.node_affinity.as_ref().and_then(|it| it.required.as_ref()) {
            let path = path.child("nodeAffinity").child("required").child("nodeSelectorTerms");
            for (at, term) in required.node_selector_terms.iter().enumerate() {
                pod_warnings::of_term(term, || path.index(at), &mut warnings);
            }
        }
        sources::warn(spec, &path, &mut warnings);
        warnings
    }
}

/// Notes what may not change of a volume.
fn validate_update(new: &PersistentVolumeSpec, old: &PersistentVolumeSpec, path: &Path, errors: &mut Errors) {
    let mut same = new.clone();
    // Whose secret expands the volume may be said later, once.
    if let (Some(new), Some(old)) = (&mut same.csi, &old.csi)
        && old.controller_expand_secret_ref.is_none()
    {
        new.controller_expand_secret_ref = None;
    }
    if sources_of(&same) != sources_of(old) {
        let path = path.child("persistentvolumesource");
        errors.forbidden(path, "spec.persistentvolumesource is immutable after creation");
    }
    checks::immutable(&new.volume_mode, &old.volume_mode, "volumeMode", errors);
    if old.node_affinity.is_some() && !selects_same(new.node_affinity.as_ref(), old.node_affinity.clone()) {
        let why = "field is immutable, except for updating from beta label to GA";
        errors.invalid("nodeAffinity", &new.node_affinity, why);
    }
    if old.volume_attributes_class_name.is_some() && new.volume_attributes_class_name.is_none() {
        let path = path.child("volumeAttributesClassName");
        errors.forbidden(path, "update from non-nil value to nil is forbidden");
    }
}

/// The older names of labels of nodes, and those that they have now.
const RENAMED_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
];

/// Whether both select the same nodes, by the older names of labels or by the newer.
fn selects_same(new: Option<&VolumeNodeAffinity>, mut old: Option<VolumeNodeAffinity>) -> bool {
    fn terms(it: Option<&mut VolumeNodeAffinity>) -> impl Iterator<Item = &mut NodeSelectorRequirement> {
        let terms = it.and_then(|it| it.required.as_mut()).into_iter().flat_map(|it| &mut it.node_selector_terms);
        terms.flat_map(|it| it.match_expressions.iter_mut().flatten().chain(it.match_fields.iter_mut().flatten()))
    }
    let mut now = new.cloned();
    for (before, now) in terms(old.as_mut()).zip(terms(now.as_mut())) {
        if RENAMED_LABELS.contains(&(before.key.as_str(), now.key.as_str())) {
            before.key.clone_from(&now.key);
        }
    }
    old == now
}

/// Where the storage comes from, by the names of the fields that say so.
fn sources_of(spec: &PersistentVolumeSpec) -> Map<String, Value> {
    let fields = match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    fields.into_iter().filter(|(name, _)| !GENERAL_FIELDS.contains(&name.as_str())).collect()
}

fn validate_spec(spec: &PersistentVolumeSpec, name: &str, path: &Path, errors: &mut Errors) {
    rules::validate_modes_of_volume(spec.access_modes.as_deref(), path, errors);
    let capacity = spec.capacity.as_ref().filter(|it| !it.is_empty());
    if capacity.is_none() {
        errors.required(path.child("capacity"), "");
    }
    if capacity.is_none_or(|it| it.len() > 1 || !it.contains_key(rules::STORAGE)) {
        errors.not_supported(path.child("capacity"), capacity, &[rules::STORAGE]);
    }
    for (name, amount) in capacity.into_iter().flatten() {
        rules::validate_basic(amount, || path.child("capacity").key(name), errors);
        rules::validate_positive(amount, || path.child("capacity").key(name), errors);
    }
    let reclaim = spec.persistent_volume_reclaim_policy.as_deref();
    let reclaim_path = || path.child("persistentVolumeReclaimPolicy");
    checks::none_or_one_of(reclaim, &["Delete", "Recycle", "Retain"], reclaim_path, errors);
    if let Some(affinity) = &spec.node_affinity {
        let path = path.child("nodeAffinity").child("required");
        match &affinity.required {
            None => errors.required(path, "must specify required node constraints"),
            Some(selector) => scheduling::validate_node_selector(selector, &path, errors),
        }
    }
    sources::validate(spec, name, path, errors);
    validate_recycled(spec, path, errors);
    let (class, mode) = (spec.storage_class_name.as_deref(), spec.volume_mode.as_deref());
    rules::validate_class_and_mode(class, mode, path, errors);
    validate_attributes_class(spec, path, errors);
}

/// A whole machine is not emptied.
fn validate_recycled(spec: &PersistentVolumeSpec, path: &Path, errors: &mut Errors) {
    let whole_host = spec.host_path.as_ref().is_some_and(|it| is_root(&it.path));
    if whole_host && spec.persistent_volume_reclaim_policy.as_deref() == Some("Recycle") {
        let path = path.child("persistentVolumeReclaimPolicy");
        errors.forbidden(path, "may not be 'recycle' for a hostPath mount of '/'");
    }
}

/// Attributes belong to volumes of drivers.
fn validate_attributes_class(spec: &PersistentVolumeSpec, path: &Path, errors: &mut Errors) {
    if let Some(class) = spec.volume_attributes_class_name.as_deref() {
        let at = || path.child("volumeAttributesClassName");
        if class.is_empty() {
            errors.required(at(), "an empty string is disallowed");
        }
        checks::none_or_named(Some(class), name::dns1123_subdomain, at, errors);
        if spec.csi.is_none() {
            errors.required(path.child("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

/// Whether a path is that of everything, however it is written.
fn is_root(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    path.starts_with('/') && depth == 0
}

/// `default/data`.
fn claim(it: &Value) -> Cell {
    let claim = &it["spec"]["claimRef"];
    let text = if claim.is_object() {
        format!("{}/{}", str_of(&claim["namespace"]), str_of(&claim["name"]))
    } else {
        String::new()
    };
    Cell::Text(text)
}
