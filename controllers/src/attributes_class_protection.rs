//! Classes of volumes' attributes that are used stay: `kubernetes.io/vac-protection` holds one until no claim and no volume names it.
//!
//! In: such classes, claims and volumes. Out: the finalizer put on and taken off. Source: `pkg/controller/volume/vacprotection`, which
//! rests on its stores alone, too.

use jiff::Timestamp;
use orlop_client::Key;

use crate::finalizer;
use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{BY_ATTRIBUTES_CLASS, World};

const FINALIZER: &str = "kubernetes.io/vac-protection";

/// The controller.
pub struct AttributesClassProtection;

impl Controller for AttributesClassProtection {
    fn name(&self) -> &'static str {
        "volumeattributesclass-protection-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.attributes_classes);
        let keys = |names: Vec<String>| names.iter().map(|it| Key::new("", it)).collect();
        wires.on_either(&world.claims, move |it| keys(attributes_classes_of_claim(it)));
        wires.on_either(&world.volumes, move |it| keys(attributes_classes_of_volume(it)));
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(class) = world.attributes_classes.get(key) else { return plan };
        if finalizer::holds(&class.metadata, FINALIZER) {
            let used = !world.claims.by_index(BY_ATTRIBUTES_CLASS, key.name()).is_empty()
                || !world.volumes.by_index(BY_ATTRIBUTES_CLASS, key.name()).is_empty();
            if !used {
                plan.act(finalizer::take_off(ATTRIBUTES_CLASSES, &class.metadata, FINALIZER));
            }
        } else if let Some(action) = finalizer::put_on(ATTRIBUTES_CLASSES, &class.metadata, FINALIZER) {
            plan.act(action);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_class_stays_while_it_is_named() {
        let world = World::default();
        let class = json!({ "metadata": { "name": "gold", "uid": "g", "resourceVersion": "5", "finalizers": [FINALIZER],
            "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        world.attributes_classes.apply(serde_json::from_value(class).unwrap());
        let plan =
            || AttributesClassProtection.decide(&Key::new("", "gold"), &world, Timestamp::UNIX_EPOCH, None).to_string();
        insta::assert_snapshot!(plan(), @r#"patch volumeattributesclasses gold at 5 {"metadata":{"finalizers":null}}"#);
        let on_its_way = json!({ "metadata": { "namespace": "a", "name": "c", "uid": "c" }, "status": {
            "modifyVolumeStatus": { "status": "InProgress", "targetVolumeAttributesClassName": "gold" } } });
        world.claims.apply(serde_json::from_value(on_its_way).unwrap());
        insta::assert_snapshot!(plan(), @"nothing to do");
        let done = json!({ "metadata": { "namespace": "a", "name": "c", "uid": "c" }, "spec": { "volumeAttributesClassName": "iron" } });
        world.claims.apply(serde_json::from_value(done).unwrap());
        assert!(plan().starts_with("patch"));
        let volume =
            json!({ "metadata": { "name": "v", "uid": "v" }, "spec": { "volumeAttributesClassName": "gold" } });
        world.volumes.apply(serde_json::from_value(volume).unwrap());
        insta::assert_snapshot!(plan(), @"nothing to do");
    }
}
