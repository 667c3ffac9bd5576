//! Where a proxied name leads: `web`, `web:http`, `https:web:8443`, of a pod, a service or a node.
//!
//! In: the name in the path, and the objects. Out: a [`Target`]. Addresses of the machine itself and of its link are refused: who may write an
//! Endpoints object must not reach what only this machine may. Source: `pkg/registry/core/{pod,service,node}` (ResourceLocation),
//! `k8s.io/apimachinery/pkg/util/net` (SplitSchemeNamePort), `pkg/proxy/util` (IsProxyableIP).

use std::net::IpAddr;

use orlop_api::kind::Kind;
use orlop_api::status::{self, Reason, Status};
use orlop_client::random;
use serde_json::Value;

use crate::admission::Sight;
use crate::connect::log_proxy::Place;

/// How a target is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub scheme: Scheme,
    pub host: String,
    pub port: u16,
    /// The node's name, if it is its agent.
    pub agent: Option<String>,
}

impl Target {
    /// `192.0.2.1:80`, `[2001:db8::1]:80`.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// What a name in a path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named<'a> {
    scheme: Scheme,
    name: &'a str,
    /// A number or a name; may be empty.
    port: &'a str,
}

/// Takes a name apart; none if it has another form.
fn split(id: &str) -> Option<Named<'_>> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme, name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    let scheme = match scheme {
        "" | "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    (!name.is_empty()).then_some(Named { scheme, name, port })
}

/// What stands behind `proxy` in a request's path, as it was sent: empty, or from the slash on.
pub fn path(whole: &str, namespaced: bool) -> &str {
    // `/api/v1/namespaces/d/pods/web/proxy` and `/api/v1/nodes/n1/proxy`.
    let before = if namespaced { 7 } else { 5 };
    let behind = whole.match_indices('/').nth(before).map(|(at, _)| at);
    behind.map_or("", |at| &whole[at..])
}

/// Finds where a name leads.
///
/// # Errors
/// `BadRequest` for names and addresses that are not proxied, `NotFound`, `ServiceUnavailable` for services without endpoints.
pub async fn find(sight: &Sight, kind: &Kind, namespace: &str, id: &str) -> status::Result<Target> {
    let invalid = || Status::bad_request(format!("invalid {} request {id:?}", kind.names.singular));
    let named = split(id).ok_or_else(invalid)?;
    let object = read(sight, kind.kind, namespace, named.name, kind.names.plural);
    match kind.names.plural {
        "nodes" => {
            let found = sight.find("Node", "", named.name).await?;
            let found = found.ok_or_else(|| Status::not_found("", "nodes", named.name))?;
            node(named, Place::of(named.name, &found)?)
        }
        "services" => {
            let port = match named.port.parse::<u16>() {
                Ok(number) => port_name(&object.await?, named.name, number)?,
                Err(_) => named.port.to_owned(),
            };
            let endpoints = read(sight, "Endpoints", namespace, named.name, "endpoints").await?;
            service(named, &port, &endpoints)
        }
        _ => pod(named, &object.await?),
    }
}

async fn read(sight: &Sight, kind: &str, namespace: &str, name: &str, plural: &str) -> status::Result<Value> {
    let found = sight.find(kind, namespace, name).await?;
    let found = found.ok_or_else(|| Status::not_found("", plural, name))?;
    serde_json::from_slice(&found.json).map_err(Status::internal)
}

/// An address that may be proxied to.
fn proxyable(address: &str) -> status::Result<String> {
    let refused = || Status::bad_request("address not allowed");
    let ip: IpAddr = address.parse().map_err(|_| refused())?;
    let fine = match ip.to_canonical() {
        IpAddr::V4(it) => {
            !(it.is_loopback() || it.is_link_local() || it.is_multicast() || it.is_unspecified() || it.is_broadcast())
        }
        IpAddr::V6(it) => !(it.is_loopback() || it.is_unicast_link_local() || it.is_multicast() || it.is_unspecified()),
    };
    if fine { Ok(address.to_owned()) } else { Err(refused()) }
}

fn number(port: &str) -> status::Result<u16> {
    let wrong = || {
        Status::new(
            Reason::ServiceUnavailable,
            format!("error trying to reach service: lookup tcp/{port}: unknown port"),
        )
    };
    port.parse().ok().filter(|it| *it > 0).ok_or_else(wrong)
}

fn pod(named: Named<'_>, pod: &Value) -> status::Result<Target> {
    let containers = pod["spec"]["containers"].as_array();
    let port = match named.port {
        "" => {
            let mut ports = containers.into_iter().flatten().filter_map(|it| it["ports"][0]["containerPort"].as_u64());
            ports.next().and_then(|it| u16::try_from(it).ok()).unwrap_or(named.scheme.port())
        }
        given => number(given)?,
    };
    let first = pod["status"]["podIPs"][0]["ip"].as_str();
    let address = first.or(pod["status"]["podIP"].as_str()).unwrap_or_default();
    Ok(Target { scheme: named.scheme, host: proxyable(address)?, port, agent: None })
}

fn node(named: Named<'_>, place: Place) -> status::Result<Target> {
    let port = if named.port.is_empty() { place.port } else { number(named.port)? };
    if port == place.port {
        return Ok(Target { scheme: Scheme::Https, host: place.host, port, agent: Some(place.node) });
    }
    Ok(Target { scheme: named.scheme, host: proxyable(&place.host)?, port, agent: None })
}

