//! Replica sets: keeps as many pods as one says.
//!
//! In: a replica set, its pods, and pods that match its selector without an owner. Out: creations, deletions of the
//! pods that will be missed least, adoptions, releases, and the status. It does not know why the number is what it is.
//! [`crate::replication_controller`] hands its objects to the same decision, in the same form.

mod ranking;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::selector::label::Selector;
use orlop_client::write::{Action, Resource};
use orlop_client::{Key, clock};
use serde_json::{Value, json};

use crate::plan::{Fact, Plan, Telling};
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{BY_CONTROLLER, World};

/// Creations and deletions of one plan, as in Kubernetes: the rest follows once these have come back.
const BURST: usize = 500;

/// The controller.
pub struct ReplicaSets;

/// What differs between the kinds that this decision serves.
pub struct Form {
    /// The kind.
    pub resource: Resource,
    /// The uids of all sets of the same owner, this one among them: over their pods a rolling update spreads.
    pub siblings: fn(&ReplicaSetView, &World) -> Vec<String>,
}

const FORM: Form = Form {
    resource: REPLICA_SETS,
    siblings: |set, world| match controller_of(&set.metadata) {
        Some(owner) => {
            let sets = world.replica_sets.by_index(BY_CONTROLLER, &owner.uid);
            sets.iter().map(|it| uid_of(&it.metadata).to_owned()).collect()
        }
        None => vec![uid_of(&set.metadata).to_owned()],
    },
};

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.replica_sets);
        let sets = world.replica_sets.clone();
        wires.on_either(&world.pods, move |pod| match controller_of(&pod.metadata) {
            Some(_) => controller_key(&pod.metadata, "ReplicaSet").into_iter().collect(),
            None => {
                let all = sets.list_in(namespace_of(&pod.metadata));
                let labels = labels_of(&pod.metadata);
                let matching = all.iter().filter(|it| selector(&it.spec.selector).is_some_and(|it| it.matches(labels)));
                matching.map(|it| key_of(&it.metadata)).collect()
            }
        });
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, failed: Option<&str>) -> Plan {
        world.replica_sets.get(key).map(|set| reconcile(&FORM, &set, world, now, failed)).unwrap_or_default()
    }
}

/// What to do about one set.
pub fn reconcile(form: &Form, set: &ReplicaSetView, world: &World, now: Timestamp, failed: Option<&str>) -> Plan {
    let mut plan = Plan::default();
    let Some(selector) = selector(&set.spec.selector) else { return plan };
    let pods = claimed(form, set, &selector, world, &mut plan);
    let active: Vec<_> = pods.into_iter().filter(|it| it.is_active()).collect();
    let want = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    let mut scale = Scale::None;
    if set.metadata.deletion_timestamp.is_none() {
        scale = scaled(form, set, &active, want, world, now, &mut plan);
    }
    status(form, set, &active, scale, failed, now, &mut plan);
    plan
}

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    None,
    Up,
    Down,
}

/// The selector, unless it is malformed or selects everything.
pub fn selector(source: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector) -> Option<Selector> {
    Selector::from_label_selector(source).ok().filter(|it| !it.is_empty())
}

/// The pods that the set has; adopts those that match and have no owner, and releases those that no longer match.
fn claimed(
    form: &Form,
    set: &ReplicaSetView,
    selector: &Selector,
    world: &World,
    plan: &mut Plan,
) -> Vec<Arc<PodView>> {
    let matches = |pod: &PodView| selector.matches(labels_of(&pod.metadata));
    let mut pods = Vec::new();
    for pod in world.pods.by_index(BY_CONTROLLER, uid_of(&set.metadata)) {
        if matches(&pod) {
            pods.push(pod);
        } else if pod.metadata.deletion_timestamp.is_none() && set.metadata.deletion_timestamp.is_none() {
            plan.act(release(PODS, &pod.metadata, uid_of(&set.metadata)));
        }
    }
    if set.metadata.deletion_timestamp.is_none() {
        for pod in world.pods.by_index(BY_CONTROLLER, &uncontrolled_in(namespace_of(&set.metadata))) {
            if pod.is_active() && matches(&pod) {
                let alive = vec![alive(form.resource, &set.metadata)];
                plan.act_given(alive, adopt(PODS, &pod.metadata, form.resource, &set.metadata));
                pods.push(pod);
            }
        }
    }
    pods
}

/// Makes `owner` the controller of an object.
pub fn adopt(
    resource: Resource,
    object: &kube::core::ObjectMeta,
    of: Resource,
    owner: &kube::core::ObjectMeta,
) -> Action {
    let mut owners: Vec<Value> = object.owner_references.iter().flatten().map(|it| json!(it)).collect();
    owners.push(controlled_by(of, owner));
    owners_patch(resource, object, owners)
}

