//! The rules for security contexts, of pods and of containers: ids, profiles, sysctls, and what contradicts itself.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{AppArmorProfile, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext};

use super::volumes::validate_descending_path;
use super::windows;
use crate::field::{Errors, Path};
use crate::kinds::checks;

/// The largest uid and gid: 2^31 - 1.
const ID_LIMIT: i64 = i32::MAX as i64;
/// The longest name of a sysctl, in bytes.
const SYSCTL_LIMIT_BYTES: usize = 253;
/// The longest path of a profile on the node: Linux' `PATH_MAX` without the zero at its end, in bytes.
const PROFILE_LIMIT_BYTES: usize = 4095;
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

/// Notes every mistake in the security context of a pod, which stands at `path`.
pub(super) fn validate_pod(context: &PodSecurityContext, spec: &PodSpec, path: &Path, errors: &mut Errors) {
    for (field, id) in
        [("fsGroup", context.fs_group), ("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)]
    {
        validate_id(id, || path.child(field), errors);
    }
    for (at, group) in context.supplemental_groups.iter().flatten().enumerate() {
        validate_id(Some(*group), || path.child("supplementalGroups").index(at), errors);
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(path.child("shareProcessNamespace"), true, why);
    }
    if context.sysctls.is_some() {
        validate_sysctls(context, spec, &path.child("sysctls"), errors);
    }
    let policy = context.fs_group_change_policy.as_deref();
    checks::none_or_one_of(policy, &["Always", "OnRootMismatch"], || path.child("fsGroupChangePolicy"), errors);
    validate_seccomp(context.seccomp_profile.as_ref(), || path.child("seccompProfile"), errors);
    windows::validate_options(context.windows_options.as_ref(), || path.child("windowsOptions"), errors);
    validate_app_armor(context.app_armor_profile.as_ref(), || path.child("appArmorProfile"), errors);
    let policy = context.supplemental_groups_policy.as_deref();
    checks::none_or_one_of(policy, &["Merge", "Strict"], || path.child("supplementalGroupsPolicy"), errors);
    let policy = context.se_linux_change_policy.as_deref();
    checks::none_or_one_of(policy, &["MountOption", "Recursive"], || path.child("seLinuxChangePolicy"), errors);
}

/// Notes every mistake in the security context of a container, which stands at `path`.
pub(super) fn validate_container(context: &SecurityContext, host_users: bool, path: &Path, errors: &mut Errors) {
    validate_id(context.run_as_user, || path.child("runAsUser"), errors);
    validate_id(context.run_as_group, || path.child("runAsGroup"), errors);
    let proc_mount = context.proc_mount.as_deref();
    checks::none_or_one_of(proc_mount, &["Default", "Unmasked"], || path.child("procMount"), errors);
    if host_users && proc_mount == Some("Unmasked") {
        errors.invalid(path.child("procMount"), proc_mount, "`hostUsers` must be false to use `Unmasked`");
    }
    validate_seccomp(context.seccomp_profile.as_ref(), || path.child("seccompProfile"), errors);
    if context.allow_privilege_escalation == Some(false) {
        if context.privileged == Some(true) {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(path.clone(), context, why);
        }
        let added = context.capabilities.as_ref().and_then(|it| it.add.as_deref()).unwrap_or_default();
        for _ in added.iter().filter(|it| *it == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(path.clone(), context, why);
        }
    }
    windows::validate_options(context.windows_options.as_ref(), || path.child("windowsOptions"), errors);
    validate_app_armor(context.app_armor_profile.as_ref(), || path.child("appArmorProfile"), errors);
}

/// A pod with users of its own shares no other namespace with the host. `path` is where its specification stands.
pub(super) fn validate_host_users(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    if spec.host_users != Some(false) {
        return;
    }
    for (field, is_shared) in
        [("hostNetwork", spec.host_network), ("HostPID", spec.host_pid), ("HostIPC", spec.host_ipc)]
    {
        if is_shared == Some(true) {
            errors.forbidden(path.child(field), "when `pod.Spec.HostUsers` is false");
        }
    }
}

/// A uid or gid must be one that Linux and Kubernetes both can hold.
fn validate_id(id: Option<i64>, path: impl FnOnce() -> Path, errors: &mut Errors) {
    if let Some(id) = id.filter(|it| !(0..=ID_LIMIT).contains(it)) {
        errors.invalid(path(), id, format!("must be between 0 and {ID_LIMIT}, inclusive"));
    }
}

/// A seccomp profile names a file exactly if it is `Localhost`.
fn validate_seccomp(profile: Option<&SeccompProfile>, path: impl Fn() -> Path, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    checks::one_of_explained(
        &profile.type_,
        PROFILES,
        "type is required when seccompProfile is set",
        || path().child("type"),
        errors,
    );
    let at = || path().child("localhostProfile");
    match (profile.type_.as_str(), profile.localhost_profile.as_deref()) {
        ("Localhost", None) => errors.required(at(), "must be set when seccomp type is Localhost"),
        ("Localhost", Some(file)) => validate_descending_path(file, at, errors),
        (kind, Some(file)) => {
            let text = format!("{{\"Type\":{kind:?},\"LocalhostProfile\":{file:?}}}");
            errors.invalid_text(at(), text, "can only be set when seccomp type is Localhost");
        }
        (_, None) => {}
    }
}

fn validate_app_armor(profile: Option<&AppArmorProfile>, path: impl Fn() -> Path, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    let at = || path().child("localhostProfile");
    match (profile.type_.as_str(), profile.localhost_profile.as_deref()) {
        ("Localhost", Some(file)) if file.trim() != file => {
            errors.invalid(at(), file, "must not be padded with whitespace");
        }
        ("Localhost", None | Some("")) => errors.required(at(), "must be set when AppArmor type is Localhost"),
        ("RuntimeDefault" | "Unconfined", Some(file)) => {
            errors.invalid(at(), file, "can only be set when AppArmor type is Localhost");
        }
        _ => {}
    }
    if profile.type_ == "Localhost"
        && profile.localhost_profile.as_ref().is_some_and(|it| it.len() > PROFILE_LIMIT_BYTES)
    {
        errors.too_long(at(), PROFILE_LIMIT_BYTES);
    }
    checks::one_of_explained(
        &profile.type_,
        PROFILES,
        "type is required when appArmorProfile is set",
        || path().child("type"),
        errors,
    );
}

fn validate_sysctls(context: &PodSecurityContext, spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let mut names = HashSet::new();
    for (index, sysctl) in context.sysctls.iter().flatten().enumerate() {
        let at = || path.index(index).child("name");
        let name = sysctl.name.as_str();
        if name.is_empty() {
            errors.required(at(), "");
        } else if !is_sysctl(name) {
            let why = format!(
                "must have at most {SYSCTL_LIMIT_BYTES} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.invalid(at(), name, why);
        } else if names.contains(name) {
            errors.duplicate(at(), name);
        }
        names.insert(name);
        // What a pod shares with its host is not its own to set.
        if spec.host_network == Some(true) && is_of_network(name) {
            errors.invalid(at(), name, "may not be specified when 'hostNetwork' is true");
        } else if spec.host_ipc == Some(true) && is_of_ipc(name) {
            errors.invalid(at(), name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let is_segment = |it: &str| {
        let bytes = it.as_bytes();
        bytes.first().is_some_and(|it| plain(*it))
            && bytes.last().is_some_and(|it| plain(*it))
            && bytes.iter().all(|it| plain(*it) || matches!(it, b'-' | b'_'))
    };
    name.len() <= SYSCTL_LIMIT_BYTES && name.split(['.', '/']).all(is_segment)
}

/// A sysctl may be written with dots or with slashes between its parts.
fn is_below(name: &str, first: &str) -> bool {
    name.strip_prefix(first).is_some_and(|it| it.starts_with(['.', '/']))
}

fn is_of_network(name: &str) -> bool {
    is_below(name, "net")
}

fn is_of_ipc(name: &str) -> bool {
    let kernel = name.strip_prefix("kernel").and_then(|it| it.strip_prefix(['.', '/'])).unwrap_or_default();
    let files = name.strip_prefix("fs").and_then(|it| it.strip_prefix(['.', '/'])).unwrap_or_default();
    kernel == "sem" || kernel.starts_with("shm") || kernel.starts_with("msg") || is_below(files, "mqueue")
}
