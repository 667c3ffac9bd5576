//! The ways between pods, nodes and this machine ("Granular Checks: Pods should function for intra-pod communication: http", "... udp", "...
//! node-pod communication: http", "... udp"), and a Service of type NodePort by its name, its address and the nodes' ports ("Services should be able
//! to create a functioning NodePort service", "DNS should provide DNS for services").

use anyhow::{Result, ensure};
use orlop_e2e::scene::{Scene, address};

use crate::crew::{self, Asker, PORT, WAYS, service};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let names = crew::on_each_node(scene, "way")?;
    let spec = format!(
        "{{ type: NodePort, selector: {{ app: way }}, ports: [{{ name: http, port: 80, targetPort: {PORT} }}, \
         {{ name: udp, port: 80, protocol: UDP, targetPort: {PORT} }}] }}"
    );
    scene.apply(&service("way", &spec))?;
    let pods = names.iter().map(|it| scene.ready(it)).collect::<Result<Vec<_>>>()?;
    let nodes = scene.cluster.node_names();

    // From each pod and from each node to each pod, which sees a pod by its own address.
    for (at, pod) in pods.iter().enumerate() {
        let (name, ip) = (&names[at], address(pod)?);
        ensure!(pod["spec"]["nodeName"] == nodes[at].as_str(), "{name} is on {}", pod["spec"]["nodeName"]);
        for way in WAYS {
            for (from, client) in names.iter().zip(&pods) {
                let said = Asker::Pod(from).ask(scene, way, ip, PORT, 1)?;
                ensure!(said == [format!("{name} {}", address(client)?)], "{from} asks {name} by {way:?}: {said:?}");
            }
            for node in &nodes {
                let said = Asker::Node(node).ask(scene, way, ip, PORT, 1)?;
                ensure!(said[0].starts_with(&format!("{name} ")), "{node} asks {name} by {way:?}: {said:?}");
            }
        }
    }

    let made = scene.api.get(&scene.path("services/way"))?;
    let ports = [crew::node_port(&made, 0)?, crew::node_port(&made, 1)?];
    let full = format!("way.{}.svc.cluster.local", scene.namespace);
    let kubernetes = scene.api.get("/api/v1/namespaces/default/services/kubernetes")?;
    for (from, node) in names.iter().zip(&nodes) {
        // On every node by the names that a pod of the namespace has for it, and what has another namespace.
        for name in ["way", &format!("way.{}", scene.namespace), &full] {
            crew::resolves(scene, from, name, &[crew::cluster_ip(&made)?])?;
        }
        crew::resolves(scene, from, "kubernetes.default", &[crew::cluster_ip(&kubernetes)?])?;
        for (way, port) in WAYS.into_iter().zip(ports) {
            Asker::Pod(from).finds(scene, way, "way", 80, &names)?;
            Asker::Pod(from).finds(scene, way, crew::cluster_ip(&made)?, 80, &names)?;
            Asker::Node(node).finds(scene, way, crew::cluster_ip(&made)?, 80, &names)?;
            for address in crew::node_addresses(scene)? {
                Asker::Pod(from).finds(scene, way, &address, port, &names)?;
            }
        }
    }
    for (way, port) in WAYS.into_iter().zip(ports) {
        for address in crew::node_addresses(scene)? {
            Asker::Host.finds(scene, way, &address, port, &names)?;
        }
    }
    Ok(())
}
