//! The scheduler: 10,000 plain pods on 1,000 and 5,000 hollow nodes, all through the API.
//!
//! API server on its embedded store, scheduler, controllers and one agent that plays all nodes are processes of their own. What is counted are pods that
//! a watch shows to be bound; meanwhile the agent reports each pod as running, as a real cluster's would. Where the real Kubernetes is at hand, the
//! same agent plays the same nodes for it in the same run, which then is what ours is measured by.

use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::BodyExt;

use super::budget::References;
use super::connection::{Connection, Request};
use super::generator::{self, Load, Meter};
use super::kubernetes::Kubernetes;
use super::report::{self, Table};
use super::scale::Scale;
use super::subject::Served;
use super::target::{self, Target};
use super::usage::Process;
use super::{object, verbs};
use crate::child::Child;
use crate::{tool, wait};

/// Clients that create the pods.
const CREATORS: usize = 16;
/// How long nodes may take to register, and pods to be bound.
const NODES_LIMIT: Duration = Duration::from_secs(180);
const BOUND_LIMIT: Duration = Duration::from_secs(300);
const NAMESPACE: &str = "orlop-bench-pods";
/// With how many nodes the budget is judged.
const JUDGED_NODES: usize = 1_000;
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

/// Whose control plane binds the pods.
enum Plane {
    Ours(Served),
    Kubernetes(Kubernetes),
}

impl Plane {
    fn ours() -> Result<Plane> {
        Served::apiserver("embedded").map(Plane::Ours)
    }

    fn target(&self) -> Result<Target> {
        match self {
            Plane::Ours(it) => it.target(),
            Plane::Kubernetes(it) => it.target(),
        }
    }

    /// The API server, and its store where that is a process of its own.
    fn servers(&self) -> Vec<Process> {
        match self {
            Plane::Ours(it) => vec![Process { name: "server".into(), id: it.child.id() }],
            Plane::Kubernetes(it) => it.processes(),
        }
    }

    fn controllers(&self) -> Result<Child> {
        match self {
            Plane::Ours(it) => it.component("orlop-controllers", "controllers.kubeconfig", &[]),
            Plane::Kubernetes(it) => it.controllers(),
        }
    }

    fn scheduler(&self) -> Result<Child> {
        match self {
            Plane::Ours(it) => it.component("orlop-scheduler", "scheduler.kubeconfig", &[]),
            Plane::Kubernetes(it) => it.scheduler(),
        }
    }

    /// Our agent, which plays the nodes of both.
    fn agent(&self, nodes: usize, folder: &Path) -> Result<Child> {
        let kubeconfig = match self {
            Plane::Ours(it) => it.kubeconfig("kubeconfig"),
            Plane::Kubernetes(it) => it.kubeconfig(),
        };
        let mut command = Command::new(tool::ours("orlop-agent")?);
        command.arg("--kubeconfig").arg(kubeconfig).arg("--hollow-nodes").arg(nodes.to_string());
        command.args(["--runtime", "hollow", "--node-name", "hollow", "--port", "0"]);
        command.arg("--data-dir").arg(folder.join("hollow")).env("HOME", folder);
        Child::start("orlop-agent", folder, &mut command)
    }
}

