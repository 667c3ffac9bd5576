//! What network interfaces have carried, from `/proc/<pid>/net/dev` of a process in their namespace.

use std::collections::BTreeSet;

/// An interface's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_errors: u64,
    pub tx_bytes: u64,
    pub tx_errors: u64,
}

/// The interfaces of a process's network namespace, loopback left out; none where the process has ended.
pub fn of_process(pid: u32) -> Vec<Interface> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

/// The interfaces of this machine that lead out of it: not bridges, cables to pods, or tunnels.
pub fn of_this_machine() -> Vec<Interface> {
    let real: BTreeSet<String> = std::fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|it| it.path().join("device").exists())
        .filter_map(|it| it.file_name().into_string().ok())
        .collect();
    let all = parse(&std::fs::read_to_string("/proc/net/dev").unwrap_or_default());
    // In a container there is no hardware: the cable is what leads out.
    let out: Vec<_> = all.iter().filter(|it| real.contains(&it.name)).cloned().collect();
    if out.is_empty() { all.into_iter().filter(|it| it.name.starts_with("eth")).collect() } else { out }
}

fn parse(text: &str) -> Vec<Interface> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_whitespace().map_while(|it| it.parse().ok()).collect();
        let [rx_bytes, _, rx_errors, _, _, _, _, _, tx_bytes, _, tx_errors, ..] = numbers[..] else { return None };
        Some(Interface { name: name.trim().to_owned(), rx_bytes, rx_errors, tx_bytes, tx_errors })
    };
    text.lines().filter_map(line).filter(|it| it.name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let text = "Inter-|   Receive    |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 8382162   11397    0    0    0     0          0         0  8382162   11397    0    0    0     0       0          0
  eth0: 100    6479    3    0    0     0          0         0   200    3726    4    0    0     0       0          0
";
        let expected = Interface { name: "eth0".into(), rx_bytes: 100, rx_errors: 3, tx_bytes: 200, tx_errors: 4 };
        assert_eq!(parse(text), [expected]);
    }
}
