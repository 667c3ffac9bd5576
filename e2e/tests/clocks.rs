//! Wall clocks that are set by hours, forward and back: of all machines at once, and of one alone.
//!
//! No pod is touched for that, leases stay with who has them, tokens in pods are renewed, what failed is tried again, and a node that is lost meanwhile is noticed.
//! The clocks are libfaketime's, which lies under every part of the cluster and leaves monotonic clocks as they are. Pods have the machine's own. Clocks are never set to
//! before the cluster was made: its certificates would not be valid yet.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::jiff::Timestamp;
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Form, Options, condition};
use orlop_e2e::image::{self, TOOLS};
use orlop_e2e::scene::{Scene, container};
use orlop_e2e::{tool, wait};
use serde_json::Value;

/// How long everything may take to come right, with both cores busy.
const LIMIT: Duration = Duration::from_secs(120);
/// A crashing container waits out a back-off of up to 160 s by the end of the test.
const RESTARTED: Duration = Duration::from_secs(240);
/// Longer than a node may be silent (8 s), and than a clock is set unnoticed.
const CALM: Duration = Duration::from_secs(12);
/// How far from what was set a time may be that an object shows, which is some seconds old.
const ABOUT_SECONDS: i64 = 600;
const HOUR: i64 = 3600;

#[test]
fn clocks_that_are_set_touch_nothing() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-clocks-").tempdir()?;
    let all = Clock::new(&folder.path().join("all"))?;
    let images = image::archives()?[1..].to_vec();
    let environment = all.environment()?;
    let options = Options { form: Form::Nodes, runtime: "native", nodes: 2, images, environment, ..Options::default() };
    Cluster::with(options, |cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        let scene = Scene::new(cluster, &api, "clocks")?;
        let test = Clocks { scene, folder: folder.path() };
        test.play(&all).with_context(|| test.seen())
    })
}

struct Clocks<'a> {
    scene: Scene<'a>,
    folder: &'a Path,
}

