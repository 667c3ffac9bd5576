//! `orlop node drain`: new pods are kept off a node, and those that it has are evicted, as far as their budgets let them.
//!
//! What becomes of each pod is decided by [`sort`], which knows no server; the rest evicts and waits. Flags, warnings and refusals are those of
//! `kubectl drain`. Only what a node may do with its own credentials is done, so that [`super::leave`] drains in the same way.
//! Source: `k8s.io/kubectl/pkg/drain`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use orlop_client::random;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cordon;
use crate::commands::logs;
use crate::output::say;
use crate::session::Session;

/// How long to wait after a budget has refused (kubectl's `EvictionRetryInterval`).
const RETRY: Duration = Duration::from_secs(5);
/// How often it is looked which pods are gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A mirror of a pod that the node runs by itself: deleting it is of no use.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node.
    #[arg(value_name = "NODE")]
    name: String,
    #[command(flatten)]
    pub rules: Rules,
}

/// Which pods may go, and how.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Rules {
    /// Leave pods of DaemonSets where they are.
    #[arg(long)]
    pub ignore_daemonsets: bool,
    /// Go on though pods use emptyDir, whose data goes with them.
    #[arg(long)]
    pub delete_emptydir_data: bool,
    /// Go on though nothing will make some pods again.
    #[arg(long)]
    pub force: bool,
    /// Seconds that containers get to stop; negative leaves it to the pods.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// How long to try, as 90s or 5m; 0 without end.
    #[arg(long, default_value = "0s")]
    pub timeout: String,
}

/// What becomes of the pods of a node.
#[derive(Debug, Default, PartialEq)]
struct Sorted {
    /// Namespace, name and uid of those that go.
    going: Vec<(String, String, String)>,
    warnings: Vec<String>,
    /// Why nothing is done.
    errors: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// When pods must not go, the server refuses, or the time is over.
pub async fn run(args: &Args, session: &Session) -> Result<()> {
    drain(&client(session.config().clone())?, &args.name, &args.rules).await
}

/// A client that gives back what a budget says: the usual one asks again by itself, and says nothing.
///
/// # Errors
/// When the credentials cannot be used.
pub fn client(mut config: kube::Config) -> Result<kube::Client> {
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

/// Drains a node.
///
/// # Errors
/// As [`run`].
pub async fn drain(client: &kube::Client, node: &str, rules: &Rules) -> Result<()> {
    let within = Duration::from_secs(logs::seconds(&rules.timeout)?);
    let deadline = (!within.is_zero()).then(|| Instant::now() + within);
    cordon::set(client, node, true).await?;
    let sorted = sort(&pods_of(client, node).await?, rules);
    if !sorted.errors.is_empty() {
        bail!("unable to drain node \"{node}\" due to error: {}", listed(&sorted.errors));
    }
    for warning in &sorted.warnings {
        eprintln!("Warning: {warning}");
    }
    let draining = async {
        futures::future::try_join_all(sorted.going.iter().map(|it| evict(client, it, rules.grace_period))).await?;
        wait_until_gone(client, node, &sorted.going).await
    };
    match deadline {
        None => draining.await?,
        Some(deadline) => match tokio::time::timeout_at(deadline, draining).await {
            Ok(it) => it?,
            Err(_) => bail!("unable to drain node \"{node}\" due to error: global timeout reached: {within:?}"),
        },
    }
    say!("node/{node} drained");
    Ok(())
}

async fn pods_of(client: &kube::Client, node: &str) -> Result<Vec<Pod>> {
    let chosen = ListParams::default().fields(&format!("spec.nodeName={node}"));
    Ok(Api::<Pod>::all(client.clone()).list(&chosen).await?.items)
}

/// Decides as kubectl's filters do, in their order: the first that has something to say of a pod decides.
fn sort(pods: &[Pod], rules: &Rules) -> Sorted {
    let mut out = Sorted::default();
    let (mut daemons, mut with_data, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for pod in pods {
        let meta = &pod.metadata;
        let text = |it: &Option<String>| it.clone().unwrap_or_default();
        let named = format!("{}/{}", text(&meta.namespace), text(&meta.name));
        let owner = meta.owner_references.iter().flatten().find(|it| it.controller == Some(true));
        let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref()).unwrap_or_default();
        let ended = matches!(phase, "Succeeded" | "Failed");
        if meta.annotations.as_ref().is_some_and(|it| it.contains_key(MIRROR)) {
            continue;
        }
        if owner.is_some_and(|it| it.kind == "DaemonSet") && !ended {
            daemons.push(named);
            continue;
        }
        let volumes = pod.spec.iter().flat_map(|it| it.volumes.iter().flatten());
        if !ended && volumes.into_iter().any(|it| it.empty_dir.is_some()) {
            with_data.push(named.clone());
        }
        if !ended && owner.is_none() {
            alone.push(named);
        }
        out.going.push((text(&meta.namespace), text(&meta.name), text(&meta.uid)));
    }
    if !daemons.is_empty() && rules.ignore_daemonsets {
        out.warnings.push(format!("ignoring DaemonSet-managed Pods: {}", daemons.join(", ")));
    } else if !daemons.is_empty() {
        let what = "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)";
        out.errors.push(format!("{what}: {}", daemons.join(", ")));
    }
    if !with_data.is_empty() && !rules.delete_emptydir_data {
        let what = "cannot delete Pods with local storage (use --delete-emptydir-data to override)";
        out.errors.push(format!("{what}: {}", with_data.join(", ")));
    }
    if !alone.is_empty() && rules.force {
        out.warnings.push(format!("deleting Pods that declare no controller: {}", alone.join(", ")));
    } else if !alone.is_empty() {
        let what = "cannot delete Pods that declare no controller (use --force to override)";
        out.errors.push(format!("{what}: {}", alone.join(", ")));
    }
    out
}

fn listed(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// Asks for one eviction, until it is granted: a budget that refuses may grant it when another pod is ready elsewhere.
async fn evict(client: &kube::Client, pod: &(String, String, String), grace_period: i64) -> Result<()> {
    let (namespace, name, uid) = pod;
    say!("evicting pod {namespace}/{name}");
    // Not another pod that has got the name meanwhile.
    let mut options = json!({ "preconditions": { "uid": uid } });
    if grace_period >= 0 {
        options["gracePeriodSeconds"] = grace_period.into();
    }
    let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "deleteOptions": options,
        "metadata": { "namespace": namespace, "name": name } });
    let body = serde_json::to_vec(&body)?;
    let mut first = true;
    loop {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
        let request = Request::post(path).header(http::header::CONTENT_TYPE, "application/json").body(body.clone())?;
        let why = match client.request::<Value>(request).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            // Another pod of the name: ours is gone.
            Err(kube::Error::Api(status)) if status.code == 409 && status.message.contains("UID") => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 429 => status.message,
            Err(error) => {
                return Err(anyhow::Error::from(error)
                    .context(format!("error when evicting pods/\"{name}\" -n \"{namespace}\"")));
            }
        };
        if std::mem::take(&mut first) {
            let seconds = RETRY.as_secs();
            eprintln!("error when evicting pods/\"{name}\" -n \"{namespace}\" (will retry after {seconds}s): {why}");
        }
        tokio::time::sleep(random::jitter(RETRY, 0.1)).await;
    }
}

