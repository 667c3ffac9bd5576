//! `VolumeAttachment`: that a volume is to be at a node, and whether it is.

use k8s_openapi::api::storage::v1::{VolumeAttachment, VolumeAttachmentSpec, VolumeAttachmentStatus, VolumeError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::disk_rules::validate_driver;
use crate::kinds::persistent_volume::validate_inline;
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
        cells::text("Attacher", |it| cells::cell(&it["spec"]["attacher"])).doc(".spec.attacher").naming(),
        cells::text("PV", |it| cells::cell(&it["spec"]["source"]["persistentVolumeName"]))
            .doc(".spec.source.persistentVolumeName"),
        cells::text("Node", |it| cells::cell(&it["spec"]["nodeName"])).doc(".spec.nodeName"),
        cells::flag("Attached", |it| Cell::Flag(it["status"]["attached"] == true)).doc(".status.attached"),
        AGE,
    ];

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(VolumeAttachmentStatus::default()),
            (Part::Status, Some(old)) => {
                self.spec.clone_from(&old.spec);
                keep_metadata(&mut self.metadata, &old.metadata);
            }
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        let path = Path::new("spec");
        // Kubernetes looks at an update twice, and tells twice what is wrong.
        for _ in 0..=usize::from(old.is_some()) {
            validate_spec(&self.spec, &path, errors);
            if let Some(status) = &self.status {
                validate_status(status, &Path::new("status"), errors);
            }
        }
        match old {
            None => validate_new(&self.spec, &path, errors),
            Some(old) if self.spec != old.spec => {
                let text = shown(&self.spec);
                errors.invalid_text(path, text, "field is immutable");
            }
            Some(_) => {}
        }
    }
}

/// What a write to the status may not change of the metadata.
fn keep_metadata(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.labels.clone_from(&old.labels);
    new.annotations.clone_from(&old.annotations);
    new.finalizers.clone_from(&old.finalizers);
    new.owner_references.clone_from(&old.owner_references);
}

/// The specification as Kubernetes' internal form has it.
fn shown(it: &VolumeAttachmentSpec) -> String {
    let volume = serde_json::json!(it.source.persistent_volume_name);
    let inline = serde_json::json!(it.source.inline_volume_spec);
    let source = format!("{{\"PersistentVolumeName\":{volume},\"InlineVolumeSpec\":{inline}}}");
    format!("{{\"Attacher\":{:?},\"Source\":{source},\"NodeName\":{:?}}}", it.attacher, it.node_name)
}

fn validate_spec(spec: &VolumeAttachmentSpec, path: &Path, errors: &mut Errors) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    if spec.attacher.is_empty() {
        errors.required(path.child("attacher"), "");
    }
    let source = path.child("source");
    match (&spec.source.inline_volume_spec, &spec.source.persistent_volume_name) {
        (None, None) => errors.required(source, ONE),
        (Some(_), Some(_)) => errors.forbidden(source, ONE),
        (None, Some(volume)) if volume.is_empty() => {
            errors.required(source.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        (None, Some(_)) => {}
        (Some(inline), None) => validate_inline(inline, &source.child("inlineVolumeSpec"), errors),
    }
    for complaint in name::dns1123_subdomain(&spec.node_name) {
        errors.invalid(path.child("nodeName"), &spec.node_name, complaint);
    }
}

/// What has been asked of new attachments since the first version of the kind.
fn validate_new(spec: &VolumeAttachmentSpec, path: &Path, errors: &mut Errors) {
    validate_driver(&spec.attacher, || path.child("attacher"), errors);
    if let Some(volume) = &spec.source.persistent_volume_name {
        for complaint in name::dns1123_subdomain(volume) {
            errors.invalid(path.child("source").child("persistentVolumeName"), volume, complaint);
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
