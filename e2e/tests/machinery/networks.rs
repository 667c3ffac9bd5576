//! The kinds of networks by every operation ("EndpointSlice should support creating EndpointSlice API operations", "Services should test the
//! lifecycle of an Endpoint", "Ingress API should support creating Ingress API operations", "IngressClass API should support creating IngressClass
//! API operations", "ServiceCIDR and IPAddress API should support ServiceCIDR API operations", "… IPAddress API operations"), and
//! NetworkPolicies, which no conformance test asks for.

use anyhow::{Result, ensure};
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

use super::operations::{Kind, walk_all};
use super::plain::{Http, meta, names};

const DISCOVERY: &str = "discovery.k8s.io";
const NETWORKING: &str = "networking.k8s.io";

pub fn operations(it: &Scene<'_>) -> Result<()> {
    walk_all(it, &[endpoint_slices(), endpoints(), ingresses(), classes(), policies(), addresses()])
}

/// Apart from the others: a range takes ten seconds to go, in which services could still get its addresses.
pub fn service_ranges(it: &Scene<'_>) -> Result<()> {
    default_range(it)?;
    walk_all(it, &[ranges()])
}

fn endpoint_slices() -> Kind {
    let body = json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["10.1.2.3"], "conditions": { "ready": true } }],
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] });
    let change = json!({ "endpoints": [{ "addresses": ["10.1.2.4"], "nodeName": "node" }] });
    Kind::new(DISCOVERY, "EndpointSlice", "endpointslices", body, change)
}

/// They stand for themselves: no Service has their names.
fn endpoints() -> Kind {
    let subset = |address: &str, port: u32| json!({ "addresses": [{ "ip": address }], "ports": [{ "name": "http", "port": port, "protocol": "TCP" }] });
    let body = json!({ "subsets": [subset("10.0.0.24", 80)] });
    Kind::new("", "Endpoints", "endpoints", body, json!({ "subsets": [subset("10.0.0.25", 8080)] }))
}

fn ingresses() -> Kind {
    let rule = |host: &str| {
        let backend = json!({ "service": { "name": "test-backend", "port": { "number": 80 } } });
        let path = json!({ "path": "/", "pathType": "ImplementationSpecific", "backend": backend });
        json!({ "host": host, "http": { "paths": [path] } })
    };
    let backend = json!({ "service": { "name": "default-backend", "port": { "number": 80 } } });
    let body = json!({ "spec": { "defaultBackend": backend, "rules": [rule("one.example.com")] } });
    let change = json!({ "spec": { "rules": [rule("two.example.com")] } });
    let at = |address: &str| json!({ "loadBalancer": { "ingress": [{ "ip": address }] } });
    Kind::new(NETWORKING, "Ingress", "ingresses", body, change).told(
        json!({ "loadBalancer": {} }),
        at("169.1.1.1"),
        at("169.1.1.2"),
    )
}

fn classes() -> Kind {
    let parameters = json!({ "apiGroup": "example.com", "kind": "Parameters", "name": "some", "scope": "Cluster" });
    let change = json!({ "spec": { "parameters": parameters } });
    let body = json!({ "spec": { "controller": "example.com/controller" } });
    Kind::new(NETWORKING, "IngressClass", "ingressclasses", body, change).of_cluster()
}

fn policies() -> Kind {
    let body =
        json!({ "spec": { "podSelector": { "matchLabels": { "app": "nothing" } }, "policyTypes": ["Ingress"] } });
    let change = json!({ "spec": { "ingress": [{ "ports": [{ "port": 80, "protocol": "TCP" }] }] } });
    Kind::new(NETWORKING, "NetworkPolicy", "networkpolicies", body, change)
}

fn addresses() -> Kind {
    let parent = json!({ "group": "mygroup", "resource": "myresources", "namespace": "foo", "name": "bar" });
    let body = json!({ "spec": { "parentRef": parent } });
    let names = ["255.255.255.255", "192.0.2.1", "fe80::42:1dff:fe84:f9e2", "192.0.2.2"];
    let kind = Kind::new(NETWORKING, "IPAddress", "ipaddresses", body, json!({})).of_cluster();
    Kind { names: Some(names), ..kind }
}

fn ranges() -> Kind {
    let condition = |kind: &str| {
        json!({ "type": kind, "status": "True", "reason": "E2E", "message": "Set by a test",
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    let told = |kind: &str| json!({ "conditions": [condition(kind)] });
    let body = json!({ "spec": { "cidrs": ["10.93.0.0/24"] } });
    let kind = Kind::new(NETWORKING, "ServiceCIDR", "servicecidrs", body, json!({}));
    let told = kind.of_cluster().told(Value::Null, told("StatusPatched"), told("StatusUpdated"));
    Kind { lingers: true, ..told }
}

/// The range that every cluster has is read, with its status, and among the others.
fn default_range(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let all = format!("/apis/{NETWORKING}/v1/servicecidrs");
    let range = http.get(&format!("{all}/kubernetes"))?.is(200)?;
    let status = http.get(&format!("{all}/kubernetes/status"))?.is(200)?;
    ensure!(status["kind"] == "ServiceCIDR" && meta(&status, "uid") == meta(&range, "uid"), "{status}");
    let list = http.get(&all)?.is(200)?;
    ensure!(names(&list).iter().any(|it| it == "kubernetes"), "{list}");
    Ok(())
}
