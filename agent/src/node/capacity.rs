//! What this machine has: cores, memory, disk, and its names, from /proc, /sys and /etc.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use ipnet::IpNet;

use super::huge_pages;
use crate::network::ips::Ips;

/// Pods that a node takes, as the kubelet's default.
pub const PODS: i64 = 110;

/// A machine's size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    pub cpu: i64,
    pub memory_bytes: i64,
    pub disk_bytes: i64,
    pub pods: i64,
    /// What of the memory is set aside in huge pages, in bytes by the size of a page.
    pub huge_pages: BTreeMap<u64, i64>,
}

impl Capacity {
    /// This machine's, or that of the cgroup the agent is confined to, whichever is less; the disk is that of `data_dir`.
    pub fn of_this_machine(data_dir: &Path) -> Self {
        let cpu = std::thread::available_parallelism().map_or(1, |it| i64::try_from(it.get()).unwrap_or(1));
        let memory = meminfo("MemTotal").unwrap_or(1 << 30);
        let limit = ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"];
        let limit = limit.iter().find_map(|it| text(it).parse::<i64>().ok()).filter(|it| *it > 0);
        let disk = nix::sys::statvfs::statvfs(data_dir).map_or(0, |it| it.blocks().saturating_mul(it.fragment_size()));
        Capacity {
            cpu,
            memory_bytes: limit.map_or(memory, |it| it.min(memory)),
            disk_bytes: i64::try_from(disk).unwrap_or(i64::MAX),
            pods: PODS,
            huge_pages: huge_pages::of_this_machine(),
        }
    }
}

/// What a machine is short of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pids: bool,
}

/// A line of /proc/meminfo, in bytes.
fn meminfo(name: &str) -> Option<i64> {
    meminfo_in(&text("/proc/meminfo"), name)
}

/// A line of a text like /proc/meminfo's, in bytes.
pub fn meminfo_in(all: &str, name: &str) -> Option<i64> {
    let line = all.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<i64>().ok()?.checked_mul(1024)
}

/// A file's text without the line's end; empty where it cannot be read.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(path).map(|it| it.trim().to_owned()).unwrap_or_default()
}

/// The addresses by which this machine reaches others, of the families that are `wanted` in their order: those of the interfaces of the default
/// routes, or loopback where there are none.
pub fn own_addresses(wanted: &[IpNet]) -> Ips {
    let found = wanted.iter().filter_map(|it| match it {
        IpNet::V4(_) => outward(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        IpNet::V6(_) => outward(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    });
    Ips::of(found).unwrap_or_else(|| IpAddr::V4(Ipv4Addr::LOCALHOST).into())
}

/// The address from which packets to `other` go, which is nobody (RFC 5737, RFC 3849).
fn outward(any: IpAddr, other: IpAddr) -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing; it asks the kernel for the route.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((other, 9)).ok()?;
    socket.local_addr().ok().map(|it| it.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let it = Capacity::of_this_machine(Path::new("/"));
        assert!(it.cpu >= 1 && it.memory_bytes > 0 && it.disk_bytes > 0, "{it:?}");
        let addresses = own_addresses(&["10.0.0.0/8".parse().unwrap(), "fd00::/56".parse().unwrap()]);
        assert!(addresses.iter().all(|it| !it.is_unspecified()), "{addresses}");
    }
}
