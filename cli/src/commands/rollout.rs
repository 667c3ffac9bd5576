//! `orlop rollout`: follows, undoes, pauses, resumes and restarts the rollout of a Deployment.

use anyhow::{Context, Result, bail};
use http::Method;
use serde_json::{Value, json};

use crate::manifest::{name_of, namespace_of};
use crate::output::say;
use crate::output::{Table, done};
use crate::resource::Resource;
use crate::session::{JSON, MERGE_PATCH, STRATEGIC_PATCH, Session, Url};
use crate::target::{Selection, Target};

/// The annotation that numbers the revisions of a Deployment.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The annotation that says why a revision was made.
const CAUSE: &str = "kubernetes.io/change-cause";
/// How often a rollout is looked at.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

/// The subcommands.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do with the rollout.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Wait until it is complete.
    Status {
        #[command(flatten)]
        target: Target,
        /// Do not wait.
        #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
        watch: bool,
        /// How long to wait: 30s, 5m; 0 for ever.
        #[arg(long, default_value = "0")]
        timeout: String,
    },
    /// List its revisions.
    History {
        #[command(flatten)]
        target: Target,
        /// Show the template of one.
        #[arg(long, default_value_t = 0)]
        revision: u64,
    },
    /// Go back to a revision: the one before, or a given one.
    Undo {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 0)]
        to_revision: u64,
    },
    /// Stop rolling out changes.
    Pause(Target),
    /// Go on rolling out changes.
    Resume(Target),
    /// Replace all pods by new ones of the same template.
    Restart(Target),
}

/// Runs it.
///
/// # Errors
/// When the object is no Deployment, the rollout fails, or the server refuses.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    match args.what {
        What::Status { target, watch, timeout } => {
            let limit = crate::commands::logs::seconds(&timeout)?;
            for (resource, object) in deployments(&target, session).await? {
                status(session, &resource, &object, watch, limit).await?;
            }
        }
        What::History { target, revision } => {
            for (resource, object) in deployments(&target, session).await? {
                history(session, &resource, &object, revision).await?;
            }
        }
        What::Undo { target, to_revision } => {
            for (resource, object) in deployments(&target, session).await? {
                undo(session, &resource, &object, to_revision).await?;
            }
        }
        What::Pause(target) => pause(session, &target, true).await?,
        What::Resume(target) => pause(session, &target, false).await?,
        What::Restart(target) => {
            for (resource, object) in deployments(&target, session).await? {
                if object["spec"]["paused"] == true {
                    bail!("can't restart paused deployment (run rollout resume first)");
                }
                let now = orlop_api::meta::whole_seconds(orlop_client::clock::now()).to_string();
                let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
                let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
                session.send(Method::PATCH, &url(&resource, &object), STRATEGIC_PATCH, &patch).await?;
                done(&resource, &object, "restarted")?;
            }
        }
    }
    Ok(())
}

async fn deployments(target: &Target, session: &Session) -> Result<Vec<(Resource, Value)>> {
    let objects = target.objects(session).await?;
    if let Some((resource, _)) = objects.iter().find(|(it, _)| it.kind != "Deployment") {
        bail!("no rollout for {}: only deployments have one here", resource.plural);
    }
    Ok(objects)
}

fn url(resource: &Resource, object: &Value) -> Url {
    let namespace = namespace_of(object).map(str::to_owned);
    Selection { resource: resource.clone(), namespace, name: Some(name_of(object).to_owned()) }.url()
}

async fn pause(session: &Session, target: &Target, paused: bool) -> Result<()> {
    for (resource, object) in deployments(target, session).await? {
        if (object["spec"]["paused"] == true) == paused {
            bail!(
                "deployments.apps \"{}\" is {}",
                name_of(&object),
                if paused { "already paused" } else { "not paused" }
            );
        }
        let patch = json!({"spec": {"paused": paused}});
        session.send(Method::PATCH, &url(&resource, &object), MERGE_PATCH, &patch).await?;
        done(&resource, &object, if paused { "paused" } else { "resumed" })?;
    }
    Ok(())
}

/// How a rollout stands, in kubectl's words, and whether it is complete.
fn progress(object: &Value) -> Result<(String, bool)> {
    let name = name_of(object);
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    if number("/metadata/generation") > number("/status/observedGeneration") {
        return Ok(("Waiting for deployment spec update to be observed...".into(), false));
    }
    let conditions = object["status"]["conditions"].as_array();
    let progressing = conditions.into_iter().flatten().find(|it| it["type"] == "Progressing");
    if progressing.is_some_and(|it| it["reason"] == "ProgressDeadlineExceeded") {
        bail!("deployment \"{name}\" exceeded its progress deadline");
    }
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let (updated, replicas, available) =
        (number("/status/updatedReplicas"), number("/status/replicas"), number("/status/availableReplicas"));
    let waiting = format!("Waiting for deployment \"{name}\" rollout to finish:");
    Ok(if updated < wanted {
        (format!("{waiting} {updated} out of {wanted} new replicas have been updated..."), false)
    } else if replicas > updated {
        (format!("{waiting} {} old replicas are pending termination...", replicas - updated), false)
    } else if available < updated {
        (format!("{waiting} {available} of {updated} updated replicas are available..."), false)
    } else {
        (format!("deployment \"{name}\" successfully rolled out"), true)
    })
}

