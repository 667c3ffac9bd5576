//! `kubectl top` as it is, and the objects that it reads.

use anyhow::{Context, Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene, expect_words};
use orlop_e2e::wait;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let container =
        |name: &str, script: &str| format!("    - {{ name: {name}, image: {TOOLS}, command: [sh, -c, {script:?}] }}\n");
    let pod = |name: &str, containers: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ app: {name} }} }}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
             tolerations: [{{ operator: Exists }}]\n  containers:\n{containers}"
        )
    };
    let sleeps = "while :; do sleep 1; done";
    let busy = container("spins", "while :; do :; done") + &container("waits", sleeps);
    scene.apply(&(pod("busy", &busy) + &pod("quiet", &container("waits", sleeps))))?;
    scene.ready("busy")?;
    scene.ready("quiet")?;
    let lines = |arguments: &[&str]| -> Result<Vec<Vec<String>>> {
        let text = scene.run(arguments)?;
        let words = |it: &str| it.split_whitespace().map(str::to_owned).collect();
        Ok(text.lines().map(words).collect())
    };
    // A container has to run for ten seconds before anything is told of it.
    let top = wait::until("both are told of", 2 * POD_LIMIT, || {
        let top = lines(&["top", "pods", "--no-headers", "--sort-by=cpu"])?;
        ensure!(top.len() == 2, "{top:?}");
        Ok(top)
    })?;
    ensure!(top[0][0] == "busy" && top[1][0] == "quiet", "{top:?}");
    let milli = |it: &str| it.trim_end_matches('m').parse::<u64>().context("thousandths of a core");
    ensure!(milli(&top[0][1])? > milli(&top[1][1])?, "{top:?}");
    ensure!(top.iter().all(|it| it[2].ends_with("Mi")), "{top:?}");

    let containers = lines(&["top", "pods", "--containers", "-l", "app=busy", "--no-headers"])?;
    let mut names: Vec<_> = containers.iter().map(|it| (it[0].as_str(), it[1].as_str())).collect();
    names.sort_unstable();
    ensure!(names == [("busy", "spins"), ("busy", "waits")], "{containers:?}");
    let all = scene.kubectl.run(&["top", "pods", "-A"])?;
    expect_words(&all, &["NAMESPACE", &scene.namespace, "busy", "quiet"])?;
    let node = scene.pod("busy")?["spec"]["nodeName"].as_str().context("it has a node")?.to_owned();
    let nodes = lines(&["top", "nodes", "--no-headers"])?;
    ensure!(nodes.len() == 1 && nodes[0][0] == node && nodes[0][2].ends_with('%'), "{nodes:?}");
    ensure!(milli(&nodes[0][1])? > 0, "{nodes:?}");

    // The objects themselves, as metrics-server has them.
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods", scene.namespace);
    let list = scene.api.get(&format!("{path}?labelSelector=app%3Dbusy"))?;
    ensure!(list["kind"] == "PodMetricsList" && list["apiVersion"] == "metrics.k8s.io/v1beta1", "{list:#}");
    let one = &list["items"][0];
    ensure!(list["items"].as_array().is_some_and(|it| it.len() == 1), "{list:#}");
    ensure!(one["metadata"]["labels"]["app"] == "busy" && one["timestamp"].is_string(), "{one:#}");
    ensure!(one["window"].as_str().is_some_and(|it| it.ends_with('s')), "{one:#}");
    let usage = |name: &str| {
        let all = one["containers"].as_array().into_iter().flatten();
        all.into_iter().find(|it| it["name"] == name).map(|it| it["usage"].clone()).unwrap_or_default()
    };
    ensure!(usage("spins")["cpu"].as_str().is_some_and(|it| it.ends_with('n')), "{one:#}");
    ensure!(usage("waits")["memory"].as_str().is_some_and(|it| it.ends_with('i')), "{one:#}");
    let single = scene.api.get(&format!("{path}/quiet"))?;
    ensure!(single["kind"] == "PodMetrics" && single["metadata"]["name"] == "quiet", "{single:#}");
    let refused = scene.kubectl.fails(&["-n", &scene.namespace, "top", "pod", "nobody"], "")?;
    expect_words(&refused, &["NotFound", "nobody"])?;
    let table = scene.run(&["get", "pods.metrics.k8s.io", "quiet"])?;
    expect_words(&table, &["NAME", "CPU", "MEMORY", "WINDOW", "quiet"])?;
    // Who may view pods may view what they use.
    let views = ["auth", "can-i", "list", "pods.metrics.k8s.io", "--as=system:serviceaccount:x:viewer"];
    ensure!(scene.kubectl.fails(&views, "").is_ok(), "nobody has said that it may");
    scene.run(&["create", "rolebinding", "viewers", "--clusterrole=view", "--serviceaccount=x:viewer"])?;
    ensure!(scene.run(&views)?.trim() == "yes");
    Ok(())
}
