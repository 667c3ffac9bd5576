//! Roll-outs of a Deployment, and waiting for what comes of them.

use anyhow::Result;
use orlop_e2e::case::Case;

use super::{ROLL_LIMIT, WEB};

pub fn rollouts(it: &Case) -> Result<()> {
    it.run_with("create -f -", WEB)?;
    let status = format!("rollout status deployment/web {ROLL_LIMIT}");
    it.prints(&status, "...\ndeployment \"web\" successfully rolled out")?;
    it.prints("set image deployment/web web=registry.local/web:2", "deployment.apps/web image updated")?;
    it.prints(&status, "...\ndeployment \"web\" successfully rolled out")?;
    it.prints("rollout history deployment/web", "deployment.apps/web\nREVISION CHANGE-CAUSE\n1 <none>\n2 <none>")?;
    it.prints(
        "rollout history deployment/web --revision=2",
        "deployment.apps/web with revision #2\nPod Template:\n...\nImage: registry.local/web:2\n...",
    )?;
    it.prints("rollout undo deployment/web", "deployment.apps/web rolled back")?;
    it.prints(&status, "...\ndeployment \"web\" successfully rolled out")?;
    it.prints("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}", "registry.local/web:1")?;
    it.prints("rollout history deployment/web", "deployment.apps/web\nREVISION CHANGE-CAUSE\n2 <none>\n3 <none>")?;
    it.prints("rollout pause deployment/web", "deployment.apps/web paused")?;
    it.refused("rollout pause deployment/web", "", "error: deployments.apps \"web\" is already paused")?;
    it.prints("rollout resume deployment/web", "deployment.apps/web resumed")?;
    it.prints("rollout restart deployment/web", "deployment.apps/web restarted")?;
    it.prints(&status, "...\ndeployment \"web\" successfully rolled out")?;
    it.prints("scale deployment web --replicas=0", "deployment.apps/web scaled")?;
    it.comes_to("get deployment web --no-headers", "web 0/0 0 0 *")?;
    it.comes_to("get pods", "")
}

pub fn waiting(it: &Case) -> Result<()> {
    it.run_with("create -f -", WEB)?;
    it.prints("wait deployment/web --for=condition=Available --timeout=100s", "deployment.apps/web condition met")?;
    it.prints(
        "wait pod -l app=web --for=condition=Ready --timeout=60s",
        "pod/web-* condition met\npod/web-* condition met",
    )?;
    it.prints(
        "wait deployment/web --for=jsonpath={.status.readyReplicas}=2 --timeout=60s",
        "deployment.apps/web condition met",
    )?;
    it.run("delete deployment web --wait=false")?;
    it.run("wait pod -l app=web --for=delete --timeout=60s")?;
    it.comes_to("get pods", "")?;
    it.run("create configmap w")?;
    it.refused(
        "wait configmap/w --for=delete --timeout=1s",
        "",
        "error: timed out waiting for the condition on configmaps/w",
    )
}
