//! Programs that set rules in the kernel, run to their end within a time.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::NetworkError;

/// How long a program may take: it waits for the lock of the rule tables for 5 s at most, and works for milliseconds.
const LIMIT: Duration = Duration::from_secs(15);

/// Runs a program and tells how it ended; none if there is no such program.
pub async fn try_run(program: &str, args: &[&str], input: &str) -> Result<Option<Output>, NetworkError> {
    let failed = |it: std::io::Error| NetworkError::Command { program: program.to_owned(), reason: it.to_string() };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let stdin = child.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            // A program that ends without reading says why on its own.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    match tokio::time::timeout(LIMIT, work).await {
        Ok(output) => output.map(Some).map_err(failed),
        Err(_) => Err(NetworkError::Timeout(format!("{program} {}", args.join(" ")))),
    }
}

/// Runs a program that must be there and must succeed. `package` is where users get it.
pub async fn run(program: &str, package: &str, args: &[&str], input: &str) -> Result<(), NetworkError> {
    let reason = match try_run(program, args, input).await? {
        Some(output) if output.status.success() => return Ok(()),
        Some(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        None => format!("it is not installed (package {package})"),
    };
    Err(NetworkError::Command { program: program.to_owned(), reason })
}
