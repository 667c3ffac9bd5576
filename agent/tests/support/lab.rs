//! A node in a namespace of its own: a bridge with pods, a link to an outside machine, and the keepers of the rules of its services and network
//! policies, whose stores the test fills by hand.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{RData, Record};
use orlop_agent::dns::listen::{Listener, Settings};
use orlop_agent::dns::upstream::Upstream;
use orlop_agent::policy;
use orlop_agent::policy::keeper::Policies;
use orlop_agent::services::keeper::{Config, Keeper};
use orlop_agent::services::table::Dns;
use orlop_agent::services::view::{Known, NodeView, ServiceView};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::sandbox::{Sandbox, sh};

/// The outside machine's address; the node's towards it ends in 1.
pub const OUTSIDE: &str = "198.18.0.2";
/// The node's name.
pub const NODE: &str = "lab";
/// Much more often than in earnest.
const COMPARE_EVERY: Duration = Duration::from_millis(300);
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// The port of the outside DNS: 53 is for root, which this is, but not for the port's sake.
const UPSTREAM_PORT: u16 = 5300;

/// Waits until something holds.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A slice with one port.
pub fn slice(port: u16, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses.iter().map(|it| json!({ "addresses": [it], "nodeName": NODE })).collect();
    json!({ "addressType": "IPv4", "ports": [{ "port": port, "protocol": "TCP" }], "endpoints": endpoints })
}

/// The node.
pub struct Lab {
    pub node: Sandbox,
    known: Known,
    /// What the policies' keeper knows.
    pub policies: policy::view::Known,
    /// What a pod's start asks.
    pub ready: Policies,
    end: CancellationToken,
    threads: Vec<std::thread::JoinHandle<()>>,
    /// Where the node's DNS finds its servers.
    _folder: tempfile::TempDir,
}

impl Lab {
    pub fn start() -> Self {
        Self::make(false)
    }

    pub fn start_with_dns() -> Self {
        Self::make(true)
    }

    fn make(with_dns: bool) -> Self {
        listen_for_warnings();
        let node = Sandbox::new();
        let bridge = format!("orl{}", hash());
        node.run({
            let bridge = bridge.clone();
            move || {
                sh("ip link set lo up; sysctl -qw net.ipv4.ip_forward=1");
                sh(&format!(
                    "ip link add {bridge} type bridge; ip addr add 10.230.0.1/24 dev {bridge}; ip link set {bridge} up"
                ));
                sh(&format!("sysctl -qw net.ipv4.conf.{bridge}.route_localnet=1"));
                // Something like a way out: the node's own packets to services need a route before the rules see them.
                sh("ip link add out type veth peer name far; ip link set far up; ip addr add 198.18.9.1/30 dev out");
                sh("ip link set out up; ip route add default via 198.18.9.2");
            }
        });
        let known = Known::new();
        known.services.replace(Vec::new(), "1");
        known.slices.replace(Vec::new(), "1");
        known
            .nodes
            .replace(vec![serde_json::from_value::<NodeView>(json!({ "metadata": { "name": NODE } })).unwrap()], "1");
        let end = CancellationToken::new();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        std::fs::write(&file, format!("nameserver {OUTSIDE}\nnameserver 10.96.0.10\n")).unwrap();
        let policies = policy::view::Known::new();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = node.run({
            let (known, policies, end) = (known.clone(), policies.clone(), end.clone());
            move || std::thread::spawn(move || serve(known, policies, with_dns, file, sender, end))
        });
        let ready = receiver.recv().unwrap();
        Lab { node, known, policies, ready, end, threads: vec![thread], _folder: folder }
    }

    /// A pod that says its name to whoever connects to port 80.
    pub fn pod(&self, name: &'static str, host: u8) -> Sandbox {
        let pod = Sandbox::new();
        let (pid, bridge) = (pod.pid, format!("orl{}", hash()));
        self.node.run(move || {
            sh(&format!(
                "ip link add p{host} type veth peer name eth0 netns {pid}; ip link set p{host} master {bridge} up; \
                 bridge link set dev p{host} hairpin on"
            ))
        });
        pod.run(move || {
            sh(&format!("ip link set lo up; ip addr add 10.230.0.{host}/24 dev eth0; ip link set eth0 up"));
            sh("ip route add default via 10.230.0.1");
        });
        pod.serve(name, 80);
        pod
    }

    /// The machine outside, which sends everything to the node.
    pub fn outside(&self) -> Sandbox {
        let machine = Sandbox::new();
        let pid = machine.pid;
        self.node.run(move || {
            sh(&format!("ip link add ext type veth peer name eth0 netns {pid}"));
            sh("ip addr add 198.18.0.1/30 dev ext; ip link set ext up");
        });
        machine.run(|| {
            sh(&format!("ip link set lo up; ip addr add {OUTSIDE}/30 dev eth0; ip link set eth0 up"));
            sh("ip route add default via 198.18.0.1");
        });
        machine
    }