/// Waits until none of the pods is on the node any more. A list, as a node may read no pod that it does not have.
async fn wait_until_gone(client: &kube::Client, node: &str, pods: &[(String, String, String)]) -> Result<()> {
    let mut left: Vec<&(String, String, String)> = pods.iter().collect();
    while !left.is_empty() {
        let there = pods_of(client, node).await?;
        let there: BTreeSet<&str> = there.iter().filter_map(|it| it.metadata.uid.as_deref()).collect();
        let (still, gone): (Vec<_>, Vec<_>) = left.into_iter().partition(|it| there.contains(it.2.as_str()));
        for (_, name, _) in gone {
            say!("pod/{name} evicted");
        }
        left = still;
        if !left.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, owner: &str, more: Value) -> Pod {
        let mut it =
            json!({ "metadata": { "namespace": "d", "name": name, "uid": name }, "spec": { "containers": [] } });
        if !owner.is_empty() {
            let owner = json!({ "apiVersion": "apps/v1", "kind": owner, "name": "o", "uid": "o", "controller": true });
            it["metadata"]["ownerReferences"] = json!([owner]);
        }
        for (pointer, value) in more.as_object().into_iter().flatten() {
            it[pointer] = value.clone();
        }
        serde_json::from_value(it).unwrap()
    }

    #[track_caller]
    fn check(rules: &Rules, going: &[&str], warnings: &[&str], errors: &[&str]) {
        let data = json!({ "spec": { "containers": [], "volumes": [{ "name": "v", "emptyDir": {} }] } });
        let mirror = json!({ "metadata": { "name": "m", "namespace": "d", "annotations": { MIRROR: "x" } } });
        let pods = [
            pod("web", "ReplicaSet", Value::Null),
            pod("log", "DaemonSet", Value::Null),
            pod("data", "ReplicaSet", data),
            pod("alone", "", Value::Null),
            pod("done", "", json!({ "status": { "phase": "Succeeded" } })),
            pod("m", "", mirror),
        ];
        let sorted = sort(&pods, rules);
        assert_eq!(sorted.going.iter().map(|it| it.1.as_str()).collect::<Vec<_>>(), going);
        assert_eq!(
            (sorted.warnings.as_slice(), sorted.errors.as_slice()),
            (
                warnings.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>().as_slice(),
                errors.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>().as_slice(),
            )
        );
    }

    #[test]
    fn pods_are_sorted_as_kubectl_sorts_them() {
        let going = ["web", "data", "alone", "done"];
        check(
            &Rules::default(),
            &going,
            &[],
            &[
                "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): d/log",
                "cannot delete Pods with local storage (use --delete-emptydir-data to override): d/data",
                "cannot delete Pods that declare no controller (use --force to override): d/alone",
            ],
        );
        let all = Rules { ignore_daemonsets: true, delete_emptydir_data: true, force: true, ..Rules::default() };
        check(
            &all,
            &going,
            &["ignoring DaemonSet-managed Pods: d/log", "deleting Pods that declare no controller: d/alone"],
            &[],
        );
        assert_eq!(listed(&["a".into()]), "a");
        assert_eq!(listed(&["a".into(), "b".into()]), "[a, b]");
    }
}
