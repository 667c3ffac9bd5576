//! Clusters with three control planes, each on a node of its own with a member of etcd: any one of them may be lost, with its processes, with its cable or with a
//! part of it, under writes, and nothing that was acknowledged is lost. Stopped, after a reboot and from a snapshot the cluster comes back.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Form, Options, condition};
use orlop_e2e::image::{self, TOOLS};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::nodes::Nodes;
use orlop_e2e::scene::{Scene, is_ready, name, places, run};
use orlop_e2e::wait;
use serde_json::Value;

const PLANES: usize = 3;
/// How long anything may take to come right, with other tests on both cores.
const LIMIT: Duration = Duration::from_secs(120);
/// How long nobody may be able to write: an election takes up to 3 s, and kubectl starts anew after what it was refused. Beside it stands what was measured.
const PAUSE_MOST: Duration = Duration::from_secs(20);
/// How long writes go on before and after a loss. A pause that outlasts them is told as long as what is left of them.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(8);
const REPLICAS: usize = 4;
/// What a control plane is made of, and what is lost with it.
const PARTS: [&str; 4] = ["etcd", "apiserver", "scheduler", "controllers"];

#[test]
fn any_control_plane_may_be_lost() -> Result<()> {
    with_planes(|cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        let scene = Scene::new(cluster, &api, "planes")?;
        scene.apply(&manifest())?;
        let test = Planes { local: cluster.local(), scene };
        test.right(REPLICAS)?;
        let only = std::env::var("ORLOP_SCENARIO").unwrap_or_default();
        let scenarios: [Scenario; 4] = [
            ("doors", |it| it.doors()),
            ("kills", |it| it.kills()),
            ("store", |it| it.store()),
            ("cable", |it| it.cable()),
        ];
        for (name, scenario) in scenarios {
            if only.is_empty() || only == name {
                scenario(&test).with_context(|| format!("{name}\n{}", test.seen()))?;
            }
        }
        Ok(())
    })
}

#[test]
fn several_control_planes_come_back() -> Result<()> {
    with_planes(|cluster| {
        let (local, kubectl) = (cluster.local(), cluster.kubectl()?);
        kubectl.run(&["create", "secret", "generic", "kept", "--from-literal=it=secret"])?;
        let file = cluster.folder().join("it.snapshot");
        let began = Instant::now();
        local.run(&["snapshot", local.name(), &file.display().to_string()])?;
        println!("snapshot: {:.1} s", began.elapsed().as_secs_f32());
        kubectl.run(&["create", "configmap", "later", "--from-literal=it=stays"])?;

        // A copy beside the original has other addresses, and is a cluster of its own.
        let copy = Nodes::new(&cluster.folder().join("clusters"), "copy");
        let began = Instant::now();
        let outcome = copy.run(&["restore", "copy", &file.display().to_string()]).and_then(|_| {
            println!("restore beside the original: {:.1} s", began.elapsed().as_secs_f32());
            let record = copy.record()?;
            ensure!(record["subnet"] != local.record()?["subnet"], "{record}");
            everywhere(&copy)?;
            let other = Kubectl::new(&copy.kubeconfig())?;
            ensure!(other.run(&["get", "configmap", "later"]).is_err(), "it was made after the snapshot");
            other.run(&["create", "configmap", "of-the-copy"])?;
            ensure!(kubectl.run(&["get", "configmap", "of-the-copy"]).is_err(), "the original has what is the copy's");
            Ok(())
        });
        let record = copy.record();
        if record.is_ok() {
            copy.run(&["delete", "copy"])?;
        }
        outcome?;
        let left = copy.traces(&record?)?;
        ensure!(left.is_empty(), "{left:#?}");

        let record = local.record()?;
        local.run(&["stop", local.name(), "--time", "1"])?;
        let left = local.traces(&record)?;
        ensure!(left == [format!("files: {}", local.folder().display())], "{left:#?}");
        ensure!(local.run(&["list"])?.contains("Stopped"), "{}", local.run(&["list"])?);
        started(&local, "after a stop")?;
        kubectl.run(&["get", "configmap", "later"])?;
        local.reboot()?;
        started(&local, "after a reboot")?;
        kubectl.run(&["get", "configmap", "later"]).map(drop)
    })
}

