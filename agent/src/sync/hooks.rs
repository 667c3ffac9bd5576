//! Lifecycle hooks: a command, a request, or a pause, after a container's start or before its stop.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};

use crate::host::Host;
use crate::network::ips::Ips;
use crate::probes::http;

/// The longest a postStart hook may take; the kubelet sets no limit, a hook that hangs for ever helps nobody.
pub const POST_START_WITHIN: Duration = Duration::from_secs(600);
/// What is kept of a hook's output.
const OUTPUT_BYTES: usize = 4096;

/// Runs a hook to its end.
///
/// # Errors
/// It failed or took longer than `within`.
pub async fn run(
    host: &Host,
    pod: &Pod,
    container: &Container,
    id: &str,
    hook: &LifecycleHandler,
    address: Option<Ips>,
    within: Duration,
) -> Result<(), String> {
    let running = async {
        if let Some(exec) = &hook.exec {
            let command = exec.command.clone().unwrap_or_default();
            let done = host.runtime.exec(id, &command, within, OUTPUT_BYTES).await.map_err(|it| it.to_string())?;
            return match done.exit_code {
                0 => Ok(()),
                code => Err(format!("exited with {code}: {}", String::from_utf8_lossy(&done.output))),
            };
        }
        if let Some(get) = &hook.http_get {
            let own = if crate::machine::world::host_network(pod) { host.facts.host_ips } else { address };
            let own = own.map(|it| it.primary());
            let target = http::Target::of(get, container, own)?;
            // Whatever the answer is: as the kubelet's, the hook was to ask.
            return target.get(within).await.map(drop);
        }
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).unsigned_abs())).await;
            return Ok(());
        }
        Err("unsupported hook: neither exec, httpGet nor sleep".into())
    };
    tokio::time::timeout(within, running).await.unwrap_or_else(|_| Err("it took too long".into()))
}
