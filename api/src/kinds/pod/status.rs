//! What a pod's status may say: addresses that are addresses, and no container back from the end that its restart policy gave it.
//!
//! Source: `ValidatePodStatusUpdate` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, PodSpec, PodStatus};

use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::kinds::pod_spec::claims;
use crate::name;

/// Conditions whose types need not be names such as labels have.
const SYSTEM_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];

/// Notes every mistake in the new status of a pod that has `spec` and had the status `old`.
pub(super) fn validate(new: &PodStatus, old: Option<&PodStatus>, spec: &PodSpec, errors: &mut Errors) {
    for (index, condition) in new.conditions.iter().flatten().enumerate() {
        if SYSTEM_CONDITIONS.contains(&condition.type_.as_str()) {
            continue;
        }
        for complaint in name::qualified_name(&condition.type_) {
            // Sic, in Kubernetes.
            let at = Path::from("metadata.conditions").index(index).child("Type");
            errors.invalid(at, &condition.type_, complaint);
        }
    }
    let path = Path::new("status");
    let nominated = new.nominated_node_name.as_ref();
    if nominated != old.and_then(|it| it.nominated_node_name.as_ref()) {
        let at = || path.child("nominatedNodeName");
        checks::none_or_named(nominated.map(String::as_str), name::dns1123_subdomain, at, errors);
    }
    if let Some(old) = old {
        validate_transitions(new, old, spec, &path, errors);
    }
    let statuses = new.resource_claim_statuses.as_deref();
    claims::validate_statuses(statuses, spec, &path.child("resourceClaimStatuses"), errors);
    let own: Vec<&str> = new.pod_ips.iter().flatten().map(|it| it.ip.as_str()).collect();
    validate_ips(&own, new.pod_ips.as_ref(), || path.child("podIPs"), errors);
    let host: Vec<&str> = new.host_ips.iter().flatten().map(|it| it.ip.as_str()).collect();
    if let Some(first) = host.first().filter(|it| **it != new.host_ip.as_deref().unwrap_or_default()) {
        errors.invalid(path.child("hostIPs").index(0).child("ip"), first, "must be equal to `hostIP`");
    }
    validate_ips(&host, new.host_ips.as_ref(), || path.child("hostIPs"), errors);
}

fn validate_transitions(new: &PodStatus, old: &PodStatus, spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let lists = [
        ("containerStatuses", &new.container_statuses, &old.container_statuses),
        ("initContainerStatuses", &new.init_container_statuses, &old.init_container_statuses),
        ("ephemeralContainerStatuses", &new.ephemeral_container_statuses, &old.ephemeral_container_statuses),
    ];
    for (field, new, old) in lists {
        for (index, before) in old.iter().flatten().enumerate() {
            if may_restart(before, field, spec) {
                continue;
            }
            let returns = |it: &ContainerStatus| {
                it.name == before.name && it.state.as_ref().is_none_or(|it| it.terminated.is_none())
            };
            if new.iter().flatten().any(returns) {
                let at = path.child(field).index(index).child("state");
                errors.forbidden(at, "may not be transitioned to non-terminated state");
            }
        }
    }
}

/// Whether a container that was as `before` says may run again. One that has not ended may anyway.
fn may_restart(before: &ContainerStatus, field: &str, spec: &PodSpec) -> bool {
    let Some(end) = before.state.as_ref().and_then(|it| it.terminated.as_ref()) else { return true };
    if field == "ephemeralContainerStatuses" {
        return false;
    }
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let containers = if field == "containerStatuses" { spec.containers.as_slice() } else { init };
    let container = containers.iter().find(|it| it.name == before.name);
    // Rules of a container's own decide by exit codes; its node reads them.
    if container.is_some_and(|it| it.restart_policy_rules.as_ref().is_some_and(|it| !it.is_empty())) {
        return true;
    }
    match container.and_then(|it| it.restart_policy.as_deref()).or(spec.restart_policy.as_deref()) {
        Some("OnFailure") => end.exit_code != 0,
        Some("Never") => false,
        _ => true,
    }
}

fn validate_ips<T: serde::Serialize>(ips: &[&str], shown: T, path: impl Fn() -> Path, errors: &mut Errors) {
    for (index, ip) in ips.iter().enumerate() {
        checks::ip(ip, || path().index(index), errors);
    }
    let parsed: Vec<IpAddr> = ips.iter().filter_map(|it| it.parse().ok()).collect();
    if !checks::one_of_each_family(&parsed) {
        errors.invalid(path(), shown, "may specify no more than one IP for each IP family");
    }
    for (index, ip) in ips.iter().enumerate() {
        if ips.iter().take(index).any(|it| it == ip) {
            errors.duplicate_text(path().index(index), format!("{{\"IP\":{ip:?}}}"), "");
        }
    }
}
