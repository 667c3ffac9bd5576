//! The scheduler: 10,000 plain pods on 1,000 and 5,000 hollow nodes, all through the API.
//!
//! API server on its embedded store, scheduler, controllers and one agent that plays all nodes are processes of their own. What is counted are pods that
//! a watch shows to be bound; meanwhile the agent reports each pod as running, as a real cluster's would.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::BodyExt;

use super::connection::{Connection, Request};
use super::generator::{self, Load, Meter};
use super::report::{self, Table};
use super::scale::Scale;
use super::subject::Served;
use super::target::{self, Target};
use super::usage::Process;
use super::{budget, object, verbs};
use crate::wait;

/// Clients that create the pods.
const CREATORS: usize = 16;
/// How long nodes may take to register, and pods to be bound.
const NODES_LIMIT: Duration = Duration::from_secs(180);
const BOUND_LIMIT: Duration = Duration::from_secs(300);
const NAMESPACE: &str = "orlop-bench-pods";
/// What our scheduler is called in `spec.schedulerName`.
const SCHEDULER: &str = "default-scheduler";

/// When the pods come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Creation {
    /// While the scheduler runs.
    Meanwhile,
    /// Before it starts.
    Before,
}

/// Runs the scheduler on every number of nodes.
///
/// # Errors
/// When nodes do not become ready, or pods are not bound in time.
pub fn run(scale: &Scale) -> Result<Table> {
    let title = format!("Scheduling {} pods through the API, hollow nodes", report::rate(scale.scheduled_pods as f64));
    let mut table = Table::new(
        title,
        &[
            "nodes",
            "pods created",
            "pods/s bound",
            "scheduler CPU µs/pod",
            "server CPU µs/pod",
            "controllers CPU µs/pod",
            "nodes' agent CPU µs/pod",
            "generator CPU µs/pod",
            "scheduler MiB",
            "server MiB",
            "budget",
        ],
    );
    for &nodes in &scale.nodes {
        for creation in [Creation::Meanwhile, Creation::Before] {
            let cells = measure(nodes, scale.scheduled_pods, creation);
            table.row(cells.with_context(|| format!("{nodes} nodes, pods created {creation:?}"))?);
        }
    }
    table.remark(format!(
        "Created meanwhile: by {CREATORS} clients at full speed while the scheduler runs, from the first create to the last bind. \
         Created before: from the start of the scheduler's process to the last bind."
    ));
    table.remark("Per pod the server also takes the create, the agent's status and the scheduler's Event; all processes share the machine's cores.");
    Ok(table)
}

fn measure(nodes: usize, pods: usize, creation: Creation) -> Result<Vec<String>> {
    let served = Served::apiserver("embedded")?;
    let target = served.target()?;
    verbs::begin(&target, NAMESPACE)?;
    let controllers = served.component("orlop-controllers", "controllers.kubeconfig", &[])?;
    let folder = served.data_dir().join("hollow").display().to_string();
    let count = nodes.to_string();
    let arguments = [
        "--runtime",
        "hollow",
        "--hollow-nodes",
        &count,
        "--node-name",
        "hollow",
        "--port",
        "0",
        "--data-dir",
        &folder,
    ];
    let agent = served.component("orlop-agent", "kubeconfig", &arguments)?;
    let outcome = wait::until("the hollow nodes become ready", NODES_LIMIT, || ready_nodes(&target, nodes));
    outcome.map_err(|error| error.context(format!("{}\n{}", agent.tail(), controllers.tail())))?;

    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let body = |number: usize| Request::post(path.clone(), object::small_pod(&format!("pod-{number:05}"), SCHEDULER));
    let load = Load { clients: CREATORS, limit: BOUND_LIMIT, requests: pods };
    let create = || -> Result<()> {
        let created = generator::drive(&target, load, &[], &body)?;
        if created.latencies.len() == pods { Ok(()) } else { bail!("creates failed: {:?}", created.failures) }
    };
    if creation == Creation::Before {
        create()?;
    }
    let mut scheduler = None;
    if creation == Creation::Meanwhile {
        scheduler = Some(served.component("orlop-scheduler", "scheduler.kubeconfig", &[])?);
        first_bind(&target)?;
    }
    let others = [("server", served.child.id()), ("controllers", controllers.id()), ("agent", agent.id())];
    let mut processes: Vec<Process> = others.map(|(name, id)| Process { name: name.into(), id }).into();
    let begun = Barrier::new(2);
    let (elapsed, own, servers) = std::thread::scope(|scope| {
        let (watched, started) = (&target, &begun);
        let watching = scope.spawn(move || bound(watched, pods, started));
        begun.wait();
        let started = Instant::now();
        match creation {
            Creation::Before => scheduler = Some(served.component("orlop-scheduler", "scheduler.kubeconfig", &[])?),
            Creation::Meanwhile => {}
        }
        let scheduler = scheduler.as_ref().context("the scheduler was started")?;
        processes.push(Process { name: "scheduler".into(), id: scheduler.id() });
        let before = Meter::read(&processes);
        if creation == Creation::Meanwhile {
            create()?;
        }
        let last = watching.join().map_err(|_| anyhow!("the watching thread panicked"))?;
        let last = last.map_err(|error| error.context(scheduler.tail()))?;
        let (own, servers) = Meter::read(&processes).since(&before);
        anyhow::Ok((last - started, own, servers))
    })?;
    let memory = |id: u32| super::usage::memory(id).map(|it| report::mebibytes(it.resident_bytes));
    let rate = pods as f64 / elapsed.as_secs_f64();
    let per_pod = |time: Duration| report::microseconds(time / pods as u32);
    let [server, controllers_time, agent_time, scheduler_time] =
        <[Duration; 4]>::try_from(servers).map_err(|_| anyhow!("four processes are measured"))?;
    let judged = nodes == 1_000 && creation == Creation::Meanwhile;
    Ok(vec![
        report::rate(nodes as f64),
        format!("{creation:?}").to_lowercase(),
        report::rate(rate),
        per_pod(scheduler_time),
        per_pod(server),
        per_pod(controllers_time),
        per_pod(agent_time),
        per_pod(own),
        memory(scheduler.context("the scheduler was started")?.id())?,
        memory(served.child.id())?,
        if judged { budget::SCHEDULER.judge(rate) } else { String::new() },
    ])
}

