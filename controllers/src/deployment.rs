//! Deployments: moves pods from one template to the next, through replica sets.
//!
//! In: a deployment, its replica sets, and for `Recreate` its pods. Out: creations and scalings of replica sets, the
//! revision history, conditions and status, as `kubectl rollout` reads them. It never touches a pod.
//!
//! `revision` tells which replica set has which template, `rollout` what to scale, `status` what to report.

mod hash;
mod revision;
mod rollout;
mod status;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentCondition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orlop_client::events::Severity;
use orlop_client::write::Action;
use orlop_client::{Key, View};
use serde_json::json;

use crate::plan::{Plan, Telling};
use crate::replica_set::{adopt, alive, release, selector};
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{BY_CONTROLLER, World};

/// The label that keeps the pods of a deployment's replica sets apart.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The controller.
pub struct Deployments;

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.deployments);
        let deployments = world.deployments.clone();
        wires.on_either(&world.replica_sets, move |set| match controller_of(&set.metadata) {
            Some(_) => controller_key(&set.metadata, "Deployment").into_iter().collect(),
            None => {
                let labels = labels_of(&set.metadata);
                let all = deployments.list_in(namespace_of(&set.metadata));
                let matching = all.iter().filter(|it| selector(&it.spec.selector).is_some_and(|it| it.matches(labels)));
                matching.map(|it| key_of(&it.metadata)).collect()
            }
        });
        // A Recreate waits for the last old pod.
        let sets = world.replica_sets.clone();
        wires.on(&world.pods, move |change| {
            let (Some(old), None) = (&change.old, &change.new) else { return Vec::new() };
            let set = controller_key(&old.metadata, "ReplicaSet").and_then(|it| sets.get(&it));
            set.and_then(|it| controller_key(&it.metadata, "Deployment")).into_iter().collect()
        });
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(deployment) = world.deployments.get(key) else { return plan };
        let Some(selector) = selector(&deployment.spec.selector) else {
            if deployment.metadata.generation != deployment.status.observed_generation {
                let regarding = reference(DEPLOYMENTS, &deployment.metadata);
                let message = "This deployment is selecting all pods. A non-empty selector is required.";
                plan.tell(regarding, Severity::Warning, "SelectingAll", message);
                let patch = json!({ "status": { "observedGeneration": deployment.metadata.generation } });
                plan.act(patch_status(&deployment, patch));
            }
            return plan;
        };
        let deleting = deployment.metadata.deletion_timestamp.is_some();
        let mut sets = Vec::new();
        for set in world.replica_sets.by_index(BY_CONTROLLER, uid_of(&deployment.metadata)) {
            if selector.matches(labels_of(&set.metadata)) {
                sets.push(set);
            } else if !deleting && set.metadata.deletion_timestamp.is_none() {
                plan.act(release(REPLICA_SETS, &set.metadata, uid_of(&deployment.metadata)));
            }
        }
        if !deleting {
            for set in world.replica_sets.by_index(BY_CONTROLLER, &uncontrolled_in(key.namespace())) {
                if set.metadata.deletion_timestamp.is_none() && selector.matches(labels_of(&set.metadata)) {
                    let alive = vec![alive(DEPLOYMENTS, &deployment.metadata)];
                    plan.act_given(alive, adopt(REPLICA_SETS, &set.metadata, DEPLOYMENTS, &deployment.metadata));
                }
            }
        }
        if !plan.steps.is_empty() {
            // With the sets as they will be, everything else is decided anew.
            return plan;
        }
        let mut rollout = Rollout::new(&deployment, sets, now);
        rollout.failed = failed.map(str::to_owned);
        rollout.decide(world, &mut plan);
        plan
    }
}

/// One replica set in a decision: as it is, and what it is being made.
pub(crate) struct Set {
    pub view: Arc<ReplicaSetView>,
    /// What its spec will say.
    pub replicas: i32,
}

impl Set {
    fn status_replicas(&self) -> i32 {
        self.view.status.replicas
    }
    fn available(&self) -> i32 {
        self.view.status.available_replicas.unwrap_or(0)
    }
    fn ready(&self) -> i32 {
        self.view.status.ready_replicas.unwrap_or(0)
    }
}

