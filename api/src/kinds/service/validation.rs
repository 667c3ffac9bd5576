//! The rules for services. Whether an address or node port is free is not known here; only whether it may be asked for.
//!
//! Source: `ValidateService` and `ValidateServiceUpdate` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use std::collections::HashSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{HEADLESS, kind_of};
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::meta;
use crate::name;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: &[&str] = &["Cluster", "Local"];
/// One day: the longest that a client stays with one pod, in seconds.
const AFFINITY_LIMIT_SECONDS: i32 = 24 * 60 * 60;

pub(super) fn validate(spec: &ServiceSpec, old: Option<&ServiceSpec>, errors: &mut Errors) {
    let path = Path::new("spec");
    let kind = kind_of(spec);
    let headless = spec.cluster_ip.as_deref() == Some(HEADLESS);
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.required(path.child("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => errors.invalid(
            path.child("clusterIPs").index(0),
            HEADLESS,
            format!("may not be set to 'None' for {kind} services"),
        ),
        "ExternalName" => {
            if spec.cluster_ips.as_ref().is_some_and(|it| !it.is_empty()) || spec.cluster_ip.is_some() {
                errors.forbidden(path.child("clusterIPs"), "may not be set when `type` is 'ExternalName'");
            }
            let target = spec.external_name.as_deref().unwrap_or_default();
            let target = target.strip_suffix('.').unwrap_or(target);
            checks::named(target, name::dns1123_subdomain, || path.child("externalName"), errors);
        }
        _ => {}
    }
    validate_ports(ports, kind, &path.child("ports"), errors);
    if spec.selector.is_some() {
        meta::validate_labels(spec.selector.as_ref(), &path.child("selector"), errors);
    }
    checks::one_of(spec.session_affinity.as_deref(), &["ClientIP", "None"], || path.child("sessionAffinity"), errors);
    let timeout = spec.session_affinity_config.as_ref().and_then(|it| it.client_ip.as_ref()?.timeout_seconds);
    if let Some(seconds) = timeout.filter(|it| !(1..=AFFINITY_LIMIT_SECONDS).contains(it)) {
        errors.invalid(
            path.child("sessionAffinityConfig").child("clientIP").child("timeoutSeconds"),
            seconds,
            format!("must be greater than 0 and less than {AFFINITY_LIMIT_SECONDS}"),
        );
    }
    checks::one_of(Some(kind), TYPES, || path.child("type"), errors);
    for (at, ip) in spec.external_ips.iter().flatten().enumerate() {
        checks::ip(ip, || path.child("externalIPs").index(at), errors);
    }
    validate_traffic(spec, &path, errors);
    validate_addresses(spec, &path, errors);
    if let Some(old) = old {
        validate_update(spec, old, &path, errors);
    }
}

fn validate_ports(ports: &[ServicePort], kind: &str, path: &Path, errors: &mut Errors) {
    let (mut names, mut numbers, mut node_ports) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let at = || path.index(index);
        let label = port.name.as_deref().unwrap_or_default();
        if label.is_empty() {
            if ports.len() > 1 {
                errors.required(at().child("name"), "");
            }
        } else {
            checks::none_or_named(Some(label), name::dns1123_label, || at().child("name"), errors);
            if !names.insert(label) {
                errors.duplicate(at().child("name"), label);
            }
        }
        checks::port_number(port.port, || at().child("port"), errors);
        let protocol = port.protocol.as_deref();
        checks::one_of(protocol, &["SCTP", "TCP", "UDP"], || at().child("protocol"), errors);
        match &port.target_port {
            Some(IntOrString::Int(number)) => checks::port_number(*number, || at().child("targetPort"), errors),
            Some(IntOrString::String(text)) => {
                checks::none_or_named(Some(text), name::port_name, || at().child("targetPort"), errors);
            }
            None => {}
        }
        checks::none_or_named(port.app_protocol.as_deref(), name::qualified_name, || at().child("appProtocol"), errors);
        if !numbers.insert((protocol, port.port)) {
            // The shape in which Kubernetes shows the pair.
            let shown = serde_json::json!({ "Name": "", "Protocol": protocol, "AppProtocol": null, "Port": port.port, "TargetPort": 0, "NodePort": 0 });
            errors.duplicate(at(), shown);
        }
        if let Some(number) = port.node_port.filter(|it| *it != 0) {
            if kind == "ClusterIP" {
                errors.forbidden(at().child("nodePort"), "may not be used when `type` is 'ClusterIP'");
            }
            checks::port_number(number, || at().child("nodePort"), errors);
            if !node_ports.insert((protocol, number)) {
                errors.duplicate(at().child("nodePort"), number);
            }
        }
    }
}

