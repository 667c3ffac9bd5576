//! Claims that are used stay: `kubernetes.io/pvc-protection` holds a claim until no pod on a node uses it.
//!
//! In: claims and pods. Out: the finalizer put on claims that lack it (the admission plugin StorageObjectInUseProtection puts it on new
//! ones), and taken off where the store and then the server show no pod that uses the claim.
//! Source: `pkg/controller/volume/pvcprotection`.

use jiff::Timestamp;
use orlop_client::Key;

use crate::finalizer;
use crate::plan::{Plan, Step, Unused};
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{BY_CLAIM, World};

const FINALIZER: &str = "kubernetes.io/pvc-protection";

/// The controller.
pub struct ClaimProtection;

impl Controller for ClaimProtection {
    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.claims);
        // Only a pod that goes, or is on no node, lets a claim go.
        wires.on(&world.pods, |change| {
            let gone = change
                .old
                .iter()
                .filter(|old| change.new.as_ref().is_none_or(|it| it.metadata.uid != old.metadata.uid));
            let idle =
                change.new.iter().filter(|it| it.spec.node_name.is_empty() || it.is_terminated() || !it.is_active());
            let keys = |pod: &PodView| {
                let namespace = namespace_of(&pod.metadata).to_owned();
                pod.claims().into_iter().map(move |it| Key::new(&namespace, &it)).collect::<Vec<_>>()
            };
            gone.chain(idle).flat_map(|it| keys(it)).collect()
        });
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(claim) = world.claims.get(key) else { return plan };
        if finalizer::holds(&claim.metadata, FINALIZER) {
            let users = world.pods.by_index(BY_CLAIM, &key.to_string());
            if !users.iter().any(|it| it.uses(&claim.metadata)) {
                let action = finalizer::take_off(CLAIMS, &claim.metadata, FINALIZER);
                plan.steps.push(Step { unused: Some(Unused::Claim(claim.metadata.clone())), ..Step::from(action) });
            }
        } else if let Some(action) = finalizer::put_on(CLAIMS, &claim.metadata, FINALIZER) {
            plan.act(action);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(finalizers: &[&str], deleting: bool, pods: &[Value]) -> String {
        let world = World::default();
        let mut claim = json!({ "metadata": { "namespace": "a", "name": "data", "uid": "c", "resourceVersion": "5",
            "finalizers": finalizers } });
        if deleting {
            claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        world.claims.apply(serde_json::from_value(claim).unwrap());
        pods.iter().for_each(|it| world.pods.apply(serde_json::from_value(it.clone()).unwrap()));
        ClaimProtection.decide(&Key::new("a", "data"), &world, Timestamp::UNIX_EPOCH, None).to_string()
    }

    fn pod(name: &str, uid: &str, node: &str, volume: Value) -> Value {
        json!({ "metadata": { "namespace": "a", "name": name, "uid": uid }, "spec": { "nodeName": node,
            "volumes": [{ "name": "token", "projected": {} }, volume] } })
    }

    #[test]
    fn a_claim_stays_while_a_pod_on_a_node_uses_it() {
        let volume = json!({ "name": "v", "persistentVolumeClaim": { "claimName": "data" } });
        let other = json!({ "name": "v", "persistentVolumeClaim": { "claimName": "other" } });
        insta::assert_snapshot!(plan(&[], false, &[]), @r#"patch persistentvolumeclaims a/data at 5 {"metadata":{"finalizers":["kubernetes.io/pvc-protection"]}}"#);
        insta::assert_snapshot!(plan(&[FINALIZER], false, &[]), @"nothing to do");
        insta::assert_snapshot!(plan(&[], true, &[]), @"nothing to do");
        insta::assert_snapshot!(plan(&[FINALIZER], true, &[pod("p", "u", "n", volume.clone())]), @"nothing to do");
        let unused = plan(&[FINALIZER, "x/y"], true, &[pod("p", "u", "", volume), pod("q", "w", "n", other)]);
        insta::assert_snapshot!(unused, @r#"
        patch persistentvolumeclaims a/data at 5 {"metadata":{"finalizers":["x/y"]}}
          if no pod uses a/data
        "#);
    }

    #[test]
    fn what_is_made_for_a_pod_goes_when_that_pod_is_shut_down() {
        let volume = json!({ "name": "data", "ephemeral": { "volumeClaimTemplate": {} } });
        let claim_of = |pod: Value| {
            let world = World::default();
            let claim = json!({ "metadata": { "namespace": "a", "name": "p-data", "uid": "c", "resourceVersion": "5",
                "finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [{ "apiVersion": "v1",
                "kind": "Pod", "name": "p", "uid": "owner", "controller": true }] } });
            world.claims.apply(serde_json::from_value(claim).unwrap());
            world.pods.apply(serde_json::from_value(pod).unwrap());
            ClaimProtection.decide(&Key::new("a", "p-data"), &world, Timestamp::UNIX_EPOCH, None).steps.len()
        };
        assert_eq!(claim_of(pod("p", "owner", "n", volume.clone())), 0);
        assert_eq!(claim_of(pod("p", "another", "n", volume.clone())), 1);
        let mut over = pod("p", "owner", "n", volume);
        over["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        over["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        assert_eq!(claim_of(over), 1);
    }
}
