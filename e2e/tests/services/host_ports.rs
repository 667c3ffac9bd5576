//! Ports of a node that are several pods', by address and protocol ("HostPort validates that there is no conflict between pods with same hostPort but
//! different hostIP and protocol").

use anyhow::{Result, ensure};
use orlop_e2e::scene::Scene;

use crate::crew::{Asker, Member, PORT, Way};

/// The port of the node.
const HOST_PORT: u16 = 54_323;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let node = &scene.cluster.node_names()[1];
    let ip = scene.cluster.local().address(2)?;
    // Where it is to run is the scheduler's to say, and to refuse.
    let spec = format!("  nodeSelector: {{ kubernetes.io/hostname: {node} }}");
    let pods = [("loopback", "127.0.0.1", "TCP"), ("address", &*ip, "TCP"), ("udp", &*ip, "UDP")];
    let manifests = pods.map(|(name, host, protocol)| {
        let ports =
            format!("[{{ containerPort: {PORT}, hostPort: {HOST_PORT}, hostIP: {host}, protocol: {protocol} }}]");
        Member { name, spec: &spec, ports: &ports, ..Member::default() }.manifest()
    });
    scene.apply(&manifests.concat())?;
    for (name, ..) in pods {
        let pod = scene.ready(name)?;
        ensure!(pod["spec"]["nodeName"] == node.as_str(), "{name} is on {}", pod["spec"]["nodeName"]);
    }
    let elsewhere = &scene.cluster.node_names()[0];
    let finds =
        |from: Asker<'_>, way, host: &str, pod: &str| from.finds(scene, way, host, HOST_PORT, &[pod.to_owned()]);
    finds(Asker::Node(node), Way::Http, "127.0.0.1", "loopback")?;
    for from in [Asker::Node(node), Asker::Node(elsewhere), Asker::Host] {
        finds(from, Way::Http, &ip, "address")?;
        finds(from, Way::Udp, &ip, "udp")?;
    }
    // What is the loopback's by TCP is nobody's by UDP.
    Asker::Node(node).finds_nobody(scene, Way::Udp, "127.0.0.1", HOST_PORT)
}
