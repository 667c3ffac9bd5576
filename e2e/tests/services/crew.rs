//! The pods behind the Services, which are also those that ask: each says its name, and whom it sees asking, by HTTP and by UDP.
//!
//! busybox knows no server for UDP and no resolver with a search list, so they run what this machine has: its perl, curl and getent, from a mount
//! of its `/usr`.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene};
use orlop_e2e::{tool, wait};
use serde_json::Value;

/// Questions until each of a few pods has answered. Of three, one is left out by chance in 1 of 60,000 turns, and there may be several turns.
const QUESTIONS: usize = 30;
/// As many as Kubernetes' own tests ask of a client that stays with one pod.
const STEADY_QUESTIONS: usize = 15;
/// Where the pods answer, by HTTP and by UDP.
pub const PORT: u16 = 8080;

/// A pod of the crew.
pub struct Member<'a> {
    pub name: &'a str,
    /// The label `app`, by which Services find it.
    pub app: &'a str,
    /// More of its spec, in lines.
    pub spec: &'a str,
    /// What its container says of its ports.
    pub ports: &'a str,
    /// Where it answers. The last is to be one of TCP: it is what says that the pod is ready.
    pub answers: &'a str,
}

impl Default for Member<'_> {
    fn default() -> Self {
        Member { name: "member", app: "none", spec: "", ports: "[]", answers: "udp:8080, tcp:8080" }
    }
}

impl Member<'_> {
    /// Its manifest, a document of its own.
    pub fn manifest(&self) -> String {
        let Member { name, app, spec, ports, answers } = self;
        let ready = answers.rsplit(':').next().unwrap_or_default();
        let script = Value::from(include_str!("answer.pl"));
        format!(
            r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, labels: {{ app: {app} }} }}
spec:
  terminationGracePeriodSeconds: 1
{spec}
  volumes: [{{ name: usr, hostPath: {{ path: /usr, type: Directory }} }}]
  containers:
    - name: main
      image: {TOOLS}
      env: [{{ name: POD, value: {name} }}]
      command: [sh, -c, 'ln -s /usr/lib /usr/lib64 / && exec /usr/bin/perl -e "$0" "$@"', {script}, {answers}]
      ports: {ports}
      readinessProbe: {{ tcpSocket: {{ port: {ready} }}, periodSeconds: 1 }}
      volumeMounts: [{{ name: usr, mountPath: /usr, readOnly: true }}]
"#
        )
    }
}

/// `app-1` to `app-3`, one a node.
pub fn on_each_node(scene: &Scene<'_>, app: &str) -> Result<[String; 3]> {
    let names = [1, 2, 3].map(|it| format!("{app}-{it}"));
    let manifests = names.iter().zip(scene.cluster.node_names()).map(|(name, node)| {
        let spec = format!("  nodeName: {node}");
        Member { name, app, spec: &spec, ..Member::default() }.manifest()
    });
    scene.apply(&manifests.collect::<String>())?;
    Ok(names)
}

/// A Service; `spec` is in YAML's short form.
pub fn service(name: &str, spec: &str) -> String {
    format!("\n---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {spec}\n")
}

/// From where somebody asks.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    Pod(&'a str),
    Node(&'a str),
    /// This machine, which is another than the nodes.
    Host,
}

