//! The rules for a pod's volumes: unique names, and one source each. What a source may say is in the files below: [`files`] for
//! those that hold files of the cluster's objects, [`disks`] for disks and shares.
//!
//! Source: `ValidateVolumes` in `k8s.io/kubernetes/pkg/apis/core/validation`, in whose order the sources stand.

mod disks;
mod files;

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{PodSpec, Volume};

use super::validation::Owner;
use crate::field::{Errors, Path};
use crate::kinds::{checks, disk_rules};
use crate::name;

/// A pod's volumes in which there is no mistake, by name.
pub(super) type Volumes<'a> = HashMap<&'a str, &'a Volume>;

/// Notes every mistake in the volumes of `spec`; gives the good ones, against which mounts are checked.
pub(super) fn validate<'a>(
    spec: &'a PodSpec,
    owner: Owner,
    pod: Option<&str>,
    path: &Path,
    errors: &mut Errors,
) -> Volumes<'a> {
    let mut good = Volumes::new();
    let ephemeral = || spec.volumes.iter().flatten().filter(|it| it.ephemeral.is_some());
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = path.index(index);
        let mistakes = errors.list().len();
        validate_source(volume, owner, pod, &path, errors);
        checks::named(&volume.name, name::dns1123_label, || path.child("name"), errors);
        if good.contains_key(volume.name.as_str()) {
            errors.duplicate(path.child("name"), &volume.name);
        }
        if errors.list().len() == mistakes {
            good.insert(&volume.name, volume);
        }
        if let (Some(claim), Some(pod)) = (&volume.persistent_volume_claim, pod)
            && ephemeral().any(|it| format!("{pod}-{}", it.name) == claim.claim_name)
        {
            let path = path.child("persistentVolumeClaim").child("claimName");
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(path, &claim.claim_name, why);
        }
    }
    good
}

/// Which sources of one volume have been seen: the second and each after it are too many, and are not looked into.
pub(super) struct Sources<'a> {
    path: &'a Path,
    seen: usize,
}

impl Sources<'_> {
    fn first(&mut self, field: &str, errors: &mut Errors) -> bool {
        self.seen += 1;
        if self.seen > 1 {
            errors.forbidden(self.path.child(field), "may not specify more than 1 volume type");
        }
        self.seen == 1
    }
}

fn validate_source(it: &Volume, owner: Owner, pod: Option<&str>, path: &Path, errors: &mut Errors) {
    let mut sources = Sources { path, seen: 0 };
    if let Some(empty) = &it.empty_dir
        && sources.first("emptyDir", errors)
        && let Some(limit) = &empty.size_limit
        && crate::quantity::Quantity::of(limit).is_ok_and(|it| it.is_negative())
    {
        errors
            .forbidden(path.child("emptyDir").child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
    if let Some(host) = &it.host_path
        && sources.first("hostPath", errors)
    {
        disk_rules::validate_host_path(host, &path.child("hostPath"), errors);
    }
    disks::validate_first(it, &mut sources, errors);
    if let Some(secret) = &it.secret
        && sources.first("secret", errors)
    {
        files::validate_secret(secret, &path.child("secret"), errors);
    }
    disks::validate_middle(it, &mut sources, errors);
    if let Some(downward) = &it.downward_api {
        // Sic, in Kubernetes.
        if sources.first("downwarAPI", errors) {
            files::validate_downward(downward, &path.child("downwardAPI"), errors);
        }
    }
    disks::validate_late(it, &mut sources, errors);
    if let Some(map) = &it.config_map
        && sources.first("configMap", errors)
    {
        files::validate_config_map(map, &path.child("configMap"), errors);
    }
    disks::validate_last(it, &mut sources, errors);
    if let Some(projected) = &it.projected
        && sources.first("projected", errors)
    {
        files::validate_projected(projected, &path.child("projected"), errors);
    }
    disks::validate_csi(it, pod, &mut sources, errors);
    if let Some(image) = &it.image
        && sources.first("image", errors)
    {
        let path = path.child("image");
        if owner == Owner::Pod && image.reference.as_deref().unwrap_or_default().is_empty() {
            errors.required(path.child("reference"), "");
        }
        let policies = super::containers::PULL_POLICIES;
        checks::one_of(image.pull_policy.as_deref(), policies, || path.child("pullPolicy"), errors);
    }
    if sources.seen == 0 {
        errors.required(path.clone(), "must specify a volume type");
    }
}

/// A path that is relative and never goes upwards.
pub(super) fn validate_descending_path(text: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    if text.starts_with('/') {
        errors.invalid(path(), text, "must be a relative path");
    }
    disk_rules::validate_no_backsteps(text, path, errors);
}
