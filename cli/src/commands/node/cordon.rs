//! `orlop node cordon` and `uncordon`: whether a node is given new pods.

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::output::say;
use crate::session::Session;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The nodes.
    #[arg(required = true, value_name = "NODE")]
    names: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// When a node is missing, or the server refuses.
pub async fn run(args: &Args, session: &Session, keep_off: bool) -> Result<()> {
    for name in &args.names {
        set(session.client(), name, keep_off).await?;
    }
    Ok(())
}

/// Keeps new pods off a node or lets them come, and says so as kubectl does.
///
/// # Errors
/// As [`run`].
pub async fn set(client: &kube::Client, name: &str, keep_off: bool) -> Result<()> {
    let api = Api::<Node>::all(client.clone());
    let is_kept_off = api.get(name).await?.spec.and_then(|it| it.unschedulable).unwrap_or_default();
    let word = if keep_off { "cordoned" } else { "uncordoned" };
    if is_kept_off == keep_off {
        say!("node/{name} already {word}");
        return Ok(());
    }
    // Nothing rather than `false`, as kubectl leaves it.
    let value = keep_off.then_some(true);
    let patch = Patch::Merge(json!({ "spec": { "unschedulable": value } }));
    api.patch(name, &PatchParams::default(), &patch).await?;
    say!("node/{name} {word}");
    Ok(())
}
