//! The real kubectl, every version at hand, against one cluster of separate binaries and hollow nodes: it works, and prints what it prints
//! against Kubernetes.
//!
//! Each version has a namespace and a thread of its own. The oldest and the newest do everything, those between the part in which versions
//! differ: discovery, bodies, apply, patches. The nodes are touched by the newest alone.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use orlop_e2e::case::Case;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::expect;
use orlop_e2e::kubectl::Kubectl;

/// How long a roll-out of hollow pods may take while other threads keep both cores busy.
const ROLL_LIMIT: &str = "--timeout=120s";
const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: registry.local/web:1
        ports: [{containerPort: 80}]
        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
"#;

/// Part of the behaviour, by what it is about.
type Part = fn(&Case) -> Result<()>;

/// What every version does.
const SHORT: &[(&str, Part)] =
    &[("discovery", discovery), ("objects", objects), ("apply", apply), ("patches", patches)];
/// What the oldest and the newest do beside. (The first is the one on the path, of some version between.)
const LONG: &[(&str, Part)] = &[
    ("reads", reads),
    ("server-side apply", server_side_apply),
    ("simple kinds", simple_kinds),
    ("edit", edit),
    ("rollouts", rollouts),
    ("waiting", waiting),
    ("descriptions", descriptions),
    ("explain", explain),
    ("deletion", deletion),
];

