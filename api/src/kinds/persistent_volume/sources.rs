//! The rules for where a volume's storage comes from: exactly one source, in Kubernetes' order of looking at them.
//!
//! Source: `ValidatePersistentVolumeSpec` of `k8s.io/kubernetes/pkg/apis/core/validation/validation.go`.

use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolumeSpec, SecretReference};

use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::kinds::disk_rules::{self as rules, Iscsi, lacks, require};
use crate::name;

/// Which sources have been seen: the second and each after it are too many, and are not looked into.
struct Sources<'a> {
    path: &'a Path,
    seen: usize,
}

impl Sources<'_> {
    fn first(&mut self, field: &str, errors: &mut Errors) -> Option<Path> {
        self.seen += 1;
        if self.seen > 1 {
            errors.forbidden(self.path.child(field), "may not specify more than 1 volume type");
            return None;
        }
        Some(self.path.child(field))
    }
}

/// Adds the warnings about sources that no node can use any more.
pub fn warn(spec: &PersistentVolumeSpec, path: &Path, out: &mut Vec<String>) {
    for (field, is_set, message) in [
        ("cephfs", spec.cephfs.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
        (
            "photonPersistentDisk",
            spec.photon_persistent_disk.is_some(),
            "deprecated in v1.11, non-functional in v1.16+",
        ),
        ("scaleIO", spec.scale_io.is_some(), "deprecated in v1.16, non-functional in v1.22+"),
        ("storageOS", spec.storageos.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", spec.glusterfs.is_some(), "deprecated in v1.25, non-functional in v1.26+"),
        ("rbd", spec.rbd.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
    ] {
        if is_set {
            out.push(format!("{}: {message}", path.child(field)));
        }
    }
}

/// Notes every mistake in the sources of the volume of this name.
pub fn validate(spec: &PersistentVolumeSpec, name: &str, path: &Path, errors: &mut Errors) {
    let mut sources = Sources { path, seen: 0 };
    validate_old(spec, &mut sources, errors);
    validate_networked(spec, name, &mut sources, errors);
    validate_late(spec, &mut sources, errors);
    if sources.seen == 0 {
        errors.required(path.clone(), "must specify a volume type");
    }
}

fn validate_old(spec: &PersistentVolumeSpec, sources: &mut Sources<'_>, errors: &mut Errors) {
    if let Some(it) = &spec.host_path
        && let Some(path) = sources.first("hostPath", errors)
    {
        rules::validate_host_path(it, &path, errors);
    }
    if let Some(it) = &spec.gce_persistent_disk
        && sources.first("gcePersistentDisk", errors).is_some()
    {
        let path = sources.path.child("persistentDisk");
        require(&[("pdName", it.pd_name.is_empty())], &path, errors);
        rules::validate_partition(it.partition, &path, errors);
    }
    if let Some(it) = &spec.aws_elastic_block_store
        && let Some(path) = sources.first("awsElasticBlockStore", errors)
    {
        require(&[("volumeID", it.volume_id.is_empty())], &path, errors);
        rules::validate_partition(it.partition, &path, errors);
    }
    if let Some(it) = &spec.glusterfs
        && let Some(path) = sources.first("glusterfs", errors)
    {
        require(&[("endpoints", it.endpoints.is_empty()), ("path", it.path.is_empty())], &path, errors);
        let at = || path.child("endpointsNamespace");
        match it.endpoints_namespace.as_deref() {
            None => {}
            Some("") => {
                errors.invalid(at(), "", "if the endpointnamespace is set, it must be a valid namespace name");
            }
            namespace => checks::none_or_named(namespace, name::dns1123_label, at, errors),
        }
    }
    if let Some(it) = &spec.flocker
        && let Some(path) = sources.first("flocker", errors)
    {
        rules::validate_flocker(it, &path, errors);
    }
    if let Some(it) = &spec.nfs
        && let Some(path) = sources.first("nfs", errors)
    {
        rules::validate_nfs(it, &path, errors);
    }
    if let Some(it) = &spec.rbd
        && let Some(path) = sources.first("rbd", errors)
    {
        require(&[("monitors", it.monitors.is_empty()), ("image", it.image.is_empty())], &path, errors);
    }
    if let Some(it) = &spec.quobyte
        && let Some(path) = sources.first("quobyte", errors)
    {
        rules::validate_quobyte(it, &path, errors);
    }
    // Sic, in Kubernetes: the field's name is written otherwise where there are too many.
    if let Some(it) = &spec.cephfs
        && sources.first("cephFS", errors).is_some()
    {
        require(&[("monitors", it.monitors.is_empty())], &sources.path.child("cephfs"), errors);
    }
}

fn validate_networked(spec: &PersistentVolumeSpec, name: &str, sources: &mut Sources<'_>, errors: &mut Errors) {
    if let Some(it) = &spec.iscsi
        && let Some(path) = sources.first("iscsi", errors)
    {
        let parts = Iscsi {
            target_portal: &it.target_portal,
            name: &it.iqn,
            lun: it.lun,
            authenticates: it.chap_auth_discovery == Some(true) || it.chap_auth_session == Some(true),
            has_secret: it.secret_ref.is_some(),
            initiator: it.initiator_name.as_deref(),
            unknown_form: "must be valid format",
        };
        require(&[("targetPortal", it.target_portal.is_empty())], &path, errors);
        if parts.is_too_long(name) {
            errors.invalid(path.child("targetportal"), &it.target_portal, rules::PORTAL_TOO_LONG);
        }
        rules::validate_iscsi(parts, &path, errors);
        require_secret(it.secret_ref.as_ref(), &["name"], &path, errors);
        rules::validate_initiator(parts, &path, errors);
    }
    if let Some(it) = &spec.cinder
        && let Some(path) = sources.first("cinder", errors)
    {
        require(&[("volumeID", it.volume_id.is_empty())], &path, errors);
        require_secret(it.secret_ref.as_ref(), &["name", "namespace"], &path, errors);
    }
    if let Some(it) = &spec.fc
        && let Some(path) = sources.first("fc", errors)
    {
        rules::validate_fibre(it, &path, errors);
    }
    if let Some(it) = &spec.flex_volume {
        // Kubernetes looks into it even where it is one too many.
        sources.seen += 1;
        rules::validate_flex(&it.driver, it.options.as_ref(), &sources.path.child("flexVolume"), errors);
    }
}

fn validate_late(spec: &PersistentVolumeSpec, sources: &mut Sources<'_>, errors: &mut Errors) {
    if let Some(it) = &spec.azure_file
        && let Some(path) = sources.first("azureFile", errors)
    {
        let namespace = it.secret_namespace.as_ref().is_some_and(String::is_empty);
        let fields = [
            ("secretName", it.secret_name.is_empty()),
            ("shareName", it.share_name.is_empty()),
            ("secretNamespace", namespace),
        ];
        require(&fields, &path, errors);
    }
    if let Some(it) = &spec.vsphere_volume
        && let Some(path) = sources.first("vsphereVolume", errors)
    {
        require(&[("volumePath", it.volume_path.is_empty())], &path, errors);
    }
    if let Some(it) = &spec.photon_persistent_disk
        && let Some(path) = sources.first("photonPersistentDisk", errors)
    {
        require(&[("pdID", it.pd_id.is_empty())], &path, errors);
    }
    if let Some(it) = &spec.portworx_volume
        && let Some(path) = sources.first("portworxVolume", errors)
    {
        require(&[("volumeID", it.volume_id.is_empty())], &path, errors);
    }
    if let Some(it) = &spec.azure_disk
        && let Some(path) = sources.first("azureDisk", errors)
    {
        rules::validate_azure_disk(it, &path, errors);
    }
    if let Some(it) = &spec.scale_io
        && let Some(path) = sources.first("scaleIO", errors)
    {
        let fields = [
            ("gateway", it.gateway.is_empty()),
            ("system", it.system.is_empty()),
            ("volumeName", lacks(it.volume_name.as_ref())),
        ];
        require(&fields, &path, errors);
    }
    if let Some(it) = &spec.local
        && let Some(path) = sources.first("local", errors)
    {
        if it.path.is_empty() {
            errors.required(path.child("path"), "");
        } else {
            rules::validate_no_backsteps(&it.path, || path.child("path"), errors);
        }
        if spec.node_affinity.is_none() {
            errors.required(sources.path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if let Some(it) = &spec.storageos
        && let Some(path) = sources.first("storageos", errors)
    {
        rules::validate_storage_os(it.volume_name.as_ref(), it.volume_namespace.as_ref(), &path, errors);
        if let Some(secret) = &it.secret_ref {
            let fields = [("name", lacks(secret.name.as_ref())), ("namespace", lacks(secret.namespace.as_ref()))];
            require(&fields, &path.child("secretRef"), errors);
        }
    }
    if let Some(it) = &spec.csi
        && let Some(path) = sources.first("csi", errors)
    {
        validate_csi(it, &path, errors);
    }
}

fn require_secret(secret: Option<&SecretReference>, fields: &[&str], path: &Path, errors: &mut Errors) {
    let Some(secret) = secret else { return };
    for field in fields {
        let text = if *field == "name" { &secret.name } else { &secret.namespace };
        require(&[(field, lacks(text.as_ref()))], &path.child("secretRef"), errors);
    }
}

fn validate_csi(it: &CSIPersistentVolumeSource, path: &Path, errors: &mut Errors) {
    rules::validate_driver(&it.driver, || path.child("driver"), errors);
    require(&[("volumeHandle", it.volume_handle.is_empty())], path, errors);
    for (field, secret) in [
        ("controllerPublishSecretRef", &it.controller_publish_secret_ref),
        ("controllerExpandSecretRef", &it.controller_expand_secret_ref),
        ("nodePublishSecretRef", &it.node_publish_secret_ref),
        ("nodeExpandSecretRef", &it.node_expand_secret_ref),
    ] {
        let Some(secret) = secret else { continue };
        let path = path.child(field);
        let text = |it: &Option<String>| it.clone().unwrap_or_default();
        checks::named(&text(&secret.name), name::dns1123_subdomain, || path.child("name"), errors);
        checks::named(&text(&secret.namespace), name::dns1123_label, || path.child("namespace"), errors);
    }
}
