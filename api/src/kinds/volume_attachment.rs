//! `VolumeAttachment`: that a volume is to be at a node, and whether it is.

use k8s_openapi::api::storage::v1::{VolumeAttachment, VolumeAttachmentStatus, VolumeError};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::name;
use crate::table::{Cell, Column};

/// 256 KiB: how long the keys and values of what a driver tells may be together.
const METADATA_LIMIT_BYTES: usize = 256 * 1024;
const MESSAGE_LIMIT_BYTES: usize = 1024;

impl Strategy for VolumeAttachment {
    const NAMES: Names =
        Names { plural: "volumeattachments", singular: "volumeattachment", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const RETURNS_DELETED: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const STATUS_RESETS: &'static [&'static [&'static str]] = &[&["metadata"], &["spec"]];
    const COLUMNS: &'static [Column] = &[
        cells::text("Attacher", |it| cells::cell(&it["spec"]["attacher"])).doc(".spec.attacher"),
        cells::text("PV", |it| cells::cell(&it["spec"]["source"]["persistentVolumeName"]))
            .doc(".spec.source.persistentVolumeName"),
        cells::text("Node", |it| cells::cell(&it["spec"]["nodeName"])).doc(".spec.nodeName"),
        cells::flag("Attached", |it| Cell::Flag(it["status"]["attached"] == true)).doc(".status.attached"),
        AGE,
    ];

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(VolumeAttachmentStatus::default()),
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        let path = Path::new("spec");
        checks::named(&self.spec.attacher, name::dns1123_subdomain, || path.child("attacher"), errors);
        let source = path.child("source");
        match (&self.spec.source.inline_volume_spec, &self.spec.source.persistent_volume_name) {
            (None, None) => errors.required(source, ONE),
            (Some(_), Some(_)) => errors.forbidden(source, ONE),
            (None, Some(volume)) if volume.is_empty() => {
                errors.required(source.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
            }
            (None, Some(volume)) => {
                let path = || source.child("persistentVolumeName");
                checks::none_or_named(Some(volume), name::dns1123_subdomain, path, errors);
            }
            (Some(_), None) => {}
        }
        for complaint in name::dns1123_subdomain(&self.spec.node_name) {
            errors.invalid(path.child("nodeName"), &self.spec.node_name, complaint);
        }
        if let Some(status) = &self.status {
            validate_status(status, &Path::new("status"), errors);
        }
        if let Some(old) = old {
            checks::immutable(&self.spec, &old.spec, path, errors);
        }
    }
}

fn validate_status(status: &VolumeAttachmentStatus, path: &Path, errors: &mut Errors) {
    let told = status.attachment_metadata.iter().flatten();
    if told.map(|(key, value)| key.len() + value.len()).sum::<usize>() > METADATA_LIMIT_BYTES {
        errors.too_long(path.child("attachmentMetadata"), METADATA_LIMIT_BYTES);
    }
    for (field, error) in [("attachError", &status.attach_error), ("detachError", &status.detach_error)] {
        if let Some(error) = error {
            validate_error(error, &path.child(field), errors);
        }
    }
}

fn validate_error(error: &VolumeError, path: &Path, errors: &mut Errors) {
    if error.message.as_ref().is_some_and(|it| it.len() > MESSAGE_LIMIT_BYTES) {
        // Kubernetes names this limit, although the other one is held.
        errors.too_long(path.child("message"), METADATA_LIMIT_BYTES);
    }
    if let Some(code) = error.error_code.filter(|it| *it < 0) {
        errors.invalid(path.child("errorCode"), code, format!("must be between 0 and {}, inclusive", i32::MAX));
    }
}