/// Makes a cluster with three control planes on as many nodes, and takes it away without a trace.
fn with_planes(test: impl FnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    let images = image::archives()?[1..].to_vec();
    let flags = vec![format!("--control-planes={PLANES}")];
    let options = Options {
        form: Form::Nodes,
        runtime: "native",
        nodes: PLANES,
        images,
        cluster_flags: flags,
        ..Options::default()
    };
    Cluster::with(options, |cluster| {
        println!("create: {PLANES} control planes on {PLANES} nodes in {:.1} s", cluster.ready_in.as_secs_f32());
        test(cluster)
    })
}

fn started(local: &Nodes, when: &str) -> Result<()> {
    let began = Instant::now();
    local.run(&["start", local.name()])?;
    println!("start {when}: {:.1} s", began.elapsed().as_secs_f32());
    let listed = local.run(&["list"])?;
    ensure!(listed.contains("Running"), "{listed}");
    everywhere(local)
}

/// Every API server has the secret, and can read it.
fn everywhere(local: &Nodes) -> Result<()> {
    let kubectl = Kubectl::new(&local.kubeconfig())?;
    for node in 1..=PLANES {
        let server = format!("https://{}:6443", local.address(node)?);
        let kept = kubectl.run(&["--server", &server, "get", "secret", "kept", "-o", "jsonpath={.data.it}"])?;
        ensure!(kept == "c2VjcmV0", "{server} says {kept:?}");
    }
    Ok(())
}

type Scenario = (&'static str, fn(&Planes<'_>) -> Result<()>);

struct Planes<'a> {
    local: Nodes,
    scene: Scene<'a>,
}

