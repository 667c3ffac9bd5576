//! `orlop-agent`: the agent as a process of its own.

use clap::Parser;
use orlop_agent::config::{Args, Config};
use orlop_client::{connect, process};

#[derive(Parser)]
#[command(name = "orlop-agent", version, about = "Runs the pods of one node")]
struct Command {
    #[command(flatten)]
    args: Args,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Command::parse().args;
    process::log_to_standard_error();
    let kubeconfig = args.kubeconfig.clone();
    let settings = connect::config(kubeconfig.as_deref()).await?;
    let mut config = Config::try_from(args)?;
    if config.client_ca_pem.is_none() {
        config.client_ca_pem = settings.root_cert.as_ref().map(|it| orlop_agent::config::pem(it));
    }
    let client = connect::client(kubeconfig.as_deref()).await?;
    // A connection of its own for the lease: no load on the other makes the node look dead.
    let lease_client = connect::client(kubeconfig.as_deref()).await?;
    let shutdown = process::until_stopped()?;
    orlop_agent::run_with_lease_client(config, client, lease_client, shutdown).await?;
    Ok(())
}
