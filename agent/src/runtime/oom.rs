//! How low an out-of-memory score may be set here.
//!
//! Lowering a score below that of the parent takes CAP_SYS_RESOURCE, which a machine inside a container or a small virtual machine
//! may lack; the OCI runtime then fails to start the container without saying why. The agent and the Engine are of one machine, so the agent
//! judges by its own capabilities and asks for no more than the machine can give.

use std::fs;
use std::sync::OnceLock;

/// Bit of CAP_SYS_RESOURCE in `/proc/<pid>/status`, from linux/capability.h.
const CAP_SYS_RESOURCE: u32 = 24;

/// The score nearest to the wanted one that this machine can give.
pub fn attainable(wanted: i64) -> i64 {
    static LOWEST: OnceLock<i64> = OnceLock::new();
    let lowest = LOWEST.get_or_init(|| {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        lowest(&read("/proc/self/status"), &read("/proc/self/oom_score_adj"))
    });
    wanted.max(*lowest)
}

fn lowest(status: &str, own: &str) -> i64 {
    let mask = status.lines().find_map(|it| it.strip_prefix("CapEff:"));
    let capable =
        mask.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).is_none_or(|it| it >> CAP_SYS_RESOURCE & 1 == 1);
    if capable { i64::MIN } else { own.trim().parse().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_lowered_only_where_it_can_be() {
        let check = |capabilities: &str, own: &str, expected: i64| {
            assert_eq!(lowest(&format!("Name:\tx\nCapEff:\t{capabilities}\n"), own), expected);
        };
        check("000001ffffffffff", "0\n", i64::MIN);
        check("000001fffeffffff", "0\n", 0);
        check("0000000000000000", "-500\n", -500);
        check("nonsense", "0\n", i64::MIN);
    }
}
