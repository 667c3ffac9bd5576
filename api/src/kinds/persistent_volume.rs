//! `PersistentVolume`: storage that is there, and the claim that has it.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus};
use serde_json::{Map, Value};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy, Sub};
use crate::kinds::cells::{self, AGE, str_of};
use crate::kinds::checks;
use crate::kinds::pod_spec::resources;
use crate::kinds::volume_rules as rules;
use crate::table::{Cell, Column};

/// The fields of a specification that do not say where the storage comes from.
const GENERAL_FIELDS: &[&str] = &[
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
/// What must be said of the commonest sources.
const REQUIRED: &[(&str, &[&str])] = &[
    ("csi", &["driver", "volumeHandle"]),
    ("hostPath", &["path"]),
    ("local", &["path"]),
    ("nfs", &["server", "path"]),
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
        cells::text("VolumeAttributesClass", |it| rules::or_unset(&it["spec"]["volumeAttributesClassName"])).doc("Name of VolumeAttributesClass to which this persistent volume belongs. Empty value is not allowed. When this field is not set, it indicates that this volume does not belong to any VolumeAttributesClass. This field is mutable and can be changed by the CSI driver after a volume has been updated successfully to a new class. For an unbound PersistentVolume, the volumeAttributesClassName will be matched with unbound PersistentVolumeClaims during the binding process."),
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
        let sources = sources_of(spec);
        validate_spec(spec, &sources, &path, errors);
        if let Some(before) = before {
            if sources_of(before) != sources {
                let path = path.child("persistentvolumesource");
                errors.forbidden(path, "spec.persistentvolumesource is immutable after creation");
            }
            checks::immutable(&spec.volume_mode, &before.volume_mode, "volumeMode", errors);
            if before.node_affinity.is_some() {
                checks::immutable(&spec.node_affinity, &before.node_affinity, "nodeAffinity", errors);
            }
        }
    }
}

/// Where the storage comes from, by the names of the fields that say so.
fn sources_of(spec: &PersistentVolumeSpec) -> Map<String, Value> {
    let fields = match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    fields.into_iter().filter(|(name, _)| !GENERAL_FIELDS.contains(&name.as_str())).collect()
}

fn validate_spec(spec: &PersistentVolumeSpec, sources: &Map<String, Value>, path: &Path, errors: &mut Errors) {
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        errors.required(path.child("accessModes"), "");
    }
    rules::validate_access_modes(modes, &path.child("accessModes"), errors);
    let capacity = spec.capacity.as_ref().filter(|it| !it.is_empty());
    if capacity.is_none() {
        errors.required(path.child("capacity"), "");
    }
    if capacity.is_none_or(|it| it.len() > 1 || !it.contains_key(rules::STORAGE)) {
        errors.not_supported(path.child("capacity"), capacity, &[rules::STORAGE]);
    }
    for (name, amount) in capacity.into_iter().flatten() {
        rules::validate_positive(amount, || path.child("capacity").key(name), errors);
    }
    let reclaim = spec.persistent_volume_reclaim_policy.as_deref();
    let reclaim_path = || path.child("persistentVolumeReclaimPolicy");
    checks::none_or_one_of(reclaim, &["Delete", "Recycle", "Retain"], reclaim_path, errors);
    for (name, _) in sources.iter().skip(1) {
        errors.forbidden(path.child(name), "may not specify more than 1 volume type");
    }
    if sources.is_empty() {
        errors.required(path.clone(), "must specify a volume type");
    }
    for (source, fields) in REQUIRED {
        let Some(given) = sources.get(*source) else { continue };
        for field in fields.iter().filter(|it| str_of(&given[**it]).is_empty()) {
            errors.required(path.child(source).child(field), "");
        }
    }
    for (source, given) in ["hostPath", "local"].iter().filter_map(|it| sources.get(*it).map(|given| (it, given))) {
        if str_of(&given["path"]).split('/').any(|it| it == "..") {
            errors.invalid(path.child(source).child("path"), str_of(&given["path"]), "must not contain '..'");
        }
    }
    if let Some(nfs) = spec.nfs.as_ref().filter(|it| !it.path.starts_with('/')) {
        errors.invalid(path.child("nfs").child("path"), &nfs.path, "must be an absolute path");
    }
    let whole_host = spec.host_path.as_ref().is_some_and(|it| it.path.trim_matches('/').is_empty());
    if whole_host && reclaim == Some("Recycle") {
        errors.forbidden(reclaim_path(), "may not be 'recycle' for a hostPath mount of '/'");
    }
    if spec.local.is_some() && spec.node_affinity.as_ref().is_none_or(|it| it.required.is_none()) {
        errors.required("metadata.annotations", "Local volume requires node affinity");
    }
    let (class, mode) = (spec.storage_class_name.as_deref(), spec.volume_mode.as_deref());
    rules::validate_class_and_mode(class, mode, path, errors);
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
