//! Namespaces that go away: everything in them is deleted, then they are released.
//!
//! In: a terminating namespace, and what the garbage collector's graph shows in it. Out: deletions of whole collections, pods before all
//! else, the conditions that say what is left and what was refused, and the finalization. It looks again while something waits for its
//! finalizers. Of Kubernetes' five conditions two are never true: that kinds could not be discovered, or a version not parsed; the kinds
//! here are compiled in or come from definitions, and no other server is asked for them. Source: `pkg/controller/namespace/deletion`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use orlop_client::Key;
use orlop_client::write::{Action, Resource};
use serde_json::{Value, json};

use crate::plan::{Plan, Step};
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

const FINALIZER: &str = "kubernetes";
/// While objects end gracefully: changes of their number wake nobody here but for pods, so that a look a second is due. It happens
/// only while a namespace is going away.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A pod may be there this long after its grace period before that is told: it takes an agent a moment to say that it is gone.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// The controller.
pub struct Namespaces;

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.namespaces);
        // The end of the last pod lets everything else go.
        let namespaces = world.namespaces.clone();
        wires.on(&world.pods, move |change| {
            let namespace = Key::new("", change.key.namespace());
            let waits = || namespaces.get(&namespace).is_some_and(|it| it.metadata.deletion_timestamp.is_some());
            if change.new.is_none() && waits() { vec![namespace] } else { Vec::new() }
        });
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(namespace) = world.namespaces.get(key) else { return plan };
        if namespace.metadata.deletion_timestamp.is_none()
            || !namespace.spec.finalizers.iter().any(|it| it == FINALIZER)
        {
            return plan;
        }
        let told = namespace.status.conditions.iter().any(|it| it.type_ == "NamespaceContentRemaining");
        let mut left = Left::of(key.name(), world);
        let kinds = world.graph.all();
        let unseen = [EVENTS, LEASES].map(|it| it.path(key.name()));
        let collections = kinds.iter().map(|(resource, _)| *resource).filter(|it| it.namespaced);
        let collections: Vec<String> = collections.map(|it| it.path(key.name())).chain(unseen.clone()).collect();
        if left.kinds.contains_key(&PODS) {
            // Pods first: what they rest on, such as network policies, goes when they are gone (KEP-5080).
            left.only(PODS);
            plan.act_regardless(Action::DeleteAll { path: PODS.path(key.name()) });
        } else if !told || !left.kinds.is_empty() {
            // The first time everything is deleted, seen or not: a store may lag, and events and leases are in none.
            let seen = || left.kinds.keys().map(|it| it.path(key.name())).chain(unseen).collect();
            let paths: Vec<String> = if told { seen() } else { collections };
            paths.into_iter().for_each(|path| plan.act_regardless(Action::DeleteAll { path }));
        } else {
            release(&namespace, unseen, collections, &mut plan);
            return plan;
        }
        let mut errors: Vec<String> = failed.into_iter().flat_map(str::lines).map(str::to_owned).collect();
        errors.extend(overdue(key.name(), &left, world, now));
        report(&namespace, &left, errors, now, &mut plan);
        plan.recheck_in(LOOK_AGAIN);
        plan
    }
}

/// Lets a namespace go in which the stores show nothing more; whether that is so the server says. It makes nothing new in a terminating
/// namespace, so that what is empty now stays so.
fn release(namespace: &NamespaceView, unseen: [String; 2], collections: Vec<String>, plan: &mut Plan) {
    unseen.into_iter().for_each(|path| plan.act(Action::DeleteAll { path }));
    let kept: Vec<_> = namespace.spec.finalizers.iter().filter(|it| *it != FINALIZER).collect();
    let body = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": name_of(&namespace.metadata), "uid": uid_of(&namespace.metadata),
            "resourceVersion": namespace.metadata.resource_version },
        "spec": { "finalizers": kept },
    });
    let action =
        Action::Sub { resource: NAMESPACES, key: key_of(&namespace.metadata), sub: "finalize", put: true, body };
    plan.steps.push(Step { empty: collections, ..Step::from(action) });
}

/// What to say of pods that are there though their time is over and nothing holds them: their node is gone, most likely.
fn overdue(namespace: &str, left: &Left, world: &World, now: Timestamp) -> Option<String> {
    if !left.kinds.contains_key(&PODS) || !left.finalizers.is_empty() {
        return None;
    }
    let pods = world.pods.list_in(namespace);
    let over = |it: &PodView| it.metadata.deletion_timestamp.as_ref().is_some_and(|it| it.0 + SLACK < now);
    let all = !pods.is_empty() && pods.iter().all(|it| over(it));
    all.then(|| format!("unexpected items still remain in namespace: {namespace} for gvr: /v1, Resource=pods"))
}

/// What is left in a namespace, and what of it waits for whom.
struct Left {
    kinds: BTreeMap<Resource, usize>,
    finalizers: BTreeMap<String, usize>,
    /// The finalizers of each kind.
    by_kind: BTreeMap<Resource, BTreeMap<String, usize>>,
}

impl Left {
    fn of(namespace: &str, world: &World) -> Left {
        let mut left = Left { kinds: BTreeMap::new(), finalizers: BTreeMap::new(), by_kind: BTreeMap::new() };
        for (resource, store) in world.graph.all().iter().filter(|(resource, _)| resource.namespaced) {
            for object in store.list_in(namespace) {
                *left.kinds.entry(*resource).or_default() += 1;
                for finalizer in object.finalizers() {
                    *left.finalizers.entry(finalizer.clone()).or_default() += 1;
                    *left.by_kind.entry(*resource).or_default().entry(finalizer.clone()).or_default() += 1;
                }
            }
        }
        left
    }

