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
    let parts: [Part; 5] =
        [("objects", objects), ("apply", apply), ("rollouts", rollouts), ("watching", watching), ("about", about)];
    for (name, part) in parts {
        case(name).and_then(|it| part(&it)).with_context(|| format!("{name}\n{}", cluster.logs()))?;
    }
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

fn watching(it: &Case) -> Result<()> {
    let mut command = it.kubectl.command(&it.arguments("get cm -w --no-headers --field-selector metadata.name=w"));
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    std::thread::sleep(Duration::from_secs(2));
    let outcome = it.run("create configmap w").and_then(|_| it.run("delete configmap w"));
    std::thread::sleep(Duration::from_secs(2));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGTERM)?;
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        std::io::Read::read_to_string(&mut stdout, &mut text)?;
    }
    child.wait()?;
    outcome?;
    expect::check("w 0 *\nw 0 *", &text)
}

fn about(it: &Case) -> Result<()> {
    expect::check(
        "NAME SHORTNAMES APIVERSION NAMESPACED KIND\n...\npods po v1 true Pod\n...",
        &it.run("api-resources")?,
    )?;
    let version = it.run("version")?;
    ensure!(version.contains("v1.35"), "{version}");
    ensure!(it.run("completion bash")?.contains("orlop"), "completion names the command");
    ensure!(!it.run("config current-context")?.trim().is_empty(), "there is a context");
    let lost = it.kubectl.output(&["get", "pods", "--kubeconfig", "/nowhere"], "")?;
    ensure!(lost.code == 1 && lost.stderr.starts_with("error: "), "no kubeconfig: {lost:?}");
    Ok(())
}