/// Runs the scheduler on every number of nodes; `kubernetes` is the folder with the programs of the real one, if it is to be measured, too.
///
/// # Errors
/// When nodes do not become ready, or pods are not bound in time.
pub fn run(scale: &Scale, kubernetes: Option<&Path>) -> Result<Table> {
    let title = format!("Scheduling {} pods through the API, hollow nodes", report::rate(scale.scheduled_pods as f64));
    let mut table = Table::new(
        title,
        &[
            "control plane",
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
    let mut reference = References::default().scheduler;
    if let (Some(programs), Some(&nodes)) = (kubernetes, scale.nodes.first()) {
        let plane = Kubernetes::start(programs)?;
        let name = format!("Kubernetes {} on etcd", plane.version);
        let measured = measure(&Plane::Kubernetes(plane), nodes, scale.scheduled_pods, Creation::Meanwhile);
        let measured = measured.with_context(|| format!("{name}, {nodes} nodes"))?;
        reference.value = measured.rate;
        table.row(measured.row(name, String::new()));
    }
    for &nodes in &scale.nodes {
        for creation in [Creation::Meanwhile, Creation::Before] {
            let measured = Plane::ours().and_then(|it| measure(&it, nodes, scale.scheduled_pods, creation));
            let measured = measured.with_context(|| format!("{nodes} nodes, pods created {creation:?}"))?;
            let judged = nodes == JUDGED_NODES && creation == Creation::Meanwhile;
            let judgement = if judged { reference.judge(measured.rate) } else { String::new() };
            table.row(measured.row("Orlop".to_owned(), judgement));
        }
    }
    table.remark(format!(
        "Created meanwhile: by {CREATORS} clients at full speed while the scheduler runs, from the first create to the last bind. \
         Created before: from the start of the scheduler's process to the last bind."
    ));
    if kubernetes.is_some() {
        table.remark(
            "Kubernetes: kube-apiserver with its etcd as the server, kube-controller-manager and kube-scheduler without limits of their requests, and the \
             same agent for its nodes. The budget is a multiple of what it did in this run.",
        );
    }
    table.remark("Per pod the server also takes the create, the agent's status and the scheduler's Event; all processes share the machine's cores.");
    Ok(table)
}

/// What one run has shown; times are the processor's.
struct Measured {
    nodes: usize,
    pods: usize,
    creation: Creation,
    /// Pods bound a second.
    rate: f64,
    scheduler: Duration,
    /// With its store.
    server: Duration,
    controllers: Duration,
    agent: Duration,
    generator: Duration,
    scheduler_bytes: u64,
    server_bytes: u64,
}

impl Measured {
    fn row(&self, plane: String, judgement: String) -> Vec<String> {
        let per_pod = |time: Duration| report::microseconds(time / self.pods as u32);
        vec![
            plane,
            report::rate(self.nodes as f64),
            format!("{:?}", self.creation).to_lowercase(),
            report::rate(self.rate),
            per_pod(self.scheduler),
            per_pod(self.server),
            per_pod(self.controllers),
            per_pod(self.agent),
            per_pod(self.generator),
            report::mebibytes(self.scheduler_bytes),
            report::mebibytes(self.server_bytes),
            judgement,
        ]
    }
}

fn measure(plane: &Plane, nodes: usize, pods: usize, creation: Creation) -> Result<Measured> {
    let target = plane.target()?;
    verbs::begin(&target, NAMESPACE)?;
    let folder = tempfile::Builder::new().prefix("orlop-bench-nodes-").tempdir()?;
    let controllers = plane.controllers()?;
    let agent = plane.agent(nodes, folder.path())?;
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
        scheduler = Some(plane.scheduler()?);
        first_bind(&target)?;
    }
    let servers = plane.servers();
    let mut processes: Vec<Process> = vec![
        Process { name: "controllers".into(), id: controllers.id() },
        Process { name: "agent".into(), id: agent.id() },
    ];
    processes.extend(servers.iter().cloned());
    let begun = Barrier::new(2);
    let (elapsed, generator, used) = std::thread::scope(|scope| {
        let (watched, started) = (&target, &begun);
        let watching = scope.spawn(move || bound(watched, pods, started));
        begun.wait();
        let started = Instant::now();
        if creation == Creation::Before {
            scheduler = Some(plane.scheduler()?);
        }
        let scheduler = scheduler.as_ref().context("the scheduler was started")?;
        processes.insert(0, Process { name: "scheduler".into(), id: scheduler.id() });
        let before = Meter::read(&processes);
        if creation == Creation::Meanwhile {
            create()?;
        }
        let last = watching.join().map_err(|_| anyhow!("the watching thread panicked"))?;
        let last = last.map_err(|error| error.context(scheduler.tail()))?;
        let (own, used) = Meter::read(&processes).since(&before);
        anyhow::Ok((last - started, own, used))
    })?;
    let [scheduler_time, controllers_time, agent_time, server_times @ ..] = used.as_slice() else {
        bail!("at least three processes are measured")
    };
    let memory = |id: u32| super::usage::memory(id).map(|it| it.resident_bytes);
    let server_bytes: Result<Vec<u64>> = servers.iter().map(|it| memory(it.id)).collect();
    Ok(Measured {
        nodes,
        pods,
        creation,
        rate: pods as f64 / elapsed.as_secs_f64(),
        scheduler: *scheduler_time,
        server: server_times.iter().sum(),
        controllers: *controllers_time,
        agent: *agent_time,
        generator,
        scheduler_bytes: memory(scheduler.context("the scheduler was started")?.id())?,
        server_bytes: server_bytes?.iter().sum(),
    })
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
