//! What Kubernetes' conformance tests ask of volumes that are filled from the API, of emptyDir and hostPath, as containers see them.
//!
//! One cluster for all, a scenario a subject. Each file's header names the tests that it stands for (`test/conformance/testdata/conformance.yaml`).
//! What outlives pods is in `storage.rs`; how volumes live with their pods in `pods/volumes.rs`.

#[path = "volumes/empty_dirs.rs"]
mod empty_dirs;
#[path = "volumes/fields.rs"]
mod fields;
#[path = "volumes/host_paths.rs"]
mod host_paths;
#[path = "volumes/immutable.rs"]
mod immutable;
#[path = "volumes/many.rs"]
mod many;
#[path = "volumes/missing.rs"]
mod missing;
#[path = "volumes/shown.rs"]
mod shown;
#[path = "volumes/sources.rs"]
mod sources;
#[path = "volumes/sub_paths.rs"]
mod sub_paths;
#[path = "volumes/updates.rs"]
mod updates;
#[path = "volumes/ways.rs"]
mod ways;

use anyhow::Result;
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::scene::{Scenario, play};
use orlop_e2e::{containerd, image};

/// How volumes look from inside, which is the runtime's work, too.
const INSIDE: &[Scenario] = &[
    ("sources", sources::play),
    ("updates", updates::play),
    ("fields", fields::play),
    ("empty-dirs", empty_dirs::play),
    ("sub-paths", sub_paths::play),
    ("host-paths", host_paths::play),
];

/// What is the same under every runtime.
const ANYHOW: &[Scenario] = &[("many", many::play), ("missing", missing::play), ("immutable", immutable::play)];

/// More would only wait for the two cores.
const BESIDE: usize = 4;

#[test]
fn volumes_are_as_in_kubernetes_on_three_nodes_of_native() -> Result<()> {
    let images = image::archives()?.to_vec();
    let options = Options { form: Form::Nodes, runtime: "native", nodes: 3, images, ..Options::default() };
    Cluster::with(options, |cluster| play(cluster, &[INSIDE, ANYHOW].concat(), BESIDE))
}

#[test]
fn volumes_are_as_in_kubernetes_on_docker() -> Result<()> {
    image::ready()?;
    Cluster::with(Options { runtime: "docker", ..Options::default() }, |cluster| play(cluster, INSIDE, BESIDE))
}

#[test]
fn volumes_are_as_in_kubernetes_on_cri() -> Result<()> {
    containerd::start()?;
    let images = image::archives()?.to_vec();
    let options = Options { runtime: "cri", images, agent_flags: containerd::AGENT_FLAGS, ..Options::default() };
    Cluster::with(options, |cluster| play(cluster, INSIDE, BESIDE))
}
