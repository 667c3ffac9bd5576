//! The rules for volumes that are disks or shares: which fields must be there, and in which range. In four parts, between which
//! Kubernetes looks at other sources. Whether any such disk can be mounted is the node's matter.

use k8s_openapi::api::core::v1::{CSIVolumeSource, ISCSIVolumeSource, Volume};

use super::{Sources, validate_descending_path};
use crate::field::{Errors, Path};
use crate::kinds::disk_rules::{self as rules, Iscsi, lacks, require};
use crate::kinds::{checks, persistent_volume_claim, workload};
use crate::name;

/// What Kubernetes looks at before secrets.
pub(super) fn validate_first(it: &Volume, sources: &mut Sources<'_>, errors: &mut Errors) {
    if let Some(git) = &it.git_repo
        && sources.first("gitRepo", errors)
    {
        let path = sources.path.child("gitRepo");
        require(&[("repository", git.repository.is_empty())], &path, errors);
        if let Some(directory) = &git.directory {
            validate_descending_path(directory, || path.child("directory"), errors);
        }
    }
    if let Some(disk) = &it.gce_persistent_disk
        && sources.first("gcePersistentDisk", errors)
    {
        let path = sources.path.child("persistentDisk");
        require(&[("pdName", disk.pd_name.is_empty())], &path, errors);
        rules::validate_partition(disk.partition, &path, errors);
    }
    if let Some(disk) = &it.aws_elastic_block_store
        && sources.first("awsElasticBlockStore", errors)
    {
        let path = sources.path.child("awsElasticBlockStore");
        require(&[("volumeID", disk.volume_id.is_empty())], &path, errors);
        rules::validate_partition(disk.partition, &path, errors);
    }
}

/// What Kubernetes looks at between secrets and the downward API.
pub(super) fn validate_middle(it: &Volume, sources: &mut Sources<'_>, errors: &mut Errors) {
    if let Some(nfs) = &it.nfs
        && sources.first("nfs", errors)
    {
        rules::validate_nfs(nfs, &sources.path.child("nfs"), errors);
    }
    if let Some(iscsi) = &it.iscsi {
        let parts = iscsi_of(iscsi);
        if sources.first("iscsi", errors) {
            let path = sources.path.child("iscsi");
            require(&[("targetPortal", parts.target_portal.is_empty())], &path, errors);
            rules::validate_iscsi(parts, &path, errors);
            rules::validate_initiator(parts, &path, errors);
        }
        if parts.is_too_long(&it.name) {
            errors.invalid(sources.path.child("name"), &it.name, rules::PORTAL_TOO_LONG);
        }
    }
    if let Some(share) = &it.glusterfs
        && sources.first("glusterfs", errors)
    {
        let fields = [("endpoints", share.endpoints.is_empty()), ("path", share.path.is_empty())];
        require(&fields, &sources.path.child("glusterfs"), errors);
    }
    if let Some(flocker) = &it.flocker
        && sources.first("flocker", errors)
    {
        rules::validate_flocker(flocker, &sources.path.child("flocker"), errors);
    }
    if let Some(claim) = &it.persistent_volume_claim
        && sources.first("persistentVolumeClaim", errors)
    {
        let path = sources.path.child("persistentVolumeClaim");
        require(&[("claimName", claim.claim_name.is_empty())], &path, errors);
    }
    if let Some(rbd) = &it.rbd
        && sources.first("rbd", errors)
    {
        let fields = [("monitors", rbd.monitors.is_empty()), ("image", rbd.image.is_empty())];
        require(&fields, &sources.path.child("rbd"), errors);
    }
    if let Some(cinder) = &it.cinder
        && sources.first("cinder", errors)
    {
        let path = sources.path.child("cinder");
        require(&[("volumeID", cinder.volume_id.is_empty())], &path, errors);
        if let Some(secret) = &cinder.secret_ref {
            require(&[("name", secret.name.is_empty())], &path.child("secretRef"), errors);
        }
    }
    if let Some(ceph) = &it.cephfs
        && sources.first("cephFS", errors)
    {
        require(&[("monitors", ceph.monitors.is_empty())], &sources.path.child("cephfs"), errors);
    }
    if let Some(quobyte) = &it.quobyte
        && sources.first("quobyte", errors)
    {
        rules::validate_quobyte(quobyte, &sources.path.child("quobyte"), errors);
    }
}

fn iscsi_of(it: &ISCSIVolumeSource) -> Iscsi<'_> {
    Iscsi {
        target_portal: &it.target_portal,
        name: &it.iqn,
        lun: it.lun,
        authenticates: it.chap_auth_discovery == Some(true) || it.chap_auth_session == Some(true),
        has_secret: it.secret_ref.is_some(),
        initiator: it.initiator_name.as_deref(),
        unknown_form: "must be valid format starting with iqn, eui, or naa",
    }
}

