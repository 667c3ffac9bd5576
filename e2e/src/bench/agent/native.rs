//! The agent on the runtime `native`, beside runc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{NAMESPACE, all_pods, pods_stay, row, table, unjudged};
use crate::bench::report::{self, Table};
use crate::bench::scale::Scale;
use crate::bench::statistics::Samples;
use crate::bench::target::{self, Target};
use crate::bench::usage::{self, Memory};
use crate::bench::{budget, object};
use crate::cluster::{Cluster, Form, Options};
use crate::tool;

/// Pods that a node is meant for, as the kubelet's default has it.
const MANY_PODS: usize = 110;

/// Runs the agent on `native`.
///
/// # Errors
/// When a container does not run.
pub fn run(scale: &Scale) -> Result<Vec<Table>> {
    let folder = tempfile::Builder::new().prefix("orlop-bench-native-").tempdir()?;
    let images = folder.path().join("images");
    fs::create_dir(&images)?;
    let root = make_root(folder.path())?;
    make_archive(folder.path(), &root, &images.join("bench.tar"))?;
    let mut starts = table("Agent on native: bind seen → container running");
    let bundle = make_bundle(folder.path(), &root)?;
    let raw = raw_containers(&bundle, scale.agent_pods)?;
    let raw = row(&mut starts, "raw `runc run --detach`, one after the other".into(), raw, unjudged);
    let options = Options { form: Form::Apart, runtime: "native", images: vec![images], ..Options::default() };
    let cluster = Cluster::start(options)?;
    all_pods(&cluster, scale, raw, &mut starts)?;
    starts.remark("Raw: a bundle of the same program with the namespaces and limits of `runc spec`, in a network namespace without a link; the image is in the node's store.");
    let memory = many_pods(&cluster, scale)?;
    Ok(vec![starts, memory])
}

/// What a full node's agent and shims take.
fn many_pods(cluster: &Cluster, scale: &Scale) -> Result<Table> {
    let mut table = Table::new(
        format!("A node of native with {MANY_PODS} pods"),
        &["what", "resident MiB", "of it heap and stacks MiB", "budget"],
    );
    let target = Target::from_kubeconfig(&cluster.kubeconfig(), None, false)?;
    target::runtime()?.block_on(pods_stay(&target, &cluster.node_name("1"), MANY_PODS))?;
    let sizes = |it: Memory| [it.resident_bytes, it.anonymous_bytes].map(report::mebibytes);
    let agent = usage::memory(cluster.process("agent-1")?)?;
    table.row(["the agent, right after the last pod ran".to_owned()].into_iter().chain(sizes(agent)));
    std::thread::sleep(scale.idle);
    let agent = usage::most_memory(cluster.process("agent-1")?, scale.idle)?;
    let judged = budget::at_most(agent.resident_bytes, budget::AGENT_BYTES, "30 MiB");
    let what = format!("the agent, {0} s later, the most within {0} s", scale.idle.as_secs());
    table.row([what].into_iter().chain(sizes(agent)).chain([judged]));
    let shims = shims(&cluster.agent_dir("1"))?;
    ensure!(shims.len() >= MANY_PODS, "{} shims of {MANY_PODS} pods in {NAMESPACE}", shims.len());
    let largest = shims.iter().copied().max_by_key(|it| it.resident_bytes).unwrap_or_default();
    let judged = budget::at_most(largest.resident_bytes, budget::SHIM_BYTES, "3 MiB");
    table.row(["the largest shim".to_owned()].into_iter().chain(sizes(largest)).chain([judged]));
    Ok(table)
}

/// The memory of every shim of a node: their working directories are the pods' folders.
fn shims(agent_dir: &Path) -> Result<Vec<Memory>> {
    let pods = agent_dir.canonicalize()?.join("native/pods");
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")?.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|it| it.parse().ok()) else { continue };
        let place = fs::read_link(process.path().join("cwd")).unwrap_or_default();
        // It runs from a copy in memory, so that its name is that of a descriptor; its helpers have another verb.
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if place.parent() == Some(&pods) && command.split(|it| *it == 0).nth(1) == Some(b"sandbox") {
            found.extend(usage::memory(id));
        }
    }
    Ok(found)
}

/// A root of one static program.
fn make_root(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    for it in ["proc", "dev", "sys", "etc", "tmp"] {
        fs::create_dir_all(root.join(it))?;
    }
    fs::copy(tool::machine("busybox", "busybox-static")?, root.join("busybox"))?;
    Ok(root)
}

/// What `docker save` would write of that root.
fn make_archive(folder: &Path, root: &Path, to: &Path) -> Result<()> {
    let made = folder.join("archive");
    fs::create_dir_all(&made)?;
    let layer = made.join("layer.tar");
    tool::run(Command::new("tar").arg("-cf").arg(&layer).arg("-C").arg(root).arg("."))?;
    let digest: String = Sha256::digest(fs::read(&layer)?).iter().map(|it| format!("{it:02x}")).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Cmd": ["/busybox", "sleep", "1000000"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    fs::write(made.join("config.json"), config.to_string())?;
    let manifest = json!([{ "Config": "config.json", "RepoTags": [object::IMAGE], "Layers": ["layer.tar"] }]);
    fs::write(made.join("manifest.json"), manifest.to_string())?;
    tool::run(Command::new("tar").arg("-cf").arg(to).arg("-C").arg(&made).arg("."))?;
    Ok(())
}

/// A bundle of that root, as `runc spec` has it.
fn make_bundle(folder: &Path, root: &Path) -> Result<PathBuf> {
    let bundle = folder.join("bundle");
    fs::create_dir_all(&bundle)?;
    tool::run(Command::new(tool::machine("runc", "runc")?).arg("spec").arg("--bundle").arg(&bundle))?;
    let file = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(["/busybox", "sleep", "1000000"]);
    config["root"]["path"] = root.to_str().context("the folder's name is no text")?.into();
    fs::write(file, config.to_string())?;
    Ok(bundle)
}

/// Creates and starts so many containers, one after the other; the time of each, and of all.
fn raw_containers(bundle: &Path, count: usize) -> Result<(Samples, Duration)> {
    let runc = tool::machine("runc", "runc")?;
    let run = |arguments: &[&str]| {
        // Its container would keep a pipe of ours open.
        let status = Command::new(&runc)
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()?;
        ensure!(status.success(), "runc {arguments:?} failed with {status}");
        anyhow::Ok(())
    };
    let bundle = bundle.to_str().context("the folder's name is no text")?;
    let (mut samples, mut elapsed) = (Samples::default(), Duration::ZERO);
    // The first brings the program into memory.
    for number in 0..=count {
        let id = format!("orlop-bench-{}-{number}", std::process::id());
        let begun = Instant::now();
        run(&["run", "--detach", "--bundle", bundle, &id])?;
        if number > 0 {
            samples.push(begun.elapsed());
            elapsed += begun.elapsed();
        }
        run(&["delete", "--force", &id])?;
    }
    Ok((samples, elapsed))
}
