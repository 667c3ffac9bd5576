//! `orlop-bench`: prints the benchmark tables.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    orlop_e2e::bench::run(&orlop_e2e::bench::Args::parse())
}
