//! Pods with real containers: what a pod's description promises, looked at from inside the container, from the API and with kubectl.
//!
//! The same scenarios on all runtimes, with `native` on three nodes. One cluster for all of them: each scenario has a namespace of its own, and a
//! few run beside each other.

#[path = "pods/accounts.rs"]
mod accounts;
#[path = "pods/beginnings.rs"]
mod beginnings;
#[path = "pods/commands.rs"]
mod commands;
#[path = "pods/confinement.rs"]
mod confinement;
#[path = "pods/debug.rs"]
mod debug;
#[path = "pods/endings.rs"]
mod endings;
#[path = "pods/environment.rs"]
mod environment;
#[path = "pods/hooks.rs"]
mod hooks;
#[path = "pods/images.rs"]
mod images;
#[path = "pods/issuer.rs"]
mod issuer;
#[path = "pods/lives.rs"]
mod lives;
#[path = "pods/logins.rs"]
mod logins;
#[path = "pods/logs.rs"]
mod logs;
#[path = "pods/messages.rs"]
mod messages;
#[path = "pods/network.rs"]
mod network;
#[path = "pods/paths.rs"]
mod paths;
#[path = "pods/placement.rs"]
mod placement;
#[path = "pods/probes.rs"]
mod probes;
#[path = "pods/processes.rs"]
mod processes;
#[path = "pods/resize.rs"]
mod resize;
#[path = "pods/resources.rs"]
mod resources;
#[path = "pods/rights.rs"]
mod rights;
#[path = "pods/volumes.rs"]
mod volumes;
#[path = "pods/watched.rs"]
mod watched;

use anyhow::Result;
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::scene::{Scenario, play};
use orlop_e2e::{containerd, image};

/// What a pod is on any node. The longest first, so that they do not hold up the end.
const ANYWHERE: &[Scenario] = &[
    ("watched", watched::play),
    ("endings", endings::play),
    ("logs", logs::play),
    ("probes", probes::play),
    ("volumes", volumes::play),
    ("hooks", hooks::play),
    ("accounts", accounts::play),
    ("beginnings", beginnings::play),
    ("lives", lives::play),
    ("resize", resize::play),
    ("confinement", confinement::play),
    ("resources", resources::play),
    ("environment", environment::play),
    ("paths", paths::play),
    ("rights", rights::play),
    ("commands", commands::play),
    ("messages", messages::play),
];

/// What takes a node whose network is this machine's: registries on its loopback, its ports, the ways that Docker closes, its namespaces.
const ON_HOST: &[Scenario] = &[
    ("images", images::play),
    ("logins", logins::play),
    ("debug", debug::play),
    ("processes", processes::play),
    ("placement", placement::play),
    ("network", network::play),
];

/// What takes names for Services, which only nodes of one cluster have by themselves.
const ON_NODES: &[Scenario] = &[("issuer", issuer::play)];

/// More would only wait for the two cores.
const BESIDE: usize = 4;

/// Plays all on one node that shares this machine's network.
fn on_one_node(options: Options) -> Result<()> {
    let all = [ON_HOST, ANYWHERE].concat();
    Cluster::with(options, |cluster| play(cluster, &all, BESIDE))
}

#[test]
fn pods_are_what_they_say_on_three_nodes_of_native() -> Result<()> {
    image::ready()?;
    let images = image::archives()?.to_vec();
    let options = Options { form: Form::Nodes, runtime: "native", nodes: 3, images, ..Options::default() };
    let all = [ANYWHERE, ON_NODES].concat();
    Cluster::with(options, |cluster| play(cluster, &all, BESIDE))
}

#[test]
fn pods_are_what_they_say_on_the_host_by_native() -> Result<()> {
    // The registry's images are pushed from the Engine; pods are given the others as archives.
    image::ready()?;
    let images = image::archives()?.to_vec();
    let options = Options { runtime: "native", images, ..Options::default() };
    Cluster::with(options, |cluster| play(cluster, ON_HOST, BESIDE))
}

#[test]
fn pods_are_what_they_say_on_docker() -> Result<()> {
    image::ready()?;
    on_one_node(Options { runtime: "docker", ..Options::default() })
}

#[test]
fn pods_are_what_they_say_on_cri() -> Result<()> {
    image::ready()?;
    containerd::start()?;
    let images = image::archives()?.to_vec();
    on_one_node(Options { runtime: "cri", images, agent_flags: containerd::AGENT_FLAGS, ..Options::default() })
}