fn validate_traffic(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let kind = kind_of(spec);
    let from_outside = matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && spec.external_ips.as_ref().is_some_and(|it| !it.is_empty()));
    match spec.external_traffic_policy.as_deref() {
        None | Some("") if from_outside => errors.required(path.child("externalTrafficPolicy"), ""),
        None | Some("") => {}
        Some(policy) if !from_outside => errors.invalid(
            path.child("externalTrafficPolicy"),
            policy,
            "may only be set for externally-accessible services",
        ),
        policy => checks::none_or_one_of(policy, POLICIES, || path.child("externalTrafficPolicy"), errors),
    }
    checks::none_or_one_of(
        spec.internal_traffic_policy.as_deref(),
        POLICIES,
        || path.child("internalTrafficPolicy"),
        errors,
    );
    checks::none_or_one_of(
        spec.traffic_distribution.as_deref(),
        &["PreferClose", "PreferSameNode", "PreferSameZone"],
        || path.child("trafficDistribution"),
        errors,
    );
    if kind != "LoadBalancer" {
        let why = "may only be used when `type` is 'LoadBalancer'";
        if spec.allocate_load_balancer_node_ports.is_some() {
            errors.forbidden(path.child("allocateLoadBalancerNodePorts"), why);
        }
        if spec.load_balancer_class.is_some() {
            errors.forbidden(path.child("loadBalancerClass"), why);
        }
        if spec.load_balancer_source_ranges.as_ref().is_some_and(|it| !it.is_empty()) {
            errors.forbidden(path.child("LoadBalancerSourceRanges"), why);
        }
    }
}

fn validate_addresses(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    if kind_of(spec) == "ExternalName" {
        return;
    }
    let path = path.child("clusterIPs");
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    let first = spec.cluster_ip.as_deref().unwrap_or_default();
    match all.first() {
        Some(listed) if listed != first => errors.invalid(path.clone(), all, "first value must match `clusterIP`"),
        None if !first.is_empty() => errors.required(path.clone(), ""),
        _ => {}
    }
    for (index, ip) in all.iter().enumerate() {
        if ip == HEADLESS {
            if all.len() > 1 {
                errors.invalid(path.clone(), all, "'None' must be the first and only value");
            }
        } else if !ip.is_empty() {
            checks::ip(ip, || path.index(index), errors);
        }
    }
    let families: Vec<&String> = spec.ip_families.iter().flatten().collect();
    for (index, family) in families.iter().enumerate() {
        checks::none_or_one_of(Some(family), &["IPv4", "IPv6"], || Path::from("spec.ipFamilies").index(index), errors);
        let ip = all.get(index).and_then(|it| it.parse::<IpAddr>().ok());
        if ip.is_some_and(|it| it.is_ipv4() != (family.as_str() == "IPv4")) {
            errors.invalid(
                path.index(index),
                &all[index],
                format!("expected an {family} value as indicated by `ipFamilies[{index}]`"),
            );
        }
    }
    checks::none_or_one_of(
        spec.ip_family_policy.as_deref(),
        &["PreferDualStack", "RequireDualStack", "SingleStack"],
        || Path::from("spec.ipFamilyPolicy"),
        errors,
    );
}

/// An address stays with its service for as long as the service has one.
fn validate_update(new: &ServiceSpec, old: &ServiceSpec, path: &Path, errors: &mut Errors) {
    if kind_of(new) == "ExternalName" || kind_of(old) == "ExternalName" {
        return;
    }
    let Some(before) = old.cluster_ip.as_deref().filter(|it| !it.is_empty()) else { return };
    let path = path.child("clusterIPs").index(0);
    match new.cluster_ip.as_deref().unwrap_or_default() {
        "" => errors.invalid(path, &new.cluster_ips, "primary clusterIP can not be unset"),
        now if now != before => errors.invalid(path, &new.cluster_ips, "may not change once set"),
        _ => {}
    }
}
