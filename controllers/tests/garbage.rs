//! The garbage collector against a model of the server, with stores that lag each by its own: it never deletes an object
//! with a live owner, and once the stores have caught up, what has no live owner is gone.

#![allow(clippy::unwrap_used)] // A test says what it expects by panicking.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::Action;
use orlop_controllers::garbage_collector::GarbageCollector;
use orlop_controllers::plan::Fact;
use orlop_controllers::runtime::Controller;
use orlop_controllers::world::World;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

const KINDS: [(&str, &str); 3] = [("Secret", "v1"), ("ConfigMap", "v1"), ("ReplicaSet", "apps/v1")];
/// Rounds after which everything must be at rest; chains of owners are no longer than the number of objects.
const ROUNDS_MOST: usize = 60;

struct Object {
    kind: usize,
    revision: u64,
    /// The uids of its owners, and their kinds.
    owners: Vec<(usize, u64)>,
}

/// The server: objects by uid; a uid is a number and names the object, too.
#[derive(Default)]
struct Model {
    objects: BTreeMap<u64, Object>,
    revision: u64,
}

impl Model {
    fn is_there(&self, it: &Fact) -> bool {
        self.objects.get(&it.uid.parse().unwrap()).is_some_and(|found| KINDS[found.kind].0 == it.resource.kind)
    }

    fn has_live_owner(&self, uid: u64) -> bool {
        let owners = &self.objects[&uid].owners;
        owners.iter().any(|(kind, uid)| self.objects.get(uid).is_some_and(|it| it.kind == *kind))
    }

    /// Shows all objects of a kind to its store.
    fn catch_up(&self, world: &World, kind: usize) {
        let all = self.objects.iter().filter(|(_, it)| it.kind == kind);
        let objects = all.map(|(uid, it)| {
            let owner = |(kind, uid): &(usize, u64)| {
                let (kind, version) = KINDS[*kind];
                json!({ "apiVersion": version, "kind": kind, "name": uid.to_string(), "uid": uid.to_string() })
            };
            let owners: Vec<Value> = it.owners.iter().map(owner).collect();
            let meta = json!({ "namespace": "a", "name": uid.to_string(), "uid": uid.to_string(),
                "resourceVersion": it.revision.to_string(), "ownerReferences": owners });
            serde_json::from_value(json!({ "metadata": meta })).unwrap()
        });
        let (_, store) = world.graph.all().iter().find(|(it, _)| it.kind == KINDS[kind].0).cloned().unwrap();
        store.replace(objects.collect(), &self.revision.to_string());
    }

    /// Decides on `uid` and does what the runtime would; how many writes were wanted.
    fn work(&mut self, world: &World, uid: u64) -> usize {
        let key = Key::new("", &uid.to_string());
        let plan = GarbageCollector.decide(&key, world, Timestamp::UNIX_EPOCH, None);
        let wanted = plan.steps.len();
        for step in plan.steps {
            if step.facts.iter().any(|it| self.is_there(it)) {
                break;
            }
            let (Action::Delete { uid, revision, .. } | Action::Patch { uid, revision, .. }) = &step.action else {
                panic!("no such write belongs here: {}", step.action)
            };
            let uid: u64 = uid.parse().unwrap();
            let Some(object) = self.objects.get(&uid) else { break };
            if *revision != Some(object.revision.to_string()) {
                break;
            }
            self.revision += 1;
            match &step.action {
                Action::Patch { patch, .. } => {
                    let owners = patch["metadata"]["ownerReferences"].as_array().unwrap();
                    let owner = |it: &Value| {
                        let kind = KINDS.iter().position(|(kind, _)| it["kind"] == *kind).unwrap();
                        (kind, it["uid"].as_str().unwrap().parse().unwrap())
                    };
                    let (owners, live) = (owners.iter().map(owner).collect(), self.has_live_owner(uid));
                    let object = self.objects.get_mut(&uid).unwrap();
                    (object.owners, object.revision) = (owners, self.revision);
                    assert_eq!(self.has_live_owner(uid), live, "no reference to a live owner may go");
                }
                _ => {
                    assert!(!self.has_live_owner(uid), "{uid} has a live owner");
                    self.objects.remove(&uid);
                }
            }
        }
        wanted
    }
}

#[test]
fn no_object_with_a_live_owner_goes_and_all_others_do() {
    let step = (0u8..5, 0usize..3, 0u64..12, 0u64..12);
    let mut runner = TestRunner::new(Config { failure_persistence: None, cases: 300, ..Config::default() });
    let result = runner.run(&proptest::collection::vec(step, 1..60), |steps| {
        let (mut model, world) = (Model::default(), World::default());
        let mut made: Vec<(usize, u64)> = Vec::new();
        let mut owned = std::collections::BTreeSet::new();
        for (what, kind, one, other) in steps {
            match what {
                // A new object, whose owners may be gone by now.
                0 | 1 => {
                    model.revision += 1;
                    let pick = |at: u64| made.len().checked_sub(1 + at as usize).map(|at| made[at]);
                    let mut owners: Vec<_> = [pick(one), pick(other)].into_iter().flatten().collect();
                    owners.dedup();
                    let uid = model.revision;
                    if !owners.is_empty() {
                        owned.insert(uid);
                    }
                    made.push((kind, uid));
                    model.objects.insert(uid, Object { kind, revision: uid, owners });
                }
                2 => {
                    let victim = model.objects.keys().nth(one as usize).copied();
                    victim.map(|it| model.objects.remove(&it));
                    model.revision += 1;
                }
                3 => model.catch_up(&world, kind),
                _ => {
                    let uid = model.objects.keys().nth(one as usize).copied();
                    uid.map(|it| model.work(&world, it));
                }
            }
        }
        for round in 0.. {
            assert!(round < ROUNDS_MOST, "no rest");
            (0..KINDS.len()).for_each(|kind| model.catch_up(&world, kind));
            let uids: Vec<u64> = model.objects.keys().copied().collect();
            if uids.into_iter().map(|it| model.work(&world, it)).sum::<usize>() == 0 {
                break;
            }
        }
        for uid in model.objects.keys().filter(|it| owned.contains(it)) {
            assert!(model.has_live_owner(*uid), "{uid} is garbage");
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
