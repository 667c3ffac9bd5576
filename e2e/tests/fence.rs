//! `--fence-after`: a node that cannot reach the API for so long kills its own pods, so that they may safely run elsewhere; when the API is
//! back, what still belongs there runs again. It does so with its agent dead, too.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Options, condition};
use orlop_e2e::image::{self, TOOLS};
use orlop_e2e::registry::docker;
use orlop_e2e::scene::{POD_LIMIT, Scene, container_id};
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
            container_id(it, "main").is_ok_and(|it| it != before) && condition(it, "Ready") == Some("True")
        })?;
        Ok(())
    })
}

/// How soon after its time a pod is dead whose agent is.
const BY_ITSELF: Duration = Duration::from_secs(2);

#[test]
fn a_pod_whose_agent_is_dead_ends_before_it_runs_elsewhere() -> Result<()> {
    // Only that of small tools: a node whose disk is busy loading others would have its pods late.
    let [_, tools] = image::archives()?;
    let marks = tempfile::tempdir()?;
    let options =
        Options { runtime: "native", images: vec![tools], nodes: 2, agent_flags: FLAGS, ..Options::default() };
    Cluster::with(options, |cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        // It says all the time that it runs.
        let script = "touch /marks/$HOSTNAME-first; while :; do touch /marks/$HOSTNAME; sleep 0.05; done";
        Scene::new(cluster, &api, "alone")?.apply(&format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: writer }}\nspec:\n  selector: {{ matchLabels: {{ app: writer }} }}\n  \
             template:\n    metadata: {{ labels: {{ app: writer }} }}\n    spec:\n      \
             volumes: [{{ name: marks, hostPath: {{ path: {:?} }} }}]\n      containers:\n      - name: main\n        image: {TOOLS}\n        \
             command: [sh, -c, {script:?}]\n        volumeMounts: [{{ name: marks, mountPath: /marks }}]\n",
            marks.path().display().to_string()
        ))?;
        let path = "/api/v1/namespaces/alone/pods";
        let ready_pod = |but: &str| {
            wait::until("a pod is ready", POD_LIMIT, || {
                let pods = api.items(path)?;
                let fits =
                    |it: &&serde_json::Value| condition(it, "Ready") == Some("True") && it["metadata"]["name"] != but;
                let pod = pods.iter().find(fits).context("none is")?;
                let text = |it: &serde_json::Value| it.as_str().unwrap_or_default().to_owned();
                Ok((text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"])))
            })
        };
        let (first, node) = ready_pod("")?;
        let agent = if node == cluster.node_name("1") { "agent-1" } else { "agent-2" };
        // As long as there is contact nothing ends.
        std::thread::sleep(FENCE + BY_ITSELF);
        ensure!(age(marks.path(), &first)? < Duration::from_secs(1), "it ended with its agent alive");

        let killed = SystemTime::now();
        cluster.part(agent)?.kill();
        let (second, elsewhere) = ready_pod(&first)?;
        ensure!(elsewhere != node, "it runs on the node of the dead agent");
        let last = modified(marks.path(), &first)?;
        let began = modified(marks.path(), &format!("{second}-first"))?;
        let lived = last.duration_since(killed).unwrap_or_default();
        let between = began.duration_since(last).context("both ran at once")?;
        println!(
            "a pod outlived its agent by {:.1} s, and ran elsewhere {:.1} s later",
            lived.as_secs_f32(),
            between.as_secs_f32()
        );
        ensure!(lived <= FENCE + BY_ITSELF, "it lived for {lived:?}");
        ensure!(lived > FENCE / 3, "its agent's death killed it, and not the fence");

        // The node returns, and runs nothing of it again.
        cluster.start_part(agent)?;
        cluster.wait_nodes()?;
        std::thread::sleep(BY_ITSELF);
        ensure!(modified(marks.path(), &first)? == last, "it ran again");
        ensure!(age(marks.path(), &second)? < Duration::from_secs(1), "the other runs no more");
        ensure!(api.items(path)?.len() == 1, "there are more than one");
        Ok(())
    })
}

fn modified(marks: &Path, name: &str) -> Result<SystemTime> {
    Ok(std::fs::metadata(marks.join(name))?.modified()?)
}

fn age(marks: &Path, name: &str) -> Result<Duration> {
    Ok(modified(marks, name)?.elapsed().unwrap_or_default())
}
