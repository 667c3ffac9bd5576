//! Clients that are led to pods near by: on their own node, in their zone, or in the zone that was given a share (`spec.trafficDistribution` of
//! KEP-3015 and KEP-4444, `service.kubernetes.io/topology-mode` of KEP-2433).

use anyhow::Result;
use orlop_e2e::scene::Scene;

use crate::crew::{self, Asker, PORT, Way};

/// The zones of the three nodes.
const ZONES: [&str; 3] = ["east", "east", "west"];

pub fn play(scene: &Scene<'_>) -> Result<()> {
    for (node, zone) in scene.cluster.node_names().iter().zip(ZONES) {
        scene.run(&["label", "node", node, &format!("topology.kubernetes.io/zone={zone}")])?;
    }
    let pods = crew::on_each_node(scene, "near")?;
    let spec =
        |wish: &str| format!("{{ {wish} selector: {{ app: near }}, ports: [{{ port: 80, targetPort: {PORT} }}] }}");
    let wishes = ["PreferSameNode", "PreferSameZone", "PreferClose"];
    let services = wishes.map(|it| crew::service(&it.to_lowercase(), &spec(&format!("trafficDistribution: {it},"))));
    scene.apply(&services.concat())?;
    let shared = crew::service("shared", &spec(""))
        .replace("{ name: shared }", "{ name: shared, annotations: { service.kubernetes.io/topology-mode: Auto } }");
    scene.apply(&shared)?;
    for it in &pods {
        scene.ready(it)?;
    }
    let [one, two, three] = &pods;
    let finds = |from: &str, service: &str, pods: &[&String]| {
        let pods: Vec<_> = pods.iter().map(|it| (*it).clone()).collect();
        Asker::Pod(from).finds(scene, Way::Http, service, 80, &pods)
    };
    for it in &pods {
        finds(it, "prefersamenode", &[it])?;
    }
    for service in ["prefersamezone", "preferclose", "shared"] {
        finds(one, service, &[one, two])?;
        finds(three, service, &[three])?;
    }
    // Where there is nobody near, those of the zone answer, or else all.
    for (gone, node, service) in [(two, 1, "prefersamenode"), (three, 2, "preferclose")] {
        scene.run(&["delete", "pod", gone, "--wait=false"])?;
        let service = scene.api.get(&scene.path(&format!("services/{service}")))?;
        let from = Asker::Node(&scene.cluster.node_names()[node]);
        from.finds(scene, Way::Http, crew::cluster_ip(&service)?, 80, std::slice::from_ref(one))?;
    }
    Ok(())
}
