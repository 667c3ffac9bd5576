//! Endpoints by ports ("Services should serve a basic endpoint from pods", "Services should serve multiport endpoints from pods", "Services should
//! serve endpoints on same port and different protocols", "EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service",
//! "EndpointSlice should create and delete Endpoints and EndpointSlices for a Service with a selector specified").

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene, address};
use orlop_e2e::wait;
use serde_json::{Value, json};

use crate::crew::{self, Asker, Member, PORT, WAYS, Way, service};
use crate::plain::{Http, MERGE};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let both = format!(
        "{{ selector: {{ app: both }}, ports: [{{ name: tcp, port: 80, targetPort: {PORT} }}, \
         {{ name: udp, port: 80, targetPort: {PORT}, protocol: UDP }}] }}"
    );
    let manifest = [
        service(
            "multi",
            "{ selector: { app: multi }, ports: [{ name: a, port: 80, targetPort: first }, { name: b, port: 81, targetPort: second }] }",
        ),
        service("named", "{ selector: { app: named }, ports: [{ name: web, port: 80, targetPort: web }] }"),
        service("both", &both),
        Member { name: "both", app: "both", ..Member::default() }.manifest(),
        with_port("web-1", "named", "web", 3000),
        with_port("web-2", "named", "web", 3001),
    ];
    scene.apply(&manifest.concat())?;
    ended(scene, "multi", &[])?;
    come_and_go(scene)?;
    names_with_several_numbers(scene)?;
    protocols(scene)
}

/// A pod that answers at one port, which has a name.
fn with_port(name: &str, app: &str, port: &str, number: u16) -> String {
    let (ports, answers) = (format!("[{{ name: {port}, containerPort: {number} }}]"), format!("tcp:{number}"));
    Member { name, app, ports: &ports, answers: &answers, ..Member::default() }.manifest()
}

/// Ready addresses with their ports, `a 10.244.0.5:80`, out of slices: all of a Service.
fn in_slices(list: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for slice in items(&list["items"]) {
        for (port, endpoint) in
            items(&slice["ports"]).flat_map(|port| items(&slice["endpoints"]).map(move |it| (port, it)))
        {
            if endpoint["conditions"]["ready"] == true {
                all.insert(shown(port, &endpoint["addresses"][0]));
            }
        }
    }
    all
}

/// The same out of an Endpoints object.
fn in_endpoints(object: &Value) -> BTreeSet<String> {
    let subsets = items(&object["subsets"]);
    let of = |it: &'_ Value| {
        let ports = items(&it["ports"]);
        ports.flat_map(|port| items(&it["addresses"]).map(|it| shown(port, &it["ip"]))).collect::<Vec<_>>()
    };
    subsets.flat_map(of).collect()
}

fn shown(port: &Value, address: &Value) -> String {
    format!("{} {}:{}", port["name"].as_str().unwrap_or_default(), address.as_str().unwrap_or_default(), port["port"])
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The path of a Service's slices.
fn slices(scene: &Scene<'_>, service: &str) -> String {
    scene.path(&format!("endpointslices?labelSelector=kubernetes.io/service-name={service}"))
}

/// Waits until a Service has just these endpoints, told in both forms.
fn ended(scene: &Scene<'_>, service: &str, expected: &[String]) -> Result<()> {
    let expected: BTreeSet<String> = expected.iter().cloned().collect();
    wait::until(&format!("the endpoints of {service} are {expected:?}"), POD_LIMIT, || {
        let list = scene.api.get(&slices(scene, service))?;
        let object = scene.api.get(&scene.path(&format!("endpoints/{service}")))?;
        let found = (in_slices(&list), in_endpoints(&object));
        ensure!(items(&list["items"]).count() > 0 && found == (expected.clone(), expected.clone()), "{list} {object}");
        Ok(())
    })
}

/// Two ports, whose pods come and go one after the other.
fn come_and_go(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&with_port("multi-1", "multi", "first", 100))?;
    let first = format!("a {}:100", address(&scene.ready("multi-1")?)?);
    ended(scene, "multi", std::slice::from_ref(&first))?;
    scene.apply(&with_port("multi-2", "multi", "second", 101))?;
    let second = format!("b {}:101", address(&scene.ready("multi-2")?)?);
    ended(scene, "multi", &[first, second.clone()])?;
    let client = Asker::Pod("both");
    scene.ready("both")?;
    client.finds(scene, Way::Http, "multi", 80, &["multi-1".to_owned()])?;
    client.finds(scene, Way::Http, "multi", 81, &["multi-2".to_owned()])?;
    scene.run(&["delete", "pod", "multi-1"])?;
    ended(scene, "multi", &[second])?;
    client.finds_nobody(scene, Way::Http, "multi", 80)?;
    client.finds(scene, Way::Http, "multi", 81, &["multi-2".to_owned()])?;
    scene.run(&["delete", "pod", "multi-2"])?;
    ended(scene, "multi", &[])?;
    // Both forms go with their Service.
    scene.run(&["delete", "service", "multi"])?;
    scene.api.gone(&scene.path("endpoints/multi"), POD_LIMIT)?;
    let none = |it: &Value| items(&it["items"]).count() == 0;
    scene.api.until(&slices(scene, "multi"), "are none", POD_LIMIT, none).map(drop)
}

/// One name of a port, which is another number in each pod: a slice, and a subset, for each number.
fn names_with_several_numbers(scene: &Scene<'_>) -> Result<()> {
    let (one, two) = (scene.ready("web-1")?, scene.ready("web-2")?);
    let expected = [format!("web {}:3000", address(&one)?), format!("web {}:3001", address(&two)?)];
    ended(scene, "named", &expected)?;
    let list = scene.api.get(&slices(scene, "named"))?;
    ensure!(items(&list["items"]).count() == 2, "{list}");
    for slice in items(&list["items"]) {
        let (owner, target) = (&slice["metadata"]["ownerReferences"][0], &slice["endpoints"][0]["targetRef"]);
        ensure!(owner["kind"] == "Service" && owner["name"] == "named", "{slice}");
        ensure!(target["kind"] == "Pod" && (target["name"] == "web-1" || target["name"] == "web-2"), "{slice}");
        ensure!(slice["endpoints"][0]["nodeName"].is_string(), "{slice}");
    }
    Asker::Pod("both").finds(scene, Way::Http, "named", 80, &["web-1".to_owned(), "web-2".to_owned()])
}

/// One number by TCP and by UDP, then by one of them alone.
fn protocols(scene: &Scene<'_>) -> Result<()> {
    let path = scene.path("services/both");
    let made = scene.api.get(&path)?;
    let ip = crew::cluster_ip(&made)?;
    let (client, pod) = (Asker::Pod("web-1"), ["both".to_owned()]);
    for way in WAYS {
        client.finds(scene, way, "both", 80, &pod)?;
        client.finds(scene, way, ip, 80, &pod)?;
    }
    for (way, other, port) in [(Way::Http, Way::Udp, 0), (Way::Udp, Way::Http, 1)] {
        let patch = json!({ "spec": { "ports": [made["spec"]["ports"][port]] } });
        let it = Http::of(scene).patch(&path, MERGE, &patch)?.is(200)?;
        ensure!(it["spec"]["clusterIP"] == ip, "{it}");
        client.finds(scene, way, ip, 80, &pod)?;
        client.finds_nobody(scene, other, ip, 80)?;
    }
    Ok(())
}
