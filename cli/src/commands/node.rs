//! `orlop node`: cleaning up after an agent.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The subcommands.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Remove the pods and the network that an agent left on this machine. The agent must not run.
    Clean {
        name: String,
        /// The agent's data directory.
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
}

/// Runs it.
///
/// # Errors
/// When files cannot be written, or something cannot be removed.
pub async fn run(args: Args) -> Result<()> {
    match args.what {
        What::Clean { name, data_dir } => clean(&name, &data_dir).await,
    }
}

/// Removes all containers that carry the node's labels, and its network. What Orlop did not make is not touched.
///
/// # Errors
/// When something cannot be removed.
pub async fn clean(name: &str, data_dir: &Path) -> Result<()> {
    orlop_agent::clean(name, data_dir).await.with_context(|| format!("node {name}"))
}
