//! A pod's `resolv.conf`, from its `dnsPolicy` and `dnsConfig`. Pure.
//!
//! Source: `pkg/kubelet/network/dns`. Limits are the kubelet's, too: what goes beyond them is left out.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::PodSpec;

use crate::dns::resolv_conf::ResolvConf;

const SERVERS_MOST: usize = 3;
const SEARCHES_MOST: usize = 32;
/// Of all searches together, with blanks between them.
const SEARCH_BYTES_MOST: usize = 2048;
/// Names with fewer dots are tried in the searches first (`defaultDNSOptions`).
const OPTION: &str = "ndots:5";

/// The cluster's DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDns {
    /// Where pods ask.
    pub address: IpAddr,
    /// `cluster.local`.
    pub domain: String,
}

/// The `resolv.conf` of a pod in `namespace`; an empty one leaves the host's as it is. `host` is what that says.
pub fn of(pod: &PodSpec, namespace: &str, cluster: Option<&ClusterDns>, host: &ResolvConf) -> ResolvConf {
    let policy = pod.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let on_host = pod.host_network.unwrap_or(false);
    let clustered = policy == "ClusterFirstWithHostNet" || policy == "ClusterFirst" && !on_host;
    let mut out = match (policy, cluster.filter(|_| clustered)) {
        ("None", _) => ResolvConf::default(),
        (_, Some(ClusterDns { address, domain })) => {
            let own = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            ResolvConf {
                servers: vec![*address],
                searches: own.into_iter().chain(host.searches.iter().cloned()).collect(),
                options: vec![OPTION.to_owned()],
            }
        }
        (_, None) if pod.dns_config.is_none() => return ResolvConf::default(),
        (_, None) => host.clone(),
    };
    let Some(config) = &pod.dns_config else { return limited(out) };
    out.servers.extend(config.nameservers.iter().flatten().filter_map(|it| it.parse::<IpAddr>().ok()));
    out.searches.extend(config.searches.iter().flatten().map(|it| it.trim_end_matches('.').to_owned()));
    for option in config.options.iter().flatten() {
        let Some(name) = option.name.as_deref() else { continue };
        let text = option.value.as_deref().map_or_else(|| name.to_owned(), |value| format!("{name}:{value}"));
        // The pod's own word replaces what was there.
        out.options.retain(|it| it.split(':').next() != Some(name));
        out.options.push(text);
    }
    limited(out)
}

fn limited(mut it: ResolvConf) -> ResolvConf {
    let mut seen = std::collections::BTreeSet::new();
    it.servers.retain(|it| seen.insert(*it));
    it.servers.truncate(SERVERS_MOST);
    let mut seen = std::collections::BTreeSet::new();
    let mut bytes = 0;
    it.searches.retain(|it| {
        let fits = bytes + it.len() < SEARCH_BYTES_MOST && seen.len() < SEARCHES_MOST;
        let kept = fits && !it.is_empty() && seen.insert(it.clone());
        bytes += if kept { it.len() + 1 } else { 0 };
        kept
    });
    it
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, expected: &str) {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let pod: PodSpec = serde_json::from_value(spec.clone()).unwrap();
        let cluster = ClusterDns { address: "10.96.0.10".parse().unwrap(), domain: "cluster.local".into() };
        let host = ResolvConf::parse("nameserver 192.0.2.1\nsearch example.org\noptions rotate\n");
        let got = of(&pod, "shop", Some(&cluster), &host);
        let servers = got.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(format!("{servers} | {} | {}", got.searches.join(" "), got.options.join(" ")), expected, "{spec}");
    }

    #[test]
    fn policies_are_the_kubelets() {
        const CLUSTER: &str =
            "10.96.0.10 | shop.svc.cluster.local svc.cluster.local cluster.local example.org | ndots:5";
        check(json!({}), CLUSTER);
        check(json!({"dnsPolicy": "ClusterFirst"}), CLUSTER);
        check(json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), " |  | ");
        check(json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), CLUSTER);
        check(json!({"dnsPolicy": "Default"}), " |  | ");
        let config = json!({"nameservers": ["192.0.2.9"], "searches": ["a.example", "example.org."],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        check(json!({"dnsPolicy": "None", "dnsConfig": config}), "192.0.2.9 | a.example example.org | ndots:2 edns0");
        check(
            json!({"dnsPolicy": "Default", "dnsConfig": config}),
            "192.0.2.1 192.0.2.9 | example.org a.example | rotate ndots:2 edns0",
        );
        check(
            json!({"dnsConfig": config}),
            "10.96.0.10 192.0.2.9 | shop.svc.cluster.local svc.cluster.local cluster.local example.org a.example | ndots:2 edns0",
        );
        let many: Vec<String> = (0..40).map(|it| format!("s{it}")).collect();
        check(
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1", "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"], "searches": many}}),
            &format!("1.1.1.1 2.2.2.2 3.3.3.3 | {} | ", many[..32].join(" ")),
        );
    }
}
