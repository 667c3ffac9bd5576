//! Into running containers: exec, attach, port-forward and cp, with every kubectl at hand, which between them speak SPDY, WebSockets, and the one
//! within the other.
//!
//! One cluster for all: each scenario has a namespace of its own, and a few run beside each other.

#[path = "streams/attach.rs"]
mod attach;
#[path = "streams/channels.rs"]
mod channels;
#[path = "streams/copies.rs"]
mod copies;
#[path = "streams/exec.rs"]
mod exec;
#[path = "streams/forward.rs"]
mod forward;
#[path = "streams/load.rs"]
mod load;
#[path = "streams/refusals.rs"]
mod refusals;

use anyhow::{Result, bail, ensure};
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::scene::{POD_LIMIT, Scenario, Scene, play};
use orlop_e2e::{containerd, image, wait};

/// What is done with a container on any node. The longest first, so that they do not hold up the end.
const ANYWHERE: &[Scenario] = &[
    ("forward", forward::play),
    ("exec", exec::play),
    ("attach", attach::play),
    ("copies", copies::play),
    ("channels", channels::play),
];

/// What looks at the agent's process or its files, as those of a node that shares this machine's network are known here.
const ON_HOST: &[Scenario] = &[("load", load::play), ("refusals", refusals::play)];

/// More would only wait for the two cores.
const BESIDE: usize = 3;

/// Plays all on one node that shares this machine's network.
fn on_one_node(options: Options) -> Result<()> {
    let all = [ON_HOST, ANYWHERE].concat();
    Cluster::with(options, |cluster| play(cluster, &all, BESIDE))
}

#[test]
fn containers_are_reached_by_every_kubectl_on_three_nodes_of_native() -> Result<()> {
    image::ready()?;
    let images = image::archives()?.to_vec();
    let options = Options { form: Form::Nodes, runtime: "native", nodes: 3, images, ..Options::default() };
    Cluster::with(options, |cluster| play(cluster, ANYWHERE, BESIDE))
}

#[test]
fn containers_are_reached_by_every_kubectl_on_the_host_by_native() -> Result<()> {
    image::ready()?;
    let images = image::archives()?.to_vec();
    Cluster::with(Options { runtime: "native", images, ..Options::default() }, |cluster| play(cluster, ON_HOST, BESIDE))
}

#[test]
fn containers_are_reached_by_every_kubectl_on_docker() -> Result<()> {
    image::ready()?;
    on_one_node(Options { runtime: "docker", ..Options::default() })
}

#[test]
fn containers_are_reached_by_every_kubectl_on_cri() -> Result<()> {
    image::ready()?;
    containerd::start()?;
    let images = image::archives()?.to_vec();
    on_one_node(Options { runtime: "cri", images, agent_flags: containerd::AGENT_FLAGS, ..Options::default() })
}

/// Does something with each kubectl from 1.27 on; the error says with which it failed.
fn with_each(scene: &Scene<'_>, check: impl Fn(&Kubectl) -> Result<()>) -> Result<()> {
    for kubectl in Kubectl::all(&scene.cluster.kubeconfig())? {
        // Debian's: what it speaks, 1.27 speaks, too.
        if kubectl.is_old()? {
            continue;
        }
        if let Err(error) = check(&kubectl) {
            bail!("{}: {error:#}", kubectl.program().display());
        }
    }
    Ok(())
}

/// Waits until servers in a pod listen.
fn listens(scene: &Scene<'_>, pod: &str, ports: &[&str]) -> Result<()> {
    wait::until("the servers listen", POD_LIMIT, || {
        let all = scene.inside(pod, "main", &["netstat", "-ltn"])?;
        ensure!(ports.iter().all(|it| all.contains(&format!(":{it} "))), "those that listen are {all}");
        Ok(())
    })
}

/// A pod of one container that runs a script of the tools' shell.
fn pod(name: &str, policy: &str, extra: &str, script: &str) -> String {
    let image = image::TOOLS;
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  restartPolicy: {policy}\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n    - {{ name: main, image: {image:?}, {extra} command: [sh, -c, {script:?}] }}\n"
    )
}

/// A pod that sleeps.
fn sleeper(name: &str) -> String {
    pod(name, "Always", "", "trap exit TERM; sleep 3600 & wait")
}
