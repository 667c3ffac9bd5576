//! The agent on Docker: how long from a pod's binding until its container runs, beside what the Engine itself takes for a container of the same
//! image.
//!
//! Both times are those of one watch: when it shows the pod, already bound, and when it shows its container running. The pod has
//! a sandbox with a network of its own, a container, and the report to the API server; the raw container has nothing but itself.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::connection::{Connection, Request};
use super::report::{self, Table};
use super::scale::Scale;
use super::statistics::Samples;
use super::target::{self, Target};
use super::{budget, object, verbs};
use crate::cluster::{Cluster, Form, Options};
use crate::registry::docker;
use crate::tool;

const SOCKET: &str = "/var/run/docker.sock";
const NAMESPACE: &str = "orlop-bench-agent";
/// How long one pod may take.
const RUNNING_LIMIT: Duration = Duration::from_secs(60);

/// Runs the agent against Docker.
///
/// # Errors
/// When Docker does not answer, or a container does not run.
pub fn run(scale: &Scale) -> Result<Table> {
    let folder = tempfile::Builder::new().prefix("orlop-bench-image-").tempdir()?;
    make_image(folder.path())?;
    let runtime = target::runtime()?;
    let mut table = Table::new(
        "Agent on Docker: bind seen → container running",
        &["what", "p50 ms", "p99 ms", "per second", "budget"],
    );
    let mut row =
        |what: String, (mut samples, elapsed): (Samples, Duration), judge: &dyn Fn(Duration, f64) -> String| {
            let rate = samples.len() as f64 / elapsed.as_secs_f64();
            let (p50, p99) = (samples.median(), samples.percentile(99.0));
            table.row([
                what,
                report::milliseconds(p50),
                report::milliseconds(p99),
                report::significant(rate),
                judge(p50, rate),
            ]);
            p50
        };
    let none = |_: Duration, _: f64| String::new();
    let (alone, burst) = (scale.agent_pods, scale.agent_burst);
    let mut raw = Duration::ZERO;
    for (network, called) in [("none", "no network"), ("bridge", "Docker's bridge")] {
        let measured = runtime.block_on(raw_containers(alone, 1, network))?;
        let p50 = row(format!("raw create and start, {called}, one after the other"), measured, &none);
        // The pod has a network, so that Docker's own is the fair comparison: a budget against less would be kept more easily.
        raw = if raw.is_zero() { p50 } else { raw.min(p50) };
        let measured = runtime.block_on(raw_containers(burst, burst, network))?;
        row(format!("raw create and start, {called}, {burst} at once"), measured, &none);
    }
    let cluster = Cluster::start(Options { form: Form::Apart, runtime: "docker", ..Options::default() })?;
    let target = Target::from_kubeconfig(&cluster.kubeconfig(), None, false)?;
    verbs::begin(&target, NAMESPACE)?;
    let node = cluster.node_name("1");
    // The first pod makes the sandbox image known and the network rules exist: it is not counted.
    let pods = |first: usize, count: usize, together: usize| {
        runtime.block_on(pods(&target, &node, first, count, together)).map_err(|error| error.context(cluster.logs()))
    };
    pods(0, 1, 1)?;
    let within = |p50: Duration, _: f64| {
        let ratio = p50.as_secs_f64() / raw.as_secs_f64().max(1e-9);
        format!("{}× raw, {}", report::significant(ratio), budget::at_most(ratio, budget::AGENT_RATIO, "2×"))
    };
    row("pods, one after the other".into(), pods(1, alone, 1)?, &within);
    let fast = |_: Duration, rate: f64| budget::at_least(rate, budget::AGENT_RATE, "50/s");
    row(format!("pods, {burst} at once"), pods(1 + alone, burst, burst)?, &fast);
    table.remark("Raw: over the Engine's socket, the quicker of the two networks counts for the ratio; a pod is two containers, a network and reports to the API server.");
    drop(cluster);
    docker(&["rmi", "--force", object::IMAGE])?;
    Ok(table)
}

/// An image of one static program that sleeps.
fn make_image(folder: &Path) -> Result<()> {
    let busybox = tool::machine("busybox", "busybox-static")?;
    let archive = folder.join("image.tar");
    tool::run(
        Command::new("tar")
            .arg("-chf")
            .arg(&archive)
            .arg("-C")
            .arg(busybox.parent().context("a folder")?)
            .arg("busybox"),
    )?;
    let command = r#"CMD ["/busybox","sleep","1000000"]"#;
    let archive = archive.to_str().context("the folder's name is no text")?;
    docker(&["import", "--change", command, archive, object::IMAGE]).map(drop)
}

