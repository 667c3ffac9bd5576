//! Programs of the real Kubernetes, which `scripts/kubernetes` builds from Debian's source package: for the benchmarks, that measure them beside ours, and for
//! the test that runs them on our API server.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::child::Child;
use crate::tool;

/// A client of the API server that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// kube-scheduler.
    Scheduler,
    /// kube-controller-manager.
    Controllers,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::Scheduler => "kube-scheduler",
            Program::Controllers => "kube-controller-manager",
        }
    }
}

/// Where `scripts/kubernetes` puts them.
pub fn programs() -> PathBuf {
    tool::repository().join("target/kubernetes")
}

/// Starts one of them for the API server of a kubeconfig, without ports of its own; its log goes into `folder`.
///
/// # Errors
/// When it is not there or cannot be started.
pub fn start(programs: &Path, program: Program, kubeconfig: &Path, folder: &Path, arguments: &[&str]) -> Result<Child> {
    let path = programs.join(program.name());
    let path = path.canonicalize().with_context(|| format!("no {}: run scripts/kubernetes", path.display()))?;
    let mut command = Command::new(path);
    for name in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
        command.arg(name).arg(kubeconfig);
    }
    command.args(["--port", "0", "--secure-port", "0"]).args(arguments);
    Child::start(program.name(), folder, &mut command)
}
