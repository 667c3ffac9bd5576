//! Three namespaces with pods that answer at two ports, and the table of who reaches whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::Cluster;
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{Scene, address};
use orlop_e2e::shell::Shell;
use orlop_e2e::wait;

/// A part of the play: what it is called, and what it does.
pub type Act = (&'static str, fn(&Town<'_>) -> Result<()>);

/// Who lives where (`y` alone is a boolean in YAML). The pod's label is `pod: <name>`, the namespace's `ns: <name>`.
const PODS: &[(&str, &[&str])] = &[("nx", &["a", "b", "c"]), ("ny", &["a", "b"]), ("nz", &["a"])];
/// `serve-80` is the first one's name.
pub const PORTS: [u16; 2] = [80, 81];
/// How long a table may take to be as a policy wants it, on a busy machine.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Between two pods' questions: busybox's server has a backlog of two, and who finds it full tries again after a second, which is too late.
const ONE_AFTER_THE_OTHER: Duration = Duration::from_millis(100);
/// How long a pod may take to ask everybody, each of whom it gives a second.
const ASKED_WITHIN: Duration = Duration::from_secs(30);

/// One pod asks another at a port. Pods are `nx/a`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub from: String,
    pub to: String,
    pub port: u16,
}

impl Way {
    /// The namespace of who asks.
    pub fn source_ns(&self) -> &str {
        self.from.split('/').next().unwrap_or_default()
    }

    /// The namespace of who is asked.
    pub fn target_ns(&self) -> &str {
        self.to.split('/').next().unwrap_or_default()
    }
}

/// The namespaces, their pods, and where those are.
pub struct Town<'a> {
    pub scenes: BTreeMap<&'static str, Scene<'a>>,
    pub addresses: BTreeMap<String, String>,
    shells: Mutex<BTreeMap<String, Shell>>,
}

impl<'a> Town<'a> {
    /// Makes all of it, and waits until everybody answers.
    pub fn build(cluster: &'a Cluster, api: &'a Api) -> Result<Self> {
        let mut scenes = BTreeMap::new();
        for (namespace, pods) in PODS {
            let scene = Scene::new(cluster, api, namespace)?;
            scene.kubectl.run(&["label", "namespace", namespace, &format!("ns={namespace}")])?;
            for pod in *pods {
                scene.apply(&pod_manifest(pod))?;
            }
            scenes.insert(*namespace, scene);
        }
        let mut addresses = BTreeMap::new();
        for (namespace, pods) in PODS {
            for pod in *pods {
                let it = scenes[namespace].ready(pod)?;
                addresses.insert(format!("{namespace}/{pod}"), address(&it)?.to_owned());
            }
        }
        Ok(Town { scenes, addresses, shells: Mutex::default() })
    }

    /// Plays one act after the other, each from a town without policies.
    pub fn play(&self, acts: &[Act]) -> Result<()> {
        let only = std::env::var("ORLOP_SCENARIO").unwrap_or_default();
        self.expect("everybody reaches everybody", |_| true)?;
        for (name, act) in acts.iter().filter(|it| only.is_empty() || it.0 == only) {
            let began = Instant::now();
            act(self).with_context(|| format!("=== {name} ==="))?;
            self.clear()?;
            println!("{name}: ok in {:.1} s", began.elapsed().as_secs_f32());
        }
        self.expect("everybody reaches everybody again", |_| true)
    }

    /// Makes a policy the only one.
    pub fn only(&self, namespace: &str, spec: &str) -> Result<()> {
        self.clear()?;
        self.policy(namespace, "policy", spec)
    }

