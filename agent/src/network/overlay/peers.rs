//! Which nodes are reached how. Pure.
//!
//! A node counts when it tells ranges of pod addresses within the cluster's and an address that is no pod's. One whose address is an address
//! of this namespace too is not elsewhere: its bridge is beside ours.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use kube::core::ObjectMeta;
use orlop_api::ranges::Ranges;
use serde::Deserialize;

use super::Overlay;
use crate::network::link::mac;

/// A Node, as far as it says where its pods are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerView {
    pub metadata: ObjectMeta,
    pub spec: PeerSpec,
    pub status: PeerStatus,
}
orlop_client::view!(PeerView: core::Node);

/// Its ranges.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerSpec {
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Option<Vec<String>>,
}

/// Its addresses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerStatus {
    pub addresses: Option<Vec<PeerAddress>>,
}

/// One of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerAddress {
    #[serde(rename = "type")]
    pub type_: String,
    pub address: String,
}

/// A node with pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub node: String,
    pub addresses: Vec<IpAddr>,
    pub ranges: Ranges,
}

impl PeerView {
    /// What counts of it; none as long as it has no range or no address.
    pub fn peer(&self) -> Option<Peer> {
        let internal = self.status.addresses.iter().flatten().filter(|it| it.type_ == "InternalIP");
        let addresses: Vec<IpAddr> = internal.filter_map(|it| it.address.parse().ok()).collect();
        if addresses.is_empty() {
            return None;
        }
        let several = self.spec.pod_cidrs.as_ref().filter(|it| !it.is_empty()).map(|it| it.join(","));
        let ranges = several.or_else(|| self.spec.pod_cidr.clone())?.parse().ok()?;
        Some(Peer { node: self.metadata.name.clone()?, addresses, ranges })
    }
}

impl Peer {
    /// Its address of a range's family.
    fn address_like(&self, range: IpNet) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|it| it.is_ipv4() == range.addr().is_ipv4())
    }
}

/// This node.
#[derive(Clone, Debug)]
pub struct Here {
    pub node: String,
    pub ranges: Ranges,
    /// All pods' addresses.
    pub cluster: Ranges,
    pub overlay: Overlay,
    /// The addresses of this namespace with their networks, by the index of their link.
    pub addresses: Vec<(u32, IpNet)>,
}

/// How a node's range is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By this link, to the node's own address.
    Link { index: u32, gateway: IpAddr },
    /// Through the tunnel, to the end that the node has in it.
    Tunnel { gateway: IpAddr },
}

/// Where an end of the tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The hardware address that the node's device has.
    pub mac: [u8; 6],
    /// The node's own address.
    pub outer: IpAddr,
}

/// What the kernel should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub routes: BTreeMap<IpNet, Way>,
    /// The other ends of the tunnel, by the addresses that they have in it.
    pub ends: BTreeMap<IpAddr, End>,
}

/// The end of the tunnel on the node of a range: the range's first address, which no pod and no bridge has.
pub fn end(range: IpNet) -> IpAddr {
    range.network()
}

/// The routes to all other nodes. Where two claim the same addresses, which the controllers prevent, the first by name has them.
pub fn wanted(peers: &[Peer], here: &Here) -> Wanted {
    let mut peers: Vec<&Peer> = peers.iter().filter(|it| is_elsewhere(it, here)).collect();
    peers.sort_by(|a, b| a.node.cmp(&b.node));
    let mut wanted = Wanted::default();
    for peer in peers {
        for range in peer.ranges.iter().filter(|it| is_of_cluster(*it, here)) {
            let overlaps = |it: &IpNet| it.contains(&range) || range.contains(it);
            if here.ranges.iter().any(|it| overlaps(&it)) || wanted.routes.keys().any(overlaps) {
                continue;
            }
            if let Some(way) = way(peer, range, here, &mut wanted.ends) {
                wanted.routes.insert(range, way);
            }
        }
    }
    wanted
}

