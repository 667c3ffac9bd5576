//! `orlop-apiserver`: the API server as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use orlop_apiserver::StartError;
use orlop_apiserver::args::{Args, Command};
use orlop_apiserver::serve::ServeError;
use orlop_client::process;

/// The exit codes beside 0, 1 (anything else) and 2 (the command line).
const ADDRESS_IN_USE: u8 = 3;
const STORE_UNREADABLE: u8 = 4;

/// Lists come in pieces of 144 KiB, which the C library maps and unmaps each time; this keeps them, and returns what a burst has left.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    match process::runtime() {
        Ok(runtime) => runtime.block_on(serve(args)),
        Err(error) => {
            eprintln!("orlop-apiserver: the runtime cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> ExitCode {
    process::log_to_standard_error();
    let outcome = match args.command {
        Some(Command::NodeCredentials(asked)) => asked.write().map_err(StartError::from),
        None => match process::until_stopped() {
            Ok(shutdown) => orlop_apiserver::run(args.serve.into(), shutdown).await,
            Err(error) => {
                eprintln!("orlop-apiserver: signals cannot be handled: {error}");
                return ExitCode::FAILURE;
            }
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orlop-apiserver: {error}");
            ExitCode::from(match error {
                StartError::Serve(ServeError::InUse(_)) => ADDRESS_IN_USE,
                StartError::Open(_) | StartError::List(_) => STORE_UNREADABLE,
                _ => 1,
            })
        }
    }
}
