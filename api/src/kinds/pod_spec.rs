//! The specification of a pod, as pods and the templates of workloads share it: what is filled in and what is a mistake.

pub mod defaults;