    /// Makes or changes a policy, whose spec is in JSON's or YAML's short form.
    pub fn policy(&self, namespace: &str, name: &str, spec: &str) -> Result<()> {
        self.scene(namespace)?.apply(&format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{ name: {name} }}\nspec: {spec}\n"
        ))?;
        Ok(())
    }

    /// Takes all policies away.
    pub fn clear(&self) -> Result<()> {
        self.scene("nx")?.kubectl.run(&["delete", "networkpolicies", "--all", "--all-namespaces"])?;
        Ok(())
    }

    /// The scene of a namespace.
    pub fn scene(&self, namespace: &str) -> Result<&Scene<'a>> {
        self.scenes.get(namespace).with_context(|| format!("there is no namespace {namespace}"))
    }

    /// Waits until exactly those ways are open that `open` says.
    pub fn expect(&self, what: &str, open: impl Fn(&Way) -> bool) -> Result<()> {
        let all = self.ways();
        let wanted: BTreeSet<Way> = all.iter().filter(|it| it.from == it.to || open(it)).cloned().collect();
        wait::until(what, SETTLED_WITHIN, || {
            let found = self.open_ways()?;
            let closed: Vec<_> = wanted.difference(&found).map(show).collect();
            let opened: Vec<_> = found.difference(&wanted).map(show).collect();
            ensure!(closed.is_empty() && opened.is_empty(), "wrongly closed: {closed:?}, wrongly open: {opened:?}");
            Ok(())
        })
    }

    fn ways(&self) -> Vec<Way> {
        let mut ways = Vec::new();
        for from in self.addresses.keys() {
            for to in self.addresses.keys() {
                ways.extend(PORTS.map(|port| Way { from: from.clone(), to: to.clone(), port }));
            }
        }
        ways
    }

    fn open_ways(&self) -> Result<BTreeSet<Way>> {
        // One command a pod asks all others at once, so that what is closed is waited for once.
        let asks: Vec<String> = self
            .addresses
            .iter()
            .flat_map(|(to, ip)| {
                PORTS.map(|port| format!("(nc -w 1 {ip} {port} </dev/null >/dev/null 2>&1 && echo {to} {port}) &"))
            })
            .collect();
        let script = format!("{}\nwait", asks.join("\n"));
        let outcomes: Vec<Result<Vec<Way>>> = std::thread::scope(|scope| {
            let mut asking = Vec::new();
            for from in self.addresses.keys() {
                asking.push(scope.spawn(|| Ok(read(from, &self.ask(from, &script)?))));
                std::thread::sleep(ONE_AFTER_THE_OTHER);
            }
            asking.into_iter().map(|it| it.join().unwrap_or_else(|_| bail!("a thread panicked"))).collect()
        });
        let mut found = BTreeSet::new();
        for it in outcomes {
            found.extend(it?);
        }
        Ok(found)
    }

    /// Runs a script in a pod's shell, which is opened where there is none yet. One that fails is opened anew the next time.
    fn ask(&self, pod: &str, script: &str) -> Result<Vec<String>> {
        let kept = self.shells.lock().unwrap_or_else(PoisonError::into_inner).remove(pod);
        let mut shell = match kept {
            Some(it) => it,
            None => {
                let (namespace, name) = pod.split_once('/').context("a pod is namespace/name")?;
                Shell::open(&self.scene(namespace)?.kubectl, namespace, name)?
            }
        };
        let printed = shell.run(script, ASKED_WITHIN).with_context(|| pod.to_owned())?;
        self.shells.lock().unwrap_or_else(PoisonError::into_inner).insert(pod.to_owned(), shell);
        Ok(printed)
    }

    /// Runs a command in a pod, by kubectl.
    pub fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        let (namespace, name) = pod.split_once('/').context("a pod is namespace/name")?;
        self.scene(namespace)?.run(&[&["exec", name, "--"], command].concat())
    }

    /// Whether the pod's names are answered by the cluster's DNS.
    pub fn resolves(&self, pod: &str) -> bool {
        self.exec(pod, &["timeout", "2", "nslookup", "kubernetes.default.svc.cluster.local"]).is_ok()
    }

    /// Waits until a pod's names are answered, or not.
    pub fn expect_names(&self, pod: &str, answered: bool) -> Result<()> {
        wait::until(&format!("names of {pod} are answered: {answered}"), SETTLED_WITHIN, || {
            ensure!(self.resolves(pod) == answered, "they are not so");
            Ok(())
        })
    }

    /// Sees that a pod's own node reaches it, whatever the policies say: probes and the API server come from it.
    pub fn expect_node_passes(&self) -> Result<()> {
        for (pod, ip) in &self.addresses {
            let (namespace, name) = pod.split_once('/').context("a pod has a namespace")?;
            let scene = self.scene(namespace)?;
            let it = scene.pod(name)?;
            let node = it["spec"]["nodeName"].as_str().context("it is on a node")?;
            let connect = format!("exec 3<>/dev/tcp/{ip}/{}", PORTS[0]);
            let from_node = scene.cluster.local().on(node, &["timeout", "5", "bash", "-c", &connect]);
            from_node.with_context(|| format!("from {node} to {pod}"))?;
        }
        Ok(())
    }
}

fn show(way: &Way) -> String {
    format!("{} → {}:{}", way.from, way.to, way.port)
}

fn read(from: &str, lines: &[String]) -> Vec<Way> {
    let way = |line: &str| {
        let (to, port) = line.split_once(' ')?;
        Some(Way { from: from.to_owned(), to: to.to_owned(), port: port.parse().ok()? })
    };
    lines.iter().filter_map(|it| way(it)).collect()
}

/// A pod of the town.
pub fn pod_manifest(name: &str) -> String {
    let servers: Vec<String> = PORTS.map(|it| format!("nc -ll -p {it} -e /bin/echo {name} &")).into();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, labels: {{ pod: {name} }} }}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: {TOOLS}
      command: [sh, -c, "{} wait"]
      ports: [{{ name: serve-80, containerPort: 80 }}, {{ name: serve-81, containerPort: 81 }}]
      readinessProbe: {{ tcpSocket: {{ port: 81 }}, periodSeconds: 1 }}
"#,
        servers.join(" ")
    )
}
