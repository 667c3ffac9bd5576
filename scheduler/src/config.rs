//! What the scheduler can be told.

use std::path::{Path, PathBuf};

use orlop_client::lease::Identity;

/// What we call ourselves in the lease.
pub const COMPONENT: &str = "scheduler";

/// How the scheduler runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Pods with this `spec.schedulerName` are ours.
    #[arg(long, default_value = "default-scheduler")]
    pub scheduler_name: String,
    /// Who we are in the leader election; by default kept beside the kubeconfig, or unique.
    #[arg(long, value_parser = |name: &str| Ok::<_, std::convert::Infallible>(Identity::from(name)))]
    pub identity: Option<Identity>,
}

impl Config {
    /// The same; unless named otherwise, with the identity that is kept beside `kubeconfig`.
    pub fn identified(mut self, kubeconfig: Option<&Path>) -> Config {
        self.identity.get_or_insert_with(|| Identity::beside(COMPONENT, kubeconfig));
        self
    }
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
