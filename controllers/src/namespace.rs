//! Namespaces that go away: everything in them is deleted, then they are released.
//!
//! In: a terminating namespace, and what the garbage collector's graph shows in it. Out: deletions of whole collections,
//! the condition that says what is left, and the finalization. It looks again while something waits for its finalizers.

use std::time::Duration;

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::{Action, Resource};
use serde_json::{Value, json};

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

const FINALIZER: &str = "kubernetes";
/// While objects end gracefully: changes of their number wake nobody here, so that a look a second is due. It happens
/// only while a namespace is going away.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The controller.
pub struct Namespaces;

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.namespaces);
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(namespace) = world.namespaces.get(key) else { return plan };
        if namespace.metadata.deletion_timestamp.is_none()
            || !namespace.spec.finalizers.iter().any(|it| it == FINALIZER)
        {
            return plan;
        }
        let told = namespace.status.conditions.iter().any(|it| it.type_ == "NamespaceContentRemaining");
        let left: Vec<(Resource, usize)> = world
            .graph
            .iter()
            .filter(|(resource, _)| resource.namespaced)
            .map(|(resource, store)| (*resource, store.list_in(key.name()).len()))
            .filter(|(_, count)| *count > 0)
            .collect();
        // The first time everything is deleted, seen or not: a store may lag, and events and leases are in none.
        if !told {
            let collections = world.graph.iter().map(|(resource, _)| *resource).chain([EVENTS, LEASES]);
            for resource in collections.filter(|it| it.namespaced) {
                plan.act(Action::DeleteAll { path: resource.path(key.name()) });
            }
            plan.act(report(&namespace, &left, now));
            plan.recheck_in(LOOK_AGAIN);
            return plan;
        }
        if !left.is_empty() {
            for (resource, _) in &left {
                plan.act(Action::DeleteAll { path: resource.path(key.name()) });
            }
            plan.recheck_in(LOOK_AGAIN);
            return plan;
        }
        // The last word before the end: what was made in between is deleted, too, as the API server makes nothing new
        // in a terminating namespace, one round suffices.
        let kept: Vec<_> = namespace.spec.finalizers.iter().filter(|it| *it != FINALIZER).collect();
        let body = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": key.name(), "uid": uid_of(&namespace.metadata),
                "resourceVersion": namespace.metadata.resource_version },
            "spec": { "finalizers": kept },
        });
        plan.act(Action::Sub { resource: NAMESPACES, key: key.clone(), sub: "finalize", put: true, body });
        plan
    }
}

/// The conditions that Kubernetes shows on a terminating namespace.
fn report(namespace: &NamespaceView, left: &[(Resource, usize)], now: Timestamp) -> Action {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |type_: &str, bad: bool, reason: &str, message: String| {
        json!({ "type": type_, "status": if bad { "True" } else { "False" }, "reason": reason, "message": message,
            "lastTransitionTime": now })
    };
    let mut remaining: Vec<String> = left
        .iter()
        .map(|(it, count)| {
            let name = if it.group.is_empty() { it.plural.to_owned() } else { format!("{}.{}", it.plural, it.group) };
            format!("{name} has {count} resource instances")
        })
        .collect();
    remaining.sort();
    let remain = if left.is_empty() {
        condition("NamespaceContentRemaining", false, "ContentRemoved", "All content successfully removed".into())
    } else {
        let message = format!("Some resources are remaining: {}", remaining.join(", "));
        condition("NamespaceContentRemaining", true, "SomeResourcesRemain", message)
    };
    let conditions: Vec<Value> = vec![
        condition(
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".into(),
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".into(),
        ),
        condition(
            "NamespaceDeletionContentFailure",
            false,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".into(),
        ),
        remain,
        condition(
            "NamespaceFinalizersRemaining",
            false,
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".into(),
        ),
    ];
    Action::Patch {
        resource: NAMESPACES,
        key: key_of(&namespace.metadata),
        sub: Some("status"),
        uid: uid_of(&namespace.metadata).to_owned(),
        revision: None,
        patch: json!({ "status": { "phase": "Terminating", "conditions": conditions } }),
    }
}
