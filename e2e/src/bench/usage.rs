//! What a process has used: processor time and memory, from `/proc`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The unit of times in `/proc/<pid>/stat`: USER_HZ, which Linux fixes at 100 for every architecture that Rust's std runs on (proc(5)).
const TICK: Duration = Duration::from_millis(10);

/// A process whose use is measured.
#[derive(Clone, Debug)]
pub struct Process {
    /// As the tables call it: `server`, `etcd`.
    pub name: String,
    pub id: u32,
}

/// The processor time of all threads of a process since it started, in user and kernel mode. Exact to 10 ms.
///
/// # Errors
/// When the process is gone.
pub fn processor(id: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).with_context(|| format!("process {id}"))?;
    let ticks = ticks(&text).with_context(|| format!("/proc/{id}/stat says {text}"))?;
    Ok(TICK * ticks)
}

/// The processor time of this program.
///
/// # Errors
/// When `/proc` is not there.
pub fn own_processor() -> Result<Duration> {
    processor(std::process::id())
}

/// `utime` and `stime`, the 14th and 15th field. The second is the program's name in parentheses and may hold anything.
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, kernel): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    user.checked_add(kernel)
}

/// The memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `VmRSS`: with the pages of its program file, which every process of the same binary shares.
    pub resident_bytes: u64,
    /// `RssAnon`: heap and stacks, what the process alone has.
    pub anonymous_bytes: u64,
}

/// The memory of a process now.
///
/// # Errors
/// When the process is gone.
pub fn memory(id: u32) -> Result<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).with_context(|| format!("process {id}"))?;
    let of = |name: &str| {
        let line = text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes: u64 = line?.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kibibytes * 1024)
    };
    Ok(Memory {
        resident_bytes: of("VmRSS").context("no VmRSS")?,
        anonymous_bytes: of("RssAnon").context("no RssAnon")?,
    })
}

/// How often [`most_memory`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The memory of a process when it has the most within a time from now: one look may come just after the process has given pages back, which it does every
/// ten seconds.
///
/// # Errors
/// When the process is gone.
pub fn most_memory(id: u32, within: Duration) -> Result<Memory> {
    let began = Instant::now();
    let mut most = memory(id)?;
    while began.elapsed() < within {
        std::thread::sleep(LOOK_EVERY);
        let now = memory(id)?;
        if now.resident_bytes > most.resident_bytes {
            most = now;
        }
    }
    Ok(most)
}

impl std::iter::Sum for Memory {
    fn sum<I: Iterator<Item = Memory>>(all: I) -> Memory {
        all.fold(Memory::default(), |sum, it| Memory {
            resident_bytes: sum.resident_bytes + it.resident_bytes,
            anonymous_bytes: sum.anonymous_bytes + it.anonymous_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_fields() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 120 34 0 0 20";
        assert_eq!(ticks(&format!("12 (a) b)) {rest}")), Some(154));
        assert_eq!(ticks("12 (a"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let it = memory(std::process::id()).expect("this process runs");
        assert!(it.resident_bytes > it.anonymous_bytes && it.anonymous_bytes > 0, "{it:?}");
        assert!(memory(u32::MAX).is_err());
    }
}
