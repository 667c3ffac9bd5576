//! Server-side apply with the real kubectl, every version at hand, and with `orlop`: who owns what, as against Kubernetes.
//!
//! One cluster with a hollow node, a namespace for each version. What the API answers is tested in the API server's own tests; here it is what
//! clients make of it: their managers' names, their words for conflicts, the way from the client's side to the server's.

use anyhow::{Result, ensure};
use orlop_e2e::case::Case;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::kubectl::Kubectl;

/// Manager, operation and subresource of each entry.
const OWNERS: &str = "jsonpath={range .metadata.managedFields[*]}{.manager}/{.operation}{.subresource}{\" \"}{end}";

fn map(value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{k: '{value}'}}\n")
}

fn web(replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  \
         template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: c, image: 'registry.local/web:1'}}]}}\n"
    )
}

/// The managers of an object, each with its operation and subresource.
fn owners(it: &Case, of: &str) -> Result<Vec<String>> {
    let mut arguments = it.arguments("get");
    arguments.extend(of.split(' '));
    arguments.extend(["--show-managed-fields", "-o", OWNERS]);
    let printed = it.kubectl.run_with(&arguments, "")?;
    let mut all: Vec<String> = printed.split_whitespace().map(str::to_owned).collect();
    all.sort();
    Ok(all)
}

fn has(it: &Case, of: &str, manager: &str) -> Result<()> {
    let found = owners(it, of)?;
    ensure!(found.iter().any(|it| it == manager), "{manager} is none of the managers of {of}: {found:?}");
    Ok(())
}

/// What is created by `kubectl create` belongs to `kubectl-create`, and whoever applies another value has to say that he means it.
fn creates(it: &Case) -> Result<()> {
    it.prints_with("create -f -", &map("1"), "configmap/m created")?;
    has(it, "cm m", "kubectl-create/Update")?;
    it.refused(
        "apply --server-side -f -",
        &map("2"),
        "error: Apply failed with 1 conflict: conflict with \"kubectl-create\" using v1: .data.k\n...",
    )?;
    let forced = it.run_with("apply --server-side --force-conflicts -f -", &map("2"))?;
    ensure!(forced.contains("configmap/m serverside-applied"), "{forced}");
    has(it, "cm m", "kubectl/Apply")?;
    it.run("delete cm m")?;
    Ok(())
}

/// Several appliers, their conflicts, and what is left when one of them states less.
fn applies(it: &Case) -> Result<()> {
    it.prints_with("apply --server-side -f -", &map("1"), "configmap/m serverside-applied")?;
    let shown = it.run("get cm m --show-managed-fields -o yaml")?;
    ensure!(shown.contains("manager: kubectl") && shown.contains("f:k: {}"), "{shown}");
    let hidden = it.run("get cm m -o yaml")?;
    ensure!(!hidden.contains("managedFields"), "{hidden}");
    it.refused(
        "apply --server-side --field-manager=other -f -",
        &map("2"),
        "error: Apply failed with 1 conflict: conflict with \"kubectl\": .data.k\n...",
    )?;
    it.prints_with("apply --server-side --field-manager=other -f -", &map("1"), "configmap/m serverside-applied")?;
    let nothing = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n";
    it.prints_with("apply --server-side -f -", nothing, "configmap/m serverside-applied")?;
    it.prints("get cm m -o jsonpath={.data.k}", "1")?;
    it.prints_with("apply --server-side --field-manager=other -f -", nothing, "configmap/m serverside-applied")?;
    it.prints("get cm m -o jsonpath={.data}", "")?;
    it.run("delete cm m")?;
    Ok(())
}

/// From `kubectl apply` to `kubectl apply --server-side`, with a look at the difference both ways.
fn migrates(it: &Case) -> Result<()> {
    it.prints_with("apply -f -", &web(0), "deployment.apps/web created")?;
    has(it, "deploy web", "kubectl-client-side-apply/Update")?;
    for line in ["diff -f -", "diff --server-side --force-conflicts -f -"] {
        let diff = it.kubectl.output(&it.arguments(line), &web(1))?;
        ensure!(diff.code == 1 && diff.stdout.contains("-  replicas: 0\n+  replicas: 1"), "{line} says {diff:?}");
    }
    it.prints_with("apply --server-side -f -", &web(1), "deployment.apps/web serverside-applied")?;
    has(it, "deploy web", "kubectl/Apply")?;
    // The status is in what is compared: it has to stand still.
    it.run("rollout status deployment/web --timeout=120s")?;
    let diff = it.kubectl.output(&it.arguments("diff --server-side -f -"), &web(1))?;
    ensure!(diff.code == 0, "nothing differs, but {diff:?}");
    it.prints("scale deploy web --replicas=2", "deployment.apps/web scaled")?;
    // This write names no manager: it is the program's file name, as the user agent has it.
    let program = it.kubectl.program().file_name().and_then(|it| it.to_str()).unwrap_or("kubectl");
    has(it, "deploy web", &format!("{program}/Updatescale"))?;
    it.refused(
        "apply --server-side -f -",
        &web(1),
        &format!(
            "error: Apply failed with 1 conflict: conflict with \"{program}\" with subresource \"scale\" using apps/v1: .spec.replicas\n..."
        ),
    )?;
    it.run("delete deploy web")?;
    Ok(())
}

/// Components are named as in Kubernetes.
fn components(it: &Case) -> Result<()> {
    it.run_with("create -f -", &web(1))?;
    it.run("rollout status deployment/web --timeout=120s")?;
    has(it, "deploy web", "kube-controller-manager/Updatestatus")?;
    let pod = it.run("get pods -l app=web -o name")?;
    has(it, pod.trim(), "kube-controller-manager/Update")?;
    has(it, pod.trim(), "kubelet/Updatestatus")?;
    let node = it.run("get nodes -o name")?;
    has(it, node.trim(), "kubelet/Update")?;
    it.run("delete deploy web")?;
    Ok(())
}

#[test]
fn appliers_and_writers_own_what_they_own_in_kubernetes() -> Result<()> {
    let cluster = Cluster::start(Options { hollow_nodes: 1, ..Options::default() })?;
    for (at, kubectl) in Kubectl::all(&cluster.kubeconfig())?.into_iter().enumerate() {
        if kubectl.is_old()? {
            continue;
        }
        let case = Case { kubectl, namespace: format!("k{at}") };
        case.run(&format!("create namespace {}", case.namespace))?;
        creates(&case)?;
        applies(&case)?;
        migrates(&case)?;
        if at == 0 {
            components(&case)?;
            let orlop = Case { kubectl: cluster.orlop()?, namespace: case.namespace.clone() };
            case.run_with("create -f -", &map("1"))?;
            ensure!(!orlop.run("get cm m -o yaml")?.contains("managedFields"), "orlop hides managed fields");
        }
    }
    Ok(())
}
