//! Network policies as users write them, on nodes with real containers: who reaches whom is asked from inside the pods, by kubectl.
//!
//! The scenarios are those of Kubernetes' own suite (`test/e2e/network/netpol`): three namespaces with some pods each, and for every
//! policy the whole table of who reaches whom. They follow each other on one cluster.

#[path = "policies/changes.rs"]
mod changes;
#[path = "policies/egress.rs"]
mod egress;
#[path = "policies/faults.rs"]
mod faults;
#[path = "policies/ingress.rs"]
mod ingress;
#[path = "policies/town.rs"]
mod town;

use anyhow::Result;
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::image;
use town::{Act, Town};

/// Who reaches whom, which is the same wherever the pods are.
const ACTS: &[Act] = &[
    ("ingress", ingress::play),
    ("ingress by ports", ingress::ports),
    ("egress", egress::play),
    ("egress to ranges", egress::ranges),
    ("both directions", egress::both),
    ("changes", changes::play),
];

#[test]
fn policies_isolate_pods() -> Result<()> {
    let images = image::archives()?.to_vec();
    let options = Options { form: Form::Nodes, runtime: "native", nodes: 3, images, ..Options::default() };
    Cluster::with(options, |cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        Town::build(cluster, &api)?.play(ACTS)
    })
}

#[test]
fn what_isolates_pods_comes_back() -> Result<()> {
    let images = image::archives()?.to_vec();
    Cluster::with(Options { runtime: "native", images, ..Options::default() }, |cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        let town = Town::build(cluster, &api)?;
        town.play(&[("faults", faults::play)])?;
        town.only("nx", "{ podSelector: {}, policyTypes: [Ingress] }")?;
        town.expect("closed", |it| it.target_ns() != "nx")?;
        drop(town);
        cluster.kill_and_restart("agent-1")?;
        cluster.wait_nodes()?;
        Town::build(cluster, &api)?.expect("closed under the next agent, too", |it| it.target_ns() != "nx")
    })
}
