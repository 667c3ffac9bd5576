//! Network policies on the real kernel, in a network namespace that stands for a node.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking, in its helpers too")]

#[path = "support/lab.rs"]
mod lab;
#[path = "support/sandbox.rs"]
mod sandbox;

use std::net::{IpAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use lab::{Lab, NODE, OUTSIDE, eventually, slice, udp_echo};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket,
};
use nix::sys::time::TimeVal;
use orlop_agent::policy::view::{NamespaceView, PodView};
use sandbox::{Sandbox, ask, sh};
use serde_json::{Value, json};

fn at(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The address of the pod with this number.
fn pod_at(host: u8) -> IpAddr {
    IpAddr::from([10, 230, 0, host])
}

/// A node whose pods and namespaces policies know.
struct Town {
    lab: Lab,
}

impl Town {
    fn new(lab: Lab) -> Self {
        let town = Town { lab };
        town.lab.policies.namespaces.replace(Vec::new(), "1");
        town.lab.policies.pods.replace(Vec::new(), "1");
        for it in ["default", "other", "kube-system"] {
            town.namespace(it, json!({}));
        }
        town.lab.policies.policies.replace(Vec::new(), "1");
        town
    }

    fn start() -> Self {
        Self::new(Lab::start())
    }

    /// Makes a namespace, or changes its labels.
    fn namespace(&self, name: &str, mut labels: Value) {
        labels["kubernetes.io/metadata.name"] = name.into();
        let it = json!({ "metadata": { "name": name, "labels": labels } });
        self.lab.policies.namespaces.apply(serde_json::from_value::<NamespaceView>(it).unwrap());
    }

    /// Makes a pod that says its name at port 80.
    fn pod(&self, namespace: &str, name: &'static str, host: u8, labels: Value) -> Sandbox {
        let pod = self.lab.pod(name, host);
        self.label(namespace, name, host, labels);
        pod
    }

    /// Sets what the API says of a pod.
    fn label(&self, namespace: &str, name: &str, host: u8, labels: Value) {
        let it = object(namespace, name, labels, &pod_at(host).to_string());
        self.lab.policies.pods.apply(serde_json::from_value::<PodView>(it).unwrap());
    }

    fn policy(&self, namespace: &str, name: &str, spec: Value) {
        let it = json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec });
        self.lab.policies.policies.apply(serde_json::from_value(it).unwrap());
    }

    fn remove(&self, namespace: &str, name: &str) {
        let it = json!({ "metadata": { "namespace": namespace, "name": name } });
        self.lab.policies.policies.delete(serde_json::from_value(it).unwrap());
    }

    fn rules(&self) -> String {
        self.lab.node.run(|| sh(&format!("nft list table ip orlop_policy_{} || true", lab::hash())))
    }
}

fn object(namespace: &str, name: &str, labels: Value, address: &str) -> Value {
    let ports =
        json!([{ "name": "web", "containerPort": 80 }, { "name": "names", "containerPort": 53, "protocol": "UDP" }]);
    json!({
        "metadata": { "namespace": namespace, "name": name, "uid": name, "labels": labels },
        "spec": { "nodeName": NODE, "containers": [{ "name": "c", "ports": ports }] }, "status": { "podIP": address },
    })
}

/// How long what is closed is waited for. What is open answers at once, but the machine may be busy.
const CLOSED_AFTER: Duration = Duration::from_secs(1);

fn passes(from: &Sandbox, to: IpAddr, port: u16) -> bool {
    // A port that nobody listens on was reached, too.
    from.run(move || match TcpStream::connect_timeout(&(to, port).into(), CLOSED_AFTER) {
        Ok(_) => true,
        Err(it) => it.kind() == std::io::ErrorKind::ConnectionRefused,
    })
}

/// Whether a datagram is answered.
fn answered(from: &Sandbox, to: IpAddr, port: u16) -> bool {
    from.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket.send_to(b"?", (to, port)).is_ok_and(|_| socket.recv(&mut [0; 512]).is_ok())
    })
}

