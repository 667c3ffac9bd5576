//! Kubernetes' own kube-scheduler and kube-controller-manager work on our API server, as on theirs: no controller or scheduler of ours runs.
//!
//! They are built by `scripts/kubernetes` from Debian's source package (1.20), which takes minutes: `make test-kubernetes` runs this, `make test` does not.
//! They speak protobuf and watch as they do by default. Of that version's controllers those are left out whose groups ended before 1.35 (`policy/v1beta1`,
//! `discovery.k8s.io/v1beta1`, `batch/v1beta1`), as is the scheduler's preemption, which reads the first of these. Our agent plays the nodes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::child::Child;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::kubernetes::{self, Program};
use orlop_e2e::server::Server;
use orlop_e2e::tool;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// Controllers of 1.20 that need nothing which 1.35 no longer has.
const CONTROLLERS: &str = "deployment,replicaset,replicationcontroller,daemonset,statefulset,job,namespace,garbagecollector,serviceaccount,podgc,ttl,\
    resourcequota,pvc-protection,pv-protection,nodelifecycle,endpoint,persistentvolume-binder,horizontalpodautoscaling,ttl-after-finished,\
    root-ca-cert-publisher,clusterrole-aggregation";

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: "first"}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: i}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template: {metadata: {labels: {app: everywhere}}, spec: {containers: [{name: c, image: i}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: pods}
spec: {hard: {pods: "20"}}
"#;

#[test]
fn kubernetes_own_components_run_on_our_api_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let server = Server::start(&data, "embedded")?;
    let kubectl = Kubectl::new(&server.kubeconfig())?;
    let mut parts = parts(folder.path(), &data, &server.kubeconfig())?;
    let outcome = scenario(&kubectl);
    outcome.map_err(|error| parts.iter_mut().fold(error, |error, it| error.context(it.tail())))
}

/// Scheduler, controllers and three hollow nodes.
fn parts(folder: &Path, data: &Path, kubeconfig: &Path) -> Result<Vec<Child>> {
    let programs = kubernetes::programs();
    let config = folder.join("scheduler.json");
    // It takes no port 0, and without an address it would listen on all of the machine's.
    let health = format!("127.0.0.1:{}", tool::free_port()?);
    let scheduling = serde_json::json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1beta1", "kind": "KubeSchedulerConfiguration",
        "healthzBindAddress": health, "metricsBindAddress": health,
        "clientConnection": { "kubeconfig": data.join("scheduler.kubeconfig") },
        "profiles": [{ "schedulerName": "default-scheduler", "plugins": { "postFilter": { "disabled": [{ "name": "*" }] } } }]
    });
    std::fs::write(&config, scheduling.to_string())?;
    let part = |program: Program, kubeconfig: &str, arguments: &[&str]| {
        kubernetes::start(&programs, program, &data.join(kubeconfig), folder, arguments)
    };
    let authority = data.join("pki/ca.crt").display().to_string();
    let mut agent = Command::new(tool::ours("orlop-agent")?);
    agent.arg("--kubeconfig").arg(kubeconfig).arg("--data-dir").arg(folder.join("hollow")).env("HOME", folder);
    agent.args(["--runtime", "hollow", "--hollow-nodes", "3", "--node-name", "hollow", "--port", "0"]);
    Ok(vec![
        part(Program::Scheduler, "scheduler.kubeconfig", &["--config", &config.display().to_string()])?,
        part(
            Program::Controllers,
            "controllers.kubeconfig",
            &["--controllers", CONTROLLERS, "--root-ca-file", &authority],
        )?,
        Child::start("orlop-agent", folder, &mut agent)?,
    ])
}

fn scenario(kubectl: &Kubectl) -> Result<()> {
    let number = |it: &Value, path: &str| it.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    kubectl.run(&["create", "namespace", "theirs"])?;
    // It is the controllers who make it, and pods are refused before.
    kubectl.until(&["serviceaccount", "default", "-n", "theirs"], LIMIT, |_| true)?;
    kubectl.run_with(&["apply", "-n", "theirs", "-f", "-"], MANIFEST)?;

    // The nodes' taints went, pods were made, bound and counted, and addresses published.
    kubectl.run(&["rollout", "status", "-n", "theirs", "deployment/web", "--timeout", "60s"])?;
    kubectl.run(&["rollout", "status", "-n", "theirs", "statefulset/db", "--timeout", "60s"])?;
    kubectl.run(&["rollout", "status", "-n", "theirs", "daemonset/everywhere", "--timeout", "60s"])?;
    kubectl.until(&["job", "once", "-n", "theirs"], LIMIT, |it| number(it, "/status/active") == 1)?;
    kubectl.until(&["endpoints", "web", "-n", "theirs"], LIMIT, |it| {
        it["subsets"][0]["addresses"].as_array().is_some_and(|it| it.len() == 3)
    })?;
    kubectl.until(&["quota", "pods", "-n", "theirs"], LIMIT, |it| it["status"]["used"]["pods"] == "9")?;
    kubectl.until(&["configmap", "kube-root-ca.crt", "-n", "theirs"], LIMIT, |it| {
        it["data"]["ca.crt"].as_str().is_some_and(|it| it.contains("BEGIN CERTIFICATE"))
    })?;

    // A second revision, and back.
    kubectl.run(&["set", "image", "-n", "theirs", "deployment/web", "c=second"])?;
    kubectl.run(&["rollout", "status", "-n", "theirs", "deployment/web", "--timeout", "60s"])?;
    kubectl.run(&["rollout", "undo", "-n", "theirs", "deployment/web"])?;
    kubectl.run(&["rollout", "status", "-n", "theirs", "deployment/web", "--timeout", "60s"])?;
    let image = kubectl.json(&["deployment", "web", "-n", "theirs"])?;
    ensure!(image.pointer("/spec/template/spec/containers/0/image") == Some(&"first".into()), "{image}");
    kubectl.run(&["scale", "-n", "theirs", "statefulset/db", "--replicas", "1"])?;
    kubectl.until(&["statefulset", "db", "-n", "theirs"], LIMIT, |it| number(it, "/status/replicas") == 1)?;

    // Who leads says so, and the events tell of both.
    for name in ["kube-scheduler", "kube-controller-manager"] {
        let lease = kubectl.json(&["lease", name, "-n", "kube-system"])?;
        ensure!(lease["spec"]["holderIdentity"].as_str().is_some_and(|it| !it.is_empty()), "{lease}");
    }
    let events = kubectl.items(&["events", "-n", "theirs"])?;
    for reason in ["Scheduled", "SuccessfulCreate", "ScalingReplicaSet"] {
        ensure!(events.iter().any(|it| it["reason"] == reason), "no event says {reason}");
    }

    // Dependents first, then the rest with its namespace.
    kubectl.run(&["delete", "-n", "theirs", "deployment/web", "--cascade=foreground", "--timeout", "60s"])?;
    for kind in ["replicasets", "pods"] {
        let left = kubectl.items(&[kind, "-n", "theirs", "-l", "app=web"])?;
        ensure!(left.is_empty(), "a deployment was gone before its {kind}: {left:?}");
    }
    kubectl.run(&["delete", "namespace", "theirs", "--timeout", "60s"]).context("the namespace goes")?;
    Ok(())
}
