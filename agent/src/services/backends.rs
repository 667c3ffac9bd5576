//! Which endpoints a service's port leads to from this node. Pure.
//!
//! The choice is kube-proxy's: endpoints that are ready; if there is none, those that end and still answer (KEP-1669); of the ready ones
//! those whose hints name this node, or its zone, if every one has hints (KEP-2433, KEP-3015).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::protocol::Protocol;
use super::view::{Endpoint, For, ServicePort, SliceView};

/// Where this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    pub node: String,
    /// The node's label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
}

/// Where a packet may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    pub address: IpAddr,
    pub port: u16,
    /// On this node.
    pub local: bool,
}

/// The endpoints of one port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backends {
    /// Those to use where any will do.
    pub cluster: Vec<Backend>,
    /// Those to use where the packet must not leave the node.
    pub local: Vec<Backend>,
}

/// The endpoints of a port of a service, of one family of addresses, in order and each once.
pub fn of(port: &ServicePort, ipv4: bool, slices: &[Arc<SliceView>], here: &Here) -> Backends {
    let protocol = Protocol::of(port.protocol.as_deref());
    let mut found: BTreeMap<Backend, &Endpoint> = BTreeMap::new();
    for slice in slices {
        if slice.address_type != if ipv4 { "IPv4" } else { "IPv6" } {
            continue;
        }
        let named = |it: &Option<String>| it.clone().unwrap_or_default();
        let fitting = slice
            .ports()
            .iter()
            .filter(|it| named(&it.name) == named(&port.name) && Protocol::of(it.protocol.as_deref()) == protocol);
        for target in fitting.filter_map(|it| it.port).filter(|it| *it > 0) {
            for endpoint in slice.endpoints() {
                // The addresses of one endpoint are one thing under several names, the first is used (API of EndpointSlices).
                let Some(address) = endpoint.addresses.first().and_then(|it| it.parse::<IpAddr>().ok()) else {
                    continue;
                };
                if address.is_ipv4() != ipv4 || address.is_loopback() || address.is_unspecified() {
                    continue;
                }
                let local = endpoint.node_name.as_deref() == Some(&here.node);
                let entry = found.entry(Backend { address, port: target, local }).or_insert(endpoint);
                // While a pod moves from one slice to another it is in both, and the state that takes connections counts.
                if endpoint.conditions.is_ready() {
                    *entry = endpoint;
                }
            }
        }
    }
    let ready: Vec<_> = found.iter().filter(|it| it.1.conditions.is_ready()).collect();
    let ending: Vec<_> = found.iter().filter(|it| it.1.conditions.is_serving_to_the_end()).collect();
    let list = |of: &[(&Backend, &&Endpoint)]| of.iter().map(|it| *it.0).collect::<Vec<_>>();
    let local_of = |of: &[(&Backend, &&Endpoint)]| of.iter().map(|it| *it.0).filter(|it| it.local).collect::<Vec<_>>();
    let cluster = if ready.is_empty() { list(&ending) } else { near(&ready, here) };
    let local = Some(local_of(&ready)).filter(|it| !it.is_empty()).unwrap_or_else(|| local_of(&ending));
    Backends { cluster, local }
}

/// Those of the ready endpoints that are meant for this node or its zone, or all.
fn near(ready: &[(&Backend, &&Endpoint)], here: &Here) -> Vec<Backend> {
    let meant = |hint: &dyn Fn(&Endpoint) -> Option<Vec<For>>, name: &str| {
        let hints: Option<Vec<Vec<For>>> = ready.iter().map(|it| hint(it.1).filter(|it| !it.is_empty())).collect();
        let chosen: Vec<Backend> = hints?
            .iter()
            .zip(ready)
            .filter(|(hints, _)| hints.iter().any(|it| it.name == name))
            .map(|(_, it)| *it.0)
            .collect();
        Some(chosen).filter(|it| !it.is_empty())
    };
    let by_node = meant(&|it| it.hints.as_ref()?.for_nodes.clone(), &here.node);
    let by_zone = || meant(&|it| it.hints.as_ref()?.for_zones.clone(), here.zone.as_deref()?);
    by_node.or_else(by_zone).unwrap_or_else(|| ready.iter().map(|it| *it.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(endpoints: Value, cluster: &[&str], local: &[&str]) {
        let slice = json!({
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "http", "port": 53, "protocol": "UDP"}],
        });
        let port = ServicePort { name: Some("http".into()), port: 80, ..ServicePort::default() };
        let here = Here { node: "here".into(), zone: Some("a".into()) };
        let slices = [Arc::new(serde_json::from_value(slice).unwrap())];
        let got = of(&port, true, &slices, &here);
        let text = |it: &[Backend]| it.iter().map(|it| it.address.to_string()).collect::<Vec<_>>();
        assert_eq!(
            (text(&got.cluster), text(&got.local)),
            (cluster.iter().map(ToString::to_string).collect(), local.iter().map(ToString::to_string).collect())
        );
        assert!(got.cluster.iter().all(|it| it.port == 8080));
        assert_eq!(of(&port, false, &slices, &here), Backends::default());
    }

    fn endpoint(address: &str, node: &str, conditions: Value) -> Value {
        json!({"addresses": [address], "nodeName": node, "conditions": conditions})
    }

    #[test]
    fn ready_ones_come_first_then_those_that_end_and_answer() {
        let ready = endpoint("10.0.0.2", "there", json!({"ready": true}));
        let unknown = endpoint("10.0.0.3", "here", json!({}));
        let not = endpoint("10.0.0.4", "here", json!({"ready": false}));
        let ending = endpoint("10.0.0.5", "here", json!({"ready": false, "serving": true, "terminating": true}));
        let silent = endpoint("10.0.0.6", "here", json!({"ready": false, "serving": false, "terminating": true}));
        check(json!([ready, unknown, not, ending]), &["10.0.0.2", "10.0.0.3"], &["10.0.0.3"]);
        check(json!([ready, ending, silent]), &["10.0.0.2"], &["10.0.0.5"]);
        check(json!([not, ending, silent]), &["10.0.0.5"], &["10.0.0.5"]);
        check(json!([not, silent]), &[], &[]);
        check(
            json!([ready, ready, endpoint("bad", "here", json!({})), endpoint("127.0.0.1", "here", json!({}))]),
            &["10.0.0.2"],
            &[],
        );
    }

    #[test]
    fn hints_count_only_if_all_have_them() {
        let hinted = |address: &str, zones: &[&str], nodes: &[&str]| {
            let list = |it: &[&str]| it.iter().map(|it| json!({"name": it})).collect::<Vec<_>>();
            json!({"addresses": [address], "hints": {"forZones": list(zones), "forNodes": list(nodes)}})
        };
        let (a, b) = (hinted("10.0.0.2", &["a"], &[]), hinted("10.0.0.3", &["b"], &[]));
        check(json!([a, b]), &["10.0.0.2"], &[]);
        check(json!([a, b, endpoint("10.0.0.4", "x", json!({}))]), &["10.0.0.2", "10.0.0.3", "10.0.0.4"], &[]);
        check(json!([b]), &["10.0.0.3"], &[]);
        let (here, there) = (hinted("10.0.0.2", &["b"], &["here"]), hinted("10.0.0.3", &["a"], &["there"]));
        check(json!([here, there]), &["10.0.0.2"], &[]);
    }
}