/// Whether all nodes are there, ready and free of taints.
fn ready_nodes(target: &Target, wanted: usize) -> Result<()> {
    let body = target::runtime()?.block_on(async {
        let mut connection = Connection::open(target).await?;
        connection.ask(Request::get("/api/v1/nodes?resourceVersion=0")).await
    })?;
    let list: serde_json::Value = serde_json::from_slice(&body)?;
    let empty = Vec::new();
    let nodes = list["items"].as_array().unwrap_or(&empty);
    let ready = nodes.iter().filter(|node| {
        let free = node["spec"]["taints"].as_array().is_none_or(Vec::is_empty);
        free && crate::cluster::condition(node, "Ready") == Some("True")
    });
    let ready = ready.count();
    if ready >= wanted { Ok(()) } else { bail!("{ready} of {wanted} are, {} are there", nodes.len()) }
}

/// Waits until a scheduler that was just started has bound a pod, so that its start is not part of its rate.
fn first_bind(target: &Target) -> Result<()> {
    let runtime = target::runtime()?;
    let path = "/api/v1/namespaces/default/pods";
    let body = object::small_pod("orlop-bench-first", SCHEDULER);
    runtime.block_on(async { Connection::open(target).await?.ask(Request::post(path, body)).await })?;
    wait::until("the scheduler binds its first pod", Duration::from_secs(60), || {
        let one = Request::get(format!("{path}/orlop-bench-first"));
        let pod = runtime.block_on(async { Connection::open(target).await?.ask(one).await })?;
        let pod: serde_json::Value = serde_json::from_slice(&pod)?;
        if pod["spec"]["nodeName"].is_string() { Ok(()) } else { bail!("it has no node: {}", pod["status"]) }
    })
}

/// Watches pods that have a node until there are `pods`; gives when the last came.
fn bound(target: &Target, pods: usize, begun: &Barrier) -> Result<Instant> {
    let prepared = target::runtime().and_then(|runtime| {
        // Only what is bound from now on: a pod that gets its node enters the watch's selection, as ADDED.
        let path =
            format!("/api/v1/namespaces/{NAMESPACE}/pods?watch=1&resourceVersion=0&fieldSelector=spec.nodeName!%3D");
        let opened = runtime.block_on(async {
            let mut connection = Connection::open(target).await?;
            let stream = connection.watch(path).await?;
            anyhow::Ok((connection, stream))
        })?;
        Ok((runtime, opened))
    });
    begun.wait();
    let (runtime, (_connection, mut stream)) = prepared?;
    let (mut added, mut line) = (0, Vec::new());
    let watching = async {
        while added < pods {
            let frame =
                stream.frame().await.with_context(|| format!("the watch ended after {added} of {pods} pods"))??;
            let Some(mut rest) = frame.data_ref().map(|it| it.as_ref()) else { continue };
            while let Some(end) = rest.iter().position(|it| *it == b'\n') {
                line.extend_from_slice(&rest[..end]);
                added += usize::from(line.starts_with(br#"{"type":"ADDED""#));
                line.clear();
                rest = &rest[end + 1..];
            }
            line.extend_from_slice(rest);
        }
        anyhow::Ok(Instant::now())
    };
    let ended = runtime.block_on(async { tokio::time::timeout(BOUND_LIMIT, watching).await });
    ended.map_err(|_| anyhow!("only {added} of {pods} pods were bound within {BOUND_LIMIT:?}"))?
}