impl Clocks<'_> {
    fn play(&self, all: &Clock) -> Result<()> {
        self.scene.apply(&manifest())?;
        self.right()?;
        let (pods, leases) = (self.runs()?, self.leases()?);
        for hours in [5, 2] {
            let restarts = self.restarts()?;
            all.set(hours)?;
            std::thread::sleep(CALM);
            self.shows(hours)?;
            self.right()?;
            ensure!(self.runs()? == pods, "at {hours} h pods were touched: {pods:?}, then {:?}", self.runs()?);
            ensure!(self.leases()? == leases, "at {hours} h leases moved: {leases:?}, then {:?}", self.leases()?);
            self.tokens_are_good().with_context(|| format!("at {hours} h"))?;
            self.works(&format!("at-{hours}"), 1)?;
            wait::until("a container that crashes is started again", RESTARTED, || {
                let now = self.restarts()?;
                ensure!(now > restarts, "it was restarted {now} times");
                Ok(())
            })?;
            println!("{hours} h ahead: nothing was touched, tokens were renewed, pods come, go and restart");
        }
        self.lost_while_set_back(all)?;
        self.one_alone()
    }

    /// A node falls silent, and the clock of the control plane is set back before it can be noticed.
    fn lost_while_set_back(&self, all: &Clock) -> Result<()> {
        let local = self.scene.cluster.local();
        let [first, second] = &local.names()?[..] else { bail!("two nodes") };
        local.cable(second, false)?;
        std::thread::sleep(Duration::from_secs(4));
        all.set(1)?;
        let began = Instant::now();
        wait::until("the pods run on the other node", LIMIT, || {
            let pods = self.web()?;
            let ready = pods.iter().filter(|it| is_ready(it) && it["spec"]["nodeName"] == first.as_str()).count();
            ensure!(ready == 2 && pods.len() == 2, "{ready} of {} are ready there", pods.len());
            Ok(())
        })?;
        println!("set back by an hour: a silent node was lost after {:.1} s", began.elapsed().as_secs_f32());
        local.cable(second, true)?;
        self.right()
    }

    /// The second node's clock is hours ahead of the API server's, then behind it.
    fn one_alone(&self) -> Result<()> {
        let local = self.scene.cluster.local();
        let second = local.names()?[1].clone();
        let own = Clock::new(&self.folder.join("own"))?;
        own.set(6)?;
        local.kill(&format!("agent-{second}"))?;
        local.clone().with_environment(own.environment()?).run(&["start", local.name()])?;
        for hours in [6, 0] {
            let pods = self.runs()?;
            own.set(hours)?;
            std::thread::sleep(CALM);
            self.right()?;
            ensure!(self.runs()? == pods, "at {hours} h pods were touched: {pods:?}, then {:?}", self.runs()?);
            self.works(&format!("alone-{hours}"), 2)?;
            self.ends_in_time(&format!("ends-{hours}"), &second)?;
            println!("one node at {hours} h, the others at 1 h: pods come, and have their time to go");
        }
        Ok(())
    }

    /// The API server shows the time that was set: the test would be none without.
    fn shows(&self, hours: i64) -> Result<()> {
        self.scene.run(&["create", "configmap", &format!("at-{hours}")])?;
        let made = self.scene.api.get(&self.scene.path(&format!("configmaps/at-{hours}")))?;
        let made: Timestamp = made["metadata"]["creationTimestamp"].as_str().context("a time")?.parse()?;
        let ahead = made.as_second() - Timestamp::now().as_second();
        ensure!((ahead - hours * HOUR).abs() < ABOUT_SECONDS, "it is {ahead} s ahead and not {hours} h");
        Ok(())
    }

    /// Waits until nodes are ready, and the pods that should be are.
    fn right(&self) -> Result<()> {
        wait::until("nodes and pods are right", LIMIT, || {
            for node in self.scene.api.items("/api/v1/nodes")? {
                ensure!(condition(&node, "Ready") == Some("True"), "{}", node["status"]["conditions"]);
                ensure!(node["spec"]["taints"].as_array().is_none_or(Vec::is_empty), "{}", node["spec"]["taints"]);
            }
            let pods = self.web()?;
            let ready = pods.iter().filter(|it| is_ready(it)).count();
            ensure!(pods.len() == 2 && ready == 2, "{ready} of {} are ready", pods.len());
            let strays = self.scene.cluster.local().strays(&self.scene.api.items("/api/v1/pods")?)?;
            ensure!(strays.is_empty(), "nobody's, and there: {strays:?}");
            Ok(())
        })
    }

    /// What of the Deployment runs: pods, and their containers.
    fn runs(&self) -> Result<Vec<(Value, Value)>> {
        let run = |it: &Value| (it["metadata"]["uid"].clone(), container(it, "main")["containerID"].clone());
        Ok(self.web()?.iter().map(run).collect())
    }

    fn web(&self) -> Result<Vec<Value>> {
        self.scene.api.items(&self.scene.path("pods?labelSelector=app%3Dweb"))
    }

    fn restarts(&self) -> Result<i64> {
        let pod = self.scene.pod("crashes")?;
        container(&pod, "main")["restartCount"].as_i64().context("a count")
    }

    /// Who leads, and since which term.
    fn leases(&self) -> Result<Vec<(Value, Value)>> {
        let leases = self.scene.api.items("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases")?;
        let term = |it: &Value| (it["spec"]["holderIdentity"].clone(), it["spec"]["leaseTransitions"].clone());
        ensure!(leases.len() >= 2, "there are {leases:?}");
        Ok(leases.iter().map(term).collect())
    }

    /// The API takes the tokens that pods have.
    fn tokens_are_good(&self) -> Result<()> {
        let url = format!("{}/api", self.scene.cluster.url());
        for pod in self.web()? {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            wait::until(&format!("the token of {name} is taken"), LIMIT, || {
                let token =
                    self.scene.inside(name, "main", &["cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"])?;
                let mut curl = Command::new(tool::machine("curl", "curl")?);
                curl.args(["--silent", "--insecure", "--max-time", "5", "--write-out", "%{http_code}"]);
                let header = format!("Authorization: Bearer {}", token.trim());
                let said = tool::run(curl.args(["--output", "/dev/null", "--header", &header]).arg(&url))?;
                ensure!(said == "200", "the API says {said}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// A pod that is new comes, on the node of this number, and goes.
    fn works(&self, name: &str, node: usize) -> Result<()> {
        let node = &self.scene.cluster.local().names()?[node - 1];
        self.scene.apply(&pod(name, node, "trap exit TERM; while :; do sleep 0.2; done", ""))?;
        self.scene.ready(name)?;
        self.scene.run(&["delete", "pod", name, "--timeout=60s"]).map(drop)
    }

    /// A pod that is deleted has the time to end that it was given.
    fn ends_in_time(&self, name: &str, node: &str) -> Result<()> {
        let script = "trap 'sleep 5; echo ended > /out/NAME; exit' TERM; while :; do sleep 0.2; done";
        let out = format!(
            "  volumes: [{{ name: out, hostPath: {{ path: {} }} }}]\n  terminationGracePeriodSeconds: 40\n",
            self.folder.display()
        );
        self.scene.apply(&pod(name, node, &script.replace("NAME", name), &out))?;
        self.scene.ready(name)?;
        self.scene.run(&["delete", "pod", name, "--timeout=100s"])?;
        let said = std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        ensure!(said == "ended\n", "it was killed before its time was over");
        Ok(())
    }

    /// What a user would look at, for errors.
    fn seen(&self) -> String {
        let ask = |words: &[&str]| self.scene.run(words).unwrap_or_else(|error| format!("{error:#}"));
        format!("{}\n{}\n{}", ask(&["get", "nodes"]), ask(&["get", "pods", "-o", "wide"]), ask(&["get", "events"]))
    }
}

/// A clock that is so many hours ahead of the machine's.
struct Clock {
    file: PathBuf,
}

impl Clock {
    fn new(file: &Path) -> Result<Clock> {
        let clock = Clock { file: file.to_owned() };
        clock.set(0)?;
        Ok(clock)
    }

    fn set(&self, hours: i64) -> Result<()> {
        // Whole or not at all: it is read all the time.
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("+{hours}h\n"))?;
        Ok(std::fs::rename(next, &self.file)?)
    }

    /// What makes a process have it. It is read anew every second.
    fn environment(&self) -> Result<Vec<(String, String)>> {
        let folders = std::fs::read_dir("/usr/lib")?.flatten().map(|it| it.path().join("faketime"));
        let library = folders.map(|it| it.join("libfaketimeMT.so.1")).find(|it| it.is_file());
        let library =
            library.context("libfaketime is missing: install the package faketime (scripts/install test does)")?;
        let pairs = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ];
        Ok(pairs.map(|(name, value)| (name.to_owned(), value)).to_vec())
    }
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready") == Some("True") && pod["metadata"]["deletionTimestamp"].is_null()
}

fn pod(name: &str, node: &str, script: &str, more: &str) -> String {
    let mounts = if more.contains("volumes") { "      volumeMounts: [{ name: out, mountPath: /out }]\n" } else { "" };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  nodeName: {node}\n{more}  containers:\n    - name: main\n      image: {TOOLS}\n      \
         command: [sh, -c, {script:?}]\n{mounts}"
    )
}

fn manifest() -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web }}
spec:
  replicas: 2
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{ name: main, image: {TOOLS}, command: [sleep, "100000"] }}]
---
apiVersion: v1
kind: Pod
metadata: {{ name: crashes }}
spec:
  containers: [{{ name: main, image: {TOOLS}, command: [sh, -c, "exit 1"] }}]
"#
    )
}
