//! The variables by which containers find services without a DNS. Pure.
//!
//! Those of the services of the pod's namespace, unless `enableServiceLinks` is false, and always those of `default/kubernetes`, by which pods
//! find the API server. Source: `pkg/kubelet/envvars` and `getServiceEnvVarMap`.

use std::sync::Arc;

use crate::services::protocol::Protocol;
use crate::services::view::ServiceView;

/// The variables of the services of a pod's namespace, and of the API server's.
pub fn of(
    services: &[Arc<ServiceView>],
    api_server: Option<&ServiceView>,
    enabled: bool,
    own_namespace_is_default: bool,
) -> Vec<(String, String)> {
    let api_server = api_server.filter(|_| !(enabled && own_namespace_is_default));
    let own = services.iter().map(AsRef::as_ref).filter(|_| enabled);
    let mut out = Vec::new();
    for service in api_server.into_iter().chain(own) {
        variables(service, &mut out);
    }
    out
}

fn variables(service: &ServiceView, out: &mut Vec<(String, String)>) {
    // Headless services and aliases have no address to tell.
    let (Some(address), [first, ..]) = (service.cluster_ips().next(), service.ports()) else { return };
    let upper = |it: &str| it.to_uppercase().replace('-', "_");
    let name = upper(service.metadata.name.as_deref().unwrap_or_default());
    let mut add = |key: String, value: String| out.push((key, value));
    add(format!("{name}_SERVICE_HOST"), address.to_string());
    add(format!("{name}_SERVICE_PORT"), first.port.to_string());
    for port in service.ports() {
        if let Some(it) = port.name.as_deref().filter(|it| !it.is_empty()) {
            add(format!("{name}_SERVICE_PORT_{}", upper(it)), port.port.to_string());
        }
    }
    // As Docker's links, which came before.
    for (at, port) in service.ports().iter().enumerate() {
        let protocol = Protocol::of(port.protocol.as_deref()).name();
        let url = format!("{protocol}://{}", std::net::SocketAddr::new(address, port.port));
        if at == 0 {
            add(format!("{name}_PORT"), url.clone());
        }
        let prefix = format!("{name}_PORT_{}_{}", port.port, upper(protocol));
        add(prefix.clone(), url);
        add(format!("{prefix}_PROTO"), protocol.to_owned());
        add(format!("{prefix}_PORT"), port.port.to_string());
        add(format!("{prefix}_ADDR"), address.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_kubernetes_own() {
        let service = |name: &str, address: &str| -> Arc<ServiceView> {
            Arc::new(
                serde_json::from_value(json!({
                    "metadata": {"name": name},
                    "spec": {"clusterIP": address, "ports": [
                        {"name": "a-b", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]}
                }))
                .unwrap(),
            )
        };
        let own = [service("web-1", "10.96.0.9"), service("headless", "None")];
        let api_server = service("kubernetes", "10.96.0.1");
        let text = |enabled, is_default| {
            let all = of(&own, Some(&api_server), enabled, is_default);
            all.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
        };
        let whole = text(true, true);
        insta::assert_snapshot!(whole.join("\n"), @r"
        WEB_1_SERVICE_HOST=10.96.0.9
        WEB_1_SERVICE_PORT=80
        WEB_1_SERVICE_PORT_A_B=80
        WEB_1_SERVICE_PORT_DNS=53
        WEB_1_PORT=tcp://10.96.0.9:80
        WEB_1_PORT_80_TCP=tcp://10.96.0.9:80
        WEB_1_PORT_80_TCP_PROTO=tcp
        WEB_1_PORT_80_TCP_PORT=80
        WEB_1_PORT_80_TCP_ADDR=10.96.0.9
        WEB_1_PORT_53_UDP=udp://10.96.0.9:53
        WEB_1_PORT_53_UDP_PROTO=udp
        WEB_1_PORT_53_UDP_PORT=53
        WEB_1_PORT_53_UDP_ADDR=10.96.0.9
        ");
        assert!(text(true, false).len() > whole.len());
        assert!(text(false, false).iter().all(|it| it.starts_with("KUBERNETES_")) && !text(false, true).is_empty());
    }
}
