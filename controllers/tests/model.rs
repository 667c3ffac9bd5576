//! An executable model of the API server drives deployments, replica sets and replication controllers from random states to rest.
//!
//! The model keeps objects as JSON with uids and versions, honours preconditions, and shows its changes to the
//! controllers' stores late and in part: missed events and two leaders are decisions on stale stores, and writes that
//! are refused. The property is eventually stable reconciliation: once the user stops and the stores catch up, the pods
//! are as many as wanted, all of the current template, and no controller wants to write anything more.

#![allow(clippy::unwrap_used)] // A test says what it expects by panicking.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use orlop_client::write::{Action, Resource};
use orlop_client::{Key, Store, View};
use orlop_controllers::deployment::Deployments;
use orlop_controllers::replica_set::ReplicaSets;
use orlop_controllers::replication_controller::ReplicationControllers;
use orlop_controllers::runtime::Controller;
use orlop_controllers::view::{DEPLOYMENTS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS};
use orlop_controllers::world::World;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// Rounds of decisions until everything must be at rest; a rollout of ten pods takes about thirty.
const ROUNDS_MOST: usize = 300;
/// Every store, for those that catch up.
const ALL: u8 = 15;

#[derive(Default)]
struct Model {
    objects: BTreeMap<(&'static str, Key), Value>,
    revision: u64,
    now: Timestamp,
}

impl Model {
    fn stamp(&mut self, object: &mut Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
    }

    fn create(&mut self, resource: Resource, namespace: &str, mut body: Value) -> bool {
        self.revision += 1;
        let uid = format!("u{}", self.revision);
        if let Some(prefix) = body["metadata"]["generateName"].as_str() {
            body["metadata"]["name"] = format!("{prefix}{uid}").into();
        }
        let key = Key::new(namespace, body["metadata"]["name"].as_str().unwrap());
        if self.objects.contains_key(&(resource.plural, key.clone())) {
            return false;
        }
        body["metadata"]["namespace"] = namespace.into();
        body["metadata"]["uid"] = uid.into();
        body["metadata"]["generation"] = 1.into();
        body["metadata"]["creationTimestamp"] = self.now.to_string().into();
        self.stamp(&mut body);
        self.objects.insert((resource.plural, key), body);
        true
    }

    /// Applies a write as the API server would; false if it is refused.
    fn apply(&mut self, action: &Action) -> bool {
        match action {
            Action::Create { resource, namespace, body } => self.create(*resource, namespace, body.clone()),
            Action::Patch { resource, key, uid, revision, patch, .. } => {
                let id = (resource.plural, key.clone());
                let Some(mut object) = self.objects.get(&id).cloned() else { return false };
                let version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
                if object["metadata"]["uid"] != uid.as_str() || (revision.is_some() && *revision != version) {
                    return false;
                }
                let before = object.clone();
                merge(&mut object, patch);
                if before == object {
                    return true;
                }
                if before["spec"] != object["spec"] {
                    let generation = before["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
                    object["metadata"]["generation"] = generation.into();
                }
                self.stamp(&mut object);
                self.objects.insert(id, object);
                true
            }
            Action::Delete { resource, key, uid, .. } => {
                let id = (resource.plural, key.clone());
                if self.objects.get(&id).is_none_or(|it| it["metadata"]["uid"] != uid.as_str()) {
                    return false;
                }
                self.objects.remove(&id);
                self.revision += 1;
                true
            }
            other => panic!("no such write belongs here: {other}"),
        }
    }

    /// The agents of the model: every pod runs and is ready.
    fn run_pods(&mut self) {
        let keys: Vec<_> = self.objects.keys().filter(|(kind, _)| *kind == "pods").cloned().collect();
        for id in keys {
            let mut pod = self.objects[&id].clone();
            if pod["status"]["phase"] != "Running" {
                let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": self.now.to_string() });
                pod["status"] = json!({ "phase": "Running", "conditions": [ready] });
                self.stamp(&mut pod);
                self.objects.insert(id, pod);
            }
        }
    }

    fn show<V: View>(&self, kind: &str, store: &Store<V>) {
        let all = self.objects.iter().filter(|((it, _), _)| *it == kind);
        let objects = all.map(|(_, it)| serde_json::from_str(&it.to_string()).unwrap()).collect();
        store.replace(objects, &self.revision.to_string());
    }

    /// Lets the stores that `which` names catch up.
    fn catch_up(&self, world: &World, which: u8) {
        if which & 1 != 0 {
            self.show("deployments", &world.deployments);
        }
        if which & 2 != 0 {
            self.show("replicasets", &world.replica_sets);
        }
        if which & 4 != 0 {
            self.show("pods", &world.pods);
        }
        if which & 8 != 0 {
            self.show("replicationcontrollers", &world.replication_controllers);
        }
    }

    fn keys(&self, kind: &str) -> Vec<Key> {
        self.objects.keys().filter(|(it, _)| *it == kind).map(|(_, key)| key.clone()).collect()
    }

    fn pods(&self) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(|((kind, _), _)| *kind == "pods").map(|(_, it)| it)
    }

