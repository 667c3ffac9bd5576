//! Services in a cluster of three nodes, as the conformance tests of sig-network ask for them: who answers behind an address, a port and a name,
//! asked from pods, from nodes and from this machine, by HTTP and by UDP.
//!
//! One cluster for all of them: each scenario has a namespace and pods of its own, and a few run beside each other.

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "machinery/plain.rs"]
mod plain;

#[path = "services/affinity.rs"]
mod affinity;
#[path = "services/crew.rs"]
mod crew;
#[path = "services/host_ports.rs"]
mod host_ports;
#[path = "services/latency.rs"]
mod latency;
#[path = "services/mirrored.rs"]
mod mirrored;
#[path = "services/names.rs"]
mod names;
#[path = "services/near.rs"]
mod near;
#[path = "services/objects.rs"]
mod objects;
#[path = "services/ports.rs"]
mod ports;
#[path = "services/proxies.rs"]
mod proxies;
#[path = "services/types.rs"]
mod types;
#[path = "services/ways.rs"]
mod ways;

use anyhow::Result;
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::image;
use orlop_e2e::scene::{Scenario, play};

/// The longest first, so that they do not hold up the end.
const SCENARIOS: &[Scenario] = &[
    ("names", names::play),
    ("ports", ports::play),
    ("types", types::play),
    ("affinity", affinity::play),
    ("ways", ways::play),
    ("proxies", proxies::play),
    ("host-ports", host_ports::play),
    ("latency", latency::play),
    ("links", objects::links),
    ("objects", objects::play),
    ("mirrored", mirrored::play),
    ("near", near::play),
];

/// More would only wait for the two cores.
const BESIDE: usize = 4;

#[test]
fn services_lead_to_their_pods() -> Result<()> {
    let images = image::archives()?.to_vec();
    let options = Options { form: Form::Nodes, runtime: "native", nodes: 3, images, ..Options::default() };
    Cluster::with(options, |cluster| play(cluster, SCENARIOS, BESIDE))
}
