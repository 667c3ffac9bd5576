//! What was used at one moment: CPU, memory, processes and network, of the machine and of each container that runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use orlop_client::clock;

use super::interfaces::{self, Interface};
use super::{cgroup, machine};
use crate::runtime::{Id, Inventory, Phase, PodRef};

/// CPU time that was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    pub at: Timestamp,
    /// Since the start of what is counted, in nanoseconds of one core.
    pub total_ns: u64,
    /// How much of it a second, in thousand-millionths of a core; none without an earlier sample.
    pub nanocores: Option<u64>,
}

/// Memory that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub at: Timestamp,
    pub usage_bytes: u64,
    /// Without pages of files that the kernel can take back at once.
    pub working_set_bytes: u64,
    pub rss_bytes: u64,
    /// Up to the limit; none without one.
    pub available_bytes: Option<u64>,
    pub page_faults: u64,
    pub major_page_faults: u64,
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    pub at: Timestamp,
    pub capacity_bytes: u64,
    /// For those who are not root.
    pub available_bytes: u64,
    pub used_bytes: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

/// Processes and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processes {
    pub at: Timestamp,
    pub max: u64,
    pub current: u64,
}

/// What a container uses that runs.
#[derive(Clone, Debug)]
pub struct ContainerSample {
    pub id: Id,
    pub name: String,
    pub started: Timestamp,
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub processes: u64,
}

/// What a pod uses that has a sandbox.
#[derive(Clone, Debug)]
pub struct PodSample {
    pub pod: PodRef,
    pub started: Timestamp,
    pub containers: Vec<ContainerSample>,
    /// None on the node's network, which is not the pod's.
    pub network: Option<Vec<Interface>>,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: Timestamp,
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub network: Vec<Interface>,
    pub pods: Vec<PodSample>,
}

impl PodSample {
    /// The CPU time of all its containers, as of the last of them that was looked at; none where none was.
    pub fn cpu(&self) -> Option<Cpu> {
        let all: Vec<Cpu> = self.containers.iter().filter_map(|it| it.cpu).collect();
        let rates: Vec<u64> = all.iter().filter_map(|it| it.nanocores).collect();
        Some(Cpu {
            at: all.iter().map(|it| it.at).max()?,
            total_ns: all.iter().map(|it| it.total_ns).sum(),
            nanocores: Some(rates.iter().sum()).filter(|_| !rates.is_empty()),
        })
    }

    /// The memory of all its containers.
    pub fn memory(&self) -> Option<Memory> {
        let all: Vec<Memory> = self.containers.iter().filter_map(|it| it.memory).collect();
        let sum = |of: fn(&Memory) -> u64| all.iter().map(of).sum();
        // What is left is told only where each of them has a limit.
        let available: Option<Vec<u64>> = all.iter().map(|it| it.available_bytes).collect();
        Some(Memory {
            at: all.iter().map(|it| it.at).max()?,
            usage_bytes: sum(|it| it.usage_bytes),
            working_set_bytes: sum(|it| it.working_set_bytes),
            rss_bytes: sum(|it| it.rss_bytes),
            available_bytes: available.map(|it| it.iter().sum()),
            page_faults: sum(|it| it.page_faults),
            major_page_faults: sum(|it| it.major_page_faults),
        })
    }
}

/// Looks at everything; `host_network` says of a pod's uid whether it is on the node's network. Blocks for some reads of /proc and /sys a container.
pub fn take(inventory: &Inventory, capacity_bytes: i64, host_network: impl Fn(&str) -> bool) -> Sample {
    let mut pods: BTreeMap<String, PodSample> = BTreeMap::new();
    for sandbox in inventory.sandboxes.iter().filter(|it| it.running) {
        let network = (!host_network(&sandbox.pod.uid)).then_some(sandbox.pid).flatten().map(interfaces::of_process);
        let pod = PodSample { pod: sandbox.pod.clone(), started: sandbox.created, containers: Vec::new(), network };
        pods.insert(sandbox.pod.uid.clone(), pod);
    }
    for it in &inventory.containers {
        let (Phase::Running { started }, Some(pod)) = (&it.phase, pods.get_mut(&it.pod.uid)) else { continue };
        let found = it.pid.map(cgroup::read).unwrap_or_default();
        pod.containers.push(ContainerSample {
            id: it.id.clone(),
            name: it.name.clone(),
            started: *started,
            cpu: found.cpu,
            memory: found.memory,
            processes: found.processes,
        });
    }
    Sample {
        at: clock::now(),
        cpu: machine::cpu(),
        memory: machine::memory(capacity_bytes),
        network: interfaces::of_this_machine(),
        pods: pods.into_values().collect(),
    }
}