/// How one range of a node is reached; notes the end of the tunnel where it is by that.
fn way(peer: &Peer, range: IpNet, here: &Here, ends: &mut BTreeMap<IpAddr, End>) -> Option<Way> {
    let shared = peer.address_like(range).and_then(|it| Some((link_to(it, here)?, it)));
    match (here.overlay, shared) {
        (Overlay::Auto | Overlay::Routes, Some((index, gateway))) => Some(Way::Link { index, gateway }),
        (Overlay::Routes, None) => None,
        (Overlay::Auto | Overlay::Vxlan, _) => {
            let gateway = end(range);
            // The tunnel goes by the primary family, whatever it carries.
            let outer = peer.address_like(here.ranges.primary())?;
            ends.insert(gateway, End { mac: mac(end(peer.ranges.primary())), outer });
            Some(Way::Tunnel { gateway })
        }
    }
}

/// The link whose network an address is in.
fn link_to(address: IpAddr, here: &Here) -> Option<u32> {
    let mut links = here.addresses.iter();
    links.find(|(_, net)| net.prefix_len() < net.max_prefix_len() && net.contains(&address)).map(|it| it.0)
}

fn is_elsewhere(peer: &Peer, here: &Here) -> bool {
    let is_ours = |address: &IpAddr| here.addresses.iter().any(|(_, net)| net.addr() == *address);
    let is_a_pods = |address: &IpAddr| here.cluster.iter().any(|it| it.contains(address));
    peer.node != here.node && !peer.addresses.iter().any(|it| is_ours(it) || is_a_pods(it))
}

