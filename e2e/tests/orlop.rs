//! Our own command against a real cluster of separate binaries and hollow nodes: what it prints, where errors go, and how it ends.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::case::Case;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::expect;

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: "registry.local/web:1"}]
"#;

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{k: '{value}'}}\n")
}

#[test]
fn the_command_does_what_users_know_from_kubectl() -> Result<()> {
    let mut cluster = Cluster::start(Options { hollow_nodes: 2, ..Options::default() })?;
    let case = |namespace: &str| -> Result<Case> {
        let it = Case { kubectl: cluster.orlop()?, namespace: namespace.into() };
        it.prints(&format!("create namespace {namespace}"), &format!("namespace/{namespace} created"))?;
        Ok(it)
    };
    type Part = (&'static str, fn(&Case) -> Result<()>);
    let parts: [Part; 6] = [
        ("objects", objects),
        ("reads", reads),
        ("apply", apply),
        ("rollouts", rollouts),
        ("watching", watching),
        ("about", about),
    ];
    for (name, part) in parts {
        case(name).and_then(|it| part(&it)).with_context(|| format!("{name}\n{}", cluster.logs()))?;
    }
    pages(&case("pages")?, &cluster.kubectl()?).with_context(|| cluster.logs())?;
    let away = case("away")?;
    let watched = watched(&away, || {
        cluster.kill_and_restart("apiserver")?;
        cluster.wait_ready()?;
        away.run("create configmap w")?;
        // The pause before a watch begins again grows to 5 s at most.
        std::thread::sleep(Duration::from_secs(6));
        away.run("delete configmap w").map(drop)
    })?;
    expect::check("w 0 *\nw 0 *", &watched.0).context("a watch goes on behind the restart of the server")?;
    ensure!(watched.1.starts_with("warning: the watch was interrupted"), "it says so: {:?}", watched.1);
    let orlop = cluster.orlop()?;
    cluster.part("apiserver")?.kill();
    let away = orlop.output(&["get", "pods"], "")?;
    ensure!(away.code == 1 && away.stdout.is_empty() && away.stderr.starts_with("error: "), "no server: {away:?}");
    Ok(())
}

fn objects(it: &Case) -> Result<()> {
    it.prints("create configmap a --from-literal=k=1 --from-literal=l=2", "configmap/a created")?;
    it.prints("create secret generic s --from-literal=p=q", "secret/s created")?;
    it.prints("create serviceaccount bot", "serviceaccount/bot created")?;
    ensure!(it.run("create token bot")?.trim().split('.').count() == 3, "a token has three parts");
    it.prints("create configmap dry --dry-run=server", "configmap/dry created (server dry run)")?;
    it.prints("get configmap a", "NAME DATA AGE\na 2 *")?;
    it.prints("get cm a -o name", "configmap/a")?;
    it.prints("get secret s -o wide --no-headers", "s Opaque 1 *")?;
    let yaml = it.run("get cm a -o yaml")?;
    expect::check("...\nkind: ConfigMap\nmetadata:\n...\nname: a\n...", &yaml)?;
    let json: serde_json::Value = serde_json::from_str(&it.run("get cm a -o json")?)?;
    ensure!(json["kind"] == "ConfigMap" && json["data"]["k"] == "1", "{json}");
    it.prints("label configmap a tier=back", "configmap/a labeled")?;
    it.refused(
        "label configmap a tier=front",
        "",
        "error: 'tier' already has a value (back), and --overwrite is false",
    )?;
    it.prints("label configmap a tier=front --overwrite", "configmap/a labeled")?;
    it.prints("get cm -l tier=front --show-labels", "NAME DATA AGE LABELS\na 2 * tier=front")?;
    it.prints("annotate configmap a note=x", "configmap/a annotated")?;
    it.prints("label configmap a tier-", "configmap/a unlabeled")?;
    it.prints("get cm --field-selector metadata.name=a -o name", "configmap/a")?;
    ensure!(it.run("get cm -A")?.starts_with("NAMESPACE"), "all namespaces have a column");
    it.refused("get configmap none", "", "Error from server (NotFound): configmaps \"none\" not found")?;
    it.refused("create configmap a", "", "Error from server (AlreadyExists): configmaps \"a\" already exists")?;
    let empty = it.kubectl.output(&it.arguments("get pods"), "")?;
    ensure!(empty.code == 0 && empty.stdout.is_empty(), "{empty:?}");
    ensure!(empty.stderr.trim() == "No resources found in objects namespace.", "{empty:?}");
    let wrong = it.kubectl.output(&it.arguments("get --no-such-flag"), "")?;
    ensure!(wrong.code == 2 && wrong.stdout.is_empty(), "a command line that nobody can read ends with 2: {wrong:?}");
    it.prints("delete configmap a", "configmap \"a\" deleted*")?;
    it.refused("delete configmap a", "", "Error from server (NotFound): configmaps \"a\" not found")
}

fn apply(it: &Case) -> Result<()> {
    it.prints_with("apply -f -", &config("one", "1"), "configmap/one created")?;
    it.prints_with("apply -f -", &config("one", "1"), "configmap/one unchanged")?;
    it.prints_with("apply -f -", &config("one", "2"), "configmap/one configured")?;
    it.prints_with(
        "apply -f -",
        &format!("{}---\n{}", config("one", "2"), config("two", "1")),
        "configmap/one unchanged\nconfigmap/two created",
    )?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("a.yaml"), config("three", "1"))?;
    std::fs::write(folder.path().join("b.yaml"), config("four", "1"))?;
    let path = folder.path().display().to_string();
    it.prints(&format!("apply -f {path}"), "configmap/three created\nconfigmap/four created")?;
    it.prints(&format!("delete -f {path}/a.yaml"), "configmap \"three\" deleted*")?;
    let unknown = config("five", "1").replace("\ndata:", "\ndota:");
    // It applies on the server's side, whose words these are.
    it.refused(
        "apply -f -",
        &unknown,
        "*failed to create typed patch object (*): .dota: field not declared in schema",
    )?;
    // One mistake does not hold the others up, and shows in the exit code.
    let both = it.kubectl.output(&it.arguments("apply -f -"), &format!("{unknown}---\n{}", config("six", "1")))?;
    ensure!(both.code == 1 && both.stdout.contains("configmap/six created"), "{both:?}");
    it.refused("apply -f /nowhere", "", "error: *nowhere*")
}

