//! The kubelet's Summary API, `/stats/summary`: what the node, its pods and their containers use. Pure.
//!
//! Source: `k8s.io/kubelet/pkg/apis/stats/v1alpha1`. What is not known is left out, as there.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::disk::{DiskSample, VolumeUse};
use super::interfaces::Interface;
use super::sample::{ContainerSample, Cpu, FileSystem, Memory, PodSample, Processes, Sample};
use crate::runtime::Room;

/// What the samples do not tell of the node.
pub struct NodeFacts<'a> {
    pub name: &'a str,
    pub started: Option<Timestamp>,
    pub processes: Option<Processes>,
}

/// The whole summary; `brief` is CPU and memory alone.
pub fn of(node: &NodeFacts<'_>, sample: &Sample, disk: Option<&DiskSample>, brief: bool) -> Value {
    let network = if brief { None } else { network(sample.at, &sample.network) };
    let images = disk.and_then(|it| Some((it.images.or(it.node)?, it.runtime.images)));
    let runtime = images.map(|(of, used)| {
        let images = file_system(&of, used);
        json!({ "imageFs": images, "containerFs": images })
    });
    let rlimit = node.processes.map(|it| json!({"time": time(it.at), "maxpid": it.max, "curproc": it.current}));
    let own = object([
        ("nodeName", Some(json!(node.name))),
        ("systemContainers", systems(sample)),
        ("startTime", node.started.map(time)),
        ("cpu", sample.cpu.as_ref().map(cpu)),
        ("memory", sample.memory.as_ref().map(memory)),
        ("network", network),
        ("fs", disk.and_then(|it| it.node.as_ref()).map(whole)),
        ("runtime", runtime),
        ("rlimit", rlimit),
    ]);
    let pods: Vec<Value> = sample.pods.iter().map(|it| pod(it, sample.at, disk, brief)).collect();
    json!({ "node": own, "pods": pods })
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// What all pods use together, as the kubelet tells it of their common cgroup.
fn systems(sample: &Sample) -> Option<Value> {
    let mut containers = sample.pods.iter().flat_map(|it| it.containers.iter().cloned()).peekable();
    containers.peek()?;
    let all = PodSample {
        pod: crate::runtime::PodRef { namespace: String::new(), name: String::new(), uid: String::new() },
        started: sample.pods.iter().map(|it| it.started).min().unwrap_or(sample.at),
        containers: containers.collect(),
        network: None,
    };
    let pods = object([
        ("name", Some(json!("pods"))),
        ("startTime", Some(time(all.started))),
        ("cpu", all.cpu().as_ref().map(cpu)),
        ("memory", all.memory().as_ref().map(memory)),
    ]);
    Some(json!([pods]))
}

fn pod(it: &PodSample, at: Timestamp, disk: Option<&DiskSample>, brief: bool) -> Value {
    let containers: Vec<Value> = it.containers.iter().map(|it| container(it, disk)).collect();
    let volumes = disk.and_then(|disk| disk.volumes.get(&it.pod.uid));
    let listed = |all: &Vec<VolumeUse>| all.iter().map(|of| volume(of, &it.pod.namespace)).collect::<Vec<_>>();
    let processes: u64 = it.containers.iter().map(|it| it.processes).sum();
    object([
        ("podRef", Some(json!({"name": it.pod.name, "namespace": it.pod.namespace, "uid": it.pod.uid}))),
        ("startTime", Some(time(it.started))),
        ("containers", Some(json!(containers))),
        ("cpu", it.cpu().as_ref().map(cpu)),
        ("memory", it.memory().as_ref().map(memory)),
        ("network", it.network.as_ref().filter(|_| !brief).and_then(|all| network(at, all))),
        ("volume", volumes.map(listed).filter(|it| !it.is_empty()).map(Value::from)),
        ("ephemeral-storage", disk.and_then(|disk| ephemeral(it, disk))),
        ("process_stats", (!brief).then(|| json!({ "process_count": processes }))),
    ])
}

/// What the pod takes of the node's disk: its containers' roots and logs, and volumes that go with it.
fn ephemeral(it: &PodSample, disk: &DiskSample) -> Option<Value> {
    let on = disk.node.as_ref()?;
    let volumes = disk.volumes.get(&it.pod.uid).into_iter().flatten().filter(|it| it.ephemeral).map(|it| it.used);
    let rooms = it.containers.iter().filter_map(|it| disk.container(&it.id)).flat_map(|it| [it.root, it.log]);
    let (mut bytes, mut inodes) = (0, 0);
    for room in volumes.chain(rooms) {
        bytes += room.bytes;
        inodes += room.inodes.unwrap_or_default();
    }
    Some(file_system(on, Room { bytes, inodes: Some(inodes) }))
}

fn container(it: &ContainerSample, disk: Option<&DiskSample>) -> Value {
    let room = disk.and_then(|disk| Some((disk, disk.container(&it.id)?)));
    object([
        ("name", Some(json!(it.name))),
        ("startTime", Some(time(it.started))),
        ("cpu", it.cpu.as_ref().map(cpu)),
        ("memory", it.memory.as_ref().map(memory)),
        ("rootfs", room.and_then(|(disk, it)| Some(file_system(&disk.images.or(disk.node)?, it.root)))),
        ("logs", room.and_then(|(disk, it)| Some(file_system(disk.node.as_ref()?, it.log)))),
    ])
}

fn volume(it: &VolumeUse, namespace: &str) -> Value {
    let mut all = match &it.file_system {
        Some(on) => file_system(on, it.used),
        None => json!({ "usedBytes": it.used.bytes, "inodesUsed": it.used.inodes }),
    };
    all["name"] = json!(it.name);
    if let Some(claim) = &it.claim {
        all["pvcRef"] = json!({"name": claim, "namespace": namespace});
    }
    all
}

fn cpu(it: &Cpu) -> Value {
    object([
        ("time", Some(time(it.at))),
        ("usageNanoCores", it.nanocores.map(Value::from)),
        ("usageCoreNanoSeconds", Some(json!(it.total_ns))),
    ])
}

fn memory(it: &Memory) -> Value {
    object([
        ("time", Some(time(it.at))),
        ("availableBytes", it.available_bytes.map(Value::from)),
        ("usageBytes", Some(json!(it.usage_bytes))),
        ("workingSetBytes", Some(json!(it.working_set_bytes))),
        ("rssBytes", Some(json!(it.rss_bytes))),
        ("pageFaults", Some(json!(it.page_faults))),
        ("majorPageFaults", Some(json!(it.major_page_faults))),
    ])
}

/// A file system, and what of it is meant.
fn file_system(on: &FileSystem, used: Room) -> Value {
    object([
        ("time", Some(time(on.at))),
        ("availableBytes", Some(json!(on.available_bytes))),
        ("capacityBytes", Some(json!(on.capacity_bytes))),
        ("usedBytes", Some(json!(used.bytes))),
        ("inodesFree", Some(json!(on.inodes_free))),
        ("inodes", Some(json!(on.inodes))),
        ("inodesUsed", used.inodes.map(Value::from)),
    ])
}

fn whole(on: &FileSystem) -> Value {
    let inodes = on.inodes.saturating_sub(on.inodes_free);
    file_system(on, Room { bytes: on.used_bytes, inodes: Some(inodes) })
}

/// All interfaces; `eth0`, or else the first, is told apart.
fn network(at: Timestamp, all: &[Interface]) -> Option<Value> {
    let counters = |it: &Interface| {
        json!({
            "name": it.name, "rxBytes": it.rx_bytes, "rxErrors": it.rx_errors, "txBytes": it.tx_bytes, "txErrors": it.tx_errors
        })
    };
    let default = all.iter().find(|it| it.name == "eth0").or(all.first())?;
    let mut told = counters(default);
    told["time"] = time(at);
    told["interfaces"] = all.iter().map(counters).collect();
    Some(told)
}

/// A time as the API writes it: whole seconds.
fn time(at: Timestamp) -> Value {
    json!(crate::machine::status::time(at))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::runtime::{ContainerRoom, DiskUse, PodRef};

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn sample() -> Sample {
        let cpu = Some(Cpu { at: AT, total_ns: 5_000, nanocores: Some(7) });
        let container =
            ContainerSample { id: "i".into(), name: "web".into(), started: AT, cpu, memory: None, processes: 3 };
        let eth0 = Interface { name: "eth0".into(), rx_bytes: 1, ..Interface::default() };
        let pod = PodSample {
            pod: PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() },
            started: AT,
            containers: vec![container],
            network: Some(vec![eth0]),
        };
        Sample { at: AT, cpu, memory: None, network: Vec::new(), pods: vec![pod] }
    }

    #[test]
    fn a_summary_has_the_kubelets_fields() {
        let on =
            FileSystem { at: AT, capacity_bytes: 100, available_bytes: 40, used_bytes: 60, inodes: 10, inodes_free: 4 };
        let room = |bytes| Room { bytes, inodes: Some(1) };
        let volume = |name: &str, bytes, claim: Option<&str>, ephemeral| VolumeUse {
            name: name.into(),
            file_system: Some(on),
            used: room(bytes),
            claim: claim.map(str::to_owned),
            ephemeral,
        };
        let disk = DiskSample {
            at: AT,
            node: Some(on),
            images: None,
            runtime: DiskUse {
                images_at: None,
                images: room(30),
                containers: BTreeMap::from([("i".into(), ContainerRoom { root: room(2), log: room(3) })]),
            },
            volumes: BTreeMap::from([(
                "u".into(),
                vec![volume("scratch", 4, None, true), volume("data", 50, Some("claim"), false)],
            )]),
        };
        let facts = NodeFacts { name: "n1", started: Some(AT), processes: None };
        let told = of(&facts, &sample(), Some(&disk), false);
        assert_eq!(told["node"]["fs"]["usedBytes"], 60);
        assert_eq!(told["node"]["fs"]["inodesUsed"], 6);
        assert_eq!(told["node"]["runtime"]["imageFs"]["usedBytes"], 30);
        assert_eq!(told["node"]["cpu"]["usageNanoCores"], 7);
        assert_eq!(told["node"]["memory"], Value::Null);
        assert_eq!(told["node"]["systemContainers"][0]["name"], "pods");
        let pod = &told["pods"][0];
        assert_eq!(pod["podRef"], json!({"name": "p", "namespace": "n", "uid": "u"}));
        assert_eq!(pod["startTime"], "1970-01-01T00:00:00Z");
        assert_eq!(pod["containers"][0]["cpu"]["usageCoreNanoSeconds"], 5_000);
        assert_eq!(pod["containers"][0]["rootfs"]["usedBytes"], 2);
        assert_eq!(pod["containers"][0]["logs"]["usedBytes"], 3);
        assert_eq!(pod["network"]["rxBytes"], 1);
        assert_eq!(pod["network"]["interfaces"][0]["name"], "eth0");
        assert_eq!(pod["process_stats"]["process_count"], 3);
        assert_eq!(pod["volume"][1]["pvcRef"], json!({"name": "claim", "namespace": "n"}));
        assert_eq!(pod["ephemeral-storage"]["usedBytes"], 9, "what is a claim's is not the pod's own");
    }

    #[test]
    fn a_brief_summary_is_cpu_and_memory() {
        let facts = NodeFacts { name: "n1", started: None, processes: None };
        let told = of(&facts, &sample(), None, true);
        let keys: Vec<_> = told["pods"][0].as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["containers", "cpu", "podRef", "startTime"]);
    }
}