/// Whether an ICMP echo comes back.
fn pings(from: &Sandbox, to: IpAddr) -> bool {
    // Each is a flow of its own: what was let through once is answered for some time.
    static LAST: AtomicU16 = AtomicU16::new(0);
    let id = LAST.fetch_add(1, Ordering::Relaxed);
    // Type 8, and the sum of it.
    let [sum, id] = [!(0x0800 + id), id].map(u16::to_be_bytes);
    let echo = [8, 0, sum[0], sum[1], id[0], id[1], 0, 0];
    let IpAddr::V4(to) = to else { return false };
    from.run(move || {
        let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Icmp).unwrap();
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(1, 0)).unwrap();
        if sendto(socket.as_raw_fd(), &echo, &SockaddrIn::from(SocketAddrV4::new(to, 0)), MsgFlags::empty()).is_err() {
            return false;
        }
        // The answer has its header of 20 bytes before it, and type 0.
        let mut buffer = [0; 64];
        while let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            if buffer[..length].get(20) == Some(&0) && buffer[12..16] == to.octets() {
                return true;
            }
        }
        false
    })
}

#[test]
fn ingress_is_closed_and_opened_by_labels() {
    let town = Town::start();
    let _server = town.pod("default", "server", 2, json!({ "app": "server" }));
    let client = town.pod("default", "client", 3, json!({ "app": "client" }));
    let stranger = town.pod("other", "stranger", 4, json!({ "app": "client" }));
    let server = pod_at(2);
    assert!(passes(&client, server, 80) && pings(&client, server), "nothing isolates it");
    town.policy("default", "deny", json!({ "podSelector": {}, "policyTypes": ["Ingress"] }));
    eventually("all is closed", || !passes(&client, server, 80));
    assert!(!passes(&stranger, server, 80) && !pings(&client, server));
    assert!(town.lab.node.run(move || ask(server, 80)).is_ok(), "the node always reaches its pods");
    assert!(passes(&client, at("10.230.0.1"), 80), "and they it");
    let answer = client.ask(pod_at(4), 80);
    assert_eq!(answer, Ok("stranger 10.230.0.3".into()), "another namespace is not isolated, and answers come back");
    // A second policy adds to the first.
    let clients = json!({ "matchLabels": { "app": "client" } });
    let from =
        |peer: Value| json!({ "podSelector": { "matchLabels": { "app": "server" } }, "ingress": [{ "from": [peer] }] });
    town.policy("default", "allow", from(json!({ "podSelector": clients })));
    eventually("the client comes through", || passes(&client, server, 80));
    assert!(!passes(&stranger, server, 80), "the same labels in another namespace are others");
    assert!(!passes(&stranger, pod_at(3), 80), "the other pod stays closed");
    // Labels change: the peer's, then the pod's own.
    town.label("default", "client", 3, json!({ "app": "else" }));
    eventually("the client is nobody any more", || !passes(&client, server, 80));
    town.label("default", "client", 3, json!({ "app": "client" }));
    eventually("the client is back", || passes(&client, server, 80));
    town.label("default", "server", 2, json!({ "app": "else" }));
    eventually("the pod is not selected by what opened it", || !passes(&client, server, 80));
    town.label("default", "server", 2, json!({ "app": "server" }));
    // Policies change and go.
    town.policy("default", "allow", from(json!({ "namespaceSelector": {}, "podSelector": clients })));
    eventually("all namespaces' clients come through", || passes(&stranger, server, 80));
    assert!(passes(&client, server, 80));
    town.remove("default", "deny");
    eventually("the other pod is open", || passes(&stranger, pod_at(3), 80));
    town.remove("default", "allow");
    eventually("nothing is left", || town.rules().is_empty());
    assert!(passes(&stranger, server, 80) && pings(&stranger, server));
}