fn rollouts(it: &Case) -> Result<()> {
    it.prints_with("create -f - --dry-run=server", WEB, "deployment.apps/web created (server dry run)")?;
    it.prints_with("apply -f -", WEB, "deployment.apps/web created")?;
    it.prints("rollout status deployment/web --timeout=60s", "...\ndeployment \"web\" successfully rolled out")?;
    it.prints("get deployment web", "NAME READY UP-TO-DATE AVAILABLE AGE\nweb 2/2 2 2 *")?;
    it.prints("get pods --no-headers", "web-* 1/1 Running 0 *\nweb-* 1/1 Running 0 *")?;
    it.prints_with("apply -f -", &WEB.replace("web:1", "web:2"), "deployment.apps/web configured")?;
    it.prints("rollout status deployment/web --timeout=60s", "...\ndeployment \"web\" successfully rolled out")?;
    it.prints("rollout history deployment/web", "deployment.apps/web\nREVISION CHANGE-CAUSE\n1 <none>\n2 <none>")?;
    it.prints("rollout undo deployment/web", "deployment.apps/web rolled back")?;
    it.prints("rollout status deployment/web --timeout=60s", "...\ndeployment \"web\" successfully rolled out")?;
    ensure!(it.run("get deployment web -o yaml")?.contains("image: registry.local/web:1"), "rolled back");
    it.prints("rollout pause deployment/web", "deployment.apps/web paused")?;
    it.refused("rollout pause deployment/web", "", "error: deployments.apps \"web\" is already paused")?;
    it.prints("rollout resume deployment/web", "deployment.apps/web resumed")?;
    it.prints("rollout restart deployment/web", "deployment.apps/web restarted")?;
    it.prints("rollout status deployment/web --timeout=60s", "...\ndeployment \"web\" successfully rolled out")?;
    let described = it.run("describe deployment web")?;
    for line in ["Name: web", "Replicas: 2 desired | 2 updated | 2 total | 2 available | 0 unavailable"] {
        expect::check(&format!("...\n{line}\n..."), &described)?;
    }
    ensure!(it.run("describe pods")?.contains("registry.local/web:1"), "describe shows the image");
    it.prints("scale deployment web --replicas=0", "deployment.apps/web scaled")?;
    it.refused(
        "scale deployment web --current-replicas=5 --replicas=1",
        "",
        "error: Expected replicas to be 5, was 0",
    )?;
    it.comes_to("get pods", "")?;
    it.prints("delete deployment web", "deployment.apps \"web\" deleted*")
}