/// All that one decision about one deployment works on.
pub(crate) struct Rollout<'a> {
    deployment: &'a DeploymentView,
    now: Timestamp,
    /// All sets, the oldest first; `new` is the place of the one with the current template.
    sets: Vec<Set>,
    new: Option<usize>,
    conditions: Vec<DeploymentCondition>,
    collisions: Option<i32>,
    failed: Option<String>,
    /// The replicas of the set that is being made.
    fresh: i32,
}

impl<'a> Rollout<'a> {
    fn new(deployment: &'a DeploymentView, mut sets: Vec<Arc<ReplicaSetView>>, now: Timestamp) -> Self {
        sets.sort_by_key(|it| (it.metadata.creation_timestamp.as_ref().map(|it| it.0), it.name().to_owned()));
        let new = revision::find_new(deployment, &sets);
        let sets = sets.into_iter().map(|view| Set { replicas: view.spec.replicas.unwrap_or(1), view }).collect();
        let conditions = deployment.status.conditions.clone().unwrap_or_default();
        let collisions = deployment.status.collision_count;
        Rollout { deployment, now, sets, new, conditions, collisions, failed: None, fresh: 0 }
    }

    fn decide(&mut self, world: &World, plan: &mut Plan) {
        if self.deployment.metadata.deletion_timestamp.is_some() {
            return self.report(plan);
        }
        self.note_pause();
        if self.deployment.spec.paused {
            self.stamp(false, world, plan);
            self.scale_proportionally(plan);
            self.clean_up(plan);
            return self.report(plan);
        }
        if self.is_scaling() {
            self.stamp(false, world, plan);
            self.scale_proportionally(plan);
            return self.report(plan);
        }
        if self.recreates() {
            self.recreate(world, plan)
        } else {
            self.roll(world, plan)
        }
        self.report_progress(plan);
    }

    fn want(&self) -> i32 {
        self.deployment.spec.replicas.unwrap_or(1)
    }

    fn recreates(&self) -> bool {
        self.deployment.spec.strategy.type_.as_deref() == Some("Recreate")
    }

    /// How many pods may be above, and how many below the wanted number.
    fn margins(&self) -> (i32, i32) {
        if self.recreates() {
            return (0, 0);
        }
        let rolling = self.deployment.spec.strategy.rolling_update.as_ref();
        margins(
            rolling.and_then(|it| it.max_surge.as_ref()),
            rolling.and_then(|it| it.max_unavailable.as_ref()),
            self.want(),
        )
    }

    fn old(&self) -> impl Iterator<Item = usize> + use<> {
        let new = self.new;
        (0..self.sets.len()).filter(move |at| Some(*at) != new)
    }

    fn total(&self) -> i32 {
        self.sets.iter().map(|it| it.replicas).sum()
    }

    /// Makes the set at `at` have `replicas`, and keeps the numbers in its annotations right.
    fn scale(&mut self, at: usize, replicas: i32, plan: &mut Plan) {
        let (surge, _) = self.margins();
        let want = self.want();
        let set = &mut self.sets[at];
        let meta = &set.view.metadata;
        let from = set.replicas;
        let numbers = [(revision::DESIRED, want), (revision::MAX, want + surge)].map(|(k, v)| (k, v.to_string()));
        let stale = numbers.iter().any(|(key, value)| annotation(meta, key) != Some(value));
        if from == replicas && !stale {
            return;
        }
        set.replicas = replicas;
        let annotations: serde_json::Map<_, _> = numbers.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
        let action = Action::Patch {
            resource: REPLICA_SETS,
            key: key_of(meta),
            sub: None,
            uid: uid_of(meta).to_owned(),
            revision: meta.resource_version.clone(),
            patch: json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": replicas } }),
        };
        if from == replicas {
            return plan.act(action);
        }
        let verb = if replicas > from { "up" } else { "down" };
        let message = format!("Scaled {verb} replica set {} from {from} to {replicas}", name_of(meta));
        let regarding = reference(DEPLOYMENTS, &self.deployment.metadata);
        plan.act_and_tell(action, Telling { regarding, success: ("ScalingReplicaSet", message), failure: None });
    }
}

/// Resolves surge and unavailability against the wanted number: percentages are rounded up and down; both may not be
/// zero, as nothing could move then (`ResolveFenceposts`).
pub fn margins(surge: Option<&IntOrString>, unavailable: Option<&IntOrString>, want: i32) -> (i32, i32) {
    let surge = portion(surge, want, true);
    let mut unavailable = portion(unavailable, want, false);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    (surge, unavailable.min(want))
}

