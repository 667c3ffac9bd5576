//! The rules for where a container sees its pod's volumes: as directories (mounts) or as raw devices.
//!
//! Source: `ValidateVolumeMounts` and `ValidateVolumeDevices`. Some of their paths name the list and not the element; so do these.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Container, VolumeDevice, VolumeMount};

use super::volumes::{self, Volumes};
use crate::field::{Errors, Path};
use crate::kinds::checks;

const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
const RECURSIVE_READ_ONLY: &[&str] = &["Disabled", "Enabled", "IfPossible"];

/// Notes every mistake in the mounts and devices of a container that stands at `path`.
pub(super) fn validate(it: &Container, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    if it.volume_mounts.is_some() {
        validate_mounts(it, volumes, &path.child("volumeMounts"), errors);
    }
    if it.volume_devices.is_some() {
        validate_devices(it, volumes, &path.child("volumeDevices"), errors);
    }
}

fn is_set(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|it| !it.is_empty())
}

fn validate_mounts(it: &Container, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let devices = it.volume_devices.as_deref().unwrap_or_default();
    let mut places = HashSet::new();
    for (index, mount) in it.volume_mounts.iter().flatten().enumerate() {
        let at = || path.index(index);
        let volume = volumes.get(mount.name.as_str());
        if mount.name.is_empty() {
            errors.required(at().child("name"), "");
        }
        if volume.is_none() {
            errors.not_found(at().child("name"), &mount.name);
        }
        if mount.mount_path.is_empty() {
            errors.required(at().child("mountPath"), "");
        }
        if !places.insert(mount.mount_path.as_str()) {
            errors.invalid(at().child("mountPath"), &mount.mount_path, "must be unique");
        }
        if devices.iter().any(|it| it.name == mount.name) {
            errors.invalid(at().child("name"), &mount.name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|it| it.device_path == mount.mount_path) {
            let why = "must not already exist as a path in volumeDevices";
            errors.invalid(at().child("mountPath"), &mount.mount_path, why);
        }
        validate_below(mount, path, at, errors);
        let privileged = it.security_context.as_ref().and_then(|it| it.privileged) == Some(true);
        validate_propagation(mount, privileged, path, errors);
    }
}

/// A part of a volume: below it, and named once.
fn validate_below(it: &VolumeMount, path: &Path, at: impl Fn() -> Path, errors: &mut Errors) {
    let plain = is_set(it.sub_path.as_ref());
    if let Some(text) = plain {
        volumes::validate_descending_path(text, || path.child("subPath"), errors);
    }
    if let Some(text) = is_set(it.sub_path_expr.as_ref()) {
        if plain.is_some() {
            errors.invalid(at().child("subPathExpr"), text, "subPathExpr and subPath are mutually exclusive");
        }
        volumes::validate_descending_path(text, || path.child("subPathExpr"), errors);
    }
}

fn validate_propagation(it: &VolumeMount, privileged: bool, path: &Path, errors: &mut Errors) {
    let propagation = it.mount_propagation.as_deref();
    checks::none_or_one_of(propagation, PROPAGATIONS, || path.child("mountPropagation"), errors);
    if propagation == Some("Bidirectional") && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(path.child("mountPropagation"), why);
    }
    let at = || path.child("recursiveReadOnly");
    match it.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if it.read_only != Some(true) {
                errors.forbidden(at(), "may only be specified when readOnly is true");
            }
            if propagation.is_some_and(|it| it != "None") {
                errors.forbidden(at(), "may only be specified when mountPropagation is None or not specified");
            }
        }
        other => checks::none_or_one_of(other, RECURSIVE_READ_ONLY, at, errors),
    }
}

fn validate_devices(it: &Container, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let mounts = it.volume_mounts.as_deref().unwrap_or_default();
    let (mut names, mut places) = (HashSet::new(), HashSet::new());
    for (index, VolumeDevice { name, device_path }) in it.volume_devices.iter().flatten().enumerate() {
        let at = |field: &str| path.index(index).child(field);
        if name.is_empty() {
            errors.required(at("name"), "");
        } else if !names.insert(name) {
            errors.invalid(at("name"), name, "must be unique");
        }
        match volumes.get(name.as_str()) {
            Some(volume) if volume.persistent_volume_claim.is_none() && volume.ephemeral.is_none() => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(at("name"), name, why);
            }
            Some(_) => {}
            None => errors.not_found(at("name"), name),
        }
        if device_path.is_empty() {
            errors.required(at("devicePath"), "");
        }
        if places.contains(device_path) {
            errors.invalid(at("devicePath"), device_path, "must be unique");
        }
        if device_path.split('/').any(|it| it == "..") {
            errors.invalid(at("devicePath"), device_path, "can not contain backsteps ('..')");
        } else {
            places.insert(device_path);
        }
        if mounts.iter().any(|it| it.name == *name) {
            errors.invalid(at("name"), name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|it| it.mount_path == *device_path) {
            errors.invalid(at("devicePath"), device_path, "must not already exist as a path in volumeMounts");
        }
    }
}
