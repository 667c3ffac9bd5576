//! What every component's `main` needs: a runtime, a log on standard error and a token that ends when the process is asked to stop.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::resident;

/// What is logged unless `ORLOP_LOG` says otherwise.
const LOG_DEFAULT: &str = "info";

/// Logs to standard error, in lines for people; `ORLOP_LOG` filters (`debug`, `orlop_scheduler=trace`).
pub fn log_to_standard_error() {
    let filter = EnvFilter::try_from_env("ORLOP_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    // Only the first call of a process counts; a second, as in tests, changes nothing.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// The stack of a thread that serves requests. JSON may nest 128 deep, and to decode one level of the most deeply nested kind
/// (CustomResourceDefinition) takes 17 KiB in a debug build: 2.2 MiB in all, where Rust's threads have 2. What is not touched takes no memory.
const STACK_BYTES: usize = 8 << 20;

/// How long a thread for work that blocks waits for more of it. Each keeps some 100 KiB of stack and of the allocator's: a burst that is over should not be paid
/// for any longer, and a new thread takes some 50 µs.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// The runtime of a component: as `#[tokio::main]` makes it, with deeper stacks, and threads for blocking work that end sooner; and it
/// gives back the program's pages that are not in use.
///
/// # Errors
/// When threads cannot be started.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .thread_keep_alive(KEEP_ALIVE)
        .build()?;
    runtime.spawn(resident::keep_small());
    Ok(runtime)
}

/// A token that is cancelled by SIGINT or SIGTERM. A second signal ends the process at once, for shutdowns that hang.
///
/// # Errors
/// When the process may not install signal handlers.
pub fn until_stopped() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = token.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            }
        };
        next().await;
        stop.cancel();
        let code = next().await;
        std::process::exit(code);
    });
    Ok(token)
}
