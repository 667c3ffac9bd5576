//! Claims that live as long as a pod: each volume of a pod with a template gets its claim, which the pod owns.
//!
//! In: pods and claims. Out: claims named `<pod>-<volume>`, which the garbage collector takes away with their pod. A claim of that name that is not
//! the pod's is told of and not touched. Source: `pkg/controller/volume/ephemeral`.

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::events::Severity;
use orlop_client::write::Action;
use serde_json::{Value, json};

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{BY_CLAIM, World};

/// The controller.
pub struct EphemeralVolumes;

impl Controller for EphemeralVolumes {
    fn name(&self) -> &'static str {
        "ephemeral_volume"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on(&world.pods, |change| {
            let made = |it: &PodView| it.spec.volumes.iter().any(|it| matches!(it, ClaimUse::Made { .. }));
            change.new.iter().filter(|it| made(it)).map(|_| change.key.clone()).collect()
        });
        // One that was deleted under its pod is made again, and so is one whose name somebody else's had.
        let pods = world.pods.clone();
        wires.on(&world.claims, move |change| match &change.new {
            None => pods.by_index(BY_CLAIM, &change.key.to_string()).iter().map(|it| key_of(&it.metadata)).collect(),
            Some(_) => Vec::new(),
        });
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(pod) = world.pods.get(key).filter(|it| it.metadata.deletion_timestamp.is_none()) else { return plan };
        for it in &pod.spec.volumes {
            let ClaimUse::Made { volume, template } = it else { continue };
            let name = made_for(&pod, volume);
            match world.claims.get(&Key::new(key.namespace(), &name)) {
                None => {
                    if let Some(why) = failed {
                        let message = format!("ephemeral volume {volume}: create PVC {name}: {why}");
                        plan.tell(reference(PODS, &pod.metadata), Severity::Warning, "FailedBinding", message);
                    }
                    plan.act_regardless(claim_for(&pod, &name, &template.value()));
                }
                Some(claim) if is_owned(&claim, &pod) => {}
                Some(_) => {
                    let why =
                        format!("PVC {}/{name} was not created for pod {key} (pod is not owner)", key.namespace());
                    let message = format!("ephemeral volume {volume}: {why}");
                    plan.tell(reference(PODS, &pod.metadata), Severity::Warning, "FailedBinding", message);
                }
            }
        }
        plan
    }
}

fn is_owned(claim: &ClaimView, pod: &PodView) -> bool {
    controller_of(&claim.metadata).is_some_and(|it| it.uid == uid_of(&pod.metadata))
}

fn claim_for(pod: &PodView, name: &str, template: &Value) -> Action {
    let mut metadata = json!({ "name": name, "ownerReferences": [controlled_by(PODS, &pod.metadata)] });
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    Action::Create {
        resource: CLAIMS,
        namespace: namespace_of(&pod.metadata).to_owned(),
        body: json!({ "metadata": metadata, "spec": template["spec"] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(claim: Value, deleting: bool) -> String {
        let world = World::default();
        let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "accessModes": ["ReadWriteOnce"] } });
        let mut pod = json!({ "metadata": { "namespace": "a", "name": "p", "uid": "u" }, "spec": { "volumes": [
            { "name": "scratch", "ephemeral": { "volumeClaimTemplate": template } }, { "name": "x", "emptyDir": {} }] } });
        if deleting {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        world.pods.apply(serde_json::from_value(pod).unwrap());
        if claim.is_object() {
            world.claims.apply(serde_json::from_value(claim).unwrap());
        }
        EphemeralVolumes.decide(&Key::new("a", "p"), &world, Timestamp::UNIX_EPOCH, None).to_string()
    }

    #[test]
    fn each_template_gets_its_claim() {
        insta::assert_snapshot!(decide(Value::Null, false), @r#"create persistentvolumeclaims a/p-scratch {"metadata":{"labels":{"a":"b"},"name":"p-scratch","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Pod","name":"p","uid":"u"}]},"spec":{"accessModes":["ReadWriteOnce"]}}"#);
        insta::assert_snapshot!(decide(Value::Null, true), @"nothing to do");
        let claim = |owner: &str| {
            json!({ "metadata": { "namespace": "a", "name": "p-scratch", "uid": "c", "ownerReferences": [{
            "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true }] } })
        };
        insta::assert_snapshot!(decide(claim("u"), false), @"nothing to do");
        insta::assert_snapshot!(decide(claim("another"), false), @"tell Warning FailedBinding: ephemeral volume scratch: PVC a/p-scratch was not created for pod a/p (pod is not owner)");
    }
}
