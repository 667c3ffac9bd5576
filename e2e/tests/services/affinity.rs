//! Clients that stay with one pod, and that cease to ("Services should have session affinity work for service with type clusterIP", "... for NodePort
//! service", "Services should be able to switch session affinity for service with type clusterIP", "... for NodePort service").

use anyhow::{Result, ensure};
use orlop_e2e::scene::Scene;
use serde_json::json;

use crate::crew::{self, Asker, Member, PORT, Way, service};
use crate::plain::{Http, MERGE};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let names = crew::on_each_node(scene, "sticky")?;
    let spec = |kind: &str| {
        format!(
            "{{ type: {kind}, sessionAffinity: ClientIP, selector: {{ app: sticky }}, ports: [{{ port: 80, targetPort: {PORT} }}] }}"
        )
    };
    let services = service("inside", &spec("ClusterIP")) + &service("outside", &spec("NodePort"));
    scene.apply(&(Member { name: "client", ..Member::default() }.manifest() + &services))?;
    for name in &names {
        scene.ready(name)?;
    }
    scene.ready("client")?;
    let client = Asker::Pod("client");
    for name in ["inside", "outside"] {
        let path = scene.path(&format!("services/{name}"));
        let made = scene.api.get(&path)?;
        ensure!(made["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"] == 10_800, "{made}");
        let ip = crew::cluster_ip(&made)?;
        // Where it can be asked: by its name, by its address, and at the ports of the nodes.
        let mut places = vec![(name.to_owned(), 80), (ip.to_owned(), 80)];
        if name == "outside" {
            let port = crew::node_port(&made, 0)?;
            places.extend(crew::node_addresses(scene)?.into_iter().map(|it| (it, port)));
        }
        let steady = || -> Result<()> {
            let mut pods = Vec::new();
            for (host, port) in &places {
                pods.push(client.stays(scene, host, *port)?);
            }
            ensure!(pods[0] == pods[1], "the name leads to {} and its address to {}", pods[0], pods[1]);
            Ok(())
        };
        let switch = |affinity: &str| -> Result<()> {
            let patch = json!({ "spec": { "sessionAffinity": affinity } });
            let it = Http::of(scene).patch(&path, MERGE, &patch)?.is(200)?;
            ensure!(it["spec"]["sessionAffinity"] == affinity, "{it}");
            ensure!(it["spec"]["sessionAffinityConfig"].is_null() == (affinity == "None"), "{it}");
            Ok(())
        };
        steady()?;
        switch("None")?;
        for (host, port) in &places {
            client.finds(scene, Way::Http, host, *port, &names)?;
        }
        switch("ClientIP")?;
        steady()?;
    }
    Ok(())
}