/// Lines are printed sorted, as names, of those that there are; what is missing shows in the exit code.
fn reads(it: &Case) -> Result<()> {
    for (name, size) in [("b", 1), ("a", 3), ("c", 2)] {
        it.run(&format!("create configmap {name} --from-literal=k={}", "x".repeat(size)))?;
        it.run(&format!("label configmap {name} size={size}"))?;
    }
    it.comes_to("get cm kube-root-ca.crt -o name", "configmap/kube-root-ca.crt")?;
    it.prints("get cm -l size --sort-by=.metadata.labels.size -o name", "configmap/b\nconfigmap/c\nconfigmap/a")?;
    it.prints("get cm -l size --sort-by={.metadata.name} --no-headers", "a 1 *\nb 1 *\nc 1 *")?;
    it.prints("get cm b a -o name", "configmap/b\nconfigmap/a")?;
    it.prints("get cm/b sa/default -o name", "configmap/b\nserviceaccount/default")?;
    it.prints(
        "get cm --field-selector metadata.name!=kube-root-ca.crt -o name",
        "configmap/a\nconfigmap/b\nconfigmap/c",
    )?;
    it.refused(
        "get cm --field-selector nothing=x",
        "",
        "Error from server (BadRequest): *\"nothing\" is not a known field selector: only *",
    )?;
    it.refused("get nothings", "", "error: the server doesn't have a resource type \"nothings\"")?;
    let some = it.kubectl.output(&it.arguments("get cm none a nowhere --no-headers"), "")?;
    expect::check("a 1 *", &some.stdout)?;
    let missing = "Error from server (NotFound): configmaps \"none\" not found\nError from server (NotFound): configmaps \"nowhere\" not found";
    expect::check(missing, &some.stderr)?;
    ensure!(some.code == 1, "{some:?}");
    it.prints("get cm none a --ignore-not-found -o name", "configmap/a")?;
    // A reader that has had enough is no reason to panic.
    let line = format!(
        "{} describe clusterroles --kubeconfig {} | head -1",
        it.kubectl.program().display(),
        it.kubectl.kubeconfig().display()
    );
    let piped = std::process::Command::new("bash").args(["-o", "pipefail", "-c", &line]).output()?;
    ensure!(piped.status.success() && piped.stderr.is_empty(), "{piped:?}");
    it.prints("delete configmap a b", "configmap \"a\" deleted*\nconfigmap \"b\" deleted*")?;
    let output = it.kubectl.output(&it.arguments("delete configmap a c"), "")?;
    expect::check("configmap \"c\" deleted*", &output.stdout)?;
    ensure!(output.code == 1 && output.stderr.contains("configmaps \"a\" not found"), "{output:?}");
    Ok(())
}

