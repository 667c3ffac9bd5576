//! `orlop node shutdown`: what has to be called before a machine is switched off. Its agent ends the pods; the command waits and says which have ended.
//!
//! It speaks to the agent of this machine, and needs no credentials. What did not end in time is no failure: the machine goes down all the same.

use std::path::PathBuf;

use anyhow::{Context, Result};
use orlop_agent::local;

use crate::output::say;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The agent's data directory.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/orlop/agent")]
    data_dir: PathBuf,
}

/// Runs it.
///
/// # Errors
/// When the agent does not run, or was not told how long pods may take.
pub async fn run(args: &Args) -> Result<()> {
    let outcome = local::power_off(&args.data_dir).await.context("ending the node's pods")?;
    let mut ended = 0;
    for it in &outcome.pods {
        let (namespace, name) = (&it.namespace, &it.name);
        match it.took_ms {
            Some(ms) => {
                ended += 1;
                say!("pod {namespace}/{name} ended in {}", seconds(ms));
            }
            None => say!("pod {namespace}/{name} did not end in time"),
        }
    }
    let (node, of) = (&outcome.node, outcome.pods.len());
    say!("node/{node} may be switched off: {ended} of {of} pods ended in {}", seconds(outcome.took_ms));
    Ok(())
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}
