//! From services to the text that `nft` takes: scenarios with their rulesets as snapshots.

use std::sync::Arc;

use orlop_client::Key;
use serde_json::{Value, json};

use super::backends::Here;
use super::fragment::{self, Fragment, Setting};
use super::stale::{self, Flow};
use super::table::{Dns, Place, Pods, bases};
use super::view::{ServiceView, SliceView};
use crate::rules::changes::Changes;
use crate::rules::table::Family;
use crate::rules::wanted::Wanted;

fn setting() -> Setting {
    Setting {
        here: Here { node: "here".into(), zone: None },
        cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
        dns: Some("10.96.0.10".parse().unwrap()),
    }
}

fn service(spec: Value) -> ServiceView {
    let mut it = json!({ "metadata": { "namespace": "a", "name": "web" }, "spec": spec });
    if it["spec"]["clusterIP"].is_null() {
        it["spec"]["clusterIP"] = "10.96.0.7".into();
    }
    if it["spec"]["ports"].is_null() {
        it["spec"]["ports"] = json!([{ "port": 80, "nodePort": it["spec"]["nodePort"] }]);
    }
    it["status"] = json!({ "loadBalancer": { "ingress": it["spec"]["ingress"] } });
    serde_json::from_value(it).unwrap()
}

/// Endpoints on port 8080, `(address, node)`.
fn slices(endpoints: &[(&str, &str)]) -> Vec<Arc<SliceView>> {
    let of = |v6: bool| {
        let chosen = endpoints.iter().filter(|it| it.0.contains(':') == v6);
        let list: Vec<Value> = chosen.map(|it| json!({ "addresses": [it.0], "nodeName": it.1 })).collect();
        let ports = json!([{ "port": 8080, "protocol": "TCP" }, { "port": 8080, "protocol": "UDP" }]);
        let family = if v6 { "IPv6" } else { "IPv4" };
        Arc::new(serde_json::from_value(json!({ "addressType": family, "ports": ports, "endpoints": list })).unwrap())
    };
    vec![of(false), of(true)]
}

fn pods() -> Pods {
    Pods { bridge: "orl0".into(), bridged_pass: true }
}

fn fragment(spec: Value, endpoints: &[(&str, &str)]) -> Fragment {
    fragment::of(&service(spec), &slices(endpoints), &setting())
}

fn key(name: &str) -> Key {
    Key::new("a", name)
}

/// What one service adds, as text.
fn added(spec: Value, endpoints: &[(&str, &str)]) -> String {
    let mut wanted = Wanted::new(bases(&pods(), None));
    wanted.set(&key("web"), fragment(spec, endpoints));
    wanted.take().text("t")
}

const TWO: &[(&str, &str)] = &[("10.244.0.2", "here"), ("10.244.1.2", "there")];

#[test]
fn a_cluster_ip() {
    insta::assert_snapshot!(added(json!({}), TWO));
}

#[test]
fn a_node_port() {
    insta::assert_snapshot!(added(json!({ "type": "NodePort", "nodePort": 30080 }), TWO));
}

#[test]
fn a_load_balancer_that_keeps_the_client_and_has_source_ranges() {
    let spec = json!({
        "type": "LoadBalancer", "nodePort": 30080, "externalTrafficPolicy": "Local", "externalIPs": ["192.0.2.9"],
        "loadBalancerSourceRanges": ["198.51.100.0/24", "198.51.100.7/32", " 203.0.113.0/24 ", "2001:db8::/32", "bad"],
        "ingress": [{ "ip": "10.97.0.1" }, { "ip": "10.97.0.2", "ipMode": "Proxy" }, { "hostname": "x" }],
    });
    insta::assert_snapshot!(added(spec, TWO));
}

#[test]
fn local_policies_without_local_endpoints_drop() {
    let spec = json!({ "nodePort": 30080, "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local" });
    insta::assert_snapshot!(added(spec, &[("10.244.1.2", "there")]));
}

#[test]
fn nobody_answers() {
    insta::assert_snapshot!(added(json!({ "nodePort": 30080, "externalIPs": ["192.0.2.9"] }), &[]));
}

#[test]
fn clients_stay_with_their_endpoint() {
    let config = json!({ "clientIP": { "timeoutSeconds": 60 } });
    let spec = json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": config, "nodePort": 30080 });
    insta::assert_snapshot!(added(spec, TWO));
}

#[test]
fn both_families_and_three_protocols() {
    let spec = json!({
        "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"],
        "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }, { "port": 9, "protocol": "SCTP" }],
    });
    insta::assert_snapshot!(added(spec, &[("10.244.0.2", "here"), ("fd01::2", "here"), ("fd01::3", "there")]));
}

