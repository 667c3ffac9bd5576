//! The Summary API and the resource metrics of a node, through the API server.

use anyhow::{Context, Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene};
use orlop_e2e::wait;
use serde_json::Value;

/// What the pod writes to its volume and to its container's root, in bytes.
const WRITTEN: u64 = 3 << 20;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: writer }}\nspec:\n  terminationGracePeriodSeconds: 1\n  tolerations: [{{ operator: Exists }}]\n  \
         volumes: [{{ name: scratch, emptyDir: {{}} }}]\n  containers:\n    - name: main\n      image: {TOOLS}\n      \
         command: [sh, -c, 'head -c {WRITTEN} /dev/zero > /scratch/a; head -c {WRITTEN} /dev/zero > /written; echo done; while :; do sleep 0.2; done']\n      \
         volumeMounts: [{{ name: scratch, mountPath: /scratch }}]\n"
    ))?;
    scene.ready("writer")?;
    let node = scene.pod("writer")?["spec"]["nodeName"].as_str().context("it has a node")?.to_owned();
    let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
    // The disk is measured once a minute, so that the first look may have come too early.
    let (whole, pod) = wait::until("the pod's files are counted", 2 * POD_LIMIT, || {
        let whole = scene.api.get(&path)?;
        let pods = whole["pods"].as_array().context("there are pods")?;
        let of = |it: &&Value| it["podRef"]["namespace"] == scene.namespace.as_str();
        let pod = pods.iter().find(of).cloned().context("the pod is told of")?;
        let least = |it: &Value| it.as_u64().is_some_and(|it| it >= WRITTEN);
        ensure!(least(&pod["volume"][0]["usedBytes"]), "the volume: {pod:#}");
        ensure!(least(&pod["containers"][0]["rootfs"]["usedBytes"]), "the root: {pod:#}");
        ensure!(pod["ephemeral-storage"]["usedBytes"].as_u64() >= Some(2 * WRITTEN), "both: {pod:#}");
        ensure!(pod["containers"][0]["cpu"]["usageNanoCores"].is_u64(), "a rate: {pod:#}");
        Ok((whole, pod))
    })?;
    let more_than_nothing = |it: &Value, what: &str| {
        ensure!(it.as_u64().is_some_and(|it| it > 0), "{what}: {it} in {whole:#}");
        Ok(())
    };
    let own = &whole["node"];
    ensure!(own["nodeName"] == node.as_str(), "{own:#}");
    for (of, fields) in [
        ("cpu", &["usageNanoCores", "usageCoreNanoSeconds"][..]),
        ("memory", &["availableBytes", "usageBytes", "workingSetBytes", "rssBytes"]),
        ("fs", &["availableBytes", "capacityBytes", "usedBytes", "inodes", "inodesFree", "inodesUsed"]),
        ("rlimit", &["maxpid", "curproc"]),
    ] {
        for field in fields {
            more_than_nothing(&own[of][*field], field)?;
        }
    }
    more_than_nothing(&own["runtime"]["imageFs"]["usedBytes"], "images")?;
    more_than_nothing(&pod["cpu"]["usageCoreNanoSeconds"], "the pod's time")?;
    more_than_nothing(&pod["containers"][0]["memory"]["workingSetBytes"], "the container's memory")?;
    more_than_nothing(&pod["containers"][0]["logs"]["usedBytes"], "the log")?;
    more_than_nothing(&pod["process_stats"]["process_count"], "processes")?;
    ensure!(pod["network"]["name"] == "eth0" && pod["volume"][0]["name"] == "scratch", "{pod:#}");
    ensure!(pod["podRef"]["uid"] == scene.pod("writer")?["metadata"]["uid"], "{pod:#}");
    ensure!(pod["containers"][0]["memory"]["availableBytes"].is_null(), "it has no limit: {pod:#}");

    let brief = scene.api.get(&format!("{path}?only_cpu_and_memory=true"))?;
    ensure!(brief["node"]["fs"].is_null() && brief["node"]["cpu"].is_object(), "{brief:#}");

    let text = scene.kubectl.run(&["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/metrics/resource")])?;
    let labels = format!("container=\"main\",namespace=\"{}\",pod=\"writer\"", scene.namespace);
    for line in [
        "\nnode_cpu_usage_seconds_total ".to_owned(),
        "\nnode_memory_working_set_bytes ".to_owned(),
        format!("\ncontainer_cpu_usage_seconds_total{{{labels}}} "),
        format!("\ncontainer_memory_working_set_bytes{{{labels}}} "),
        format!("\ncontainer_start_time_seconds{{{labels}}} "),
        format!("\npod_memory_working_set_bytes{{namespace=\"{}\",pod=\"writer\"}} ", scene.namespace),
        "\nresource_scrape_error 0\n".to_owned(),
    ] {
        ensure!(text.contains(&line), "{line:?} is missing: {text}");
    }
    Ok(())
}
