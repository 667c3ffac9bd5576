//! Aggregated ClusterRoles: a role with an `aggregationRule` holds the rules of all roles that its selectors name.
//!
//! In: ClusterRoles. Out: patches of `rules`. What somebody writes into the rules of such a role by hand is overwritten. Source:
//! `pkg/controller/clusterroleaggregation`.

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{AggregationRule, PolicyRule};
use orlop_api::selector::label;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::json;

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// The controller.
pub struct ClusterRoleAggregation;

impl Controller for ClusterRoleAggregation {
    fn name(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        // Any role may be part of any aggregated one, and there are few of those.
        let roles = world.cluster_roles.clone();
        wires.on(&world.cluster_roles, move |_| {
            let aggregated = roles.list().into_iter().filter(|it| it.aggregation_rule.is_some());
            aggregated.map(|it| key_of(&it.metadata)).collect()
        });
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(role) = world.cluster_roles.get(key) else { return plan };
        let Some(aggregation) = &role.aggregation_rule else { return plan };
        let Some(rules) = collected(name_of(&role.metadata), aggregation, world) else { return plan };
        if rules != role.rules.clone().unwrap_or_default() {
            plan.act(Action::Patch {
                resource: CLUSTER_ROLES,
                key: key.clone(),
                sub: None,
                uid: uid_of(&role.metadata).to_owned(),
                revision: role.metadata.resource_version.clone(),
                patch: json!({ "rules": rules }),
            });
        }
        plan
    }
}

/// The rules of all roles but `own` that the selectors name: by selector, then by name, each rule once. None where a selector cannot be read.
fn collected(own: &str, aggregation: &AggregationRule, world: &World) -> Option<Vec<PolicyRule>> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        let selector = label::Selector::from_label_selector(selector).ok()?;
        let mut named: Vec<_> =
            world.cluster_roles.list().into_iter().filter(|it| selector.matches(labels_of(&it.metadata))).collect();
        named.sort_by(|one, other| name_of(&one.metadata).cmp(name_of(&other.metadata)));
        for role in named.iter().filter(|it| name_of(&it.metadata) != own) {
            for rule in role.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn put(world: &World, name: &str, label: &str, verbs: &[&str], aggregates: Option<&str>) {
        let rules: Vec<Value> =
            verbs.iter().map(|it| json!({ "verbs": [it], "apiGroups": [""], "resources": ["pods"] })).collect();
        let selectors = aggregates.map(|it| json!({ "clusterRoleSelectors": [{ "matchLabels": { it: "true" } }] }));
        let metadata = json!({ "name": name, "uid": name, "resourceVersion": "7", "labels": { label: "true" } });
        let it = json!({ "metadata": metadata, "rules": rules, "aggregationRule": selectors });
        world.cluster_roles.apply(serde_json::from_value(it).unwrap());
    }

    #[test]
    fn a_role_holds_what_its_selectors_name() {
        let world = World::default();
        put(&world, "all", "to-all", &["delete"], Some("to-all"));
        put(&world, "b", "to-all", &["list", "get"], None);
        put(&world, "a", "to-all", &["get", "watch"], None);
        put(&world, "c", "to-none", &["patch"], None);
        let plan = ClusterRoleAggregation.decide(&Key::new("", "all"), &world, Timestamp::UNIX_EPOCH, None);
        let [step] = plan.steps.as_slice() else { panic!("{plan}") };
        let Action::Patch { patch, revision: Some(_), .. } = &step.action else { panic!("{plan}") };
        let verbs: Vec<&str> =
            patch["rules"].as_array().unwrap().iter().filter_map(|it| it["verbs"][0].as_str()).collect();
        assert_eq!(verbs, ["get", "watch", "list"]);
        put(&world, "all", "to-all", &verbs, Some("to-all"));
        let plan = ClusterRoleAggregation.decide(&Key::new("", "all"), &world, Timestamp::UNIX_EPOCH, None);
        assert!(plan.steps.is_empty(), "what is so is not written again: {plan}");
        let plan = ClusterRoleAggregation.decide(&Key::new("", "a"), &world, Timestamp::UNIX_EPOCH, None);
        assert!(plan.steps.is_empty());
    }
}
