//! `orlop node`: machines that join and leave, nodes that are drained and revoked, and cleaning up after an agent.

pub mod cordon;
pub mod drain;
pub mod join;
pub mod leave;
pub mod revoke;
pub mod shutdown;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::session::{Globals, Session};

/// The subcommands.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Make this machine a node of a cluster, and run its agent in the foreground.
    Join(Box<join::Args>),
    /// Drain this machine, stop its agent, and take it out of the cluster for good.
    Leave(leave::Args),
    /// Keep new pods off a node.
    Cordon(cordon::Args),
    /// Let a node have new pods again.
    Uncordon(cordon::Args),
    /// Keep new pods off a node, and evict those that it has.
    Drain(drain::Args),
    /// Refuse the certificates that a node has been given, and delete its Node.
    Revoke(revoke::Args),
    /// Before this machine is switched off: have its agent end its pods, each in its time, the critical ones last. Waits until they have ended.
    Shutdown(shutdown::Args),
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
/// When files cannot be written, something cannot be removed, or the server refuses.
pub async fn run(args: Args, globals: &Globals) -> Result<()> {
    let session = || Session::open(globals);
    match args.what {
        What::Join(it) => Box::pin(join::run(*it)).await,
        What::Leave(it) => leave::run(it).await,
        What::Cordon(it) => cordon::run(&it, &session().await?, true).await,
        What::Uncordon(it) => cordon::run(&it, &session().await?, false).await,
        What::Drain(it) => drain::run(&it, &session().await?).await,
        What::Revoke(it) => revoke::run(&it, &session().await?).await,
        What::Shutdown(it) => shutdown::run(&it).await,
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
