//! `orlop scheduler`: the scheduler alone, as `orlop-scheduler` runs it.

use anyhow::Result;
use orlop_client::{connect, process};

use crate::session::Globals;

/// The flags: the scheduler's own.
pub type Args = orlop_scheduler::Config;

/// Runs it until it is stopped.
///
/// # Errors
/// When the kubeconfig cannot be used.
pub async fn run(args: Args, globals: &Globals) -> Result<()> {
    process::log_to_standard_error();
    let client = connect::client(globals.kubeconfig.as_deref()).await?;
    let config = args.identified(globals.kubeconfig.as_deref());
    orlop_scheduler::run(config, client, process::until_stopped()?).await;
    Ok(())
}
