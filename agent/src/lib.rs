//! One machine of the cluster: its pods, images, volumes, probes, network, logs.

pub mod clock;
pub mod network;
pub mod runtime;