fn is_of_cluster(range: IpNet, here: &Here) -> bool {
    here.cluster.iter().any(|it| it.contains(&range) && range.prefix_len() > it.prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `ranges` and `addresses` are one of IPv4, or one of each family with a comma between them.
    fn view(node: &str, ranges: &str, addresses: &str) -> PeerView {
        let internal = addresses.split(',').map(|it| json!({ "type": "InternalIP", "address": it }));
        let addresses: Vec<_> = [json!({ "type": "Hostname", "address": node })].into_iter().chain(internal).collect();
        let all: Vec<&str> = ranges.split(',').collect();
        let spec =
            if all.len() > 1 { json!({ "podCIDR": all[0], "podCIDRs": all }) } else { json!({ "podCIDR": ranges }) };
        let it = json!({ "metadata": { "name": node }, "spec": spec, "status": { "addresses": addresses } });
        serde_json::from_value(it).unwrap()
    }

    fn here(overlay: Overlay) -> Here {
        let net = |it: &str| it.parse::<IpNet>().unwrap();
        Here {
            node: "a".into(),
            ranges: "10.244.0.0/24".parse().unwrap(),
            cluster: "10.244.0.0/16".parse().unwrap(),
            overlay,
            addresses: vec![
                (1, net("127.0.0.1/8")),
                (2, net("192.0.2.5/24")),
                (3, net("203.0.113.9/32")),
                (4, net("10.244.0.1/24")),
            ],
        }
    }

    /// `range gateway` with `*` where it goes through the tunnel.
    fn check(overlay: Overlay, nodes: &[(&str, &str, &str)], expected: &[&str]) {
        check_from(&here(overlay), nodes, expected);
    }

    fn check_from(here: &Here, nodes: &[(&str, &str, &str)], expected: &[&str]) {
        let peers: Vec<Peer> = nodes.iter().filter_map(|it| view(it.0, it.1, it.2).peer()).collect();
        let wanted = wanted(&peers, here);
        let texts: Vec<String> = wanted
            .routes
            .iter()
            .map(|(range, way)| match way {
                Way::Link { index, gateway } => format!("{range} {gateway} {index}"),
                Way::Tunnel { gateway } => format!("{range} {gateway} *{}", wanted.ends[gateway].outer),
            })
            .collect();
        assert_eq!(texts, expected, "{:?} {nodes:?}", here.overlay);
    }

    #[test]
    fn nodes_of_the_same_link_need_no_tunnel() {
        let nodes = [
            ("a", "10.244.0.0/24", "192.0.2.5"),
            ("b", "10.244.1.0/24", "192.0.2.6"),
            ("c", "10.244.2.0/24", "198.51.100.7"),
            ("d", "10.244.3.0/24", "203.0.113.10"),
        ];
        let (b, c, d) = (
            "10.244.1.0/24 192.0.2.6 2",
            "10.244.2.0/24 10.244.2.0 *198.51.100.7",
            "10.244.3.0/24 10.244.3.0 *203.0.113.10",
        );
        check(Overlay::Auto, &nodes, &[b, c, d]);
        check(Overlay::Routes, &nodes, &[b]);
        check(Overlay::Vxlan, &nodes, &["10.244.1.0/24 10.244.1.0 *192.0.2.6", c, d]);
    }

    #[test]
    fn both_families_have_their_ways() {
        let dual = |overlay| {
            let mut it = here(overlay);
            it.ranges = "10.244.0.0/24,fd00:10:244::/64".parse().unwrap();
            it.cluster = "10.244.0.0/16,fd00:10:244::/56".parse().unwrap();
            it.addresses.push((2, "2001:db8::5/64".parse().unwrap()));
            it
        };
        let nodes = [
            ("b", "10.244.1.0/24,fd00:10:244:1::/64", "192.0.2.6,2001:db8::6"),
            // Known by one family only, and on another link.
            ("c", "10.244.2.0/24,fd00:10:244:2::/64", "198.51.100.7"),
            // As they were before the cluster had two families.
            ("d", "10.244.3.0/24", "192.0.2.8,2001:db8::8"),
            ("e", "fd00:10:245::/64,10.244.4.0/24", "192.0.2.9,2001:db8::9"),
        ];
        let expected = [
            "10.244.1.0/24 192.0.2.6 2",
            "10.244.2.0/24 10.244.2.0 *198.51.100.7",
            "10.244.3.0/24 192.0.2.8 2",
            "10.244.4.0/24 192.0.2.9 2",
            "fd00:10:244:1::/64 2001:db8::6 2",
            "fd00:10:244:2::/64 fd00:10:244:2:: *198.51.100.7",
        ];
        check_from(&dual(Overlay::Auto), &nodes, &expected);
        let tunnelled = ["10.244.1.0/24 10.244.1.0 *192.0.2.6", "fd00:10:244:1::/64 fd00:10:244:1:: *192.0.2.6"];
        check_from(&dual(Overlay::Vxlan), &nodes[..1], &tunnelled);
        let mut six = dual(Overlay::Vxlan);
        six.ranges = "fd00:10:244::/64".parse().unwrap();
        six.cluster = "fd00:10:244::/56".parse().unwrap();
        check_from(&six, &nodes[..2], &["fd00:10:244:1::/64 fd00:10:244:1:: *2001:db8::6"]);
        // One device has both ends.
        let peers = [view(nodes[0].0, nodes[0].1, nodes[0].2).peer().unwrap()];
        let ends: std::collections::BTreeSet<_> =
            wanted(&peers, &dual(Overlay::Vxlan)).ends.values().map(|it| it.mac).collect();
        assert_eq!(ends.len(), 1);
    }

    #[test]
    fn what_cannot_be_true_leads_nowhere() {
        for (range, address) in [
            ("", "192.0.2.6"),
            ("nonsense", "192.0.2.6"),
            ("10.244.1.0/24", ""),
            ("10.244.1.0/24", "fd00::1"),
            // Ours, in part or whole; more than a node's; not the cluster's.
            ("10.244.0.0/25", "192.0.2.6"),
            ("10.244.0.0/16", "192.0.2.6"),
            ("0.0.0.0/0", "192.0.2.6"),
            ("192.0.2.0/24", "192.0.2.6"),
            // Beside us in this namespace, or known by an address that only its own machine has.
            ("10.244.1.0/24", "192.0.2.5"),
            ("10.244.1.0/24", "10.244.1.1"),
        ] {
            check(Overlay::Auto, &[("b", range, address)], &[]);
        }
        let both = [("c", "10.244.1.0/24", "192.0.2.7"), ("b", "10.244.1.0/24", "192.0.2.6")];
        check(Overlay::Auto, &both, &["10.244.1.0/24 192.0.2.6 2"]);
    }
}
