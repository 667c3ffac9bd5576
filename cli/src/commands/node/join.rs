//! `orlop node join`: a machine becomes a node, and runs its agent until it is stopped.

use anyhow::Result;
use orlop_client::process;

/// The flags: where to, by what, and the agent's own.
pub type Args = orlop_agent::join::Args;

/// Runs it.
///
/// # Errors
/// When the machine cannot join, or the agent cannot start.
pub async fn run(args: Args) -> Result<()> {
    process::log_to_standard_error();
    Ok(Box::pin(orlop_agent::join::run(args, process::until_stopped()?)).await?)
}