    /// Forgets all but one kind.
    fn only(&mut self, resource: Resource) {
        self.kinds.retain(|it, _| *it == resource);
        self.finalizers = self.by_kind.remove(&resource).unwrap_or_default();
    }
}

/// Shows the conditions of a terminating namespace, if they say something new.
fn report(namespace: &NamespaceView, left: &Left, mut errors: Vec<String>, now: Timestamp, plan: &mut Plan) {
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
    errors.sort();
    let content = if errors.is_empty() {
        let message = "All content successfully deleted, may be waiting on finalization".into();
        condition("NamespaceDeletionContentFailure", false, "ContentDeleted", message)
    } else {
        let message = format!("Failed to delete all resource types, {} remaining: {}", errors.len(), errors.join(", "));
        condition("NamespaceDeletionContentFailure", true, "ContentDeletionFailed", message)
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
        content,
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

    fn plan(world: &World, conditions: Value, failed: Option<&str>) -> Plan {
        let metadata = json!({ "name": "a", "uid": "n", "resourceVersion": "7",
            "deletionTimestamp": "2026-01-01T00:00:00Z" });
        let it = json!({ "metadata": metadata, "spec": { "finalizers": ["kubernetes", "other"] },
            "status": { "phase": "Terminating", "conditions": conditions } });
        world.namespaces.apply(serde_json::from_value(it).unwrap());
        Namespaces.decide(&Key::new("", "a"), world, Timestamp::UNIX_EPOCH, failed)
    }

    fn put(world: &World, kind: &str, name: &str, finalizers: &[&str]) {
        let (_, store) = world.graph.all().iter().find(|(it, _)| it.kind == kind).cloned().unwrap();
        let metadata = json!({ "namespace": "a", "name": name, "uid": name, "finalizers": finalizers });
        store.apply(serde_json::from_value(json!({ "metadata": metadata })).unwrap());
    }

    /// The conditions that a plan would write.
    #[track_caller]
    fn told(plan: &Plan) -> Value {
        let Some(Action::Patch { patch, .. }) = plan.steps.last().map(|it| &it.action) else { panic!("{plan}") };
        patch["status"]["conditions"].clone()
    }

    #[test]
    fn everything_is_deleted_then_what_is_left() {
        let world = World::default();
        let first = plan(&world, json!([]), None);
        let deletions = first.steps.iter().filter(|it| matches!(it.action, Action::DeleteAll { .. })).count();
        let namespaced = world.graph.all().iter().filter(|(it, _)| it.namespaced).count();
        assert_eq!(deletions, namespaced + 2, "events and leases, too");
        assert!(first.steps.iter().take(deletions).all(|it| it.goes_on), "one that is refused holds no other back");
        put(&world, "Service", "web", &["example.com/a"]);
        put(&world, "Service", "db", &[]);
        put(&world, "ReplicaSet", "set", &["example.com/a", "example.com/b"]);
        let second = plan(&world, told(&first), None);
        insta::assert_snapshot!(second);
        let third = plan(&world, told(&second), None);
        assert_eq!(third.steps.len(), 4, "what was told is not told again: {third}");
    }

    #[test]
    fn pods_go_before_all_else() {
        let world = World::default();
        put(&world, "Pod", "web", &["example.com/a"]);
        put(&world, "ReplicaSet", "set", &["example.com/b"]);
        insta::assert_snapshot!(plan(&world, json!([]), None));
    }

    #[test]
    fn what_was_refused_is_told() {
        let world = World::default();
        put(&world, "Service", "web", &[]);
        let content = |plan: &Plan| {
            let all = told(plan);
            let it = all.as_array().unwrap().iter().find(|it| it["type"] == "NamespaceDeletionContentFailure").unwrap();
            format!("{} {} {}", it["status"], it["reason"], it["message"])
        };
        let first = plan(&world, json!([]), Some("services is forbidden\nconfigmaps is forbidden"));
        assert_eq!(
            content(&first),
            r#""True" "ContentDeletionFailed" "Failed to delete all resource types, 2 remaining: configmaps is forbidden, services is forbidden""#
        );
        put(&world, "Pod", "web", &[]);
        let mut pod = json!({ "metadata": { "namespace": "a", "name": "web", "uid": "web" } });
        for (deleted, expected) in [
            (Value::Null, "ContentDeleted"),
            ("1970-01-01T00:00:00Z".into(), "ContentDeleted"),
            (
                "1969-12-31T23:59:50Z".into(),
                "unexpected items still remain in namespace: a for gvr: /v1, Resource=pods",
            ),
        ] {
            pod["metadata"]["deletionTimestamp"] = deleted;
            world.pods.apply(serde_json::from_value(pod.clone()).unwrap());
            let found = content(&plan(&world, json!([]), None));
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn it_is_released_when_the_server_shows_nothing_more() {
        let world = World::default();
        let told = json!([{ "type": "NamespaceContentRemaining", "status": "False" }]);
        let last = plan(&world, told, None);
        let [_, _, step] = last.steps.as_slice() else { panic!("{last}") };
        assert_eq!(
            step.action.to_string(),
            r#"put namespaces/finalize a {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a","resourceVersion":"7","uid":"n"},"spec":{"finalizers":["other"]}}"#
        );
        assert!(step.empty.iter().any(|it| it == "/api/v1/namespaces/a/pods"), "{last}");
        assert!(step.empty.iter().any(|it| it == "/api/v1/namespaces/a/events"), "{last}");
    }
}
