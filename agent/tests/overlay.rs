//! The ways to other nodes on the real kernel: a node in a network namespace of its own, whose store of Nodes the test fills by hand.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking, in its helpers too")]

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "support/sandbox.rs"]
mod sandbox;

use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_agent::network::PodNetwork;
use orlop_agent::network::bridge::{self, BridgeNetwork};
use orlop_agent::network::ips::Ips;
use orlop_agent::network::overlay::Overlay;
use orlop_agent::network::overlay::keeper::{Config, Keeper};
use orlop_agent::network::overlay::peers::PeerView;
use orlop_client::Store;
use sandbox::{Sandbox, sh};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
const NODE: &str = "overlay-a";

/// The node, at 198.18.50.1 of a link on which there may be others.
struct Node {
    sandbox: Sandbox,
    nodes: Store<PeerView>,
    end: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
    _data: tempfile::TempDir,
}

impl Node {
    fn start(overlay: Overlay) -> Self {
        Self::with(overlay, "10.232.0.0/24", "10.232.0.0/16", "198.18.50.1")
    }

    /// A node of these ranges, known by these addresses, of a cluster of these ranges.
    fn with(overlay: Overlay, ranges: &'static str, cluster: &'static str, addresses: &'static str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.run(|| {
            sh("ip link set lo up; ip link add eth0 type veth peer name far; ip link set far up; ip link set eth0 up");
            sh("ip address add 198.18.50.1/24 dev eth0; ip route add default via 198.18.50.254");
            sh("ip address add 2001:db8:50::1/64 dev eth0 nodad; ip -6 route add default via 2001:db8:50::fe");
        });
        let nodes = Store::<PeerView>::new();
        nodes.replace(vec![node(NODE, ranges, addresses)], "1");
        let (end, data) = (CancellationToken::new(), tempfile::tempdir().unwrap());
        let thread = sandbox.run({
            let (nodes, end, data_dir) = (nodes.clone(), end.clone(), data.path().to_owned());
            let ranges = [ranges, cluster];
            move || std::thread::spawn(move || serve(overlay, ranges, addresses, nodes, end, data_dir))
        });
        Node { sandbox, nodes, end, thread: Some(thread), _data: data }
    }

    fn put(&self, name: &str, range: &str, address: &str) {
        self.nodes.apply(node(name, range, address));
    }

    fn sh(&self, command: &'static str) -> String {
        self.sandbox.run(move || sh(command))
    }

    /// Waits until the routes to other nodes, the tunnel's entries for them and the bridge's largest packet are these.
    fn eventually(&self, routes: &[&str], ends: &[&str], mtu: u32) {
        let begun = Instant::now();
        loop {
            let (found_routes, found_ends, found_mtu) = (self.routes(), self.ends(), self.mtu());
            if found_routes == routes && found_ends == ends && found_mtu == Some(mtu) {
                return;
            }
            let late = begun.elapsed() > PATIENCE;
            assert!(!late, "{found_routes:?} {found_ends:?} {found_mtu:?} and not {routes:?} {ends:?} {mtu}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `range gateway`, with `*` through the tunnel.
    fn routes(&self) -> Vec<String> {
        let text = self.sh("ip -4 route show proto 111; ip -6 route show proto 111");
        let route = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let tunnel = if words[4].starts_with("ox") { "*" } else { "" };
            format!("{} {}{tunnel}", words[0], words[2])
        };
        text.lines().map(route).collect()
    }

    /// `hardware-address node-address`.
    fn ends(&self) -> Vec<String> {
        let text = self.sh("bridge fdb | grep ' dev ox' | grep ' dst ' || true");
        let mut ends: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .map(|words| format!("{} {}", words[0], words[4]))
            .collect();
        ends.sort();
        ends
    }

    fn mtu(&self) -> Option<u32> {
        let text = self.sh("ip -o link show type bridge");
        text.split(" mtu ").nth(1)?.split(' ').next()?.parse().ok()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(it) = self.thread.take() {
            let _ = it.join();
        }
    }
}

fn node(name: &str, range: &str, address: &str) -> PeerView {
    let addresses: Vec<_> = address.split(',').map(|it| json!({ "type": "InternalIP", "address": it })).collect();
    let ranges: Vec<&str> = range.split(',').collect();
    let spec = json!({ "podCIDR": ranges[0], "podCIDRs": ranges });
    let it = json!({ "metadata": { "name": name }, "spec": spec, "status": { "addresses": addresses } });
    serde_json::from_value(it).unwrap()
}

fn serve(
    overlay: Overlay,
    ranges: [&str; 2],
    addresses: &str,
    nodes: Store<PeerView>,
    end: CancellationToken,
    data_dir: std::path::PathBuf,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let [pod_cidr, cluster_cidr] = ranges.map(|it| it.parse().unwrap());
        let config =
            bridge::Config { node_name: NODE.into(), pod_cidr, cluster_cidr, data_dir: data_dir.clone(), overlay };
        let network: Arc<dyn PodNetwork> = Arc::new(BridgeNetwork::open(config).await.unwrap());
        let addresses: Ips = addresses.parse().unwrap();
        let compare_every = Duration::from_millis(200);
        let config = Config { node_name: NODE.into(), pod_cidr, cluster_cidr, addresses, overlay, compare_every };
        Keeper::new(config, nodes, Arc::clone(&network)).run(end).await;
        // A node that goes for good takes its ways along.
        bridge::remove(NODE, &data_dir).await.unwrap();
    });
}

