//! Services and the cluster's DNS on the real kernel, in a network namespace that stands for a node.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking, in its helpers too")]

#[path = "support/lab.rs"]
mod lab;
#[path = "support/sandbox.rs"]
mod sandbox;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use lab::{Lab, OUTSIDE, eventually, slice, udp_echo};
use sandbox::{Sandbox, ask, sh};
use serde_json::json;

fn at(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Who answers, of so many that ask.
fn answers(count: usize, ask: impl Fn() -> Result<String, String>) -> BTreeSet<String> {
    (0..count).map(|_| ask().unwrap_or_else(|error| error)).map(|it| it.split(' ').next().unwrap().to_owned()).collect()
}

fn both() -> BTreeSet<String> {
    ["a".to_owned(), "b".to_owned()].into()
}

#[test]
fn a_cluster_ip_spreads_over_its_endpoints() {
    let lab = Lab::start();
    let (a, b, client) = (lab.pod("a", 2), lab.pod("b", 3), lab.pod("client", 4));
    lab.service("web", json!({ "clusterIP": "10.96.0.7", "ports": [{ "port": 80 }] }));
    lab.slice("web", slice(80, &["10.230.0.2", "10.230.0.3"]));
    let web = at("10.96.0.7");
    eventually("the service answers", || client.ask(web, 80).is_ok());
    assert_eq!(answers(40, || client.ask(web, 80)), both());
    assert!(client.ask(web, 80).unwrap().ends_with(" 10.230.0.4"), "a pod keeps its address");
    assert_eq!(lab.node.run(move || answers(40, || ask(web, 80))), both(), "from the node");
    // A pod that reaches itself, and is answered by itself.
    assert_eq!(answers(40, || a.ask(web, 80)), both());
    assert_eq!(answers(40, || b.ask(web, 80)), both());
    // One goes.
    lab.slice("web", slice(80, &["10.230.0.3"]));
    eventually("only one answers", || answers(20, || client.ask(web, 80)) == ["b".to_owned()].into());
    // All go.
    lab.slice("web", slice(80, &[]));
    eventually("connections are refused", || client.ask(web, 80).is_err_and(|it| it.contains("refused")));
    assert!(lab.node.run(move || ask(web, 80)).unwrap_err().contains("refused"), "on the node, too");
    // The service goes: nothing is left but the table's own.
    lab.remove_service("web");
    eventually("nothing is left", || !lab.listing().contains("10.96.0.7"));
}

#[test]
fn node_ports_and_external_addresses_are_open_to_the_outside() {
    let lab = Lab::start();
    let (a, b, outside) = (lab.pod("a", 2), lab.pod("b", 3), lab.outside());
    let spec = |policy: &str, ranges: &[&str]| {
        json!({ "type": "LoadBalancer", "clusterIP": "10.96.0.7", "ports": [{ "port": 80, "nodePort": 30080 }],
            "externalTrafficPolicy": policy, "loadBalancerSourceRanges": ranges, "externalIPs": ["192.0.2.9"],
            "ingress": "10.97.0.1" })
    };
    let (gateway, node) = (at("10.230.0.1"), at("198.18.0.1"));
    lab.service("web", spec("Cluster", &[]));
    lab.slice("web", slice(80, &["10.230.0.2"]));
    eventually("the port is open", || outside.ask(node, 30080).is_ok());
    let check = |to: &str, port, from: &str| assert_eq!(outside.ask(at(to), port), Ok(format!("a {from}")), "{to}");
    check("198.18.0.1", 30080, "10.230.0.1");
    check("10.230.0.1", 30080, "10.230.0.1");
    check("192.0.2.9", 80, "10.230.0.1");
    check("10.97.0.1", 80, "10.230.0.1");
    assert!(outside.ask(node, 80).is_err(), "only the node port");
    assert_eq!(a.ask(gateway, 30080), Ok("a 10.230.0.1".into()), "a pod, even itself");
    assert!(lab.node.run(move || ask(at("127.0.0.1"), 30080)).is_ok(), "on the node's loopback");
    // The client's address is kept.
    lab.service("web", spec("Local", &["198.18.0.0/24"]));
    eventually("the policy changes", || outside.ask(node, 30080) == Ok(format!("a {OUTSIDE}")));
    check("192.0.2.9", 80, OUTSIDE);
    check("10.97.0.1", 80, OUTSIDE);
    lab.service("web", spec("Local", &["203.0.113.0/24"]));
    eventually("strangers are kept out of the balancer's address", || outside.ask(at("10.97.0.1"), 80).is_err());
    check("192.0.2.9", 80, OUTSIDE);
    // The endpoint is another node's: from outside nothing, from here everything.
    let mut elsewhere = slice(80, &["10.230.0.2"]);
    elsewhere["endpoints"][0]["nodeName"] = "another".into();
    lab.slice("web", elsewhere);
    eventually("no local endpoint", || outside.ask(node, 30080).is_err());
    assert_eq!(b.ask(gateway, 30080), Ok("a 10.230.0.3".into()), "a pod, with its own address");
    assert!(lab.node.run(move || ask(node, 30080)).is_ok());
}

#[test]
fn clients_stay_with_their_endpoint() {
    let lab = Lab::start();
    let _pods = (lab.pod("a", 2), lab.pod("b", 3));
    let clients =
        [lab.pod("c", 4), lab.pod("d", 5), lab.pod("e", 6), lab.pod("f", 7), lab.pod("g", 8), lab.pod("h", 9)];
    let spec = json!({ "clusterIP": "10.96.0.7", "ports": [{ "port": 80 }], "sessionAffinity": "ClientIP" });
    lab.service("web", spec);
    lab.slice("web", slice(80, &["10.230.0.2", "10.230.0.3"]));
    let web = at("10.96.0.7");
    eventually("the service answers", || clients[0].ask(web, 80).is_ok());
    let of = |client: &Sandbox| {
        let all = answers(15, || client.ask(web, 80));
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    };
    let before: Vec<String> = clients.iter().map(of).collect();
    // A third endpoint takes nobody away, and the loss of one moves only its clients.
    let _third = lab.pod("third", 10);
    lab.slice("web", slice(80, &["10.230.0.2", "10.230.0.3", "10.230.0.10"]));
    eventually("the third is there", || lab.listing().contains("10.230.0.10"));
    assert_eq!(clients.iter().map(of).collect::<Vec<_>>(), before);
    lab.slice("web", slice(80, &["10.230.0.2", "10.230.0.10"]));
    eventually("the second is gone", || !lab.listing().contains("10.230.0.3:80"));
    for (client, before) in clients.iter().zip(before) {
        let now = of(client);
        assert!(now != "b" && (now == before || before == "b"), "{before} {now}");
    }
}

#[test]
fn what_somebody_removes_comes_back() {
    let lab = Lab::start();
    let (_a, client) = (lab.pod("a", 2), lab.pod("client", 4));
    lab.service("web", json!({ "clusterIP": "10.96.0.7", "ports": [{ "port": 80 }] }));
    lab.slice("web", slice(80, &["10.230.0.2"]));
    let web = at("10.96.0.7");
    let works = || client.ask(web, 80).is_ok();
    eventually("the service answers", works);
    let table = format!("ip {}", lab.table());
    for damage in [
        format!("nft flush chain {table} dispatch"),
        format!("nft delete element {table} services '{{ 10.96.0.7 . tcp . 80 }}'"),
        format!("nft delete element {table} endpoints_tcp '{{ 10.96.0.7 . 80 . 0 }}'"),
        format!("nft flush chain {table} output; nft delete chain {table} output; nft flush chain {table} prerouting"),
        format!("nft insert rule {table} dispatch drop"),
        format!("nft delete table {table}"),
        "nft flush ruleset".to_owned(),
    ] {
        let begun = Instant::now();
        lab.node.run({
            let damage = damage.clone();
            move || sh(&damage)
        });
        eventually(&damage, works);
        println!("healed after {:?}: {damage}", begun.elapsed());
    }
    // An element somebody added goes, and the same one is not another's.
    lab.node.run(move || sh(&format!("nft add element {table} refused '{{ 10.96.0.7 . tcp . 80 }}'")));
    eventually("the stranger's element goes", || !lab.listing().contains("elements = { 10.96.0.7 . tcp . 80 }"));
    eventually("and the service answers", works);
}

#[test]
fn an_endpoint_is_in_the_data_path_among_two_thousand_services() {
    let lab = Lab::start();
    let (_a, _b, client) = (lab.pod("a", 2), lab.pod("b", 3), lab.pod("client", 4));
    for it in 0..2000 {
        let (name, address) = (format!("s{it}"), format!("10.96.{}.{}", 1 + it / 250, 1 + it % 250));
        lab.service(&name, json!({ "clusterIP": address, "ports": [{ "port": 80 }] }));
        lab.slice(&name, slice(80, &["10.230.0.2"]));
    }
    let target = at("10.96.8.250");
    let begun = Instant::now();
    eventually("all are there", || client.ask(target, 80).is_ok());
    println!("2000 services after {:?}", begun.elapsed());
    let mut took = Vec::new();
    for round in 0..20 {
        let (endpoint, name) = if round % 2 == 0 { ("10.230.0.3", "b") } else { ("10.230.0.2", "a") };
        let begun = Instant::now();
        lab.slice("s1999", slice(80, &[endpoint]));
        eventually("the change is there", || client.ask(target, 80).is_ok_and(|it| it.starts_with(name)));
        took.push(begun.elapsed());
    }
    took.sort();
    println!("an endpoint change takes p50 {:?}, p90 {:?}, most {:?}", took[10], took[18], took[19]);
}

#[test]
fn flows_of_udp_leave_an_endpoint_that_is_gone() {
    let lab = Lab::start();
    let (a, b, client) = (lab.pod("a", 2), lab.pod("b", 3), lab.pod("client", 4));
    udp_echo(&a, "a", 53);
    udp_echo(&b, "b", 53);
    lab.service("dns", json!({ "clusterIP": "10.96.0.8", "ports": [{ "port": 53, "protocol": "UDP" }] }));
    let over = |endpoint: &str| {
        let mut it = slice(53, &[endpoint]);
        it["ports"][0]["protocol"] = "UDP".into();
        it
    };
    lab.slice("dns", over("10.230.0.2"));
    let socket = client.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let ask = || {
        let mut buffer = [0; 16];
        socket.send_to(b"?", "10.96.0.8:53").ok()?;
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    eventually("the first answers", || ask().as_deref() == Some("a"));
    lab.slice("dns", over("10.230.0.3"));
    eventually("the same socket is answered by the second", || ask().as_deref() == Some("b"));
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(9, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.parse::<Name>().unwrap(), kind));
    message.to_vec().unwrap()
}

fn by_udp(server: &str, name: &str, kind: RecordType) -> Option<Message> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    socket.connect((at(server), 53)).ok()?;
    socket.send(&question(name, kind)).ok()?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Message::from_vec(&buffer[..length]).ok()
}