    /// Makes or changes a service. `ingress` is the address of its balancer.
    pub fn service(&self, name: &str, spec: Value) {
        let ingress: Vec<Value> = spec["ingress"].as_str().map(|it| json!({ "ip": it })).into_iter().collect();
        let it = json!({
            "metadata": { "namespace": "default", "name": name }, "spec": spec, "status": { "loadBalancer": { "ingress": ingress } }
        });
        self.known.services.apply(serde_json::from_value(it).unwrap());
    }

    pub fn remove_service(&self, name: &str) {
        let it = json!({ "metadata": { "namespace": "default", "name": name } });
        self.known.services.delete(serde_json::from_value::<ServiceView>(it).unwrap());
    }

    /// Makes a slice the only one of a service.
    pub fn slice(&self, service: &str, mut slice: Value) {
        let labels = json!({ "kubernetes.io/service-name": service });
        slice["metadata"] = json!({ "namespace": "default", "name": service, "labels": labels });
        self.known.slices.apply(serde_json::from_value(slice).unwrap());
    }

    /// The name of the tables of services.
    pub fn table(&self) -> String {
        format!("orlop_services_{}", hash())
    }

    /// The rules as they are.
    pub fn listing(&self) -> String {
        self.node.run(|| sh("nft list ruleset"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end.cancel();
        for it in self.threads.drain(..) {
            let _ = it.join();
        }
        let said = String::from_utf8_lossy(&SAID.lock().unwrap()).into_owned();
        assert!(std::thread::panicking() || said.is_empty(), "nothing was to be warned of: {said}");
    }
}

/// What was said at the level of warnings and errors: each test has its own process.
static SAID: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());

struct Ear;

impl std::io::Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        eprint!("{}", String::from_utf8_lossy(bytes));
        SAID.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn listen_for_warnings() {
    let builder = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(|| Ear);
    // There is one already where a process runs several tests.
    let _ = builder.try_init();
}

/// What names of the node's parts begin or end with.
pub fn hash() -> String {
    Sha256::digest(NODE.as_bytes())[..4].iter().map(|it| format!("{it:02x}")).collect()
}

/// What runs on the node.
fn serve(
    known: Known,
    policies: policy::view::Known,
    with_dns: bool,
    file: PathBuf,
    ready: std::sync::mpsc::Sender<Policies>,
    end: CancellationToken,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (address, server): (IpAddr, IpAddr) = ("10.96.0.10".parse().unwrap(), "10.230.0.1".parse().unwrap());
        let mut dns = None;
        if with_dns {
            let listener = Listener::bind(server).await.unwrap();
            let (udp_port, tcp_port) = listener.ports().unwrap();
            dns = Some(Dns { address, server, udp_port, tcp_port });
            let settings = Settings { domain: "cluster.local".into(), address };
            let upstream = Upstream::new(file, vec![address]).on_port(UPSTREAM_PORT);
            tokio::spawn(listener.run(settings, known.clone(), Some(upstream), end.clone()));
        }
        let config = policy::keeper::Config {
            node_name: NODE.into(),
            dns: dns.clone(),
            ledger: None,
            interfaces: None,
            compare_every: COMPARE_EVERY,
        };
        let keeper = policy::keeper::Keeper::new(config, policies, None);
        ready.send(keeper.policies()).unwrap();
        tokio::spawn(keeper.run(end.clone()));
        let config = Config {
            node_name: NODE.into(),
            cluster_cidrs: vec!["10.230.0.0/16".parse().unwrap()],
            dns,
            interfaces: None,
            compare_every: COMPARE_EVERY,
        };
        Keeper::new(config, known).run(end).await;
    });
}

/// Answers datagrams with a name.
pub fn udp_echo(pod: &Sandbox, name: &'static str, port: u16) {
    let socket = pod.run(move || UdpSocket::bind(("0.0.0.0", port)).unwrap());
    // It ends with the test's process.
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(name.as_bytes(), from);
        }
    });
}

/// A DNS outside, which gives every name the same address, and counts questions.
pub fn upstream(machine: &Sandbox) -> Arc<AtomicUsize> {
    let socket = machine.run(|| UdpSocket::bind(("0.0.0.0", UPSTREAM_PORT)).unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            count.fetch_add(1, Ordering::Relaxed);
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            message.metadata.message_type = MessageType::Response;
            let name = message.queries[0].name().clone();
            message.add_answer(Record::from_rdata(name, 60, RData::A(std::net::Ipv4Addr::new(203, 0, 113, 5).into())));
            let _ = socket.send_to(&message.to_vec().unwrap(), from);
        }
    });
    asked
}

/// Asks the same question so many times, one after the other, and counts the answers.
pub fn storm(server: IpAddr, question: &[u8], count: usize) -> usize {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    socket.connect((server, 53)).unwrap();
    let mut buffer = [0; 512];
    (0..count).filter(|_| socket.send(question).is_ok() && socket.recv(&mut buffer).is_ok()).count()
}
