//! The rules for a pod's volumes: unique names, one source each, and paths that stay inside.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, PodSpec, Volume, VolumeProjection};

use super::environment;
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;

/// 0777: the widest mode a file can have.
const MODE_LIMIT: i32 = 0o777;
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// The names of a pod's volumes.
pub(super) type Volumes<'a> = HashSet<&'a str>;

/// Notes every mistake in the volumes of `spec`; gives their names, against which mounts are checked.
pub(super) fn validate<'a>(spec: &'a PodSpec, path: &Path, errors: &mut Errors) -> Volumes<'a> {
    let mut names = HashSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = path.index(index);
        checks::named(&volume.name, name::dns1123_label, || path.child("name"), errors);
        if !volume.name.is_empty() && !names.insert(volume.name.as_str()) {
            errors.duplicate(path.child("name"), &volume.name);
        }
        validate_source(volume, &path, errors);
    }
    names
}

fn validate_source(it: &Volume, path: &Path, errors: &mut Errors) {
    let mut seen = 0;
    let mut first = |field: &str, errors: &mut Errors| {
        seen += 1;
        if seen > 1 {
            errors.forbidden(path.child(field), "may not specify more than 1 volume type");
        }
        seen == 1
    };
    if let Some(empty) = &it.empty_dir
        && first("emptyDir", errors)
        && let Some(limit) = &empty.size_limit
        && crate::quantity::Quantity::of(limit).is_ok_and(|it| it.is_negative())
    {
        errors
            .forbidden(path.child("emptyDir").child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
    if let Some(host) = &it.host_path
        && first("hostPath", errors)
    {
        let path = path.child("hostPath");
        if host.path.is_empty() {
            errors.required(path.child("path"), "");
        } else if host.path.split('/').any(|it| it == "..") {
            errors.invalid(path.child("path"), &host.path, "must not contain '..'");
        }
        checks::none_or_one_of(host.type_.as_deref(), HOST_PATH_TYPES, || path.child("type"), errors);
    }
    if let Some(secret) = &it.secret
        && first("secret", errors)
    {
        let path = path.child("secret");
        if secret.secret_name.as_deref().unwrap_or_default().is_empty() {
            errors.required(path.child("secretName"), "");
        }
        validate_mode(secret.default_mode, || path.child("defaultMode"), errors);
        validate_items(secret.items.as_deref(), &path, errors);
    }
    if let Some(map) = &it.config_map
        && first("configMap", errors)
    {
        let path = path.child("configMap");
        if map.name.is_empty() {
            errors.required(path.child("name"), "");
        }
        validate_mode(map.default_mode, || path.child("defaultMode"), errors);
        validate_items(map.items.as_deref(), &path, errors);
    }
    if let Some(downward) = &it.downward_api
        && first("downwardAPI", errors)
    {
        let path = path.child("downwardAPI");
        validate_mode(downward.default_mode, || path.child("defaultMode"), errors);
        validate_files(downward.items.as_deref(), &path, errors);
    }
    if let Some(claim) = &it.persistent_volume_claim
        && first("persistentVolumeClaim", errors)
        && claim.claim_name.is_empty()
    {
        errors.required(path.child("persistentVolumeClaim").child("claimName"), "");
    }
    if let Some(projected) = &it.projected
        && first("projected", errors)
    {
        let path = path.child("projected");
        validate_mode(projected.default_mode, || path.child("defaultMode"), errors);
        for (index, source) in projected.sources.iter().flatten().enumerate() {
            validate_projection(source, &path.child("sources").index(index), errors);
        }
    }
    if let Some(nfs) = &it.nfs
        && first("nfs", errors)
    {
        for (field, value) in [("server", &nfs.server), ("path", &nfs.path)] {
            if value.is_empty() {
                errors.required(path.child("nfs").child(field), "");
            }
        }
    }
    if let Some(csi) = &it.csi
        && first("csi", errors)
        && csi.driver.is_empty()
    {
        errors.required(path.child("csi").child("driver"), "");
    }
}

fn validate_projection(it: &VolumeProjection, path: &Path, errors: &mut Errors) {
    let kinds = [
        ("secret", it.secret.is_some()),
        ("configMap", it.config_map.is_some()),
        ("downwardAPI", it.downward_api.is_some()),
        ("serviceAccountToken", it.service_account_token.is_some()),
        ("clusterTrustBundle", it.cluster_trust_bundle.is_some()),
        ("podCertificate", it.pod_certificate.is_some()),
    ];
    for (field, _) in kinds.iter().filter(|(_, is_set)| *is_set).skip(1) {
        errors.forbidden(path.child(field), "may not specify more than 1 volume type per source");
    }
    if let Some(secret) = &it.secret {
        if secret.name.is_empty() {
            errors.required(path.child("secret").child("name"), "");
        }
        validate_items(secret.items.as_deref(), &path.child("secret"), errors);
    }
    if let Some(map) = &it.config_map {
        if map.name.is_empty() {
            errors.required(path.child("configMap").child("name"), "");
        }
        validate_items(map.items.as_deref(), &path.child("configMap"), errors);
    }
    if let Some(downward) = &it.downward_api {
        validate_files(downward.items.as_deref(), &path.child("downwardAPI"), errors);
    }
    if let Some(token) = &it.service_account_token {
        let path = path.child("serviceAccountToken");
        match token.expiration_seconds {
            Some(seconds) if seconds < 600 => {
                errors.invalid(
                    path.child("expirationSeconds"),
                    seconds,
                    "may not specify a duration less than 10 minutes",
                );
            }
            Some(seconds) if seconds > 1 << 32 => {
                errors.invalid(
                    path.child("expirationSeconds"),
                    seconds,
                    "may not specify a duration larger than 2^32 seconds",
                );
            }
            _ => {}
        }
        validate_file_path(&token.path, || path.child("path"), errors);
    }
}

fn validate_items(items: Option<&[KeyToPath]>, path: &Path, errors: &mut Errors) {
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let path = path.child("items").index(index);
        if item.key.is_empty() {
            errors.required(path.child("key"), "");
        }
        validate_file_path(&item.path, || path.child("path"), errors);
        validate_mode(item.mode, || path.child("mode"), errors);
    }
}

fn validate_files(files: Option<&[DownwardAPIVolumeFile]>, path: &Path, errors: &mut Errors) {
    for (index, file) in files.unwrap_or_default().iter().enumerate() {
        let path = path.child("items").index(index);
        validate_file_path(&file.path, || path.child("path"), errors);
        validate_mode(file.mode, || path.child("mode"), errors);
        match (&file.field_ref, &file.resource_field_ref) {
            (Some(field), other) => {
                environment::validate_field(field, environment::FILE_FIELDS, true, &path.child("fieldRef"), errors);
                if other.is_some() {
                    errors.invalid(
                        path,
                        "resource",
                        "fieldRef and resourceFieldRef can not be specified simultaneously",
                    );
                }
            }
            (None, Some(resource)) => {
                if resource.container_name.as_deref().unwrap_or_default().is_empty() {
                    errors.required(path.child("resourceFieldRef").child("containerName"), "");
                }
                environment::validate_resource(resource, &path.child("resourceFieldRef"), errors);
            }
            (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
        }
    }
}

fn validate_mode(mode: Option<i32>, path: impl FnOnce() -> Path, errors: &mut Errors) {
    if let Some(mode) = mode.filter(|it| !(0..=MODE_LIMIT).contains(it)) {
        errors.invalid(path(), mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// A file of a volume: a relative path, not upwards, and not among the names the volume keeps for itself.
fn validate_file_path(text: &str, path: impl Fn() -> Path, errors: &mut Errors) {
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

/// A path that is relative and never goes upwards.
pub(super) fn validate_descending_path(text: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    if text.starts_with('/') {
        errors.invalid(path(), text, "must be a relative path");
    }
    if text.split('/').any(|it| it == "..") {
        errors.invalid(path(), text, "must not contain '..'");
    }
}
