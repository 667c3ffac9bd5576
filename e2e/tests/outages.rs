//! Faults of the network between nodes: packets that get lost, a node that is cut off, a control plane that is. Pods are made and Services used all the
//! while; in the end everything is as it was asked for, and nothing runs twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Form, Options, condition};
use orlop_e2e::image::{self, TOOLS};
use orlop_e2e::load::{Load, get};
use orlop_e2e::nodes::Nodes;
use orlop_e2e::scene::{Scene, address, is_ready, name, places, run};
use orlop_e2e::{inside, wait};
use serde_json::Value;

/// How long everything may take to come right, with packets lost and both cores busy.
const LIMIT: Duration = Duration::from_secs(180);
/// What Orlop promises for the loss of a node, on a machine that is not busy; it is printed beside what was measured.
const PROMISED: Duration = Duration::from_secs(20);
/// What a machine may take on which other tests run.
const FAILOVER_MOST: Duration = Duration::from_secs(60);
/// Longer than a node may be silent (8 s).
const SILENCE: Duration = Duration::from_secs(14);
/// Of a hundred packets between nodes so many get lost.
const LOSS: u32 = 20;
const NODE_PORT: u16 = 30080;
const REPLICAS: usize = 4;
/// Requests through every node while packets get lost.
const REQUESTS: usize = 20;
/// A connection may need some repetitions: 1, 2 and 4 s are the kernel's pauses between those of its first packet. Then it is asked anew.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn nodes_come_right_after_faults_of_the_network() -> Result<()> {
    let images = image::archives()?[1..].to_vec();
    let options = Options { form: Form::Nodes, runtime: "native", nodes: 3, images, ..Options::default() };
    Cluster::with(options, |cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        let scene = Scene::new(cluster, &api, "outages")?;
        scene.apply(&manifest())?;
        let test = Outages { local: cluster.local(), scene };
        test.right(REPLICAS)?;
        let only = std::env::var("ORLOP_SCENARIO").unwrap_or_default();
        let scenarios: [Scenario; 3] =
            [("loss", |it| it.loss()), ("partition", |it| it.partition()), ("control-plane", |it| it.control_plane())];
        for (name, scenario) in scenarios {
            if only.is_empty() || only == name {
                scenario(&test).with_context(|| format!("{name}\n{}", test.seen()))?;
            }
        }
        Ok(())
    })
}

type Scenario = (&'static str, fn(&Outages<'_>) -> Result<()>);

struct Outages<'a> {
    local: Nodes,
    scene: Scene<'a>,
}

