//! `orlop node revoke`: the certificates that a node has been given prove nothing any more, and its Node is deleted.
//!
//! First the entry of [`orlop_api::revocation`], whose time the server sets; then the certificate requests that the node has made, so that none of
//! them is signed afterwards; then the Node. A machine that joins anew with another token is let in.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use orlop_api::revocation::{NAME, NAMESPACE};
use serde_json::json;

use crate::output::say;
use crate::session::Session;

/// What is issued within the second of the revocation falls under it, so that the command ends after it.
const SECOND: Duration = Duration::from_millis(1_100);

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node; it may have been deleted already.
    #[arg(value_name = "NODE")]
    name: String,
}

/// Runs it.
///
/// # Errors
/// When the server refuses.
pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let (client, name) = (session.client(), args.name.as_str());
    let maps = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    // An empty time: the server puts its own there.
    let entry = json!({ "metadata": { "name": NAME }, "data": { name: "" } });
    match maps.patch(NAME, &PatchParams::default(), &Patch::Merge(&entry)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            maps.create(&PostParams::default(), &serde_json::from_value(entry)?).await?;
        }
        other => drop(other?),
    }
    let requests = Api::<CertificateSigningRequest>::all(client.clone());
    let user = format!("system:node:{name}");
    for it in requests.list(&ListParams::default()).await?.items {
        let request = it.metadata.name.unwrap_or_default();
        if it.spec.username.as_deref() == Some(user.as_str()) {
            gone(requests.delete(&request, &DeleteParams::default()).await)?;
        }
    }
    gone(Api::<Node>::all(client.clone()).delete(name, &DeleteParams::default()).await)?;
    tokio::time::sleep(SECOND).await;
    say!("node/{name} revoked");
    Ok(())
}

/// A deletion of what is not there has its way.
fn gone<T>(deleted: kube::Result<T>) -> Result<()> {
    match deleted {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}
