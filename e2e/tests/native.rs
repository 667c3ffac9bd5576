//! Pods without a container engine: an agent of the runtime `native`, images from a real registry, and kubectl's view of it all.

#[path = "native/greedy.rs"]
mod greedy;
#[path = "native/huge_pages.rs"]
mod huge_pages;

use std::time::Duration;

use anyhow::{Result, ensure};
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::image::{self, TOOLS};
use orlop_e2e::registry::Registry;
use orlop_e2e::scene::{POD_LIMIT, container, expect_words};
use orlop_e2e::wait;
use serde_json::Value;

/// What nobody needs to wait for.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn pods_run_without_an_engine() -> Result<()> {
    image::ready()?;
    let mut registry = Registry::start()?;
    let tools = registry.push(TOOLS)?;
    Cluster::with(Options { runtime: "native", ..Options::default() }, |cluster| {
        let kubectl = cluster.kubectl()?;
        // They tolerate everything: how full the disk of the machine is that tests run on is not the matter here.
        let pod = |name: &str, more: &str, script: &str| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  terminationGracePeriodSeconds: 2\n  tolerations: [{{ operator: Exists }}]\n  {more}\n  \
                 containers:\n    - name: main\n      image: {tools}\n      command: [sh, -c, {script:?}]\n"
            )
        };
        kubectl.apply(
            &[
                pod(
                    "stays",
                    "restartPolicy: Always",
                    "hostname; tail -n 1 /etc/hosts; trap 'exit 0' TERM; while :; do sleep 0.2; done",
                ),
                pod("fails", "restartPolicy: Never", "echo so it goes >&2; exit 3"),
                pod("again", "restartPolicy: OnFailure", "[ -e /dev/shm/once ] && exit 0; touch /dev/shm/once; exit 1"),
            ]
            .concat(),
        )?;
        let phase = |name: &str, phase: &'static str| {
            kubectl.until(&["pod", name], POD_LIMIT, |it| it["status"]["phase"] == phase)
        };
        let stays = phase("stays", "Running")?;
        let address = stays["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        ensure!(container_id_of(&stays).starts_with("native://"), "{stays:#}");
        wait::until("the log", LIMIT, || expect_words(&kubectl.run(&["logs", "stays"])?, &["stays", &address]))?;
        let fails = phase("fails", "Failed")?;
        ensure!(container(&fails, "main")["state"]["terminated"]["exitCode"] == 3, "{fails:#}");
        ensure!(kubectl.run(&["logs", "fails"])? == "so it goes\n");
        // The pod's memory outlives its container.
        let again = phase("again", "Succeeded")?;
        ensure!(container(&again, "main")["restartCount"] == 1, "{again:#}");

        // The agent dies; what runs goes on, and what the next one finds is the same container.
        let before = container_id_of(&stays);
        cluster.kill_and_restart("agent-1")?;
        cluster.wait_nodes()?;
        kubectl.apply(&pod("later", "restartPolicy: Never", "true"))?;
        phase("later", "Succeeded")?;
        let after = kubectl.json(&["pod", "stays"])?;
        ensure!(container_id_of(&after) == before && container(&after, "main")["restartCount"] == 0, "{after:#}");

        let uid = after["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        kubectl.run(&["delete", "pod", "stays", "--wait", "--timeout=30s"])?;
        let pods = cluster.folder().join("agent-1/native/pods");
        wait::until("the sandbox's folder is gone", LIMIT, || {
            let left = std::fs::read_dir(&pods)?.flatten().filter(|it| it.file_name().to_string_lossy().contains(&uid));
            ensure!(left.count() == 0, "it is still there");
            Ok(())
        })?;
        Ok(())
    })
}

#[test]
fn a_pod_that_takes_all_is_held() -> Result<()> {
    image::ready()?;
    let images = image::archives()?.to_vec();
    let options = Options { runtime: "native", images, agent_flags: greedy::AGENT_FLAGS, ..Options::default() };
    Cluster::with(options, greedy::play)
}

#[test]
fn huge_pages_are_handed_out() -> Result<()> {
    image::ready()?;
    let _pages = huge_pages::SetAside::begin()?;
    let images = image::archives()?.to_vec();
    Cluster::with(Options { runtime: "native", images, ..Options::default() }, |cluster| huge_pages::play(cluster))
}

fn container_id_of(pod: &Value) -> String {
    container(pod, "main")["containerID"].as_str().unwrap_or_default().to_owned()
}