#[test]
fn every_kubectl_works_as_against_kubernetes() -> Result<()> {
    let cluster = Cluster::start(Options { hollow_nodes: 3, ..Options::default() })?;
    let kubectls = Kubectl::all(&cluster.kubeconfig())?;
    let last = kubectls.len() - 1;
    let failures = std::thread::scope(|scope| {
        let threads: Vec<_> = kubectls
            .into_iter()
            .enumerate()
            .map(|(at, kubectl)| {
                scope.spawn(move || {
                    let name = kubectl.program().file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let parts = SHORT.iter().chain(LONG.iter().filter(|_| at == 1 || at == last));
                    let mut failures = Vec::new();
                    for (what, part) in parts {
                        let namespace = format!("k{at}-{}", what.replace(' ', "-"));
                        let case = Case { kubectl: kubectl.clone(), namespace };
                        let outcome = case
                            .prints(
                                &format!("create namespace {}", case.namespace),
                                &format!("namespace/{} created", case.namespace),
                            )
                            .and_then(|()| part(&case));
                        if let Err(error) = outcome {
                            let failure = format!("{name}: {what}: {error:#}");
                            // Said at once, too: the whole takes minutes.
                            eprintln!("{failure}\n");
                            failures.push(failure);
                        }
                    }
                    failures
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|it| it.join().unwrap_or_else(|_| vec!["a thread panicked".into()]))
            .collect::<Vec<_>>()
    });
    if !failures.is_empty() {
        bail!("{} failures:\n{}\n{}", failures.len(), failures.join("\n\n"), cluster.logs());
    }
    let case = Case { kubectl: cluster.kubectl()?, namespace: "default".into() };
    nodes(&case).with_context(|| cluster.logs())
}

fn discovery(it: &Case) -> Result<()> {
    let resources = it.run("api-resources")?;
    for line in [
        "NAME SHORTNAMES APIVERSION NAMESPACED KIND",
        "configmaps cm v1 true ConfigMap",
        "endpoints ep v1 true Endpoints",
        "namespaces ns v1 false Namespace",
        "nodes no v1 false Node",
        "pods po v1 true Pod",
        "serviceaccounts sa v1 true ServiceAccount",
        "services svc v1 true Service",
        "deployments deploy apps/v1 true Deployment",
        "replicasets rs apps/v1 true ReplicaSet",
        "leases coordination.k8s.io/v1 true Lease",
        "endpointslices discovery.k8s.io/v1 true EndpointSlice",
        "events ev events.k8s.io/v1 true Event",
        "clusterroles rbac.authorization.k8s.io/v1 false ClusterRole",
    ] {
        expect::check(&format!("...\n{line}\n..."), &resources)?;
    }
    it.prints("api-resources --namespaced=false --api-group= -o name --no-headers", "namespaces\nnodes")?;
    let versions = it.run("api-versions")?;
    for version in [
        "apps/v1",
        "coordination.k8s.io/v1",
        "discovery.k8s.io/v1",
        "events.k8s.io/v1",
        "rbac.authorization.k8s.io/v1",
        "v1",
    ] {
        ensure!(versions.lines().any(|it| it == version), "{version} is not in {versions}");
    }
    let version = it.run("version -o yaml")?;
    ensure!(version.contains("serverVersion:") && version.contains("gitVersion: v1.35"), "{version}");
    ensure!(it.run("cluster-info")?.contains("Kubernetes control plane"), "cluster-info");
    it.prints("auth can-i create pods", "yes")?;
    it.prints("auth can-i create pods --as=nobody", "no").or_else(|_| {
        // Older versions say "no" and end with 1.
        let output = it.kubectl.output(&it.arguments("auth can-i create pods --as=nobody"), "")?;
        ensure!(output.stdout.trim() == "no" && output.code == 1, "{output:?}");
        Ok(())
    })?;
    Ok(())
}

fn objects(it: &Case) -> Result<()> {
    it.prints("create configmap a --from-literal=k=1 --from-literal=l=2", "configmap/a created")?;
    it.prints("label configmap a tier=back", "configmap/a labeled")?;
    it.prints("label configmap a tier=back", "configmap/a not labeled")?;
    it.refused(
        "label configmap a tier=front",
        "",
        "error: 'tier' already has a value (back), and --overwrite is false",
    )?;
    it.prints("label configmap a tier=front --overwrite", "configmap/a labeled")?;
    // 1.27 says "annotate" itself.
    it.prints("annotate configmap a note=x", "configmap/a annotate*")?;
    it.prints("get configmap a --show-labels", "NAME DATA AGE LABELS\na 2 * tier=front")?;
    it.prints("label configmap a tier-", "configmap/a unlabeled")?;
    it.prints("get configmap a -o name", "configmap/a")?;
    it.refused("create configmap a", "", "error: failed to create configmap: configmaps \"a\" already exists")?;
    it.refused("get configmap none", "", "Error from server (NotFound): configmaps \"none\" not found")?;
    it.refused("get nothings", "", "error: the server doesn't have a resource type \"nothings\"")?;
    it.prints("delete configmap a", "configmap \"a\" deleted*")?;
    it.refused("delete configmap a", "", "Error from server (NotFound): configmaps \"a\" not found")
}

fn apply(it: &Case) -> Result<()> {
    it.prints_with("apply -f -", WEB, "deployment.apps/web created")?;
    it.prints_with("apply -f -", WEB, "deployment.apps/web unchanged")?;
    let three = WEB.replace("replicas: 2", "replicas: 3");
    let diff = it.kubectl.output(&it.arguments("diff -f -"), &three)?;
    ensure!(diff.code == 1 && diff.stdout.contains("-  replicas: 2\n+  replicas: 3"), "diff says {diff:?}");
    it.prints_with("apply -f -", &three, "deployment.apps/web configured")?;
    it.prints("get deployment web -o jsonpath={.spec.replicas}", "3")?;
    it.prints(
        &format!("rollout status deployment/web {ROLL_LIMIT}"),
        "...\ndeployment \"web\" successfully rolled out",
    )?;
    it.prints("get deployment web", "NAME READY UP-TO-DATE AVAILABLE AGE\nweb 3/3 3 3 *")?;
    // What the last manifest had and this one has not is taken away; what somebody else set stays.
    it.run("annotate deployment web mine=yes")?;
    let pruned = WEB.replace("labels: {app: web}\nspec", "labels: {tier: front}\nspec");
    it.prints_with("apply -f -", &pruned, "deployment.apps/web configured")?;
    it.prints("get deployment web -o jsonpath={.metadata.labels}", "{\"tier\":\"front\"}")?;
    it.prints("get deployment web -o jsonpath={.metadata.annotations.mine}", "yes")?;
    // A mistake in a field's name is found by the validation that is on by default.
    let wrong = WEB.replace("replicas: 2", "replicsa: 2");
    it.refused("apply -f -", &wrong, "...\n*strict decoding error: unknown field \"spec.replicsa\"")?;
    let two = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: two}\nstringData: {k: v}\n";
    it.prints_with("apply -f -", two, "configmap/one created\nsecret/two created")?;
    it.prints("get secret two -o jsonpath={.data.k}", "dg==")?;
    it.prints_with("delete -f - --wait", two, "configmap \"one\" deleted*\nsecret \"two\" deleted*")
}

fn patches(it: &Case) -> Result<()> {
    it.run_with("create -f -", &WEB.replace("replicas: 2", "replicas: 0"))?;
    let get = |path: &str, expected: &str| it.prints(&format!("get deployment web -o jsonpath={path}"), expected);
    it.prints(
        r#"patch deployment web --type=json -p '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"registry.local/web:2"}]'"#,
        "deployment.apps/web patched",
    )?;
    get("{.spec.template.spec.containers[0].image}", "registry.local/web:2")?;
    it.prints(
        r#"patch deployment web --type=merge -p '{"metadata":{"labels":{"app":null,"by":"merge"}}}'"#,
        "deployment.apps/web patched",
    )?;
    get("{.metadata.labels}", "{\"by\":\"merge\"}")?;
    it.prints(
        r#"patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"registry.local/side:1"}]}}}}'"#,
        "deployment.apps/web patched",
    )?;
    get("{.spec.template.spec.containers[*].name}", "side web")?;
    it.prints(
        r#"patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"side","$patch":"delete"}]}}}}'"#,
        "deployment.apps/web patched",
    )?;
    get("{.spec.template.spec.containers[*].name}", "web")?;
    it.prints(
        r#"patch deployment web -p '{"metadata":{"labels":{"by":"merge"}}}'"#,
        "deployment.apps/web patched (no change)",
    )?;
    it.prints(
        r#"patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":0}}'"#,
        "deployment.apps/web patched*",
    )
    .or_else(|_| {
        it.prints(
            r#"patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":0}}'"#,
            "scale.autoscaling/web patched*",
        )
    })?;
    it.refused(
        r#"patch deployment web --type=json -p '[{"op":"test","path":"/spec/replicas","value":7}]'"#,
        "",
        "The request is invalid: *",
    )?;
    it.prints("scale deployment web --replicas=1", "deployment.apps/web scaled")?;
    it.refused(
        "scale deployment web --current-replicas=5 --replicas=2",
        "",
        "error: Expected replicas to be 5, was 1",
    )?;
    it.prints(&format!("rollout status deployment/web {ROLL_LIMIT}"), "...\ndeployment \"web\" successfully rolled out")
}

fn reads(it: &Case) -> Result<()> {
    it.run_with("create -f -", WEB)?;
    it.run(&format!("rollout status deployment/web {ROLL_LIMIT}"))?;
    it.run("create configmap b --from-literal=k=1")?;
    it.run("create configmap a")?;
    it.prints("get cm a b", "NAME DATA AGE\na 0 *\nb 1 *")?;
    it.comes_to("get cm --sort-by=.metadata.name --no-headers", "a 0 *\nb 1 *\nkube-root-ca.crt 1 *")?;
    it.prints("get cm --field-selector metadata.name=b -o name", "configmap/b")?;
    it.refused("get cm --field-selector spec.none=b", "", "*\"spec.none\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"*")?;
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

fn server_side_apply(it: &Case) -> Result<()> {
    let config =
        |value: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: s}}\ndata: {{k: '{value}'}}\n");
    it.prints_with("apply --server-side -f -", &config("1"), "configmap/s serverside-applied")?;
    it.prints_with("apply --server-side -f -", &config("1"), "configmap/s serverside-applied")?;
    it.refused(
        "apply --server-side --field-manager=other -f -",
        &config("2"),
        "error: Apply failed with 1 conflict: conflict with \"kubectl\": .data.k\n...",
    )?;
    it.prints("get cm s -o jsonpath={.data.k}", "1")?;
    it.prints_with(
        "apply --server-side --field-manager=other --force-conflicts -f -",
        &config("2"),
        "configmap/s serverside-applied",
    )?;
    it.prints("get cm s -o jsonpath={.data.k}", "2")?;
    it.prints("get cm s --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}", "*other*")?;
    it.prints_with("apply --server-side -f -", WEB, "deployment.apps/web serverside-applied")?;
    it.run(&format!("rollout status deployment/web {ROLL_LIMIT}"))?;
    it.prints_with(
        "apply --server-side -f -",
        &WEB.replace("replicas: 2", "replicas: 1"),
        "deployment.apps/web serverside-applied",
    )?;
    it.prints("get deploy web -o jsonpath={.spec.replicas}", "1")
}

fn simple_kinds(it: &Case) -> Result<()> {
    it.prints("create deployment d --image=registry.local/d:1 --replicas=1", "deployment.apps/d created")?;
    it.prints("create secret generic s --from-literal=p=q", "secret/s created")?;
    it.prints("get secret s", "NAME TYPE DATA AGE\ns Opaque 1 *")?;
    it.prints("create service clusterip c --tcp=80:8080", "service/c created")?;
    it.prints("get service c", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE\nc ClusterIP 10.96.* <none> 80/TCP *")?;
    it.prints("create service nodeport n --tcp=80", "service/n created")?;
    it.prints("get service n --no-headers", "n NodePort 10.96.* <none> 80:3*/TCP *")?;
    it.prints("create serviceaccount bot", "serviceaccount/bot created")?;
    ensure!(it.run("create token bot")?.trim().split('.').count() == 3, "a token has three parts");
    it.prints("create role r --verb=get,list --resource=pods", "role.rbac.authorization.k8s.io/r created")?;
    it.prints(
        &format!("create rolebinding b --role=r --serviceaccount={}:bot", it.namespace),
        "rolebinding.rbac.authorization.k8s.io/b created",
    )?;
    it.prints("get rolebinding b", "NAME ROLE AGE\nb Role/r *")?;
    it.prints(&format!("auth can-i list pods --as=system:serviceaccount:{}:bot", it.namespace), "yes")?;
    it.prints(
        &format!("create clusterrole {}-r --verb=get --resource=nodes", it.namespace),
        "clusterrole.rbac.authorization.k8s.io/* created",
    )?;
    it.prints("expose deployment d --port=80 --target-port=8080", "service/d exposed")?;
    it.prints("get service d -o jsonpath={.spec.selector}", "{\"app\":\"d\"}")?;
    it.comes_to("get endpoints d --no-headers", "d *:8080 *")?;
    it.comes_to("get endpointslices -l kubernetes.io/service-name=d --no-headers", "d-* IPv4 8080 * *")?;
    it.prints("run one --image=registry.local/one:1 --restart=Never", "pod/one created")?;
    it.comes_to("get pod one --no-headers", "one 1/1 Running 0 *")?;
    it.prints("create configmap dry --dry-run=server", "configmap/dry created (server dry run)")?;
    it.refused("get configmap dry", "", "Error from server (NotFound): configmaps \"dry\" not found")?;
    it.refused("create secret generic Bad_Name", "", "error: failed to create secret Secret \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of*")
}

fn edit(it: &Case) -> Result<()> {
    it.run("create configmap e --from-literal=k=old")?;
    let edit = |script: &str| -> Result<String> {
        let mut command = it.kubectl.command(&it.arguments("edit configmap e"));
        let output = command.env("KUBE_EDITOR", format!("sed -i {script}")).output()?;
        ensure!(output.status.success(), "edit {script}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    expect::check("configmap/e edited", &edit("s/old/new/")?)?;
    it.prints("get configmap e -o jsonpath={.data.k}", "new")?;
    expect::check("Edit cancelled, no changes made.", &edit("s/absent/new/")?)
        .or_else(|_| edit("s/absent/new/").map(drop))
}

fn rollouts(it: &Case) -> Result<()> {
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

fn waiting(it: &Case) -> Result<()> {
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

fn descriptions(it: &Case) -> Result<()> {
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

fn explain(it: &Case) -> Result<()> {
    expect::check("...\nKIND: Deployment\nVERSION: v1\n...", &it.run("explain deployment")?).or_else(|_| {
        expect::check("GROUP: apps\nKIND: Deployment\nVERSION: v1\n...", &it.run("explain deployment")?)
    })?;
    let recursive = it.run("explain deployment --recursive")?;
    for field in ["progressDeadlineSeconds", "imagePullPolicy", "matchExpressions"] {
        ensure!(recursive.contains(field), "explain --recursive lacks {field}");
    }
    let field = it.run("explain pod.spec.containers.image")?;
    expect::check("...\nKIND: Pod\nVERSION: v1\n...\nFIELD: image <string>\n...", &field)?;
    ensure!(field.contains("Container image name"), "{field}");
    ensure!(it.run("explain cm.data")?.contains("<map[string]string>"), "explain cm.data");
    it.refused("explain pod.spec.none", "", "error: field \"none\" does not exist")
}

fn deletion(it: &Case) -> Result<()> {
    it.run_with("create -f -", WEB)?;
    it.run(&format!("rollout status deployment/web {ROLL_LIMIT}"))?;
    it.prints("delete deployment web --cascade=foreground --timeout=100s", "deployment.apps \"web\" deleted*")?;
    it.prints("get rs,pods", "")?;
    it.run_with("create -f -", WEB)?;
    it.run(&format!("rollout status deployment/web {ROLL_LIMIT}"))?;
    it.prints("delete deployment web --cascade=orphan", "deployment.apps \"web\" deleted*")?;
    it.prints("get rs --no-headers", "web-* 2 2 2 *")?;
    it.prints("get rs -o jsonpath={.items[0].metadata.ownerReferences}", "")?;
    // A Deployment of the same selector adopts what was left.
    it.run_with("create -f -", WEB)?;
    it.run(&format!("rollout status deployment/web {ROLL_LIMIT}"))?;
    it.prints("get rs --no-headers", "web-* 2 2 2 *")?;
    it.run("create configmap one")?;
    it.run("label cm one x=y")?;
    it.prints("delete cm -l x=y", "configmap \"one\" deleted*")?;
    it.prints(
        "delete pods --all --wait --grace-period=0 --force",
        "pod \"web-*\" force deleted*\npod \"web-*\" force deleted*",
    )?;
    it.prints("delete cm none --ignore-not-found", "")?;
    // A namespace takes everything with it.
    it.prints(&format!("delete namespace {} --timeout=100s", it.namespace), "namespace \"*\" deleted*")?;
    it.refused(
        &format!("get namespace {}", it.namespace),
        "",
        "Error from server (NotFound): namespaces \"*\" not found",
    )
}

fn nodes(it: &Case) -> Result<()> {
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