#[test]
fn namespaces_are_peers_by_their_labels() {
    let town = Town::start();
    let _server = town.pod("default", "server", 2, json!({}));
    let friend = town.pod("other", "friend", 3, json!({ "role": "friend" }));
    let stranger = town.pod("other", "stranger", 4, json!({}));
    let neighbour = town.pod("default", "neighbour", 5, json!({ "role": "friend" }));
    let server = pod_at(2);
    let from = |peers: Value| json!({ "podSelector": {}, "ingress": [{ "from": peers }] });
    let trusted = json!({ "matchLabels": { "trust": "yes" } });
    town.policy("default", "p", from(json!([{ "namespaceSelector": trusted }])));
    eventually("nobody is trusted", || !passes(&friend, server, 80));
    assert!(!passes(&neighbour, server, 80), "not even its own namespace");
    town.namespace("other", json!({ "trust": "yes" }));
    eventually("the namespace is trusted", || passes(&friend, server, 80));
    assert!(passes(&stranger, server, 80) && !passes(&neighbour, server, 80));
    // Both: pods with these labels of namespaces with those.
    let friends = json!({ "matchExpressions": [{ "key": "role", "operator": "In", "values": ["friend", "x"] }] });
    town.policy("default", "p", from(json!([{ "namespaceSelector": trusted, "podSelector": friends }])));
    eventually("only friends", || !passes(&stranger, server, 80));
    assert!(passes(&friend, server, 80) && !passes(&neighbour, server, 80));
    // Either: two peers.
    town.policy("default", "p", from(json!([{ "namespaceSelector": trusted }, { "podSelector": friends }])));
    eventually("either", || passes(&stranger, server, 80) && passes(&neighbour, server, 80));
    town.namespace("other", json!({}));
    eventually("the trust is gone", || !passes(&friend, server, 80));
    assert!(passes(&neighbour, server, 80));
}

#[test]
fn ports_are_numbers_ranges_names_and_protocols() {
    let town = Town::start();
    let server = town.pod("default", "server", 2, json!({}));
    let client = town.pod("default", "client", 3, json!({}));
    for port in [81, 90, 95] {
        server.serve("more", port);
    }
    udp_echo(&server, "u", 53);
    udp_echo(&server, "u", 80);
    let to = pod_at(2);
    let ports = |ports: Value| {
        town.policy("default", "p", json!({ "podSelector": {}, "ingress": [{ "ports": ports }] }));
    };
    let check = |what: &str, open: &[u16], closed: &[u16], datagrams: &[(u16, bool)]| {
        eventually(what, || {
            open.iter().all(|it| passes(&client, to, *it))
                && datagrams.iter().all(|it| answered(&client, to, it.0) == it.1)
                && !closed.iter().any(|it| passes(&client, to, *it))
        });
    };
    ports(json!([{ "port": 80 }]));
    check("one", &[80], &[81], &[(80, false)]);
    assert!(!pings(&client, to), "ports are of protocols that have some");
    ports(json!([{ "port": 80, "endPort": 90, "protocol": "TCP" }, { "port": 85 }]));
    check("a range", &[80, 81, 90], &[95], &[(80, false)]);
    ports(json!([{ "port": "web" }]));
    check("a name", &[80], &[81], &[(53, false)]);
    ports(json!([{ "port": "names", "protocol": "UDP" }, { "port": 95 }]));
    check("a name and a number of different protocols", &[95], &[80], &[(53, true), (80, false)]);
    ports(json!([{ "protocol": "UDP" }]));
    check("all of a protocol", &[], &[80], &[(53, true), (80, true)]);
    ports(json!([{ "port": "unknown" }, { "port": 9, "protocol": "SCTP" }]));
    check("a name that nobody has", &[], &[80, 81], &[(53, false)]);
    ports(json!([]));
    check("no ports is every port", &[80, 95], &[], &[(80, true)]);
    assert!(pings(&client, to));
}

