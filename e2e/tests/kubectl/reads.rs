//! `get` in all its forms, watched and described.

use std::time::Duration;

use anyhow::{Result, ensure};
use orlop_e2e::case::Case;
use orlop_e2e::expect;

use super::{ROLL_LIMIT, WEB};

pub fn reads(it: &Case) -> Result<()> {
    it.run_with("create -f -", WEB)?;
    it.run(&format!("rollout status deployment/web {ROLL_LIMIT}"))?;
    it.run("create configmap b --from-literal=k=1")?;
    it.run("create configmap a")?;
    it.prints("get cm a b", "NAME DATA AGE\na 0 *\nb 1 *")?;
    it.comes_to("get cm --sort-by=.metadata.name --no-headers", "a 0 *\nb 1 *\nkube-root-ca.crt 1 *")?;
    it.prints("get cm --field-selector metadata.name=b -o name", "configmap/b")?;
    it.refused(
        "get cm --field-selector spec.none=b",
        "",
        "*\"spec.none\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"*",
    )?;
    it.prints("get deploy -l app=web -o wide", "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR\nweb 2/2 2 2 * web registry.local/web:1 app=web")?;
    it.prints("get deploy -l app!=web", "")?;
    it.prints("get rs", "NAME DESIRED CURRENT READY AGE\nweb-* 2 2 2 *")?;
    it.prints("get pods", "NAME READY STATUS RESTARTS AGE\nweb-* 1/1 Running 0 *\nweb-* 1/1 Running 0 *")?;
    it.prints("get pods -o wide", "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES\nweb-* 1/1 Running 0 * * hollow-* <none> <none>\nweb-* 1/1 Running 0 * * hollow-* <none> <none>")?;
    it.prints("get pods --field-selector status.phase=Running -o name", "pod/web-*\npod/web-*")?;
    it.prints("get pods --field-selector status.phase!=Running -o name", "")?;
    it.prints(
        "get pods -o custom-columns=PHASE:.status.phase,SA:.spec.serviceAccountName",
        "PHASE SA\nRunning default\nRunning default",
    )?;
    it.prints("get pods -L app --no-headers", "web-* 1/1 Running 0 * web\nweb-* 1/1 Running 0 * web")?;
    it.prints("get cm b -o yaml", &format!("apiVersion: v1\ndata:\nk: \"1\"\nkind: ConfigMap\nmetadata:\ncreationTimestamp: \"*\"\nname: b\nnamespace: {}\nresourceVersion: \"*\"\nuid: *", it.namespace))?;
    let json: serde_json::Value = serde_json::from_str(&it.run("get cm -o json")?)?;
    ensure!(json["kind"] == "List" && json["items"][0]["kind"] == "ConfigMap", "{json}");
    it.prints("get deploy/web cm/a --no-headers", "deployment.apps/web 2/2 2 2 *\nconfigmap/a 0 *")?;
    it.prints("get all -o name", "pod/web-*\npod/web-*\ndeployment.apps/web\nreplicaset.apps/web-*")?;
    let everywhere = it.run("get cm -A")?;
    expect::check(&format!("NAMESPACE NAME DATA AGE\n...\n{} a 0 *\n...", it.namespace), &everywhere)?;
    it.prints("get cm --chunk-size=1 a b -o name", "configmap/a\nconfigmap/b")?;
    it.prints(
        "get svc -n default kubernetes",
        "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE\nkubernetes ClusterIP 10.96.0.1 <none> 443/TCP *",
    )?;
    ensure!(it.run("get --raw /api/v1/namespaces/default")?.contains("\"kind\":\"Namespace\""), "--raw");
    // Other versions' namespaces have the same label, so that only its row is known.
    it.prints("get labels -l app=web", "KEY VALUE OBJECTS KINDS\napp web * *pods:*")?;
    it.prints("get labels --field-selector key=app,value=none", "")?;
    // One refusal a label, behind a warning.
    let refused = it.kubectl.fails(&it.arguments("delete labels --all"), "")?;
    ensure!(refused.contains("the server does not allow this method on the requested resource"), "{refused}");
    it.refused("get --raw /api/v1/nodes/none/proxy/metrics", "", "*nodes \"none\" not found*")?;
    it.prints("get pods -n nowhere", "")?;
    watching(it)
}