/// The name of a service's port of this number.
fn port_name(service: &Value, name: &str, number: u16) -> status::Result<String> {
    let ports = service["spec"]["ports"].as_array();
    let port = ports.into_iter().flatten().find(|it| it["port"].as_u64() == Some(number.into()));
    let missing =
        || Status::new(Reason::ServiceUnavailable, format!("no service port {number} found for service {name:?}"));
    Ok(port.ok_or_else(missing)?["name"].as_str().unwrap_or_default().to_owned())
}

/// One of the addresses that are ready, by chance.
fn service(named: Named<'_>, port: &str, endpoints: &Value) -> status::Result<Target> {
    let none = || {
        let text = format!("no endpoints available for service {:?}", named.name);
        Status::new(Reason::ServiceUnavailable, text)
    };
    let mut ready = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let ports = subset["ports"].as_array();
        let found = ports.into_iter().flatten().find(|it| it["name"].as_str().unwrap_or_default() == port);
        let Some(number) = found.and_then(|it| u16::try_from(it["port"].as_u64()?).ok()) else { continue };
        let addresses = subset["addresses"].as_array().into_iter().flatten();
        ready.extend(addresses.filter_map(|it| Some((it["ip"].as_str()?, number))));
    }
    let chosen = usize::try_from(random::below(ready.len().max(1) as u64)).unwrap_or_default();
    let (address, port) = ready.get(chosen).ok_or_else(none)?;
    Ok(Target { scheme: named.scheme, host: proxyable(address)?, port: *port, agent: None })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(target: status::Result<Target>) -> String {
        target.map_or_else(|it| it.message, |it| format!("{:?} {}", it.scheme, it.authority()))
    }

    #[test]
    fn names_say_scheme_and_port() {
        assert_eq!(split("web"), Some(Named { scheme: Scheme::Http, name: "web", port: "" }));
        assert_eq!(split("web:http"), Some(Named { scheme: Scheme::Http, name: "web", port: "http" }));
        assert_eq!(split("https:web:"), Some(Named { scheme: Scheme::Https, name: "web", port: "" }));
        assert_eq!(split(":web:80"), Some(Named { scheme: Scheme::Http, name: "web", port: "80" }));
        for bad in ["", ":80", "ftp:web:21", "a:b:c:d"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_what_stands_behind_proxy() {
        for (whole, namespaced, expected) in [
            ("/api/v1/namespaces/d/pods/web/proxy", true, ""),
            ("/api/v1/namespaces/d/pods/web/proxy/", true, "/"),
            ("/api/v1/namespaces/d/services/proxy/proxy/a%2Fb//c/", true, "/a%2Fb//c/"),
            ("/api/v1/nodes/n1/proxy", false, ""),
            ("/api/v1/nodes/n1:10250/proxy/metrics", false, "/metrics"),
        ] {
            assert_eq!(path(whole, namespaced), expected);
        }
    }

    #[test]
    fn pods_are_reached_at_their_address() {
        let of = |id: &str, ip: &str, ports: Value| {
            let object = json!({"spec": {"containers": [{}, {"ports": ports}]}, "status": {"podIP": ip}});
            shown(pod(split(id).unwrap(), &object))
        };
        assert_eq!(of("web", "10.1.0.5", json!([{"containerPort": 8080}])), "Http 10.1.0.5:8080");
        assert_eq!(of("web", "10.1.0.5", json!([])), "Http 10.1.0.5:80");
        assert_eq!(of("https:web:8443", "2001:db8::5", json!([])), "Https [2001:db8::5]:8443");
        for ip in [
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "fe80::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "",
            "localhost",
        ] {
            assert_eq!(of("web", ip, json!([])), "address not allowed", "{ip}");
        }
    }

    #[test]
    fn services_lead_to_a_ready_endpoint() {
        let endpoints = json!({"subsets": [
            {"notReadyAddresses": [{"ip": "10.1.0.9"}], "ports": [{"name": "http", "port": 8080}]},
            {"addresses": [{"ip": "10.1.0.5"}], "ports": [{"name": "http", "port": 8080}, {"name": "", "port": 9090}]},
        ]});
        let of = |id: &str, port: &str| shown(service(split(id).unwrap(), port, &endpoints));
        for _ in 0..20 {
            assert_eq!(of("web", "http"), "Http 10.1.0.5:8080");
        }
        assert_eq!(of("https:web:", ""), "Https 10.1.0.5:9090");
        assert_eq!(of("web", "other"), "no endpoints available for service \"web\"");
        let object = json!({"spec": {"ports": [{"name": "http", "port": 80}, {"port": 81}]}});
        assert_eq!(port_name(&object, "web", 80).unwrap(), "http");
        assert_eq!(port_name(&object, "web", 81).unwrap(), "");
        assert_eq!(port_name(&object, "web", 82).unwrap_err().message, "no service port 82 found for service \"web\"");
    }

    #[test]
    fn nodes_are_their_agents_but_at_other_ports() {
        let place = || Place { node: "n1".to_owned(), host: "127.0.0.1".to_owned(), port: 10250 };
        let agent = node(split("n1").unwrap(), place()).unwrap();
        assert_eq!((agent.agent.as_deref(), agent.authority()), (Some("n1"), "127.0.0.1:10250".to_owned()));
        assert!(node(split("n1:10250").unwrap(), place()).unwrap().agent.is_some());
        assert_eq!(shown(node(split("n1:80").unwrap(), place())), "address not allowed");
    }
}
