//! From policies, pods and namespaces to the text that `nft` takes: scenarios with their rulesets as snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_client::Key;
use serde_json::{Value, json};

use super::spec::Policy;
use super::state::{Batch, Setting, State};
use super::view::PodView;
use crate::rules::changes::Changes;
use crate::rules::table::Family;
use crate::services::table::Dns;

/// A node with its DNS and the namespaces `a` and `b`.
fn node() -> State {
    let dns = Dns {
        address: "10.96.0.10".parse().unwrap(),
        server: "10.244.0.1".parse().unwrap(),
        udp_port: 53,
        tcp_port: 5353,
    };
    let mut state = State::new(Setting { node: "here".into(), bridge: "orl0".into(), dns: Some(dns) });
    let namespaces =
        ["a", "b", "kube-system"].map(|it| (it.to_owned(), Some(BTreeMap::from([("ns".to_owned(), it.to_owned())]))));
    state.change(Batch { namespaces: namespaces.into(), ..Batch::default() });
    state
}

fn pod(key: &str, node: &str, labels: Value, addresses: &[&str]) -> (Key, Option<Arc<PodView>>) {
    let (namespace, name) = key.split_once('/').unwrap();
    let ips: Vec<Value> = addresses.iter().map(|it| json!({ "ip": it })).collect();
    let ports =
        json!([{ "name": "web", "containerPort": 8080 }, { "name": "dns", "containerPort": 53, "protocol": "UDP" }]);
    let it = json!({
        "metadata": { "namespace": namespace, "name": name, "labels": labels }, "status": { "podIPs": ips },
        "spec": { "nodeName": node, "containers": [{ "name": "c", "ports": ports }] },
    });
    (Key::new(namespace, name), Some(Arc::new(serde_json::from_value(it).unwrap())))
}

fn policy(key: &str, spec: Value) -> (Key, Option<Arc<Policy>>) {
    let (namespace, name) = key.split_once('/').unwrap();
    let it = json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec });
    (Key::new(namespace, name), Some(Arc::new(Policy::of(&serde_json::from_value(it).unwrap()).unwrap())))
}

/// Pods here and there, and a policy's worth of changes, as text.
fn town() -> State {
    let mut state = node();
    let pods = [
        pod("a/web", "here", json!({ "app": "web" }), &["10.244.0.2"]),
        pod("a/client", "here", json!({ "app": "client" }), &["10.244.0.3"]),
        pod("a/far", "there", json!({ "app": "client" }), &["10.244.1.2"]),
        pod("b/other", "there", json!({ "app": "client" }), &["10.244.1.3"]),
    ];
    state.change(Batch { pods: pods.into(), ..Batch::default() });
    assert!(state.wanted.take().is_empty(), "pods without policies add nothing");
    state
}

fn with(state: &mut State, policies: impl IntoIterator<Item = (Key, Option<Arc<Policy>>)>) -> String {
    state.change(Batch { policies: policies.into_iter().collect(), ..Batch::default() });
    state.wanted.take().text("t")
}

fn added(spec: Value) -> String {
    with(&mut town(), [policy("a/p", spec)])
}

fn web() -> Value {
    json!({ "matchLabels": { "app": "web" } })
}

#[test]
fn the_whole_table_of_a_node() {
    let mut changes = Changes::default();
    changes.compare(Family::V4, None, &node().wanted.table(Family::V4));
    insta::assert_snapshot!(changes.text("t"));
    let mut none = Changes::default();
    none.compare(Family::V6, None, &town().wanted.table(Family::V6));
    assert!(none.is_empty(), "nothing of IPv6 without pods of it");
}

#[test]
fn deny_all() {
    insta::assert_snapshot!(added(json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })));
}

#[test]
fn ingress_from_pods_at_ports() {
    insta::assert_snapshot!(added(json!({ "podSelector": web(), "ingress": [
        { "from": [{ "podSelector": { "matchLabels": { "app": "client" } } }],
          "ports": [{ "port": 80 }, { "port": 81, "endPort": 90 }, { "port": 53, "protocol": "UDP" }] },
        { "from": [{ "namespaceSelector": { "matchLabels": { "ns": "b" } }, "podSelector": {} }],
          "ports": [{ "port": "web" }, { "protocol": "SCTP" }] },
        { "from": [{ "namespaceSelector": { "matchLabels": { "ns": "b" } } }, { "podSelector": web() }] },
    ] })));
}

#[test]
fn egress_to_names_of_ports_and_the_dns() {
    let dns = json!({ "namespaceSelector": { "matchLabels": { "ns": "kube-system" } },
        "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } } });
    insta::assert_snapshot!(added(json!({ "podSelector": web(), "policyTypes": ["Egress"], "egress": [
        { "to": [dns], "ports": [{ "port": "dns", "protocol": "UDP" }] },
        { "to": [{ "namespaceSelector": {} }], "ports": [{ "port": "web" }, { "port": 443 }] },
        { "to": [{ "ipBlock": { "cidr": "10.244.1.0/24", "except": ["10.244.1.3/32"] } }], "ports": [{ "port": "web" }] },
        { "ports": [{ "port": "web" }] },
    ] })));
}

#[test]
fn blocks() {
    insta::assert_snapshot!(added(json!({ "podSelector": web(), "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            { "from": [{ "ipBlock": { "cidr": "192.0.2.7/24" } }, { "ipBlock": { "cidr": "192.0.2.0/25" } },
                { "ipBlock": { "cidr": "fd00::/8" } }] },
            { "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.1.2.0/24"] } }] },
            { "from": [{ "ipBlock": { "cidr": "fd00::/8" } }], "ports": [{ "port": 6 }] },
        ],
        "egress": [
            { "to": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }], "ports": [{ "port": 443 }] },
            { "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"] } }], "ports": [{ "port": 80 }] },
        ],
    })));
}

