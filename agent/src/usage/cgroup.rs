//! What a container uses, by the cgroups of its process, in version 1 or 2. Source: cAdvisor's counting, which the kubelet's is.

use jiff::Timestamp;
use orlop_client::clock;
use orlop_shim::cgroup::Cgroup;

use super::sample::{Cpu, Memory};

/// A limit of version 1 from here on is none: the kernel's own is the largest number of whole pages.
const UNLIMITED_BYTES: u64 = 1 << 62;

/// What the containers of a cgroup use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub processes: u64,
}

/// Reads the cgroups of a process; nothing where it has ended.
pub fn read(pid: u32) -> Reading {
    let Ok(cgroup) = Cgroup::of_process(pid) else { return Reading::default() };
    let at = clock::now();
    let text = |controller, name_1, name_2| cgroup.read(controller, name_1, name_2);
    let total_ns = text("cpuacct", "cpuacct.usage", "cpu.stat").and_then(|(it, unified)| cpu_ns(&it, unified));
    let usage = text("memory", "memory.usage_in_bytes", "memory.current");
    let stat = text("memory", "memory.stat", "memory.stat");
    let limit = text("memory", "memory.limit_in_bytes", "memory.max");
    let memory = usage.zip(stat).and_then(|((usage, _), (stat, unified))| {
        memory(at, &usage, &stat, limit.as_ref().map_or("", |it| it.0.as_str()), unified)
    });
    Reading {
        cpu: total_ns.map(|total_ns| Cpu { at, total_ns, nanocores: None }),
        memory,
        processes: u64::try_from(cgroup.processes().len()).unwrap_or_default(),
    }
}

/// The memory of the cgroup that this machine's root is, where it is a container.
pub fn confined() -> Option<Memory> {
    let text = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let at = clock::now();
    let old = || {
        let (usage, stat) = (text("memory/memory.usage_in_bytes")?, text("memory/memory.stat")?);
        memory(at, &usage, &stat, "", false)
    };
    let new = || memory(at, &text("memory.current")?, &text("memory.stat")?, "", true);
    old().or_else(new)
}

/// CPU time: `cpuacct.usage` in nanoseconds, or the `usage_usec` of `cpu.stat`.
fn cpu_ns(text: &str, unified: bool) -> Option<u64> {
    match unified {
        true => field(text, "usage_usec")?.checked_mul(1000),
        false => text.trim().parse().ok(),
    }
}

/// A line `name value` of a file.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The working set is what is used without the pages of files that were not touched for a while: what the kernel cannot take back at once.
fn memory(at: Timestamp, usage: &str, stat: &str, limit: &str, unified: bool) -> Option<Memory> {
    let usage_bytes: u64 = usage.trim().parse().ok()?;
    let names = match unified {
        true => ["inactive_file", "anon", "pgfault", "pgmajfault"],
        false => ["total_inactive_file", "total_rss", "total_pgfault", "total_pgmajfault"],
    };
    let [inactive, rss_bytes, page_faults, major_page_faults] = names.map(|it| field(stat, it).unwrap_or_default());
    let working_set_bytes = usage_bytes.saturating_sub(inactive);
    // `max` is no number.
    let limit = limit.trim().parse::<u64>().ok().filter(|it| *it < UNLIMITED_BYTES);
    Some(Memory {
        at,
        usage_bytes,
        working_set_bytes,
        rss_bytes,
        available_bytes: limit.map(|it| it.saturating_sub(working_set_bytes)),
        page_faults,
        major_page_faults,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        assert_eq!(cpu_ns("1401996101173\n", false), Some(1_401_996_101_173));
        assert_eq!(cpu_ns("usage_usec 12\nuser_usec 5\n", true), Some(12_000));
        let at = Timestamp::UNIX_EPOCH;
        let expected = |available_bytes| Memory {
            at,
            usage_bytes: 1000,
            working_set_bytes: 700,
            rss_bytes: 500,
            available_bytes,
            page_faults: 7,
            major_page_faults: 1,
        };
        let old = "inactive_file 1\nrss 2\ntotal_rss 500\ntotal_rss_huge 9\ntotal_pgfault 7\ntotal_pgmajfault 1\ntotal_inactive_file 300\n";
        assert_eq!(memory(at, "1000\n", old, "9223372036854771712\n", false), Some(expected(None)));
        assert_eq!(memory(at, "1000\n", old, "1500\n", false), Some(expected(Some(800))));
        let new = "anon 500\nfile 400\ninactive_file 300\npgfault 7\npgmajfault 1\n";
        assert_eq!(memory(at, "1000\n", new, "max\n", true), Some(expected(None)));
        assert_eq!(memory(at, "", new, "max\n", true), None);
    }

    #[test]
    fn this_process_uses_something() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = read(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.cpu.is_some() && found.processes > 0, "{found:?}");
        assert!(found.memory.is_some_and(|it| it.working_set_bytes > 0 && it.usage_bytes >= it.working_set_bytes));
        assert_eq!(read(u32::MAX), Reading::default());
    }
}