/// Creates and starts `count` containers, `together` at once; the time of each, and of all.
async fn raw_containers(count: usize, together: usize, network: &str) -> Result<(Samples, Duration)> {
    let mut connections = Vec::new();
    for _ in 0..together {
        connections.push(Connection::open_unix(Path::new(SOCKET)).await?);
    }
    let started = Instant::now();
    let each = connections.into_iter().map(|mut connection| async move {
        let (mut samples, mut ids) = (Samples::default(), Vec::new());
        for _ in 0..count / together {
            let begun = Instant::now();
            let body = json!({"Image": object::IMAGE, "HostConfig": {"NetworkMode": network}}).to_string();
            let answer = connection.ask(Request::post("/containers/create", body)).await?;
            let id = serde_json::from_slice::<Value>(&answer)?["Id"].as_str().context("no id")?.to_owned();
            connection.ask(Request::post(format!("/containers/{id}/start"), "")).await?;
            samples.push(begun.elapsed());
            ids.push(id);
        }
        let ended = Instant::now();
        for id in ids {
            connection.ask(Request::delete(format!("/containers/{id}?force=1"))).await?;
        }
        anyhow::Ok((samples, ended))
    });
    let (mut all, mut last) = (Samples::default(), started);
    for (samples, ended) in futures::future::try_join_all(each).await? {
        all.extend(samples);
        last = last.max(ended);
    }
    Ok((all, last - started))
}

/// Creates `count` bound pods, `together` at once, and waits until they run; the time of each, and of all. They are deleted in the end.
async fn pods(target: &Target, node: &str, first: usize, count: usize, together: usize) -> Result<(Samples, Duration)> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let mut writer = Connection::open(target).await?;
    let list: Value = serde_json::from_slice(&writer.ask(Request::get(path.clone())).await?)?;
    let revision = list["metadata"]["resourceVersion"].as_str().context("no resourceVersion")?;
    let mut watcher = Connection::open(target).await?;
    let mut watch =
        Watch { stream: watcher.watch(format!("{path}?watch=1&resourceVersion={revision}")).await?, line: Vec::new() };
    let (mut samples, mut elapsed) = (Samples::default(), Duration::ZERO);
    for batch in 0..count / together {
        let started = Instant::now();
        for number in 0..together {
            let name = format!("pod-{}", first + batch * together + number);
            writer.ask(Request::post(path.clone(), object::bound_pod(&name, node))).await?;
        }
        let running = tokio::time::timeout(RUNNING_LIMIT, watch.until_running(together)).await;
        for sample in running.context("the pods do not run in time")?? {
            samples.push(sample);
        }
        elapsed += started.elapsed();
    }
    for number in first..first + count {
        writer.ask(Request::delete(format!("{path}/pod-{number}?gracePeriodSeconds=0"))).await?;
    }
    Ok((samples, elapsed))
}

/// A watch of pods, line by line.
struct Watch {
    stream: Incoming,
    line: Vec<u8>,
}

impl Watch {
    /// Reads until `count` pods run that appear meanwhile; for each, how long after it appeared.
    async fn until_running(&mut self, count: usize) -> Result<Vec<Duration>> {
        let (mut seen, mut running) = (HashMap::new(), Vec::new());
        while running.len() < count {
            let event = self.next().await?;
            let now = Instant::now();
            let pod = &event["object"];
            let name = pod["metadata"]["name"].as_str().context("an event without an object's name")?.to_owned();
            if event["type"] == "ADDED" {
                seen.insert(name, now);
            } else if pod["status"]["containerStatuses"][0]["state"]["running"].is_object() {
                // Once: what the pod reports afterwards is no news.
                running.extend(seen.remove(&name).map(|it| now - it));
            } else if pod["status"]["phase"] == "Failed" {
                bail!("pod {name} failed: {}", pod["status"]);
            }
        }
        Ok(running)
    }

    async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(end) = self.line.iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            let frame = self.stream.frame().await.context("the watch ended")??;
            if let Some(data) = frame.data_ref() {
                self.line.extend_from_slice(data);
            }
        }
    }
}
