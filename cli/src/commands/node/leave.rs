//! `orlop node leave`: this machine leaves the cluster for good, by its own credentials.
//!
//! ```text
//! drain → stop the agent → say on the Node that it leaves → the controllers revoke its certificates and delete it → clean up → forget the files
//! ```
//!
//! A node may not delete its Node ([`orlop_api::node_leaving`]), so that it needs no right that it did not have.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_agent::credentials::Folder;
use orlop_agent::local;
use orlop_api::node_leaving::ANNOTATION;
use orlop_client::connect;
use serde_json::json;
use tokio::time::Instant;

use super::drain::{self, Rules};
use crate::output::say;

/// How long the controllers may take to let the node go.
const LET_GO_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The agent's data directory.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/orlop/agent")]
    data_dir: PathBuf,
    #[command(flatten)]
    rules: Rules,
}

/// Runs it. What was done is not done again when it is run once more.
///
/// # Errors
/// When pods must not go, the agent does not run, the server refuses, or something cannot be removed.
pub async fn run(args: Args) -> Result<()> {
    let folder = Folder::of(&args.data_dir);
    let Some(pair) = folder.client()? else {
        bail!("{} holds no credentials of a node that has joined", args.data_dir.display());
    };
    let name = pair.user.strip_prefix("system:node:").context("the certificate is no node's")?.to_owned();
    let client = drain::client(connect::config(Some(&folder.kubeconfig())).await?)?;
    if stands(&client, &name).await? {
        if let Err(error) = local::images(&args.data_dir).await
            && matches!(error, local::LocalError::Away { .. })
        {
            // Nobody would end its pods.
            bail!("{error}: start it, so that its pods can end; or give the node up with `orlop node revoke {name}`");
        }
        drain::drain(&client, &name, &args.rules).await?;
        local::stop(&args.data_dir).await.context("stopping the agent")?;
        say!("agent stopped");
        let patch = json!({ "metadata": { "annotations": { ANNOTATION: "true" } } });
        Api::<Node>::all(client.clone()).patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        wait_until_let_go(&client, &name).await?;
    }
    super::clean(&name, &args.data_dir).await?;
    folder.remove()?;
    say!("node/{name} left");
    Ok(())
}

/// Whether the server still knows the node. One that has been revoked or deleted already may clean up all the same.
async fn stands(client: &kube::Client, name: &str) -> Result<bool> {
    match Api::<Node>::all(client.clone()).get_opt(name).await {
        Ok(it) => Ok(it.is_some()),
        Err(kube::Error::Api(status)) if status.code == 401 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn wait_until_let_go(client: &kube::Client, name: &str) -> Result<()> {
    let deadline = Instant::now() + LET_GO_WITHIN;
    loop {
        // The connection is cut with the revocation, so that only an answer counts.
        match stands(client, name).await {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
        }
        if Instant::now() > deadline {
            bail!("the controllers have not let node {name} go within {} s", LET_GO_WITHIN.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
