//! `Service`: one stable address for the pods a selector finds.
//!
//! Cluster addresses and node ports are handed out by the API server's request path; here they are only kept over updates and checked.

mod columns;
mod update;
mod validation;
mod warnings;

use k8s_openapi::api::core::v1::{LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::Errors;
use crate::kind::{Names, Part, Selectable, Strategy, Sub};
use crate::name::NameRule;
use crate::table::Column;

/// Three hours: how long a client stays with one pod under `sessionAffinity: ClientIP`, in seconds.
const AFFINITY_TIMEOUT_SECONDS: i32 = 3 * 60 * 60;
/// The cluster address of a service that has none.
const HEADLESS: &str = "None";

impl Strategy for Service {
    const NAMES: Names = Names { plural: "services", singular: "service", short: &["svc"], categories: &["all"] };
    const RETURNS_DELETED: bool = true;
    const SUBS: &'static [Sub] = &[Sub::Proxy, Sub::Status];
    const FIELDS: &'static [Selectable] = &[
        Selectable { path: "spec.clusterIP", absent: "", from: &[] },
        Selectable { path: "spec.type", absent: "", from: &[] },
    ];
    const COLUMNS: &'static [Column] = columns::COLUMNS;
    const NAME_RULE: NameRule = NameRule::Label1035;
    const STORED_AS: Option<&'static str> = Some("services/specs");
    const CREATE_ON_UPDATE: bool = true;

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        default_spec(spec);
        if kind_of(spec) == "LoadBalancer"
            && let Some(balancer) = self.status.as_mut().and_then(|it| it.load_balancer.as_mut())
        {
            for ingress in balancer.ingress.iter_mut().flatten().filter(|it| it.ip.is_some()) {
                ingress.ip_mode.get_or_insert_with(|| "VIP".into());
            }
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => {
                let load_balancer = Some(LoadBalancerStatus::default());
                self.status = Some(ServiceStatus { load_balancer, ..ServiceStatus::default() });
            }
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (_, Some(old)) => {
                self.status.clone_from(&old.status);
                if let (Some(spec), Some(before)) = (&mut self.spec, &old.spec) {
                    keep_addresses(spec, before);
                }
            }
        }
        if let Some(spec) = &mut self.spec {
            settle_addresses(spec);
        }
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        match (part, &self.spec, &self.status) {
            (Part::Status, _, Some(status)) => validation::validate_status(status, errors),
            (Part::Status, ..) => {}
            (_, Some(spec), _) => validation::validate(spec, old.and_then(|it| it.spec.as_ref()), errors),
            _ => {}
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        warnings::of(self)
    }
}

fn kind_of(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or_default()
}

fn default_spec(spec: &mut ServiceSpec) {
    let affinity = spec.session_affinity.get_or_insert_with(|| "None".into());
    match affinity.as_str() {
        "ClientIP" => {
            let config = spec.session_affinity_config.get_or_insert_with(Default::default);
            let client = config.client_ip.get_or_insert_with(Default::default);
            client.timeout_seconds.get_or_insert(AFFINITY_TIMEOUT_SECONDS);
        }
        "None" => spec.session_affinity_config = None,
        _ => {}
    }
    if kind_of(spec).is_empty() {
        spec.type_ = Some("ClusterIP".into());
    }
    for port in spec.ports.iter_mut().flatten() {
        if port.protocol.as_deref().unwrap_or_default().is_empty() {
            port.protocol = Some("TCP".into());
        }
        let unset = match &port.target_port {
            None => true,
            Some(IntOrString::Int(number)) => *number == 0,
            Some(IntOrString::String(name)) => name.is_empty(),
        };
        if unset {
            port.target_port = Some(IntOrString::Int(port.port));
        }
    }
    let kind = kind_of(spec).to_owned();
    let from_outside = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && spec.external_ips.as_ref().is_some_and(|it| !it.is_empty()));
    if from_outside && spec.external_traffic_policy.as_deref().unwrap_or_default().is_empty() {
        spec.external_traffic_policy = Some("Cluster".into());
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        spec.internal_traffic_policy.get_or_insert_with(|| "Cluster".into());
    }
    if kind == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

