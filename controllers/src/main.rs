//! The binary `orlop-controllers`: arguments, a client, and [`orlop_controllers::run`] until a signal.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use orlop_client::lease::Identity;
use orlop_client::process;
use orlop_controllers::config::COMPONENT;

/// Thousands of small views and requests a second: the C library's allocator takes twice the time and gives less back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Makes the world as the cluster's objects describe it.
#[derive(Parser)]
#[command(name = "orlop-controllers", version)]
struct Command {
    /// How to reach the API server
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    args: orlop_controllers::Args,
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    process::log_to_standard_error();
    process::runtime()?.block_on(run(command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    let mut config = command.args.config().context("cannot read the CA's certificate")?;
    config.identity = Identity::beside(COMPONENT, command.kubeconfig.as_deref());
    let client = orlop_client::connect::client(command.kubeconfig.as_deref()).await?;
    orlop_controllers::run(config, client, process::until_stopped()?).await;
    Ok(())
}
