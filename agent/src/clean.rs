//! Cleaning up after an agent that does not run any more: its containers, its network, its volumes.
//!
//! Pods outlive their agent on purpose; this is how a node goes for good. Only what carries the node's labels and names is touched.

use std::path::Path;

use crate::network::{NetworkError, bridge};
use crate::policy;
use crate::runtime::docker::DockerRuntime;
use crate::runtime::{Runtime, RuntimeError};
use crate::services;
use crate::volumes::Volumes;

/// Why something was left.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    #[error("containers: {0}")]
    Runtime(#[from] RuntimeError),
    #[error("the network: {0}")]
    Network(#[from] NetworkError),
    #[error("the volumes of pod {pod}: {source}")]
    Volumes {
        pod: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the note of the pods' runtime: {0}")]
    Note(#[source] std::io::Error),
}

/// Removes everything that the agent of `node_name` made on this machine; `data_dir` is where it kept volumes and its ledger. A node that
/// had nothing is clean already. A machine without a container engine has no containers of ours.
///
/// # Errors
/// When something cannot be removed.
pub async fn clean(node_name: &str, data_dir: &Path) -> Result<(), CleanError> {
    crate::chosen::clean_native(data_dir).await?;
    crate::chosen::clean_cri(node_name, data_dir).await?;
    let runtime = DockerRuntime::from_env(node_name)?;
    match runtime.info().await {
        Ok(_) => runtime.remove_all().await?,
        Err(error) if crate::chosen::is_without_engine(data_dir) => {
            tracing::debug!(%error, "no engine to ask for containers")
        }
        Err(error) => tracing::warn!(%error, "no engine to ask for containers"),
    }
    services::keeper::remove(node_name).await?;
    policy::keeper::remove(node_name).await?;
    bridge::remove(node_name, data_dir).await?;
    let volumes = Volumes::new(data_dir);
    for pod in volumes.pods() {
        volumes.remove(&pod).map_err(|source| CleanError::Volumes { pod, source })?;
    }
    crate::chosen::forget(data_dir).map_err(CleanError::Note)
}
