//! What this machine has: cores, memory, disk, and its names, from /proc, /sys and /etc.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;

use crate::admission::Allocatable;

/// Pods that a node takes, as the kubelet's default.
pub const PODS: i64 = 110;
/// Memory kept back from pods: the kubelet's default hard eviction threshold.
const RESERVED_BYTES: i64 = 100 << 20;

/// A machine's size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    pub cpu: i64,
    pub memory_bytes: i64,
    pub disk_bytes: i64,
    pub pods: i64,
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
        }
    }

    /// What pods may have of it.
    pub fn allocatable(&self) -> Allocatable {
        Allocatable {
            cpu_milli: self.cpu * 1000,
            memory_bytes: (self.memory_bytes - RESERVED_BYTES).max(0),
            pods: self.pods,
        }
    }
}

/// How a machine is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pids: bool,
}

/// Memory below this is pressure (the kubelet's default).
const LEAST_MEMORY_BYTES: i64 = 100 << 20;
/// Free disk below this part of it is pressure (the kubelet's `nodefs.available<10%`).
const LEAST_DISK_PART: u64 = 10;
/// Free process ids below this part of them are pressure.
const LEAST_PIDS_PART: i64 = 10;

impl Pressure {
    /// This machine's now.
    pub fn now(data_dir: &Path) -> Self {
        let disk = nix::sys::statvfs::statvfs(data_dir);
        let disk = disk.is_ok_and(|it| it.blocks_available() < it.blocks() / LEAST_DISK_PART);
        let most = text("/proc/sys/kernel/pid_max").parse::<i64>().unwrap_or(i64::MAX);
        // `0.50 0.40 0.30 2/345 6789`: running and existing threads.
        let loadavg = text("/proc/loadavg");
        let threads = loadavg.split_whitespace().nth(3).and_then(|it| it.split('/').nth(1));
        let threads = threads.and_then(|it| it.parse::<i64>().ok());
        Pressure {
            memory: meminfo("MemAvailable").is_some_and(|it| it < LEAST_MEMORY_BYTES),
            disk,
            pids: threads.is_some_and(|it| most - it < most / LEAST_PIDS_PART),
        }
    }
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

/// The address by which this machine reaches others: that of the interface of the default route, or loopback where there is none.
pub fn own_address() -> IpAddr {
    // Connecting a datagram socket sends nothing; it asks the kernel for the route.
    let routed = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|it| {
        it.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        it.local_addr()
    });
    routed.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |it| it.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let it = Capacity::of_this_machine(Path::new("/"));
        assert!(it.cpu >= 1 && it.memory_bytes > RESERVED_BYTES && it.disk_bytes > 0, "{it:?}");
        assert!(it.allocatable().memory_bytes < it.memory_bytes);
        assert!(!own_address().is_unspecified());
    }
}
