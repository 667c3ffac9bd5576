//! Whose names a node may serve under: its own, and those addresses of its own that are nobody else's.
//!
//! In: the request for a serving certificate, the node, and the addresses of the others. Out: whether it may have it, or why not. Kubernetes leaves
//! such requests to humans or add-ons, for a node says itself which addresses it has: a stolen one could ask for the certificate of
//! the API server. What is judged here is what a node cannot make up: its name, which stands in its own certificate, and that nobody
//! else has the address. Pure.

use std::net::IpAddr;

use orlop_api::csr::Csr;
use orlop_client::Key;

use crate::view::*;
use crate::world::{BY_SERVICE, World};

/// Under these nobody but the API server serves: the names of its certificate.
const RESERVED_NAMES: &[&str] = &["localhost", "kubernetes", "kubernetes.default"];
/// What the names of services end with; the domain of the cluster comes behind it.
const SERVICE_PART: &str = "svc";
/// The types of the addresses in a Node's status that are addresses and no names.
const ADDRESS_TYPES: [&str; 2] = ["InternalIP", "ExternalIP"];

/// Whether `node` may serve under all names of the request.
///
/// # Errors
/// Which of them it may not have, and why.
pub fn are_its_own(csr: &Csr, node: &NodeView, world: &World) -> Result<(), String> {
    let name = name_of(&node.metadata);
    for asked in &csr.dns_names {
        if asked != name {
            return Err(format!("{asked:?} is not the node's name"));
        }
        if RESERVED_NAMES.contains(&name) || name.split('.').any(|it| it == SERVICE_PART) {
            return Err(format!("{asked:?} is a name of the API server or of a service"));
        }
    }
    // An IPv4 address in an IPv6 one is the same to those who verify certificates.
    for asked in csr.addresses.iter().map(IpAddr::to_canonical) {
        if !addresses(node).any(|it| it == asked) {
            return Err(format!("the node's status does not have the address {asked}"));
        }
        if asked.is_loopback() || asked.is_unspecified() || asked.is_multicast() {
            return Err(format!("{asked} is everybody's"));
        }
        if let Some(other) = holder(asked, name, world) {
            return Err(format!("{asked} is also {other}"));
        }
    }
    Ok(())
}

fn addresses(node: &NodeView) -> impl Iterator<Item = IpAddr> {
    let own = node.status.addresses.iter().filter(|it| ADDRESS_TYPES.contains(&it.type_.as_str()));
    own.filter_map(|it| address(&it.address))
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|it| it.to_canonical())
}

/// Who else has the address: another node, a service, or the API server.
fn holder(asked: IpAddr, node: &str, world: &World) -> Option<String> {
    let nodes = world.nodes.list();
    if let Some(other) = nodes.iter().find(|it| name_of(&it.metadata) != node && addresses(it).any(|it| it == asked)) {
        return Some(format!("an address of node {}", name_of(&other.metadata)));
    }
    let services = world.services.list();
    if let Some(other) = services.iter().find(|it| address(&it.spec.cluster_ip) == Some(asked)) {
        return Some(format!("the address of service {}", key_of(&other.metadata)));
    }
    let api_server = world.slices.by_index(BY_SERVICE, &Key::new("default", "kubernetes").to_string());
    let is_there = |slice: &EndpointSliceView| {
        let endpoints = slice.endpoints.as_ref().map(Json::value).unwrap_or_default();
        let all = endpoints.as_array().into_iter().flatten().filter_map(|it| it["addresses"].as_array()).flatten();
        all.filter_map(|it| address(it.as_str()?)).any(|it| it == asked)
    };
    api_server.iter().any(|it| is_there(it)).then(|| "the API server's".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn world() -> World {
        let world = World::default();
        for (name, address) in [("n1", "192.0.2.1"), ("n2", "192.0.2.2"), ("kubernetes.default.svc", "192.0.2.4")] {
            let mut addresses = vec![json!({ "type": "InternalIP", "address": address })];
            if name == "n1" {
                for stolen in ["192.0.2.2", "192.0.2.3", "10.96.0.1", "::ffff:10.96.0.1", "127.0.0.1"] {
                    addresses.push(json!({ "type": "ExternalIP", "address": stolen }));
                }
                addresses.push(json!({ "type": "Hostname", "address": "api.example" }));
            }
            let node = json!({ "metadata": { "name": name }, "status": { "addresses": addresses } });
            world.nodes.apply(serde_json::from_value(node).unwrap());
        }
        let meta = json!({ "namespace": "default", "name": "kubernetes", "uid": "s" });
        let service = json!({ "metadata": meta, "spec": { "clusterIP": "10.96.0.1" } });
        world.services.apply(serde_json::from_value(service).unwrap());
        let slice = json!({ "metadata": { "namespace": "default", "name": "kubernetes",
            "labels": { "kubernetes.io/service-name": "kubernetes" } }, "addressType": "IPv4",
            "endpoints": [{ "addresses": ["192.0.2.3"] }] });
        world.slices.apply(serde_json::from_value(slice).unwrap());
        world
    }

    #[track_caller]
    fn check(node: &str, names: &[&str], addresses: &[&str], why: &str) {
        let world = world();
        let csr = Csr {
            dns_names: names.iter().map(|it| (*it).to_owned()).collect(),
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            ..Csr::default()
        };
        let judged = are_its_own(&csr, &world.nodes.get(&Key::new("", node)).unwrap(), &world);
        assert_eq!(judged.err().unwrap_or_default(), why);
    }

    #[test]
    fn a_node_serves_as_itself_only() {
        check("n1", &["n1"], &["192.0.2.1"], "");
        check("n1", &["n1"], &[], "");
        check("n1", &["n2"], &[], "\"n2\" is not the node's name");
        check("n1", &["n1", "api.example"], &[], "\"api.example\" is not the node's name");
        check("n1", &[], &["192.0.2.9"], "the node's status does not have the address 192.0.2.9");
        check("n1", &[], &["127.0.0.1"], "127.0.0.1 is everybody's");
        check("n1", &[], &["192.0.2.2"], "192.0.2.2 is also an address of node n2");
        check("n1", &[], &["10.96.0.1"], "10.96.0.1 is also the address of service default/kubernetes");
        let why = "10.96.0.1 is also the address of service default/kubernetes";
        check("n1", &[], &["::ffff:10.96.0.1"], why);
        check("n1", &[], &["192.0.2.3"], "192.0.2.3 is also the API server's");
        let name = "kubernetes.default.svc";
        check(name, &[name], &[], "\"kubernetes.default.svc\" is a name of the API server or of a service");
    }
}
