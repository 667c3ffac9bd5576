//! A machine that is switched off: its pods end in their order and in time, nobody puts others there, and with the next start all is as before.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use orlop_e2e::cluster::{Cluster, Options, condition};
use orlop_e2e::image::{self, TOOLS};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::scene::{POD_LIMIT, expect_words};
use orlop_e2e::{tool, wait};
use serde_json::Value;

/// All pods together, and of that the critical ones.
const TOTAL: Duration = Duration::from_secs(12);
const CRITICAL: Duration = Duration::from_secs(5);
/// What the command may take beside: the last statuses.
const SLACK: Duration = Duration::from_secs(4);

/// Whoever is asked to end notes when, takes a second, and notes that.
const POLITE: &str = "trap 'touch /marks/NAME-asked; sleep 1; touch /marks/NAME-ended; exit 0' TERM; touch /marks/NAME-runs; while :; do sleep 0.1; done";
/// Whoever does not listen.
const STUBBORN: &str = "trap 'touch /marks/NAME-asked' TERM; touch /marks/NAME-runs; while :; do sleep 0.1; done";

#[test]
fn pods_end_in_their_order_and_run_again() -> Result<()> {
    let images = image::archives()?.to_vec();
    let folder = tempfile::tempdir()?;
    let marks = folder.path().join("marks");
    std::fs::create_dir(&marks)?;
    let manifests = folder.path().join("manifests");
    std::fs::create_dir(&manifests)?;
    let static_pod = pod("fixed", "priorityClassName: system-node-critical", POLITE, &marks);
    std::fs::write(manifests.join("fixed.yaml"), static_pod)?;
    let path: &'static str = Box::leak(manifests.display().to_string().into_boxed_str());
    let flags: &'static [&'static str] = Box::leak(Box::new([
        "--shutdown-grace-period",
        "12s",
        "--shutdown-grace-period-critical-pods",
        "5s",
        "--pod-manifest-path",
        path,
    ]));
    let options = Options { runtime: "native", images, agent_flags: flags, ..Options::default() };
    Cluster::with(options, |cluster| {
        by_command(cluster, &marks)?;
        by_signal(cluster, &marks)?;
        std::fs::remove_file(manifests.join("fixed.yaml"))?;
        let fixed = format!("fixed-{}", cluster.node_name("1"));
        wait::until("the static pod is gone", POD_LIMIT, || {
            let pods = cluster.kubectl()?.items(&["pods"])?;
            ensure!(pods.iter().all(|it| it["metadata"]["name"] != fixed.as_str()), "it is there");
            Ok(())
        })
    })
}

fn by_command(cluster: &mut Cluster, marks: &Path) -> Result<()> {
    let (kubectl, node) = (cluster.kubectl()?, cluster.node_name("1"));
    let fixed = format!("fixed-{node}");
    let web = spec("web", "terminationGracePeriodSeconds: 30", POLITE, marks);
    let indented = web.replace('\n', "\n      ");
    kubectl.apply(&format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: web }}\nspec:\n  selector: {{ matchLabels: {{ app: web }} }}\n  template:\n    \
         metadata: {{ labels: {{ app: web }} }}\n    spec:\n      {indented}\n"
    ))?;
    kubectl.apply(&pod("stubborn", "terminationGracePeriodSeconds: 600", STUBBORN, marks))?;
    kubectl.apply(&pod("needed", "priorityClassName: system-cluster-critical", POLITE, marks))?;
    kubectl.rolled_out("default", "web")?;
    for it in ["stubborn", "needed", &fixed] {
        kubectl.until(&["pod", it], POD_LIMIT, |it| condition(it, "Ready") == Some("True"))?;
    }
    for it in ["web", "stubborn", "needed", "fixed"] {
        mark(marks, &format!("{it}-runs"))?;
    }
    let before = web_pod(&kubectl)?;

    let began = Instant::now();
    let agent_dir = cluster.agent_dir("1");
    let said = std::thread::scope(|scope| {
        let command = scope.spawn(|| {
            let mut command = Command::new(tool::ours("orlop")?);
            tool::run(command.args(["node", "shutdown", "--data-dir"]).arg(&agent_dir))
        });
        going_down(&kubectl, &node)?;
        // Who names the node by itself is refused.
        kubectl.apply(&pod("late", &format!("nodeName: {node}"), POLITE, marks))?;
        let late = kubectl.until(&["pod", "late"], POD_LIMIT, |it| it["status"]["phase"] == "Failed")?;
        ensure!(late["status"]["reason"] == "NodeShutdown", "{late:#}");
        ensure!(late["status"]["message"] == "Pod was rejected as the node is shutting down.", "{late:#}");
        command.join().map_err(|_| anyhow::anyhow!("the command panicked"))?
    })?;
    let took = began.elapsed();
    println!("{said}");
    ensure!(took <= TOTAL + SLACK, "it took {took:?}");
    let four = format!("node/{node} may be switched off: 4 of 4 pods ended in ");
    expect_words(&said, &["pod default/stubborn ended in ", "pod default/needed ended in 1.", &four])?;

    // Each ended for this reason.
    for name in ["stubborn", "needed", &fixed, &before] {
        let pod = kubectl.json(&["pod", name])?;
        let status = &pod["status"];
        ensure!(status["phase"] == "Failed" && status["reason"] == "Terminated", "{pod:#}");
        let message = "Pod was terminated in response to imminent node shutdown.";
        ensure!(status["message"] == message, "{pod:#}");
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let disrupted = conditions.into_iter().find(|it| it["type"] == "DisruptionTarget").cloned().unwrap_or_default();
        ensure!(disrupted["status"] == "True" && disrupted["reason"] == "TerminationByKubelet", "{pod:#}");
    }
    // The regular ones were asked beside each other, and the critical ones when those had ended.
    let at = |name: &str| mark(marks, name);
    let grace = TOTAL - CRITICAL;
    let asked = at("web-asked")?.max(at("stubborn-asked")?);
    let (needed, fixed_asked) = (at("needed-asked")?, at("fixed-asked")?);
    ensure!(
        at("web-asked")?.duration_since(at("stubborn-asked")?).unwrap_or_default() < Duration::from_secs(2),
        "one waited"
    );
    let waited = needed.min(fixed_asked).duration_since(asked).context("a critical pod was asked first")?;
    // What is left of the regular pods' time when the Node says that it goes down: at the most all of it, and not ten minutes.
    ensure!(waited > grace / 2 && waited < grace + Duration::from_secs(1), "the critical pods waited {waited:?}");
    println!("critical pods were asked {waited:?} after the others, and all had ended within {took:?}");
    ensure!(at("needed-ended")? > at("web-ended")?, "the order is another");
    let killed = kubectl.json(&["pod", "stubborn"])?;
    let code = &killed["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
    ensure!(code == 137, "{killed:#}");
    let node_events = kubectl.run(&["get", "events", "-A", "--field-selector", "reason=NodeShutdown"])?;
    expect_words(&node_events, &["Shutdown manager detected shutdown event"])?;
    // The Deployment's next pod waits for a node.
    let pods = kubectl.items(&["pods", "-l", "app=web"])?;
    let running = pods.iter().filter(|it| it["status"]["phase"] == "Running").count();
    ensure!(running == 0, "{running} of them run");
    println!("the Deployment made {} pods meanwhile", pods.len() - 1);

    // With the machine the pods come back, the static one as well.
    std::fs::remove_dir_all(marks)?;
    std::fs::create_dir(marks)?;
    cluster.kill_and_restart("agent-1")?;
    cluster.wait_nodes()?;
    kubectl.rolled_out("default", "web")?;
    ensure!(web_pod(&kubectl)? != before, "it is another pod");
    kubectl.until(&["pod", &fixed], POD_LIMIT, |it| condition(it, "Ready") == Some("True"))?;
    mark(marks, "web-runs").and_then(|_| mark(marks, "fixed-runs")).map(drop)
}

