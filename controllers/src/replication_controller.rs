//! Replication controllers: replica sets in the form that was before them.
//!
//! In: a replication controller, its pods, and pods that match its selector without an owner. Out: what
//! [`crate::replica_set`] decides of the same object as a replica set. Kubernetes does the same by an adapter
//! (`pkg/controller/replication`).

use jiff::Timestamp;
use orlop_client::Key;

use crate::plan::Plan;
use crate::replica_set::{self, Form};
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{BY_CONTROLLER, World};

/// The controller.
pub struct ReplicationControllers;

const FORM: Form = Form {
    resource: REPLICATION_CONTROLLERS,
    siblings: |set, world| match controller_of(&set.metadata) {
        Some(owner) => {
            let all = world.replication_controllers.by_index(BY_CONTROLLER, &owner.uid);
            all.iter().map(|it| uid_of(&it.metadata).to_owned()).collect()
        }
        None => vec![uid_of(&set.metadata).to_owned()],
    },
};

impl Controller for ReplicationControllers {
    fn name(&self) -> &'static str {
        "replication-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.replication_controllers);
        let all = world.replication_controllers.clone();
        wires.on_either(&world.pods, move |pod| match controller_of(&pod.metadata) {
            Some(_) => controller_key(&pod.metadata, REPLICATION_CONTROLLERS.kind).into_iter().collect(),
            None => {
                let labels = labels_of(&pod.metadata);
                let near = all.list_in(namespace_of(&pod.metadata));
                near.iter().filter(|it| it.selects(labels)).map(|it| key_of(&it.metadata)).collect()
            }
        });
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, failed: Option<&str>) -> Plan {
        let found = world.replication_controllers.get(key);
        found.map(|it| replica_set::reconcile(&FORM, &it.as_set(), world, now, failed)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn controller(replicas: i32) -> Value {
        json!({
            "metadata": { "namespace": "a", "name": "web", "uid": "c", "resourceVersion": "5", "generation": 2 },
            "spec": { "replicas": replicas, "selector": { "app": "web" }, "template": {
                "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c" }] } } },
            "status": { "replicas": 0 },
        })
    }

    fn pod(name: &str, owner: Option<&str>, app: &str) -> Value {
        let mut it = json!({
            "metadata": { "namespace": "a", "name": name, "uid": name, "resourceVersion": "6", "labels": { "app": app } },
            "spec": { "nodeName": "n" }, "status": { "phase": "Running" },
        });
        if let Some(owner) = owner {
            it["metadata"]["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "ReplicationController",
                "name": "web", "uid": owner, "controller": true, "blockOwnerDeletion": true }]);
        }
        it
    }

    fn plan(controller: Value, pods: &[Value], failed: Option<&str>) -> Plan {
        let world = World::default();
        world.replication_controllers.apply(serde_json::from_value(controller).unwrap());
        pods.iter().for_each(|it| world.pods.apply(serde_json::from_value(it.clone()).unwrap()));
        ReplicationControllers.decide(&Key::new("a", "web"), &world, Timestamp::UNIX_EPOCH, failed)
    }

    #[test]
    fn missing_pods_are_made_and_excess_ones_deleted() {
        insta::assert_snapshot!(plan(controller(1), &[], None));
        let pods = [pod("a", Some("c"), "web"), pod("b", Some("c"), "web")];
        insta::assert_snapshot!(plan(controller(1), &pods, None));
    }

    #[test]
    fn pods_are_adopted_and_released() {
        let pods = [pod("free", None, "web"), pod("stray", Some("c"), "db"), pod("other", Some("x"), "web")];
        insta::assert_snapshot!(plan(controller(1), &pods, None));
    }

    #[test]
    fn a_failure_is_a_condition() {
        let failing = plan(controller(1), &[], Some("pods is forbidden"));
        insta::assert_snapshot!(failing.steps[0].action);
    }

    #[test]
    fn one_without_a_selector_does_nothing() {
        let mut it = controller(3);
        it["spec"]["selector"] = json!({});
        insta::assert_snapshot!(plan(it, &[], None), @"nothing to do");
    }
}
