//! The rules for volumes that are disks or shares: which fields must be there, and in which range. In four parts, between which
//! Kubernetes looks at other sources. Whether any such disk can be mounted is the node's matter.

use k8s_openapi::api::core::v1::{CSIVolumeSource, ISCSIVolumeSource, Volume};

use super::{Sources, validate_descending_path};
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;

/// The largest number of a logical unit or of a partition.
const LUN_LIMIT: i32 = 255;
/// The longest name of a CSI driver, in bytes.
const DRIVER_LIMIT_BYTES: usize = 63;

/// Notes which of the named texts are empty.
fn require(fields: &[(&str, bool)], path: &Path, errors: &mut Errors) {
    for (field, _) in fields.iter().filter(|(_, is_empty)| *is_empty) {
        errors.required(path.child(field), "");
    }
}

fn lacks(text: Option<&String>) -> bool {
    text.is_none_or(String::is_empty)
}

fn validate_partition(partition: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(number) = partition.filter(|it| !(0..=LUN_LIMIT).contains(it)) {
        errors.invalid(path.child("partition"), number, "must be between 1 and 255, inclusive");
    }
}

fn validate_lun(lun: i32, path: &Path, errors: &mut Errors) {
    if !(0..=LUN_LIMIT).contains(&lun) {
        errors.invalid(path.child("lun"), lun, "must be between 0 and 255, inclusive");
    }
}

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
        validate_partition(disk.partition, &path, errors);
    }
    if let Some(disk) = &it.aws_elastic_block_store
        && sources.first("awsElasticBlockStore", errors)
    {
        let path = sources.path.child("awsElasticBlockStore");
        require(&[("volumeID", disk.volume_id.is_empty())], &path, errors);
        validate_partition(disk.partition, &path, errors);
    }
}

/// What Kubernetes looks at between secrets and the downward API.
pub(super) fn validate_middle(it: &Volume, sources: &mut Sources<'_>, errors: &mut Errors) {
    if let Some(nfs) = &it.nfs
        && sources.first("nfs", errors)
    {
        let path = sources.path.child("nfs");
        require(&[("server", nfs.server.is_empty()), ("path", nfs.path.is_empty())], &path, errors);
        if !nfs.path.starts_with('/') {
            errors.invalid(path.child("path"), &nfs.path, "must be an absolute path");
        }
    }
    if let Some(iscsi) = &it.iscsi
        && sources.first("iscsi", errors)
    {
        validate_iscsi(iscsi, &sources.path.child("iscsi"), errors);
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
        let path = sources.path.child("flocker");
        match (lacks(flocker.dataset_name.as_ref()), lacks(flocker.dataset_uuid.as_ref())) {
            (true, true) => errors.required(path, "one of datasetName and datasetUUID is required"),
            (false, false) => {
                errors.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously");
            }
            _ => {}
        }
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
        require(&[("volumeID", cinder.volume_id.is_empty())], &sources.path.child("cinder"), errors);
    }
    if let Some(ceph) = &it.cephfs
        && sources.first("cephFS", errors)
    {
        require(&[("monitors", ceph.monitors.is_empty())], &sources.path.child("cephfs"), errors);
    }
    if let Some(quobyte) = &it.quobyte
        && sources.first("quobyte", errors)
    {
        let path = sources.path.child("quobyte");
        if quobyte.registry.is_empty() {
            let why = "must be a host:port pair or multiple pairs separated by commas";
            errors.required(path.child("registry"), why);
        }
        require(&[("volume", quobyte.volume.is_empty())], &path, errors);
    }
}

fn validate_iscsi(it: &ISCSIVolumeSource, path: &Path, errors: &mut Errors) {
    require(&[("targetPortal", it.target_portal.is_empty()), ("iqn", it.iqn.is_empty())], path, errors);
    let known = |it: &str| ["iqn", "eui", "naa"].iter().any(|form| it.starts_with(form));
    if !it.iqn.is_empty() && !known(&it.iqn) {
        errors.invalid(path.child("iqn"), &it.iqn, "must be valid format starting with iqn, eui, or naa");
    }
    validate_lun(it.lun, path, errors);
    let authenticates = it.chap_auth_discovery == Some(true) || it.chap_auth_session == Some(true);
    if authenticates && it.secret_ref.is_none() {
        errors.required(path.child("secretRef"), "");
    }
    if let Some(name) = it.initiator_name.as_deref().filter(|it| !known(it)) {
        errors.invalid(path.child("initiatorname"), name, "must be valid format starting with iqn, eui, or naa");
    }
}

/// What Kubernetes looks at between the downward API and ConfigMaps.
pub(super) fn validate_late(it: &Volume, sources: &mut Sources<'_>, errors: &mut Errors) {
    if let Some(fc) = &it.fc
        && sources.first("fc", errors)
    {
        let path = sources.path.child("fc");
        let names = fc.target_wwns.as_deref().unwrap_or_default();
        let ids = fc.wwids.as_deref().unwrap_or_default();
        if names.is_empty() && ids.is_empty() {
            errors.required(path.child("targetWWNs"), "must specify either targetWWNs or wwids, but not both");
        }
        if !names.is_empty() && !ids.is_empty() {
            let why = "targetWWNs and wwids can not be specified simultaneously";
            errors.invalid(path.child("targetWWNs"), names, why);
        }
        match fc.lun {
            _ if names.is_empty() => {}
            None => errors.required(path.child("lun"), "lun is required if targetWWNs is specified"),
            Some(lun) => validate_lun(lun, &path, errors),
        }
    }
    if let Some(flex) = &it.flex_volume
        && sources.first("flexVolume", errors)
    {
        require(&[("driver", flex.driver.is_empty())], &sources.path.child("flexVolume"), errors);
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
        let fields = [("diskName", disk.disk_name.is_empty()), ("diskURI", disk.disk_uri.is_empty())];
        require(&fields, &sources.path.child("azureDisk"), errors);
    }
    if let Some(disk) = &it.storageos
        && sources.first("storageos", errors)
    {
        require(&[("volumeName", lacks(disk.volume_name.as_ref()))], &sources.path.child("storageos"), errors);
    }
}

/// What Kubernetes looks at after projections.
pub(super) fn validate_csi(it: &Volume, sources: &mut Sources<'_>, errors: &mut Errors) {
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
        validate_driver(csi, &sources.path.child("csi"), errors);
    }
    if let Some(ephemeral) = &it.ephemeral
        && sources.first("ephemeral", errors)
        && ephemeral.volume_claim_template.is_none()
    {
        errors.required(sources.path.child("ephemeral").child("volumeClaimTemplate"), "");
    }
}

fn validate_driver(it: &CSIVolumeSource, path: &Path, errors: &mut Errors) {
    let at = || path.child("driver");
    if it.driver.is_empty() {
        errors.required(at(), "");
    } else {
        if it.driver.len() > DRIVER_LIMIT_BYTES {
            errors.too_long(at(), DRIVER_LIMIT_BYTES);
        }
        for complaint in name::dns1123_subdomain(&it.driver.to_lowercase()) {
            errors.invalid(at(), &it.driver, complaint);
        }
    }
    if let Some(secret) = &it.node_publish_secret_ref {
        let at = || path.child("nodePublishSecretRef").child("name");
        checks::named(&secret.name, name::dns1123_subdomain, at, errors);
    }
}
