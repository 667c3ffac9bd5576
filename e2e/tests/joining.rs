//! Machines that join a cluster, live in it, and leave it: by the commands that a user has, with real processes.
//!
//! A machine is a data directory and the process of `orlop node join`. Most run the hollow runtime, which needs nothing of this machine.

#[path = "joining/leave.rs"]
mod leave;
#[path = "joining/machine.rs"]
mod machine;
#[path = "joining/native.rs"]
mod native;
#[path = "joining/refusals.rs"]
mod refusals;
#[path = "joining/rotation.rs"]
mod rotation;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::wait;

use machine::{Machine, invitation, is_ready};

/// How long something may take while both cores are busy.
const LIMIT: Duration = Duration::from_secs(60);

/// A control plane without nodes.
fn alone() -> Options {
    Options { nodes: 0, ..Options::default() }
}

#[test]
fn a_machine_joins_by_one_command_and_runs_again_without_a_token() -> Result<()> {
    Cluster::with(alone(), |cluster| {
        let orlop = cluster.orlop()?;
        let printed = invitation(cluster, &["--ttl", "1h", "--description", "for the test"])?;
        let expected = format!("orlop node join {} --token ", cluster.url().trim_start_matches("https://"));
        ensure!(printed.starts_with(&expected) && printed.contains(" --ca-hash sha256:"), "{printed}");
        let listed = orlop.run(&["token", "list"])?;
        ensure!(listed.starts_with("TOKEN ") && listed.contains("authentication,signing"), "{listed}");
        ensure!(listed.contains("for the test") && listed.contains("default-node-token"), "{listed}");

        let mut machine = Machine::join(cluster, "m1", &printed)?;
        is_ready(cluster, "m1", &mut machine)?;
        machine.serves_under_its_name(cluster)?;
        for file in ["pki/ca.crt", "pki/client.pem", "pki/serving.pem", "kubeconfig"] {
            let path = machine.folder().join(file);
            let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).context(file)?);
            ensure!(mode & 0o777 == 0o600, "{file} has the mode {mode:o}");
        }
        let requests = cluster.kubectl()?.items(&["csr"])?;
        let approved = |it: &&serde_json::Value| it["status"]["conditions"][0]["reason"] == "AutoApproved";
        ensure!(requests.iter().filter(approved).count() == 2, "{requests:#?}");

        let deleted = orlop.run(&["token", "delete", machine::id_of(&printed)])?;
        ensure!(deleted.starts_with("bootstrap token \"") && deleted.ends_with("\" deleted\n"), "{deleted}");
        ensure!(orlop.run(&["token", "list"])?.is_empty(), "no token is left");

        // The same command is in a unit file: its token is long gone, and nobody minds.
        machine.stop()?;
        machine.start(cluster, &printed)?;
        machine.says("the agent runs")?;
        machine.stop()?;
        let plain = format!("orlop node join {}", cluster.url());
        machine.start(cluster, &plain)?;
        machine.says("the agent runs")?;
        is_ready(cluster, "m1", &mut machine)?;
        cluster.kubectl()?.run(&["create", "deployment", "web", "--image", "web:1"])?;
        cluster.kubectl()?.rolled_out("default", "web")?;
        let after = cluster.kubectl()?.items(&["csr"])?.len();
        ensure!(after == 2, "what is good is not asked for again: {after} requests");
        Ok(())
    })
}

#[test]
fn a_drain_respects_budgets() -> Result<()> {
    const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: registry.local/web:1}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guard}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
