//! How a node says that it leaves the cluster for good: an annotation on its own Node.
//!
//! Kubernetes lets no node delete its Node, since it could make it again without the taints and labels that administrators gave it. So a node only
//! says that it wants to go, and the controllers revoke its certificates before they delete it.

/// The annotation; its value does not matter.
pub const ANNOTATION: &str = "orlop.dev/leaving";
