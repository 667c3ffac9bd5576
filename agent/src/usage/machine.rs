//! What the machine as a whole uses, and has: from /proc, the file systems, and the cgroup that the agent is confined to, if it is.

use std::path::Path;

use jiff::Timestamp;
use nix::sys::statvfs::statvfs;
use orlop_client::clock;

use super::sample::{Cpu, FileSystem, Memory, Processes};
use crate::node::capacity::{meminfo_in, text};

/// Times in /proc/stat are in hundredths of a second, whatever the kernel's own clock (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;

/// The CPU time that the machine has spent on anything, since it started.
pub fn cpu() -> Option<Cpu> {
    let at = clock::now();
    cpu_ns(&text("/proc/stat")).map(|total_ns| Cpu { at, total_ns, nanocores: None })
}

/// `cpu user nice system idle iowait irq softirq steal guest guest_nice`: all but idling and waiting, and guests are in `user` already.
fn cpu_ns(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|it| it.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|it| it.parse().ok()).collect();
    let [user, nice, system, _, _, irq, softirq, steal, ..] = ticks[..] else { return None };
    (user + nice + system + irq + softirq + steal).checked_mul(TICK_NS)
}

/// The machine's memory, of which it has `capacity_bytes`.
pub fn memory(capacity_bytes: i64) -> Option<Memory> {
    let capacity = u64::try_from(capacity_bytes).ok()?;
    let meminfo = text("/proc/meminfo");
    let whole = meminfo_in(&meminfo, "MemTotal").and_then(|it| u64::try_from(it).ok())?;
    let found = match whole > capacity {
        // Confined to a cgroup: what counts is its own.
        true => super::cgroup::confined(),
        false => of_meminfo(clock::now(), &meminfo, &text("/proc/vmstat")),
    }?;
    Some(Memory { available_bytes: Some(capacity.saturating_sub(found.working_set_bytes)), ..found })
}

/// As runc and cAdvisor count for the root cgroup of version 2, which has no counter of its own.
fn of_meminfo(at: Timestamp, meminfo: &str, vmstat: &str) -> Option<Memory> {
    let bytes = |name: &str| meminfo_in(meminfo, name).and_then(|it| u64::try_from(it).ok());
    let usage_bytes = bytes("MemTotal")?.saturating_sub(bytes("MemFree")?);
    let faults = |name: &str| {
        let line = vmstat.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|it| it.trim().parse().ok()).unwrap_or_default()
    };
    Some(Memory {
        at,
        usage_bytes,
        working_set_bytes: usage_bytes.saturating_sub(bytes("Inactive(file)").unwrap_or_default()),
        rss_bytes: bytes("AnonPages").unwrap_or_default(),
        available_bytes: None,
        page_faults: faults("pgfault"),
        major_page_faults: faults("pgmajfault"),
    })
}

/// The file system on which a path lies; none where it cannot be asked.
pub fn file_system(path: &Path) -> Option<FileSystem> {
    let at = clock::now();
    let it = statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(it.fragment_size());
    Some(FileSystem {
        at,
        capacity_bytes: bytes(it.blocks()),
        available_bytes: bytes(it.blocks_available()),
        used_bytes: bytes(it.blocks().saturating_sub(it.blocks_free())),
        inodes: it.files(),
        inodes_free: it.files_free(),
    })
}

/// How many processes and threads there are, and how many there can be.
pub fn processes() -> Option<Processes> {
    let at = clock::now();
    let number = |path: &str| text(path).parse::<u64>().ok();
    let max = number("/proc/sys/kernel/pid_max")?;
    let max = number("/proc/sys/kernel/threads-max").map_or(max, |it| it.min(max));
    // `0.50 0.40 0.30 2/345 6789`: the second of the pair are all that exist.
    let loadavg = text("/proc/loadavg");
    let current = loadavg.split_whitespace().nth(3).and_then(|it| it.split_once('/')?.1.parse().ok())?;
    Some(Processes { at, max, current })
}

/// When the machine started.
pub fn started() -> Option<Timestamp> {
    let stat = text("/proc/stat");
    let seconds = stat.lines().find_map(|it| it.strip_prefix("btime "))?.trim().parse().ok()?;
    Timestamp::from_second(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        assert_eq!(cpu_ns("cpu  1 2 3 100 200 4 5 6 1 0\ncpu0 9\n"), Some(21 * TICK_NS));
        assert_eq!(cpu_ns("intr 1"), None);
        let meminfo = "MemTotal: 1000 kB\nMemFree: 400 kB\nInactive(file): 100 kB\nAnonPages: 50 kB\n";
        let found = of_meminfo(Timestamp::UNIX_EPOCH, meminfo, "pgfault 7\npgmajfault 2\n").unwrap();
        assert_eq!((found.usage_bytes, found.working_set_bytes, found.rss_bytes), (600 << 10, 500 << 10, 50 << 10));
        assert_eq!((found.page_faults, found.major_page_faults), (7, 2));
    }

    #[test]
    fn this_machine_uses_something() {
        assert!(cpu().is_some_and(|it| it.total_ns > 0));
        assert!(memory(i64::MAX).is_some_and(|it| it.working_set_bytes > 0));
        assert!(file_system(Path::new("/")).is_some_and(|it| it.capacity_bytes > it.available_bytes));
        assert!(processes().is_some_and(|it| it.current > 0 && it.current < it.max));
        assert!(started().is_some_and(|it| it < clock::now()));
    }
}
