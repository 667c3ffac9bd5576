//! `orlop version`: the versions of this command and of the server.

use anyhow::Result;

use crate::output::say;
use crate::session::{Globals, JSON, Session, Url};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask no server.
    #[arg(long)]
    client: bool,
}

/// Runs it.
///
/// # Errors
/// When the server does not answer.
pub async fn run(args: Args, globals: &Globals) -> Result<()> {
    say!("Client Version: v{}", env!("CARGO_PKG_VERSION"));
    if !args.client {
        let version = Session::open(globals).await?.get(&Url::path("/version"), JSON).await?;
        say!("Server Version: {}", version["gitVersion"].as_str().unwrap_or("unknown"));
    }
    Ok(())
}
