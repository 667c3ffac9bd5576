//! The OCI bundle's `config.json` for a container: what a pod and its image ask for, in the words of the OCI runtime specification. Pure.
//!
//! In: the container's spec, the image's configuration, who it runs as, and the machine as far as it matters. Out: the JSON text's value.
//! Namespaces that the pod shares are not listed: the shim that creates the container is in them already.

pub mod capabilities;
mod mounts;
mod process;
pub mod resources;
pub mod seccomp;

use std::path::PathBuf;

use serde_json::{Value, json};

use super::identity::Identity;
use crate::runtime::{ContainerSpec, Seccomp};

/// What a container may see of `/proc` and `/sys` although it holds the machine's secrets; as containerd hides it.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What it may read there and not write.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What an image says about the program in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub working_dir: Option<String>,
}

/// Where a container's processes are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Processes {
    #[default]
    Own,
    Host,
    /// Where this process of the machine's is.
    With(i32),
}

/// Where the container will be: its pod, and this machine.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub hostname: String,
    pub processes: Processes,
    /// What is mounted at `/dev/shm`.
    pub shm: PathBuf,
    /// The pod's own files of these names in `/etc`: `hosts`, `hostname`, `resolv.conf`.
    pub etc: Vec<(String, PathBuf)>,
    /// From a cgroup hierarchy's root.
    pub cgroups_path: String,
    /// Whether the machine has cgroups of version 2 alone.
    pub unified: bool,
    /// Where its hierarchies of version 1 are mounted.
    pub cgroups: Vec<PathBuf>,
    /// Whether swap is counted.
    pub swap_limit: bool,
    /// The sizes of huge pages whose use is counted, in bytes.
    pub huge_pages: Vec<u64>,
    /// The capabilities that this machine can give, as [`capabilities::of_mask`] names them.
    pub capabilities: Vec<&'static str>,
    /// The most open files that this machine lets a process have.
    pub open_files: u64,
    /// The score for the out-of-memory killer, as low as it can be had here.
    pub oom_score_adj: i64,
    /// The profile that the container names, if it does.
    pub seccomp: Option<Value>,
    /// The machine's devices, for a privileged container.
    pub devices: Vec<Device>,
}

/// A device of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub path: String,
    pub block: bool,
    pub major: u64,
    pub minor: u64,
    pub mode: u32,
}

/// The bundle's configuration.
///
/// # Errors
/// In words: no command, an unknown capability.
pub fn build(spec: &ContainerSpec, program: &Program, who: &Identity, place: &Place) -> Result<Value, String> {
    let process = process::process(spec, program, who, place)?;
    let granted =
        capabilities::granted(spec.privileged, &spec.capabilities_add, &spec.capabilities_drop, &place.capabilities)?;
    let mut namespaces = vec![json!({"type": "mount"})];
    match place.processes {
        Processes::Own => namespaces.push(json!({"type": "pid"})),
        Processes::With(pid) => namespaces.push(json!({"type": "pid", "path": format!("/proc/{pid}/ns/pid")})),
        Processes::Host => {}
    }
    if place.unified && !spec.privileged {
        namespaces.push(json!({"type": "cgroup"}));
    }
    let mut linux = json!({
        "cgroupsPath": place.cgroups_path,
        "namespaces": namespaces,
        "resources": resources::resources(spec, place),
        "rootfsPropagation": mounts::of_root(spec),
    });
    if spec.privileged {
        let devices = place.devices.iter().map(|it| {
            let kind = if it.block { "b" } else { "c" };
            json!({"path": it.path, "type": kind, "major": it.major, "minor": it.minor, "fileMode": it.mode, "uid": 0, "gid": 0})
        });
        linux["devices"] = devices.collect();
    } else {
        linux["maskedPaths"] = json!(MASKED);
        let own = (!place.unified).then_some(mounts::CGROUPS);
        linux["readonlyPaths"] = READ_ONLY.iter().copied().chain(own).collect();
        match (&spec.seccomp, &place.seccomp) {
            (Seccomp::Unconfined, _) => {}
            (Seccomp::Profile(_), Some(it)) => linux["seccomp"] = it.clone(),
            (Seccomp::RuntimeDefault | Seccomp::Profile(_), _) => linux["seccomp"] = seccomp::runtime_default(&granted),
        }
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": spec.read_only_root},
        "process": process,
        "mounts": mounts::mounts(spec, place),
        "linux": linux,
    }))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::runtime::{PodRef, Resources};

    /// A container of which nothing particular is asked.
    pub fn plain() -> ContainerSpec {
        ContainerSpec {
            pod: PodRef { namespace: "default".into(), name: "web".into(), uid: "u".into() },
            name: "c".into(),
            attempt: 0,
            image: "sha256:1".into(),
            command: Vec::new(),
            args: Vec::new(),
            working_dir: None,
            env: Vec::new(),
            mounts: Vec::new(),
            resources: Resources::default(),
            user: None,
            supplementary_groups: Vec::new(),
            privileged: false,
            read_only_root: false,
            no_new_privileges: false,
            capabilities_add: Vec::new(),
            capabilities_drop: Vec::new(),
            tty: false,
            stdin: false,
            stdin_once: false,
            processes: crate::runtime::Processes::Own,
            seccomp: crate::runtime::Seccomp::RuntimeDefault,
            pids_limit: None,
        }
    }

    fn built(spec: &ContainerSpec, place: &Place) -> oci_spec::runtime::Spec {
        let program = Program { command: vec!["/it".into()], ..Program::default() };
        let root = Identity { uid: 0, gid: 0, groups: Vec::new(), home: "/root".into() };
        serde_json::from_value(build(spec, &program, &root, place).unwrap()).expect("the OCI's own types read it")
    }

    #[test]
    fn a_privileged_container_has_no_fences() {
        let device = Device { path: "/dev/kvm".into(), block: false, major: 10, minor: 232, mode: 0o660 };
        let place = Place { devices: vec![device], unified: true, ..Place::default() };
        let check = |privileged: bool, fences: bool, devices: usize, namespaces: usize| {
            let it = built(&ContainerSpec { privileged, ..plain() }, &place);
            let linux = it.linux().as_ref().unwrap();
            assert_eq!(linux.seccomp().is_some(), fences);
            assert_eq!(linux.masked_paths().as_ref().is_some_and(|it| !it.is_empty()), fences);
            assert_eq!(linux.readonly_paths().as_ref().is_some_and(|it| !it.is_empty()), fences);
            assert_eq!(linux.devices().as_ref().map_or(0, Vec::len), devices);
            assert_eq!(linux.namespaces().as_ref().map_or(0, Vec::len), namespaces);
        };
        check(false, true, 0, 3);
        check(true, false, 1, 2);
    }

    #[test]
    fn what_the_pod_shares_is_not_made_anew() {
        let check = |processes: Processes, expected: &[(&str, Option<&str>)]| {
            let it = built(&plain(), &Place { processes, ..Place::default() });
            let namespaces = it.linux().as_ref().unwrap().namespaces().clone().unwrap();
            let found =
                namespaces.iter().map(|it| (it.typ().to_string(), it.path().as_ref().and_then(|it| it.to_str())));
            let expected = expected.iter().map(|(kind, path)| ((*kind).to_owned(), *path));
            assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        };
        check(Processes::Host, &[("mnt", None)]);
        check(Processes::Own, &[("mnt", None), ("pid", None)]);
        check(Processes::With(7), &[("mnt", None), ("pid", Some("/proc/7/ns/pid"))]);
    }
}