/// Keeps what was handed out, where an update leaves it out.
fn keep_addresses(new: &mut ServiceSpec, old: &ServiceSpec) {
    let has_address = |it: &ServiceSpec| matches!(kind_of(it), "ClusterIP" | "NodePort" | "LoadBalancer");
    if has_address(new) && has_address(old) {
        if new.cluster_ip.as_deref().unwrap_or_default().is_empty() {
            new.cluster_ip.clone_from(&old.cluster_ip);
            if new.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
                new.cluster_ips.clone_from(&old.cluster_ips);
            }
        } else if new.cluster_ip != old.cluster_ip && new.cluster_ips == old.cluster_ips {
            // Who changes the one address means the first of the list.
            new.cluster_ips = None;
        }
        if new.ip_families.is_none() {
            new.ip_families.clone_from(&old.ip_families);
        }
        if new.ip_family_policy.is_none() {
            new.ip_family_policy.clone_from(&old.ip_family_policy);
        }
    }
    let has_port = |it: &ServiceSpec| matches!(kind_of(it), "NodePort" | "LoadBalancer");
    if has_port(new) && has_port(old) {
        let same = |a: &ServicePort, b: &ServicePort| a.port == b.port && a.protocol == b.protocol;
        for port in new.ports.iter_mut().flatten().filter(|it| it.node_port.unwrap_or(0) == 0) {
            let before = old.ports.iter().flatten().find(|it| same(it, port));
            port.node_port = before.and_then(|it| it.node_port);
        }
        if new.health_check_node_port.unwrap_or(0) == 0 {
            new.health_check_node_port = old.health_check_node_port;
        }
    }
    if has_address(old) && !has_address(new) {
        // A service that becomes a name gives its addresses back, unless the client asks for others.
        if new.cluster_ip == old.cluster_ip {
            (new.cluster_ip, new.cluster_ips) = (None, None);
        }
        (new.ip_families, new.ip_family_policy, new.internal_traffic_policy) = (None, None, None);
    }
    if has_port(old) && !has_port(new) {
        for port in new.ports.iter_mut().flatten() {
            let before = old.ports.iter().flatten().find(|it| it.port == port.port && it.protocol == port.protocol);
            if before.is_some_and(|it| it.node_port == port.node_port) {
                port.node_port = None;
            }
        }
        new.allocate_load_balancer_node_ports = None;
        if new.external_ips.as_ref().is_none_or(Vec::is_empty) {
            new.external_traffic_policy = None;
        }
    }
}

/// Makes the list of addresses agree with the one address, and names the address families.
fn settle_addresses(spec: &mut ServiceSpec) {
    if kind_of(spec) == "ExternalName" {
        return;
    }
    match (spec.cluster_ip.as_deref(), &spec.cluster_ips) {
        (Some(one), None) if !one.is_empty() => spec.cluster_ips = Some(vec![one.to_owned()]),
        (Some(one), Some(all)) if all.is_empty() && !one.is_empty() => spec.cluster_ips = Some(vec![one.to_owned()]),
        _ => {}
    }
    let headless = spec.cluster_ip.as_deref() == Some(HEADLESS);
    let selects = spec.selector.as_ref().is_some_and(|it| !it.is_empty());
    if headless && !selects && spec.ip_family_policy.is_none() && spec.ip_families.is_none() {
        // Whoever writes such a service's endpoints may write addresses of both families.
        spec.ip_family_policy = Some("RequireDualStack".into());
        spec.ip_families = Some(vec!["IPv4".into(), "IPv6".into()]);
        return;
    }
    spec.ip_family_policy.get_or_insert_with(|| "SingleStack".into());
    if spec.ip_families.as_ref().is_none_or(Vec::is_empty) {
        let v6 = spec.cluster_ip.as_deref().is_some_and(|it| it.contains(':'));
        spec.ip_families = Some(vec![if v6 { "IPv6" } else { "IPv4" }.into()]);
    }
}
