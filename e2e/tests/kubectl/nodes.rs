//! Nodes: cordoned, tainted, and what pods say that find none.

use anyhow::{Context, Result};
use orlop_e2e::case::Case;

pub fn nodes(it: &Case) -> Result<()> {
    it.prints("get nodes", "NAME STATUS ROLES AGE VERSION\nhollow-* Ready * * v1.35*\nhollow-* Ready * * v1.35*\nhollow-* Ready * * v1.35*")?;
    let listed = it.run("get nodes -o name")?;
    let node = listed.lines().next().context("there is a node")?.trim_start_matches("node/");
    it.prints(&format!("cordon {node}"), &format!("node/{node} cordoned"))?;
    it.prints(&format!("cordon {node}"), &format!("node/{node} already cordoned"))?;
    it.prints(&format!("get node {node} --no-headers"), &format!("{node} Ready,SchedulingDisabled * * *"))?;
    it.prints(&format!("uncordon {node}"), &format!("node/{node} uncordoned"))?;
    for node in listed.lines() {
        it.prints(&format!("taint {} shut=yes:NoSchedule", node.replace('/', " ")), &format!("{node} tainted"))?;
    }
    it.prints("run nowhere --image=registry.local/x:1", "pod/nowhere created")?;
    it.comes_to(
        "get events --field-selector involvedObject.name=nowhere,reason=FailedScheduling --no-headers",
        "* Warning FailedScheduling pod/nowhere 0/3 nodes are available: 3 node(s) had untolerated taint*",
    )?;
    it.prints("get pod nowhere --no-headers", "nowhere 0/1 Pending 0 *")?;
    for node in listed.lines() {
        it.prints(&format!("taint {} shut-", node.replace('/', " ")), &format!("{node} untainted"))?;
    }
    it.comes_to("get pod nowhere --no-headers", "nowhere 1/1 Running 0 *")?;
    it.prints("delete pod nowhere --wait", "pod \"nowhere\" deleted*")
}
