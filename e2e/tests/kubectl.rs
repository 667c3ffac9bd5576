//! The real kubectl, every version at hand, against one cluster of separate binaries and hollow nodes: it works, and prints what it prints
//! against Kubernetes.
//!
//! Each version has a namespace and a thread of its own. The oldest and the newest do everything, those between the part in which versions
//! differ: discovery, bodies, apply, patches. The nodes are touched by the newest alone. A kubectl older than those that are asked for (Debian's,
//! on a machine that has no other) does what its flags and words allow.

#[path = "kubectl/apply.rs"]
mod apply;
#[path = "kubectl/controllers.rs"]
mod controllers;
#[path = "kubectl/discovery.rs"]
mod discovery;
#[path = "kubectl/nodes.rs"]
mod nodes;
#[path = "kubectl/objects.rs"]
mod objects;
#[path = "kubectl/proxies.rs"]
mod proxies;
#[path = "kubectl/reads.rs"]
mod reads;
#[path = "kubectl/rollouts.rs"]
mod rollouts;

use anyhow::{Context, Result, bail};
use orlop_e2e::case::Case;
use orlop_e2e::cluster::{Cluster, Options};
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
const SHORT: &[(&str, Part)] = &[
    ("discovery", discovery::discovery),
    ("objects", objects::objects),
    ("apply", apply::apply),
    ("patches", apply::patches),
];
/// What the oldest and the newest do beside. (The first is the one on the path, of some version between.)
const LONG: &[(&str, Part)] = &[
    ("reads", reads::reads),
    ("server-side apply", apply::server_side_apply),
    ("simple kinds", objects::simple_kinds),
    ("edit", objects::edit),
    ("rollouts", rollouts::rollouts),
    ("waiting", rollouts::waiting),
    ("descriptions", reads::descriptions),
    ("explain", discovery::explain),
    ("update demo", controllers::update_demo),
    ("controllers", controllers::controllers),
    ("single pods", controllers::single_pods),
    ("proxies", proxies::proxies),
    ("deletion", objects::deletion),
];

/// What older versions do: the parts that need no flag, and print no word, that came later.
const OLD: &[&str] = &["discovery", "reads", "edit", "rollouts", "descriptions", "deletion", "update demo", "proxies"];

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
                    let old = match kubectl.is_old() {
                        Ok(old) => old,
                        Err(error) => return vec![format!("{name}: {error:#}")],
                    };
                    let parts = SHORT.iter().chain(LONG.iter().filter(|_| at == 1 || at == last));
                    let parts = parts.filter(|(what, _)| !old || OLD.contains(what));
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
    nodes::nodes(&case).with_context(|| cluster.logs())
}