async fn status(session: &Session, resource: &Resource, object: &Value, watch: bool, limit_seconds: u64) -> Result<()> {
    let url = url(resource, object);
    let deadline =
        (limit_seconds > 0).then(|| tokio::time::Instant::now() + std::time::Duration::from_secs(limit_seconds));
    let mut said = String::new();
    loop {
        let (text, complete) = progress(&session.get(&url, JSON).await?)?;
        if text != said {
            say!("{text}");
            said = text;
        }
        if complete || !watch {
            return Ok(());
        }
        if deadline.is_some_and(|it| tokio::time::Instant::now() > it) {
            bail!("timed out waiting for the condition");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The replica sets of a Deployment by their revision.
async fn revisions(session: &Session, object: &Value) -> Result<Vec<(u64, Value)>> {
    let resources = session.resources().await?;
    let sets = resources.named("replicasets.apps")?;
    let list = session.get(&Url::of(sets[0], namespace_of(object)), JSON).await?;
    let owned = |it: &&Value| {
        let owners = it["metadata"]["ownerReferences"].as_array();
        owners
            .into_iter()
            .flatten()
            .any(|owner| owner["uid"] == object["metadata"]["uid"] && owner["controller"] == true)
    };
    let mut out: Vec<(u64, Value)> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(owned)
        .filter_map(|it| Some((it["metadata"]["annotations"][REVISION].as_str()?.parse().ok()?, it.clone())))
        .collect();
    out.sort_by_key(|(revision, _)| *revision);
    Ok(out)
}

async fn history(session: &Session, resource: &Resource, object: &Value, revision: u64) -> Result<()> {
    let all = revisions(session, object).await?;
    if revision > 0 {
        let (_, set) = all.iter().find(|(it, _)| *it == revision).context("unable to find the specified revision")?;
        say!("{}/{} with revision #{revision}", resource.printed(), name_of(object));
        crate::output::print_value(
            &mut std::io::stdout().lock(),
            &set["spec"]["template"],
            crate::output::Format::Yaml,
        )?;
        return Ok(());
    }
    say!("{}/{} ", resource.printed(), name_of(object));
    let mut table = Table::new(&["REVISION", "CHANGE-CAUSE"]);
    for (revision, set) in &all {
        let cause = set["metadata"]["annotations"][CAUSE].as_str().unwrap_or("<none>");
        table.push(vec![revision.to_string(), cause.to_owned()]);
    }
    table.print(&mut std::io::stdout().lock(), true)?;
    say!("");
    Ok(())
}

async fn undo(session: &Session, resource: &Resource, object: &Value, to: u64) -> Result<()> {
    if object["spec"]["paused"] == true {
        bail!(
            "you cannot rollback a paused deployment; resume it first with 'orlop rollout resume deployment/{}' and try again",
            name_of(object)
        );
    }
    let all = revisions(session, object).await?;
    let current = object["metadata"]["annotations"][REVISION].as_str().and_then(|it| it.parse().ok()).unwrap_or(0);
    let found = match to {
        0 => all.iter().rev().find(|(it, _)| *it < current).context("no rollout history found")?,
        to => all.iter().find(|(it, _)| *it == to).context("unable to find the specified revision")?,
    };
    let mut template = found.1["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove("pod-template-hash");
    }
    if template == object["spec"]["template"] {
        say!(
            "{}/{} skipped rollback (current template already matches revision {})",
            resource.printed(),
            name_of(object),
            found.0
        );
        return Ok(());
    }
    // Replaced as a whole: what the old template did not have must go. The test refuses a Deployment that has changed meanwhile.
    let patch = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
        {"op": "replace", "path": "/spec/template", "value": template},
    ]);
    session.send(Method::PATCH, &url(resource, object), "application/json-patch+json", &patch).await?;
    done(resource, object, "rolled back")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Value, expected: &str) {
        let object = json!({"metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3}, "status": status});
        assert_eq!(progress(&object).unwrap().0, expected);
    }

    #[test]
    fn tells_how_a_rollout_stands() {
        check(json!({"observedGeneration": 1}), "Waiting for deployment spec update to be observed...");
        check(
            json!({"observedGeneration": 2, "updatedReplicas": 1}),
            "Waiting for deployment \"web\" rollout to finish: 1 out of 3 new replicas have been updated...",
        );
        check(
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 4}),
            "Waiting for deployment \"web\" rollout to finish: 1 old replicas are pending termination...",
        );
        check(
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}),
            "Waiting for deployment \"web\" rollout to finish: 2 of 3 updated replicas are available...",
        );
        check(
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}),
            "deployment \"web\" successfully rolled out",
        );
    }
}
