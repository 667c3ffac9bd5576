//! `orlop delete`: deletes objects, and waits until they are gone.

use std::time::Duration;

use anyhow::{Result, bail};
use http::Method;
use serde_json::json;

use crate::fail::{self, SomeFailed};
use crate::manifest::{name_of, namespace_of};
use crate::output::say;
use crate::resource::Resource;
use crate::session::{JSON, Session, Url, is_not_found};
use crate::target::Target;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// All objects of the kind.
    #[arg(long)]
    all: bool,
    /// Wait until the objects are gone.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    wait: bool,
    /// Seconds that containers get to stop; negative leaves it to the object.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// Do not wait for anyone's confirmation: with a grace period of 0.
    #[arg(long)]
    force: bool,
    /// As --grace-period=1.
    #[arg(long)]
    now: bool,
    /// What becomes of what the object owns: background, foreground or orphan.
    #[arg(long, default_value = "background", value_parser = ["background", "foreground", "orphan"])]
    cascade: String,
    /// Do not fail if an object is missing.
    #[arg(long)]
    ignore_not_found: bool,
}

/// How often is looked whether an object is gone.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs it.
///
/// # Errors
/// When an object is missing or cannot be deleted.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let selective = !args.target.selector.is_empty() || !args.target.field_selector.is_empty() || args.all;
    let selections = args.target.selections(session).await?;
    if selections.iter().any(|it| it.name.is_none()) && !selective {
        bail!("resource(s) were provided, but no name was specified");
    }
    let mut objects = Vec::new();
    let mut failed = 0;
    for selection in selections {
        match &selection.name {
            Some(name) => objects.push((selection.resource, selection.namespace, name.clone())),
            None => {
                let url = selection
                    .url()
                    .with("labelSelector", &args.target.selector)
                    .with("fieldSelector", &args.target.field_selector);
                let list = session.get(&url, JSON).await?;
                objects.extend(list["items"].as_array().into_iter().flatten().map(|it| {
                    (selection.resource.clone(), namespace_of(it).map(str::to_owned), name_of(it).to_owned())
                }));
            }
        }
    }
    if objects.is_empty() {
        say!("No resources found");
    }
    let mut waiting = Vec::new();
    for (resource, namespace, name) in objects {
        let url = Url::of(&resource, namespace.as_deref()).child(&name);
        match delete(&args, session, &url).await {
            Ok(uid) => {
                let forced = if args.force { "force deleted" } else { "deleted" };
                say!("{} \"{name}\" {forced}", resource.printed());
                waiting.push((resource, url, uid));
            }
            Err(error) if args.ignore_not_found && is_not_found(&error) => {}
            Err(error) => {
                failed += 1;
                eprintln!("{}", fail::words(&error));
            }
        }
    }
    if args.wait {
        for (resource, url, uid) in &waiting {
            wait_gone(session, resource, url, uid.as_deref()).await?;
        }
    }
    if failed > 0 { Err(SomeFailed(failed).into()) } else { Ok(()) }
}

/// Deletes, and gives the uid of what was deleted.
async fn delete(args: &Args, session: &Session, url: &Url) -> Result<Option<String>> {
    let propagation = match args.cascade.as_str() {
        "foreground" => "Foreground",
        "orphan" => "Orphan",
        _ => "Background",
    };
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation});
    let grace = if args.now {
        1
    } else if args.force {
        args.grace_period.max(0)
    } else {
        args.grace_period
    };
    if grace >= 0 {
        options["gracePeriodSeconds"] = grace.into();
    }
    let answer = session.send(Method::DELETE, url, JSON, &options).await?;
    let uid = answer["details"]["uid"].as_str().or_else(|| answer["metadata"]["uid"].as_str());
    Ok(uid.map(str::to_owned))
}

async fn wait_gone(session: &Session, resource: &Resource, url: &Url, uid: Option<&str>) -> Result<()> {
    if !resource.verbs.iter().any(|it| it == "get") {
        return Ok(());
    }
    loop {
        match session.get(url, JSON).await {
            // Another object under the same name: the one that was deleted is gone.
            Ok(it) if uid.is_some_and(|uid| it["metadata"]["uid"].as_str() != Some(uid)) => return Ok(()),
            Ok(_) => tokio::time::sleep(LOOK_EVERY).await,
            Err(error) if is_not_found(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
