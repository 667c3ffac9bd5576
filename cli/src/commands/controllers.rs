//! `orlop controllers`: the controllers alone, as `orlop-controllers` runs them.

use anyhow::Result;
use orlop_client::lease::Identity;
use orlop_client::{connect, process};
use orlop_controllers::config::COMPONENT;

use crate::session::Globals;

/// The flags: the controllers' own.
pub type Args = orlop_controllers::Args;

/// Runs it until it is stopped.
///
/// # Errors
/// When the kubeconfig cannot be used, or the controllers cannot start.
pub async fn run(args: Args, globals: &Globals) -> Result<()> {
    process::log_to_standard_error();
    let client = connect::client(globals.kubeconfig.as_deref()).await?;
    let mut config = args.config()?;
    config.identity = Identity::beside(COMPONENT, globals.kubeconfig.as_deref());
    orlop_controllers::run(config, client, process::until_stopped()?).await;
    Ok(())
}