/// That an owner is there and stays: what it would adopt else goes with it, though it may just have been let go.
pub fn alive(resource: Resource, owner: &kube::core::ObjectMeta) -> Fact {
    Fact { resource, key: key_of(owner), uid: uid_of(owner).to_owned(), alive: true }
}

/// Takes the owner `uid` from an object.
pub fn release(resource: Resource, object: &kube::core::ObjectMeta, uid: &str) -> Action {
    let owners = object.owner_references.iter().flatten().filter(|it| it.uid != uid).map(|it| json!(it)).collect();
    owners_patch(resource, object, owners)
}

fn owners_patch(resource: Resource, object: &kube::core::ObjectMeta, owners: Vec<Value>) -> Action {
    Action::Patch {
        resource,
        key: key_of(object),
        sub: None,
        uid: uid_of(object).to_owned(),
        // The list is replaced as a whole, so that it must be the one that was seen.
        revision: object.resource_version.clone(),
        // An empty list is absent in Kubernetes' objects.
        patch: json!({ "metadata": { "ownerReferences": Some(owners).filter(|it| !it.is_empty()) } }),
    }
}

fn scaled(
    form: &Form,
    set: &ReplicaSetView,
    active: &[Arc<PodView>],
    want: usize,
    world: &World,
    now: Timestamp,
    plan: &mut Plan,
) -> Scale {
    let regarding = || reference(form.resource, &set.metadata);
    if active.len() < want {
        for _ in 0..(want - active.len()).min(BURST) {
            let action = Action::Create {
                resource: PODS,
                namespace: namespace_of(&set.metadata).to_owned(),
                body: pod(form, set),
            };
            let telling = Telling {
                regarding: regarding(),
                success: ("SuccessfulCreate", "Created pod: {name}".to_owned()),
                failure: Some(("FailedCreate", "Error creating: {error}".to_owned())),
            };
            plan.act_and_tell(action, telling);
        }
        return Scale::Up;
    }
    if active.len() == want {
        return Scale::None;
    }
    let excess = (active.len() - want).min(BURST);
    for pod in ranking::least_missed(active, &related(form, set, world), now).into_iter().take(excess) {
        let action = Action::Delete {
            resource: PODS,
            key: key_of(&pod.metadata),
            uid: uid_of(&pod.metadata).to_owned(),
            revision: None,
            grace_seconds: None,
            propagation: None,
        };
        let telling = Telling {
            regarding: regarding(),
            success: ("SuccessfulDelete", "Deleted pod: {name}".to_owned()),
            failure: Some(("FailedDelete", "Error deleting: {error}".to_owned())),
        };
        plan.act_and_tell(action, telling);
    }
    Scale::Down
}

/// The active pods of all sets with the same owner: a rolling update spreads over old and new together.
fn related(form: &Form, set: &ReplicaSetView, world: &World) -> Vec<Arc<PodView>> {
    let pods = (form.siblings)(set, world).into_iter().flat_map(|uid| world.pods.by_index(BY_CONTROLLER, &uid));
    pods.filter(|it| it.is_active()).collect()
}

/// A pod from the template.
fn pod(form: &Form, set: &ReplicaSetView) -> Value {
    let template = set.spec.template.value();
    let mut metadata = json!({
        "generateName": format!("{}-", name_of(&set.metadata)),
        "namespace": namespace_of(&set.metadata),
        "ownerReferences": [controlled_by(form.resource, &set.metadata)],
    });
    for part in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(part).filter(|it| !it.is_null()) {
            metadata[part] = value.clone();
        }
    }
    json!({ "metadata": metadata, "spec": template["spec"] })
}

