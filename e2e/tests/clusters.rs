//! Local clusters of several nodes: the network between the nodes, and the life of clusters. Root, network namespaces and the real kernel are needed, and
//! no container engine.

#[path = "clusters/beside.rs"]
mod beside;
#[path = "clusters/failures.rs"]
mod failures;
#[path = "clusters/life.rs"]
mod life;
#[path = "clusters/names.rs"]
mod names;
#[path = "clusters/reach.rs"]
mod reach;
#[path = "clusters/snapshots.rs"]
mod snapshots;
#[path = "clusters/web.rs"]
mod web;

use anyhow::Result;

#[test]
fn nodes_of_one_link_reach_each_other_by_routes() -> Result<()> {
    reach::play("auto", 1500)
}

#[test]
fn nodes_reach_each_other_through_a_tunnel() -> Result<()> {
    reach::play("vxlan", 1450)
}

#[test]
fn nodes_ask_the_hosts_own_dns() -> Result<()> {
    names::play()
}

#[test]
fn clusters_live_side_by_side_and_leave_nothing() -> Result<()> {
    beside::play()
}

#[test]
fn a_cluster_survives_stops_deaths_and_reboots() -> Result<()> {
    life::play()
}

#[test]
fn a_cluster_that_cannot_be_made_leaves_nothing() -> Result<()> {
    failures::play()
}

#[test]
fn a_snapshot_brings_a_cluster_back() -> Result<()> {
    snapshots::play()
}
