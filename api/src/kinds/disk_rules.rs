//! The rules for disks and shares that pods mount themselves and that volumes of the cluster stand for: what both say in the same words.
//!
//! Source: the functions `validate*VolumeSource` of `k8s.io/kubernetes/pkg/apis/core/validation/validation.go`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use k8s_openapi::api::core::v1::{
    AzureDiskVolumeSource, FCVolumeSource, FlockerVolumeSource, HostPathVolumeSource, NFSVolumeSource,
    QuobyteVolumeSource,
};
use regex::Regex;

use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;

/// The largest number of a logical unit or of a partition.
const LUN_LIMIT: i32 = 255;
/// The longest name of a CSI driver, in bytes.
const DRIVER_LIMIT_BYTES: usize = 63;
const TENANT_LIMIT_BYTES: usize = 64;
/// How long the name of a volume and the address of its target may be together, where the initiator has a name.
const PORTAL_LIMIT_BYTES: usize = 64;
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const MANAGED_DISK: &str =
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
const BLOB_DISK: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
/// What is said of a name that is too long for its target's address.
pub const PORTAL_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// Notes which of the named texts are empty.
pub fn require(fields: &[(&str, bool)], path: &Path, errors: &mut Errors) {
    for (field, _) in fields.iter().filter(|(_, is_empty)| *is_empty) {
        errors.required(path.child(field), "");
    }
}

/// Whether a text is not there, or empty.
pub fn lacks(text: Option<&String>) -> bool {
    text.is_none_or(String::is_empty)
}

/// A path that never goes upwards.
pub fn validate_no_backsteps(text: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    if text.split('/').any(|it| it == "..") {
        errors.invalid(path(), text, "must not contain '..'");
    }
}

/// A path of the node.
pub fn validate_host_path(it: &HostPathVolumeSource, path: &Path, errors: &mut Errors) {
    if it.path.is_empty() {
        return errors.required(path.child("path"), "");
    }
    validate_no_backsteps(&it.path, || path.child("path"), errors);
    checks::none_or_one_of(it.type_.as_deref(), HOST_PATH_TYPES, || path.child("type"), errors);
}

/// A disk with partitions.
pub fn validate_partition(partition: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(number) = partition.filter(|it| !(0..=LUN_LIMIT).contains(it)) {
        errors.invalid(path.child("partition"), number, "must be between 1 and 255, inclusive");
    }
}

fn validate_lun(lun: i32, path: &Path, errors: &mut Errors) {
    if !(0..=LUN_LIMIT).contains(&lun) {
        errors.invalid(path.child("lun"), lun, "must be between 0 and 255, inclusive");
    }
}

/// A share of NFS.
pub fn validate_nfs(it: &NFSVolumeSource, path: &Path, errors: &mut Errors) {
    require(&[("server", it.server.is_empty()), ("path", it.path.is_empty())], path, errors);
    if !it.path.starts_with('/') {
        errors.invalid(path.child("path"), &it.path, "must be an absolute path");
    }
}

/// What both forms of an iSCSI disk say.
#[derive(Clone, Copy, Debug)]
pub struct Iscsi<'a> {
    pub target_portal: &'a str,
    pub name: &'a str,
    pub lun: i32,
    pub authenticates: bool,
    pub has_secret: bool,
    pub initiator: Option<&'a str>,
    /// What is said of a name that begins otherwise than names do.
    pub unknown_form: &'static str,
}

/// An iSCSI disk.
pub fn validate_iscsi(it: Iscsi<'_>, path: &Path, errors: &mut Errors) {
    require(&[("iqn", it.name.is_empty())], path, errors);
    if !it.name.is_empty() {
        validate_iscsi_name(it.name, it.unknown_form, &path.child("iqn"), errors);
    }
    validate_lun(it.lun, path, errors);
    if it.authenticates && !it.has_secret {
        errors.required(path.child("secretRef"), "");
    }
}

/// Who asks for an iSCSI disk.
pub fn validate_initiator(it: Iscsi<'_>, path: &Path, errors: &mut Errors) {
    if let Some(name) = it.initiator {
        validate_iscsi_name(name, it.unknown_form, &path.child("initiatorname"), errors);
    }
}

impl Iscsi<'_> {
    /// Whether the name of the volume is too long for the target's address.
    pub fn is_too_long(&self, volume: &str) -> bool {
        self.initiator.is_some() && volume.len() + 1 + self.target_portal.len() > PORTAL_LIMIT_BYTES
    }
}

fn validate_iscsi_name(text: &str, unknown_form: &str, path: &Path, errors: &mut Errors) {
    static FORMS: OnceLock<[(&str, Regex); 3]> = OnceLock::new();
    let form = |text: &str| Regex::new(text).expect("the pattern is constant and compiles");
    // The first is bound at its end only, as in Kubernetes.
    let forms = FORMS.get_or_init(|| {
        [
            ("iqn", form(r"iqn\.\d{4}-\d{2}\.([[:alnum:]\-.]+)(:[^,;*&$|\s]+)$")),
            ("eui", form(r"^eui.[[:alnum:]]{16}$")),
            ("naa", form(r"^naa.[[:alnum:]]{32}$")),
        ]
    });
    match forms.iter().find(|(begin, _)| text.starts_with(begin)) {
        None => errors.invalid(path.clone(), text, unknown_form),
        Some((_, form)) if !form.is_match(text) => errors.invalid(path.clone(), text, "must be valid format"),
        Some(_) => {}
    }
}

