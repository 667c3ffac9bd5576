//! Which nodes are reached how. Pure.
//!
//! A node counts when it tells a range of pod addresses within the cluster's and an address that is no pod's. One whose address is an address
//! of this namespace too is not elsewhere: its bridge is beside ours.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1 as core;
use kube::core::ObjectMeta;
use serde::Deserialize;

use super::Overlay;

/// A Node, as far as it says where its pods are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerView {
    pub metadata: ObjectMeta,
    pub spec: PeerSpec,
    pub status: PeerStatus,
}
orlop_client::view!(PeerView: core::Node);

/// Its range.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerSpec {
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<String>,
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
    pub address: Ipv4Addr,
    pub range: Ipv4Net,
}

impl PeerView {
    /// What counts of it; none as long as it has no range or no address of IPv4.
    pub fn peer(&self) -> Option<Peer> {
        let range = self.spec.pod_cidr.as_deref()?.parse::<Ipv4Net>().ok()?.trunc();
        let internal = self.status.addresses.iter().flatten().filter(|it| it.type_ == "InternalIP");
        let address = internal.filter_map(|it| it.address.parse().ok()).next()?;
        Some(Peer { node: self.metadata.name.clone()?, address, range })
    }
}

/// This node.
#[derive(Clone, Debug)]
pub struct Here {
    pub node: String,
    pub range: Ipv4Net,
    /// All pods' addresses.
    pub cluster: Ipv4Net,
    pub overlay: Overlay,
    /// The addresses of this namespace with their networks, by the index of their link.
    pub addresses: Vec<(u32, Ipv4Net)>,
}

/// How a node's range is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By this link, to the node's own address.
    Link { index: u32, gateway: Ipv4Addr },
    /// Through the tunnel, to the end that the node has in it.
    Tunnel { gateway: Ipv4Addr },
}

/// What the kernel should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub routes: BTreeMap<Ipv4Net, Way>,
    /// The other ends of the tunnel and the nodes' own addresses.
    pub ends: BTreeMap<Ipv4Addr, Ipv4Addr>,
}

/// The end of the tunnel on the node of a range: the range's first address, which no pod and no bridge has.
pub fn end(range: Ipv4Net) -> Ipv4Addr {
    range.network()
}

/// The routes to all other nodes. Where two claim the same addresses, which the controllers prevent, the first by name has them.
pub fn wanted(peers: &[Peer], here: &Here) -> Wanted {
    let mut peers: Vec<&Peer> = peers.iter().filter(|it| is_elsewhere(it, here)).collect();
    peers.sort_by(|a, b| a.node.cmp(&b.node));
    let mut wanted = Wanted::default();
    for peer in peers {
        let overlaps = |it: &Ipv4Net| it.contains(&peer.range) || peer.range.contains(it);
        if overlaps(&here.range) || wanted.routes.keys().any(overlaps) {
            continue;
        }
        let shared = here.addresses.iter().find(|(_, net)| net.prefix_len() < 32 && net.contains(&peer.address));
        let way = match (here.overlay, shared) {
            (Overlay::Auto | Overlay::Routes, Some((index, _))) => Way::Link { index: *index, gateway: peer.address },
            (Overlay::Routes, None) => continue,
            (Overlay::Auto | Overlay::Vxlan, _) => {
                let gateway = end(peer.range);
                wanted.ends.insert(gateway, peer.address);
                Way::Tunnel { gateway }
            }
        };
        wanted.routes.insert(peer.range, way);
    }
    wanted
}

fn is_elsewhere(peer: &Peer, here: &Here) -> bool {
    let is_ours = here.addresses.iter().any(|(_, net)| net.addr() == peer.address);
    peer.node != here.node
        && !is_ours
        && !here.cluster.contains(&peer.address)
        && here.cluster.contains(&peer.range)
        && peer.range.prefix_len() > here.cluster.prefix_len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn view(node: &str, range: &str, address: &str) -> PeerView {
        let addresses = json!([{ "type": "Hostname", "address": node }, { "type": "InternalIP", "address": "fd00::1" },
            { "type": "InternalIP", "address": address }]);
        let it =
            json!({ "metadata": { "name": node }, "spec": { "podCIDR": range }, "status": { "addresses": addresses } });
        serde_json::from_value(it).unwrap()
    }

    fn here(overlay: Overlay) -> Here {
        let net = |it: &str| it.parse::<Ipv4Net>().unwrap();
        Here {
            node: "a".into(),
            range: net("10.244.0.0/24"),
            cluster: net("10.244.0.0/16"),
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
        let peers: Vec<Peer> = nodes.iter().filter_map(|it| view(it.0, it.1, it.2).peer()).collect();
        let wanted = wanted(&peers, &here(overlay));
        let texts: Vec<String> = wanted
            .routes
            .iter()
            .map(|(range, way)| match way {
                Way::Link { index, gateway } => format!("{range} {gateway} {index}"),
                Way::Tunnel { gateway } => format!("{range} {gateway} *{}", wanted.ends[gateway]),
            })
            .collect();
        assert_eq!(texts, expected, "{overlay:?} {nodes:?}");
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
