//! The process that holds a pod: its namespaces, its containers, their logs and their ends. It outlives the agent.
//!
//! The agent starts one shim for a sandbox and speaks to it over a unix socket in the pod's folder ([`protocol`]); what has to survive both
//! lies in that folder as files ([`record`]). The shim is one thread around `poll` ([`server`]): what takes long or enters namespaces runs in
//! children of another program (`orlop-shim-helper`), which make a container ([`run`]) or enter one ([`enter`]) and then hand the process over to the shim,
//! the subreaper. It deliberately knows no pods, no images and no volumes: an OCI bundle is all it gets.

pub mod clock;
pub mod fence;
pub mod protocol;
pub mod record;

pub mod cgroup;

pub mod reaper;
pub mod sandbox;

mod container;
pub mod errand;
mod exec;
mod log;
mod session;
mod tap;

mod complaints;
mod confinement;
pub mod enter;
mod filter;
mod handing_on;
pub mod run;
pub mod server;
mod workload;
