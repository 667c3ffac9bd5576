//! `orlop-bench`: prints the benchmark tables.

use std::process::ExitCode;

use clap::Parser;
use orlop_e2e::bench::{self, Args};

fn main() -> ExitCode {
    match bench::run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orlop-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