impl Planes<'_> {
    /// etcd lets in its API server and nobody else; each node's own parts reach the API by its loopback.
    fn doors(&self) -> Result<()> {
        let names = self.local.names()?;
        let pki = |file: &str| self.local.folder().join("control-plane/pki").join(file).display().to_string();
        let curl = |more: &[&str]| {
            let url = "https://169.254.66.1:2379/health";
            let words = ["curl", "--silent", "--show-error", "--max-time", "5", "--cacert", &pki("etcd/ca.crt"), url];
            self.local.on(&names[1], &[&words, more].concat())
        };
        let said = curl(&["--cert", &pki("etcd/client.crt"), "--key", &pki("etcd/client.key")])?;
        ensure!(said.contains("true"), "{said}");
        let own = [pki(&format!("node-{}.crt", names[1])), pki(&format!("node-{}.key", names[1]))];
        for (whose, words) in [("nobody's", vec![]), ("a node's", vec!["--cert", &own[0], "--key", &own[1]])] {
            ensure!(curl(&words).is_err(), "with {whose} certificate etcd answers");
        }
        let ready = ["curl", "--silent", "--cacert", &pki("ca.crt"), "https://127.0.0.1:7443/readyz"];
        for name in &names {
            ensure!(self.local.on(name, &ready)? == "ok", "{name}");
        }
        let listed = self.local.run(&["list"])?;
        ensure!(listed.contains("Running") && listed.contains(":7443"), "{listed}");
        self.behind_the_service(&[1, 2, 3])
    }

    /// Each control plane in turn is killed as a whole, under writes, and comes back.
    fn kills(&self) -> Result<()> {
        for plane in 1..=PLANES {
            let name = self.local.names()?.swap_remove(plane - 1);
            let before = self.pods()?;
            let leaders = [self.leader("kube-scheduler")?, self.leader("orlop-controllers")?];
            let prefix = format!("kills-{plane}");
            let (pause, count) = self.under_writes(&prefix, || {
                for part in PARTS {
                    self.local.kill(&format!("{part}-{name}"))?;
                }
                Ok(())
            })?;
            println!("kill of {name}: {count} writes, all kept; the longest pause was {:.1} s", pause.as_secs_f32());
            ensure!(pause < PAUSE_MOST, "nobody could write for {pause:?}");

            let began = Instant::now();
            for (component, former) in ["kube-scheduler", "orlop-controllers"].into_iter().zip(leaders) {
                if !former.starts_with(&format!("{name}_")) {
                    continue;
                }
                wait::until("another leads", LIMIT, || {
                    let leader = self.leader(component)?;
                    ensure!(!leader.starts_with(&format!("{name}_")), "it is {leader}");
                    Ok(())
                })?;
                println!("kill of {name}: {component} was led by another after {:.1} s", began.elapsed().as_secs_f32());
            }
            let began = Instant::now();
            self.scale(REPLICAS + 1)?;
            self.ready(REPLICAS + 1)?;
            println!("kill of {name}: a new pod ran after {:.1} s", began.elapsed().as_secs_f32());
            self.untouched(&before)?;
            let others: Vec<usize> = (1..=PLANES).filter(|it| *it != plane).collect();
            self.behind_the_service(&others)?;
            println!("kill of {name}: it was out of the Service after {:.1} s", began.elapsed().as_secs_f32());

            started_again(&self.local)?;
            self.scale(REPLICAS)?;
            self.right(REPLICAS)?;
            self.behind_the_service(&[1, 2, 3])?;
            self.kept(&prefix, plane)?;
        }
        Ok(())
    }

    /// Only the store beside an API server dies: that one takes connections, and has nothing to say. Nobody comes to it.
    fn store(&self) -> Result<()> {
        let name = self.local.names()?.swap_remove(0);
        let before = self.pods()?;
        let (pause, count) = self.under_writes("store", || self.local.kill(&format!("etcd-{name}")))?;
        println!(
            "store of {name} killed: {count} writes, all kept; the longest pause was {:.1} s",
            pause.as_secs_f32()
        );
        ensure!(pause < PAUSE_MOST, "nobody could write for {pause:?}");
        let listed = self.local.run(&["list"])?;
        ensure!(listed.contains(&format!("Degraded (etcd-{name})")), "{listed}");
        // Longer than a node may be silent: its agent has found another.
        self.ready(REPLICAS)?;
        self.untouched(&before)?;
        self.behind_the_service(&[2, 3])?;
        self.ready(REPLICAS)?;
        started_again(&self.local)?;
        self.right(REPLICAS)?;
        self.behind_the_service(&[1, 2, 3])
    }

    /// A node with a control plane is cut off: the others go on, its pods run elsewhere, and it comes back.
    fn cable(&self) -> Result<()> {
        let name = self.local.names()?.swap_remove(1);
        let outcome = (|| {
            let cut = || self.local.cable(&name, false);
            let (pause, count) = self.under_writes("cable", cut)?;
            println!("{name} cut off: {count} writes, all kept; the longest pause was {:.1} s", pause.as_secs_f32());
            ensure!(pause < PAUSE_MOST, "nobody could write for {pause:?}");
            let began = Instant::now();
            wait::until("its pods run elsewhere", LIMIT, || {
                let pods = self.pods()?;
                let ready = pods.iter().filter(|it| is_ready(it) && it["spec"]["nodeName"] != name.as_str()).count();
                ensure!(pods.len() == REPLICAS && ready == REPLICAS, "{ready} are ready: {}", places(&pods));
                Ok(())
            })?;
            println!("{name} cut off: its pods ran elsewhere {:.1} s later", began.elapsed().as_secs_f32());
            for node in self.scene.api.items("/api/v1/nodes")? {
                let lost = node["metadata"]["name"] == name.as_str();
                ensure!((condition(&node, "Ready") == Some("True")) != lost, "{}", node["status"]["conditions"]);
            }
            self.behind_the_service(&[1, 3])
        })();
        self.local.cable(&name, true)?;
        outcome?;
        let began = Instant::now();
        self.right(REPLICAS)?;
        self.behind_the_service(&[1, 2, 3])?;
        println!("{name}: after its return all was right within {:.1} s", began.elapsed().as_secs_f32());
        self.kept("cable", 2)
    }

    /// Writes by two kubectls while something happens, and sees that all that was acknowledged is there. Gives the longest time in which nothing was
    /// acknowledged, and how much was.
    fn under_writes(&self, prefix: &str, happens: impl FnOnce() -> Result<()>) -> Result<(Duration, usize)> {
        let (over, acknowledged) = (AtomicBool::new(false), Mutex::new(Vec::<(Instant, String)>::new()));
        let write = |writer: usize| {
            for at in 0.. {
                if over.load(Relaxed) {
                    return;
                }
                let name = format!("{prefix}-{writer}-{at}");
                let words = ["create", "configmap", &name, "--from-literal=it=stays", "--request-timeout=10s"];
                if self.scene.run(&words).is_ok()
                    && let Ok(mut all) = acknowledged.lock()
                {
                    all.push((Instant::now(), name));
                }
            }
        };
        let began = Instant::now();
        let (outcome, ended) = std::thread::scope(|scope| {
            for writer in 0..2 {
                scope.spawn(move || write(writer));
            }
            std::thread::sleep(BEFORE);
            let outcome = happens();
            std::thread::sleep(AFTER);
            over.store(true, Relaxed);
            (outcome, Instant::now())
        });
        outcome?;
        let mut all = acknowledged.into_inner().map_err(|_| anyhow::anyhow!("a writer panicked"))?;
        all.sort();
        // That before the first and that after the last count, too; a write that was under way at the end may come after it.
        let times: Vec<Instant> = [began].into_iter().chain(all.iter().map(|it| it.0)).chain([ended]).collect();
        let pauses = times.windows(2).map(|it| it[1].saturating_duration_since(it[0]));
        let pause = pauses.max().context("nothing was written")?;
        let there = self.config_maps(&self.scene.path("configmaps"))?;
        let lost: Vec<&String> = all.iter().map(|it| &it.1).filter(|it| !there.contains(*it)).collect();
        ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        Ok((pause, all.len()))
    }

    /// What was written while a control plane was away is there for who asks it when it is back.
    fn kept(&self, prefix: &str, plane: usize) -> Result<()> {
        let server = format!("https://{}:6443", self.local.address(plane)?);
        let path = self.scene.path("configmaps");
        let listed = self.scene.run(&["--server", &server, "get", "--raw", &path])?;
        let listed: Value = serde_json::from_str(&listed)?;
        let its: BTreeSet<String> = listed["items"].as_array().into_iter().flatten().map(name).collect();
        ensure!(its == self.config_maps(&path)? && its.iter().any(|it| it.starts_with(prefix)), "{server} has {its:?}");
        Ok(())
    }

    fn config_maps(&self, path: &str) -> Result<BTreeSet<String>> {
        wait::until("objects are listed", LIMIT, || Ok(self.scene.api.items(path)?.iter().map(name).collect()))
    }

    /// Waits until just these control planes stand behind the Service `kubernetes`.
    fn behind_the_service(&self, planes: &[usize]) -> Result<()> {
        let wanted = planes.iter().map(|it| self.local.address(*it)).collect::<Result<BTreeSet<_>>>()?;
        wait::until("the Service leads to those that live", LIMIT, || {
            let slice = self.scene.api.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")?;
            let endpoints = slice["endpoints"].as_array().into_iter().flatten();
            let found: BTreeSet<String> =
                endpoints.flat_map(|it| it["addresses"][0].as_str()).map(str::to_owned).collect();
            ensure!(found == wanted, "it leads to {found:?} and not to {wanted:?}");
            let old = self.scene.api.get("/api/v1/namespaces/default/endpoints/kubernetes")?;
            let addresses = old["subsets"][0]["addresses"].as_array().map(Vec::len);
            ensure!(addresses == Some(wanted.len()), "{old}");
            Ok(())
        })
    }

    fn leader(&self, component: &str) -> Result<String> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{component}");
        wait::until("somebody leads", LIMIT, || {
            let lease = self.scene.api.get(&path)?;
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
            ensure!(!holder.is_empty(), "{lease}");
            Ok(holder)
        })
    }

    /// Waits until nodes and pods are as they were asked for, and nodes have no others.
    fn right(&self, replicas: usize) -> Result<()> {
        wait::until("nodes and pods are right", LIMIT, || {
            for node in self.scene.api.items("/api/v1/nodes")? {
                ensure!(condition(&node, "Ready") == Some("True"), "{}", node["status"]["conditions"]);
                ensure!(node["spec"]["taints"].as_array().is_none_or(Vec::is_empty), "{}", node["spec"]["taints"]);
            }
            let pods = self.pods()?;
            let ready = pods.iter().filter(|it| is_ready(it)).count();
            ensure!(pods.len() == replicas && ready == replicas, "{ready} of {replicas}: {}", places(&pods));
            let strays = self.local.strays(&self.scene.api.items("/api/v1/pods")?)?;
            ensure!(strays.is_empty(), "nobody's, and there: {strays:?}");
            Ok(())
        })
    }

    /// Waits until so many pods are ready, and all nodes.
    fn ready(&self, replicas: usize) -> Result<()> {
        wait::until("pods are ready", LIMIT, || {
            let pods = self.pods()?;
            let ready = pods.iter().filter(|it| is_ready(it)).count();
            ensure!(pods.len() == replicas && ready == replicas, "{ready} of {replicas}: {}", places(&pods));
            let nodes = self.scene.api.items("/api/v1/nodes")?;
            let ready = nodes.iter().filter(|it| condition(it, "Ready") == Some("True")).count();
            ensure!(ready == nodes.len(), "{ready} nodes are ready");
            Ok(())
        })
    }

    /// Pods that ran run on: the same, with the same containers.
    fn untouched(&self, before: &[Value]) -> Result<()> {
        let now = self.pods()?;
        for pod in before {
            ensure!(
                now.iter().any(|it| run(it) == run(pod)),
                "{} was touched: {}",
                pod["metadata"]["name"],
                places(&now)
            );
        }
        Ok(())
    }

    fn scale(&self, replicas: usize) -> Result<()> {
        let words = ["scale", "deployment/web", &format!("--replicas={replicas}")];
        wait::until("the Deployment is scaled", LIMIT, || self.scene.run(&words).map(drop))
    }

    fn pods(&self) -> Result<Vec<Value>> {
        self.scene.api.items(&self.scene.path("pods"))
    }

    /// What a user would look at, for errors.
    fn seen(&self) -> String {
        let ask = |words: &[&str]| self.scene.run(words).unwrap_or_else(|error| format!("{error:#}"));
        let (nodes, pods) = (ask(&["get", "nodes"]), ask(&["get", "pods", "-o", "wide"]));
        format!("{nodes}\n{pods}\n{}", ask(&["get", "leases", "-A"]))
    }
}

fn started_again(local: &Nodes) -> Result<()> {
    let began = Instant::now();
    local.run(&["start", local.name()])?;
    println!("start of what was lost: {:.1} s", began.elapsed().as_secs_f32());
    Ok(())
}

fn manifest() -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web }}
spec:
  replicas: {REPLICAS}
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: {TOOLS}
          command: [sh, -c, 'mkdir /www; exec httpd -f -p 8080 -h /www']
          readinessProbe: {{ tcpSocket: {{ port: 8080 }}, periodSeconds: 1 }}
"
    )
}
