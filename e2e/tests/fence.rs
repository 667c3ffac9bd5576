//! `--fence-after`: a node that cannot reach the API for so long kills its own pods, so that they may safely run elsewhere; when the API is
//! back, what still belongs there runs again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::image::{self, TOOLS};
use orlop_e2e::registry::docker;
use orlop_e2e::scene::{Scene, container_id};
use orlop_e2e::wait;

/// After its last renewal of the lease; an outage that the fence allows for is shorter.
const FENCE: Duration = Duration::from_secs(6);
const FLAGS: &[&str] = &["--fence-after", "6"];
/// What the end of containers may take beside.
const SLACK: Duration = Duration::from_secs(10);

#[test]
fn a_node_that_is_cut_off_kills_its_pods() -> Result<()> {
    image::ready()?;
    Cluster::with(Options { runtime: "docker", agent_flags: FLAGS, ..Options::default() }, |cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        let scene = Scene::new(cluster, &api, "fence")?;
        scene.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: one }}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
             containers: [{{ name: main, image: {TOOLS}, command: [sleep, \"600\"] }}]\n"
        ))?;
        let before = container_id(&scene.ready("one")?, "main")?;
        let node = cluster.node_name("1");
        let running = || {
            let filter = format!("label=dev.orlop.node={node}");
            docker(&["ps", "--quiet", "--no-trunc", "--filter", &filter])
        };

        // A short outage is none of its business.
        cluster.part("apiserver")?.kill();
        std::thread::sleep(FENCE / 3);
        ensure!(running()?.contains(&before), "killed before its time");
        cluster.start_part("apiserver")?;
        cluster.wait_ready()?;
        cluster.wait_nodes()?;
        std::thread::sleep(FENCE / 3);
        ensure!(running()?.contains(&before), "a short outage killed it");

        cluster.part("apiserver")?.kill();
        let began = Instant::now();
        wait::until("nothing runs on the node", FENCE + SLACK, || {
            let left = running()?;
            ensure!(left.is_empty(), "there are {left}");
            Ok(())
        })?;
        println!("the pods of a node that was cut off were killed after {:.1} s", began.elapsed().as_secs_f32());
        let log = cluster.part("agent-1")?.log();
        ensure!(log.contains("--fence-after"), "the log says why: {log}");

        cluster.start_part("apiserver")?;
        cluster.wait_ready()?;
        let kubectl = cluster.kubectl()?;
        let scene = Scene { cluster, api: &api, kubectl, namespace: "fence".into() };
        scene.until("one", "runs again in another container", |it| {
            container_id(it, "main").is_ok_and(|it| it != before)
                && orlop_e2e::cluster::condition(it, "Ready") == Some("True")
        })?;
        Ok(())
    })
}
