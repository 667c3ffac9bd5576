//! IPv6 and dual stack (KEP-563) on local clusters of three nodes with real containers: pods and Services with addresses of both families, reached
//! between nodes, by name and by the nodes' ports; and clusters of IPv6 alone.
//!
//! Root, network namespaces and a kernel with IPv6 are needed.

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "clusters/web.rs"]
mod web;

#[path = "families/pods.rs"]
mod pods;
#[path = "families/policies.rs"]
mod policies;
#[path = "families/services.rs"]
mod services;

use anyhow::{Context, Result, ensure};
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::image;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::nodes::Nodes;
use serde_json::Value;

/// What the tests play on.
pub struct Stage {
    pub local: Nodes,
    pub kubectl: Kubectl,
    /// The nodes' names.
    pub names: Vec<String>,
    /// `web-1` to `web-3`, one a node, as they were when they got ready.
    pub pods: Vec<Value>,
}

impl Stage {
    /// What a URL says in place of a host, for an address of either family.
    pub fn host(address: &str) -> String {
        if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
    }

    /// Asks from a pod's network, and gives what is answered.
    pub fn ask(&self, from: &Value, address: &str, port: u16, path: &str) -> Result<String> {
        let url = format!("http://{}:{port}/{path}", Stage::host(address));
        web::from(&self.local, from, &[&web::CURL[..], &[&url]].concat())
    }

    /// Asks from a pod's network who answers, until all pods have.
    pub fn everybody(&self, from: &Value, address: &str, port: u16) -> Result<()> {
        let ask = || self.ask(from, address, port, "cgi-bin/who");
        let clients = web::everybody(self.pods.len(), ask).with_context(|| format!("{address} port {port}"))?;
        ensure!(!clients.is_empty(), "somebody asked");
        Ok(())
    }
}

/// Texts of a list in an object: `strings(&pod["status"]["podIPs"], "ip")`, or those of a plain list with "".
pub fn strings(list: &Value, field: &str) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    let text = |it: &Value| if field.is_empty() { it.as_str() } else { it[field].as_str() }.map(str::to_owned);
    all.filter_map(text).collect()
}

fn with(family: &str, overlay: &str, play: impl FnOnce(&Stage) -> Result<()>) -> Result<()> {
    let images = image::archives()?[1..].to_vec();
    let flags = vec![format!("--ip-family={family}"), format!("--overlay={overlay}")];
    let options =
        Options { form: Form::Nodes, runtime: "native", nodes: 3, images, cluster_flags: flags, ..Options::default() };
    Cluster::with(options, |cluster| {
        let (local, kubectl, names) = (cluster.local(), cluster.kubectl()?, cluster.node_names());
        let pods = web::make(&kubectl, &names)?;
        play(&Stage { local, kubectl, names, pods })
    })
}

#[test]
fn a_dual_stack_cluster_serves_both_families() -> Result<()> {
    with("dual", "auto", |stage| {
        pods::nodes(stage)?;
        pods::addresses(stage, 2)?;
        pods::reach_each_other(stage, 1500)?;
        services::both(stage)?;
        services::headless(stage)?;
        services::sticky(stage)?;
        services::up_and_down(stage)?;
        policies::play(stage)
    })
}

#[test]
fn a_tunnel_carries_both_families() -> Result<()> {
    with("dual", "vxlan", |stage| {
        pods::reach_each_other(stage, 1450)?;
        services::both(stage)
    })
}

#[test]
fn a_cluster_may_have_ipv6_alone() -> Result<()> {
    with("ipv6", "vxlan", |stage| {
        pods::addresses(stage, 1)?;
        pods::reach_each_other(stage, 1430)?;
        services::only_v6(stage)
    })
}
