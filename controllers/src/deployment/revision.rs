//! Which replica set has the deployment's template, and the numbers that make the others its history.
//!
//! `kubectl rollout history` reads the annotation `deployment.kubernetes.io/revision`; an undo is a patch of the
//! template, after which the old set is the new one and gets the next number.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::{Map, Value, json};

use super::{Rollout, TEMPLATE_HASH, hash};
use crate::plan::{Plan, Telling};
use crate::view::*;
use crate::world::World;

/// Which revision of its deployment a set is.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Revisions that a set had before it was rolled back to.
pub const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many replicas the deployment wanted when its set was last scaled.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many pods all sets of the deployment may have together.
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of the deployment that its sets do not get.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// The oldest set with the deployment's template.
pub fn find_new(deployment: &DeploymentView, sets: &[Arc<ReplicaSetView>]) -> Option<usize> {
    let wanted = without_hash(deployment.spec.template.value());
    sets.iter().position(|it| without_hash(it.spec.template.value()) == wanted)
}

fn without_hash(mut template: Value) -> String {
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(TEMPLATE_HASH);
    }
    hash::canonical(&template)
}

fn number(set: &ReplicaSetView) -> i64 {
    annotation(&set.metadata, REVISION).and_then(|it| it.parse().ok()).unwrap_or(0)
}

impl Rollout<'_> {
    /// Gives the new set the next revision and the deployment's annotations, or makes it, if `create` and there is none.
    pub(super) fn stamp(&mut self, create: bool, world: &World, plan: &mut Plan) {
        let next = self.old().map(|at| number(&self.sets[at].view)).max().unwrap_or(0) + 1;
        match self.new {
            Some(at) => self.stamp_existing(at, next, plan),
            None if create => self.create_new(next, world, plan),
            None => {}
        }
    }

    fn stamp_existing(&mut self, at: usize, next: i64, plan: &mut Plan) {
        let set = &self.sets[at].view;
        let mut wanted = self.copied();
        let old = number(set);
        let revision = old.max(next);
        wanted.insert(REVISION.to_owned(), revision.to_string());
        if next > old && old > 0 {
            let mut history: Vec<_> = annotation(&set.metadata, HISTORY).into_iter().map(str::to_owned).collect();
            history.push(old.to_string());
            wanted.insert(HISTORY.to_owned(), history.join(","));
        }
        wanted.retain(|key, value| annotation(&set.metadata, key) != Some(value));
        let seconds = self.deployment.spec.min_ready_seconds;
        if !wanted.is_empty() || set.spec.min_ready_seconds != seconds {
            plan.act(Action::Patch {
                resource: REPLICA_SETS,
                key: key_of(&set.metadata),
                sub: None,
                uid: uid_of(&set.metadata).to_owned(),
                // Only annotations of our own: nothing of the set's other content is presumed.
                revision: None,
                patch: json!({ "metadata": { "annotations": wanted }, "spec": { "minReadySeconds": seconds } }),
            });
            // Its version changes with this, so that what follows must not insist on the one that was seen.
            let mut moved = (**set).clone();
            moved.metadata.resource_version = None;
            self.sets[at].view = Arc::new(moved);
        }
        let message = format!("Found new replica set \"{}\"", name_of(&self.sets[at].view.metadata));
        self.note_found(&message);
        self.stamp_deployment(revision, plan);
    }

    fn create_new(&mut self, next: i64, world: &World, plan: &mut Plan) {
        let deployment = self.deployment;
        let mut template = deployment.spec.template.value();
        let hash = hash::of(&template, self.collisions);
        let name = format!("{}-{hash}", name_of(&deployment.metadata));
        let key = Key::new(namespace_of(&deployment.metadata), &name);
        if world.replica_sets.get(&key).is_some() {
            // A set of that name with another template, or of another owner. The next hash is another one; the count
            // is written with the status, and that wakes us again.
            self.collisions = Some(self.collisions.unwrap_or(0) + 1);
            return;
        }
        template["metadata"]["labels"][TEMPLATE_HASH] = hash.as_str().into();
        let mut selector = json!(deployment.spec.selector);
        selector["matchLabels"][TEMPLATE_HASH] = hash.as_str().into();
        let (surge, _) = self.margins();
        let want = self.want();
        let replicas = self.new_replicas(0);
        let mut annotations = self.copied();
        annotations.insert(REVISION.to_owned(), next.to_string());
        annotations.insert(DESIRED.to_owned(), want.to_string());
        annotations.insert(MAX.to_owned(), (want + surge).to_string());
        let body = json!({
            "metadata": {
                "name": name,
                "namespace": namespace_of(&deployment.metadata),
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [controlled_by(DEPLOYMENTS, &deployment.metadata)],
            },
            "spec": {
                "replicas": replicas,
                "minReadySeconds": deployment.spec.min_ready_seconds,
                "selector": selector,
                "template": template,
            },
        });
        let action =
            Action::Create { resource: REPLICA_SETS, namespace: namespace_of(&deployment.metadata).to_owned(), body };
        let telling = Telling {
            regarding: reference(DEPLOYMENTS, &deployment.metadata),
            success: ("ScalingReplicaSet", format!("Scaled up replica set {name} from 0 to {replicas}")),
            failure: Some(("ReplicaSetCreateError", format!("Failed to create new replica set \"{name}\": {{error}}"))),
        };
        plan.act_and_tell(action, telling);
        self.fresh = replicas;
        self.note_created(&format!("Created new replica set \"{name}\""));
        self.stamp_deployment(next, plan);
    }

    fn stamp_deployment(&self, revision: i64, plan: &mut Plan) {
        let meta = &self.deployment.metadata;
        let revision = revision.to_string();
        if annotation(meta, REVISION) != Some(&revision) {
            plan.act(Action::Patch {
                resource: DEPLOYMENTS,
                key: key_of(meta),
                sub: None,
                uid: uid_of(meta).to_owned(),
                revision: None,
                patch: json!({ "metadata": { "annotations": { REVISION: revision } } }),
            });
        }
    }

    fn copied(&self) -> BTreeMap<String, String> {
        let all = self.deployment.metadata.annotations.iter().flatten();
        all.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Deletes the oldest of the sets that are history only, down to the limit.
    pub(super) fn clean_up(&self, plan: &mut Plan) {
        let limit = usize::try_from(self.deployment.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
        let mut old: Vec<_> = self.old().map(|at| &self.sets[at]).collect();
        old.retain(|it| it.view.metadata.deletion_timestamp.is_none());
        let excess = old.len().saturating_sub(limit);
        old.sort_by_key(|it| number(&it.view));
        for set in old.into_iter().take(excess) {
            let (meta, status) = (&set.view.metadata, &set.view.status);
            let settled = meta.generation.unwrap_or(0) <= status.observed_generation.unwrap_or(0);
            if status.replicas == 0 && set.replicas == 0 && settled {
                plan.act(Action::Delete {
                    resource: REPLICA_SETS,
                    key: key_of(meta),
                    uid: uid_of(meta).to_owned(),
                    revision: None,
                    grace_seconds: None,
                    propagation: None,
                });
            }
        }
    }
}

/// A JSON object without its nulls would lose what a merge patch must remove; so the fields are listed one by one.
pub fn fields(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}
