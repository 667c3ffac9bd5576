//! Everything is killed once, under a steady load: the cluster mends itself, and what was not killed runs on.
//!
//! A web tier of three nginx that stores through Redis, every part a process of its own, real etcd. The load asks whom the EndpointSlices
//! name, as clients do, and each request goes through to Redis.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Options, condition};
use orlop_e2e::endpoints::Endpoints;
use orlop_e2e::etcd::Etcd;
use orlop_e2e::image::{self, REDIS, TOOLS, WEB};
use orlop_e2e::load::{Count, Load};
use orlop_e2e::registry::docker;
use orlop_e2e::scene::{Scene, container, container_id};
use orlop_e2e::{tool, wait};
use serde_json::Value;

/// How long the cluster may take to be as it should be again.
const MENDED: Duration = Duration::from_secs(60);
/// Longer than a node may be silent (8 s) before it counts as lost: an outage of the control plane must not look like one of the nodes.
const OUTAGE: Duration = Duration::from_secs(12);
/// How long one container of three may cost requests when it is killed: its end is noticed, and clients are told.
const NOTICED: Duration = Duration::from_secs(5);

/// What a pod runs: its container's id and how often it was restarted.
type Running = BTreeMap<String, (String, i64)>;

#[test]
fn whatever_is_killed_the_cluster_mends_itself() -> Result<()> {
    image::ready()?;
    let mut etcd = Etcd::start()?;
    let options = Options { runtime: "docker", store: etcd.store(), ..Options::default() };
    Cluster::with(options, |cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        let port = tool::free_port()?;
        Scene::new(cluster, &api, "faults")?.apply(&manifest(port))?;
        let mut test = Faults { cluster, api: &api, load: None, turn: 0 };
        test.mended()?;
        let endpoints = Endpoints::watch(&api, "faults", "web")?;
        wait::until("all are to be asked", MENDED, || {
            ensure!(endpoints.ready().len() == 3, "only {:?}", endpoints.ready());
            Ok(())
        })?;
        test.load = Some(Load::start("/", Duration::from_millis(5), move || endpoints.ready()));

        test.container("a container's process", |pod| {
            let id = container_id(pod, "nginx")?;
            let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &id])?.trim().parse()?;
            Ok(kill(Pid::from_raw(pid), Signal::SIGKILL)?)
        })?;
        test.container("a container", |pod| docker(&["rm", "--force", &container_id(pod, "nginx")?]).map(drop))?;
        test.sandbox()?;
        for part in ["agent-1", "scheduler", "controllers", "apiserver"] {
            test.part(part, &format!("{part} (restarted at once)"), Duration::ZERO)?;
        }
        test.part("apiserver", "the API server, for longer than nodes may be silent", OUTAGE)?;
        test.part("agent-1", "the agent, for a while in which its pods run on", Duration::from_secs(3))?;
        test.etcd(&mut etcd, "etcd (restarted at once)", Duration::ZERO)?;
        test.etcd(&mut etcd, "etcd, for longer than nodes may be silent", OUTAGE)?;
        let count = test.load.take().context("the load runs")?.stop();
        println!("{} requests answered, {} lost", count.answered, count.lost);
        Ok(())
    })
}

struct Faults<'a> {
    cluster: &'a mut Cluster,
    api: &'a Api,
    load: Option<Load>,
    turn: u32,
}