#[test]
fn both_families() {
    let mut state = town();
    let two = pod("a/web", "here", json!({ "app": "web" }), &["10.244.0.2", "fd00::2"]);
    state.change(Batch { pods: [two].into(), ..Batch::default() });
    state.wanted.take();
    insta::assert_snapshot!(with(
        &mut state,
        [policy(
            "a/p",
            json!({ "podSelector": web(), "ingress": [
        { "from": [{ "podSelector": {} }, { "ipBlock": { "cidr": "fd00::/8" } }], "ports": [{ "port": "web" }] }
    ] })
        )]
    ));
}

#[test]
fn what_lets_all_through_adds_nothing() {
    let check = |spec: Value| assert_eq!(added(spec.clone()), "", "{spec}");
    check(json!({ "podSelector": {}, "ingress": [{}] }));
    check(json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}] }));
    check(json!({ "podSelector": { "matchLabels": { "app": "nobody" } } }));
    let mut state = town();
    assert_eq!(with(&mut state, [policy("b/p", json!({ "podSelector": {} }))]), "", "no pod of that namespace is here");
    assert_ne!(with(&mut state, [policy("a/closed", json!({ "podSelector": {} }))]), "");
    with(&mut state, [policy("a/open", json!({ "podSelector": {}, "ingress": [{}] }))]);
    let table = state.wanted.table(Family::V4);
    assert!(table.sets["ingress"].elements.is_empty(), "the open one takes precedence");
}

#[test]
fn a_pod_more_or_less_changes_elements() {
    let mut state = town();
    with(
        &mut state,
        [policy(
            "a/p",
            json!({ "podSelector": web(), "ingress": [
        { "from": [{ "podSelector": { "matchLabels": { "app": "client" } } }] }
    ] }),
        )],
    );
    let mut change = |pods: Vec<(Key, Option<Arc<PodView>>)>| {
        state.change(Batch { pods: pods.into_iter().collect(), ..Batch::default() });
        state.wanted.take().text("t")
    };
    let more = change(vec![
        pod("a/new", "there", json!({ "app": "client" }), &["10.244.1.9"]),
        pod("a/web-2", "here", json!({ "app": "web" }), &["10.244.0.9"]),
        pod("a/nobody", "there", json!({ "app": "x" }), &["10.244.1.10"]),
    ]);
    let less = change(vec![
        (Key::new("a", "far"), None),
        pod("a/client", "here", json!({ "app": "else" }), &["10.244.0.3"]),
        pod("a/web-2", "here", json!({ "app": "else" }), &["10.244.0.9"]),
    ]);
    insta::assert_snapshot!(format!("{more}\n{less}"));
}

#[test]
fn pods_with_the_same_policies_share_a_chain() {
    let mut state = town();
    let of = |app: &str| json!({ "podSelector": { "matchLabels": { "app": app } }, "ingress": [{ "ports": [{ "port": 80 }] }] });
    with(&mut state, [policy("a/web", of("web")), policy("a/client", of("client"))]);
    let table = state.wanted.table(Family::V4);
    let chains = |table: &crate::rules::table::Table| table.chains.keys().filter(|it| it.starts_with("in_")).count();
    assert_eq!((chains(&table), table.sets["ingress"].elements.len()), (1, 2), "they say the same");
    let narrower = json!({ "podSelector": web(), "ingress": [{ "ports": [{ "port": 81 }] }] });
    with(&mut state, [policy("a/web", narrower)]);
    assert_eq!(chains(&state.wanted.table(Family::V4)), 2);
}

#[test]
fn everything_goes_with_the_last_policy() {
    let mut state = town();
    let before = state.wanted.table(Family::V4);
    let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{ "from": [{ "namespaceSelector": {} }], "ports": [{ "port": "web" }] }] });
    let first = with(&mut state, [policy("a/p", spec)]);
    assert!(first.contains("pods_") && !state.is_idle());
    with(&mut state, [(Key::new("a", "p"), None)]);
    assert_eq!(state.wanted.table(Family::V4), before);
    assert!(state.is_idle());
    // A namespace that goes takes its labels along.
    let spec = json!({ "podSelector": {}, "ingress": [{ "from": [{ "namespaceSelector": { "matchLabels": { "ns": "b" } } }] }] });
    assert!(with(&mut state, [policy("a/p", spec)]).contains("10.244.1.3"));
    state.change(Batch { namespaces: [("b".to_owned(), None)].into(), ..Batch::default() });
    assert!(state.wanted.take().text("t").contains("delete element"));
}
