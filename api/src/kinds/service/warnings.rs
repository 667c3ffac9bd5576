//! What in a service works, but not as its author may think.
//!
//! Source: `k8s.io/kubernetes/pkg/api/service/warnings.go`.

use k8s_openapi::api::core::v1::Service;

use crate::field::Path;
use crate::kinds::addresses;

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const EXTERNAL_NAME: &str = "ExternalName";

/// The warnings about a service.
pub fn of(service: &Service) -> Vec<String> {
    let mut out = Vec::new();
    if service.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(HINTS)) {
        out.push(format!("annotation {HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    let Some(spec) = &service.spec else { return out };
    let path = |field: &str| Path::new("spec").child(field);
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let (kind, cluster_ip, balancer_ip) = (text(&spec.type_), text(&spec.cluster_ip), text(&spec.load_balancer_ip));
    let outer = spec.external_ips.as_deref().unwrap_or_default();
    if !cluster_ip.is_empty() && cluster_ip != "None" {
        for (at, ip) in spec.cluster_ips.iter().flatten().enumerate() {
            addresses::warn_of_address(ip, || path("clusterIPs").index(at), &mut out);
        }
    }
    if kind == "ClusterIP" && cluster_ip == "None" {
        for (field, is_set) in [
            ("loadBalancerIP", !balancer_ip.is_empty()),
            ("externalIPs", !outer.is_empty()),
            // Kubernetes writes this field's name with a capital letter here.
            ("SessionAffinity", spec.session_affinity.as_deref() != Some("None")),
        ] {
            if is_set {
                out.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    for (at, ip) in outer.iter().enumerate() {
        addresses::warn_of_address(ip, || path("externalIPs").index(at), &mut out);
    }
    addresses::warn_of_address(&balancer_ip, || path("loadBalancerIP"), &mut out);
    for (at, range) in spec.load_balancer_source_ranges.iter().flatten().enumerate() {
        addresses::warn_of_range(range, &path("loadBalancerSourceRanges").index(at), &mut out);
    }
    if kind == EXTERNAL_NAME && !outer.is_empty() {
        out.push(format!("spec.externalIPs is ignored when spec.type is {EXTERNAL_NAME:?}"));
    }
    if kind != EXTERNAL_NAME && !text(&spec.external_name).is_empty() {
        out.push(format!("spec.externalName is ignored when spec.type is not {EXTERNAL_NAME:?}"));
    }
    if spec.traffic_distribution.as_deref() == Some("PreferClose") {
        out.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    out
}
