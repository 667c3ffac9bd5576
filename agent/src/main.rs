//! `orlop-agent`: the agent as a process of its own.

use std::path::PathBuf;

use clap::Parser;
use orlop_agent::config::Args;
use orlop_client::process;

/// Thousands of small views and requests a second: the C library's allocator takes twice the time and gives less back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "orlop-agent", version, about = "Runs the pods of one node")]
struct Command {
    /// Credentials of user system:node:NAME; $KUBECONFIG and ~/.kube/config if not given
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    args: Args,
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    process::log_to_standard_error();
    process::runtime()?.block_on(run(command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    Ok(orlop_agent::run_apart(command.args, command.kubeconfig.as_deref(), process::until_stopped()?).await?)
}
