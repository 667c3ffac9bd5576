//! Logs that have grown are moved aside: the CRI leaves that to who named the file.

use std::path::Path;
use std::time::Duration;

use k8s_cri::v1 as cri;

use super::endpoint::{Endpoint, QUICK};
use super::{container, inventory};
use crate::runtime::RuntimeError;

/// How often logs are looked at. What a container writes in between comes on top of the limit.
pub const EVERY: Duration = Duration::from_secs(10);
/// One file of a container's log and how many are kept, as the kubelet's defaults: 50 MB a container.
const LOG_MAX_BYTES: u64 = 10 << 20;
const LOG_MAX_FILES: u32 = 5;

/// Looks after the logs of all that runs. What cannot be moved now is looked at again.
pub async fn all(endpoint: &Endpoint) {
    let containers = match inventory::containers(endpoint, endpoint.ours()).await {
        Ok(it) => it,
        Err(error) => return tracing::debug!(%error, "logs could not be looked at"),
    };
    let running = containers.into_iter().filter(|it| it.state() == cri::ContainerState::ContainerRunning);
    for it in running {
        if let Err(error) = one(endpoint, &it.id).await {
            tracing::warn!(%error, container = it.id, "a log could not be moved aside");
        }
    }
}

async fn one(endpoint: &Endpoint, id: &str) -> Result<(), RuntimeError> {
    let Some(status) = container::status(endpoint, id).await? else { return Ok(()) };
    let path = Path::new(&status.log_path);
    let size = tokio::fs::metadata(path).await.map_or(0, |it| it.len());
    if size < LOG_MAX_BYTES || !path.starts_with(endpoint.logs()) {
        return Ok(());
    }
    aside(path).await.map_err(|it| RuntimeError::Other(format!("{}: {it}", path.display())))?;
    let request = cri::ReopenContainerLogRequest { container_id: id.to_owned() };
    let call =
        endpoint.call("ReopenContainerLog", QUICK, |mut it| async move { it.reopen_container_log(request).await });
    call.await.map(drop)
}

/// Moves a log and the older ones on by one; the oldest goes.
async fn aside(path: &Path) -> std::io::Result<()> {
    let name = |n: u32| match n {
        0 => path.to_owned(),
        n => path.with_file_name(format!("{}.{n}", path.file_name().unwrap_or_default().display())),
    };
    for n in (0..LOG_MAX_FILES - 1).rev() {
        match tokio::fs::rename(name(n), name(n + 1)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        for it in 0..7 {
            std::fs::write(&log, it.to_string()).unwrap();
            aside(&log).await.unwrap();
        }
        let read = |it: &str| std::fs::read_to_string(folder.path().join(it)).unwrap_or_default();
        assert_eq!(["log", "log.1", "log.2", "log.3", "log.4", "log.5"].map(read), ["", "6", "5", "4", "3", ""]);
    }
}
