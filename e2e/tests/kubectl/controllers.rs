//! Replication controllers and single pods, as Kubernetes' conformance tests of kubectl use them: Update Demo, expose, describe, patch, label,
//! replace, run, dry run.

use anyhow::{Result, ensure};
use orlop_e2e::case::Case;
use orlop_e2e::expect;
use serde_json::Value;

const DEMO: &str = r#"
apiVersion: v1
kind: ReplicationController
metadata: {name: update-demo}
spec:
  replicas: 2
  selector: {name: update-demo, version: nautilus}
  template:
    metadata: {labels: {name: update-demo, version: nautilus}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: update-demo
        image: registry.local/nautilus:1
        ports: [{containerPort: 80, protocol: TCP}]
"#;

/// Counts its pods by the template that conformance uses.
fn pods_are(it: &Case, count: usize) -> Result<()> {
    let expected = vec!["pod/update-demo-*"; count].join("\n");
    it.comes_to("get pods -l name=update-demo -o name", &expected)
}

/// Created and stopped; scaled down and up.
pub fn update_demo(it: &Case) -> Result<()> {
    it.prints_with("create -f -", DEMO, "replicationcontroller/update-demo created")?;
    it.comes_to("get rc", "NAME DESIRED CURRENT READY AGE\nupdate-demo 2 2 2 *")?;
    pods_are(it, 2)?;
    it.prints("scale rc update-demo --replicas=1 --timeout=60s", "replicationcontroller/update-demo scaled")?;
    it.comes_to("get rc update-demo --no-headers", "update-demo 1 1 1 *")?;
    pods_are(it, 1)?;
    it.refused("scale rc update-demo --replicas=5 --current-replicas=3", "", "*Expected replicas to be 3, was 1*")?;
    it.prints("scale rc update-demo --replicas=2 --timeout=60s", "replicationcontroller/update-demo scaled")?;
    it.comes_to(
        "get rc update-demo -o wide --no-headers",
        "update-demo 2 2 2 * update-demo registry.local/nautilus:1 name=update-demo,version=nautilus",
    )?;
    pods_are(it, 2)?;
    // A pod that goes is replaced; one that leaves the selection is let go, and replaced, too.
    let first = it.run("get pods -l name=update-demo -o name")?;
    let names: Vec<&str> = first.lines().collect();
    ensure!(names.len() == 2, "{first}");
    it.run(&format!("delete {} --grace-period=0 --force", names[0]))?;
    pods_are(it, 2)?;
    it.run(&format!("label {} version=other --overwrite", names[1]))?;
    it.comes_to("get pods -l name=update-demo,version=nautilus -o name", "pod/update-demo-*\npod/update-demo-*")?;
    it.prints(&format!("get {} -o jsonpath={{.metadata.ownerReferences}}", names[1]), "")?;
    it.prints(&format!("delete {} --grace-period=0 --force", names[1]), "pod \"update-demo-*\" force deleted*")?;
    it.prints(
        "delete --grace-period=0 --force rc update-demo",
        "replicationcontroller \"update-demo\" force deleted*",
    )?;
    it.prints("get rc,svc -l name=update-demo --no-headers", "")?;
    it.comes_to("get pods -l name=update-demo -o name", "")
}

/// Exposed, described, its pods patched and labelled.
pub fn controllers(it: &Case) -> Result<()> {
    let primary = DEMO
        .replace("update-demo", "primary")
        .replace("replicas: 2", "replicas: 1")
        .replace("containerPort: 80", "containerPort: 6379");
    it.prints_with("create -f -", &primary, "replicationcontroller/primary created")?;
    it.comes_to("get rc primary --no-headers", "primary 1 1 1 *")?;
    it.prints("expose rc primary --name=rm2 --port=1234 --target-port=6379", "service/rm2 exposed")?;
    it.comes_to("get endpoints rm2 --no-headers", "rm2 *:6379 *")?;
    it.prints("get service rm2 -o jsonpath={.spec.selector}", r#"{"name":"primary","version":"nautilus"}"#)?;
    it.prints("expose service rm2 --name=rm3 --port=2345 --target-port=6379", "service/rm3 exposed")?;
    it.comes_to("get endpoints rm3 --no-headers", "rm3 *:6379 *")?;

    it.prints(
        "describe rc primary",
        &format!(
            "Name: primary\nNamespace: {}\nSelector: name=primary,version=nautilus\nLabels: name=primary\nversion=nautilus\n\
             Annotations: <none>\nReplicas: 1 current / 1 desired\nPods Status: 1 Running / 0 Waiting / 0 Succeeded / 0 Failed\n\
             Pod Template:\nLabels: name=primary\nversion=nautilus\nContainers:\nprimary:\nImage: registry.local/nautilus:1\nPort: 6379/TCP\n\
             ...\nEvents:\nType Reason Age From Message\n---- ------ ---- ---- -------\n\
             Normal SuccessfulCreate * replication-controller Created pod: primary-*",
            it.namespace
        ),
    )?;
    let pod = it.run("get pods -l name=primary -o name")?;
    let pod = pod.trim();
    let described = it.run(&format!("describe {pod}"))?;
    for line in [
        "Status: Running",
        "IP: 10.*",
        "Controlled By: ReplicationController/primary",
        "State: Running",
        "QoS Class: BestEffort",
    ] {
        expect::check(&format!("...\n{line}\n..."), &described)?;
    }
    it.prints(
        "describe service rm2",
        &format!(
            "Name: rm2\nNamespace: {}\nLabels: name=primary\nversion=nautilus\nAnnotations: <none>\n\
             Selector: name=primary,version=nautilus\nType: ClusterIP\n...\nPort: <unset> 1234/TCP\nTargetPort: 6379/TCP\n\
             Endpoints: *:6379\nSession Affinity: None\n...",
            it.namespace
        ),
    )?;
    it.prints(
        &format!("describe namespace {}", it.namespace),
        &format!(
            "Name: {0}\nLabels: kubernetes.io/metadata.name={0}\nAnnotations: <none>\nStatus: Active\nNo resource quota.\n\
             No LimitRange resource.",
            it.namespace
        ),
    )?;

    it.prints(&format!(r#"patch {pod} -p '{{"metadata":{{"annotations":{{"x":"y"}}}}}}'"#), &format!("{pod} patched"))?;
    it.prints(&format!("get {pod} -o jsonpath={{.metadata.annotations.x}}"), "y")?;
    it.prints(&format!("label {pod} testing-label=testing-label-value"), &format!("{pod} labeled"))?;
    it.prints(&format!("get {pod} -L testing-label --no-headers"), "primary-* 1/1 Running 0 * testing-label-value")?;
    it.prints(&format!("label {pod} testing-label-"), &format!("{pod} unlabeled"))?;
    it.prints(&format!("get {pod} -L testing-label --no-headers"), "primary-* 1/1 Running 0 *")?;
    // By default the pods stay when the API is asked to delete it; kubectl asks for more.
    it.prints("delete rc primary --cascade=orphan", "replicationcontroller \"primary\" deleted*")?;
    it.prints(&format!("get {pod} -o jsonpath={{.metadata.ownerReferences}}"), "")
}

/// Run, tried, replaced.
pub fn single_pods(it: &Case) -> Result<()> {
    it.prints("run one --image=registry.local/one:1 --labels=run=one", "pod/one created")?;
    it.comes_to("get pod one --no-headers", "one 1/1 Running 0 *")?;
    let image =
        |image: &str| format!(r#"patch pod one -p '{{"spec":{{"containers":[{{"name":"one","image":"{image}"}}]}}}}'"#);
    let now = "get pod one -o jsonpath={.spec.containers[0].image}";
    it.prints(&format!("{} --dry-run=server", image("registry.local/two:1")), "pod/one patched*")?;
    it.prints(now, "registry.local/one:1")?;
    it.prints("get pods -l run=one -o name", "pod/one")?;
    let mut pod: Value = serde_json::from_str(&it.run("get pod one -o json")?)?;
    pod["spec"]["containers"][0]["image"] = "registry.local/three:1".into();
    it.prints_with("replace -f -", &pod.to_string(), "pod/one replaced")?;
    it.prints(now, "registry.local/three:1")?;
    // What was read before is of the past now.
    pod["spec"]["containers"][0]["image"] = "registry.local/four:1".into();
    it.refused("replace -f -", &pod.to_string(), "Error from server (Conflict): *the object has been modified*")?;
    it.prints("run never --image=registry.local/never:1 --restart=Never", "pod/never created")?;
    it.prints("get pod never -o jsonpath={.spec.restartPolicy}", "Never")?;
    it.prints("run tried --image=registry.local/tried:1 --dry-run=server", "pod/tried created (server dry run)")?;
    it.refused("get pod tried", "", "Error from server (NotFound): pods \"tried\" not found")?;
    it.prints(
        "delete pods one never --grace-period=0 --force",
        "pod \"one\" force deleted*\npod \"never\" force deleted*",
    )
}
