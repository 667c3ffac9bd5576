//! `orlop-agent`: the agent as a process of its own.

use std::path::PathBuf;

use clap::Parser;
use orlop_agent::config::Args;
use orlop_client::process;

/// Thousands of small views and requests a second: the C library's allocator takes twice the time and gives less back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The allocator's settings, under the name by which it looks for them (jemalloc(3), `malloc_conf`): one arena, no caches of threads for more than 256 bytes, and what is free goes
/// back after half a second. An agent has little to do at once and shares its machine with pods: a tenth less memory counts for more than the tenth of speed that the API server would lose by it.
// SAFETY: the linker's name is the allocator's own, which declares it weakly to be replaced; it is a pointer to text that ends with a NUL, as C has it.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 44] = b"narenas:1,dirty_decay_ms:500,tcache_max:256\0";

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