impl Asker<'_> {
    fn run(self, scene: &Scene<'_>, words: &[&str]) -> Result<String> {
        match self {
            Asker::Pod(name) => scene.inside(name, "main", words),
            Asker::Node(name) => scene.cluster.local().on(name, words),
            Asker::Host => tool::run(Command::new(words[0]).args(&words[1..])),
        }
    }

    /// Asks some times, over connections of their own; what was said, an answer a line. It fails where one is missing.
    pub fn ask(self, scene: &Scene<'_>, way: Way, host: &str, port: u16, times: usize) -> Result<Vec<String>> {
        let (port, times) = (port.to_string(), times.to_string());
        let url = format!("http://{host}:{port}/?[1-{times}]");
        let said = match way {
            Way::Http => {
                let curl = ["/usr/bin/curl", "--silent", "--show-error", "--fail", "--fail-early", "--max-time", "2"];
                self.run(scene, &[&curl[..], &[&url]].concat())
            }
            Way::Udp => self.run(scene, &["/usr/bin/perl", "-e", include_str!("ask.pl"), host, &port, &times]),
        };
        let said = said.with_context(|| format!("{self:?} asks {host} port {port} by {way:?}"))?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    /// Who answers, of `times` questions.
    pub fn who(self, scene: &Scene<'_>, way: Way, host: &str, port: u16, times: usize) -> Result<BTreeSet<String>> {
        let said = self.ask(scene, way, host, port, times)?;
        Ok(said.iter().filter_map(|it| Some(it.split(' ').next()?.to_owned())).collect())
    }

    /// Waits until just these answer, each of them.
    pub fn finds(self, scene: &Scene<'_>, way: Way, host: &str, port: u16, pods: &[String]) -> Result<()> {
        let expected: BTreeSet<String> = pods.iter().cloned().collect();
        let times = if pods.len() == 1 { 1 } else { QUESTIONS };
        wait::until(&format!("{self:?} finds {pods:?} at {host} port {port} by {way:?}"), POD_LIMIT, || {
            let found = self.who(scene, way, host, port, times)?;
            ensure!(found == expected, "{found:?} answer");
            Ok(())
        })
    }

    /// Waits until one pod answers all questions, and gives its name.
    pub fn stays(self, scene: &Scene<'_>, host: &str, port: u16) -> Result<String> {
        wait::until(&format!("{self:?} stays with one pod at {host} port {port}"), POD_LIMIT, || {
            let found = self.who(scene, Way::Http, host, port, STEADY_QUESTIONS)?;
            ensure!(found.len() == 1, "{found:?} answer");
            found.into_iter().next().context("somebody answers")
        })
    }

    /// Waits until nobody answers any more.
    pub fn finds_nobody(self, scene: &Scene<'_>, way: Way, host: &str, port: u16) -> Result<()> {
        wait::until(&format!("nobody answers at {host} port {port} by {way:?}"), POD_LIMIT, || {
            let found = self.who(scene, way, host, port, 1);
            ensure!(found.is_err(), "{found:?} answers");
            Ok(())
        })
    }
}

/// How somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Http,
    Udp,
}

/// Both ways.
pub const WAYS: [Way; 2] = [Way::Http, Way::Udp];

/// The IPv4 addresses that a name has in a pod, by its own resolver and search list; `over` is `RES_OPTIONS`, by which that is told what to do.
pub fn addresses(scene: &Scene<'_>, pod: &str, name: &str, over: &str) -> Result<BTreeSet<String>> {
    let options = format!("RES_OPTIONS={over}");
    let said = scene.inside(pod, "main", &["env", &options, "/usr/bin/getent", "ahostsv4", name])?;
    Ok(said.lines().filter_map(|it| Some(it.split(' ').next()?.to_owned())).collect())
}

/// Waits until a name has just these addresses.
pub fn resolves(scene: &Scene<'_>, pod: &str, name: &str, expected: &[&str]) -> Result<()> {
    let expected: BTreeSet<String> = expected.iter().map(|it| (*it).to_owned()).collect();
    wait::until(&format!("{name} is {expected:?} in {pod}"), POD_LIMIT, || {
        let found = addresses(scene, pod, name, "")?;
        ensure!(found == expected, "it is {found:?}");
        Ok(())
    })
}

/// The address that a Service has in the cluster.
pub fn cluster_ip(service: &Value) -> Result<&str> {
    let ip = service["spec"]["clusterIP"].as_str().filter(|it| !it.is_empty());
    ip.with_context(|| format!("it has no address: {service}"))
}

/// The port of all nodes that leads to a Service's port.
pub fn node_port(service: &Value, at: usize) -> Result<u16> {
    let port = service["spec"]["ports"][at]["nodePort"].as_u64().and_then(|it| u16::try_from(it).ok());
    port.filter(|it| *it > 0).with_context(|| format!("it has no port on the nodes: {service}"))
}

/// The addresses of the nodes.
pub fn node_addresses(scene: &Scene<'_>) -> Result<Vec<String>> {
    (1..=scene.cluster.node_names().len()).map(|it| scene.cluster.local().address(it)).collect()
}
