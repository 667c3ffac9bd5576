//! One machine of the cluster: its pods, images, volumes, probes, network, logs.

pub mod runtime;
