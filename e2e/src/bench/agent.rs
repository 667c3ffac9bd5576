//! The agent: how long from a pod's binding until its container runs, beside what the raw runtime takes for a container of the same image
//! ([`native`] beside runc, [`docker`] beside the Engine).
//!
//! Both times are those of one watch: when it shows the pod, already bound, and when it shows its container running. The pod has
//! a sandbox with a network of its own, a container, and the report to the API server; the raw container has nothing but itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::connection::{Connection, Request};
use super::report::{self, Table};
use super::scale::Scale;
use super::statistics::Samples;
use super::target::Target;
use super::{budget, object, target, verbs};
use crate::cluster::Cluster;

pub mod docker;
pub mod native;

const NAMESPACE: &str = "orlop-bench-agent";
/// How long one pod may take.
const RUNNING_LIMIT: Duration = Duration::from_secs(60);

/// A table with a row of durations each.
fn table(title: &str) -> Table {
    Table::new(title, &["what", "p50 ms", "p99 ms", "per second", "budget"])
}

/// Adds what was measured; `judge` has the median and the rate. Gives the median.
fn row(
    table: &mut Table,
    what: String,
    (mut samples, elapsed): (Samples, Duration),
    judge: impl Fn(Duration, f64) -> String,
) -> Duration {
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
}

fn unjudged(_: Duration, _: f64) -> String {
    String::new()
}

/// Measures pods on the one node of a cluster, one after the other and at once.
fn all_pods(cluster: &Cluster, scale: &Scale, raw: Duration, table: &mut Table) -> Result<()> {
    let runtime = target::runtime()?;
    let target = Target::from_kubeconfig(&cluster.kubeconfig(), None, false)?;
    verbs::begin(&target, NAMESPACE)?;
    let node = cluster.node_name("1");
    let (alone, burst) = (scale.agent_pods, scale.agent_burst);
    let pods = |first: usize, count: usize, together: usize| {
        runtime.block_on(pods(&target, &node, first, count, together)).map_err(|error| error.context(cluster.logs()))
    };
    // The first pod makes images known and the network rules exist: it is not counted.
    pods(0, 1, 1)?;
    let within = |p50: Duration, _: f64| {
        let ratio = p50.as_secs_f64() / raw.as_secs_f64().max(1e-9);
        format!("{}× raw, {}", report::significant(ratio), budget::at_most(ratio, budget::AGENT_RATIO, "2×"))
    };
    row(table, "pods, one after the other".into(), pods(1, alone, 1)?, within);
    let fast = |_: Duration, rate: f64| budget::at_least(rate, budget::AGENT_RATE, "50/s");
    row(table, format!("pods, {burst} at once"), pods(1 + alone, burst, burst)?, fast);
    Ok(())
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

/// Creates so many bound pods and waits until they run; they stay.
async fn pods_stay(target: &Target, node: &str, count: usize) -> Result<()> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let mut writer = Connection::open(target).await?;
    for number in 0..count {
        writer.ask(Request::post(path.clone(), object::bound_pod(&format!("stays-{number}"), node))).await?;
    }
    let all_run = async {
        loop {
            let list: Value = serde_json::from_slice(&writer.ask(Request::get(path.clone())).await?)?;
            let pods = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let ran = pods.iter().filter(|it| it["status"]["phase"] == "Running").count();
            if ran >= count {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(RUNNING_LIMIT, all_run).await.context("the pods do not run in time")?
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