impl Faults<'_> {
    fn scene(&self) -> Result<Scene<'_>> {
        let (kubectl, namespace) = (self.cluster.kubectl()?, "faults".to_owned());
        Ok(Scene { cluster: self.cluster, api: self.api, kubectl, namespace })
    }

    /// Kills something of one web pod, which then runs again as the same pod; requests are lost only where that pod was asked.
    fn container(&mut self, what: &str, harm: impl Fn(&Value) -> Result<()>) -> Result<()> {
        let (before, count) = (self.running()?, self.count());
        let victim = before.keys().find(|it| it.starts_with("web-")).context("there is a web pod")?.clone();
        let pod = self.scene()?.pod(&victim)?;
        harm(&pod).with_context(|| what.to_owned())?;
        let began = Instant::now();
        self.scene()?.until(&victim, "runs again", |it| {
            let now = container(it, "nginx");
            now["containerID"] != container(&pod, "nginx")["containerID"] && condition(it, "Ready") == Some("True")
        })?;
        self.mended()?;
        let took = began.elapsed();
        let after = self.running()?;
        for (name, was) in &before {
            let is = after.get(name).with_context(|| format!("{what}: {name} is gone"))?;
            if *name == victim {
                ensure!(is.1 == was.1 + 1, "{what}: {name} was restarted {} times, then {}", was.1, is.1);
            } else {
                ensure!(is == was, "{what}: {name} was touched: {was:?}, then {is:?}");
            }
        }
        let ip = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        self.only_lost_at(what, &count, &ip)?;
        println!("{what}: mended after {:.1} s", took.as_secs_f32());
        self.still_works(what)
    }

    /// Removes a pod's sandbox: the pod gets another, and with it its containers.
    fn sandbox(&mut self) -> Result<()> {
        let what = "a pod's sandbox";
        let before = self.running()?;
        let victim = before.keys().find(|it| it.starts_with("web-")).context("there is a web pod")?.clone();
        let pod = self.scene()?.pod(&victim)?;
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        let (of_pod, of_kind) = (format!("label=dev.orlop.pod-uid={uid}"), "label=dev.orlop.kind=sandbox");
        let id = docker(&["ps", "--quiet", "--filter", &of_pod, "--filter", of_kind])?;
        docker(&["rm", "--force", id.trim()])?;
        self.scene()?.until(&victim, "runs again in another sandbox", |it| {
            let now = container(it, "nginx");
            now["containerID"] != container(&pod, "nginx")["containerID"] && condition(it, "Ready") == Some("True")
        })?;
        self.mended()?;
        let ip = self.scene()?.pod(&victim)?["status"]["podIP"].clone();
        ensure!(ip == pod["status"]["podIP"], "{what}: the address was {}, and is {ip}", pod["status"]["podIP"]);
        println!("{what}: mended");
        self.still_works(what)
    }

    /// Kills a part of the control plane or the agent: nothing that runs is touched, no request is lost.
    fn part(&mut self, part: &str, what: &str, away: Duration) -> Result<()> {
        let (before, count) = (self.running()?, self.count());
        self.cluster.part(part)?.kill();
        self.away(away, &before)?;
        self.cluster.start_part(part)?;
        if part == "apiserver" {
            self.cluster.wait_ready()?;
        }
        self.untouched(what, &before, &count)
    }

    fn etcd(&mut self, etcd: &mut Etcd, what: &str, away: Duration) -> Result<()> {
        let (before, count) = (self.running()?, self.count());
        etcd.kill();
        self.away(away, &before)?;
        etcd.restart()?;
        self.cluster.wait_ready()?;
        self.untouched(what, &before, &count)
    }

    /// Lets time pass in which something is away, and sees that Docker runs what it ran.
    fn away(&self, time: Duration, before: &Running) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            let now = docker(&["ps", "--no-trunc", "--quiet"])?;
            for (name, (id, _)) in before {
                ensure!(now.contains(id.as_str()), "{name} was stopped {:?} into the outage", began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    fn untouched(&mut self, what: &str, before: &Running, count: &Count) -> Result<()> {
        let began = Instant::now();
        // What works again acts again: a pod that would be moved or restarted by mistake would be now.
        self.still_works(what)?;
        self.mended()?;
        let after = self.running()?;
        ensure!(after == *before, "{what}: pods were touched: {before:?}, then {after:?}");
        let now = self.count();
        let lost = now.lost - count.lost;
        ensure!(lost == 0, "{what}: {lost} requests were lost: {:#?}", now.losses);
        ensure!(now.answered > count.answered, "{what}: the load stood still");
        println!("{what}: works after {:.1} s, no pod touched, no request lost", began.elapsed().as_secs_f32());
        Ok(())
    }

    /// A Deployment that is new to the cluster runs, is scaled, and goes.
    fn still_works(&mut self, what: &str) -> Result<()> {
        self.turn += 1;
        let name = format!("probe-{}", self.turn);
        let scene = self.scene()?;
        let work = || {
            wait::until("the API takes a Deployment", MENDED, || scene.apply(&probe(&name)).map(drop))?;
            let replicas = |count: i64| {
                scene.api.until(&scene.path(&format!("deployments/{name}")), "has its replicas", MENDED, |it| {
                    it["status"]["readyReplicas"] == count
                        && it["status"]["observedGeneration"] == it["metadata"]["generation"]
                })
            };
            replicas(1)?;
            wait::until("the API scales it", MENDED, || {
                scene.run(&["scale", &format!("deployment/{name}"), "--replicas=2"]).map(drop)
            })?;
            replicas(2)?;
            scene.run(&["delete", "deployment", &name])?;
            wait::until("its pods go", MENDED, || {
                let left = scene.api.items(&scene.path(&format!("pods?labelSelector=app={name}")))?;
                ensure!(left.is_empty(), "there are {} left", left.len());
                Ok(())
            })
        };
        work().with_context(|| {
            let seen = |it: &[&str]| scene.run(it).unwrap_or_else(|why| format!("{why:#}"));
            let (pods, events) = (seen(&["get", "pods", "-o", "wide"]), seen(&["get", "events"]));
            format!("after the death of {what}:\n{pods}\n{events}")
        })
    }

    /// Waits until everything is as it was asked for.
    fn mended(&self) -> Result<()> {
        let scene = self.scene()?;
        for (name, replicas) in [("web", 3), ("redis", 1)] {
            scene.api.until(&scene.path(&format!("deployments/{name}")), "has all replicas", MENDED, |it| {
                it["status"]["readyReplicas"] == replicas && it["status"]["replicas"] == replicas
            })?;
        }
        wait::until("the node is ready", MENDED, || {
            let node = self.api.get(&format!("/api/v1/nodes/{}", self.cluster.node_name("1")))?;
            let ready = condition(&node, "Ready") == Some("True")
                && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty);
            if ready { Ok(()) } else { bail!("{} {}", node["spec"], node["status"]["conditions"]) }
        })
    }

    /// The pods that serve, and what each runs: once according to the API, and so in Docker.
    fn running(&self) -> Result<Running> {
        let pods = self.api.items("/api/v1/namespaces/faults/pods")?;
        let mut running = Running::new();
        for pod in &pods {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let Some(status) = ["nginx", "redis"].iter().map(|it| container(pod, it)).find(|it| !it.is_null()) else {
                continue;
            };
            let id = status["containerID"].as_str().unwrap_or_default().trim_start_matches("docker://").to_owned();
            running.insert(name.to_owned(), (id, status["restartCount"].as_i64().unwrap_or_default()));
        }
        ensure!(running.len() == 4, "there should be four pods: {running:?}");
        Ok(running)
    }

    fn count(&self) -> Count {
        self.load.as_ref().map(Load::count).unwrap_or_default()
    }

    /// Requests were lost only where `ip` was asked, and only for a while.
    fn only_lost_at(&self, what: &str, before: &Count, ip: &str) -> Result<()> {
        let now = self.count();
        let new = &now.losses[before.losses.len().min(now.losses.len())..];
        let elsewhere: Vec<_> = new.iter().filter(|it| !it.contains(ip)).collect();
        ensure!(elsewhere.is_empty(), "{what}: requests to others than {ip} were lost: {elsewhere:#?}");
        let most = NOTICED.as_millis() as u64 / 5 / 3;
        let lost = now.lost - before.lost;
        ensure!(lost <= most, "{what}: {lost} requests were lost, more than {NOTICED:?} of a third of the load");
        Ok(())
    }
}

