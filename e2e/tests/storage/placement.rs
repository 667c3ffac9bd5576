//! Pods go where their volumes can be reached, found or made. The nodes are hollow: nothing is mounted.

use anyhow::{Context, Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene};

use super::texts::{claim, pod, volume};

fn node_of(scene: &Scene<'_>, pod: &str) -> Result<String> {
    let it = scene.until(pod, "has a node", |it| it["spec"]["nodeName"].is_string())?;
    Ok(it["spec"]["nodeName"].as_str().unwrap_or_default().to_owned())
}

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let nodes = scene.api.items("/api/v1/nodes")?;
    let names: Vec<&str> = nodes.iter().filter_map(|it| it["metadata"]["name"].as_str()).collect();
    let [first, second, third] = names.as_slice() else { anyhow::bail!("there are {names:?}") };
    let of_node = |node: &str| {
        format!(
            "  local: {{ path: /d }}\n  nodeAffinity: {{ required: {{ nodeSelectorTerms: [{{ matchExpressions: [{{ key: \
             kubernetes.io/hostname, operator: In, values: [{node}] }}] }}] }} }}"
        )
    };
    let class = |name: &str, rest: &str| {
        format!("---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{ name: {name} }}\n{rest}\n")
    };
    // Bound at once, and the pods follow.
    for (name, node) in [("p-one", first), ("p-two", second)] {
        scene.apply(
            &(volume(name, name, "1Gi", &of_node(node)) + &claim(name, name, "1Gi", "") + &pod(name, name, "")),
        )?;
        ensure!(node_of(scene, name)? == *node, "{name} is not on {node}");
    }
    let elsewhere = format!("  nodeSelector: {{ kubernetes.io/hostname: {third} }}");
    scene.apply(&pod("cornered", "p-one", &elsewhere))?;
    let words = "0/3 nodes are available: 1 node(s) had volume node affinity conflict, 2 node(s) didn't match Pod's node affinity/selector.";
    scene.event("cornered", "FailedScheduling", words)?;

    // Found with the node: two claims of one pod get two volumes of one node, and nobody else gets them.
    scene
        .apply(&class("found", "provisioner: kubernetes.io/no-provisioner\nvolumeBindingMode: WaitForFirstConsumer"))?;
    let volumes = volume("f-1", "found", "1Gi", &of_node(first))
        + &volume("f-2", "found", "1Gi", &of_node(second))
        + &volume("f-3", "found", "5Gi", &of_node(second));
    scene.apply(&volumes)?;
    let both = pod("both", "small", "")
        .replace("volumes: [", "volumes: [{ name: large, persistentVolumeClaim: { claimName: large } }, ");
    scene.apply(&(claim("small", "found", "1Gi", "") + &claim("large", "found", "1Gi", "") + &both))?;
    ensure!(node_of(scene, "both")? == *second, "only {second} has two volumes");
    let others: String = (0..4).map(|it| claim(&format!("o-{it}"), "found", "1Gi", "")).collect();
    let pods: String = (0..4).map(|it| pod(&format!("o-{it}"), &format!("o-{it}"), "")).collect();
    scene.apply(&(others + &pods))?;
    let placed = |scene: &Scene<'_>| -> Result<Vec<String>> {
        let all = (0..4).map(|it| scene.pod(&format!("o-{it}"))).collect::<Result<Vec<_>>>()?;
        Ok(all.iter().filter_map(|it| it["spec"]["nodeName"].as_str().map(str::to_owned)).collect())
    };
    orlop_e2e::wait::until("one of four gets the last volume", POD_LIMIT, || {
        let nodes = placed(scene)?;
        ensure!(nodes == [*first], "they are on {nodes:?}");
        Ok(())
    })?;

    // Made where the class allows it, and where the pod goes.
    scene.run(&["label", "node", third, "disk=fast"])?;
    let topology = "provisioner: orlop.dev/local\nvolumeBindingMode: WaitForFirstConsumer\nallowedTopologies: [{ matchLabelExpressions: [{ key: disk, values: [fast] }] }]";
    scene.apply(&(class("fast", topology) + &claim("fast", "fast", "1Gi", "") + &pod("fast", "fast", "")))?;
    ensure!(node_of(scene, "fast")? == *third, "only {third} is fast");
    scene.apply(&claim("shared", "local", "1Gi", ""))?;
    scene.apply(&(0..5).map(|it| pod(&format!("s-{it}"), "shared", "")).collect::<String>())?;
    let home = node_of(scene, "s-0")?;
    for it in 1..5 {
        let node = node_of(scene, &format!("s-{it}"))?;
        ensure!(node == home, "the volume is on {home}, the pod on {node}");
    }
    // A volume of a node that is gone goes with its claim, as nobody is there to remove its folder.
    let shared = scene.api.get(&scene.path("persistentvolumeclaims/shared"))?;
    let name = shared["spec"]["volumeName"].as_str().context("it has a volume")?;
    scene.run(&["patch", "pv", name, "--type=merge", "-p", &held(scene, name)?])?;
    scene.run(&["delete", "pod", "s-0", "s-1", "s-2", "s-3", "s-4", "--force", "--grace-period=0"])?;
    scene.run(&["annotate", "node", &home, "orlop.dev/volumes-folder-"])?;
    scene.run(&["delete", "pvc", "shared"])?;
    let at = format!("/api/v1/persistentvolumes/{name}");
    scene.api.until(&at, "waits for its node", POD_LIMIT, |it| it["metadata"]["deletionTimestamp"].is_string())?;
    ensure!(scene.api.get(&at)?["metadata"]["finalizers"].is_array(), "its node is there");
    scene.run(&["delete", "node", &home])?;
    scene.api.gone(&at, POD_LIMIT)
}

/// The finalizers of a volume with that of a node that has made its folder.
fn held(scene: &Scene<'_>, name: &str) -> Result<String> {
    let mut all = scene.api.get(&format!("/api/v1/persistentvolumes/{name}"))?["metadata"]["finalizers"].clone();
    all.as_array_mut().context("it has finalizers")?.push("orlop.dev/local-volume".into());
    Ok(serde_json::json!({ "metadata": { "finalizers": all } }).to_string())
}
