//! `orlop scale`: sets the number of replicas through the `scale` subresource.

use anyhow::{Result, bail};
use http::Method;
use serde_json::json;

use crate::output::done;
use crate::session::{JSON, MERGE_PATCH, Session};
use crate::target::{Selection, Target};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// How many replicas there shall be.
    #[arg(long)]
    replicas: u32,
    /// Only if there are so many now.
    #[arg(long)]
    current_replicas: Option<u32>,
}

/// Runs it.
///
/// # Errors
/// When an object cannot be scaled, or has another number than `--current-replicas` says.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    for (resource, object) in args.target.objects(session).await? {
        let name = crate::manifest::name_of(&object).to_owned();
        let namespace = crate::manifest::namespace_of(&object).map(str::to_owned);
        let url = Selection { resource: resource.clone(), namespace, name: Some(name) }.url().child("scale");
        let mut patch = json!({"spec": {"replicas": args.replicas}});
        if let Some(expected) = args.current_replicas {
            let scale = session.get(&url, JSON).await?;
            let current = scale["spec"]["replicas"].as_u64().unwrap_or(0);
            if current != u64::from(expected) {
                bail!("Expected replicas to be {expected}, was {current}");
            }
            // What was read is what is changed.
            patch["metadata"] = json!({"resourceVersion": scale["metadata"]["resourceVersion"]});
        }
        session.send(Method::PATCH, &url, MERGE_PATCH, &patch).await?;
        done(&resource, &object, "scaled")?;
    }
    Ok(())
}
