//! Namespaces that go away: everything in them is deleted, then they are released.
//!
//! In: a terminating namespace, and what the garbage collector's graph shows in it. Out: deletions of whole collections,
//! the conditions that say what is left, and the finalization. It looks again while something waits for its finalizers.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::{Action, Resource};
use serde_json::{Value, json};

use crate::plan::{Plan, Step};
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
        let left = Left::of(key.name(), world);
        let kinds = world.graph.all();
        let collections = kinds.iter().map(|(resource, _)| *resource).chain([EVENTS, LEASES]);
        let collections: Vec<String> = collections.filter(|it| it.namespaced).map(|it| it.path(key.name())).collect();
        if !told || !left.kinds.is_empty() {
            // The first time everything is deleted, seen or not: a store may lag, and events and leases are in none.
            let seen = || left.kinds.keys().map(|it| it.path(key.name())).collect();
            let paths: Vec<String> = if told { seen() } else { collections };
            paths.into_iter().for_each(|path| plan.act(Action::DeleteAll { path }));
            report(&namespace, &left, now, &mut plan);
            plan.recheck_in(LOOK_AGAIN);
            return plan;
        }
        // The stores show nothing more; whether that is so the server says. It makes nothing new in a terminating
        // namespace, so that what is empty now stays so.
        let kept: Vec<_> = namespace.spec.finalizers.iter().filter(|it| *it != FINALIZER).collect();
        let body = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": key.name(), "uid": uid_of(&namespace.metadata),
                "resourceVersion": namespace.metadata.resource_version },
            "spec": { "finalizers": kept },
        });
        let action = Action::Sub { resource: NAMESPACES, key: key.clone(), sub: "finalize", put: true, body };
        plan.steps.push(Step { empty: collections, ..Step::from(action) });
        plan
    }
}

/// What is left in a namespace, and what of it waits for whom.
struct Left {
    kinds: BTreeMap<Resource, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Left {
    fn of(namespace: &str, world: &World) -> Left {
        let mut left = Left { kinds: BTreeMap::new(), finalizers: BTreeMap::new() };
        for (resource, store) in world.graph.all().iter().filter(|(resource, _)| resource.namespaced) {
            for object in store.list_in(namespace) {
                *left.kinds.entry(*resource).or_default() += 1;
                object.finalizers().iter().for_each(|it| *left.finalizers.entry(it.clone()).or_default() += 1);
            }
        }
        left
    }
}

/// Shows the conditions of a terminating namespace, if they say something new.
fn report(namespace: &NamespaceView, left: &Left, now: Timestamp, plan: &mut Plan) {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let known = |type_: &str| namespace.status.conditions.iter().find(|it| it.type_ == type_);
    let condition = |type_: &str, bad: bool, reason: &str, message: String| {
        let status = if bad { "True" } else { "False" };
        let since = known(type_).filter(|it| it.status == status).and_then(|it| it.last_transition_time.as_ref());
        let since = since.map_or_else(|| now.clone().into(), |it| json!(it));
        json!({ "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": since })
    };
    // For the core group the point is followed by nothing, in Kubernetes, too.
    let mut remaining: Vec<String> = left
        .kinds
        .iter()
        .map(|(it, count)| format!("{}.{} has {count} resource instances", it.plural, it.group))
        .collect();
    remaining.sort();
    let remain = if left.kinds.is_empty() {
        condition("NamespaceContentRemaining", false, "ContentRemoved", "All content successfully removed".into())
    } else {
        let message = format!("Some resources are remaining: {}", remaining.join(", "));
        condition("NamespaceContentRemaining", true, "SomeResourcesRemain", message)
    };
    let held: Vec<String> =
        left.finalizers.iter().map(|(it, count)| format!("{it} in {count} resource instances")).collect();
    let finalizers = if held.is_empty() {
        let message = "All content-preserving finalizers finished".into();
        condition("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", message)
    } else {
        let message = format!("Some content in the namespace has finalizers remaining: {}", held.join(", "));
        condition("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", message)
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
        finalizers,
    ];
    let same = |it: &Value| {
        known(it["type"].as_str().unwrap_or_default()).is_some_and(|known| {
            it["status"] == known.status.as_str()
                && it["reason"].as_str() == known.reason.as_deref()
                && it["message"].as_str() == known.message.as_deref()
        })
    };
    if conditions.iter().all(same) {
        return;
    }
    plan.act(Action::Patch {
        resource: NAMESPACES,
        key: key_of(&namespace.metadata),
        sub: Some("status"),
        uid: uid_of(&namespace.metadata).to_owned(),
        revision: None,
        patch: json!({ "status": { "phase": "Terminating", "conditions": conditions } }),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(world: &World, conditions: Value) -> Plan {
        let metadata = json!({ "name": "a", "uid": "n", "resourceVersion": "7",
            "deletionTimestamp": "2026-01-01T00:00:00Z" });
        let it = json!({ "metadata": metadata, "spec": { "finalizers": ["kubernetes", "other"] },
            "status": { "phase": "Terminating", "conditions": conditions } });
        world.namespaces.apply(serde_json::from_value(it).unwrap());
        Namespaces.decide(&Key::new("", "a"), world, Timestamp::UNIX_EPOCH, None)
    }

    fn put(world: &World, kind: &str, name: &str, finalizers: &[&str]) {
        let (_, store) = world.graph.all().iter().find(|(it, _)| it.kind == kind).cloned().unwrap();
        let metadata = json!({ "namespace": "a", "name": name, "uid": name, "finalizers": finalizers });
        store.apply(serde_json::from_value(json!({ "metadata": metadata })).unwrap());
    }

    #[test]
    fn everything_is_deleted_then_what_is_left() {
        let world = World::default();
        let first = plan(&world, json!([]));
        let deletions = first.steps.iter().filter(|it| matches!(it.action, Action::DeleteAll { .. })).count();
        let namespaced = world.graph.all().iter().filter(|(it, _)| it.namespaced).count();
        assert_eq!(deletions, namespaced + 2, "events and leases, too");
        put(&world, "Pod", "web", &["example.com/a"]);
        put(&world, "Pod", "db", &[]);
        put(&world, "ReplicaSet", "set", &["example.com/a", "example.com/b"]);
        let Some(Action::Patch { patch, .. }) = first.steps.last().map(|it| &it.action) else { panic!("{first}") };
        let second = plan(&world, patch["status"]["conditions"].clone());
        insta::assert_snapshot!(second);
        let Some(Action::Patch { patch, .. }) = second.steps.last().map(|it| &it.action) else { panic!("{second}") };
        let third = plan(&world, patch["status"]["conditions"].clone());
        assert_eq!(third.steps.len(), 2, "what was told is not told again: {third}");
    }

    #[test]
    fn it_is_released_when_the_server_shows_nothing_more() {
        let world = World::default();
        let told = json!([{ "type": "NamespaceContentRemaining", "status": "False" }]);
        let last = plan(&world, told);
        let [step] = last.steps.as_slice() else { panic!("{last}") };
        assert_eq!(
            step.action.to_string(),
            r#"put namespaces/finalize a {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a","resourceVersion":"7","uid":"n"},"spec":{"finalizers":["other"]}}"#
        );
        assert!(step.empty.iter().any(|it| it == "/api/v1/namespaces/a/pods"), "{last}");
        assert!(step.empty.iter().any(|it| it == "/api/v1/namespaces/a/events"), "{last}");
    }
}
