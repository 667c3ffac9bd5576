//! `orlop`: see the library.

/// Returns freed memory to the system, which matters for a control plane that idles after a burst.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    Box::pin(orlop_cli::main()).await
}
