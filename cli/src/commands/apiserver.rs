//! `orlop apiserver`: the API server alone, as `orlop-apiserver` runs it.

use anyhow::Result;
use orlop_client::process;

/// The flags: the server's own.
pub type Args = orlop_apiserver::args::Serve;

/// Runs it until it is stopped.
///
/// # Errors
/// When it cannot start.
pub async fn run(args: Args) -> Result<()> {
    process::log_to_standard_error();
    Ok(orlop_apiserver::run(args.into(), process::until_stopped()?).await?)
}