/// `describe` of every kind that kubectl has a page for says what kubectl says; of all other kinds, every field.
fn pages(it: &Case, kubectl: &orlop_e2e::kubectl::Kubectl) -> Result<()> {
    it.run_with("apply -f -", WEB)?;
    it.run("rollout status deployment/web --timeout=60s")?;
    // Debian's kubectl prints older pages.
    let words_differ = kubectl.is_old()?;
    let kubectl = Case { kubectl: kubectl.clone(), namespace: it.namespace.clone() };
    for line in [
        "expose deployment web --port=80 --target-port=8080 --type=NodePort",
        // One key: kubectl shows several in a random order.
        "create configmap a --from-literal=key=value",
        "create secret generic s --from-literal=p=q",
        "create role r --verb=get,list --resource=pods,deployments.apps,pods/log --resource-name=one",
        "create rolebinding b --role=r --serviceaccount=pages:default --user=me --group=us",
    ] {
        kubectl.run(line)?;
    }
    kubectl.comes_to("get endpoints web --no-headers", "web *:8080,*:8080 *")?;
    for line in [
        "service web",
        "service kubernetes -n default",
        "endpoints web",
        "endpointslices -l kubernetes.io/service-name=web",
        "configmap a",
        "secret s",
        "serviceaccount default",
        "namespace pages",
        "role r",
        "rolebinding b",
        "clusterrole view",
        "clusterrole system:discovery",
        "clusterrolebinding cluster-admin",
    ] {
        let line = format!("describe {line}");
        if words_differ {
            it.run(&line)?;
            continue;
        }
        // Rules are of different lengths, and kubectl's columns are closer.
        let plain = |text: String| text.replace('-', "");
        expect::check(&plain(kubectl.run(&line)?), &plain(it.run(&line)?)).with_context(|| line.clone())?;
    }
    for (line, words) in [
        ("replicaset -l app=web", "Replicas: 2 current / 2 desired"),
        ("deployment web", "Normal ScalingReplicaSet * deployment-controller Scaled up replica set web-* *"),
        ("pod -l app=web", "Normal Scheduled * default-scheduler Successfully assigned pages/web-* to hollow-*"),
        ("node hollow-0", "Name: hollow-0"),
        ("lease kube-scheduler -n kube-system", "Holder Identity: *scheduler*"),
        ("events", "Kind: Event"),
    ] {
        expect::check(&format!("...\n{words}\n..."), &it.run(&format!("describe {line}"))?).with_context(|| line)?;
    }
    it.refused("describe pod none", "", "Error from server (NotFound): pods \"none\" not found")?;

    // Hollow pods have no logs, and both programs say why.
    let listed = it.run("get pods -l app=web -o name")?;
    let pod = listed.lines().next().context("there is a pod")?;
    let why = "Error from server (BadRequest): the pods of node \"hollow-*\" are hollow: they run no processes and write no logs";
    it.refused(&format!("logs {pod}"), "", why)?;
    kubectl.refused(&format!("logs {pod}"), "", why)
}

/// What `get -w` of the ConfigMap `w` prints while something happens: to standard output, and to standard error.
fn watched(it: &Case, happening: impl FnOnce() -> Result<()>) -> Result<(String, String)> {
    let mut command = it.kubectl.command(&it.arguments("get cm -w --no-headers --field-selector metadata.name=w"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    std::thread::sleep(Duration::from_secs(2));
    let outcome = happening();
    std::thread::sleep(Duration::from_secs(2));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGTERM)?;
    let output = child.wait_with_output()?;
    outcome?;
    let text = |it: Vec<u8>| String::from_utf8_lossy(&it).into_owned();
    Ok((text(output.stdout), text(output.stderr)))
}

fn watching(it: &Case) -> Result<()> {
    let (text, _) = watched(it, || it.run("create configmap w").and_then(|_| it.run("delete configmap w")).map(drop))?;
    expect::check("w 0 *\nw 0 *", &text)
}

fn about(it: &Case) -> Result<()> {
    expect::check(
        "NAME SHORTNAMES APIVERSION NAMESPACED KIND\n...\npods po v1 true Pod\n...",
        &it.run("api-resources")?,
    )?;
    let version = it.run("version")?;
    ensure!(version.contains("v1.35"), "{version}");
    completion(it)?;
    ensure!(!it.run("config current-context")?.trim().is_empty(), "there is a context");
    let lost = it.kubectl.output(&["get", "pods", "--kubeconfig", "/nowhere"], "")?;
    ensure!(lost.code == 1 && lost.stderr.starts_with("error: "), "no kubeconfig: {lost:?}");
    Ok(())
}

/// The scripts are the shells' own language, and bash's completes.
fn completion(it: &Case) -> Result<()> {
    for (shell, words) in [("bash", "complete -F _orlop"), ("zsh", "#compdef orlop"), ("fish", "complete -c orlop")] {
        let script = it.run(&format!("completion {shell}"))?;
        ensure!(script.contains(words) || script.contains("-F _orlop"), "{shell}: {script}");
        ensure!(script.contains("rollout") && script.contains("field-selector"), "{shell} knows commands and flags");
    }
    let ask =
        r#"source /dev/stdin; COMP_WORDS=(orlop ro); COMP_CWORD=1; _orlop orlop ro orlop; echo "${COMPREPLY[@]}""#;
    let mut bash = std::process::Command::new("bash");
    let mut bash = bash.args(["-c", ask]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = bash.stdin.take().context("a pipe was asked for")?;
    std::io::Write::write_all(&mut stdin, it.run("completion bash")?.as_bytes())?;
    drop(stdin);
    let output = bash.wait_with_output()?;
    ensure!(output.stdout == b"rollout\n", "bash completes `orlop ro` to {output:?}");
    it.refused("completion tcsh", "", "error: invalid value 'tcsh' for '<SHELL>'\n...")
}