    /// What the garbage collector does: pods of a set that is gone go, too. A leader that is late makes such pods when the other has
    /// removed an old set meanwhile.
    fn collect_garbage(&mut self) {
        let sets: Vec<Value> = self
            .keys("replicasets")
            .iter()
            .map(|it| self.objects[&("replicasets", it.clone())]["metadata"]["uid"].clone())
            .collect();
        let orphan = |pod: &Value| {
            let owners = pod["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            owners.iter().any(|it| it["controller"] == true && !sets.contains(&it["uid"]))
        };
        let gone: Vec<Key> =
            self.keys("pods").into_iter().filter(|it| orphan(&self.objects[&("pods", it.clone())])).collect();
        for key in gone {
            self.objects.remove(&("pods", key));
            self.revision += 1;
        }
    }

    fn deployment(&self) -> &Value {
        &self.objects[&(DEPLOYMENTS.plural, Key::new("a", "web"))]
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// One look of every controller at everything; how many writes were wanted.
fn round(model: &mut Model, world: &World) -> usize {
    let mut wanted = 0;
    let work = model.keys("deployments").into_iter().map(|it| (&Deployments as &dyn Controller, it));
    let work = work.chain(model.keys("replicasets").into_iter().map(|it| (&ReplicaSets as _, it)));
    let controllers = model.keys("replicationcontrollers");
    let work: Vec<_> = work.chain(controllers.into_iter().map(|it| (&ReplicationControllers as _, it))).collect();
    for (controller, key) in work {
        let plan = controller.decide(&key, world, model.now, None);
        wanted += plan.steps.len();
        for step in plan.steps {
            if !model.apply(&step.action) {
                break;
            }
        }
    }
    wanted
}

fn deployment(replicas: i32, image: &str, strategy: Value) -> Value {
    json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": replicas, "strategy": strategy, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "image": image }] } },
        },
    })
}

fn rolling() -> Value {
    json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } })
}

fn patch_spec(model: &mut Model, spec: Value) {
    let uid = model.deployment()["metadata"]["uid"].as_str().unwrap().to_owned();
    let key = Key::new("a", "web");
    let patch = json!({ "spec": spec });
    assert!(model.apply(&Action::Patch { resource: DEPLOYMENTS, key, sub: None, uid, revision: None, patch }));
}

/// Runs until nothing is wanted.
#[track_caller]
fn settle(model: &mut Model, world: &World, mut each: impl FnMut(&Model)) {
    for _ in 0..ROUNDS_MOST {
        model.now += SignedDuration::from_secs(1);
        model.run_pods();
        model.collect_garbage();
        model.catch_up(world, ALL);
        if round(model, world) == 0 {
            return;
        }
        each(model);
    }
    let plans: Vec<_> =
        model.keys("deployments").iter().map(|it| Deployments.decide(it, world, model.now, None)).collect();
    panic!("no rest after {ROUNDS_MOST} rounds; the deployment still wants {}", plans[0]);
}

