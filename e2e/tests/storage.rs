//! Storage that outlives pods: claims, volumes, classes, and folders of the nodes.
//!
//! The scenarios of one cluster run on `native` with real containers; where pods go by their volumes is looked at with hollow nodes.

#[path = "storage/binding.rs"]
mod binding;
#[path = "storage/deaths.rs"]
mod deaths;
#[path = "storage/down.rs"]
mod down;
#[path = "storage/ephemeral.rs"]
mod ephemeral;
#[path = "storage/growth.rs"]
mod growth;
#[path = "storage/local.rs"]
mod local;
#[path = "storage/mounts.rs"]
mod mounts;
#[path = "storage/objects.rs"]
mod objects;
#[path = "storage/placement.rs"]
mod placement;
#[path = "storage/protection.rs"]
mod protection;
#[path = "storage/rights.rs"]
mod rights;
#[path = "storage/texts.rs"]
mod texts;
#[path = "storage/waiting.rs"]
mod waiting;

use anyhow::Result;
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::image;
use orlop_e2e::scene::{Scenario, play};

/// What holds on any node.
const ANYWHERE: &[Scenario] = &[("binding", binding::play), ("growth", growth::play), ("objects", objects::play)];

/// What looks at the folders and the rights of the one node that there is.
const ON_HOST: &[Scenario] = &[
    ("local", local::play),
    ("mounts", mounts::play),
    ("protection", protection::play),
    ("ephemeral", ephemeral::play),
    ("waiting", waiting::play),
    ("rights", rights::play),
];

/// More would only wait for the two cores.
const BESIDE: usize = 3;

fn native() -> Result<Options> {
    Ok(Options { runtime: "native", images: image::archives()?.to_vec(), ..Options::default() })
}

#[test]
fn storage_outlives_pods() -> Result<()> {
    Cluster::with(native()?, |cluster| play(cluster, ON_HOST, BESIDE))
}

#[test]
fn storage_is_the_same_on_three_nodes() -> Result<()> {
    Cluster::with(Options { form: Form::Nodes, nodes: 3, ..native()? }, |cluster| play(cluster, ANYWHERE, BESIDE))
}

#[test]
fn an_agent_that_dies_loses_and_leaves_no_volume() -> Result<()> {
    Cluster::with(native()?, deaths::play)
}

#[test]
fn volumes_outlive_a_cluster_that_is_taken_down() -> Result<()> {
    Cluster::with(Options { form: Form::Up, ..native()? }, down::play)
}

#[test]
fn pods_go_where_their_volumes_are() -> Result<()> {
    let options = Options { hollow_nodes: 3, ..Options::default() };
    Cluster::with(options, |cluster| play(cluster, &[("placement", placement::play)], 1))
}