fn portion(value: Option<&IntOrString>, of: i32, up: bool) -> i32 {
    let percent = match value {
        None => 25,
        Some(IntOrString::Int(number)) => return (*number).max(0),
        Some(IntOrString::String(text)) => text.trim_end_matches('%').parse::<i64>().unwrap_or(0).max(0),
    };
    let hundredfold = percent * i64::from(of);
    i32::try_from(if up { (hundredfold + 99) / 100 } else { hundredfold / 100 }).unwrap_or(i32::MAX)
}

fn patch_status(deployment: &DeploymentView, patch: serde_json::Value) -> Action {
    Action::Patch {
        resource: DEPLOYMENTS,
        key: key_of(&deployment.metadata),
        sub: Some("status"),
        uid: uid_of(&deployment.metadata).to_owned(),
        revision: deployment.metadata.resource_version.clone(),
        patch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surge_rounds_up_and_unavailability_down() {
        let percent = |it: &str| Some(IntOrString::String(it.to_owned()));
        for (surge, unavailable, want, expected) in [
            (None, None, 3, (1, 0)),
            (None, None, 10, (3, 2)),
            (percent("0%"), percent("10%"), 3, (0, 1)),
            (Some(IntOrString::Int(2)), Some(IntOrString::Int(0)), 3, (2, 0)),
            (Some(IntOrString::Int(0)), Some(IntOrString::Int(9)), 3, (0, 3)),
        ] {
            assert_eq!(margins(surge.as_ref(), unavailable.as_ref(), want), expected, "{surge:?} {unavailable:?}");
        }
    }

    fn deployment(image: &str) -> serde_json::Value {
        json!({
            "metadata": { "namespace": "a", "name": "web", "uid": "d", "resourceVersion": "5", "generation": 1,
                "annotations": { "deployment.kubernetes.io/revision": "1", "kubernetes.io/change-cause": "why" } },
            "spec": { "replicas": 3, "progressDeadlineSeconds": 600, "selector": { "matchLabels": { "app": "web" } },
                "template": { "metadata": { "labels": { "app": "web" } },
                    "spec": { "containers": [{ "name": "c", "image": image }] } } },
        })
    }

    fn plan(world: &World) -> Plan {
        Deployments.decide(&Key::new("a", "web"), world, Timestamp::UNIX_EPOCH, None)
    }

    /// A deployment that runs the image `one`, and that wants the image `image`.
    fn running(image: &str) -> World {
        let world = World::default();
        world.deployments.apply(serde_json::from_value(deployment("one")).unwrap());
        let Action::Create { mut body, .. } = plan(&world).steps[0].action.clone() else { panic!("{}", plan(&world)) };
        body["metadata"]["uid"] = "r".into();
        body["metadata"]["resourceVersion"] = "6".into();
        body["metadata"]["generation"] = 1.into();
        body["status"] = json!({ "replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "observedGeneration": 1 });
        world.replica_sets.apply(serde_json::from_value(body).unwrap());
        world.deployments.apply(serde_json::from_value(deployment(image)).unwrap());
        world
    }

    #[test]
    fn a_new_deployment_gets_a_set() {
        let world = World::default();
        let mut new = deployment("one");
        new["metadata"]["annotations"] = json!({ "kubernetes.io/change-cause": "why" });
        world.deployments.apply(serde_json::from_value(new).unwrap());
        insta::assert_snapshot!(plan(&world));
    }

    #[test]
    fn a_complete_deployment_says_so() {
        insta::assert_snapshot!(plan(&running("one")));
    }

    #[test]
    fn a_new_template_gets_a_set_and_the_next_revision() {
        insta::assert_snapshot!(plan(&running("two")));
    }

    #[test]
    fn a_selector_for_everything_is_refused() {
        let world = World::default();
        let mut all = deployment("one");
        all["spec"]["selector"] = json!({});
        world.deployments.apply(serde_json::from_value(all).unwrap());
        insta::assert_snapshot!(plan(&world), @r#"
        patch deployments/status a/web at 5 {"status":{"observedGeneration":1}}
        tell Warning SelectingAll: This deployment is selecting all pods. A non-empty selector is required.
        "#);
    }
}
