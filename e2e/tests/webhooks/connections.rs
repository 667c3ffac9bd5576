//! What is asked of pods, services and nodes without being a form of them: connections, bindings, evictions.

use anyhow::{Result, ensure};
use orlop_e2e::definition::{expect, refused};
use serde_json::{Value, json};

use super::play::{Play, Sort, pod, rule, same};

/// Every connection is asked about before anybody looks whether it can be made.
pub fn connections(it: &Play<'_>) -> Result<()> {
    expect(&it.server.send("POST", &it.here("pods"), &pod("p", "c"))?, 201)?;
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
        refused(
            &it.server.send(method, &path, &Value::Null)?,
            400,
            "denied the request: this webhook denies all requests",
        )?;
        let asked = it.hooks.last("/always-deny")?;
        same(&asked["operation"], &json!("CONNECT"))?;
        same(&asked["kind"], &json!({"group": "", "version": "v1", "kind": kind}))?;
        let mut expected = object;
        expected["kind"] = kind.into();
        expected["apiVersion"] = "v1".into();
        same(&asked["object"], &expected)?;
    }
    // The log is read, and nobody's connection.
    let log = it.server.send("GET", &it.here("pods/p/log"), &Value::Null)?;
    ensure!(!log.text.contains("webhook"), "{}", log.text);
    Ok(())
}

/// A binding and an eviction are judged as such, and by expressions, too.
pub fn bindings_and_evictions(it: &Play<'_>) -> Result<()> {
    expect(&it.server.send("POST", &it.here("pods"), &pod("p", "c"))?, 201)?;
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
    refused(
        &it.server.send("POST", &path, &binding("forbidden"))?,
        400,
        "admission webhook \"no-node.hooks.test\" denied",
    )?;
    expect(&it.server.send("POST", &path, &binding("n1"))?, 201)?;
    let asked = it.hooks.last("/binding")?;
    same(&asked["kind"], &json!({"group": "", "version": "v1", "kind": "Binding"}))?;
    same(&asked["object"]["target"]["name"], &json!("n1"))?;
    same(&asked["subResource"], &json!("binding"))?;
    same(&asked["operation"], &json!("CREATE"))?;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    expect(&it.server.send("POST", &it.here("pods/p/eviction"), &eviction)?, 201)?;
    let asked = it.hooks.last("/eviction")?;
    same(&asked["kind"], &json!({"group": "policy", "version": "v1", "kind": "Eviction"}))?;
    same(&asked["resource"]["resource"], &json!("pods"))
}

/// A scale is shown as itself, before and after, and what is changed of it goes into the workload.
pub fn scales(it: &Play<'_>) -> Result<()> {
    let rule = || rule(&["UPDATE"], "apps", "v1", "deployments/scale");
    it.configure(Sort::Mutating, vec![it.hook("most", "/at-most-four", rule(), json!({}))])?;
    it.configure(Sort::Validating, vec![it.hook("watch", "/scales", rule(), json!({}))])?;
    let all = format!("/apis/apps/v1/namespaces/{}/deployments", it.case.namespace);
    let container = json!({"name": "c", "image": "registry.local/x:1"});
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    expect(&it.server.send("POST", &all, &json!({"metadata": {"name": "web"}, "spec": spec}))?, 201)?;
    it.case.prints("scale deployment web --replicas 9", "deployment.apps/web scaled")?;
    it.case.prints("get deployment web -o jsonpath={.spec.replicas}", "4")?;
    let asked = it.hooks.last("/scales")?;
    same(&asked["kind"], &json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}))?;
    same(&asked["resource"]["resource"], &json!("deployments"))?;
    same(&asked["subResource"], &json!("scale"))?;
    let shown = |of: &str| json!([asked[of]["kind"], asked[of]["spec"]["replicas"], asked[of]["status"]["selector"]]);
    same(&shown("object"), &json!(["Scale", 4, "app=web"]))?;
    same(&shown("oldObject"), &json!(["Scale", 1, "app=web"]))
}

/// Who asks for a token is asked about, and gets what was made of the request.
pub fn tokens(it: &Play<'_>) -> Result<()> {
    let rule = rule(&["CREATE"], "", "v1", "serviceaccounts/token");
    it.configure(Sort::Mutating, vec![it.hook("audience", "/add-audience", rule, json!({}))])?;
    let request = json!({"spec": {"audiences": ["store"]}});
    let made = it.server.send("POST", &it.here("serviceaccounts/default/token"), &request)?;
    expect(&made, 201)?;
    same(&made.json["spec"]["audiences"], &json!(["store", "vault"]))?;
    let asked = it.hooks.last("/add-audience")?;
    same(&asked["kind"]["kind"], &json!("TokenRequest"))?;
    same(&json!([asked["name"], asked["operation"]]), &json!(["default", "CREATE"]))
}
