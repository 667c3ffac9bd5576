//! `orlop agent`: the node agent alone, as `orlop-agent` runs it.

use anyhow::Result;
use orlop_client::process;

use crate::session::Globals;

/// The flags: the agent's own.
pub type Args = orlop_agent::config::Args;

/// Runs it until it is stopped.
///
/// # Errors
/// When the kubeconfig cannot be used, or the agent cannot start.
pub async fn run(args: Args, globals: &Globals) -> Result<()> {
    process::log_to_standard_error();
    Ok(orlop_agent::run_apart(args, globals.kubeconfig.as_deref(), process::until_stopped()?).await?)
}
