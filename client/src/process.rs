//! What every component's `main` needs: a log on standard error and a token that ends when the process is asked to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What is logged unless `ORLOP_LOG` says otherwise.
const LOG_DEFAULT: &str = "info";

/// Logs to standard error, in lines for people; `ORLOP_LOG` filters (`debug`, `orlop_scheduler=trace`).
pub fn log_to_standard_error() {
    let filter = EnvFilter::try_from_env("ORLOP_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    // Only the first call of a process counts; a second, as in tests, changes nothing.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
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