fn probe(name: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {name} }}
spec:
  selector: {{ matchLabels: {{ app: {name} }} }}
  template:
    metadata: {{ labels: {{ app: {name} }} }}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{ name: main, image: {TOOLS}, command: [sleep, "600"] }}]
"#
    )
}

fn manifest(port: u16) -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{ name: web }}
spec:
  selector: {{ app: web }}
  ports: [{{ port: 80, targetPort: http }}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: redis }}
spec:
  strategy: {{ type: Recreate }}
  selector: {{ matchLabels: {{ app: redis }} }}
  template:
    metadata: {{ labels: {{ app: redis }} }}
    spec:
      containers:
        - name: redis
          image: {REDIS}
          ports: [{{ containerPort: 6379, hostPort: {port} }}]
          readinessProbe: {{ exec: {{ command: [redis-cli, ping] }}, periodSeconds: 2 }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web }}
spec:
  replicas: 3
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      containers:
        - name: nginx
          image: {WEB}
          ports: [{{ name: http, containerPort: 8080 }}]
          env:
            - {{ name: REDIS_HOST, valueFrom: {{ fieldRef: {{ fieldPath: status.hostIP }} }} }}
            - {{ name: STORE_PORT, value: "{port}" }}
          readinessProbe: {{ httpGet: {{ path: /healthz, port: http }}, periodSeconds: 1 }}
          livenessProbe: {{ httpGet: {{ path: /alive, port: http }}, periodSeconds: 5 }}
"#
    )
}