impl Outages<'_> {
    /// Packets between nodes get lost while pods are made, Services used, names asked for and pods removed.
    fn loss(&self) -> Result<()> {
        let began = Instant::now();
        self.local.lose(LOSS)?;
        self.scale(REPLICAS * 2)?;
        self.pods_right(REPLICAS * 2)?;
        println!("loss: {REPLICAS} more pods were ready after {:.1} s", began.elapsed().as_secs_f32());
        let (mut slowest, mut again) = (Duration::ZERO, 0);
        for node in 1..=3 {
            let at = format!("{}:{NODE_PORT}", self.local.address(node)?);
            let mut answered = BTreeSet::new();
            for _ in 0..REQUESTS {
                let (asked, mut tries) = (Instant::now(), 0);
                let answer = wait::until("a request is answered", LIMIT, || {
                    tries += 1;
                    get(&at, "/cgi-bin/who", PATIENCE)
                })?;
                ensure!(answer.code == 200, "{answer:?}");
                answered.insert(answer.body);
                slowest = slowest.max(asked.elapsed());
                again += tries - 1;
            }
            ensure!(answered.len() > 1, "only {answered:?} answer through {at}");
        }
        let all = 3 * REQUESTS;
        println!("loss: of {all} requests {again} were asked again; the slowest took {:.1} s", slowest.as_secs_f32());
        ensure!(again < all / 4, "{again} of {all} requests had to be asked again");
        for pod in self.pods()? {
            // By its name, as a container would: the node's own DNS and a connection to whichever pod.
            let script = "printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | nc -w 10 web 80 | tail -n 1";
            let words = wait::until("the Service answers a pod", LIMIT, || self.within(&pod, &["sh", "-c", script]))?;
            ensure!(words.starts_with("web-"), "{words}");
        }
        self.scale(REPLICAS)?;
        self.pods_right(REPLICAS)?;
        let lost = self.local.lost()?;
        ensure!(lost > 50, "only {lost} packets were lost");
        let nodes = self.scene.api.items("/api/v1/events?fieldSelector=reason%3DNodeNotReady")?;
        println!("loss: {lost} packets were lost, and nodes counted as lost {} times", nodes.len());
        self.local.lose(0)?;
        self.right(REPLICAS)
    }

    /// A node is cut off: its pods run elsewhere, and are gone from it soon after it has returned.
    fn partition(&self) -> Result<()> {
        let (names, before) = (self.local.names()?, self.pods()?);
        let name = names[1..].iter().find(|it| on(&before, it).count() > 0).context("none has pods")?;
        let moved: BTreeSet<String> = on(&before, name).map(uid).collect();
        let through = format!("{}:{NODE_PORT}", self.local.address(1)?);
        self.local.cable(name, false)?;
        let began = Instant::now();
        wait::until("its pods run elsewhere", LIMIT, || {
            let pods = self.pods()?;
            let ready = pods.iter().filter(|it| is_ready(it) && it["spec"]["nodeName"] != name.as_str()).count();
            ensure!(pods.len() == REPLICAS && ready == REPLICAS, "{ready} are ready: {}", places(&pods));
            Ok(())
        })?;
        let took = began.elapsed();
        let promised = PROMISED.as_secs();
        println!("partition: the pods ran elsewhere after {:.1} s ({promised} s are promised)", took.as_secs_f32());
        ensure!(took < FAILOVER_MOST, "it took {took:?}");
        // Those that stayed were not touched, and clients find only those that answer.
        let stayed = |it: &&Value| it["spec"]["nodeName"] != name.as_str();
        let now = self.pods()?;
        for pod in before.iter().filter(stayed) {
            ensure!(now.iter().any(|it| run(it) == run(pod)), "{} was touched", pod["metadata"]["name"]);
        }
        let load = Load::start("/cgi-bin/who", Duration::from_millis(20), move || vec![through.clone()]);
        std::thread::sleep(Duration::from_secs(2));
        let count = load.stop();
        ensure!(count.lost == 0 && count.answered > 0, "{count:?}");
        // It is cut off, and was not told to kill what it has.
        let strays = self.local.strays(&self.scene.api.items("/api/v1/pods")?)?;
        ensure!(strays.len() == moved.len(), "on the node that is cut off should be {moved:?}: {strays:?}");

        self.local.cable(name, true)?;
        let began = Instant::now();
        self.right(REPLICAS)?;
        println!("partition: after its return all was right within {:.1} s", began.elapsed().as_secs_f32());
        let after = self.pods()?;
        ensure!(now.iter().all(|old| after.iter().any(|it| run(it) == run(old))), "the return touched pods");
        // It has pods again, and everybody finds them.
        self.scale(REPLICAS * 2)?;
        self.right(REPLICAS * 2)?;
        ensure!(on(&self.pods()?, name).count() > 0, "the returned node gets no pods: {}", places(&self.pods()?));
        self.scale(REPLICAS)?;
        self.right(REPLICAS)
    }

    /// The node of the control plane is cut off from the others, for longer than nodes may be silent: most nodes are silent, so it is the network's fault.
    fn control_plane(&self) -> Result<()> {
        let names = self.local.names()?;
        let before = self.pods()?;
        self.local.cable(&names[0], false)?;
        std::thread::sleep(SILENCE);
        self.local.cable(&names[0], true)?;
        self.right(REPLICAS)?;
        let after = self.pods()?;
        let touched: Vec<&Value> = before.iter().filter(|old| !after.iter().any(|it| run(it) == run(old))).collect();
        let nodes: BTreeSet<&str> = touched.iter().filter_map(|it| it["spec"]["nodeName"].as_str()).collect();
        println!("control plane: {} of {REPLICAS} pods were moved, of {nodes:?}", touched.len());
        // The first node that is silent may be at fault itself; the next would be given 100 s more.
        ensure!(nodes.len() <= 1, "{} became {}", places(&before), places(&after));
        ensure!(!nodes.contains(names[0].as_str()), "the node of the control plane is never silent to it");
        Ok(())
    }

    /// Waits until nodes are ready, all pods are as they were asked for, and nodes have no others.
    fn pods_right(&self, replicas: usize) -> Result<Vec<Value>> {
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
            Ok(pods)
        })
    }

    /// As [`pods_right`](Outages::pods_right); then every node has just its own pods' cables, and leads to all pods.
    fn right(&self, replicas: usize) -> Result<()> {
        let pods = self.pods_right(replicas)?;
        for (at, node) in self.local.names()?.iter().enumerate() {
            let here: BTreeSet<&str> = on(&pods, node).map(address).collect::<Result<_>>()?;
            let links = self.local.on(node, &["ip", "-o", "link", "show", "type", "veth"])?;
            // One cable is the node's own.
            ensure!(links.lines().count() == here.len() + 1, "{node} has {here:?} and links\n{links}");
            let through = format!("{}:{NODE_PORT}", self.local.address(at + 1)?);
            let mut missing: BTreeSet<String> = pods.iter().map(name).collect();
            wait::until(&format!("{through} leads to all pods"), LIMIT, || {
                let answer = get(&through, "/cgi-bin/who", PATIENCE)?;
                missing.remove(answer.body.trim());
                ensure!(missing.is_empty(), "{missing:?} do not answer");
                Ok(())
            })?;
        }
        Ok(())
    }

    fn scale(&self, replicas: usize) -> Result<()> {
        self.scene.run(&["scale", "deployment/web", &format!("--replicas={replicas}")]).map(drop)
    }

    fn pods(&self) -> Result<Vec<Value>> {
        self.scene.api.items(&self.scene.path("pods"))
    }

    fn within(&self, pod: &Value, words: &[&str]) -> Result<String> {
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().context("it has a container")?;
        let node = pod["spec"]["nodeName"].as_str().context("it has a node")?;
        inside::run(id, &self.local.folder().join("nodes").join(node), words)
    }

    /// What a user would look at, for errors.
    fn seen(&self) -> String {
        let ask = |words: &[&str]| self.scene.run(words).unwrap_or_else(|error| format!("{error:#}"));
        let (nodes, pods) = (ask(&["get", "nodes"]), ask(&["get", "pods", "-o", "wide"]));
        format!("{nodes}\n{pods}\n{}", ask(&["get", "events"]))
    }
}

fn on<'a>(pods: &'a [Value], node: &'a str) -> impl Iterator<Item = &'a Value> {
    pods.iter().filter(move |it| it["spec"]["nodeName"] == node)
}

fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

fn manifest() -> String {
    let script = "mkdir -p /www/cgi-bin; printf 'Content-Type: text/plain\\r\\n\\r\\n' > /www/head; \
        printf '#!/bin/sh\\ncat /www/head; hostname\\n' > /www/cgi-bin/who; chmod +x /www/cgi-bin/who; exec httpd -f -p 8080 -h /www";
    format!(
        r#"
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
          command: [sh, -c, "{}"]
          readinessProbe: {{ tcpSocket: {{ port: 8080 }}, periodSeconds: 1 }}
---
apiVersion: v1
kind: Service
metadata: {{ name: web }}
spec:
  type: NodePort
  selector: {{ app: web }}
  ports: [{{ port: 80, targetPort: 8080, nodePort: {NODE_PORT} }}]
"#,
        script.replace('\\', "\\\\")
    )
}
