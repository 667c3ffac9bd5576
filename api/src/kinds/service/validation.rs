//! The rules for services. Whether an address or node port is free is not known here; only whether it may be asked for.
//!
//! Source: `ValidateService` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use std::collections::HashSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec, ServiceStatus};

use super::{HEADLESS, kind_of, update};
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::kinds::pod_spec::handlers;
use crate::meta;
use crate::name;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: &[&str] = &["Cluster", "Local"];
/// One day: the longest that a client stays with one pod, in seconds.
const AFFINITY_LIMIT_SECONDS: i32 = 24 * 60 * 60;
/// One address of each family.
const ADDRESSES_LIMIT: usize = 2;
/// What no type but one may say.
const BALANCERS_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

pub(super) fn validate(spec: &ServiceSpec, old: Option<&ServiceSpec>, errors: &mut Errors) {
    let path = Path::new("spec");
    if let Some(old) = old {
        update::validate(spec, old, &path, errors);
    }
    let kind = kind_of(spec);
    let headless = is_headless(spec);
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
        "ExternalName" => validate_external_name(spec, &path, errors),
        _ => {}
    }
    validate_ports(ports, &path.child("ports"), errors);
    if spec.selector.is_some() {
        meta::validate_labels(spec.selector.as_ref(), &path.child("selector"), errors);
    }
    validate_affinity(spec, &path, errors);
    validate_addresses(spec, &path, errors);
    for (at, ip) in spec.external_ips.iter().flatten().enumerate() {
        let at = || path.child("externalIPs").index(at);
        if ip.parse::<IpAddr>().is_ok() {
            checks::not_special(ip, at, errors);
        } else {
            checks::ip(ip, at, errors);
        }
    }
    checks::one_of(Some(kind), TYPES, || path.child("type"), errors);
    validate_pairs(ports, kind, &path.child("ports"), errors);
    validate_balancer(spec, &path, errors);
    validate_traffic(spec, &path, errors);
}

pub(super) fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ips.as_deref().is_some_and(|it| it.len() == 1 && it[0] == HEADLESS)
}

fn validate_external_name(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let some = |it: &Option<Vec<String>>| it.as_ref().is_some_and(|it| !it.is_empty());
    for (field, is_set) in [
        ("clusterIPs", some(&spec.cluster_ips) || spec.cluster_ip.as_deref().is_some_and(|it| !it.is_empty())),
        ("ipFamilies", some(&spec.ip_families)),
        ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
    ] {
        if is_set {
            errors.forbidden(path.child(field), "may not be set for ExternalName services");
        }
    }
    let target = spec.external_name.as_deref().unwrap_or_default();
    let target = target.strip_suffix('.').unwrap_or(target);
    checks::named(target, name::dns1123_subdomain, || path.child("externalName"), errors);
}

fn validate_ports(ports: &[ServicePort], path: &Path, errors: &mut Errors) {
    let mut names = HashSet::new();
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
        checks::one_of(port.protocol.as_deref(), &["SCTP", "TCP", "UDP"], || at().child("protocol"), errors);
        if let Some(target) = &port.target_port {
            handlers::validate_port(target, || at().child("targetPort"), errors);
        }
        for complaint in port.app_protocol.as_deref().map(name::qualified_name).unwrap_or_default() {
            errors.invalid(at().child("appProtocol"), &port.app_protocol, complaint);
        }
    }
}

