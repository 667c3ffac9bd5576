//! One machine of the cluster: its pods, images, volumes, probes, network, logs.

pub mod machine;

pub mod admission;
pub mod environment;
pub mod references;
pub mod resources;

pub mod clock;
pub mod network;
pub mod runtime;
