//! The specification of a pod, as pods and the templates of workloads share it: what is filled in and what is a mistake.
//!
//! Sources: `k8s.io/kubernetes/pkg/apis/core/v1/defaults.go` and `.../core/validation/validation.go`. What an update of a pod may change
//! is the pod's own matter, not a template's: see `pod/update.rs`.

pub mod defaults;
pub mod validation;

pub mod annotations;
pub mod claims;
mod containers;
mod environment;
pub mod handlers;
mod mounts;
pub mod pod_resources;
pub mod resources;
pub mod scheduling;
mod security;
mod volumes;
pub mod warnings;
mod windows;
