//! `PersistentVolumeClaim`: storage that someone asks for, and the volume that answers.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, TypedLocalObjectReference,
    TypedObjectReference,
};
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::cells::{self, AGE, str_of};
use crate::kinds::checks;
use crate::kinds::pod_spec::resources;
use crate::kinds::volume_rules as rules;
use crate::name;
use crate::selector::label;
use crate::table::{Cell, Column};

const IMMUTABLE: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

/// How far a resize can have come.
const RESIZE_STATES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

impl Strategy for PersistentVolumeClaim {
    const NAMES: Names =
        Names { plural: "persistentvolumeclaims", singular: "persistentvolumeclaim", short: &["pvc"], categories: &[] };
    const RETURNS_DELETED: bool = true;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const COLUMNS: &'static [Column] = &[
        cells::text("Status", rules::phase).doc("phase represents the current phase of PersistentVolumeClaim."),
        cells::text("Volume", |it| cells::cell(&it["spec"]["volumeName"])).doc("volumeName is the binding reference to the PersistentVolume backing this claim."),
        cells::text("Capacity", |it| of_volume(it, |it| rules::size(&it["status"]["capacity"]))).doc("capacity represents the actual resources of the underlying volume."),
        cells::text("Access Modes", |it| of_volume(it, |it| rules::access_modes(&it["status"]["accessModes"]))).doc("accessModes contains the actual access modes the volume backing the PVC has. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1"),
        cells::text("StorageClass", rules::class).doc("StorageClass of the pvc"),
        cells::text("VolumeAttributesClass", |it| rules::or_unset(&it["spec"]["volumeAttributesClassName"])).doc("VolumeAttributesClass of the pvc"),
        AGE,
        cells::wide("VolumeMode", |it| rules::or_unset(&it["spec"]["volumeMode"])).doc("volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when not included in claim spec."),
    ];

    fn default(&mut self) {
        fill_in(self);
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => {
                let phase = Some("Pending".to_owned());
                self.status = Some(PersistentVolumeClaimStatus { phase, ..PersistentVolumeClaimStatus::default() });
            }
            (Part::Status, Some(old)) => return self.spec.clone_from(&old.spec),
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
        if let Some(spec) = &mut self.spec {
            settle_source(spec);
        }
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status {
            return self.status.iter().for_each(|it| validate_status(it, errors));
        }
        let (Some(spec), before) = (&self.spec, old.and_then(|it| it.spec.as_ref())) else { return };
        if before == Some(spec) {
            return;
        }
        let path = Path::new("spec");
        validate_spec(spec, &path, errors);
        if let (Some(old), Some(before)) = (old, before) {
            validate_update(spec, before, old.status.as_ref(), &path, errors);
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        rules::warn_of_class(self.metadata.annotations.as_ref(), &mut warnings);
        self.spec.iter().for_each(|it| rules::warn_of_claim(it, || Path::new("spec"), &mut warnings));
        warnings
    }
}

/// Fills in what the client left out; the templates of a StatefulSet's claims get the same.
pub fn fill_in(claim: &mut PersistentVolumeClaim) {
    checks::fill(&mut claim.status.get_or_insert_with(Default::default).phase, "Pending");
    let spec = claim.spec.get_or_insert_with(Default::default);
    spec.volume_mode.get_or_insert_with(|| "Filesystem".into());
    let asked = spec.resources.get_or_insert_with(Default::default);
    resources::canonicalize(asked.requests.as_mut());
    resources::canonicalize(asked.limits.as_mut());
    if let Some(status) = &mut claim.status {
        resources::canonicalize(status.capacity.as_mut());
        resources::canonicalize(status.allocated_resources.as_mut());
    }
}

/// Makes the two references to what the volume is filled from agree. The older may only be to a claim or a snapshot: what else is
/// there is dropped, as Kubernetes drops it.
fn settle_source(spec: &mut PersistentVolumeClaimSpec) {
    spec.data_source.take_if(|it| {
        let of = (it.api_group.as_deref().unwrap_or_default(), it.kind.as_str());
        !matches!(of, ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot"))
    });
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(it), None) => {
            spec.data_source_ref = Some(TypedObjectReference {
                api_group: it.api_group.clone(),
                kind: it.kind.clone(),
                name: it.name.clone(),
                namespace: None,
            });
        }
        (None, Some(it)) if it.namespace.as_deref().unwrap_or_default().is_empty() => {
            let (api_group, kind, name) = (it.api_group.clone(), it.kind.clone(), it.name.clone());
            spec.data_source = Some(TypedLocalObjectReference { api_group, kind, name });
        }
        _ => {}
    }
}