#[test]
fn what_has_no_entry_adds_nothing() {
    let check = |spec: Value| assert_eq!(fragment(spec.clone(), TWO), Fragment::default(), "{spec}");
    check(json!({ "clusterIP": "None" }));
    check(json!({ "type": "ExternalName", "externalName": "example.org" }));
    check(json!({ "clusterIP": "" }));
    let mut others = service(json!({}));
    others.metadata.labels = Some([("service.kubernetes.io/service-proxy-name".into(), "x".into())].into());
    assert_eq!(fragment::of(&others, &slices(TWO), &setting()), Fragment::default());
    let dns = json!({ "clusterIP": "10.96.0.10", "ports": [{ "port": 53, "protocol": "UDP" }] });
    check_dns(&fragment(dns, &[]));
}

/// The DNS's own address is not refused, though no pod stands behind it.
fn check_dns(it: &Fragment) {
    assert_eq!(*it, Fragment::default());
}

#[test]
fn the_whole_table_of_a_node() {
    let dns = Dns {
        address: "10.96.0.10".parse().unwrap(),
        server: "10.244.0.1".parse().unwrap(),
        udp_port: 53,
        tcp_port: 5353,
    };
    let mut wanted = Wanted::new(bases(&pods(), Some(&dns)));
    let mut changes = Changes::default();
    changes.compare(Family::V4, None, &wanted.table(Family::V4));
    insta::assert_snapshot!(changes.text("t"));
    let mut none = Changes::default();
    none.compare(Family::V6, None, &wanted.table(Family::V6));
    assert!(none.is_empty(), "nothing of IPv6 without services of it");
    wanted.set(&key("web"), fragment(json!({}), TWO));
    let (has, wants) = (wanted.table(Family::V4), wanted.table(Family::V4));
    let mut same = Changes::default();
    same.compare(Family::V4, Some(&has), &wants);
    assert!(same.is_empty());
}

#[test]
fn an_endpoint_more_or_less_changes_elements() {
    let mut wanted = Wanted::new(bases(&pods(), None));
    wanted.set(&key("web"), fragment(json!({}), TWO));
    wanted.take();
    wanted.set(&key("web"), fragment(json!({}), &TWO[..1]));
    insta::assert_snapshot!(wanted.take().text("t"));
    // What is undone before it was applied is nothing.
    wanted.set(&key("web"), fragment(json!({}), TWO));
    wanted.set(&key("web"), fragment(json!({}), &TWO[..1]));
    assert!(wanted.take().is_empty());
}

#[test]
fn a_claim_falls_to_the_next_when_the_first_goes() {
    let spec = |ip: &str| json!({ "clusterIP": ip, "externalIPs": ["192.0.2.9"] });
    let mut wanted = Wanted::new(bases(&pods(), None));
    let elements =
        |it: &Wanted<Place>| it.table(Family::V4).sets["endpoints_tcp"].elements["192.0.2.9 . 80 . 0"].clone();
    wanted.set(&key("b"), fragment(spec("10.96.0.2"), &[("10.244.0.2", "here")]));
    wanted.set(&key("a"), fragment(spec("10.96.0.1"), &[("10.244.0.1", "here")]));
    assert_eq!(elements(&wanted), "10.244.0.1 . 8080");
    wanted.set(&key("a"), Fragment::default());
    assert_eq!(elements(&wanted), "10.244.0.2 . 8080");
    wanted.set(&key("b"), Fragment::default());
    assert_eq!(wanted.table(Family::V4), Wanted::<Place>::new(bases(&pods(), None)).table(Family::V4));
    assert!(wanted.take().is_empty());
}

#[test]
fn flows_of_udp_that_lost_their_endpoint_are_known() {
    let spec = json!({ "ports": [{ "port": 53, "protocol": "UDP", "nodePort": 30053 }, { "port": 80 }] });
    let flow = |to: Option<&str>, port, endpoint: Option<&str>| Flow {
        to: to.map(|it| it.parse().unwrap()),
        port,
        endpoint: endpoint.map(|it| it.parse().unwrap()),
    };
    let (own, first) = (Some("10.96.0.7"), Some("10.244.0.2"));
    let mut wanted = Wanted::new(bases(&pods(), None));
    let mut check = |endpoints: &[(&str, &str)], expected: &[Flow]| {
        wanted.set(&key("web"), fragment(spec.clone(), endpoints));
        assert_eq!(stale::of(&wanted.take()), expected, "{endpoints:?}");
    };
    check(TWO, &[flow(own, 53, None), flow(None, 30053, None)]);
    // The second endpoint takes the slot of the first.
    check(&TWO[1..], &[flow(own, 53, first), flow(None, 30053, first)]);
    check(TWO, &[]);
    let gone = [flow(own, 53, first), flow(own, 53, Some("10.244.1.2")), flow(None, 30053, first)];
    let gone = [gone.as_slice(), &[flow(None, 30053, Some("10.244.1.2"))], &[flow(None, 30053, None)]].concat();
    check(&[], &[gone, vec![flow(own, 53, None)]].concat());
}