fn by_tcp(server: &str, name: &str, kind: RecordType) -> Option<Message> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect_timeout(&(at(server), 53).into(), Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    let question = question(name, kind);
    stream.write_all(&[&u16::try_from(question.len()).unwrap().to_be_bytes(), question.as_slice()].concat()).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).ok()?;
    Message::from_vec(&answer).ok()
}

#[test]
fn the_dns_answers_pods_and_the_node() {
    let lab = Lab::start_with_dns();
    let (_a, client, outside) = (lab.pod("a", 2), lab.pod("client", 4), lab.outside());
    lab.service("web", json!({ "clusterIP": "10.96.0.7", "ports": [{ "name": "http", "port": 80 }] }));
    // The Service that stands for it has no endpoints, and is not refused.
    let ports = json!([{ "name": "dns", "port": 53, "protocol": "UDP" }, { "name": "tcp", "port": 53 }]);
    lab.service("kube-dns", json!({ "clusterIP": "10.96.0.10", "ports": ports }));
    let mut named = slice(80, &["10.230.0.2"]);
    named["endpoints"][0]["hostname"] = "a-0".into();
    lab.service("db", json!({ "clusterIP": "None", "ports": [{ "port": 80 }] }));
    lab.slice("db", named);
    const DNS: &str = "10.96.0.10";
    let addresses = |it: Option<Message>| -> Vec<IpAddr> {
        it.map(|it| it.answers.iter().filter_map(|it| it.data.ip_addr()).collect()).unwrap_or_default()
    };
    let web = "web.default.svc.cluster.local.";
    eventually("a pod is answered", || {
        client.run(move || addresses(by_udp(DNS, web, RecordType::A)) == [at("10.96.0.7")])
    });
    assert_eq!(client.run(move || addresses(by_tcp(DNS, web, RecordType::A))), [at("10.96.0.7")]);
    assert_eq!(lab.node.run(move || addresses(by_udp(DNS, web, RecordType::A))), [at("10.96.0.7")]);
    assert_eq!(lab.node.run(move || addresses(by_tcp(DNS, web, RecordType::A))), [at("10.96.0.7")]);
    let host = client.run(|| by_udp(DNS, "a-0.db.default.svc.cluster.local.", RecordType::A));
    assert_eq!(addresses(host), [at("10.230.0.2")]);
    let back = client.run(|| by_udp(DNS, "2.0.230.10.in-addr.arpa.", RecordType::PTR)).unwrap();
    assert!(matches!(&back.answers[0].data, RData::PTR(it) if it.0.to_ascii() == "a-0.db.default.svc.cluster.local."));
    let none = client.run(|| by_udp(DNS, "none.default.svc.cluster.local.", RecordType::A)).unwrap();
    assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
    // What is not the cluster's is asked of the host's server, once, and comes to its clients by UDP or, if it is long, by TCP.
    let asked = lab::upstream(&outside);
    let ip = Ipv4Addr::new(203, 0, 113, 5);
    let found = client.run(|| by_udp(DNS, "www.example.org.", RecordType::A));
    assert_eq!(addresses(found), [IpAddr::V4(ip)]);
    assert_eq!(client.run(move || addresses(by_udp(DNS, "www.example.org.", RecordType::A))), [IpAddr::V4(ip)]);
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1, "the second came from the cache");
    lab.service("out", json!({ "type": "ExternalName", "externalName": "www.example.org" }));
    let alias = client.run(|| by_udp(DNS, "out.default.svc.cluster.local.", RecordType::A)).unwrap();
    assert!(matches!(&alias.answers[0].data, RData::CNAME(it) if it.0.to_ascii() == "www.example.org."));
    assert_eq!(alias.answers[1].data.ip_addr(), Some(IpAddr::V4(ip)));
    // How fast it is: four clients, one after the other each.
    let begun = Instant::now();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            client.run(|| {
                std::thread::spawn(|| {
                    lab::storm(at(DNS), &question("web.default.svc.cluster.local.", RecordType::A), 2500)
                })
            })
        })
        .collect();
    let answered: usize = threads.into_iter().map(|it| it.join().unwrap()).sum();
    println!("{answered} answers in {:?}: {:.0}/s", begun.elapsed(), answered as f64 / begun.elapsed().as_secs_f64());
    assert_eq!(answered, 10_000);
}
