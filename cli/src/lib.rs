//! `orlop`: the user's command. The verbs, flags and outputs are kubectl's; clusters and components are started with it, too.
//!
//! A command is a file below `commands/` and a line in [`command::Command`]. Commands reach the cluster through a [`session::Session`],
//! which knows the kubeconfig, the namespace and the kinds that the server has; they print to standard output, and fail with an error
//! that [`fail`] words as kubectl would and turns into an exit code.

pub mod fail;
pub mod kubeconfig;
pub mod resource;
pub mod session;
pub mod target;

pub mod manifest;
pub mod output;

pub mod cluster;

pub mod command;
pub mod commands;

use clap::Parser;

/// Runs the command line of this process; the exit code is its outcome.
pub async fn main() -> std::process::ExitCode {
    let arguments = command::Arguments::parse();
    match Box::pin(arguments.run()).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => fail::report(&error),
    }
}
