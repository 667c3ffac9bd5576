//! The rules for volumes of files from Secrets, ConfigMaps, the pod itself and tokens: which items, and where they may lie.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, KeyToPath,
    ProjectedVolumeSource, SecretVolumeSource, VolumeProjection,
};

use super::super::environment;
use super::validate_descending_path;
use crate::field::{Errors, Path};
use crate::selector::label;

/// 0777: the widest mode a file can have.
const MODE_LIMIT: i32 = 0o777;
/// Ten minutes: the shortest time a token may be good for, in seconds.
const TOKEN_LEAST_SECONDS: i64 = 10 * 60;
/// 2^32: the longest time a token may be good for, in seconds.
const TOKEN_LIMIT_SECONDS: i64 = 1 << 32;

pub(super) fn validate_secret(it: &SecretVolumeSource, path: &Path, errors: &mut Errors) {
    if it.secret_name.as_deref().unwrap_or_default().is_empty() {
        errors.required(path.child("secretName"), "");
    }
    validate_mode(it.default_mode, || path.child("defaultMode"), errors);
    validate_items(it.items.as_deref(), path, errors);
}

pub(super) fn validate_config_map(it: &ConfigMapVolumeSource, path: &Path, errors: &mut Errors) {
    if it.name.is_empty() {
        errors.required(path.child("name"), "");
    }
    validate_mode(it.default_mode, || path.child("defaultMode"), errors);
    validate_items(it.items.as_deref(), path, errors);
}

pub(super) fn validate_downward(it: &DownwardAPIVolumeSource, path: &Path, errors: &mut Errors) {
    validate_mode(it.default_mode, || path.child("defaultMode"), errors);
    for file in it.items.iter().flatten() {
        validate_file(file, path, errors);
    }
}

pub(super) fn validate_projected(it: &ProjectedVolumeSource, path: &Path, errors: &mut Errors) {
    validate_mode(it.default_mode, || path.child("defaultMode"), errors);
    let mut taken = HashSet::new();
    for (index, source) in it.sources.iter().flatten().enumerate() {
        validate_projection(source, &mut taken, path, &path.child("sources").index(index), errors);
    }
}

/// One source of a projected volume, which stands at `whole`, and what it takes of the volume's paths.
fn validate_projection<'a>(
    it: &'a VolumeProjection,
    taken: &mut HashSet<&'a str>,
    whole: &Path,
    path: &Path,
    errors: &mut Errors,
) {
    let mut take = |at: &'a str, shown: &str, errors: &mut Errors| {
        if !at.is_empty() && !taken.insert(at) {
            errors.invalid(whole.clone(), shown, "conflicting duplicate paths");
        }
    };
    let mut kinds = 0;
    let named = [
        it.secret.as_ref().map(|it| ("secret", &it.name, &it.items)),
        it.config_map.as_ref().map(|it| ("configMap", &it.name, &it.items)),
    ];
    for (field, name, items) in named.into_iter().flatten() {
        kinds += 1;
        if name.is_empty() {
            errors.required(path.child(field).child("name"), "");
        }
        for (index, item) in items.iter().flatten().enumerate() {
            validate_item(item, || path.child(field).child("items").index(index), errors);
            take(&item.path, name, errors);
        }
    }
    if let Some(downward) = &it.downward_api {
        kinds += 1;
        for file in downward.items.iter().flatten() {
            validate_file(file, &path.child("downwardAPI"), errors);
            take(&file.path, &file.path, errors);
        }
    }
    if let Some(token) = &it.service_account_token {
        kinds += 1;
        let at = || path.child("serviceAccountToken").child("expirationSeconds");
        let seconds = token.expiration_seconds.unwrap_or(TOKEN_LEAST_SECONDS);
        if seconds < TOKEN_LEAST_SECONDS {
            errors.invalid(at(), seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > TOKEN_LIMIT_SECONDS {
            errors.invalid(at(), seconds, "may not specify a duration larger than 2^32 seconds");
        }
        validate_path(&token.path, || whole.child("path"), errors);
    }
    if let Some(bundle) = &it.cluster_trust_bundle {
        kinds += 1;
        validate_bundle(bundle, &path.child("clusterTrustBundle"), errors);
        take(&bundle.path, &bundle.path, errors);
    }
    kinds += usize::from(it.pod_certificate.is_some());
    if kinds > 1 {
        errors.forbidden(path.clone(), "may not specify more than 1 volume type per source");
    }
}

fn validate_bundle(it: &ClusterTrustBundleProjection, path: &Path, errors: &mut Errors) {
    match (&it.name, &it.signer_name) {
        (Some(_), Some(_)) => {
            errors.invalid(path.clone(), it, "only one of name and signerName may be used");
        }
        (Some(name), None) => {
            if name.is_empty() {
                errors.required(path.child("name"), "must be a valid object name");
            }
            if let Some(selector) = &it.label_selector {
                let why = "labelSelector must be unset if name is specified";
                errors.invalid(path.child("labelSelector"), selector, why);
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.required(path.child("signerName"), "must be a valid signer name");
            }
            if let Some(selector) = &it.label_selector {
                label::validate(selector, &path.child("labelSelector"), errors);
            }
        }
        (None, None) => errors.required(path.clone(), "either name or signerName must be specified"),
    }
    validate_path(&it.path, || path.child("path"), errors);
}

fn validate_items(items: Option<&[KeyToPath]>, path: &Path, errors: &mut Errors) {
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        validate_item(item, || path.child("items").index(index), errors);
    }
}

fn validate_item(it: &KeyToPath, path: impl Fn() -> Path, errors: &mut Errors) {
    if it.key.is_empty() {
        errors.required(path().child("key"), "");
    }
    validate_path(&it.path, || path().child("path"), errors);
    validate_mode(it.mode, || path().child("mode"), errors);
}

/// A file of the downward API. Its mistakes are told at the volume's path, as Kubernetes tells them, and not at the item's.
fn validate_file(it: &DownwardAPIVolumeFile, path: &Path, errors: &mut Errors) {
    validate_path(&it.path, || path.child("path"), errors);
    match (&it.field_ref, &it.resource_field_ref) {
        (Some(field), other) => {
            environment::validate_field(field, environment::FILE_FIELDS, || path.child("fieldRef"), errors);
            if other.is_some() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(path.clone(), "resource", why);
            }
        }
        (None, Some(resource)) => {
            environment::validate_resource(resource, true, || path.child("resourceFieldRef"), errors);
        }
        (None, None) => errors.required(path.clone(), "one of fieldRef and resourceFieldRef is required"),
    }
    validate_mode(it.mode, || path.child("mode"), errors);
}

fn validate_mode(mode: Option<i32>, path: impl FnOnce() -> Path, errors: &mut Errors) {
    if let Some(mode) = mode.filter(|it| !(0..=MODE_LIMIT).contains(it)) {
        errors.invalid(path(), mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// A file of a volume: a relative path, not upwards, and not among the names the volume keeps for itself.
fn validate_path(text: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    if text.is_empty() {
        errors.required(path(), "");
        return;
    }
    validate_descending_path(text, &path, errors);
    // `..data` and its like are how a volume's content is replaced as one.
    if text.starts_with("..") && !text.starts_with("../") {
        errors.invalid(path(), text, "must not start with '..'");
    }
}
