//! Services that become others ("Services should be able to change the type from ClusterIP to ExternalName", "... from ExternalName to ClusterIP",
//! "... from ExternalName to NodePort", "... from NodePort to ExternalName"): written as a client does that reads, changes and writes back.

use anyhow::{Context, Result, ensure};
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

use crate::crew::{self, Asker, Member, PORT, Way, service};
use crate::plain::Http;

/// The only pod behind these Services.
const SERVER: &str = "server";

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let of = |kind: &str| {
        format!("{{ type: {kind}, selector: {{ app: server }}, ports: [{{ port: 80, targetPort: {PORT} }}] }}")
    };
    let alias = "{ type: ExternalName, externalName: elsewhere.example }";
    let manifest = [
        Member { name: SERVER, app: "server", ..Member::default() }.manifest(),
        Member { name: "client", ..Member::default() }.manifest(),
        service("real", &of("ClusterIP")),
        service("address-to-name", &of("ClusterIP")),
        service("port-to-name", &of("NodePort")),
        service("name-to-address", alias),
        service("name-to-port", alias),
    ];
    scene.apply(&manifest.concat())?;
    scene.ready(SERVER)?;
    scene.ready("client")?;
    become_names(scene)?;
    become_addresses(scene)
}

/// Reads a Service, changes its spec and writes it back.
fn change(scene: &Scene<'_>, name: &str, spec: &[(&str, Value)]) -> Result<Value> {
    let path = scene.path(&format!("services/{name}"));
    let mut it = scene.api.get(&path)?;
    for (field, value) in spec {
        it["spec"][field] = value.clone();
    }
    Http::of(scene).put(&path, &it)?.is(200).with_context(|| name.to_owned())
}

fn finds(scene: &Scene<'_>, host: &str, port: u16) -> Result<()> {
    Asker::Pod("client").finds(scene, Way::Http, host, port, &[SERVER.to_owned()])
}

/// With an address that becomes a name: the name leads where it says, and the address and port are free for others.
fn become_names(scene: &Scene<'_>) -> Result<()> {
    let real = scene.api.get(&scene.path("services/real"))?;
    let target = format!("real.{}.svc.cluster.local", scene.namespace);
    for name in ["address-to-name", "port-to-name"] {
        let before = scene.api.get(&scene.path(&format!("services/{name}")))?;
        let ip = crew::cluster_ip(&before)?;
        finds(scene, name, 80)?;
        finds(scene, ip, 80)?;
        let it = change(scene, name, &[("type", json!("ExternalName")), ("externalName", json!(target))])?;
        ensure!(it["spec"]["clusterIP"].is_null() && it["spec"]["clusterIPs"].is_null(), "{it}");
        ensure!(it["spec"]["ports"][0]["nodePort"].is_null(), "{it}");
        crew::resolves(scene, "client", name, &[crew::cluster_ip(&real)?])?;
        finds(scene, name, 80)?;
        Asker::Pod("client").finds_nobody(scene, Way::Http, ip, 80)?;

        let mut heir = json!({ "metadata": { "name": format!("heir-of-{name}") }, "spec": {
            "clusterIP": ip, "selector": { "app": "server" }, "ports": [{ "port": 81, "targetPort": PORT }] } });
        if name == "port-to-name" {
            let port = crew::node_port(&before, 0)?;
            for address in crew::node_addresses(scene)? {
                Asker::Host.finds_nobody(scene, Way::Http, &address, port)?;
            }
            heir["spec"]["type"] = json!("NodePort");
            heir["spec"]["ports"][0]["nodePort"] = json!(port);
        }
        Http::of(scene).post(&scene.path("services"), &heir)?.is(201).context("what was given up is free")?;
        finds(scene, ip, 81)?;
    }
    Ok(())
}

/// A name that becomes a Service with an address: by both, and at the nodes' ports if it is to have one.
fn become_addresses(scene: &Scene<'_>) -> Result<()> {
    for (name, kind) in [("name-to-address", "ClusterIP"), ("name-to-port", "NodePort")] {
        let before = scene.api.get(&scene.path(&format!("services/{name}")))?;
        ensure!(before["spec"]["clusterIP"].is_null(), "{before}");
        let ports = json!([{ "port": 80, "targetPort": PORT, "protocol": "TCP" }]);
        let selector = json!({ "app": "server" });
        let fields = [("type", json!(kind)), ("externalName", Value::Null), ("ports", ports), ("selector", selector)];
        let it = change(scene, name, &fields)?;
        ensure!(it["spec"]["externalName"].is_null(), "{it}");
        let ip = crew::cluster_ip(&it)?;
        crew::resolves(scene, "client", name, &[ip])?;
        finds(scene, name, 80)?;
        finds(scene, ip, 80)?;
        if kind == "NodePort" {
            let port = crew::node_port(&it, 0)?;
            for address in crew::node_addresses(scene)? {
                finds(scene, &address, port)?;
                Asker::Host.finds(scene, Way::Http, &address, port, &[SERVER.to_owned()])?;
            }
        }
    }
    Ok(())
}