/// Notes every mistake in what a claim asks for; the templates of claims are read by the same rules.
pub fn validate_spec(spec: &PersistentVolumeClaimSpec, path: &Path, errors: &mut Errors) {
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        errors.required(path.child("accessModes"), "at least 1 access mode is required");
    }
    if let Some(selector) = &spec.selector {
        label::validate(selector, &path.child("selector"), errors);
    }
    rules::validate_access_modes(modes, &path.child("accessModes"), errors);
    let storage = || path.child("resources").key(rules::STORAGE);
    let requests = spec.resources.as_ref().and_then(|it| it.requests.as_ref());
    match requests.and_then(|it| it.get(rules::STORAGE)) {
        None => errors.required(storage(), ""),
        Some(amount) => rules::validate_positive(amount, storage, errors),
    }
    let (class, mode) = (spec.storage_class_name.as_deref(), spec.volume_mode.as_deref());
    rules::validate_class_and_mode(class, mode, path, errors);
    let older = spec.data_source.as_ref().map(|it| (it.api_group.as_deref(), it.kind.as_str(), it.name.as_str()));
    let newer = spec.data_source_ref.as_ref().map(|it| (it.api_group.as_deref(), it.kind.as_str(), it.name.as_str()));
    for (field, source) in [("dataSource", older), ("dataSourceRef", newer)] {
        if let Some(source) = source {
            validate_source(source, &path.child(field), errors);
        }
    }
    let namespace = spec.data_source_ref.as_ref().and_then(|it| it.namespace.as_deref()).filter(|it| !it.is_empty());
    let at = || path.child("dataSourceRef").child("namespace");
    checks::none_or_named(namespace, name::dns1123_label, at, errors);
    // What Kubernetes means to show is the path of the other field, of which its encoder sees nothing.
    let shown = "{}".to_owned();
    if namespace.is_some() && older.is_some() {
        errors.invalid_text(path.clone(), shown, "may not be specified when dataSourceRef.namespace is specified");
    } else if namespace.is_none() && older.is_some() && newer.is_some() && older != newer {
        errors.invalid_text(path.clone(), shown, "must match dataSourceRef");
    }
    let class = spec.volume_attributes_class_name.as_deref();
    checks::none_or_named(class, name::dns1123_subdomain, || path.child("volumeAttributesClassName"), errors);
}

/// What a volume is filled from: group, kind and name.
fn validate_source((group, kind, name): (Option<&str>, &str, &str), path: &Path, errors: &mut Errors) {
    for (field, text) in [("name", name), ("kind", kind)] {
        if text.is_empty() {
            errors.required(path.child(field), "");
        }
    }
    let group = group.unwrap_or_default();
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid(path.clone(), kind, why);
    }
    checks::none_or_named(Some(group), name::dns1123_subdomain, || path.child("apiGroup"), errors);
}

/// What is told of a claim: amounts of known resources, and how far a resize has come.
fn validate_status(status: &PersistentVolumeClaimStatus, errors: &mut Errors) {
    let path = Path::new("status");
    for (name, amount) in status.capacity.iter().flatten() {
        rules::validate_basic(amount, || path.child("capacity").key(name), errors);
    }
    for (name, state) in status.allocated_resource_statuses.iter().flatten() {
        let path = path.child("allocatedResourceStatus");
        validate_resource(name, &path, errors);
        if !RESIZE_STATES.contains(&state.as_str()) {
            errors.not_supported(path, name, RESIZE_STATES);
        }
    }
    for (name, amount) in status.allocated_resources.iter().flatten() {
        let path = path.child("allocatedResources");
        if validate_resource(name, &path, errors) {
            rules::validate_basic(amount, || path.key(name), errors);
        }
    }
}

/// Of Kubernetes' own resources a claim has storage only.
fn validate_resource(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let mistakes = errors.len();
    for complaint in name::qualified_name(name) {
        errors.invalid(path.clone(), name, complaint);
    }
    if errors.len() == mistakes && resources::is_native(name) && name != rules::STORAGE {
        errors.not_supported(path.clone(), name, &[rules::STORAGE]);
    }
    errors.len() == mistakes
}

/// Claims hardly change: what has been given for one would not follow.
fn validate_update(
    new: &PersistentVolumeClaimSpec,
    old: &PersistentVolumeClaimSpec,
    status: Option<&PersistentVolumeClaimStatus>,
    path: &Path,
    errors: &mut Errors,
) {
    let bound = status.is_some_and(|it| it.phase.as_deref() == Some("Bound"));
    let requests = |it: &PersistentVolumeClaimSpec| it.resources.clone().and_then(|it| it.requests);
    // Put back what may differ, and compare.
    let mut same = new.clone();
    if old.volume_name.as_deref().unwrap_or_default().is_empty() {
        same.volume_name.clone_from(&old.volume_name);
    }
    if old.storage_class_name.is_none() && !bound {
        // A claim from before there was a default class may be given one, once.
        same.storage_class_name = None;
    }
    if bound {
        same.volume_attributes_class_name.clone_from(&old.volume_attributes_class_name);
        let before = requests(old).and_then(|it| it.get(rules::STORAGE).cloned());
        let now = same.resources.as_mut().and_then(|it| it.requests.as_mut());
        if let (Some(now), Some(before)) = (now, before) {
            now.insert(rules::STORAGE.to_owned(), before);
        }
    }
    if same != *old {
        errors.forbidden(path.clone(), IMMUTABLE);
    }
    let (now, before) = (rules::storage(requests(new).as_ref()), rules::storage(requests(old).as_ref()));
    let given = rules::storage(status.and_then(|it| it.capacity.as_ref()));
    // Less than was asked for may be asked for again as long as it was not given.
    if let (Some(now), Some(before)) = (&now, &before)
        && now < before
        && given.as_ref().is_some_and(|given| now <= given)
    {
        let path = path.child("resources").child("requests").child(rules::STORAGE);
        errors.forbidden(path, "field can not be less than status.capacity");
    }
    checks::immutable(&new.volume_mode, &old.volume_mode, "volumeMode", errors);
    if old.volume_attributes_class_name.is_some() {
        let path = path.child("volumeAttributesClassName");
        match new.volume_attributes_class_name.as_deref() {
            None => errors.forbidden(path, "update from non-nil value to nil is forbidden"),
            Some("") => errors.forbidden(path, "update from non-nil value to an empty string is forbidden"),
            Some(_) => {}
        }
    }
}

/// What is known of the volume once there is one.
fn of_volume(it: &Value, text: fn(&Value) -> String) -> Cell {
    Cell::Text(if str_of(&it["spec"]["volumeName"]).is_empty() { String::new() } else { text(it) })
}
