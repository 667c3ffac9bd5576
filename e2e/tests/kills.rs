//! The agent is killed at a hundred random points while pods come and go: what runs is never restarted for that, nothing runs twice, and what
//! went leaves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::image::{self, TOOLS};
use orlop_e2e::scene::{Scene, address, container, whole_id};
use orlop_e2e::{tool, traces, wait};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

/// How often the agent is killed.
const KILLS: u32 = 100;
/// The longest that one lives: long enough to get a pod to run, short enough that most die in the middle of something.
const LIFE_MS: u64 = 900;
/// Every so many kills one is let live for so long, so that there is something to kill in.
const REST: (u32, Duration) = (10, Duration::from_secs(4));
/// How long it may take until everything is as it should be.
const LIMIT: Duration = Duration::from_secs(120);

/// Pods that stay: two of a set, with a volume and a Service of their own.
const STAY: &str = "
apiVersion: v1
kind: Service
metadata: { name: stay }
spec: { selector: { app: stay }, ports: [{ port: 80 }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: stay }
spec:
  replicas: 2
  selector: { matchLabels: { app: stay } }
  template:
    metadata: { labels: { app: stay } }
    spec:
      terminationGracePeriodSeconds: 1
      volumes: [{ name: own, emptyDir: {} }]
      containers:
        - name: main
          image: IMAGE
          command: [sh, -c, \"echo $$ >>/own/starts; trap exit TERM; while :; do sleep 0.2; done\"]
          volumeMounts: [{ name: own, mountPath: /own }]
";

/// The Service of those that come and go.
const PASS: &str = "
apiVersion: v1
kind: Service
metadata: { name: pass }
spec: { selector: { app: pass }, ports: [{ port: 80 }] }
";

/// A pod that comes and goes.
fn passing(name: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, labels: {{ app: pass }} }}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{{ name: own, emptyDir: {{ medium: Memory }} }}]
  initContainers: [{{ name: first, image: {TOOLS:?}, command: [sh, -c, 'echo made >/own/file'], volumeMounts: [{{ name: own, mountPath: /own }}] }}]
  containers:
    - name: main
      image: {TOOLS:?}
      command: [sh, -c, 'cat /own/file; trap exit TERM; while :; do sleep 0.2; done']
      volumeMounts: [{{ name: own, mountPath: /own }}]
      lifecycle: {{ postStart: {{ exec: {{ command: [sh, -c, 'sleep 0.1'] }} }}, preStop: {{ exec: {{ command: [sh, -c, 'sleep 0.1'] }} }} }}
"
    )
}

#[test]
fn an_agent_that_dies_at_any_point_loses_and_leaves_nothing() -> Result<()> {
    image::ready()?;
    let images = image::archives()?.to_vec();
    Cluster::with(Options { runtime: "native", images, ..Options::default() }, |cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        let scene = Scene::new(cluster, &api, "kills")?;
        scene.apply(&STAY.replace("IMAGE", &format!("{TOOLS:?}")))?;
        scene.apply(PASS)?;
        scene.run(&["rollout", "status", "deployment/stay", "--timeout=60s"])?;
        drop(scene);
        let before = running(&api, "app=stay")?;
        let node = Node::of(cluster);
        let passed = storm(cluster, &api)?;
        cluster.wait_nodes()?;
        wait::until("all passing pods are gone", LIMIT, || {
            let left = api.items("/api/v1/namespaces/kills/pods?labelSelector=app%3Dpass")?;
            ensure!(left.is_empty(), "{} are there, the first: {}", left.len(), left[0]["status"]);
            Ok(())
        })?;
        ensure!(running(&api, "app=stay")? == before, "pods that stay were touched");
        let stays = api.items("/api/v1/namespaces/kills/pods?labelSelector=app%3Dstay")?;
        wait::until("nothing is left of what passed", LIMIT, || {
            let left = node.left_of(&passed)?;
            ensure!(left.is_empty(), "{} traces: {:#?}", left.len(), &left[..left.len().min(20)]);
            node.accounts_for(&stays)
        })
    })
}

/// Kills the agent over and over while pods come and go. Gives the uids of all pods that there were.
fn storm(cluster: &mut Cluster, api: &Api) -> Result<BTreeSet<String>> {
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut draw = StdRng::seed_from_u64(seed);
    let kubectl = cluster.kubectl()?;
    let run = |arguments: &[&str], text: &str| kubectl.run_with(&[&["-n", "kills"], arguments].concat(), text);
    let mut uids = BTreeSet::new();
    let mut ran = 0;
    for kill in 1..=KILLS {
        run(&["apply", "-f", "-"], &passing(&format!("pass-{kill}")))?;
        // Those of two turns before: they had time to run, if the agent was let live.
        if kill > 2 && draw.random_bool(0.8) {
            let name = format!("pass-{}", kill - 2);
            run(&["delete", "pod", &name, "--wait=false", "--ignore-not-found"], "")?;
        }
        for pod in api.items("/api/v1/namespaces/kills/pods?labelSelector=app%3Dpass")? {
            ran += u32::from(pod["status"]["phase"] == "Running");
            uids.insert(pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
        }
        let life = if kill % REST.0 == 0 { REST.1 } else { Duration::from_millis(draw.random_range(0..LIFE_MS)) };
        std::thread::sleep(life);
        cluster.kill_and_restart("agent-1")?;
    }
    println!("{} pods passed; in {ran} looks at one it ran", uids.len());
    ensure!(ran > 10, "hardly any pod ran: there was nothing to die in the middle of");
    run(&["delete", "pod", "-l", "app=pass", "--wait=false"], "")?;
    Ok(uids)
}

/// What pods run: their containers' ids, how often they were restarted, and their addresses.
fn running(api: &Api, selector: &str) -> Result<BTreeMap<String, (String, i64, String)>> {
    let path = format!("/api/v1/namespaces/kills/pods?labelSelector={}", selector.replace('=', "%3D"));
    api.items(&path)?
        .iter()
        .map(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let restarts = container(pod, "main")["restartCount"].as_i64().unwrap_or(-1);
            Ok((name, (whole_id(pod, "main")?.to_owned(), restarts, address(pod)?.to_owned())))
        })
        .collect()
}