"#;
    Cluster::with(alone(), |cluster| {
        let (orlop, kubectl) = (cluster.orlop()?, cluster.kubectl()?);
        let printed = invitation(cluster, &[])?;
        let mut machine = Machine::join(cluster, "m1", &printed)?;
        is_ready(cluster, "m1", &mut machine)?;
        kubectl.apply(WEB)?;
        kubectl.rolled_out("default", "web")?;
        kubectl.run(&["run", "alone", "--image", "web:1"])?;
        kubectl.until(&["pod", "alone"], LIMIT, |it| it["status"]["phase"] == "Running")?;
        kubectl.until(&["pdb", "guard"], LIMIT, |it| it["status"]["currentHealthy"] == 2)?;

        let refused = orlop.fails(&["node", "drain", "m1"], "")?;
        let why = "cannot delete Pods that declare no controller (use --force to override): default/alone";
        ensure!(refused.contains(&format!("unable to drain node \"m1\" due to error: {why}")), "{refused}");
        let held = orlop.output(&["node", "drain", "m1", "--force", "--timeout", "8s"], "")?;
        ensure!(held.code == 1 && held.stdout.contains("node/m1 already cordoned"), "{held:?}");
        ensure!(held.stderr.contains("Warning: deleting Pods that declare no controller: default/alone"), "{held:?}");
        let budget = "(will retry after 5s): Cannot evict pod as it would violate the pod's disruption budget.";
        ensure!(held.stderr.contains(budget) && held.stderr.contains("global timeout reached: 8s"), "{held:?}");
        ensure!(kubectl.items(&["pods", "-l", "app=web"])?.len() == 2, "the budget held them");

        // With another node its pods may go one by one, each when its successor is ready.
        let mut other = Machine::join(cluster, "m2", &printed)?;
        is_ready(cluster, "m2", &mut other)?;
        kubectl.run(&["scale", "deployment", "web", "--replicas=3"])?;
        kubectl.rolled_out("default", "web")?;
        let drained = orlop.output(&["node", "drain", "m1", "--force", "--timeout", "100s"], "")?;
        ensure!(drained.code == 0 && drained.stdout.ends_with("node/m1 drained\n"), "{drained:?}");
        ensure!(drained.stdout.contains("evicting pod default/web-"), "{drained:?}");
        let left = kubectl.items(&["pods", "-A", "--field-selector", "spec.nodeName=m1"])?;
        ensure!(left.is_empty(), "{left:#?}");
        ensure!(orlop.run(&["node", "uncordon", "m1"])? == "node/m1 uncordoned\n", "it says so");
        ensure!(orlop.run(&["node", "uncordon", "m1"])? == "node/m1 already uncordoned\n", "it says so");
        let told = orlop.fails(&["node", "cordon", "none"], "")?;
        ensure!(told == "Error from server (NotFound): nodes \"none\" not found\n", "{told}");
        Ok(())
    })
}

#[test]
fn a_revoked_node_is_refused_until_it_joins_anew() -> Result<()> {
    Cluster::with(alone(), |cluster| {
        let (orlop, kubectl) = (cluster.orlop()?, cluster.kubectl()?);
        let printed = invitation(cluster, &[])?;
        let mut machine = Machine::join(cluster, "m1", &printed)?;
        is_ready(cluster, "m1", &mut machine)?;
        let mut other = Machine::join(cluster, "m2", &printed)?;
        is_ready(cluster, "m2", &mut other)?;
        ensure!(machine.asks(cluster, "/api/v1/nodes/m1")? == 200, "it may read its own Node");

        ensure!(orlop.run(&["node", "revoke", "m1"])? == "node/m1 revoked\n", "it says so");
        ensure!(machine.asks(cluster, "/api/v1/nodes/m1")? == 401, "its certificate proves nothing");
        ensure!(other.asks(cluster, "/api/v1/nodes/m2")? == 200, "others are as before");
        // Neither the agent that runs nor one that is started anew makes the Node again.
        machine.stop()?;
        machine.start(cluster, &format!("orlop node join {}", cluster.url()))?;
        machine.says("the node could not be registered")?;
        let nodes = kubectl.run(&["get", "nodes", "-o", "name"])?;
        ensure!(nodes == "node/m2\n", "{nodes}");

        // A fresh token lets the same machine in again, which needs no other data directory.
        machine.stop()?;
        let fresh = invitation(cluster, &[])?;
        machine.start(cluster, &fresh)?;
        is_ready(cluster, "m1", &mut machine)?;
        ensure!(machine.asks(cluster, "/api/v1/nodes/m1")? == 200, "the new certificate is good");
        wait::until("it serves again", LIMIT, || machine.serves_under_its_name(cluster))
    })
}
