//! Real clusters for tests and benchmarks: the project's own binaries, real kubectl, etcd, Docker and registry.
//!
//! Everything here is started as a process on free loopback ports with a temporary directory, and is gone when its value is dropped:
//! processes by their ids, containers by the labels that only this cluster's agents give. Several clusters run side by side. What a machine
//! lacks is a failure that names the package, never a skipped test.

pub mod tool;

pub mod child;
mod client;
pub mod etcd;
pub mod registry;

pub mod api;
pub mod cluster;
pub mod containerd;
pub mod image;
pub mod inside;
pub mod kubectl;
pub mod kubernetes;
pub mod nodes;
pub mod outage;
pub mod scene;
pub mod server;
pub mod shell;

pub mod definition;
pub mod hooks;
pub mod token;
pub mod traces;

pub mod case;
pub mod endpoints;
pub mod expect;
pub mod load;
pub mod source;
pub mod wait;
pub mod watch;

pub mod bench;
