//! What is asked of pods, services and nodes without being a form of them: connections, bindings, evictions.

use anyhow::{Result, ensure};
use orlop_e2e::definition::{expect, refused};
use serde_json::{Value, json};

use super::play::{Play, Sort, pod, rule, same};

/// Every connection is asked about before anybody looks whether it can be made.
pub fn connections(it: &Play<'_>) -> Result<()> {
    expect(&it.send("POST", &it.here("pods"), &pod("p", "c"))?, 201)?;
    let rules = ["pods/exec", "pods/portforward", "pods/proxy", "services/proxy"];
    let mut hooks: Vec<Value> = Vec::new();
    for (at, resource) in rules.iter().enumerate() {
        hooks.push(it.hook(&format!("c{at}"), "/always-deny", rule(&["CONNECT"], "", "v1", resource), json!({})));
    }
    // A node is in no namespace, so that the selector of namespaces says nothing of it.
    hooks.push(it.hook("nodes", "/always-deny", rule(&["CONNECT"], "", "v1", "nodes/proxy"), json!({})));
    it.configure(Sort::Validating, hooks)?;
    for (method, path, kind, object) in [
        (
            "POST",
            it.here("pods/p/exec?command=ls&command=-l&container=c&stdout=true"),
            "PodExecOptions",
            json!({"command": ["ls", "-l"], "container": "c", "stdout": true, "stderr": true}),
        ),
        ("POST", it.here("pods/p/portforward?ports=80"), "PodPortForwardOptions", json!({"ports": [80]})),
        ("GET", it.here("pods/p/proxy/a/b"), "PodProxyOptions", json!({"path": "/a/b"})),
        ("PUT", it.here("services/s/proxy/"), "ServiceProxyOptions", json!({"path": "/"})),
        ("GET", "/api/v1/nodes/n/proxy/metrics".to_owned(), "NodeProxyOptions", json!({"path": "/metrics"})),
    ] {
        refused(&it.send(method, &path, &Value::Null)?, 400, "denied the request: this webhook denies all requests")?;
        let asked = it.hooks.last("/always-deny")?;
        same(&asked["operation"], &json!("CONNECT"))?;
        same(&asked["kind"], &json!({"group": "", "version": "v1", "kind": kind}))?;
        let mut expected = object;
        expected["kind"] = kind.into();
        expected["apiVersion"] = "v1".into();
        same(&asked["object"], &expected)?;
    }
    // The log is read, and nobody's connection.
    let log = it.send("GET", &it.here("pods/p/log"), &Value::Null)?;
    ensure!(!log.text.contains("webhook"), "{}", log.text);
    Ok(())
}

/// A binding and an eviction are judged as such, and by expressions, too.
pub fn bindings_and_evictions(it: &Play<'_>) -> Result<()> {
    expect(&it.send("POST", &it.here("pods"), &pod("p", "c"))?, 201)?;
    it.configure(
        Sort::Validating,
        vec![
            it.hook("binding", "/binding", rule(&["CREATE"], "", "v1", "pods/binding"), json!({})),
            it.hook(
                "eviction",
                "/eviction",
                rule(&["CREATE"], "", "v1", "pods/eviction"),
                json!({"matchConditions": [{"name": "evictions", "expression": "request.kind.kind == 'Eviction' && object.metadata.name == 'p'"}]}),
            ),
            it.hook(
                "no-node",
                "/always-deny",
                rule(&["CREATE"], "", "v1", "pods/binding"),
                json!({"matchConditions": [{"name": "node", "expression": "object.target.name == 'forbidden'"}]}),
            ),
        ],
    )?;
    let binding = |node: &str| json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    let path = it.here("pods/p/binding");
    refused(&it.send("POST", &path, &binding("forbidden"))?, 400, "admission webhook \"no-node.hooks.test\" denied")?;
    expect(&it.send("POST", &path, &binding("n1"))?, 201)?;
    let asked = it.hooks.last("/binding")?;
    same(&asked["kind"], &json!({"group": "", "version": "v1", "kind": "Binding"}))?;
    same(&asked["object"]["target"]["name"], &json!("n1"))?;
    same(&asked["subResource"], &json!("binding"))?;
    same(&asked["operation"], &json!("CREATE"))?;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    expect(&it.send("POST", &it.here("pods/p/eviction"), &eviction)?, 201)?;
    let asked = it.hooks.last("/eviction")?;
    same(&asked["kind"], &json!({"group": "policy", "version": "v1", "kind": "Eviction"}))?;
    same(&asked["resource"]["resource"], &json!("pods"))
}
