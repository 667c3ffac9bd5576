//! What this machine, its pods and their containers use: CPU, memory, disk, network, processes.
//!
//! `cgroup` (a container), `machine`, `interfaces` and `files` read; [`sample`] puts that together for CPU, memory and network, [`disk`] for the disk;
//! [`meter`] keeps the last of each, so that many who ask cost one look, and there are rates. Out of it come the kubelet's Summary API ([`summary`]) and
//! its resource metrics ([`exposition`]). Nothing is looked at while nobody asks. The same for every runtime: a container's cgroup is that of its
//! process, so that a runtime tells only what it alone knows, the disk.

pub mod cgroup;
pub mod disk;
pub mod exposition;
pub mod files;
pub mod interfaces;
pub mod machine;
pub mod meter;
pub mod sample;
pub mod summary;
