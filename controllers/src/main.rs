//! The binary `orlop-controllers`: arguments, a client, and [`orlop_controllers::run`] until a signal.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use orlop_client::lease::Identity;
use orlop_controllers::config::COMPONENT;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut config = command.args.config().context("cannot read the CA's certificate")?;
    config.identity = Identity::beside(COMPONENT, command.kubeconfig.as_deref());
    let client = orlop_client::connect::client(command.kubeconfig.as_deref()).await?;
    let shutdown = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        stop.cancel();
    });
    orlop_controllers::run(config, client, shutdown).await;
    Ok(())
}