/// Where the traces of a node's pods are.
struct Node {
    /// What stands in the names of its links and tables.
    mark: String,
    folder: PathBuf,
}

impl Node {
    fn of(cluster: &Cluster) -> Node {
        Node { mark: traces::mark(&cluster.node_name("1")), folder: cluster.agent_dir("1") }
    }

    /// What is left of pods that are gone: folders, mounts, cgroups, processes.
    fn left_of(&self, uids: &BTreeSet<String>) -> Result<Vec<String>> {
        let named = |text: &str| uids.iter().any(|it| text.contains(it.as_str()));
        let mut left = Vec::new();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        left.extend(mounts.lines().filter(|it| named(it)).map(|it| format!("mount {it}")));
        for place in [self.folder.as_path(), Path::new("/sys/fs/cgroup")] {
            below(place, 8, &mut |path| {
                if named(&path.file_name().unwrap_or_default().to_string_lossy()) {
                    left.push(path.display().to_string());
                }
            });
        }
        for process in std::fs::read_dir("/proc")?.flatten() {
            // Processes come and go.
            let cgroups = std::fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
            let place = std::fs::read_link(process.path().join("cwd")).unwrap_or_default();
            if named(&cgroups) || named(&place.to_string_lossy()) {
                left.push(process.path().display().to_string());
            }
        }
        let ledger = std::fs::read_to_string(self.folder.join("network.json"))?;
        left.extend(uids.iter().filter(|it| ledger.contains(it.as_str())).map(|it| format!("an address of {it}")));
        Ok(left)
    }

    /// Whether there are just as many links, sandboxes and addresses as there are pods, and rules for no other.
    fn accounts_for(&self, pods: &[Value]) -> Result<()> {
        let addresses: BTreeSet<&str> = pods.iter().map(address).collect::<Result<_>>()?;
        let links: Vec<Value> = serde_json::from_str(&asked(&["ip", "-json", "link", "show", "type", "veth"])?)?;
        let own = format!("ov{}", self.mark);
        let links: Vec<&str> =
            links.iter().filter_map(|it| it["ifname"].as_str()).filter(|it| it.starts_with(&own)).collect();
        ensure!(links.len() == pods.len(), "links {links:?}");
        let sandboxes = std::fs::read_dir(self.folder.join("native/pods"))?.flatten().count();
        ensure!(sandboxes == pods.len(), "{sandboxes} sandboxes of {} pods", pods.len());
        let ledger: BTreeMap<String, Value> =
            serde_json::from_slice(&std::fs::read(self.folder.join("network.json"))?)?;
        let given: BTreeSet<&str> = ledger.values().filter_map(|it| it["address"].as_str()).collect();
        ensure!(given == addresses, "the ledger has {given:?}, pods {addresses:?}");
        let rules = asked(&["nft", "list", "table", "ip", &format!("orlop_services_{}", self.mark)])?;
        let gateway = addresses.iter().next().and_then(|it| it.rsplit_once('.')).context("there are pods")?.0;
        let prefix = format!("{gateway}.");
        let named: BTreeSet<String> = rules
            .match_indices(&prefix)
            .map(|(at, _)| rules[at..].chars().take_while(|it| it.is_ascii_digit() || *it == '.').collect())
            .collect();
        // The bridge, which is also where the DNS listens, and the range.
        let others: Vec<&String> = named
            .iter()
            .filter(|it| !addresses.contains(it.as_str()) && !it.ends_with(".1") && !it.ends_with(".0"))
            .collect();
        ensure!(others.is_empty(), "rules name {others:?}");
        Ok(())
    }
}

/// What a program of the machine's tells.
fn asked(command: &[&str]) -> Result<String> {
    tool::run(Command::new(tool::machine(command[0], command[0])?).args(&command[1..]))
}

/// Looks at everything below a folder that is not deeper than so many folders.
fn below(folder: &Path, depth: u32, look: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        look(&entry.path());
        // Roots of containers are mounts, which are counted as such.
        if depth > 0 && entry.file_type().is_ok_and(|it| it.is_dir()) && entry.file_name() != "rootfs" {
            below(&entry.path(), depth - 1, look);
        }
    }
}