/// What Kubernetes looks at between the downward API and ConfigMaps.
pub(super) fn validate_late(it: &Volume, sources: &mut Sources<'_>, errors: &mut Errors) {
    if let Some(fc) = &it.fc
        && sources.first("fc", errors)
    {
        rules::validate_fibre(fc, &sources.path.child("fc"), errors);
    }
    if let Some(flex) = &it.flex_volume
        && sources.first("flexVolume", errors)
    {
        rules::validate_flex(&flex.driver, flex.options.as_ref(), &sources.path.child("flexVolume"), errors);
    }
}

/// What Kubernetes looks at between ConfigMaps and projections, and one that it looks at soon after.
pub(super) fn validate_last(it: &Volume, sources: &mut Sources<'_>, errors: &mut Errors) {
    if let Some(share) = &it.azure_file
        && sources.first("azureFile", errors)
    {
        let fields = [("secretName", share.secret_name.is_empty()), ("shareName", share.share_name.is_empty())];
        require(&fields, &sources.path.child("azureFile"), errors);
    }
    if let Some(disk) = &it.vsphere_volume
        && sources.first("vsphereVolume", errors)
    {
        require(&[("volumePath", disk.volume_path.is_empty())], &sources.path.child("vsphereVolume"), errors);
    }
    if let Some(disk) = &it.photon_persistent_disk
        && sources.first("photonPersistentDisk", errors)
    {
        require(&[("pdID", disk.pd_id.is_empty())], &sources.path.child("photonPersistentDisk"), errors);
    }
    if let Some(disk) = &it.portworx_volume
        && sources.first("portworxVolume", errors)
    {
        require(&[("volumeID", disk.volume_id.is_empty())], &sources.path.child("portworxVolume"), errors);
    }
    if let Some(disk) = &it.azure_disk
        && sources.first("azureDisk", errors)
    {
        rules::validate_azure_disk(disk, &sources.path.child("azureDisk"), errors);
    }
    if let Some(disk) = &it.storageos
        && sources.first("storageos", errors)
    {
        let path = sources.path.child("storageos");
        rules::validate_storage_os(disk.volume_name.as_ref(), disk.volume_namespace.as_ref(), &path, errors);
        if let Some(secret) = &disk.secret_ref {
            require(&[("name", secret.name.is_empty())], &path.child("secretRef"), errors);
        }
    }
}

/// What Kubernetes looks at after projections. `pod` is the name of the pod, if it has one.
pub(super) fn validate_csi(it: &Volume, pod: Option<&str>, sources: &mut Sources<'_>, errors: &mut Errors) {
    if let Some(disk) = &it.scale_io
        && sources.first("scaleIO", errors)
    {
        let fields = [
            ("gateway", disk.gateway.is_empty()),
            ("system", disk.system.is_empty()),
            ("volumeName", lacks(disk.volume_name.as_ref())),
        ];
        require(&fields, &sources.path.child("scaleIO"), errors);
    }
    if let Some(csi) = &it.csi
        && sources.first("csi", errors)
    {
        validate_inline(csi, &sources.path.child("csi"), errors);
    }
    if let Some(ephemeral) = &it.ephemeral
        && sources.first("ephemeral", errors)
    {
        let path = sources.path.child("ephemeral").child("volumeClaimTemplate");
        match &ephemeral.volume_claim_template {
            None => errors.required(path, ""),
            Some(template) => {
                if let Some(metadata) = &template.metadata {
                    workload::validate_template_metadata(metadata, &path.child("metadata"), errors);
                }
                persistent_volume_claim::validate_spec(&template.spec, &path.child("spec"), errors);
            }
        }
        if let Some(pod) = pod.filter(|_| !it.name.is_empty()) {
            let claim = format!("{pod}-{}", it.name);
            for complaint in name::dns1123_subdomain(&claim) {
                let why = format!("PVC name {claim:?}: {complaint}");
                errors.invalid(sources.path.child("name"), &it.name, why);
            }
        }
    }
}

fn validate_inline(it: &CSIVolumeSource, path: &Path, errors: &mut Errors) {
    rules::validate_driver(&it.driver, || path.child("driver"), errors);
    if let Some(secret) = &it.node_publish_secret_ref {
        if secret.name.is_empty() {
            errors.required(path.child("nodePublishSecretRef").child("name"), "");
        }
        // Sic, in Kubernetes: the name of the field is left out.
        checks::none_or_named(Some(&secret.name), name::dns1123_subdomain, || path.child("name"), errors);
    }
}
