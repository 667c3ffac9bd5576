//! What an update of a service may change of its addresses: a second one may come and go, the first stays for as long as there is one.
//!
//! Source: `ValidateServiceUpdate` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use k8s_openapi::api::core::v1::ServiceSpec;

use super::kind_of;
use super::validation::is_headless;
use crate::field::{Errors, Path};

const FIXED: &str = "may not change once set";

/// Notes what `new` changes of `old` that no update may.
pub(super) fn validate(new: &ServiceSpec, old: &ServiceSpec, path: &Path, errors: &mut Errors) {
    if kind_of(new) != "ExternalName" && kind_of(old) != "ExternalName" {
        validate_addresses(new, old, path, errors);
        validate_families(new, old, path, errors);
    }
    let balanced = |it: &ServiceSpec| kind_of(it) == "LoadBalancer";
    if balanced(new) && balanced(old) && new.load_balancer_class != old.load_balancer_class {
        let shown = new.load_balancer_class.as_deref().unwrap_or("null");
        errors.invalid(path.child("loadBalancerClass"), shown, FIXED);
    }
    let checked = |it: &ServiceSpec| balanced(it) && it.external_traffic_policy.as_deref() == Some("Local");
    let port = |it: &ServiceSpec| it.health_check_node_port.unwrap_or(0);
    if checked(new) && checked(old) && port(new) != port(old) {
        errors.forbidden(path.child("healthCheckNodePort"), "field is immutable");
    }
}

fn releases_without_saying_so(new: &ServiceSpec) -> bool {
    new.ip_family_policy.as_deref() != Some("SingleStack")
}

fn validate_addresses(new: &ServiceSpec, old: &ServiceSpec, path: &Path, errors: &mut Errors) {
    if is_headless(new) && is_headless(old) {
        return;
    }
    let (now, before) =
        (new.cluster_ips.as_deref().unwrap_or_default(), old.cluster_ips.as_deref().unwrap_or_default());
    let at = |index: usize| path.child("clusterIPs").index(index);
    if now.len() == before.len() {
        for (index, _) in now.iter().zip(before).enumerate().filter(|(_, (now, before))| now != before) {
            errors.invalid(at(index), now, FIXED);
        }
        return;
    }
    match (now.first(), before.first()) {
        (None, Some(_)) => errors.invalid(at(0), now, "primary clusterIP can not be unset"),
        (Some(one), Some(other)) if one != other => errors.invalid(at(0), now, FIXED),
        _ => {}
    }
    if now.len() == 1 && before.len() > 1 && releases_without_saying_so(new) {
        let why = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        errors.invalid(path.child("ipFamilyPolicy"), new.ip_family_policy.as_deref().unwrap_or("null"), why);
    }
}

fn validate_families(new: &ServiceSpec, old: &ServiceSpec, path: &Path, errors: &mut Errors) {
    if is_headless(new) || is_headless(old) {
        return;
    }
    let (now, before) =
        (new.ip_families.as_deref().unwrap_or_default(), old.ip_families.as_deref().unwrap_or_default());
    let at = || path.child("ipFamilies").index(0);
    if now.len() == before.len() {
        for _ in now.iter().zip(before).filter(|(now, before)| now != before) {
            errors.invalid(at(), now, FIXED);
        }
        return;
    }
    let addresses = new.cluster_ips.as_deref().unwrap_or_default();
    if now.len() < before.len() && addresses.is_empty() {
        errors.invalid(at(), now, "primary ipFamily can not be unset");
    }
    if let (Some(one), Some(other)) = (now.first(), before.first())
        && one != other
    {
        errors.invalid(at(), addresses, FIXED);
    }
    if now.len() == 1 && before.len() > 1 && releases_without_saying_so(new) {
        let why = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        errors.invalid(path.child("ipFamilyPolicy"), new.ip_family_policy.as_deref().unwrap_or("null"), why);
    }
}
