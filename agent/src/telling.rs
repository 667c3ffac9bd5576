//! What the agent tells about a pod: Events under the kubelet's reasons, about the pod or one of its containers.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use orlop_client::events::{Recorder, Severity};

use crate::machine::world::{ephemeral_containers, init_containers};

/// Tells events about pods; clones share the queue.
#[derive(Clone)]
pub struct Teller(pub Recorder);

impl Teller {
    /// Something went as it should.
    pub fn normal(&self, pod: &Pod, container: Option<&str>, reason: &str, message: impl Into<String>) {
        self.0.note(regarding(pod, container), Severity::Normal, reason, message);
    }

    /// Something did not.
    pub fn warning(&self, pod: &Pod, container: Option<&str>, reason: &str, message: impl Into<String>) {
        self.0.note(regarding(pod, container), Severity::Warning, reason, message);
    }
}

/// The pod, or the container as `spec.containers{name}`.
fn regarding(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let meta = &pod.metadata;
    let field = |name: &str| {
        let list = match () {
            () if init_containers(pod).iter().any(|it| it.name == name) => "initContainers",
            () if ephemeral_containers(pod).iter().any(|it| it.name == name) => "ephemeralContainers",
            () => "containers",
        };
        format!("spec.{list}{{{name}}}")
    };
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: container.map(field),
    }
}
