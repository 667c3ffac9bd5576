//! Services as objects ("Services should complete a service status lifecycle", "Services should delete a collection of services", "Services should
//! find a service from listing all namespaces"), and what containers are told of them ("Pods should contain environment variables for services").

use anyhow::{Result, ensure};
use http::Method;
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

use crate::crew::{cluster_ip, service};
use crate::plain::{Http, MERGE, STRATEGIC, meta, names};

/// How long a watch stays open that has nothing to wait for.
const SECONDS: u32 = 1;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    status(scene)?;
    collection(scene)?;
    let everywhere = Http::of(scene).get("/api/v1/services")?.is(200)?;
    let is_there = |namespace: &str, name: &str| {
        let mut items = everywhere["items"].as_array().into_iter().flatten();
        items.any(|it| meta(it, "namespace") == namespace && meta(it, "name") == name)
    };
    ensure!(is_there("default", "kubernetes") && is_there(&scene.namespace, "s-3"), "{:?}", names(&everywhere));
    Ok(())
}

/// The status is read, patched and updated at a path of its own; the rest at the other. A watch sees all of it.
fn status(scene: &Scene<'_>) -> Result<()> {
    let http = Http::of(scene);
    let all = scene.path("services");
    let (path, status) = (format!("{all}/state"), format!("{all}/state/status"));
    let start = meta(&http.get(&all)?.is(200)?, "resourceVersion").to_owned();
    // Of a class that nobody here serves: its status is left to us.
    let made = json!({ "metadata": { "name": "state", "labels": { "set": "state" } }, "spec": { "type": "LoadBalancer",
        "loadBalancerClass": "example.com/nobody", "ports": [{ "name": "http", "port": 80, "targetPort": 80 }] } });
    http.post(&all, &made)?.is(201)?;
    let read = http.get(&status)?.is(200)?;
    ensure!(read["kind"] == "Service" && read["status"] == json!({ "loadBalancer": {} }), "{read}");

    let ingress = json!([{ "ip": "203.0.113.1" }]);
    let patch = json!({ "metadata": { "annotations": { "patched": "true" } }, "spec": { "publishNotReadyAddresses": true },
        "status": { "loadBalancer": { "ingress": ingress } } });
    let it = http.patch(&status, MERGE, &patch)?.is(200)?;
    ensure!(it["status"]["loadBalancer"]["ingress"] == json!([{ "ip": "203.0.113.1", "ipMode": "VIP" }]), "{it}");
    ensure!(it["metadata"]["annotations"]["patched"] == "true" && it["spec"] == read["spec"], "{it}");

    let mut update = http.get(&status)?.is(200)?;
    let condition = json!({ "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set by hand",
        "lastTransitionTime": "2026-01-01T00:00:00Z" });
    update["status"]["conditions"] = json!([condition]);
    let it = http.put(&status, &update)?.is(200)?;
    ensure!(it["status"]["conditions"] == json!([condition]), "{it}");

    // Who writes the Service leaves its status alone.
    let patch = json!({ "metadata": { "labels": { "patched": "yes" } }, "status": null });
    let it = http.patch(&path, STRATEGIC, &patch)?.is(200)?;
    ensure!(it["metadata"]["labels"] == json!({ "set": "state", "patched": "yes" }), "{it}");
    ensure!(it["status"]["conditions"] == json!([condition]) && it["status"] == update["status"], "{it}");
    http.delete(&path, &Value::Null)?.is(200)?;
    http.get(&path)?.refuses(404, "services \"state\" not found")?;

    let seen = http.watch(&format!("{all}?labelSelector=set=state&resourceVersion={start}"), SECONDS)?;
    let shown = seen.iter().map(|(kind, it)| {
        let ingress = it["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap_or("-");
        format!("{kind} {ingress} {} {}", it["status"]["conditions"][0]["reason"], it["metadata"]["labels"]["patched"])
    });
    let expected = [
        "ADDED - null null",
        "MODIFIED 203.0.113.1 null null",
        "MODIFIED 203.0.113.1 \"E2E\" null",
        "MODIFIED 203.0.113.1 \"E2E\" \"yes\"",
        "DELETED 203.0.113.1 \"E2E\" \"yes\"",
    ];
    ensure!(shown.clone().eq(expected), "{:?}", shown.collect::<Vec<_>>());
    Ok(())
}

/// Of three those are deleted together that a selector finds.
fn collection(scene: &Scene<'_>) -> Result<()> {
    let http = Http::of(scene);
    let all = scene.path("services");
    for (name, set) in [("s-1", "go"), ("s-2", "go"), ("s-3", "stay")] {
        let labels = json!({ "set": set, "of": "three" });
        let it = json!({ "metadata": { "name": name, "labels": labels }, "spec": { "ports": [{ "port": 80 }] } });
        http.post(&all, &it)?.is(201)?;
    }
    let found = || Ok::<_, anyhow::Error>(names(&http.get(&format!("{all}?labelSelector=of=three"))?.is(200)?));
    ensure!(found()? == ["s-1", "s-2", "s-3"], "{:?}", found()?);
    http.send(Method::DELETE, &format!("{all}?labelSelector=set=go"), &[], &Value::Null)?.is(200)?;
    ensure!(found()? == ["s-3"], "{:?}", found()?);
    Ok(())
}

/// A container that starts when a Service is there has its variables, and those of `default/kubernetes`; one that wants none has those alone.
pub fn links(scene: &Scene<'_>) -> Result<()> {
    let ports = "ports: [{ name: web-port, port: 8765, targetPort: 8080 }, { name: dns, port: 53, protocol: UDP }]";
    scene.apply(&(service("foo-service", &format!("{{ {ports} }}")) + &service("bare", "{ clusterIP: None }")))?;
    let made = scene.api.get(&scene.path("services/foo-service"))?;
    let pod = |name: &str, enabled: bool| {
        format!(
            "\n---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  enableServiceLinks: {enabled}\n  \
             restartPolicy: Never\n  containers: [{{ name: main, image: {TOOLS}, command: [env] }}]\n"
        )
    };
    scene.apply(&(pod("told", true) + &pod("untold", false)))?;
    let ip = cluster_ip(&made)?;
    scene.succeeded("told")?;
    let text = scene.logs("told", &[])?;
    let lines: Vec<&str> = text.lines().collect();
    for (name, value) in [
        ("SERVICE_HOST", ip),
        ("SERVICE_PORT", "8765"),
        ("SERVICE_PORT_WEB_PORT", "8765"),
        ("SERVICE_PORT_DNS", "53"),
        ("PORT", &format!("tcp://{ip}:8765")),
        ("PORT_8765_TCP", &format!("tcp://{ip}:8765")),
        ("PORT_8765_TCP_PROTO", "tcp"),
        ("PORT_8765_TCP_PORT", "8765"),
        ("PORT_8765_TCP_ADDR", ip),
        ("PORT_53_UDP", &format!("udp://{ip}:53")),
        ("PORT_53_UDP_PROTO", "udp"),
    ] {
        let expected = format!("FOO_SERVICE_{name}={value}");
        ensure!(lines.contains(&&*expected), "{expected} is not in:\n{text}");
    }
    ensure!(!text.contains("BARE_"), "a Service without an address has nothing to tell:\n{text}");
    scene.succeeded("untold")?;
    let untold = scene.logs("untold", &[])?;
    ensure!(!untold.contains("FOO_SERVICE"), "it does not want them:\n{untold}");
    let kubernetes = scene.api.get("/api/v1/namespaces/default/services/kubernetes")?;
    let expected = format!("KUBERNETES_SERVICE_HOST={}\n", cluster_ip(&kubernetes)?);
    for it in [text, untold] {
        ensure!(it.contains(&expected) && it.contains("KUBERNETES_SERVICE_PORT=443\n"), "{it}");
    }
    Ok(())
}
