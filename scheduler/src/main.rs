//! `orlop-scheduler`: the scheduler as a process of its own.

use clap::Parser;
use orlop_scheduler::config::Args;

/// Thousands of small views and requests a second: the C library's allocator takes twice the time and gives less back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    orlop_client::process::log_to_standard_error();
    let client = orlop_client::connect::client(args.kubeconfig.as_deref()).await?;
    let config = args.config.identified(args.kubeconfig.as_deref());
    orlop_scheduler::run(config, client, orlop_client::process::until_stopped()?).await;
    Ok(())
}