/// `get -w` shows what is there and what comes.
fn watching(it: &Case) -> Result<()> {
    let mut command = it.kubectl.command(&it.arguments("get cm -w --no-headers --field-selector metadata.name=w"));
    let mut child = command.stdout(std::process::Stdio::piped()).spawn()?;
    let outcome = (|| {
        std::thread::sleep(Duration::from_secs(2));
        it.run("create configmap w")?;
        it.run(r#"patch configmap w -p '{"data":{"k":"v"}}'"#)?;
        it.run("delete configmap w")
    })();
    std::thread::sleep(Duration::from_secs(2));
    // `timeout` hands the signal on to kubectl.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGTERM)?;
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        std::io::Read::read_to_string(&mut stdout, &mut text)?;
    }
    child.wait()?;
    outcome?;
    expect::check("w 0 *\nw 1 *\nw 1 *", &text)
}

pub fn descriptions(it: &Case) -> Result<()> {
    it.run_with("create -f -", WEB)?;
    it.run(&format!("rollout status deployment/web {ROLL_LIMIT}"))?;
    it.run("expose deployment web --port=80")?;
    it.comes_to("get endpoints web --no-headers", "web *:80,*:80 *")?;
    it.prints(
        "describe deployment web",
        &format!(
            "Name: web\nNamespace: {}\nCreationTimestamp: *\nLabels: app=web\nAnnotations: deployment.kubernetes.io/revision: 1\nSelector: app=web\n\
             Replicas: 2 desired | 2 updated | 2 total | 2 available | 0 unavailable\nStrategyType: RollingUpdate\nMinReadySeconds: 0\n\
             RollingUpdateStrategy: 25% max unavailable, 25% max surge\nPod Template:\n...\nConditions:\nType Status Reason\n---- ------ ------\n\
             Available True MinimumReplicasAvailable\nProgressing True NewReplicaSetAvailable\nOldReplicaSets: <none>\n\
             NewReplicaSet: web-* (2/2 replicas created)\nEvents:\nType Reason Age From Message\n---- ------ ---- ---- -------\n\
             Normal ScalingReplicaSet * deployment-controller Scaled up replica set web-* *to 2*",
            it.namespace
        ),
    )?;
    let pods = it.run("describe pods -l app=web")?;
    for line in [
        "Status: Running",
        "Controlled By: ReplicaSet/web-*",
        "Image: registry.local/web:1",
        "Port: 80/TCP",
        "State: Running",
        "Ready: True",
        "Restart Count: 0",
        "QoS Class: Burstable",
        "Normal Scheduled * default-scheduler Successfully assigned * to hollow-*",
    ] {
        expect::check(&format!("...\n{line}\n..."), &pods)?;
    }
    let service = it.run("describe service web")?;
    for line in
        ["Selector: app=web", "Type: ClusterIP", "Port: <unset> 80/TCP", "TargetPort: 80/TCP", "Endpoints: *:80,*:80"]
    {
        expect::check(&format!("...\n{line}\n..."), &service)?;
    }
    let node = it.run("get nodes -o name")?;
    let node = it.run(&format!("describe {}", node.lines().next().unwrap_or_default()))?;
    for line in [
        "Taints: <none>",
        "Unschedulable: false",
        "Capacity:",
        "Allocatable:",
        "System Info:",
        "Allocated resources:",
        "Ready True * KubeletReady *",
    ] {
        expect::check(&format!("...\n{line}\n..."), &node)?;
    }
    it.refused("describe pod none", "", "Error from server (NotFound): pods \"none\" not found")?;
    it.prints(
        "get events --field-selector involvedObject.kind=Deployment --no-headers",
        "* Normal ScalingReplicaSet deployment/web Scaled up replica set web-*",
    )
}
