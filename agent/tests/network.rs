//! The pod network on the real kernel, on a host as Docker leaves it: FORWARD dropped, bridged packets filtered.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking, in its helpers too")]

#[path = "support/engine.rs"]
mod engine;
#[path = "support/sandbox.rs"]
mod sandbox;

use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use engine::unique;
use futures::FutureExt;
use orlop_agent::network::bridge::{BridgeNetwork, Config};
use orlop_agent::network::overlay::Overlay;
use orlop_agent::network::{HostPort, NetworkError, PodNetwork, Protocol};
use sandbox::{Sandbox, ask, sh};

/// The tests' own cluster range, apart from the default's, for a cluster may be running here.
const CLUSTER: &str = "10.231.0.0/16";

/// Tests look at the host's rules and must not see each other's half-made ones.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Nodes {
    data: tempfile::TempDir,
    names: [String; 2],
}

impl Nodes {
    fn config(&self, node: usize) -> Config {
        self.sized(node, &format!("10.231.{node}.0/24"))
    }

    fn sized(&self, node: usize, pod_cidr: &str) -> Config {
        Config {
            node_name: self.names[node].clone(),
            pod_cidr: pod_cidr.parse().unwrap(),
            cluster_cidr: CLUSTER.parse().unwrap(),
            data_dir: self.data.path().join(&self.names[node]),
            overlay: Overlay::default(),
        }
    }

    async fn open(&self, node: usize) -> BridgeNetwork {
        BridgeNetwork::open(self.config(node)).await.unwrap()
    }

    /// What of a node the kernel and the disk have.
    fn traces(&self, node: usize) -> Vec<String> {
        use sha2::{Digest, Sha256};
        let hash: String =
            Sha256::digest(self.names[node].as_bytes())[..4].iter().map(|it| format!("{it:02x}")).collect();
        let mut found: Vec<String> =
            ["ip -o link", "nft list tables", "iptables-save", "ip6tables-save", "ip -4 route", "ip -6 route"]
                .iter()
                .flat_map(|it| sh(it).lines().map(str::to_owned).collect::<Vec<_>>())
                .filter(|it| it.contains(&hash))
                .collect();
        let files = std::fs::read_dir(self.config(node).data_dir).into_iter().flatten();
        found.extend(files.map(|it| it.unwrap().path().display().to_string()));
        found
    }
}

