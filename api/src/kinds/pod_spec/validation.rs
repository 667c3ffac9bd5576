//! The rules for a pod's specification as a whole; its parts have their own files beside this one.

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec, SeccompProfile};

use super::volumes::Volumes;
use super::{containers, resources, scheduling, volumes};
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::meta;
use crate::name;

const DNS_POLICIES: &[&str] = &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
/// The largest uid, gid, and number of seconds of a deadline: 2^31 - 1.
const ID_LIMIT: i64 = i32::MAX as i64;

/// Notes every mistake in a pod template. `path` is where the template stands.
pub fn validate_template(template: &PodTemplateSpec, path: &Path, errors: &mut Errors) {
    if let Some(metadata) = &template.metadata {
        let path = path.child("metadata");
        meta::validate_labels(metadata.labels.as_ref(), &path.child("labels"), errors);
        meta::validate_annotations(metadata.annotations.as_ref(), &path.child("annotations"), errors);
    }
    let path = path.child("spec");
    match &template.spec {
        Some(spec) => {
            validate_spec(spec, &path, errors);
            if spec.ephemeral_containers.as_ref().is_some_and(|it| !it.is_empty()) {
                errors.forbidden(path.child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
            }
        }
        None => errors.required(path.child("containers"), ""),
    }
}

/// Notes every mistake in a pod's specification, which stands at `path`.
pub fn validate_spec(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let volumes: Volumes<'_> = volumes::validate(spec, &path.child("volumes"), errors);
    containers::validate_all(spec, &volumes, path, errors);
    checks::one_of(
        spec.restart_policy.as_deref(),
        &["Always", "OnFailure", "Never"],
        || path.child("restartPolicy"),
        errors,
    );
    validate_dns(spec, path, errors);
    if spec.node_selector.is_some() {
        meta::validate_labels(spec.node_selector.as_ref(), &path.child("nodeSelector"), errors);
    }
    validate_security(spec, path, errors);
    scheduling::validate(spec, path, errors);
    checks::none_or_named(
        spec.service_account_name.as_deref(),
        name::dns1123_subdomain,
        || path.child("serviceAccountName"),
        errors,
    );
    checks::none_or_named(spec.node_name.as_deref(), name::dns1123_subdomain, || path.child("nodeName"), errors);
    if let Some(seconds) = spec.active_deadline_seconds.filter(|it| !(1..=ID_LIMIT).contains(it)) {
        errors.invalid(
            path.child("activeDeadlineSeconds"),
            seconds,
            format!("must be between 1 and {ID_LIMIT}, inclusive"),
        );
    }
    checks::none_or_named(spec.hostname.as_deref(), name::dns1123_label, || path.child("hostname"), errors);
    checks::none_or_named(spec.subdomain.as_deref(), name::dns1123_label, || path.child("subdomain"), errors);
    for (at, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let path = path.child("hostAliases").index(at);
        if alias.ip.parse::<std::net::IpAddr>().is_err() {
            errors.invalid(
                path.child("ip"),
                &alias.ip,
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            );
        }
        for hostname in alias.hostnames.iter().flatten() {
            checks::none_or_named(Some(hostname), name::dns1123_subdomain, || path.child("hostnames"), errors);
        }
    }
    checks::none_or_named(
        spec.priority_class_name.as_deref(),
        name::dns1123_subdomain,
        || path.child("priorityClassName"),
        errors,
    );
    checks::none_or_named(
        spec.runtime_class_name.as_deref(),
        name::dns1123_subdomain,
        || path.child("runtimeClassName"),
        errors,
    );
    checks::none_or_one_of(
        spec.preemption_policy.as_deref(),
        &["Never", "PreemptLowerPriority"],
        || path.child("preemptionPolicy"),
        errors,
    );
    if let Some(overhead) = &spec.overhead {
        resources::validate_list(overhead, &path.child("overhead"), errors);
    }
    if let Some(os) = &spec.os {
        checks::one_of(Some(&os.name), &["linux", "windows"], || path.child("os").child("name"), errors);
    }
}

fn validate_dns(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let policy = spec.dns_policy.as_deref();
    checks::one_of(policy, DNS_POLICIES, || path.child("dnsPolicy"), errors);
    let nameservers = spec.dns_config.as_ref().and_then(|it| it.nameservers.as_deref()).unwrap_or_default();
    if policy == Some("None") {
        if spec.dns_config.is_none() {
            errors.required(path.child("dnsConfig"), "must provide `dnsConfig` when `dnsPolicy` is None");
        } else if nameservers.is_empty() {
            errors.required(
                path.child("dnsConfig").child("nameservers"),
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            );
        }
    }
    for (at, server) in nameservers.iter().enumerate() {
        if server.parse::<std::net::IpAddr>().is_err() {
            errors.invalid(
                path.child("dnsConfig").child("nameservers").index(at),
                server,
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            );
        }
    }
}

fn validate_security(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let Some(context) = &spec.security_context else { return };
    let path = path.child("securityContext");
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        errors.invalid(
            path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    for (field, id) in
        [("fsGroup", context.fs_group), ("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)]
    {
        validate_id(id, || path.child(field), errors);
    }
    for (at, group) in context.supplemental_groups.iter().flatten().enumerate() {
        validate_id(Some(*group), || path.child("supplementalGroups").index(at), errors);
    }
    checks::none_or_one_of(
        context.fs_group_change_policy.as_deref(),
        &["Always", "OnRootMismatch"],
        || path.child("fsGroupChangePolicy"),
        errors,
    );
    for (at, sysctl) in context.sysctls.iter().flatten().enumerate() {
        if sysctl.name.is_empty() {
            errors.required(path.child("sysctls").index(at).child("name"), "");
        }
    }
    validate_seccomp(context.seccomp_profile.as_ref(), &path, errors);
}

/// A uid or gid must be one that Linux and Kubernetes both can hold.
pub(super) fn validate_id(id: Option<i64>, path: impl FnOnce() -> Path, errors: &mut Errors) {
    if let Some(id) = id.filter(|it| !(0..=ID_LIMIT).contains(it)) {
        errors.invalid(path(), id, format!("must be between 0 and {ID_LIMIT}, inclusive"));
    }
}

/// A seccomp profile names a file exactly if it is `Localhost`.
pub(super) fn validate_seccomp(profile: Option<&SeccompProfile>, path: &Path, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    let path = path.child("seccompProfile");
    let file = profile.localhost_profile.as_deref();
    match (profile.type_.as_str(), file) {
        ("Localhost", None | Some("")) => {
            errors.required(path.child("localhostProfile"), "must be set when seccomp type is Localhost ");
        }
        ("RuntimeDefault" | "Unconfined", Some(file)) => {
            errors.invalid(path.child("localhostProfile"), file, "can only be set when seccomp type is Localhost");
        }
        ("Localhost" | "RuntimeDefault" | "Unconfined", _) => {}
        ("", _) => errors.required(path.child("type"), "type is required when seccompProfile is set"),
        (other, _) => {
            errors.not_supported(path.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]);
        }
    }
}
