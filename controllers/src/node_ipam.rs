//! Pod networks of nodes: each node gets a part of the cluster's range as its `podCIDR`.
//!
//! In: the nodes. Out: one patch a node. What is taken is read from the nodes themselves, so that nothing is remembered.
//! One key stands for all nodes: two nodes decided on at once could get the same range.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use orlop_client::Key;
use orlop_client::events::Severity;
use orlop_client::write::Action;
use serde_json::json;

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// Bits of a node's network: 254 pods.
const NODE_BITS: u8 = 24;

/// An IPv4 range, as `10.244.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    base: u32,
    bits: u8,
}

impl std::str::FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let wrong = || format!("{text:?} is no IPv4 range of at most /{NODE_BITS}, such as 10.244.0.0/16");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().ok().filter(|it| (1..=NODE_BITS).contains(it)).ok_or_else(wrong)?;
        Ok(Range { base: u32::from(address) & (u32::MAX << (32 - bits)), bits })
    }
}

impl Range {
    fn nodes(self) -> impl Iterator<Item = String> {
        let step = 1u32 << (32 - NODE_BITS);
        let count = 1u32 << (NODE_BITS - self.bits);
        (0..count).map(move |at| format!("{}/{NODE_BITS}", Ipv4Addr::from(self.base + at * step)))
    }
}

/// The controller.
pub struct NodeIpam {
    /// What is divided.
    pub range: Range,
}

impl Controller for NodeIpam {
    fn name(&self) -> &'static str {
        "node-ipam-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on(&world.nodes, |change| {
            let lacks = change.new.as_ref().is_some_and(|it| it.spec.pod_cidr.is_empty());
            if lacks || change.new.is_none() { vec![Key::new("", "nodes")] } else { Vec::new() }
        });
    }

    fn decide(&self, _key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let nodes = world.nodes.list();
        let taken: HashSet<&str> = nodes.iter().map(|it| it.spec.pod_cidr.as_str()).collect();
        let mut free = self.range.nodes().filter(|it| !taken.contains(it.as_str()));
        for node in nodes.iter().filter(|it| it.spec.pod_cidr.is_empty()) {
            let Some(cidr) = free.next() else {
                let regarding: ObjectReference = reference(NODES, &node.metadata);
                let name = name_of(&node.metadata);
                let message = format!("Node {name} status is now: CIDRNotAvailable");
                plan.tell(regarding, Severity::Normal, "CIDRNotAvailable", message);
                break;
            };
            plan.act(Action::Patch {
                resource: NODES,
                key: key_of(&node.metadata),
                sub: None,
                uid: uid_of(&node.metadata).to_owned(),
                // A heartbeat in between does no harm: nobody else writes this field.
                revision: None,
                patch: json!({ "spec": { "podCIDR": cidr, "podCIDRs": [cidr] } }),
            });
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, cidr: &str) -> NodeView {
        let it = json!({ "metadata": { "name": name, "uid": name }, "spec": { "podCIDR": cidr } });
        serde_json::from_value(it).unwrap()
    }

    #[test]
    fn each_node_gets_the_next_free_range() {
        let world = World::default();
        for (name, cidr) in [("a", "10.0.0.0/24"), ("b", ""), ("c", "10.0.2.0/24"), ("d", "")] {
            world.nodes.apply(node(name, cidr));
        }
        let ipam = NodeIpam { range: "10.0.0.0/22".parse().unwrap() };
        insta::assert_snapshot!(ipam.decide(&Key::new("", "nodes"), &world, Timestamp::UNIX_EPOCH, None), @r#"
        patch nodes b {"spec":{"podCIDR":"10.0.1.0/24","podCIDRs":["10.0.1.0/24"]}}
        patch nodes d {"spec":{"podCIDR":"10.0.3.0/24","podCIDRs":["10.0.3.0/24"]}}
        "#);
        assert!("10.0.0.0/33".parse::<Range>().is_err());
    }
}