/// Runs a test on a host as Docker leaves it, and removes both nodes, also when it fails.
async fn on_a_docker_host<F: Future<Output = ()>>(test: impl FnOnce(std::sync::Arc<Nodes>) -> F) {
    let _alone = ALONE.lock().await;
    engine::start();
    sh("iptables -w 5 -P FORWARD DROP");
    if Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() {
        std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1").unwrap();
    }
    let names = [unique("one"), unique("two")];
    let nodes = std::sync::Arc::new(Nodes { data: tempfile::tempdir().unwrap(), names });
    let outcome = AssertUnwindSafe(test(nodes.clone())).catch_unwind().await;
    for node in [0, 1] {
        nodes.open(node).await.teardown().await.unwrap();
        assert_eq!(nodes.traces(node), Vec::<String>::new(), "left behind");
    }
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A machine beyond the host: it knows the way to the host and nothing of pods. Returns it and its address and the host's towards it.
fn outside() -> (Sandbox, IpAddr, IpAddr) {
    let machine = Sandbox::new();
    let link = format!("oxt{}", machine.pid);
    sh(&format!("ip link add {link} type veth peer name eth0 netns {}", machine.pid));
    sh(&format!("ip addr add 198.18.77.1/30 dev {link} && ip link set {link} up"));
    sh(&format!("ip addr add 2001:db8:77::1/64 dev {link} nodad"));
    machine.run(|| sh("ip addr add 198.18.77.2/30 dev eth0 && ip link set eth0 up"));
    machine.run(|| sh("ip addr add 2001:db8:77::2/64 dev eth0 nodad"));
    (machine, "198.18.77.2".parse().unwrap(), "198.18.77.1".parse().unwrap())
}

fn port(host_port: u16, host_ip: Option<IpAddr>) -> HostPort {
    HostPort { host_ip, host_port, container_port: 80, protocol: Protocol::Tcp }
}

#[tokio::test]
async fn pods_reach_each_other_the_host_and_the_outside() {
    on_a_docker_host(|nodes| async move {
        let network = nodes.open(0).await;
        let (a, b) = (Sandbox::new(), Sandbox::new());
        let a_address = network.attach("a", Some(a.pid), &[]).await.unwrap().primary();
        let b_address = network.attach("b", Some(b.pid), &[]).await.unwrap().primary();
        assert_eq!((a_address.to_string(), b_address.to_string()), ("10.231.0.2".into(), "10.231.0.3".into()));
        assert_eq!(network.attach("a", Some(a.pid), &[]).await.unwrap().primary(), a_address);
        a.serve("a", 80);
        b.serve("b", 80);
        assert_eq!(a.ask(b_address, 80), Ok("b 10.231.0.2".into()), "a pod is seen with its own address");
        assert_eq!(a.ask("127.0.0.1".parse().unwrap(), 80), Ok("a 127.0.0.1".into()), "the loopback is up");
        assert_eq!(ask(a_address, 80), Ok("a 10.231.0.1".into()), "the host reaches its pods");
        let listener = std::net::TcpListener::bind("10.231.0.1:0").unwrap();
        let host_port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.accept().map(|(mut it, _)| std::io::Write::write_all(&mut it, b"host")));
        assert_eq!(b.ask("10.231.0.1".parse().unwrap(), host_port), Ok("host".into()), "pods reach the host");

        let (machine, its_address, host_address) = outside();
        machine.serve("outside", 80);
        assert_eq!(a.ask(its_address, 80), Ok(format!("outside {host_address}")), "masqueraded");

        // Docker rewrites the chain: pods are cut off, bridged packets included, until the next look.
        let tag = nodes.traces(0).into_iter().find_map(|it| it.split('"').nth(1).map(str::to_owned)).unwrap();
        sh(&format!("iptables-save | grep -F '{tag}' | sed 's/^-A/iptables -w 5 -D/' | sh"));
        assert!(a.ask(its_address, 80).is_err() && a.ask(b_address, 80).is_err());
        network.refresh().await.unwrap();
        assert_eq!(a.ask(its_address, 80), Ok(format!("outside {host_address}")));
        assert_eq!(a.ask(b_address, 80), Ok("b 10.231.0.2".into()));
        network.refresh().await.unwrap();
        assert_eq!(sh(&format!("iptables-save | grep -cF '{tag}'")).trim(), "2", "no rule twice");
    })
    .await;
}

