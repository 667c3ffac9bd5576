//! Addresses that users wrote down for a Service without a selector ("EndpointSliceMirroring should mirror a custom Endpoints resource through
//! create update and delete"): they are in slices, and clients are led there.

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene, address};
use serde_json::{Value, json};

use crate::crew::{self, Asker, Member, PORT, Way};
use crate::plain::{Http, MERGE};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let pods = ["one", "two", "client"];
    let manifests = pods.map(|name| Member { name, ..Member::default() }.manifest()).concat();
    scene.apply(
        &(manifests + &crew::service("custom", &format!("{{ ports: [{{ port: 80, targetPort: {PORT} }}] }}"))),
    )?;
    for it in pods {
        scene.ready(it)?;
    }
    let [one, two] = [scene.pod("one")?, scene.pod("two")?];
    let [one, two] = [address(&one)?, address(&two)?];
    let http = Http::of(scene);
    let client = Asker::Pod("client");

    let subset = |ip: &str, port: u16| json!([{ "addresses": [{ "ip": ip }], "ports": [{ "port": port }] }]);
    let endpoints =
        json!({ "metadata": { "name": "custom", "labels": { "from": "us" } }, "subsets": subset(one, PORT) });
    http.post(&scene.path("endpoints"), &endpoints)?.is(201)?;
    mirrored(scene, one, PORT)?;
    let slice = &scene.api.items(&slices(scene))?[0];
    ensure!(slice["metadata"]["labels"]["from"] == "us", "{slice}");
    let owner = &slice["metadata"]["ownerReferences"][0];
    ensure!(owner["kind"] == "Endpoints" && owner["name"] == "custom" && owner["controller"] == true, "{slice}");
    client.finds(scene, Way::Http, "custom", 80, &["one".to_owned()])?;

    let path = scene.path("endpoints/custom");
    http.patch(&path, MERGE, &json!({ "subsets": subset(two, PORT) }))?.is(200)?;
    mirrored(scene, two, PORT)?;
    client.finds(scene, Way::Http, "custom", 80, &["two".to_owned()])?;
    // A port where nobody answers is followed as well.
    http.patch(&path, MERGE, &json!({ "subsets": subset(two, PORT + 1) }))?.is(200)?;
    mirrored(scene, two, PORT + 1)?;
    client.finds_nobody(scene, Way::Http, "custom", 80)?;

    http.delete(&path, &Value::Null)?.is(200)?;
    scene.api.until(&slices(scene), "has none of the slices", POD_LIMIT, |it| it["items"] == json!([]))?;
    Ok(())
}

fn slices(scene: &Scene<'_>) -> String {
    scene.path("endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dcustom")
}

/// Waits until there is one slice, which has just this address and port.
fn mirrored(scene: &Scene<'_>, ip: &str, port: u16) -> Result<Value> {
    scene.api.until(&slices(scene), "has the address in one slice", POD_LIMIT, |it| {
        let of = |it: &Value| {
            let endpoints = it["endpoints"].as_array().map_or(0, Vec::len);
            let same = it["endpoints"][0]["addresses"] == json!([ip]) && it["ports"][0]["port"] == port;
            endpoints == 1
                && same
                && it["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
                    == "endpointslicemirroring-controller.k8s.io"
        };
        matches!(it["items"].as_array().map(Vec::as_slice), Some([slice]) if of(slice))
    })
}