fn status(
    form: &Form,
    set: &ReplicaSetView,
    active: &[Arc<PodView>],
    scale: Scale,
    failed: Option<&str>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let template = set.spec.template.metadata();
    let labelled =
        |pod: &PodView| labels_of(&template).iter().all(|it| labels_of(&pod.metadata).get(it.0) == Some(it.1));
    let (mut ready, mut available, mut fully) = (0, 0, 0);
    for pod in active {
        fully += i32::from(labelled(pod));
        if !pod.is_ready() {
            continue;
        }
        ready += 1;
        match available_in(pod, set.spec.min_ready_seconds, now) {
            None => available += 1,
            Some(wait) => plan.recheck_in(wait),
        }
    }
    let mut conditions = set.status.conditions.clone().unwrap_or_default();
    let known = conditions.iter().position(|it| it.type_ == "ReplicaFailure");
    match (failed, scale, known) {
        // The condition is kept through the attempts, and goes when the set is as it should be.
        (Some(error), Scale::Up | Scale::Down, None) => conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(Time(now)),
            reason: Some(if scale == Scale::Up { "FailedCreate" } else { "FailedDelete" }.to_owned()),
            message: error.lines().next().map(str::to_owned),
        }),
        (None, _, Some(at)) => drop(conditions.remove(at)),
        _ => {}
    }
    let new = ReplicaSetStatus {
        replicas: i32::try_from(active.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: Some(fully),
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        observed_generation: set.metadata.generation,
        conditions: Some(conditions),
        terminating_replicas: set.status.terminating_replicas,
    };
    let old = &set.status;
    let number = |it: Option<i32>| it.unwrap_or(0);
    let same = old.replicas == new.replicas
        && number(old.fully_labeled_replicas) == fully
        && number(old.ready_replicas) == ready
        && number(old.available_replicas) == available
        && old.observed_generation.unwrap_or(0) == new.observed_generation.unwrap_or(0)
        && old.conditions.as_deref().unwrap_or_default() == new.conditions.as_deref().unwrap_or_default();
    if same {
        return;
    }
    let patch = json!({ "status": {
        "replicas": new.replicas, "fullyLabeledReplicas": fully, "readyReplicas": ready,
        "availableReplicas": available, "observedGeneration": new.observed_generation, "conditions": new.conditions.filter(|it| !it.is_empty()),
    } });
    let action = Action::Patch {
        resource: form.resource,
        key: key_of(&set.metadata),
        sub: Some("status"),
        uid: uid_of(&set.metadata).to_owned(),
        revision: set.metadata.resource_version.clone(),
        patch,
    };
    // First the status: what follows takes longer, and the numbers are of before.
    plan.steps.insert(0, action.into());
}

/// How long until a ready pod counts as available; none if it does now.
pub fn available_in(pod: &PodView, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    let wanted = Duration::from_secs(u64::try_from(min_ready_seconds).unwrap_or(0));
    let since = pod.condition("Ready").and_then(|it| it.last_transition_time.as_ref());
    let passed = since.map_or(Duration::ZERO, |it| clock::since(it.0, now));
    Some(wanted.saturating_sub(passed)).filter(|it| !it.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(replicas: i32) -> Value {
        json!({
            "metadata": { "namespace": "a", "name": "web", "uid": "r", "resourceVersion": "5", "generation": 2 },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": {
                "metadata": { "labels": { "app": "web" }, "annotations": { "note": "x" } },
                "spec": { "containers": [{ "name": "c" }] } } },
            "status": { "replicas": 0 },
        })
    }

    fn pod(name: &str, owner: Option<&str>, app: &str) -> Value {
        let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:00Z" });
        let mut it = json!({
            "metadata": { "namespace": "a", "name": name, "uid": name, "resourceVersion": "6", "labels": { "app": app } },
            "spec": { "nodeName": "n" }, "status": { "phase": "Running", "conditions": [ready] },
        });
        if let Some(owner) = owner {
            it["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
                "uid": owner, "controller": true, "blockOwnerDeletion": true }]);
        }
        it
    }

    fn plan(set: Value, pods: &[Value], failed: Option<&str>) -> Plan {
        let world = World::default();
        world.replica_sets.apply(serde_json::from_value(set).unwrap());
        pods.iter().for_each(|it| world.pods.apply(serde_json::from_value(it.clone()).unwrap()));
        ReplicaSets.decide(&Key::new("a", "web"), &world, Timestamp::UNIX_EPOCH, failed)
    }

    #[test]
    fn missing_pods_are_made_and_excess_ones_deleted() {
        insta::assert_snapshot!(plan(set(1), &[], None));
        insta::assert_snapshot!(plan(set(1), &[pod("a", Some("r"), "web"), pod("b", Some("r"), "web")], None));
    }

    #[test]
    fn pods_are_adopted_and_released() {
        let pods = [pod("free", None, "web"), pod("stray", Some("r"), "db"), pod("other", Some("x"), "web")];
        insta::assert_snapshot!(plan(set(1), &pods, None));
        let mut ending = set(1);
        ending["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:00Z".into();
        insta::assert_snapshot!(plan(ending, &pods, None), @r#"patch replicasets/status a/web at 5 {"status":{"availableReplicas":0,"conditions":null,"fullyLabeledReplicas":0,"observedGeneration":2,"readyReplicas":0,"replicas":0}}"#);
    }

    #[test]
    fn a_failure_is_a_condition_until_it_is_over() {
        let failing = plan(set(1), &[], Some("pods is forbidden"));
        let Action::Patch { patch, .. } = &failing.steps[0].action else { panic!("{failing}") };
        insta::assert_snapshot!(patch["status"]["conditions"], @r#"[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"pods is forbidden","reason":"FailedCreate","status":"True","type":"ReplicaFailure"}]"#);
        let mut failed = set(1);
        failed["status"]["conditions"] = patch["status"]["conditions"].clone();
        let over = plan(failed, &[pod("a", Some("r"), "web")], None);
        let Action::Patch { patch, .. } = &over.steps[0].action else { panic!("{over}") };
        assert!(patch["status"]["conditions"].is_null());
    }
}
