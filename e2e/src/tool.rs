//! The programs that tests drive: ours, built by cargo, and those of the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// One of the workspace's binaries, from the folder in which cargo put this test (or, for the benchmarks, this program).
/// `ORLOP_BIN_DIR` names another folder.
///
/// # Errors
/// When it has not been built.
pub fn ours(name: &str) -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("ORLOP_BIN_DIR") {
        let path = Path::new(&folder).join(name);
        return path.is_file().then_some(path.clone()).with_context(|| format!("{} is missing", path.display()));
    }
    let me = std::env::current_exe()?;
    // target/debug/deps/<test> or target/release/<program>.
    let folders = [me.parent(), me.parent().and_then(Path::parent)];
    for folder in folders.into_iter().flatten() {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("{name} is not built: run `cargo build --workspace --bins` (or `make test`)")
}

/// A program of the machine.
///
/// # Errors
/// When it is missing; `package` is what to install.
pub fn machine(name: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin", "/usr/local/bin"]);
    for folder in folders {
        let program = Path::new(folder).join(name);
        if program.is_file() {
            return Ok(program);
        }
    }
    bail!("{name} is missing: install the package {package} (scripts/install test does)")
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Runs a command to its end and gives what it printed.
///
/// # Errors
/// When it cannot be started or fails; its output is in the error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed with {}: {stdout}{stderr}", output.status);
    }
    Ok(stdout)
}

/// Ports that this process has given out.
static GIVEN: std::sync::Mutex<std::collections::BTreeSet<u16>> =
    std::sync::Mutex::new(std::collections::BTreeSet::new());

/// A TCP port of loopback on which nothing listens. Another process may take it before the caller does; callers that find it taken ask
/// again.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    loop {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        // Tests of one process run side by side, and the kernel may name a port again before its first owner listens.
        if given.insert(port) {
            return Ok(port);
        }
    }
}
