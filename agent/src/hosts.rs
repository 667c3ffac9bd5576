//! `/etc/hosts` of a pod's containers, as the kubelet writes it: a machine's usual names, the pod's own, and what its `hostAliases` add.
//!
//! In: the pod, its addresses, and what the node's own file says, which a pod on the host's network is given. Out: the text. It writes nothing.

use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::PodSpec;

/// Where it is.
pub const PATH: &str = "/etc/hosts";

/// The first line of a file that the kubelet keeps, which tells scripts that it is one.
const MANAGED: &str = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                       fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";

/// The same on the host's network.
const OF_HOST: &str = "# Kubernetes-managed hosts file (host network).\n";

/// The file without aliases. `domain` is what a pod with a subdomain is known below.
pub fn managed(hostname: &str, domain: Option<&str>, addresses: impl IntoIterator<Item = IpAddr>) -> String {
    let mut text = MANAGED.to_owned();
    for it in addresses {
        let full = domain.map(|domain| format!("{hostname}.{domain}\t")).unwrap_or_default();
        writeln!(text, "{it}\t{full}{hostname}").expect("writing to a string");
    }
    text
}

/// The file of a pod's containers. `cluster` is the cluster's domain, `of_host` reads the node's own file.
pub fn of_pod(
    pod: &PodSpec,
    namespace: &str,
    hostname: &str,
    cluster: Option<&str>,
    addresses: impl IntoIterator<Item = IpAddr>,
    of_host: impl FnOnce() -> String,
) -> String {
    let mut text = if pod.host_network == Some(true) {
        OF_HOST.to_owned() + &of_host()
    } else {
        let subdomain = pod.subdomain.as_deref().filter(|it| !it.is_empty());
        let domain = subdomain.zip(cluster).map(|(it, cluster)| format!("{it}.{namespace}.svc.{cluster}"));
        managed(hostname, domain.as_deref(), addresses)
    };
    let aliases = pod.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for it in aliases {
        let names = it.hostnames.as_deref().unwrap_or_default().join("\t");
        writeln!(text, "{}\t{names}", it.ip).expect("writing to a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_named_and_so_are_its_aliases() {
        let addresses: [IpAddr; 2] = ["10.244.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        let check = |spec: &str, expected: &str| {
            let spec: PodSpec = serde_json::from_str(spec).unwrap();
            let text = of_pod(&spec, "shop", "web", Some("cluster.local"), addresses, || "9.9.9.9\thost\n".to_owned());
            let start = if spec.host_network == Some(true) { OF_HOST } else { MANAGED };
            assert_eq!(text.strip_prefix(start).unwrap(), expected);
        };
        check(r#"{"containers": []}"#, "10.244.0.5\tweb\nfd00::5\tweb\n");
        check(
            r#"{"containers": [], "subdomain": "db", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b.c"]}, {"ip": "::2"}]}"#,
            "10.244.0.5\tweb.db.shop.svc.cluster.local\tweb\nfd00::5\tweb.db.shop.svc.cluster.local\tweb\n\n\
             # Entries added by HostAliases.\n1.2.3.4\ta\tb.c\n::2\t\n",
        );
        check(
            r#"{"containers": [], "hostNetwork": true, "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a"]}]}"#,
            "9.9.9.9\thost\n\n# Entries added by HostAliases.\n1.2.3.4\ta\n",
        );
    }
}