/// No two ports may be one, neither at the service nor at the nodes.
fn validate_pairs(ports: &[ServicePort], kind: &str, path: &Path, errors: &mut Errors) {
    let on_nodes = || ports.iter().enumerate().filter(|(_, it)| it.node_port.unwrap_or(0) != 0);
    if kind == "ClusterIP" {
        for (index, _) in on_nodes() {
            errors.forbidden(path.index(index).child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let (mut numbers, mut node_ports) = (HashSet::new(), HashSet::new());
    for (index, port) in on_nodes() {
        if !node_ports.insert((port.protocol.as_deref(), port.node_port)) {
            errors.duplicate(path.index(index).child("nodePort"), port.node_port);
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if !numbers.insert((protocol, port.port)) {
            // The shape in which Kubernetes shows the pair.
            let number = port.port;
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{protocol:?},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}"
            );
            errors.duplicate_text(path.index(index), shown, "");
        }
    }
}

fn validate_affinity(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let affinity = spec.session_affinity.as_deref();
    checks::one_of(affinity, &["ClientIP", "None"], || path.child("sessionAffinity"), errors);
    let at = || path.child("sessionAffinityConfig");
    let config = spec.session_affinity_config.as_ref();
    match affinity {
        Some("ClientIP") => {
            const WHY: &str = "when session affinity type is ClientIP";
            let client = config.map(|it| it.client_ip.as_ref());
            match client.map(|it| it.map(|it| it.timeout_seconds)) {
                None => errors.required(at(), WHY),
                Some(None) => errors.required(at().child("clientIP"), WHY),
                Some(Some(None)) => errors.required(at().child("clientIP").child("timeoutSeconds"), WHY),
                Some(Some(Some(seconds))) if !(1..=AFFINITY_LIMIT_SECONDS).contains(&seconds) => errors.invalid(
                    at().child("clientIP").child("timeoutSeconds"),
                    seconds,
                    format!("must be greater than 0 and less than {AFFINITY_LIMIT_SECONDS}"),
                ),
                _ => {}
            }
        }
        Some("None") if config.is_some() => {
            errors.forbidden(at(), "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn validate_balancer(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let balanced = kind_of(spec) == "LoadBalancer";
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    if !ranges.is_empty() {
        // Sic, in Kubernetes.
        let at = path.child("LoadBalancerSourceRanges");
        if !balanced {
            errors.forbidden(at.clone(), BALANCERS_ONLY);
        }
        for (index, range) in ranges.iter().enumerate() {
            checks::cidr(range.trim(), || at.index(index), errors);
        }
    }
    if !balanced && spec.allocate_load_balancer_node_ports.is_some() {
        errors.forbidden(path.child("allocateLoadBalancerNodePorts"), BALANCERS_ONLY);
    }
    if let Some(class) = spec.load_balancer_class.as_deref() {
        if !balanced {
            errors.forbidden(path.child("loadBalancerClass"), BALANCERS_ONLY);
        } else {
            for complaint in name::qualified_name(class) {
                errors.invalid(path.child("loadBalancerClass"), class, complaint);
            }
        }
    }
}

fn validate_traffic(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let kind = kind_of(spec);
    let from_outside = matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && spec.external_ips.as_ref().is_some_and(|it| !it.is_empty()));
    let at = || path.child("externalTrafficPolicy");
    let policy = spec.external_traffic_policy.as_deref().filter(|it| !it.is_empty());
    match policy {
        _ if from_outside => checks::one_of(policy, POLICIES, at, errors),
        Some(policy) => errors.invalid(at(), policy, "may only be set for externally-accessible services"),
        None => {}
    }
    // Where one is needed and none is given, none is handed out yet; so none is asked for.
    if let Some(port) = spec.health_check_node_port.filter(|it| *it != 0) {
        let at = || path.child("healthCheckNodePort");
        if kind == "LoadBalancer" && policy == Some("Local") {
            checks::port_number(port, at, errors);
        } else {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(at(), port, why);
        }
    }
    let at = || path.child("internalTrafficPolicy");
    match spec.internal_traffic_policy.as_deref() {
        None if matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") => errors.required(at(), ""),
        policy => checks::none_or_one_of(policy, POLICIES, at, errors),
    }
    checks::none_or_one_of(
        spec.traffic_distribution.as_deref(),
        &["PreferClose", "PreferSameNode", "PreferSameZone"],
        || path.child("trafficDistribution"),
        errors,
    );
}

fn validate_addresses(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    if kind_of(spec) == "ExternalName" {
        return;
    }
    let at = || path.child("clusterIPs");
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    match (spec.cluster_ip.as_deref().unwrap_or_default(), all.first()) {
        ("", Some(_)) => errors.invalid(at(), all, "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => errors.required(at(), ""),
        (one, Some(first)) if one != first => errors.invalid(at(), all, "first value must match `clusterIP`"),
        _ => {}
    }
    let families = spec.ip_families.as_deref().unwrap_or_default();
    for (index, family) in families.iter().enumerate() {
        let at = || path.child("ipFamilies").index(index);
        checks::none_or_one_of(Some(family), &["IPv4", "IPv6"], at, errors);
        if families.iter().take(index).any(|it| it == family) {
            errors.duplicate(at(), family);
        }
    }
    checks::none_or_one_of(
        spec.ip_family_policy.as_deref(),
        &["PreferDualStack", "RequireDualStack", "SingleStack"],
        || path.child("ipFamilyPolicy"),
        errors,
    );
    let mistakes = errors.list().len();
    let mut ips: Vec<IpAddr> = Vec::new();
    for (index, ip) in all.iter().enumerate() {
        if index == 0 && ip == HEADLESS {
            if all.len() > 1 {
                errors.invalid(at(), all, "'None' must be the first and only value");
            }
        } else if let Ok(ip) = ip.parse() {
            ips.push(ip);
        } else {
            checks::ip(ip, || at().index(index), errors);
        }
    }
    let is_bad = errors.list().len() > mistakes;
    if all.len() > ADDRESSES_LIMIT {
        errors.invalid(at(), all, "may only hold up to 2 values");
    }
    if is_bad || is_headless(spec) {
        return;
    }
    // Two of one family are told of; two of different families and a third are not, here.
    if all.len() > 1 && (ips.iter().all(IpAddr::is_ipv4) || ips.iter().all(IpAddr::is_ipv6)) {
        errors.invalid(at(), all, "may specify no more than one IP for each IP family");
    }
    for (index, (ip, family)) in ips.iter().zip(families).enumerate() {
        if matches!((family.as_str(), ip), ("IPv4", IpAddr::V6(_)) | ("IPv6", IpAddr::V4(_))) {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(at().index(index), &all[index], why);
        }
    }
}

/// Notes every mistake in a service's status.
pub(super) fn validate_status(status: &ServiceStatus, errors: &mut Errors) {
    let ingresses = status.load_balancer.as_ref().and_then(|it| it.ingress.as_deref()).unwrap_or_default();
    for (index, ingress) in ingresses.iter().enumerate() {
        let at = |field: &str| Path::from("status.loadBalancer.ingress").index(index).child(field);
        let ip = ingress.ip.as_deref().unwrap_or_default();
        if !ip.is_empty() {
            checks::ip(ip, || at("ip"), errors);
        }
        match ingress.ip_mode.as_deref() {
            None if !ip.is_empty() => errors.required(at("ipMode"), "must be specified when `ip` is set"),
            Some(_) if ip.is_empty() => errors.forbidden(at("ipMode"), "may not be specified when `ip` is not set"),
            mode => checks::none_or_one_of(mode, &["Proxy", "VIP"], || at("ipMode"), errors),
        }
        let hostname = ingress.hostname.as_deref();
        checks::none_or_named(hostname, name::dns1123_subdomain, || at("hostname"), errors);
        if hostname.is_some_and(|it| it.parse::<IpAddr>().is_ok()) {
            errors.invalid(at("hostname"), hostname, "must be a DNS name, not an IP address");
        }
    }
}
