//! A node's own table of packet rules, as the text that `nft -f -` takes. Pure.
//!
//! It masquerades what leaves the cluster, and leads host ports to pods. The whole table is one transaction: it is replaced, never
//! edited, so that there is no state to compare with.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::ledger::Entries;
use super::names::Names;
use super::{HostPort, Protocol};

/// What the rules are made from.
#[derive(Clone, Copy, Debug)]
pub struct Ruleset<'a> {
    pub names: &'a Names,
    pub pod_cidr: Ipv4Net,
    pub cluster_cidr: Ipv4Net,
    pub pods: &'a Entries,
}

impl Ruleset<'_> {
    /// The text that makes the table what it should be.
    pub fn text(&self) -> String {
        let Self { names: Names { table, bridge, .. }, pod_cidr, cluster_cidr, .. } = self;
        let (mut forward, mut hairpin) = (String::new(), String::new());
        for ((host_ip, protocol, host_port), (address, port)) in self.ports() {
            let to = host_ip.map(|it| format!("ip daddr {it} ")).unwrap_or_default();
            let protocol = match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            };
            writeln!(forward, "    {to}{protocol} dport {host_port} dnat to {address}:{port}")
                .expect("writing to a string");
            // A pod that came through the host's port must be answered through the host, or the answer bears a strange address.
            writeln!(
                hairpin,
                "    ct status dnat ip saddr {pod_cidr} ip daddr {address} {protocol} dport {port} ct original proto-dst \
                 {host_port} masquerade"
            )
            .expect("writing to a string");
        }
        // `add` before `flush` makes the same text work whether the table is there or not.
        format!(
            "add table ip {table}
flush table ip {table}
table ip {table} {{
  chain hostports {{
{forward}  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump hostports
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    fib daddr type local jump hostports
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {pod_cidr} ip daddr != {cluster_cidr} ip daddr != 224.0.0.0/4 masquerade fully-random
    ip saddr 127.0.0.0/8 oifname {bridge} masquerade
{hairpin}  }}
  chain martians {{
    type filter hook prerouting priority raw; policy accept;
    iifname {bridge} ip daddr 127.0.0.0/8 drop
  }}
}}
"
        )
    }

    /// Each host port once; where two pods claim one, which the scheduler prevents, the first uid has it.
    fn ports(&self) -> BTreeMap<(Option<Ipv4Addr>, Protocol, u16), (Ipv4Addr, u16)> {
        let mut ports = BTreeMap::new();
        for entry in self.pods.values() {
            for HostPort { host_ip, host_port, container_port, protocol } in &entry.host_ports {
                ports.entry((*host_ip, *protocol, *host_port)).or_insert((entry.address, *container_port));
            }
        }
        ports
    }
}

/// The text that removes the table, whether it is there or not.
pub fn removal(names: &Names) -> String {
    let table = &names.table;
    format!("add table ip {table}\ndelete table ip {table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::ledger::Entry;

    #[test]
    fn the_table_of_a_node() {
        let port = |host_ip: Option<&str>, host_port, container_port, protocol| HostPort {
            host_ip: host_ip.map(|it| it.parse().unwrap()),
            host_port,
            container_port,
            protocol,
        };
        let entry = |address: &str, host_ports| Entry { address: address.parse().unwrap(), host_ports };
        let pods = Entries::from([
            ("a".to_owned(), entry("10.244.0.2", vec![port(None, 80, 8080, Protocol::Tcp)])),
            ("b".to_owned(), entry("10.244.0.3", vec![])),
            (
                "c".to_owned(),
                entry(
                    "10.244.0.4",
                    vec![port(Some("192.0.2.1"), 53, 5353, Protocol::Udp), port(None, 80, 1, Protocol::Tcp)],
                ),
            ),
        ]);
        let names = Names::of("node-1");
        let ruleset = Ruleset {
            names: &names,
            pod_cidr: "10.244.0.0/24".parse().unwrap(),
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
            pods: &pods,
        };
        insta::assert_snapshot!(ruleset.text());
    }
}
