//! The network that a runtime makes its sandboxes by CNI plugins: whether it can, what it is asked for, and the addresses.

use std::net::IpAddr;

use k8s_cri::v1 as cri;

use super::endpoint::{Endpoint, QUICK};
use super::{inventory, sandbox};
use crate::network::{HostPort, Protocol};
use crate::runtime::RuntimeError;
use crate::runtime::labels::POD_UID;

/// The condition of a runtime whose network is there.
const READY: &str = "NetworkReady";

/// Why there is no network, in the kubelet's words.
pub async fn trouble(endpoint: &Endpoint) -> Result<Option<String>, RuntimeError> {
    let request = cri::StatusRequest { verbose: false };
    let told = endpoint.call("Status", QUICK, |mut it| async move { it.status(request).await }).await?;
    let conditions = told.status.map(|it| it.conditions).unwrap_or_default();
    Ok(not_ready(&conditions))
}

fn not_ready(conditions: &[cri::RuntimeCondition]) -> Option<String> {
    let it = conditions.iter().find(|it| it.r#type == READY && !it.status)?;
    Some(format!("container runtime network not ready: {READY}=false reason:{} message:{}", it.reason, it.message))
}

/// The address of a pod's sandbox that runs.
pub async fn address(endpoint: &Endpoint, pod_uid: &str) -> Result<Option<IpAddr>, RuntimeError> {
    let mut labels = endpoint.ours();
    labels.insert(POD_UID.to_owned(), pod_uid.to_owned());
    let found = inventory::sandboxes(endpoint, labels).await?;
    for it in found.iter().filter(|it| it.state() == cri::PodSandboxState::SandboxReady) {
        let status = sandbox::status(endpoint, &it.id, false).await?;
        let address = status.and_then(|it| it.network).and_then(|it| it.ip.parse().ok());
        if address.is_some() {
            return Ok(address);
        }
    }
    Ok(None)
}

/// What the plugins are asked to lead to a sandbox.
pub fn port_mappings(ports: &[HostPort]) -> Vec<cri::PortMapping> {
    let mapping = |it: &HostPort| cri::PortMapping {
        protocol: match it.protocol {
            Protocol::Tcp => cri::Protocol::Tcp,
            Protocol::Udp => cri::Protocol::Udp,
            Protocol::Sctp => cri::Protocol::Sctp,
        }
        .into(),
        container_port: it.container_port.into(),
        host_port: it.host_port.into(),
        host_ip: it.host_ip.map(|it| it.to_string()).unwrap_or_default(),
    };
    ports.iter().map(mapping).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_not_there_is_told_as_the_kubelet_tells_it() {
        let condition = |kind: &str, status| cri::RuntimeCondition {
            r#type: kind.into(),
            status,
            reason: "NetworkPluginNotReady".into(),
            message: "cni plugin not initialized".into(),
        };
        assert_eq!(not_ready(&[condition("RuntimeReady", false), condition(READY, true)]), None);
        let expected = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                        message:cni plugin not initialized";
        assert_eq!(not_ready(&[condition(READY, false)]).as_deref(), Some(expected));
    }
}
