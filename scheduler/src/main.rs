//! `orlop-scheduler`: the scheduler as a process of its own.

use clap::Parser;
use orlop_scheduler::config::Args;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    orlop_client::process::log_to_standard_error();
    let client = orlop_client::connect::client(args.kubeconfig.as_deref()).await?;
    let config = args.config.identified(args.kubeconfig.as_deref());
    orlop_scheduler::run(config, client, orlop_client::process::until_stopped()?).await;
    Ok(())
}
