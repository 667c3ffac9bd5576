//! `orlop-shim`: holds one pod. The agent starts it with the pod's folder as its working directory and the helper's program as its input.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use nix::unistd::{dup2_stdin, dup2_stdout};
use orlop_shim::record::{self, SHIM};
use orlop_shim::server::Shim;
use orlop_shim::{reaper, sandbox};

fn main() -> ExitCode {
    if std::env::args().next().as_deref() == Some(reaper::NAME) {
        return reaper::hold();
    }
    match std::env::args().nth(1).as_deref() {
        Some("sandbox") => hold(),
        Some(reaper::START) => reaper::start(),
        Some("--version") => {
            println!("orlop-shim {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("orlop-shim holds the containers of one pod; the agent starts it in the pod's folder");
            ExitCode::FAILURE
        }
    }
}

/// Becomes the sandbox, says so on standard output, and serves.
fn hold() -> ExitCode {
    let ready = take_helper().map_err(|it| format!("the helper: {it}")).and_then(|helper| {
        let config = record::read(Path::new("."), SHIM).map_err(|it| format!("{SHIM}: {it}"))?;
        let reaper = sandbox::set_up(&config.ok_or_else(|| format!("there is no {SHIM} here"))?)?;
        Shim::listen(helper, reaper).map_err(|it| format!("the socket: {it}"))
    });
    let (line, shim) = match ready {
        Ok(it) => ("ready\n".to_owned(), Some(it)),
        Err(message) => (format!("{message}\n"), None),
    };
    // Who started it may be gone already.
    let _ = io::stdout().write_all(line.as_bytes()).and_then(|()| io::stdout().flush());
    let Some(shim) = shim else { return ExitCode::FAILURE };
    let served = File::options().write(true).open("/dev/null").and_then(|null| {
        // Whoever waits for the line would wait for the end of it, too.
        dup2_stdout(null.as_fd())?;
        shim.serve()
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Moves the helper's program away from where children have their input.
fn take_helper() -> io::Result<OwnedFd> {
    let helper = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?.as_fd())?;
    Ok(helper)
}
