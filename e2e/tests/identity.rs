//! Who one is, and what one may: tokens, certificates, service accounts, roles and reviews as the conformance tests for auth ask for them, and a
//! drain that respects a budget.

#[path = "identity/accounts.rs"]
mod accounts;
#[path = "identity/certificates.rs"]
mod certificates;
#[path = "identity/credentials.rs"]
mod credentials;
#[path = "identity/roles.rs"]
mod roles;
#[path = "identity/tokens.rs"]
mod tokens;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::wait;

use credentials::says;

/// How long a controller may take while both cores are busy.
const LIMIT: Duration = Duration::from_secs(60);
const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: registry.local/web:1}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guard}
spec:
  minAvailable: 2
  selector: {matchLabels: {app: web}}
"#;

fn drain(admin: &Kubectl) -> Result<()> {
    admin.run_with(&["apply", "-f", "-"], WEB)?;
    admin.run(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    let allowed = |expected: &str| {
        wait::until("the budget is counted", LIMIT, || {
            let text = admin.run(&[
                "get",
                "pdb",
                "guard",
                "-o",
                "jsonpath={.status.currentHealthy}/{.status.disruptionsAllowed}",
            ])?;
            ensure!(text.trim() == expected, "it is {text}");
            Ok(())
        })
    };
    allowed("2/0")?;
    let node = admin.run(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].spec.nodeName}"])?;
    let node = node.trim();
    let refused = admin.fails(&["drain", node, "--ignore-daemonsets", "--timeout=8s"], "")?;
    says(&refused, "Cannot evict pod as it would violate the pod's disruption budget.")?;
    admin.run(&["patch", "pdb", "guard", "--type", "merge", "-p", r#"{"spec":{"minAvailable":1}}"#])?;
    allowed("2/1")?;
    let done = admin.run(&["drain", node, "--ignore-daemonsets", "--timeout=90s"])?;
    says(&done, "drained")?;
    let left = admin.run(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"])?;
    ensure!(!left.split_whitespace().any(|it| it == node), "{left} should not name {node}");
    allowed("2/1")
}

#[test]
fn identities_are_given_used_and_respected() -> Result<()> {
    Cluster::with(Options { hollow_nodes: 2, ..Options::default() }, |cluster| {
        let admin = cluster.kubectl()?;
        let api = Api::new(&cluster.kubeconfig())?;
        let (runtime, client) = api.parts();
        tokens::play(cluster, &admin).context("tokens")?;
        certificates::play(cluster, &admin).context("certificates")?;
        runtime.block_on(certificates::operations(client)).context("operations on certificate requests")?;
        runtime.block_on(accounts::lifecycle(client)).context("the life of an account")?;
        runtime.block_on(accounts::automount(client)).context("mounted tokens")?;
        runtime.block_on(accounts::root_ca(cluster, client)).context("the CA in every namespace")?;
        roles::aggregation(&admin).context("aggregation")?;
        roles::reviews(&admin).context("reviews")?;
        roles::escalation(cluster, &admin).context("escalation")?;
        drain(&admin).context("drain")?;
        roles::mended_at_start(cluster, &admin).context("roles mended at the start")
    })
}
