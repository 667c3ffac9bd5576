//! `orlop-shim`: holds one pod. The agent starts it with the pod's folder as its working directory; it starts itself as its own helper.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use orlop_shim::record::{self, SHIM};
use orlop_shim::server::Shim;
use orlop_shim::{enter, helper, run, sandbox};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sandbox"] => hold(),
        ["run", container, stdin] => {
            helper::begin();
            helper::tell(run::run(container, stdin));
            ExitCode::SUCCESS
        }
        ["exec", container, init, ..] if arguments.len() > 3 => {
            helper::begin();
            let init = init.parse().map_err(|_| format!("no process id: {init:?}"));
            helper::tell(init.and_then(|init| enter::enter(container, init, &arguments[3..])));
            ExitCode::SUCCESS
        }
        ["--version"] => {
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
    let ready = record::read(std::path::Path::new("."), SHIM)
        .map_err(|it| format!("{SHIM}: {it}"))
        .and_then(|it| it.ok_or_else(|| format!("there is no {SHIM} here")))
        .and_then(|config| sandbox::set_up(&config))
        .and_then(|()| Shim::listen().map_err(|it| format!("the socket: {it}")));
    let (line, shim) = match ready {
        Ok(it) => ("ready\n".to_owned(), Some(it)),
        Err(message) => (format!("{message}\n"), None),
    };
    // Who started it may be gone already.
    let _ = std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush());
    let Some(shim) = shim else { return ExitCode::FAILURE };
    let null = std::fs::File::options().write(true).open("/dev/null");
    if let Err(error) = null
        .map_err(|it| it.to_string())
        .and_then(|it| nix::unistd::dup2_stdout(it.as_fd()).map_err(|it| it.to_string()))
    {
        eprintln!("standard output stays open: {error}");
    }
    match shim.serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
