//! A node's own tables of packet rules, one a family, as the text that `nft -f -` takes. Pure.
//!
//! It masquerades what leaves the cluster, and leads host ports to pods. Both are one transaction: they are replaced, never
//! edited, so that there is no state to compare with.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;
use orlop_api::ranges::Ranges;

use super::addresses::Addresses;
use super::ledger::Entries;
use super::names::Names;
use super::{HostPort, Protocol};
use crate::rules::table::Family;

/// What the rules are made from.
#[derive(Clone, Copy, Debug)]
pub struct Ruleset<'a> {
    pub names: &'a Names,
    pub pod_cidr: Ranges,
    pub cluster_cidr: Ranges,
    pub pods: &'a Entries,
    /// Who has which addresses.
    pub addresses: &'a Addresses,
}

impl Ruleset<'_> {
    /// The text that makes the tables what they should be: one for each family that the node has a range of.
    pub fn text(&self) -> String {
        let of = |range: IpNet| self.cluster_cidr.iter().find(|it| it.contains(&range)).map(|it| (range, it));
        self.pod_cidr.iter().filter_map(of).map(|(range, cluster)| self.table(range, cluster)).collect()
    }

    fn table(&self, pod_cidr: IpNet, cluster_cidr: IpNet) -> String {
        let Names { table, bridge, .. } = self.names;
        let family = Family::of(pod_cidr.addr());
        let ip = family.name();
        let (mut forward, mut hairpin) = (String::new(), String::new());
        for ((host_ip, protocol, host_port), (address, port)) in self.ports(family) {
            let to = host_ip.map(|it| format!("{ip} daddr {it} ")).unwrap_or_default();
            let protocol = match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            };
            let end = match address {
                IpAddr::V4(_) => format!("{address}:{port}"),
                IpAddr::V6(_) => format!("[{address}]:{port}"),
            };
            writeln!(forward, "    {to}{protocol} dport {host_port} dnat to {end}").expect("writing to a string");
            // A pod that came through the host's port must be answered through the host, or the answer bears a strange address.
            writeln!(
                hairpin,
                "    ct status dnat {ip} saddr {pod_cidr} {ip} daddr {address} {protocol} dport {port} ct original proto-dst \
                 {host_port} masquerade"
            )
            .expect("writing to a string");
        }
        let (everybody, local, martians) = match family {
            Family::V4 => (
                "224.0.0.0/4",
                format!("    ip saddr 127.0.0.0/8 oifname {bridge} masquerade\n"),
                format!(
                    "  chain martians {{
    type filter hook prerouting priority raw; policy accept;
    iifname {bridge} ip daddr 127.0.0.0/8 drop
  }}
"
                ),
            ),
            // What is the loopback's never leaves a machine by IPv6.
            Family::V6 => ("ff00::/8", String::new(), String::new()),
        };
        // `add` before `flush` makes the same text work whether the table is there or not.
        format!(
            "add table {ip} {table}
flush table {ip} {table}
table {ip} {table} {{
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
    {ip} saddr {pod_cidr} {ip} daddr != {cluster_cidr} {ip} daddr != {everybody} masquerade fully-random
{local}{hairpin}  }}
{martians}}}
"
        )
    }

    /// Each host port once; where two pods claim one, which the scheduler prevents, the first uid has it.
    fn ports(&self, family: Family) -> BTreeMap<(Option<IpAddr>, Protocol, u16), (IpAddr, u16)> {
        let mut ports = BTreeMap::new();
        for (pod, entry) in self.pods {
            let own = self.addresses.of(pod).and_then(|it| it.iter().find(|it| Family::of(*it) == family));
            let Some(address) = own else { continue };
            let of_family = |it: &&HostPort| it.host_ip.is_none_or(|it| Family::of(it) == family);
            for HostPort { host_ip, host_port, container_port, protocol } in entry.host_ports.iter().filter(of_family) {
                ports.entry((*host_ip, *protocol, *host_port)).or_insert((address, *container_port));
            }
        }
        ports
    }
}

/// The text that removes the tables, whether they are there or not.
pub fn removal(names: &Names) -> String {
    let table = &names.table;
    Family::ALL.iter().map(|it| format!("add table {0} {table}\ndelete table {0} {table}\n", it.name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::ledger::Entry;

    fn text(pod_cidr: &str, cluster_cidr: &str, host_ip: &str) -> String {
        let port = |host_ip: Option<&str>, host_port, container_port, protocol| HostPort {
            host_ip: host_ip.map(|it| it.parse().unwrap()),
            host_port,
            container_port,
            protocol,
        };
        let mut addresses = Addresses::new(pod_cidr.parse().unwrap()).unwrap();
        let mut entry = |pod: &str, host_ports| {
            let address = addresses.take(pod).unwrap().primary();
            (pod.to_owned(), Entry { address, host_ports })
        };
        let pods = Entries::from([
            entry("a", vec![port(None, 80, 8080, Protocol::Tcp)]),
            entry("b", vec![]),
            entry("c", vec![port(Some(host_ip), 53, 5353, Protocol::Udp), port(None, 80, 1, Protocol::Tcp)]),
        ]);
        let names = Names::of("node-1");
        let (pod_cidr, cluster_cidr) = (pod_cidr.parse().unwrap(), cluster_cidr.parse().unwrap());
        Ruleset { names: &names, pod_cidr, cluster_cidr, pods: &pods, addresses: &addresses }.text()
    }

    #[test]
    fn the_table_of_a_node() {
        insta::assert_snapshot!(text("10.244.0.0/24", "10.244.0.0/16", "192.0.2.1"));
    }

    #[test]
    fn the_tables_of_a_node_with_both_families() {
        let ranges = ("fd00:10:244::/64,10.244.0.0/24", "fd00:10:244::/56,10.244.0.0/16");
        insta::assert_snapshot!(text(ranges.0, ranges.1, "2001:db8::1"));
    }
}