#[test]
fn ways_follow_the_nodes_and_come_back() {
    let node = Node::start(Overlay::Auto);
    node.eventually(&[], &[], 1500);
    // A neighbour on the link, and one beyond.
    node.put("b", "10.232.1.0/24", "198.18.50.2");
    node.eventually(&["10.232.1.0/24 198.18.50.2"], &[], 1500);
    node.put("c", "10.232.2.0/24", "203.0.113.3");
    let (b, c, end) = ("10.232.1.0/24 198.18.50.2", "10.232.2.0/24 10.232.2.0*", "0a:58:0a:e8:02:00 203.0.113.3");
    // From now on pods' packets have to fit into the tunnel.
    node.eventually(&[b, c], &[end], 1450);
    // It moves to another address, and then to the link.
    node.put("c", "10.232.2.0/24", "203.0.113.4");
    node.eventually(&[b, c], &["0a:58:0a:e8:02:00 203.0.113.4"], 1450);
    node.put("c", "10.232.2.0/24", "198.18.50.3");
    node.eventually(&[b, "10.232.2.0/24 198.18.50.3"], &[], 1500);
    // It gets another range, and goes.
    node.put("c", "10.232.7.0/24", "203.0.113.3");
    let moved = ["0a:58:0a:e8:07:00 203.0.113.3"];
    node.eventually(&[b, "10.232.7.0/24 10.232.7.0*"], &moved, 1450);
    // What somebody takes away or spoils is put right, and what is somebody's own stays.
    node.sh("ip route add 10.232.99.0/24 via 198.18.50.9");
    for harm in [
        "ip route delete 10.232.1.0/24; ip route delete 10.232.7.0/24",
        "ip route replace 10.232.1.0/24 via 198.18.50.77 proto 111",
        "ip route add 10.232.42.0/24 via 198.18.50.77 proto 111",
        "ip link delete $(ip -o link show type vxlan | cut -d: -f2)",
        "ip link set $(ip -o link show type vxlan | cut -d: -f2) address 0a:00:00:00:00:01",
        "bridge fdb del 0a:58:0a:e8:07:00 dev $(ip -o link show type vxlan | cut -d: -f2) dst 203.0.113.3",
        "bridge fdb replace 0a:58:0a:e8:07:00 dev $(ip -o link show type vxlan | cut -d: -f2) dst 203.0.113.99",
        "ip neigh flush dev $(ip -o link show type vxlan | cut -d: -f2) nud permanent",
    ] {
        node.sh(harm);
        node.eventually(&[b, "10.232.7.0/24 10.232.7.0*"], &moved, 1450);
    }
    node.nodes.delete(self::node("c", "10.232.7.0/24", "203.0.113.3"));
    node.eventually(&[b], &[], 1500);
    assert!(node.sh("ip route").contains("10.232.99.0/24 via 198.18.50.9"));
    node.end.cancel();
    let begun = Instant::now();
    while node.sh("ip -o link; ip route show proto 111").contains("orl") || !node.routes().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "what a node had is gone with it");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ways_of_both_families_share_a_tunnel() {
    let ranges = ("10.232.0.0/24,fd00:10:232::/64", "10.232.0.0/16,fd00:10:232::/56");
    let node = Node::with(Overlay::Auto, ranges.0, ranges.1, "198.18.50.1,2001:db8:50::1");
    node.put("b", "10.232.1.0/24,fd00:10:232:1::/64", "198.18.50.2,2001:db8:50::2");
    node.put("c", "10.232.2.0/24,fd00:10:232:2::/64", "203.0.113.3,2001:db8:99::3");
    let routes = [
        "10.232.1.0/24 198.18.50.2",
        "10.232.2.0/24 10.232.2.0*",
        "fd00:10:232:1::/64 2001:db8:50::2",
        "fd00:10:232:2::/64 fd00:10:232:2::*",
    ];
    let ends = ["0a:58:0a:e8:02:00 203.0.113.3"];
    node.eventually(&routes, &ends, 1450);
    for harm in [
        "ip -6 route delete fd00:10:232:1::/64; ip -6 route delete fd00:10:232:2::/64",
        "ip -6 route replace fd00:10:232:1::/64 via 2001:db8:50::77 proto 111",
        "ip -6 route add fd00:10:232:42::/64 via 2001:db8:50::77 proto 111",
        "ip link delete $(ip -o link show type vxlan | cut -d: -f2)",
        "ip address flush dev $(ip -o link show type vxlan | cut -d: -f2)",
    ] {
        node.sh(harm);
        node.eventually(&routes, &ends, 1450);
    }
    let begun = Instant::now();
    node.sh("ip -6 neigh flush dev $(ip -o link show type vxlan | cut -d: -f2) nud permanent");
    while !node.sh("ip -6 neigh").contains("fd00:10:232:2:: dev ox") {
        assert!(begun.elapsed() < PATIENCE, "{}", node.sh("ip -6 neigh"));
        std::thread::sleep(Duration::from_millis(5));
    }
    // It moves to the link, and back.
    node.put("c", "10.232.2.0/24,fd00:10:232:2::/64", "198.18.50.3,2001:db8:50::3");
    let near = [routes[0], "10.232.2.0/24 198.18.50.3", routes[2], "fd00:10:232:2::/64 2001:db8:50::3"];
    node.eventually(&near, &[], 1500);
    node.put("c", "10.232.2.0/24,fd00:10:232:2::/64", "203.0.113.3,2001:db8:99::3");
    node.eventually(&routes, &ends, 1450);
    node.nodes.delete(self::node("c", "", ""));
    node.eventually(&[routes[0], routes[2]], &[], 1500);
}