#[tokio::test]
async fn pods_of_both_families_reach_each_other_the_host_and_the_outside() {
    on_a_docker_host(|nodes| async move {
        let forwarding = sh("cat /proc/sys/net/ipv6/conf/all/forwarding");
        let (pod_cidr, cluster_cidr) =
            ("10.231.0.0/24,fd00:10:231::/64".parse().unwrap(), "10.231.0.0/16,fd00:10:231::/56".parse().unwrap());
        let network = BridgeNetwork::open(Config { pod_cidr, cluster_cidr, ..nodes.config(0) }).await.unwrap();
        let (a, b) = (Sandbox::new(), Sandbox::new());
        // As some engines leave a pod's namespace.
        a.run(|| sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"));
        let its = network.attach("a", Some(a.pid), &[port(18100, None)]).await.unwrap();
        let others = network.attach("b", Some(b.pid), &[]).await.unwrap();
        assert_eq!(its.to_string(), "10.231.0.2,fd00:10:231::2");
        assert_eq!(network.address_of("b"), Some(others));
        a.serve("a", 80);
        b.serve("b", 80);
        for (own, other) in its.iter().zip(others.iter()) {
            assert_eq!(a.ask(other, 80), Ok(format!("b {own}")), "with its own address");
        }
        let at = |it: &str| it.parse::<IpAddr>().unwrap();
        assert_eq!(ask(at("fd00:10:231::2"), 80), Ok("a fd00:10:231::1".into()), "the host reaches its pods");
        let (machine, ..) = outside();
        machine.serve("outside", 80);
        assert_eq!(a.ask(at("2001:db8:77::2"), 80), Ok("outside 2001:db8:77::1".into()), "masqueraded");
        assert_eq!(machine.ask(at("2001:db8:77::1"), 18100), Ok("a 2001:db8:77::2".into()), "a host's port");
        assert!(b.ask(at("2001:db8:77::1"), 18100).is_ok() && a.ask(at("2001:db8:77::1"), 18100).is_ok());
        drop(network);
        // It was a node of both families before the agent's restart, and is one after.
        let network = BridgeNetwork::open(Config { pod_cidr, cluster_cidr, ..nodes.config(0) }).await.unwrap();
        assert_eq!(network.address_of("b"), Some(others));
        assert_eq!(network.attach("b", Some(b.pid), &[]).await.unwrap(), others);
        assert_eq!(a.ask(at("fd00:10:231::3"), 80), Ok("b fd00:10:231::2".into()));
        network.teardown().await.unwrap();
        sh(&format!("echo {} > /proc/sys/net/ipv6/conf/all/forwarding", forwarding.trim()));
    })
    .await;
}

#[tokio::test]
async fn two_nodes_of_one_host_reach_each_others_pods() {
    on_a_docker_host(|nodes| async move {
        let (one, two) = (nodes.open(0).await, nodes.open(1).await);
        let (a, b) = (Sandbox::new(), Sandbox::new());
        let a_address = one.attach("a", Some(a.pid), &[]).await.unwrap().primary();
        let b_address = two.attach("b", Some(b.pid), &[]).await.unwrap().primary();
        a.serve("a", 80);
        b.serve("b", 80);
        assert_eq!(b_address.to_string(), "10.231.1.2");
        assert_eq!(a.ask(b_address, 80), Ok(format!("b {a_address}")), "directly, with its own address");
        assert_eq!(b.ask(a_address, 80), Ok(format!("a {b_address}")));
        one.teardown().await.unwrap();
        assert_eq!(nodes.traces(0), Vec::<String>::new());
        assert_eq!(ask(b_address, 80), Ok("b 10.231.1.1".into()), "the other node is untouched");
    })
    .await;
}

#[tokio::test]
async fn host_ports_lead_to_pods() {
    on_a_docker_host(|nodes| async move {
        let network = nodes.open(0).await;
        let (machine, _, host_address) = outside();
        let (a, b) = (Sandbox::new(), Sandbox::new());
        let ports = [port(18080, None), port(18081, Some(host_address))];
        let address = network.attach("a", Some(a.pid), &ports).await.unwrap().primary();
        network.attach("b", Some(b.pid), &[]).await.unwrap().primary();
        a.serve("a", 80);
        assert_eq!(machine.ask(host_address, 18080), Ok("a 198.18.77.2".into()), "from the outside, with its source");
        assert_eq!(machine.ask(host_address, 18081), Ok("a 198.18.77.2".into()));
        assert_eq!(ask("127.0.0.1".parse().unwrap(), 18080), Ok("a 10.231.0.1".into()), "on the host's loopback");
        assert!(ask("127.0.0.1".parse().unwrap(), 18081).is_err(), "only on the address asked for");
        assert!(ask(host_address, 18080).is_ok());
        assert!(b.ask(host_address, 18080).is_ok(), "from another pod");
        assert!(a.ask(host_address, 18080).is_ok(), "from the pod itself");
        // A pod must not reach what listens on the host's loopback only.
        let private = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let private_port = private.local_addr().unwrap().port();
        b.run(|| sh("echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip addr del 127.0.0.1/8 dev lo; \
                     ip route add 127.0.0.1 via 10.231.0.1 dev eth0 src 10.231.0.3; ip rule add pref 1 to 127.0.0.1 table main; ip rule add pref 2 table local; ip rule del pref 0"));
        let loopback = "127.0.0.1".parse().unwrap();
        assert!(b.ask(loopback, private_port).is_err());
        let table = nodes.traces(0).iter().find_map(|it| it.strip_prefix("table ip ").map(str::to_owned)).unwrap();
        sh(&format!("nft flush chain ip {table} martians"));
        std::thread::spawn(move || private.accept().map(|(mut it, _)| std::io::Write::write_all(&mut it, b"private")));
        assert_eq!(b.ask(loopback, private_port), Ok("private".into()), "nothing but the rule kept it out");
        network.refresh().await.unwrap();
        assert!(b.ask(loopback, private_port).is_err());
        network.detach("a").await.unwrap();
        assert!(machine.ask(host_address, 18080).is_err());
        assert_eq!(network.address_of("a"), None);
        assert_ne!(network.attach("c", Some(a.pid), &[]).await.unwrap().primary(), address, "a freed address rests");
    })
    .await;
}

#[tokio::test]
async fn a_restarted_agent_finds_everything_again() {
    on_a_docker_host(|nodes| async move {
        let network = nodes.open(0).await;
        let (a, b) = (Sandbox::new(), Sandbox::new());
        let a_address = network.attach("a", Some(a.pid), &[port(18090, None)]).await.unwrap().primary();
        let b_address = network.attach("b", Some(b.pid), &[]).await.unwrap().primary();
        a.serve("a", 80);
        let index = || sh("ip -o link").lines().filter(|it| it.contains("ov")).map(str::to_owned).collect::<Vec<_>>();
        let before = index();
        drop(network);

        let network = nodes.open(0).await;
        assert_eq!(
            (network.address_of("a").map(|it| it.primary()), network.address_of("b").map(|it| it.primary())),
            (Some(a_address), Some(b_address))
        );
        assert_eq!(network.attach("a", Some(a.pid), &[port(18090, None)]).await.unwrap().primary(), a_address);
        assert_eq!(index(), before, "what is whole is left as it is");
        assert_eq!(b.ask(a_address, 80), Ok(format!("a {b_address}")));
        assert!(ask("127.0.0.1".parse().unwrap(), 18090).is_ok());
        drop(network);

        // The ledger is lost: the links know.
        let ledger = nodes.config(0).data_dir.join("network.json");
        std::fs::write(&ledger, "damaged").unwrap();
        let network = nodes.open(0).await;
        assert_eq!(
            (network.address_of("a").map(|it| it.primary()), network.address_of("b").map(|it| it.primary())),
            (Some(a_address), Some(b_address))
        );
        drop(network);

        // The links are lost (a killed start, an administrator): the ledger knows, and attaching makes them.
        for link in index() {
            let name = link.split([' ', '@']).nth(1).unwrap().to_owned();
            sh(&format!("ip link del {name}"));
        }
        let network = nodes.open(0).await;
        assert_eq!(network.attach("b", Some(b.pid), &[]).await.unwrap().primary(), b_address);
        assert_eq!(network.attach("a", Some(a.pid), &[]).await.unwrap().primary(), a_address);
        assert_eq!(b.ask(a_address, 80), Ok(format!("a {b_address}")));

        // A pod went while the agent was away; so did one that no ledger has.
        let bridge = nodes
            .traces(0)
            .iter()
            .find_map(|it| it.split(": ").nth(1).filter(|it| it.starts_with("orl")).map(str::to_owned))
            .unwrap();
        let leaked = format!("{}aa", bridge.replacen("orl", "ov", 1));
        sh(&format!("ip link add {leaked} type veth peer name {leaked}p"));
        network.reconcile(&["b"]).await.unwrap();
        assert_eq!(network.address_of("a"), None);
        assert_eq!(network.address_of("b").map(|it| it.primary()), Some(b_address));
        assert_eq!(index().len(), 1, "{:?}", index());
    })
    .await;
}

#[tokio::test]
async fn work_that_was_cut_short_is_completed() {
    on_a_docker_host(|nodes| async move {
        let network = nodes.open(0).await;
        let bridge = nodes
            .traces(0)
            .iter()
            .find_map(|it| it.split(": ").nth(1).filter(|it| it.starts_with("orl")).map(str::to_owned))
            .unwrap();
        let veth = format!("{}2", bridge.replacen("orl", "ov", 1));
        let a = Sandbox::new();
        a.serve("a", 80);
        // The pair was made, and nothing after it.
        sh(&format!("ip link add {veth} type veth peer name eth0 netns {}", a.pid));
        let address = network.attach("a", Some(a.pid), &[]).await.unwrap().primary();
        assert_eq!(ask(address, 80), Ok("a 10.231.0.1".into()));
        // Addressed, but off the bridge and down.
        sh(&format!("ip link set {veth} nomaster down"));
        network.attach("a", Some(a.pid), &[]).await.unwrap().primary();
        assert_eq!(ask(address, 80), Ok("a 10.231.0.1".into()));
        // The bridge lost its address and gained another's; then it is gone altogether.
        sh(&format!("ip addr flush dev {bridge}; ip addr add 10.231.9.1/24 dev {bridge}"));
        network.refresh().await.unwrap();
        assert!(!sh(&format!("ip -4 addr show {bridge}")).contains("10.231.9.1"));
        assert_eq!(ask(address, 80), Ok("a 10.231.0.1".into()));
        sh(&format!("ip link del {bridge}"));
        drop(network);
        let network = nodes.open(0).await;
        network.attach("a", Some(a.pid), &[]).await.unwrap().primary();
        assert_eq!(ask(address, 80), Ok("a 10.231.0.1".into()));
        // A new sandbox of the same pod while the old one still lives.
        let again = Sandbox::new();
        again.serve("again", 80);
        assert_eq!(network.attach("a", Some(again.pid), &[]).await.unwrap().primary(), address);
        assert_eq!(ask(address, 80), Ok("again 10.231.0.1".into()));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_attached_says_why() {
    on_a_docker_host(|nodes| async move {
        let small = BridgeNetwork::open(nodes.sized(0, "10.231.0.0/30")).await.unwrap();
        let (a, b) = (Sandbox::new(), Sandbox::new());
        small.attach("a", Some(a.pid), &[]).await.unwrap().primary();
        assert!(matches!(small.attach("b", Some(b.pid), &[]).await, Err(NetworkError::Exhausted(_))));
        let gone = Sandbox::new().pid;
        assert!(matches!(small.attach("c", Some(gone), &[]).await, Err(NetworkError::NamespaceGone(_))));
        let own = std::process::id();
        assert!(matches!(small.attach("c", Some(own), &[]).await, Err(NetworkError::Config(_))), "the host's network");
        assert!(matches!(small.attach("c", None, &[]).await, Err(NetworkError::Config(_))));
        small.detach("never").await.unwrap();
        assert!(matches!(BridgeNetwork::open(nodes.sized(1, "10.9.0.0/24")).await, Err(NetworkError::Config(_))));
    })
    .await;
}

#[tokio::test]
async fn rules_of_others_survive() {
    let foreign = unique("foreign");
    let rule = format!("FORWARD -s 198.18.78.0/24 -m comment --comment {foreign} -j ACCEPT");
    on_a_docker_host(|nodes| {
        let rule = rule.clone();
        async move {
            sh(&format!("iptables -w 5 -A {rule}; nft add table ip {}", "orlop_foreign_test"));
            nodes.open(0).await.teardown().await.unwrap();
        }
    })
    .await;
    let found = sh("iptables-save; nft list tables");
    sh(&format!("iptables -w 5 -D {rule}; nft delete table ip orlop_foreign_test"));
    assert!(found.contains(&foreign) && found.contains("orlop_foreign_test"));
}

/// A host of its own, whose FORWARD chain the older iptables has shut.
#[tokio::test]
async fn the_older_iptables_is_told_as_well() {
    let _alone = ALONE.lock().await;
    engine::start();
    Sandbox::new().run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            sh("ip link set lo up; iptables-legacy -w 5 -P FORWARD DROP");
            let bridged = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            if Path::new(bridged).exists() {
                std::fs::write(bridged, "1").unwrap();
            }
            let nodes = Nodes { data: tempfile::tempdir().unwrap(), names: [unique("old"), unique("none")] };
            let network = nodes.open(0).await;
            let (a, b) = (Sandbox::new(), Sandbox::new());
            let a_address = network.attach("a", Some(a.pid), &[]).await.unwrap().primary();
            network.attach("b", Some(b.pid), &[]).await.unwrap().primary();
            a.serve("a", 80);
            assert_eq!(b.ask(a_address, 80), Ok("a 10.231.0.3".into()));
            sh("iptables-legacy -w 5 -F FORWARD");
            assert!(b.ask(a_address, 80).is_err(), "the chain is shut");
            network.refresh().await.unwrap();
            assert_eq!(b.ask(a_address, 80), Ok("a 10.231.0.3".into()));
            network.teardown().await.unwrap();
            assert_eq!(nodes.traces(0), Vec::<String>::new());
            assert_eq!(sh("iptables-legacy -w 5 -S FORWARD"), "-P FORWARD DROP\n");
        });
    });
}
