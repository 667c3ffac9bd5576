//! A command run in a container to its end, within a time and an amount of output.

use std::time::Duration;

use k8s_cri::v1 as cri;

use super::container;
use super::endpoint::{Endpoint, QUICK};
use crate::runtime::{ExecOutput, RuntimeError};

/// Runs a command. When the time is up, the runtime kills it.
pub async fn run(
    endpoint: &Endpoint,
    id: &str,
    command: &[String],
    timeout: Duration,
    limit_bytes: usize,
) -> Result<ExecOutput, RuntimeError> {
    if container::status(endpoint, id).await?.is_none() {
        return Err(RuntimeError::NotFound(id.to_owned()));
    }
    // The runtime counts whole seconds, and is given one at least: none means for ever.
    let seconds = (timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0)).max(1);
    let request = cri::ExecSyncRequest {
        container_id: id.to_owned(),
        cmd: command.to_vec(),
        timeout: i64::try_from(seconds).unwrap_or(i64::MAX),
    };
    let limit = Duration::from_secs(seconds).saturating_add(QUICK);
    let call = endpoint.call("ExecSync", limit, |mut it| async move { it.exec_sync(request).await });
    let late = || {
        RuntimeError::Timeout(format!("command {:?} timed out after {} s", command.join(" "), timeout.as_secs_f32()))
    };
    match call.await {
        Ok(done) => {
            let mut output = done.stdout;
            output.extend(done.stderr);
            output.truncate(limit_bytes);
            Ok(ExecOutput { exit_code: done.exit_code, output })
        }
        Err(RuntimeError::Timeout(_)) => Err(late()),
        // containerd says so as well as by the code.
        Err(RuntimeError::Other(why)) if why.contains("timeout") && why.contains("exceeded") => Err(late()),
        Err(error) => Err(error),
    }
}
