//! `RuntimeClass`: a pod that names a runtime carries that runtime's overhead, and goes where it is.
//!
//! Source: `plugin/pkg/admission/runtimeclass`.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use k8s_openapi::api::node::v1::{RuntimeClass as Class, Scheduling};
use orlop_api::draft::Draft;
use orlop_api::status;

use super::lister::Lister;
use super::{Sight, forbidden, is};
use crate::stage::{Admission, Operation, Plugin, Subject};

const UNLIKE: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// See the file's header.
pub struct RuntimeClass {
    classes: Lister,
}

impl RuntimeClass {
    /// Looks classes up there.
    pub fn new(sight: &Sight) -> Self {
        RuntimeClass { classes: Lister::new(sight, "node.k8s.io", "RuntimeClass") }
    }

    async fn class_of(&self, write: &Admission<'_>, spec: &PodSpec) -> status::Result<Option<Class>> {
        let Some(name) = spec.runtime_class_name.as_deref() else { return Ok(None) };
        match self.classes.get::<Class>("", name).await? {
            Some(class) => Ok(Some(class)),
            None => Err(forbidden(write, &format!("pod rejected: RuntimeClass {name:?} not found"))),
        }
    }

    fn concerns(write: &Admission<'_>) -> bool {
        is(write.kind, "", "Pod") && write.sub.is_none() && write.operation == Operation::Create
    }
}

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        Self::concerns(write)
    }

    async fn admit(&self, write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let Some(spec) = draft.and_then(Draft::get_mut::<Pod>).and_then(|it| it.spec.as_mut()) else { return Ok(()) };
        let Some(class) = self.class_of(write, spec).await? else { return Ok(()) };
        if let Some(fixed) = class.overhead.and_then(|it| it.pod_fixed) {
            if spec.overhead.as_ref().is_some_and(|it| *it != fixed) {
                return Err(forbidden(write, UNLIKE));
            }
            spec.overhead = Some(fixed);
        }
        match class.scheduling {
            Some(scheduling) => place(spec, scheduling).map_err(|why| forbidden(write, &why)),
            None => Ok(()),
        }
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        Self::concerns(write)
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let pod = subject.draft.and_then(Draft::get::<Pod>);
        let Some(spec) = pod.and_then(|it| it.spec.as_ref()) else { return Ok(()) };
        if spec.overhead.is_none() && spec.runtime_class_name.is_none() {
            return Ok(());
        }
        let fixed = self.class_of(write, spec).await?.and_then(|it| it.overhead).and_then(|it| it.pod_fixed);
        match (&fixed, &spec.overhead) {
            (Some(fixed), given) if given.as_ref() != Some(fixed) => Err(forbidden(write, UNLIKE)),
            (None, Some(given)) if !given.is_empty() => Err(forbidden(
                write,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            )),
            _ => Ok(()),
        }
    }
}

/// Adds where the runtime is to where the pod wants to be.
fn place(spec: &mut PodSpec, scheduling: Scheduling) -> Result<(), String> {
    let wanted = scheduling.node_selector.unwrap_or_default();
    if !wanted.is_empty() {
        let selector = spec.node_selector.get_or_insert_default();
        for (key, value) in wanted {
            match selector.get(&key) {
                Some(given) if *given != value => {
                    return Err(format!(
                        "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {given}"
                    ));
                }
                _ => _ = selector.insert(key, value),
            }
        }
    }
    let given = spec.tolerations.get_or_insert_default();
    for toleration in scheduling.tolerations.into_iter().flatten() {
        if !given.contains(&toleration) {
            given.push(toleration);
        }
    }
    spec.tolerations.take_if(|it: &mut Vec<Toleration>| it.is_empty());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(pod: Value, scheduling: Value, expected: Result<Value, &str>) {
        let mut spec: PodSpec = serde_json::from_value(pod).unwrap();
        let placed = place(&mut spec, serde_json::from_value(scheduling).unwrap());
        match expected {
            Ok(expected) => {
                placed.unwrap();
                assert_eq!(serde_json::to_value(&spec).unwrap(), expected);
            }
            Err(why) => assert_eq!(placed.unwrap_err(), why),
        }
    }

    #[test]
    fn pods_go_where_their_runtime_is() {
        check(json!({"containers": []}), json!({}), Ok(json!({"containers": []})));
        check(
            json!({"containers": [], "nodeSelector": {"a": "1"}, "tolerations": [{"key": "k"}]}),
            json!({"nodeSelector": {"b": "2"}, "tolerations": [{"key": "k"}, {"key": "l"}]}),
            Ok(
                json!({"containers": [], "nodeSelector": {"a": "1", "b": "2"}, "tolerations": [{"key": "k"}, {"key": "l"}]}),
            ),
        );
        check(
            json!({"containers": [], "nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"a": "2"}}),
            Err("conflict: runtimeClass.scheduling.nodeSelector[a] = 2; pod.spec.nodeSelector[a] = 1"),
        );
    }
}
