//! What nodes and pods use: as the agents tell it, through `metrics.k8s.io`, and with the real `kubectl top`.

#[path = "metrics/summary.rs"]
mod summary;
#[path = "metrics/top.rs"]
mod top;

use anyhow::Result;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::image;
use orlop_e2e::scene::{Scenario, play};

const SCENARIOS: &[Scenario] = &[("summary", summary::play), ("top", top::play)];

/// Both at once: they wait more than they work.
const BESIDE: usize = 2;

#[test]
fn use_is_told_on_native() -> Result<()> {
    let options = Options { runtime: "native", images: image::archives()?.to_vec(), ..Options::default() };
    Cluster::with(options, |cluster| play(cluster, SCENARIOS, BESIDE))
}

#[test]
fn use_is_told_on_docker() -> Result<()> {
    image::ready()?;
    Cluster::with(Options { runtime: "docker", ..Options::default() }, |cluster| play(cluster, SCENARIOS, BESIDE))
}

#[test]
fn hollow_nodes_tell_nothing() -> Result<()> {
    Cluster::with(Options { hollow_nodes: 2, ..Options::default() }, |cluster| {
        let kubectl = cluster.kubectl()?;
        let nodes = kubectl.run(&["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"])?;
        let nodes: serde_json::Value = serde_json::from_str(&nodes)?;
        anyhow::ensure!(nodes["items"].as_array().is_some_and(Vec::is_empty), "{nodes}");
        orlop_e2e::scene::expect_words(&kubectl.fails(&["top", "nodes"], "")?, &["metrics not available yet"])
    })
}
