//! `orlop-scheduler`: the scheduler as a process of its own.

use clap::Parser;
use orlop_client::process;
use orlop_scheduler::config::Args;

/// Thousands of small views and requests a second: the C library's allocator takes twice the time and gives less back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    process::log_to_standard_error();
    process::runtime()?.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let client = orlop_client::connect::client(args.kubeconfig.as_deref()).await?;
    let config = args.config.identified(args.kubeconfig.as_deref());
    orlop_scheduler::run(config, client, process::until_stopped()?).await;
    Ok(())
}