#[test]
fn egress_is_closed_and_opened() {
    let town = Town::new(Lab::start_with_dns());
    let client = town.pod("default", "client", 2, json!({ "app": "client" }));
    let server = town.pod("other", "server", 3, json!({ "app": "server" }));
    server.serve("more", 81);
    let outside = town.lab.outside();
    outside.serve("outside", 80);
    town.lab.service("web", json!({ "clusterIP": "10.96.0.7", "ports": [{ "port": 8000 }] }));
    let mut endpoints = slice(80, &["10.230.0.3"]);
    endpoints["ports"][0]["port"] = 80.into();
    town.lab.slice("web", endpoints);
    let (to, by_service, out) = (pod_at(3), at("10.96.0.7"), at(OUTSIDE));
    let resolves = || {
        client.run(|| {
            use hickory_proto::op::{Message, MessageType, OpCode, Query};
            let mut message = Message::new(9, MessageType::Query, OpCode::Query);
            message.add_query(Query::query(
                "web.default.svc.cluster.local.".parse().unwrap(),
                hickory_proto::rr::RecordType::A,
            ));
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
            socket.send_to(&message.to_vec().unwrap(), "10.96.0.10:53").unwrap();
            socket.recv(&mut [0; 512]).is_ok()
        })
    };
    eventually("all is open", || passes(&client, by_service, 8000) && resolves());
    assert!(passes(&client, to, 80) && passes(&client, out, 80));
    let egress = |rules: Value| {
        let spec = json!({ "podSelector": { "matchLabels": { "app": "client" } }, "policyTypes": ["Egress"], "egress": rules });
        town.policy("default", "p", spec);
    };
    let check = |what: &str, pod: bool, service: bool, far: bool, dns: bool| {
        let now = || (passes(&client, to, 80), passes(&client, by_service, 8000), passes(&client, out, 80), resolves());
        eventually(what, || now() == (pod, service, far, dns));
    };
    egress(json!([]));
    check("all is closed", false, false, false, false);
    assert!(client.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"?", "10.230.0.1:53")).is_ok());
    assert!(!answered(&client, at("10.230.0.1"), 53), "the DNS is closed where it listens, too");
    assert!(passes(&server, pod_at(2), 80), "who comes is not isolated, and gets answers");
    assert!(passes(&client, pod_at(2), 80), "nobody is cut off from himself");
    egress(json!([{ "ports": [{ "port": 53, "protocol": "UDP" }] }]));
    check("names from anywhere", false, false, false, true);
    let system = json!({ "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } });
    let dns = json!({ "namespaceSelector": system, "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } } });
    egress(json!([{ "to": [dns], "ports": [{ "port": "dns", "protocol": "UDP" }] }]));
    check("names from where other clusters have it", false, false, false, true);
    egress(json!([{ "to": [{ "ipBlock": { "cidr": "10.96.0.10/32" } }] }]));
    check("names from its address", false, false, false, true);
    let servers = json!({ "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": "server" } } });
    egress(json!([{ "to": [servers], "ports": [{ "port": 80 }] }]));
    check("a pod at its own port, by its Service, too", true, true, false, false);
    assert!(!passes(&client, to, 81));
    egress(json!([{ "to": [servers], "ports": [{ "port": "web" }] }]));
    check("a pod at a port by the pod's name for it", true, true, false, false);
    assert!(!passes(&client, to, 81));
    egress(json!([{ "to": [{ "ipBlock": { "cidr": "198.18.0.0/24" } }] }]));
    check("a range", false, false, true, false);
    egress(json!([{ "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["198.18.0.0/30"] } }] }]));
    check("all but a range", true, true, false, true);
    egress(json!([{ "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.230.0.0/16", "10.96.0.0/16"] } }] }]));
    check("all but the cluster", false, false, true, false);
    egress(json!([{}]));
    check("all is open again", true, true, true, true);
}

#[test]
fn clients_from_outside_are_judged_by_their_address() {
    let town = Town::start();
    let server = town.pod("default", "server", 2, json!({}));
    let outside = town.lab.outside();
    let node = at("198.18.0.1");
    town.lab.service(
        "web",
        json!({ "type": "NodePort", "clusterIP": "10.96.0.7", "ports": [{ "port": 80, "nodePort": 30080 }] }),
    );
    town.lab.slice("web", slice(80, &["10.230.0.2"]));
    eventually("the port is open", || passes(&outside, node, 30080));
    let block = |block: Value| {
        let from = json!([{ "from": [{ "ipBlock": block }], "ports": [{ "port": 80 }] }]);
        town.policy(
            "default",
            "p",
            json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": from }),
        );
    };
    block(json!({ "cidr": "203.0.113.0/24" }));
    eventually("not from there", || !passes(&outside, node, 30080));
    assert!(passes(&server, at("10.96.0.7"), 80), "a pod reaches itself through its Service");
    block(json!({ "cidr": "198.18.0.0/16", "except": ["198.18.1.0/24"] }));
    eventually("from there", || passes(&outside, node, 30080));
    block(json!({ "cidr": "198.18.0.0/16", "except": ["198.18.1.0/24", "198.18.0.0/30"] }));
    eventually("but not from this part", || !passes(&outside, node, 30080));
}

#[test]
fn what_somebody_removes_comes_back() {
    let town = Town::start();
    let _server = town.pod("default", "server", 2, json!({}));
    let (friend, stranger) =
        (town.pod("default", "friend", 3, json!({ "a": "b" })), town.pod("default", "stranger", 4, json!({})));
    let ingress = json!([{ "from": [{ "podSelector": { "matchLabels": { "a": "b" } } }] }]);
    town.policy("default", "p", json!({ "podSelector": {}, "ingress": ingress }));
    let holds = || passes(&friend, pod_at(2), 80) && !passes(&stranger, pod_at(2), 80);
    eventually("the policy holds", holds);
    let table = format!("ip orlop_policy_{}", lab::hash());
    for damage in [
        format!("nft flush chain {table} forward"),
        format!("nft flush map {table} ingress"),
        format!("nft delete table {table}"),
        format!("nft insert rule {table} forward drop"),
        format!("for it in $(nft list sets | grep -o 'pods_[0-9a-f]*'); do nft flush set {table} $it; done"),
        format!("nft add element {table} ingress '{{ 10.230.0.99 : drop }}'; nft insert rule {table} forward accept"),
        "nft flush ruleset".to_owned(),
    ] {
        town.lab.node.run({
            let damage = damage.clone();
            move || sh(&damage)
        });
        eventually(&damage, holds);
    }
    assert!(!town.rules().contains("10.230.0.99"));
}

#[test]
fn a_pod_is_isolated_before_the_api_knows_its_address() {
    let town = Town::start();
    let client = town.pod("default", "client", 3, json!({}));
    town.policy("default", "p", json!({ "podSelector": {} }));
    eventually("the policy holds", || !passes(&client, pod_at(3), 80) || town.rules().contains("10.230.0.3"));
    let fresh = town.lab.pod("fresh", 2);
    assert!(passes(&client, pod_at(2), 80), "nobody knows that there is a pod");
    let pod = serde_json::from_value(object("default", "fresh", json!({}), "")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(town.lab.ready.ready(&pod, pod_at(2).into())).unwrap();
    assert!(!passes(&client, pod_at(2), 80), "the rules are there when the pod may run");
    // One that nothing isolates does not wait, and is soon known as a peer.
    let far = serde_json::from_value(object("other", "far", json!({}), "")).unwrap();
    runtime.block_on(town.lab.ready.ready(&far, pod_at(9).into())).unwrap();
    town.lab.ready.gone("fresh");
    eventually("what has lost its address is not isolated", || passes(&client, pod_at(2), 80));
    drop(fresh);
}