/// A disk of Flocker.
pub fn validate_flocker(it: &FlockerVolumeSource, path: &Path, errors: &mut Errors) {
    match (lacks(it.dataset_name.as_ref()), lacks(it.dataset_uuid.as_ref())) {
        (true, true) => errors.required(path.clone(), "one of datasetName and datasetUUID is required"),
        (false, false) => {
            errors.invalid(path.clone(), "resource", "datasetName and datasetUUID can not be specified simultaneously");
        }
        _ => {}
    }
    if let Some(name) = it.dataset_name.as_ref().filter(|it| it.contains('/')) {
        errors.invalid(path.child("datasetName"), name, "must not contain '/'");
    }
}

/// A share of Quobyte.
pub fn validate_quobyte(it: &QuobyteVolumeSource, path: &Path, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    if it.registry.is_empty() {
        errors.required(path.child("registry"), PAIRS);
    } else if it.tenant.as_ref().is_some_and(|it| it.len() > TENANT_LIMIT_BYTES) {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(path.child("tenant"), why);
    } else {
        for _ in it.registry.split(',').filter(|it| !is_host_and_port(it)) {
            errors.invalid(path.child("registry"), &it.registry, PAIRS);
        }
    }
    require(&[("volume", it.volume.is_empty())], path, errors);
}

/// As Go's `net.SplitHostPort` splits it.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = |it: &str| !it.contains(['[', ']']);
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(plain) && plain(port),
        None => plain(host) && !host.contains(':') && plain(port),
    }
}

/// A disk of Fibre Channel.
pub fn validate_fibre(it: &FCVolumeSource, path: &Path, errors: &mut Errors) {
    let names = it.target_wwns.as_deref().unwrap_or_default();
    let ids = it.wwids.as_deref().unwrap_or_default();
    if names.is_empty() && ids.is_empty() {
        errors.required(path.child("targetWWNs"), "must specify either targetWWNs or wwids, but not both");
    }
    if !names.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.invalid(path.child("targetWWNs"), names, why);
    }
    match it.lun {
        _ if names.is_empty() => {}
        None => errors.required(path.child("lun"), "lun is required if targetWWNs is specified"),
        Some(lun) => validate_lun(lun, path, errors),
    }
}

/// A disk of a driver that is called on the node.
pub fn validate_flex(driver: &str, options: Option<&BTreeMap<String, String>>, path: &Path, errors: &mut Errors) {
    require(&[("driver", driver.is_empty())], path, errors);
    for key in options.into_iter().flat_map(BTreeMap::keys) {
        let domain = format!(".{}", key.split_once('/').map_or(key.as_str(), |(domain, _)| domain).to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.invalid(path.child("options").key(key), key, why);
        }
    }
}

/// A disk of Azure.
pub fn validate_azure_disk(it: &AzureDiskVolumeSource, path: &Path, errors: &mut Errors) {
    require(&[("diskName", it.disk_name.is_empty()), ("diskURI", it.disk_uri.is_empty())], path, errors);
    let modes = &["None", "ReadOnly", "ReadWrite"];
    checks::none_or_one_of(it.caching_mode.as_deref(), modes, || path.child("cachingMode"), errors);
    let kind = it.kind.as_deref();
    checks::none_or_one_of(kind, &["Dedicated", "Managed", "Shared"], || path.child("kind"), errors);
    let uri = it.disk_uri.as_str();
    if kind == Some("Managed") && !uri.starts_with("/subscriptions/") {
        errors.not_supported(path.child("diskURI"), uri, &[MANAGED_DISK]);
    }
    if kind.is_some_and(|it| it != "Managed") && !uri.starts_with("https://") {
        errors.not_supported(path.child("diskURI"), uri, &[BLOB_DISK]);
    }
}

/// The names of a volume of StorageOS.
pub fn validate_storage_os(name: Option<&String>, namespace: Option<&String>, path: &Path, errors: &mut Errors) {
    let name = name.map_or("", String::as_str);
    checks::named(name, name::dns1123_label, || path.child("volumeName"), errors);
    let namespace = namespace.map(String::as_str);
    checks::none_or_named(namespace, name::dns1123_label, || path.child("volumeNamespace"), errors);
}

/// The name of a CSI driver. One that is empty has no name's form either.
pub fn validate_driver(text: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    if text.is_empty() {
        errors.required(path(), "");
    }
    if text.len() > DRIVER_LIMIT_BYTES {
        errors.too_long(path(), DRIVER_LIMIT_BYTES);
    }
    for complaint in name::dns1123_subdomain(&text.to_lowercase()) {
        errors.invalid(path(), text, complaint);
    }
}
