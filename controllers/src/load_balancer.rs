//! Addresses for services of type LoadBalancer, out of a pool that the nodes answer for.
//!
//! In: the services. Out: `status.loadBalancer.ingress` of those that ask for a balancer and name no class, which is how a service asks for
//! another provider (KEP-1959). The address is announced by nobody: every node's rules lead packets for it to the service, so that it serves
//! those whose route goes to a node. What is taken is read from the services themselves. One key stands for all of them: two services
//! decided on at once could get the same address. The pool is one of IPv4: a dual-stack service gets an address of that family. Source: `cloud-provider/controllers/service`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use orlop_client::Key;
use orlop_client::events::Severity;
use orlop_client::write::Action;
use serde_json::{Value, json};

use crate::endpoint_slice::backends;
use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// What addresses are handed out of: a range, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool(pub Option<Ipv4Net>);

impl std::str::FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Pool, String> {
        if text == "none" {
            return Ok(Pool(None));
        }
        let range = text.parse::<Ipv4Net>().map_err(|_| format!("{text:?} is no IPv4 range such as 10.97.0.0/24"))?;
        Ok(Pool(Some(range.trunc())))
    }
}

/// The controller.
pub struct LoadBalancers {
    /// Addresses to hand out.
    pub pool: Pool,
}

impl Controller for LoadBalancers {
    fn name(&self) -> &'static str {
        "service-lb-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on(&world.services, |change| {
            let concerned = |it: &ServiceView| it.spec.type_ == BALANCED || !addresses(it).is_empty();
            let either = change.old.iter().chain(&change.new).any(|it| concerned(it));
            if either { vec![Key::new("", "services")] } else { Vec::new() }
        });
    }

    fn decide(&self, _key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(pool) = self.pool.0 else { return plan };
        let services = world.services.list();
        let mut taken: BTreeSet<Ipv4Addr> =
            services.iter().filter(|it| it.spec.type_ == BALANCED).flat_map(|it| addresses(it)).collect();
        for service in &services {
            let has = addresses(service);
            if service.spec.type_ != BALANCED {
                // It gave up its balancer. What another provider wrote is for that one to take away.
                if has.iter().any(|it| pool.contains(it)) {
                    plan.act(show(service, json!([])));
                }
                continue;
            }
            let shown = service.status.load_balancer.ingress.as_ref().is_some_and(|it| !it.is_empty());
            if shown || service.spec.load_balancer_class.is_some() || service.metadata.deletion_timestamp.is_some() {
                continue;
            }
            if !backends::families(service).contains(&backends::V4) {
                let regarding: ObjectReference = reference(SERVICES, &service.metadata);
                let message = format!(
                    "Error syncing load balancer: failed to ensure load balancer: {pool} has no addresses of the service's family"
                );
                plan.tell(regarding, Severity::Warning, "SyncLoadBalancerFailed", message);
                continue;
            }
            let asked = service.spec.load_balancer_ip.as_deref().filter(|it| !it.is_empty());
            let asked =
                asked.map(|it| it.parse::<Ipv4Addr>().ok().filter(|it| pool.contains(it) && !taken.contains(it)));
            // An address that was asked for is given or none, as clouds do.
            let free = asked.unwrap_or_else(|| pool.hosts().find(|it| !taken.contains(it)));
            let Some(address) = free else {
                let regarding: ObjectReference = reference(SERVICES, &service.metadata);
                let message = format!(
                    "Error syncing load balancer: failed to ensure load balancer: no address of {pool} is free"
                );
                plan.tell(regarding, Severity::Warning, "SyncLoadBalancerFailed", message);
                continue;
            };
            taken.insert(address);
            plan.act(show(service, json!([{ "ip": address, "ipMode": "VIP" }])));
        }
        plan
    }
}

const BALANCED: &str = "LoadBalancer";

/// The addresses of a service's balancer.
fn addresses(service: &ServiceView) -> Vec<Ipv4Addr> {
    let ingress = service.status.load_balancer.ingress.iter().flatten();
    ingress.filter_map(|it| it.ip.as_deref()?.parse().ok()).collect()
}

fn show(service: &ServiceView, ingress: Value) -> Action {
    Action::Patch {
        resource: SERVICES,
        key: key_of(&service.metadata),
        sub: Some("status"),
        uid: uid_of(&service.metadata).to_owned(),
        // The type must still be what it was.
        revision: service.metadata.resource_version.clone(),
        patch: json!({ "status": { "loadBalancer": { "ingress": ingress } } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, spec: Value, ingress: &[&str]) -> ServiceView {
        let ingress: Vec<Value> = ingress.iter().map(|it| json!({ "ip": it })).collect();
        let it = json!({ "metadata": { "namespace": "a", "name": name, "uid": name, "resourceVersion": "5" },
            "spec": spec, "status": { "loadBalancer": { "ingress": ingress } } });
        serde_json::from_value(it).unwrap()
    }

    fn plan(services: Vec<ServiceView>, pool: &str) -> String {
        let world = World::default();
        services.into_iter().for_each(|it| world.services.apply(it));
        let it = LoadBalancers { pool: pool.parse().unwrap() };
        it.decide(&Key::new("", "services"), &world, Timestamp::UNIX_EPOCH, None).to_string()
    }

    #[test]
    fn each_balanced_service_gets_a_free_address() {
        let balanced = || json!({ "type": "LoadBalancer" });
        let services = vec![
            service("has", balanced(), &["10.97.0.1"]),
            service("new", balanced(), &[]),
            service("asks", json!({ "type": "LoadBalancer", "loadBalancerIP": "10.97.0.5" }), &[]),
            service("others", json!({ "type": "LoadBalancer", "loadBalancerClass": "example.org/x" }), &[]),
            service("newer", json!({ "type": "LoadBalancer", "ipFamilies": ["IPv6"] }), &[]),
            service("plain", json!({ "type": "ClusterIP" }), &[]),
            service("was", json!({ "type": "ClusterIP" }), &["10.97.0.6"]),
            service("foreign", json!({ "type": "ClusterIP" }), &["192.0.2.1"]),
        ];
        insta::assert_snapshot!(plan(services.clone(), "10.97.0.0/29"));
        insta::assert_snapshot!(plan(services, "none"), @"nothing to do");
        let crowd = (0..3).map(|it| service(&format!("s{it}"), balanced(), &[])).collect();
        insta::assert_snapshot!(plan(crowd, "10.97.0.0/30"));
        assert!("10.97.0.0".parse::<Pool>().is_err());
    }
}
