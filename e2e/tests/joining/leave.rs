//! A machine leaves for good, by its own credentials.

use std::process::Command;

use anyhow::{Result, ensure};
use orlop_e2e::cluster::Cluster;
use orlop_e2e::{tool, wait};

use super::machine::{Machine, ask_with, invitation, is_ready};
use super::{LIMIT, alone};

#[test]
fn a_machine_that_leaves_is_out() -> Result<()> {
    Cluster::with(alone(), |cluster| {
        let kubectl = cluster.kubectl()?;
        let printed = invitation(cluster, &[])?;
        let mut staying = Machine::join(cluster, "m1", &printed)?;
        is_ready(cluster, "m1", &mut staying)?;
        let mut leaving = Machine::join(cluster, "m2", &printed)?;
        is_ready(cluster, "m2", &mut leaving)?;
        kubectl.run(&["create", "deployment", "web", "--image", "web:1", "--replicas=4"])?;
        kubectl.rolled_out("default", "web")?;
        let kept = cluster.folder().join("kept.pem");
        std::fs::copy(leaving.folder().join("pki/client.pem"), &kept)?;

        let leave = |machine: &Machine| -> Result<std::process::Output> {
            let mut command = Command::new(tool::ours("orlop")?);
            command.args(["node", "leave", "--timeout", "100s", "--data-dir"]).arg(machine.folder());
            Ok(command.env("HOME", cluster.folder()).env_remove("KUBECONFIG").output()?)
        };
        let left = leave(&leaving)?;
        let said = String::from_utf8_lossy(&left.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&left.stderr).into_owned();
        ensure!(left.status.success(), "{said}{complaint}{}", leaving.tail());
        for line in ["node/m2 cordoned\n", "node/m2 drained\n", "agent stopped\n", "node/m2 left\n"] {
            ensure!(said.contains(line), "{said}");
        }
        wait::until("its agent has ended", LIMIT, || {
            ensure!(!leaving.runs(), "{}", leaving.tail());
            Ok(())
        })?;
        ensure!(kubectl.run(&["get", "nodes", "-o", "name"])? == "node/m1\n", "its Node is gone");
        kubectl.rolled_out("default", "web")?;
        let elsewhere = kubectl.items(&["pods", "-l", "app=web"])?;
        ensure!(elsewhere.iter().all(|it| it["spec"]["nodeName"] == "m1"), "{elsewhere:#?}");
        for file in ["pki", "kubeconfig", "agent.sock"] {
            ensure!(!leaving.folder().join(file).exists(), "{file} is still there");
        }
        // What somebody copied before is worth nothing: the node cannot come back by itself.
        ensure!(ask_with(&kept, cluster, "/api/v1/nodes/m2")? == 401, "its certificate is refused");
        let again = leave(&leaving)?;
        let complaint = String::from_utf8_lossy(&again.stderr).into_owned();
        ensure!(complaint.contains("holds no credentials of a node that has joined"), "{complaint}");
        // One whose agent does not run has nobody to end its pods.
        staying.stop()?;
        let refused = leave(&staying)?;
        let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(complaint.contains("does not run") && complaint.contains("orlop node revoke m1"), "{complaint}");
        ensure!(ask_with(&staying.folder().join("pki/client.pem"), cluster, "/api/v1/nodes/m1")? == 200, "it stays");
        Ok(())
    })
}