/// A signal does the same, and nobody waits for it.
fn by_signal(cluster: &mut Cluster, marks: &Path) -> Result<()> {
    let (kubectl, node) = (cluster.kubectl()?, cluster.node_name("1"));
    let before = web_pod(&kubectl)?;
    cluster.part("agent-1")?.signal(Signal::SIGPWR);
    going_down(&kubectl, &node)?;
    kubectl.until(&["pod", &before], POD_LIMIT, |it| it["status"]["reason"] == "Terminated")?;
    ensure!(mark(marks, "fixed-asked")? > mark(marks, "web-ended")?, "the order is another");
    // Whoever asks late hears the same.
    let agent_dir = cluster.agent_dir("1");
    let mut command = Command::new(tool::ours("orlop")?);
    let said = tool::run(command.args(["node", "shutdown", "--data-dir"]).arg(&agent_dir))?;
    expect_words(&said, &["may be switched off: 2 of 2 pods ended in "])?;
    cluster.kill_and_restart("agent-1")?;
    cluster.wait_nodes()?;
    kubectl.rolled_out("default", "web")
}

fn going_down(kubectl: &Kubectl, node: &str) -> Result<Value> {
    kubectl.until(&["node", node], POD_LIMIT, |it| {
        let conditions = it["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions.into_iter().find(|it| it["type"] == "Ready").cloned().unwrap_or_default();
        ready["status"] == "False"
            && ready["reason"] == "KubeletNotReady"
            && ready["message"] == "node is shutting down"
    })
}

/// The name of the Deployment's pod that runs.
fn web_pod(kubectl: &Kubectl) -> Result<String> {
    let pods = kubectl.items(&["pods", "-l", "app=web"])?;
    let running = pods.iter().find(|it| it["status"]["phase"] == "Running").context("none runs")?;
    Ok(running["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}

fn pod(name: &str, more: &str, script: &str, marks: &Path) -> String {
    let spec = spec(name, more, script, marks).replace('\n', "\n  ");
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  {spec}\n")
}

fn spec(name: &str, more: &str, script: &str, marks: &Path) -> String {
    let script = script.replace("NAME", name);
    format!(
        "{more}\nvolumes: [{{ name: marks, hostPath: {{ path: {:?} }} }}]\ncontainers:\n- name: main\n  image: {TOOLS}\n  \
         command: [sh, -c, {script:?}]\n  volumeMounts: [{{ name: marks, mountPath: /marks }}]",
        marks.display().to_string()
    )
}

/// When a pod has made its mark.
fn mark(marks: &Path, name: &str) -> Result<SystemTime> {
    let path: PathBuf = marks.join(name);
    wait::until(&format!("there is {name}"), POD_LIMIT, || Ok(std::fs::metadata(&path)?.modified()?))
}