#[test]
fn nodes_of_ipv6_alone_have_a_tunnel_of_ipv6() {
    let node = Node::with(Overlay::Auto, "fd00:10:232::/64", "fd00:10:232::/56", "2001:db8:50::1");
    node.put("b", "fd00:10:232:1::/64", "2001:db8:50::2");
    node.put("c", "fd00:10:232:2::/64", "2001:db8:99::3");
    let routes = ["fd00:10:232:1::/64 2001:db8:50::2", "fd00:10:232:2::/64 fd00:10:232:2::*"];
    node.eventually(&routes, &["0a:58:02:32:00:02 2001:db8:99::3"], 1430);
    node.sh("ip link delete $(ip -o link show type vxlan | cut -d: -f2)");
    node.eventually(&routes, &["0a:58:02:32:00:02 2001:db8:99::3"], 1430);
}

#[test]
fn a_tunnel_to_all_or_to_none() {
    let node = Node::start(Overlay::Vxlan);
    node.eventually(&[], &[], 1450);
    node.put("b", "10.232.1.0/24", "198.18.50.2");
    node.eventually(&["10.232.1.0/24 10.232.1.0*"], &["0a:58:0a:e8:01:00 198.18.50.2"], 1450);
    drop(node);
    let node = Node::start(Overlay::Routes);
    node.put("b", "10.232.1.0/24", "198.18.50.2");
    node.put("c", "10.232.2.0/24", "203.0.113.3");
    node.eventually(&["10.232.1.0/24 198.18.50.2"], &[], 1500);
}
