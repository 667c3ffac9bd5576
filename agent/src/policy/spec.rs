//! What a NetworkPolicy says, read once. Pure.
//!
//! The API has checked policies; what cannot be read nevertheless allows nothing, so that a mistake isolates too much and not too little.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orlop_api::selector::label::Selector;

use crate::services::protocol::Protocol;

/// A policy. A direction that it does not isolate is none; one without rules lets nothing through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub namespace: String,
    /// The pods that it isolates.
    pub pods: Selector,
    pub ingress: Option<Vec<Rule>>,
    pub egress: Option<Vec<Rule>>,
}

/// What may pass: any of these peers at any of these ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// None is anybody; without any, nobody.
    pub peers: Option<Vec<Peer>>,
    /// None is everything, whatever its protocol; without any, nothing.
    pub ports: Option<Vec<Port>>,
}

/// Who may be at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    Pods(PodPeer),
    Block(Block),
}

/// Pods, by their labels and those of their namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodPeer {
    pub namespaces: Namespaces,
    pub pods: Selector,
}

/// Where the pods of a peer are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Namespaces {
    /// In the policy's own.
    Own(String),
    Chosen(Selector),
}

/// A range of addresses, and what of it is left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    pub range: IpNet,
    pub except: Vec<IpNet>,
}

/// What is open at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub protocol: Protocol,
    pub ports: Ports,
}

/// Which ports of a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    All,
    /// From the first to the last.
    Range(u16, u16),
    /// What the destination's containers call so.
    Named(String),
}

impl Policy {
    /// What a policy says; none if it cannot be read, as whom it selects.
    pub fn of(source: &NetworkPolicy) -> Option<Self> {
        let namespace = source.metadata.namespace.clone().unwrap_or_default();
        let nothing = NetworkPolicySpec::default();
        let spec = source.spec.as_ref().unwrap_or(&nothing);
        let pods = selector(spec.pod_selector.as_ref())?;
        let types = spec.policy_types.as_deref().unwrap_or_default();
        let has = |name: &str| types.iter().any(|it| it == name);
        // The API server fills the types in; for one that did not: always ingress, and egress where there is a rule.
        let isolates_ingress = types.is_empty() || has("Ingress");
        let isolates_egress = if types.is_empty() { spec.egress.is_some() } else { has("Egress") };
        let ingress = spec.ingress.iter().flatten().map(|it| rule(&namespace, it.from.as_deref(), it.ports.as_deref()));
        let egress = spec.egress.iter().flatten().map(|it| rule(&namespace, it.to.as_deref(), it.ports.as_deref()));
        Some(Policy {
            ingress: isolates_ingress.then(|| ingress.collect()),
            egress: isolates_egress.then(|| egress.collect()),
            pods,
            namespace,
        })
    }
}

impl Block {
    /// Whether an address is in the range and not left out.
    pub fn contains(&self, address: std::net::IpAddr) -> bool {
        self.range.contains(&address) && !self.except.iter().any(|it| it.contains(&address))
    }
}

fn selector(source: Option<&LabelSelector>) -> Option<Selector> {
    match source {
        Some(it) => Selector::from_label_selector(it).ok(),
        None => Some(Selector::default()),
    }
}

fn rule(namespace: &str, peers: Option<&[NetworkPolicyPeer]>, ports: Option<&[NetworkPolicyPort]>) -> Rule {
    // An empty list says as much as none.
    let peers = peers.filter(|it| !it.is_empty());
    let ports = ports.filter(|it| !it.is_empty());
    Rule {
        peers: peers.map(|it| it.iter().filter_map(|it| peer(namespace, it)).collect()),
        ports: ports.map(|it| it.iter().filter_map(port).collect()),
    }
}

fn peer(namespace: &str, source: &NetworkPolicyPeer) -> Option<Peer> {
    if let Some(it) = &source.ip_block {
        return block(it).map(Peer::Block);
    }
    let namespaces = match &source.namespace_selector {
        Some(it) => Namespaces::Chosen(selector(Some(it))?),
        None if source.pod_selector.is_some() => Namespaces::Own(namespace.to_owned()),
        None => return None,
    };
    Some(Peer::Pods(PodPeer { namespaces, pods: selector(source.pod_selector.as_ref())? }))
}

fn block(source: &IPBlock) -> Option<Block> {
    let range = |it: &str| it.parse::<IpNet>().ok().map(|it| it.trunc());
    let except: Option<Vec<IpNet>> = source.except.iter().flatten().map(|it| range(it)).collect();
    Some(Block { range: range(&source.cidr)?, except: except? })
}

fn port(source: &NetworkPolicyPort) -> Option<Port> {
    let number = |it: i32| u16::try_from(it).ok();
    let ports = match (&source.port, source.end_port) {
        (None, _) => Ports::All,
        (Some(IntOrString::Int(first)), end) => Ports::Range(number(*first)?, number(end.unwrap_or(*first))?),
        (Some(IntOrString::String(name)), _) => Ports::Named(name.clone()),
    };
    Some(Port { protocol: Protocol::of(source.protocol.as_deref()), ports })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(spec: Value) -> Policy {
        let source = json!({ "metadata": { "namespace": "a", "name": "p" }, "spec": spec });
        Policy::of(&serde_json::from_value(source).unwrap()).unwrap()
    }

    #[test]
    fn directions_are_isolated_as_the_types_say() {
        let check = |spec: Value, ingress: Option<usize>, egress: Option<usize>| {
            let it = policy(spec.clone());
            assert_eq!((it.ingress.map(|it| it.len()), it.egress.map(|it| it.len())), (ingress, egress), "{spec}");
        };
        check(json!({ "podSelector": {} }), Some(0), None);
        check(json!({ "podSelector": {}, "egress": [{}] }), Some(0), Some(1));
        check(json!({ "podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}] }), None, Some(0));
        check(
            json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}, {}] }),
            Some(2),
            Some(0),
        );
    }

    #[test]
    fn nothing_and_everything_are_told_apart() {
        let rules = policy(json!({ "podSelector": {}, "ingress": [
            {}, { "from": [], "ports": [] }, { "from": [{ "podSelector": {} }], "ports": [{ "protocol": "UDP" }] },
            { "from": [{ "ipBlock": { "cidr": "bad" } }, {}], "ports": [{ "port": 70000 }] }
        ] }));
        let rules = rules.ingress.unwrap();
        assert!(rules[..2].iter().all(|it| it.peers.is_none() && it.ports.is_none()));
        let all = PodPeer { namespaces: Namespaces::Own("a".into()), pods: Selector::default() };
        assert_eq!(rules[2].peers, Some(vec![Peer::Pods(all)]));
        assert_eq!(rules[2].ports, Some(vec![Port { protocol: Protocol::Udp, ports: Ports::All }]));
        assert_eq!((&rules[3].peers, &rules[3].ports), (&Some(vec![]), &Some(vec![])), "what cannot be read is nobody");
    }

    #[test]
    fn blocks_leave_out_their_exceptions() {
        let source = json!({ "cidr": "10.0.0.7/8", "except": ["10.1.0.0/16"] });
        let it = block(&serde_json::from_value(source).unwrap()).unwrap();
        let check = |address: &str, expected| assert_eq!(it.contains(address.parse().unwrap()), expected, "{address}");
        check("10.2.0.1", true);
        check("10.1.0.1", false);
        check("11.0.0.1", false);
        check("fd00::1", false);
    }
}
