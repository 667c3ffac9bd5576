//! Pod networks of nodes: each node gets a part of the cluster's range as its `podCIDR`, and of a dual-stack cluster one of each family.
//!
//! In: the nodes. Out: one patch a node. What is taken is read from the nodes themselves, so that nothing is remembered.
//! One key stands for all nodes: two nodes decided on at once could get the same range.

use std::collections::HashSet;

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use orlop_api::ranges::Ranges;
use orlop_client::Key;
use orlop_client::events::Severity;
use orlop_client::write::Action;
use serde_json::json;

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// Bits of a node's network of IPv4: 254 pods.
const NODE_BITS: u8 = 24;
/// Bits of a node's network of IPv6, as Kubernetes' `--node-cidr-mask-size-ipv6`.
const NODE_BITS_V6: u8 = 64;
/// The most networks that a range is divided into, as Kubernetes has it: 65,536 nodes.
const DIVISION_BITS: u8 = 16;

/// What nodes get their networks out of: a range, or one of each family, each with room for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRanges(Ranges);

impl std::str::FromStr for ClusterRanges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<Ranges>().map_err(|it| it.to_string())?.try_into()
    }
}

impl TryFrom<Ranges> for ClusterRanges {
    type Error = String;

    fn try_from(ranges: Ranges) -> Result<Self, String> {
        for range in ranges.iter() {
            let bits = node_bits(range);
            if range.prefix_len() == 0 || range.prefix_len() > bits {
                return Err(format!("{range} cannot be divided among nodes: it must be between /1 and /{bits}"));
            }
            if bits - range.prefix_len() > DIVISION_BITS && range.addr().is_ipv6() {
                let least = bits - DIVISION_BITS;
                return Err(format!("{range} is too large: of IPv6 it must be between /{least} and /{bits}"));
            }
        }
        Ok(ClusterRanges(ranges))
    }
}

fn node_bits(range: IpNet) -> u8 {
    if range.addr().is_ipv4() { NODE_BITS } else { NODE_BITS_V6 }
}

/// The networks of a range that no node has.
fn free<'a>(range: IpNet, taken: &'a HashSet<IpNet>) -> impl Iterator<Item = IpNet> + 'a {
    // The bits were tried when the range was read.
    range.subnets(node_bits(range)).into_iter().flatten().filter(move |it| !taken.contains(it))
}

/// The controller.
pub struct NodeIpam {
    /// What is divided.
    pub ranges: ClusterRanges,
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
        let taken: HashSet<IpNet> = nodes.iter().flat_map(|it| cidrs(it)).filter_map(|it| it.parse().ok()).collect();
        let ranges = self.ranges.0;
        let mut first = free(ranges.primary(), &taken);
        let mut second = ranges.secondary().map(|it| free(it, &taken));
        for node in nodes.iter().filter(|it| it.spec.pod_cidr.is_empty()) {
            let of_second = second.as_mut().map(Iterator::next);
            let (Some(cidr), None | Some(Some(_))) = (first.next(), of_second) else {
                let regarding: ObjectReference = reference(NODES, &node.metadata);
                let name = name_of(&node.metadata);
                let message = format!("Node {name} status is now: CIDRNotAvailable");
                plan.tell(regarding, Severity::Normal, "CIDRNotAvailable", message);
                break;
            };
            let all: Vec<String> = [cidr].into_iter().chain(of_second.flatten()).map(|it| it.to_string()).collect();
            plan.act(Action::Patch {
                resource: NODES,
                key: key_of(&node.metadata),
                sub: None,
                uid: uid_of(&node.metadata).to_owned(),
                // A heartbeat in between does no harm: nobody else writes this field.
                revision: None,
                patch: json!({ "spec": { "podCIDR": all[0], "podCIDRs": all } }),
            });
        }
        plan
    }
}

/// The networks of a node, of either field.
fn cidrs(node: &NodeView) -> impl Iterator<Item = &str> {
    node.spec.pod_cidrs.iter().chain([&node.spec.pod_cidr]).map(String::as_str)
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
        insta::assert_snapshot!(plan(&world, "10.0.0.0/22"), @r#"
        patch nodes b {"spec":{"podCIDR":"10.0.1.0/24","podCIDRs":["10.0.1.0/24"]}}
        patch nodes d {"spec":{"podCIDR":"10.0.3.0/24","podCIDRs":["10.0.3.0/24"]}}
        "#);
    }

    fn plan(world: &World, ranges: &str) -> String {
        let ipam = NodeIpam { ranges: ranges.parse().unwrap() };
        ipam.decide(&Key::new("", "nodes"), world, Timestamp::UNIX_EPOCH, None).to_string()
    }

    #[test]
    fn in_a_dual_stack_cluster_it_gets_one_of_each_family() {
        let world = World::default();
        let mut old = node("a", "fd00:10:244::/64");
        old.spec.pod_cidrs = vec!["fd00:10:244::/64".into(), "10.0.0.0/24".into()];
        world.nodes.apply(old);
        world.nodes.apply(node("b", ""));
        world.nodes.apply(node("c", ""));
        insta::assert_snapshot!(plan(&world, "fd00:10:244::/56,10.0.0.0/23"), @r#"
        patch nodes b {"spec":{"podCIDR":"fd00:10:244:1::/64","podCIDRs":["fd00:10:244:1::/64","10.0.1.0/24"]}}
        tell Normal CIDRNotAvailable: Node c status is now: CIDRNotAvailable
        "#);
    }

    #[test]
    fn ranges_have_room_for_nodes() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<ClusterRanges>().is_ok(), good, "{text}");
        check("10.0.0.0/16", true);
        check("10.0.0.0/24,fd00::/64", true);
        check("fd00::/48", true);
        for wrong in
            ["10.0.0.0/33", "10.0.0.0/25", "0.0.0.0/0", "fd00::/47", "fd00::/65", "10.0.0.0/16,fd00::/112", "x"]
        {
            check(wrong, false);
        }
    }
}
