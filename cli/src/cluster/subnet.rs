//! Addresses for a cluster's nodes: a /24 that neither the host nor another cluster uses.
//!
//! The link on the host is named after the network, and the kernel lets no two links have one name: of two commands that choose the same network at
//! once, one finds it taken and takes the next.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use ipnet::Ipv4Net;

use super::folder::{self, Folder};
use super::record::Record;

/// What clusters are given networks of: the end of the private range 172.16.0.0/12, of which Docker takes from the beginning.
const POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 30, 0, 0), 15);
/// A node has one address: more than a /24's would be more nodes than ranges for pods.
const BITS: u8 = 24;

/// The free networks, the preferred one first.
pub fn free(used: &[Ipv4Net], preferred: Option<Ipv4Net>) -> impl Iterator<Item = Ipv4Net> {
    let overlaps = |it: &Ipv4Net| used.iter().any(|other| other.contains(it) || it.contains(other));
    let preferred = preferred.filter(|it| POOL.contains(it) && it.prefix_len() == BITS);
    let pool = POOL.subnets(BITS).into_iter().flatten().filter(move |it| Some(*it) != preferred);
    preferred.into_iter().chain(pool).filter(move |it| !overlaps(it))
}

/// The name of the host's link into a network: `oclu` and the network's number in the pool.
pub fn link(subnet: Ipv4Net) -> String {
    let number = u32::from(subnet.network()).wrapping_sub(u32::from(POOL.network())) >> (32 - BITS);
    format!("oclu{number}")
}

/// What the host's routes lead to, and what other clusters of the folder have, running or not.
///
/// # Errors
/// When the routes cannot be read.
pub fn used(clusters: &Path, but: &str) -> Result<Vec<Ipv4Net>> {
    let text = std::fs::read_to_string("/proc/net/route").context("cannot read the routes of this machine")?;
    let mut used = routes(&text);
    for name in folder::names(clusters)?.iter().filter(|it| it.to_string() != but) {
        // One that cannot be read has no links either.
        used.extend(Record::read(&Folder::of(clusters, name).record()).ok().map(|it| it.subnet));
    }
    Ok(used)
}

/// The networks in `/proc/net/route` but for the default one. Numbers stand there in the machine's order of bytes.
fn routes(text: &str) -> Vec<Ipv4Net> {
    let address = |it: &str| u32::from_str_radix(it, 16).ok().map(|it| Ipv4Addr::from(it.to_ne_bytes()));
    let net = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (to, mask) = (address(fields.get(1)?)?, address(fields.get(7)?)?);
        Ipv4Net::with_netmask(to, mask).ok().filter(|it| it.prefix_len() > 0)
    };
    text.lines().skip(1).filter_map(net).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_used_is_passed_over() {
        let check = |used: &[&str], preferred: Option<&str>, expected: &str| {
            let used: Vec<Ipv4Net> = used.iter().map(|it| net(it)).collect();
            assert_eq!(free(&used, preferred.map(net)).next(), Some(net(expected)), "{used:?}");
        };
        check(&[], None, "172.30.0.0/24");
        check(&["172.30.0.0/16", "192.0.2.0/24"], None, "172.31.0.0/24");
        check(&["172.30.0.128/25"], None, "172.30.1.0/24");
        check(&[], Some("172.30.7.0/24"), "172.30.7.0/24");
        check(&["172.30.7.0/24"], Some("172.30.7.0/24"), "172.30.0.0/24");
        check(&[], Some("10.0.0.0/24"), "172.30.0.0/24");
        assert_eq!(free(&[net("172.16.0.0/12")], None).next(), None);
        assert_eq!(free(&[], None).count(), 512);
        assert_eq!((link(net("172.30.7.0/24")), link(net("172.31.255.0/24"))), ("oclu7".into(), "oclu511".into()));
    }

    #[test]
    fn the_kernels_list_is_read() {
        let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\nbroken\n";
        assert_eq!(routes(text), [net("172.17.0.0/16")]);
    }
}
