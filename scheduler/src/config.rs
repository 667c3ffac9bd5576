//! What the scheduler can be told.

use std::path::PathBuf;

/// How the scheduler runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Pods with this `spec.schedulerName` are ours.
    #[arg(long, default_value = "default-scheduler")]
    pub scheduler_name: String,
    /// Who we are in the leader election; unique by default.
    #[arg(long)]
    pub identity: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config { scheduler_name: "default-scheduler".into(), identity: None }
    }
}

/// The command line of `orlop-scheduler`.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "orlop-scheduler", version, about = "Finds a node for every pod")]
pub struct Args {
    /// How to reach the API server.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub config: Config,
}
