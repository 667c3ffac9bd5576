//! `orlop`: see the library.

/// Returns freed memory to the system, which matters for a control plane that idles after a burst.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    match orlop_client::process::runtime() {
        Ok(runtime) => runtime.block_on(Box::pin(orlop_cli::main())),
        Err(error) => {
            eprintln!("orlop: the runtime cannot be started: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
