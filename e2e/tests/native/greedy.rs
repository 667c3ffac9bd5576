//! Pods that take all they can get: what they take is theirs to lose, and their neighbours and the node notice nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::cluster::Cluster;
use orlop_e2e::image::TOOLS;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::scene::POD_LIMIT;
use orlop_e2e::wait;

/// What a flood of words may take, with a debug build's shim and both cores busy.
const FLOOD_LIMIT: Duration = Duration::from_secs(240);

/// What a node may take to put a pod's folders away that the API has forgotten.
const GONE_LIMIT: Duration = Duration::from_secs(60);

/// How many processes a pod may have.
const MOST_PIDS: &str = "100";

/// A shell that cannot fork ends: what it has made until then stays.
const FORKS: &str = "exec 2> /dev/null; (while :; do sleep 600 & done); exec sleep 600";

/// The flags of the agent for this.
pub const AGENT_FLAGS: &[&str] = &["--pod-max-pids", MOST_PIDS];

/// Eight times what is kept: longer ones take their time and show the same.
const FLOOD_BYTES: u64 = 400_000_000;

/// What is kept of a container's log: five files of 10 MiB, each of which ends with a whole line, and what lies beside them.
const KEPT_BYTES_MAX: u64 = 52 << 20;

/// How much an agent may grow by it.
const GROWS_BYTES_MAX: u64 = 32 << 20;

pub fn play(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.kubectl()?;
    fork_bomb(cluster, &kubectl)?;
    flood(cluster, &kubectl)
}

/// What makes processes without end has as many as a pod may have; a pod beside it starts and is spoken with, and none of them stays.
fn fork_bomb(cluster: &Cluster, kubectl: &Kubectl) -> Result<()> {
    kubectl.apply(&pod("forks", FORKS))?;
    let forks = kubectl.until(&["pod", "forks"], POD_LIMIT, |it| it["status"]["phase"] == "Running")?;
    let uid = forks["metadata"]["uid"].as_str().context("a pod has a uid")?;
    let most = MOST_PIDS.parse::<usize>()?;
    wait::until("it has filled its room", POD_LIMIT, || {
        let count = processes_of_pod(uid)?;
        ensure!((most / 2..=most).contains(&count), "it has {count} processes of {most}");
        Ok(())
    })?;
    kubectl.apply(&pod("beside", "echo here; sleep 600"))?;
    kubectl.until(&["pod", "beside"], POD_LIMIT, |it| it["status"]["phase"] == "Running")?;
    ensure!(kubectl.run(&["exec", "beside", "--", "echo", "answers"])? == "answers\n", "the pod beside it is deaf");
    kubectl.run(&["delete", "pod", "forks", "beside", "--wait", "--timeout=60s"])?;
    wait::until("nothing of it is left", GONE_LIMIT, || {
        let (count, bytes) = (processes_of_pod(uid)?, bytes_of_pod(&cluster.agent_dir("1"), uid)?);
        ensure!(count == 0 && bytes == 0, "{count} processes and {bytes} bytes are");
        Ok(())
    })
}

/// A log that nobody could keep is cut to its newest files while it is written.
fn flood(cluster: &Cluster, kubectl: &Kubectl) -> Result<()> {
    let before = peak_bytes(cluster)?;
    let line = "what is said often and at length need not be worth the while of those who listen to it";
    // The tools' own `yes` writes line by line; that it ends with its reader takes a SIGPIPE that is not ignored.
    let flood = format!(
        "yes {line:?} | head -n 20000 > /tmp/lines; for it in $(seq {}); do cat /tmp/lines; done; echo this was it",
        FLOOD_BYTES / (20_000 * (line.len() as u64 + 1)) + 1
    );
    kubectl.apply(&pod("floods", &flood))?;
    let floods = kubectl.until(&["pod", "floods"], FLOOD_LIMIT, |it| it["status"]["phase"] == "Succeeded")?;
    ensure!(kubectl.run(&["logs", "floods", "--tail=1"])? == "this was it\n", "the end is not there");
    let kept = kubectl.run(&["logs", "floods"])?;
    let first = kept.lines().next().unwrap_or_default();
    ensure!(first == line, "what is kept begins within a line: {first:?}");
    let uid = floods["metadata"]["uid"].as_str().context("a pod has a uid")?;
    let kept = bytes_of_pod(&cluster.agent_dir("1"), uid)?;
    ensure!(kept <= KEPT_BYTES_MAX, "{kept} bytes are kept of {FLOOD_BYTES}");
    let grown = peak_bytes(cluster)?.saturating_sub(before);
    ensure!(grown <= GROWS_BYTES_MAX, "the agent took {grown} bytes for it");
    kubectl.run(&["delete", "pod", "floods", "--wait", "--timeout=60s"])?;
    wait::until("nothing is left of it", GONE_LIMIT, || {
        let left = bytes_of_pod(&cluster.agent_dir("1"), uid)?;
        ensure!(left == 0, "{left} bytes are");
        Ok(())
    })
}

fn pod(name: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  restartPolicy: Never\n  terminationGracePeriodSeconds: 1\n  \
         tolerations: [{{ operator: Exists }}]\n  containers:\n    - {{ name: main, image: {TOOLS:?}, command: [sh, -c, {script:?}] }}\n"
    )
}

/// The most memory that the agent has had.
fn peak_bytes(cluster: &Cluster) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/status", cluster.process("agent-1")?))?;
    let line = text.lines().find_map(|it| it.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// The processes in the cgroups that are named after a pod.
fn processes_of_pod(uid: &str) -> Result<usize> {
    let mut count = 0;
    for process in fs::read_dir("/proc")?.flatten() {
        let cgroups = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        count += usize::from(cgroups.contains(uid) || cgroups.contains(&uid.replace('-', "_")));
    }
    Ok(count)
}

/// What lies in the folders that are named after a pod.
fn bytes_of_pod(folder: &Path, uid: &str) -> Result<u64> {
    let mut all = 0;
    let mut folders = vec![(folder.to_owned(), false)];
    while let Some((folder, within)) = folders.pop() {
        // It may go while it is looked at.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let within = within || entry.file_name().to_string_lossy().contains(uid);
            match entry.metadata() {
                // What is mounted there is the image's.
                Ok(it) if it.is_dir() && entry.file_name() != "rootfs" => folders.push((entry.path(), within)),
                Ok(it) if it.is_file() && within => all += it.len(),
                _ => {}
            }
        }
    }
    Ok(all)
}