impl Sample {
    /// The same without what the machine itself uses.
    pub fn without_machine(self) -> Self {
        Sample { cpu: None, memory: None, network: Vec::new(), ..self }
    }

    /// Fills in how fast CPU time was spent since an earlier sample.
    pub fn since(mut self, before: Option<&Arc<Sample>>) -> Self {
        let Some(before) = before else { return self };
        rate(&mut self.cpu, before.cpu);
        let old: BTreeMap<&str, Option<Cpu>> =
            before.pods.iter().flat_map(|it| &it.containers).map(|it| (it.id.as_str(), it.cpu)).collect();
        for it in self.pods.iter_mut().flat_map(|it| &mut it.containers) {
            rate(&mut it.cpu, old.get(it.id.as_str()).copied().flatten());
        }
        self
    }
}

fn rate(now: &mut Option<Cpu>, before: Option<Cpu>) {
    let (Some(now), Some(before)) = (now, before) else { return };
    let elapsed_ns = u128::try_from(now.at.as_nanosecond() - before.at.as_nanosecond()).unwrap_or_default();
    // A counter that goes backwards belongs to something else by now.
    let spent = now.total_ns.checked_sub(before.total_ns).filter(|_| elapsed_ns > 0);
    now.nanocores = spent.and_then(|it| u64::try_from(u128::from(it) * 1_000_000_000 / elapsed_ns).ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(second: i64, total_ns: u64) -> Option<Cpu> {
        Some(Cpu { at: Timestamp::from_second(second).unwrap(), total_ns, nanocores: None })
    }

    #[test]
    fn a_rate_needs_two_looks_at_the_same() {
        let check = |before, now, expected| {
            let mut now = now;
            rate(&mut now, before);
            assert_eq!(now.and_then(|it| it.nanocores), expected, "{before:?} {now:?}");
        };
        check(cpu(10, 1_000), cpu(12, 3_000_001_000), Some(1_500_000_000));
        check(cpu(10, 1_000), cpu(12, 1_000), Some(0));
        check(cpu(10, 1_000), cpu(12, 999), None);
        check(cpu(12, 1_000), cpu(12, 2_000), None);
        check(None, cpu(12, 2_000), None);
    }

    #[test]
    fn a_pod_is_the_sum_of_its_containers() {
        let container = |memory: Option<Memory>, cpu: Option<Cpu>| ContainerSample {
            id: "i".into(),
            name: "c".into(),
            started: Timestamp::UNIX_EPOCH,
            cpu,
            memory,
            processes: 1,
        };
        let memory = |available_bytes| Memory {
            at: Timestamp::UNIX_EPOCH,
            usage_bytes: 10,
            working_set_bytes: 8,
            rss_bytes: 5,
            available_bytes,
            page_faults: 1,
            major_page_faults: 0,
        };
        let pod = |containers| PodSample {
            pod: PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() },
            started: Timestamp::UNIX_EPOCH,
            containers,
            network: None,
        };
        let both = pod(vec![container(Some(memory(Some(3))), cpu(1, 5)), container(Some(memory(None)), cpu(2, 6))]);
        assert_eq!(both.memory().map(|it| (it.working_set_bytes, it.available_bytes)), Some((16, None)));
        assert_eq!(both.cpu(), cpu(2, 11));
        assert_eq!(pod(vec![container(None, None)]).memory(), None);
    }
}
