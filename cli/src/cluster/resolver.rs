//! The host's DNS for nodes, where the host asks a server of its own loopback, as with systemd-resolved or dnsmasq.
//!
//! A node has another loopback. What it asks a server there is led to the host's end of its cable, where the forwarder passes it on
//! ([`super::datagrams`]). A server that is no loopback's is reached by the way out, and needs nothing.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::wiring::nft;

/// The host's list of servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Lets what comes from the loopback leave by a link, and be answered.
const ROUTE_LOCALNET: &str = "/proc/sys/net/ipv4/conf/eth0/route_localnet";

/// The server of the host's loopback that the host asks first of those, if it asks one.
pub fn of_host() -> Option<Ipv4Addr> {
    parse(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default())
}

fn parse(text: &str) -> Option<Ipv4Addr> {
    let mut servers =
        text.lines().filter_map(|it| it.trim().strip_prefix("nameserver")?.trim().parse::<Ipv4Addr>().ok());
    servers.find(Ipv4Addr::is_loopback)
}

/// Leads questions to the loopback's servers to the host, in the namespace of the calling thread.
///
/// # Errors
/// The kernel refuses.
pub fn lead(gateway: Ipv4Addr) -> Result<()> {
    std::fs::write(ROUTE_LOCALNET, "1")?;
    nft(&rules(gateway))
}

fn rules(gateway: Ipv4Addr) -> String {
    format!(
        "add table ip orlop_resolver
flush table ip orlop_resolver
table ip orlop_resolver {{
  chain output {{
    type nat hook output priority -100; policy accept;
    ip daddr 127.0.0.0/8 udp dport 53 dnat to {gateway}:53
    ip daddr 127.0.0.0/8 tcp dport 53 dnat to {gateway}:53
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 127.0.0.0/8 oifname eth0 masquerade
  }}
  chain martians {{
    type filter hook prerouting priority raw; policy accept;
    iifname eth0 ip daddr 127.0.0.0/8 drop
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_of_the_loopback_are_led_elsewhere() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse(text).map(|it| it.to_string()).as_deref(), expected, "{text}");
        };
        check("", None);
        check("# nameserver 127.0.0.1\nnameserver 192.0.2.1\nsearch a\n", None);
        check(
            "nameserver 192.0.2.1\nnameserver 127.0.0.53\nnameserver 127.0.0.54\noptions edns0\n",
            Some("127.0.0.53"),
        );
        check("nameserver ::1\nnameserver\nnameserver x\n", None);
    }
}