#[track_caller]
fn assert_right(model: &Model) {
    let it = model.deployment();
    let want = it["spec"]["replicas"].as_u64().unwrap() as usize;
    let image = &it["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(model.pods().count(), want, "{}", it["status"]);
    assert!(model.pods().all(|pod| pod["spec"]["containers"][0]["image"] == *image));
    assert_eq!(it["status"]["observedGeneration"], it["metadata"]["generation"]);
    assert_eq!(it["status"]["availableReplicas"].as_u64().unwrap_or(0) as usize, want);
    assert_eq!(it["status"]["updatedReplicas"].as_u64().unwrap_or(0) as usize, want);
    let conditions = it["status"]["conditions"].as_array().unwrap();
    let progressing = conditions.iter().find(|it| it["type"] == "Progressing").unwrap();
    assert_eq!(progressing["reason"], "NewReplicaSetAvailable");
}

#[test]
fn a_rolling_update_keeps_enough_pods_and_its_history() {
    let (mut model, world) = (Model::default(), World::default());
    assert!(model.create(DEPLOYMENTS, "a", deployment(4, "one", rolling())));
    settle(&mut model, &world, |_| {});
    assert_right(&model);
    for image in ["two", "three", "four", "five"] {
        let containers = json!([{ "image": image }]);
        patch_spec(&mut model, json!({ "template": { "spec": { "containers": containers } } }));
        settle(&mut model, &world, |model| {
            let running = model.pods().filter(|it| it["status"]["phase"] == "Running").count();
            assert!(running >= 3 && model.pods().count() <= 5, "{running} of {}", model.pods().count());
        });
        assert_right(&model);
    }
    assert_eq!(model.keys("replicasets").len(), 3, "the current one and two of history");
    let revision = &model.deployment()["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    assert_eq!(revision, "5");
}

#[test]
fn going_back_reuses_the_old_set_under_a_new_revision() {
    let (mut model, world) = (Model::default(), World::default());
    assert!(model.create(DEPLOYMENTS, "a", deployment(2, "one", json!({ "type": "Recreate" }))));
    settle(&mut model, &world, |_| {});
    for image in ["two", "one"] {
        let containers = json!([{ "image": image }]);
        patch_spec(&mut model, json!({ "template": { "spec": { "containers": containers } } }));
        settle(&mut model, &world, |model| {
            let images: std::collections::BTreeSet<_> =
                model.pods().map(|it| it["spec"]["containers"][0]["image"].to_string()).collect();
            assert!(images.len() <= 1, "Recreate never runs two templates at once");
        });
        assert_right(&model);
    }
    assert_eq!(model.keys("replicasets").len(), 2);
    let revision = &model.deployment()["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    assert_eq!(revision, "3");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let (mut model, world) = (Model::default(), World::default());
    assert!(model.create(DEPLOYMENTS, "a", deployment(2, "one", rolling())));
    settle(&mut model, &world, |_| {});
    let template = json!({ "spec": { "containers": [{ "image": "two" }] } });
    patch_spec(&mut model, json!({ "paused": true, "replicas": 5, "template": template }));
    settle(&mut model, &world, |_| {});
    assert_eq!(model.pods().filter(|it| it["spec"]["containers"][0]["image"] == "one").count(), 5);
    patch_spec(&mut model, json!({ "paused": false }));
    settle(&mut model, &world, |_| {});
    assert_right(&model);
}

#[test]
fn random_histories_come_to_rest() {
    let strategy = proptest::collection::vec((0u8..6, 0u8..8, 0i32..6), 1..40);
    let mut runner = TestRunner::new(Config { failure_persistence: None, cases: 200, ..Config::default() });
    let result = runner.run(&strategy, |steps| {
        // Two leaders with stores of their own, each as late as chance has it.
        let (mut model, worlds) = (Model::default(), [World::default(), World::default()]);
        assert!(model.create(DEPLOYMENTS, "a", deployment(3, "one", rolling())));
        for (what, which, number) in steps {
            model.now += SignedDuration::from_secs(1);
            match what {
                0 => patch_spec(&mut model, json!({ "replicas": number })),
                1 => {
                    let containers = json!([{ "image": format!("i{number}") }]);
                    patch_spec(&mut model, json!({ "template": { "spec": { "containers": containers } } }));
                }
                2 => patch_spec(&mut model, json!({ "paused": number % 2 == 0 })),
                3 => {
                    let victim = model.keys("pods").into_iter().nth(usize::try_from(number).unwrap());
                    if let Some(victim) = victim {
                        model.objects.remove(&(PODS.plural, victim));
                        model.revision += 1;
                    }
                }
                _ => model.run_pods(),
            }
            let world = &worlds[usize::from(what) % 2];
            model.catch_up(world, which);
            round(&mut model, world);
        }
        patch_spec(&mut model, json!({ "paused": false }));
        settle(&mut model, &worlds[0], |_| {});
        assert_right(&model);
        // The other leader, once it has caught up, agrees.
        model.catch_up(&worlds[1], ALL);
        assert_eq!(round(&mut model, &worlds[1]), 0);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert_eq!(REPLICA_SETS.plural, "replicasets");
}

/// A replication controller that is scaled, while pods go, leave its selection, and come without an owner: it has as many as it says.
#[test]
fn replication_controllers_come_to_rest() {
    let strategy = proptest::collection::vec((0u8..6, 0u8..16, 0i32..6), 1..40);
    let mut runner = TestRunner::new(Config { failure_persistence: None, cases: 200, ..Config::default() });
    let result = runner.run(&strategy, |steps| {
        let (mut model, worlds) = (Model::default(), [World::default(), World::default()]);
        let template =
            json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "image": "one" }] } });
        let spec = json!({ "replicas": 3, "selector": { "app": "web" }, "template": template });
        assert!(model.create(REPLICATION_CONTROLLERS, "a", json!({ "metadata": { "name": "web" }, "spec": spec })));
        let id = (REPLICATION_CONTROLLERS.plural, Key::new("a", "web"));
        for (what, which, number) in steps {
            model.now += SignedDuration::from_secs(1);
            let nth = |model: &Model| model.keys("pods").into_iter().nth(usize::try_from(number).unwrap());
            match what {
                0 => {
                    let uid = model.objects[&id].clone()["metadata"]["uid"].as_str().unwrap().to_owned();
                    let patch = json!({ "spec": { "replicas": number } });
                    let (resource, key) = (REPLICATION_CONTROLLERS, id.1.clone());
                    assert!(model.apply(&Action::Patch { resource, key, sub: None, uid, revision: None, patch }));
                }
                1 => {
                    if let Some(victim) = nth(&model) {
                        model.objects.remove(&(PODS.plural, victim));
                        model.revision += 1;
                    }
                }
                2 => {
                    if let Some(stray) = nth(&model).map(|it| (PODS.plural, it)) {
                        let mut pod = model.objects[&stray].clone();
                        pod["metadata"]["labels"]["app"] = "stray".into();
                        model.stamp(&mut pod);
                        model.objects.insert(stray, pod);
                    }
                }
                3 => {
                    let free = json!({ "metadata": { "name": format!("free-{number}"), "labels": { "app": "web" } } });
                    model.create(PODS, "a", free);
                }
                _ => model.run_pods(),
            }
            let world = &worlds[usize::from(what) % 2];
            model.catch_up(world, which);
            round(&mut model, world);
        }
        settle(&mut model, &worlds[0], |_| {});
        let controller = &model.objects[&id];
        let want = controller["spec"]["replicas"].as_u64().unwrap() as usize;
        let owner = |pod: &Value| pod["metadata"]["ownerReferences"][0]["kind"] == "ReplicationController";
        let selected = |pod: &&Value| pod["metadata"]["labels"]["app"] == "web";
        assert_eq!(model.pods().filter(selected).count(), want, "{}", controller["status"]);
        assert!(model.pods().all(|it| owner(it) == selected(&it)), "those and no others are its own");
        assert_eq!(controller["status"]["availableReplicas"].as_u64().unwrap_or(0) as usize, want);
        assert_eq!(controller["status"]["observedGeneration"], controller["metadata"]["generation"]);
        model.catch_up(&worlds[1], ALL);
        assert_eq!(round(&mut model, &worlds[1]), 0);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
