//! The garbage collector: deletes what has lost its last owner, and what stands in the way of a foreground deletion.
//!
//! In: the metadata of all objects that own or are owned. Out: deletions, releases and removed finalizers, each with the
//! uid and the version as preconditions. It does not know what any object is for.
//!
//! *Background*: an object whose owners are all gone goes. *Foreground*: an owner with the finalizer
//! `foregroundDeletion` goes when no dependent with `blockOwnerDeletion` is left; its dependents are deleted first.
//! *Orphan*: with the finalizer `orphan` the dependents lose the reference, then the owner goes.
//!
//! A store that lags, or that left an object out because it could not be decoded, must not look like a missing owner. So
//! the stores only say whose owners *seem* to be gone; every write that rests on an owner's absence carries it as an
//! [`Fact`], for which the server itself is asked. Where the server cannot be asked, because nobody here knows the
//! owner's kind, nothing is done (`garbagecollector.go`: `isDangling`).

mod dependent;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use orlop_api::kind::Scope;
use orlop_api::kinds::KINDS;
use orlop_client::Key;
use orlop_client::events::Severity;
use orlop_client::write::{Action, Propagation, Resource};
use serde_json::json;

pub use self::dependent::Dependent;
use crate::graph::Kinds;
use crate::plan::{Fact, Plan};
use crate::runtime::{Controller, Wires};
use crate::world::{BY_OWNER, BY_UID, World};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// The kinds that can own or be owned, each in the form it is stored in. Events have neither owners nor dependents, and there are many.
pub fn kinds() -> Vec<Resource> {
    let kinds = KINDS.iter().filter(|it| !matches!(it.kind, "Event" | "Lease") && it.conversion.is_none());
    kinds
        .map(|it| Resource {
            group: it.group,
            version: it.version,
            kind: it.kind,
            plural: it.names.plural,
            namespaced: it.scope == Scope::Namespaced,
        })
        .collect()
}

/// The controller. Its keys are uids.
pub struct GarbageCollector;

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        let (graph, wires) = (world.graph.clone(), wires.clone());
        world.graph.each(move |store| {
            let graph = graph.clone();
            wires.on(store, move |change| woken(&graph.all(), change.old.as_deref(), change.new.as_deref()));
            !wires.is_stopped()
        });
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let kinds = world.graph.all();
        let found = kinds
            .iter()
            .find_map(|(resource, store)| store.by_index(BY_UID, key.name()).first().map(|it| (*resource, it.clone())));
        let Some((resource, object)) = found else { return plan };
        if object.is_deleting() {
            if object.has_finalizer(ORPHAN) {
                orphan(resource, &object, world, &mut plan);
            } else if object.waits_for_dependents()
                && !dependents(&kinds, &object.uid).iter().any(|(_, it)| it.blocks(&object.uid))
            {
                // Its dependents were woken when it began to wait, and see it waiting; the last one's end wakes it.
                plan.act(without_finalizer(resource, &object, FOREGROUND));
            }
            return plan;
        }
        if !object.owners().is_empty() {
            collect(resource, &object, world, &mut plan);
        }
        plan
    }
}

/// Who has to be looked at when an object changes. Most changes are of a status, and concern nobody here.
fn woken(graph: &Kinds, old: Option<&Dependent>, new: Option<&Dependent>) -> Vec<Key> {
    let mut uids: Vec<Box<str>> = Vec::new();
    let owners = |it: &Dependent| it.owners().iter().map(|it| it.uid.as_str().into()).collect::<Vec<Box<str>>>();
    let gone = old.filter(|old| new.is_none_or(|it| it.uid != old.uid));
    let before = old.filter(|_| gone.is_none());
    if let Some(new) = new.filter(|it| before.is_none_or(|old| it.is_linked_otherwise(old))) {
        if !new.owners().is_empty() || new.is_deleting() {
            uids.push(new.uid.clone());
        }
        // It may have been, or be no longer, what an owner waits for.
        uids.extend(owners(new));
        uids.extend(before.map(owners).unwrap_or_default());
        if new.waits_for_dependents() && !before.is_some_and(Dependent::waits_for_dependents) {
            uids.extend(dependents(graph, &new.uid).iter().map(|(_, it)| it.uid.clone()));
        }
    }
    if let Some(gone) = gone {
        uids.extend(owners(gone));
        uids.extend(dependents(graph, &gone.uid).iter().map(|(_, it)| it.uid.clone()));
    }
    uids.iter().map(|it| Dependent::key(it)).collect()
}

fn dependents(graph: &Kinds, uid: &str) -> Vec<(Resource, Arc<Dependent>)> {
    let mut all = Vec::new();
    for (resource, store) in graph {
        all.extend(store.by_index(BY_OWNER, uid).into_iter().map(|it| (*resource, it)));
    }
    all
}

/// The state of an owner, as far as the stores know.
#[derive(Debug, PartialEq)]
enum Owner {
    There,
    /// It waits for this dependent to go.
    Waiting,
    /// It is not where the reference says, as it seems.
    Missing(Fact),
    /// The server cannot be asked for it.
    Unservable,
}

fn state_of(owner: &OwnerReference, resource: Resource, object: &Dependent, world: &World, plan: &mut Plan) -> Owner {
    let served = |it: &Resource| it.kind == owner.kind && it.api_version() == owner.api_version;
    // A kind that nobody serves here: Kubernetes leaves such objects alone, too.
    let kinds = world.graph.all();
    let Some((kind, store)) = kinds.iter().find(|(it, _)| served(it)) else { return Owner::Unservable };
    let place = Key::new(if kind.namespaced { &object.namespace } else { "" }, &owner.name);
    let found = store.by_index(BY_UID, &owner.uid).into_iter().next();
    if let Some(it) = found.as_ref().filter(|it| kind.namespaced && it.namespace != object.namespace) {
        let (namespace, uid) = (&object.namespace, &it.uid);
        let what =
            format!("[{}/{}, namespace: {namespace}, name: {}, uid: {uid}]", owner.api_version, owner.kind, owner.name);
        let message = format!("ownerRef {what} does not exist in namespace {namespace:?}");
        plan.tell(reference(resource, object), Severity::Warning, "OwnerRefInvalidNamespace", message);
    }
    if kind.namespaced && object.namespace.is_empty() {
        // There is no namespace in which to look for it; it stays an error for ever.
        return Owner::Unservable;
    }
    match found {
        Some(it) if it.place() == place && it.waits_for_dependents() => Owner::Waiting,
        Some(it) if it.place() == place => Owner::There,
        _ => Owner::Missing(Fact { resource: *kind, key: place, uid: owner.uid.clone(), alive: false }),
    }
}

fn collect(resource: Resource, object: &Dependent, world: &World, plan: &mut Plan) {
    let states: Vec<Owner> = object.owners().iter().map(|it| state_of(it, resource, object, world, plan)).collect();
    if states.contains(&Owner::Unservable) {
        return;
    }
    let missing = |it: &Owner| if let Owner::Missing(fact) = it { Some(fact.clone()) } else { None };
    let gone: Vec<Fact> = states.iter().filter_map(missing).collect();
    if states.contains(&Owner::There) {
        // Some owners are gone, others are not: only the references go, those to owners that wait for it, too.
        let kept: Vec<_> =
            object.owners().iter().zip(&states).filter(|(_, it)| **it == Owner::There).map(|it| it.0).collect();
        if kept.len() < states.len() {
            let patch = patch(resource, object, json!({ "metadata": { "ownerReferences": kept } }));
            plan.act_given(gone, patch);
        }
        return;
    }
    let owned = dependents(&world.graph.all(), &object.uid);
    // An owner waits in the foreground: what this object owns has to go before it, too.
    let chained = states.contains(&Owner::Waiting) && !owned.is_empty();
    let mut revision = Some(object.revision.to_string());
    if chained && owned.iter().any(|(_, it)| it.waits_for_dependents()) {
        // Perhaps a circle, each waiting for the next: this one lets its owners go.
        let mut owners = object.owners().to_vec();
        owners.iter_mut().filter(|it| it.block_owner_deletion == Some(true)).for_each(|it| {
            it.block_owner_deletion = Some(false);
        });
        if owners != object.owners() {
            let patch = patch(resource, object, json!({ "metadata": { "ownerReferences": owners } }));
            plan.act_given(gone.clone(), patch);
            revision = None;
        }
    }
    let propagation = if object.has_finalizer(ORPHAN) && !chained {
        Propagation::Orphan
    } else if chained || object.has_finalizer(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    let action = Action::Delete {
        resource,
        key: object.place(),
        uid: object.uid.to_string(),
        // Its owners may be others by now.
        revision,
        grace_seconds: None,
        propagation: Some(propagation),
    };
    plan.act_given(gone, action);
}

fn orphan(resource: Resource, object: &Dependent, world: &World, plan: &mut Plan) {
    for (kind, dependent) in dependents(&world.graph.all(), &object.uid) {
        let kept: Vec<_> = dependent.owners().iter().filter(|it| *it.uid != *object.uid).collect();
        let kept = Some(kept).filter(|it| !it.is_empty());
        plan.act(patch(kind, &dependent, json!({ "metadata": { "ownerReferences": kept } })));
    }
    plan.act(without_finalizer(resource, object, ORPHAN));
}

fn without_finalizer(resource: Resource, object: &Dependent, name: &str) -> Action {
    let kept: Vec<_> = object.finalizers().iter().filter(|it| *it != name).collect();
    let kept = Some(kept).filter(|it| !it.is_empty());
    patch(resource, object, json!({ "metadata": { "finalizers": kept } }))
}

fn patch(resource: Resource, object: &Dependent, patch: serde_json::Value) -> Action {
    Action::Patch {
        resource,
        key: object.place(),
        sub: None,
        uid: object.uid.to_string(),
        // The lists are replaced as a whole, so that they must be those that were seen.
        revision: Some(object.revision.to_string()),
        patch,
    }
}

fn reference(resource: Resource, object: &Dependent) -> ObjectReference {
    ObjectReference {
        api_version: Some(resource.api_version()),
        kind: Some(resource.kind.to_owned()),
        namespace: Some(object.namespace.to_string()).filter(|it| !it.is_empty()),
        name: Some(object.name.to_string()),
        uid: Some(object.uid.to_string()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// An owner reference, as `kind name uid`.
    fn owner(text: &str) -> Value {
        let [kind, name, uid] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
        let version = match kind {
            "ReplicaSet" => "apps/v1",
            "Widget" => "example.com/v1",
            _ => "v1",
        };
        json!({ "apiVersion": version, "kind": kind, "name": name, "uid": uid, "blockOwnerDeletion": true })
    }

    /// Puts in an object, as `kind namespace/name uid`.
    fn put(world: &World, text: &str, owners: &[&str], finalizers: &[&str], deleting: bool) {
        let [kind, place, uid] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
        let (namespace, name) = place.split_once('/').unwrap();
        let owners: Vec<_> = owners.iter().map(|it| owner(it)).collect();
        let mut meta = json!({ "name": name, "namespace": namespace, "uid": uid, "resourceVersion": "5",
            "ownerReferences": owners, "finalizers": finalizers });
        if deleting {
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        let (_, store) = world.graph.all().iter().find(|(it, _)| it.kind == kind).cloned().unwrap();
        store.apply(serde_json::from_value(json!({ "metadata": meta })).unwrap());
    }

    fn plan(world: &World, uid: &str) -> String {
        GarbageCollector.decide(&Dependent::key(uid), world, Timestamp::UNIX_EPOCH, None).to_string()
    }

    #[test]
    fn an_object_goes_when_the_server_says_that_its_owners_are_gone() {
        let world = World::default();
        put(&world, "ReplicaSet a/web r1", &[], &[], false);
        put(&world, "Pod a/one p1", &["ReplicaSet web r1"], &[], false);
        insta::assert_snapshot!(plan(&world, "p1"), @"nothing to do");
        put(&world, "Pod a/two p2", &["ReplicaSet web r0", "ReplicaSet old r9"], &[], false);
        insta::assert_snapshot!(plan(&world, "p2"), @r"
        delete pods a/two uid=p2 at 5 propagation=Background
          if replicasets a/web uid=r0 is gone
          if replicasets a/old uid=r9 is gone
        ");
        put(&world, "Pod a/both p3", &["ReplicaSet web r1", "ReplicaSet old r9"], &[], false);
        insta::assert_snapshot!(plan(&world, "p3"), @r#"
        patch pods a/both at 5 {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"kind":"ReplicaSet","name":"web","uid":"r1"}]}}
          if replicasets a/old uid=r9 is gone
        "#);
        put(&world, "Pod a/kept p4", &["ReplicaSet web r0"], &[ORPHAN], false);
        insta::assert_snapshot!(plan(&world, "p4"), @r"
        delete pods a/kept uid=p4 at 5 propagation=Orphan
          if replicasets a/web uid=r0 is gone
        ");
    }

    #[test]
    fn nothing_goes_whose_owner_cannot_be_asked_for() {
        let world = World::default();
        put(&world, "ConfigMap a/x c1", &["Widget w w1"], &[], false);
        insta::assert_snapshot!(plan(&world, "c1"), @"nothing to do");
        put(&world, "ConfigMap a/y c2", &["Widget w w1", "ConfigMap gone g"], &[], false);
        insta::assert_snapshot!(plan(&world, "c2"), @"nothing to do");
        put(&world, "ClusterRole /z k1", &["ConfigMap gone g"], &[], false);
        insta::assert_snapshot!(plan(&world, "k1"), @"nothing to do");
    }

    #[test]
    fn an_owner_in_another_namespace_is_none_and_is_told() {
        let world = World::default();
        put(&world, "ConfigMap a/x c1", &[], &[], false);
        put(&world, "ConfigMap b/y c2", &["ConfigMap x c1"], &[], false);
        insta::assert_snapshot!(plan(&world, "c2"), @r#"
        delete configmaps b/y uid=c2 at 5 propagation=Background
          if configmaps b/x uid=c1 is gone
        tell Warning OwnerRefInvalidNamespace: ownerRef [v1/ConfigMap, namespace: b, name: x, uid: c1] does not exist in namespace "b"
        "#);
        put(&world, "ClusterRole /z k1", &["ConfigMap x c1"], &[], false);
        insta::assert_snapshot!(plan(&world, "k1"), @r#"tell Warning OwnerRefInvalidNamespace: ownerRef [v1/ConfigMap, namespace: , name: x, uid: c1] does not exist in namespace """#);
    }

    #[test]
    fn a_foreground_deletion_goes_from_the_leaves_up() {
        let world = World::default();
        put(&world, "ReplicaSet a/web r1", &[], &[FOREGROUND], true);
        put(&world, "Pod a/one p1", &["ReplicaSet web r1"], &[], false);
        put(&world, "ConfigMap a/x c1", &["ReplicaSet web r1"], &[], false);
        put(&world, "Secret a/s s1", &["ConfigMap x c1"], &[], false);
        insta::assert_snapshot!(plan(&world, "r1"), @"nothing to do");
        insta::assert_snapshot!(plan(&world, "p1"), @"delete pods a/one uid=p1 at 5 propagation=Background");
        insta::assert_snapshot!(plan(&world, "c1"), @"delete configmaps a/x uid=c1 at 5 propagation=Foreground");
        put(&world, "Secret a/s s1", &["ConfigMap x c1"], &[FOREGROUND], true);
        insta::assert_snapshot!(plan(&world, "c1"), @r#"
        patch configmaps a/x at 5 {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":false,"kind":"ReplicaSet","name":"web","uid":"r1"}]}}
        delete configmaps a/x uid=c1 propagation=Foreground
        "#);
        let lonely = World::default();
        put(&lonely, "ReplicaSet a/web r1", &[], &["other", FOREGROUND], true);
        insta::assert_snapshot!(plan(&lonely, "r1"), @r#"patch replicasets a/web at 5 {"metadata":{"finalizers":["other"]}}"#);
    }

    #[test]
    fn orphans_lose_their_owner_before_it_goes() {
        let world = World::default();
        put(&world, "ReplicaSet a/web r1", &[], &[ORPHAN], true);
        put(&world, "Pod a/one p1", &["ReplicaSet web r1"], &[], false);
        insta::assert_snapshot!(plan(&world, "r1"), @r#"
        patch pods a/one at 5 {"metadata":{"ownerReferences":null}}
        patch replicasets a/web at 5 {"metadata":{"finalizers":null}}
        "#);
    }

    #[test]
    fn only_changed_links_wake() {
        let world = World::default();
        put(&world, "ReplicaSet a/web r1", &[], &[], false);
        put(&world, "Pod a/one p1", &["ReplicaSet web r1"], &[], false);
        let of = |kind: &str, uid: &str| {
            let (_, store) = world.graph.all().iter().find(|(it, _)| it.kind == kind).cloned().unwrap();
            store.by_index(BY_UID, uid).remove(0)
        };
        let pod = of("Pod", "p1");
        let woken = |old: Option<&Dependent>, new: Option<&Dependent>| {
            woken(&world.graph.all(), old, new).iter().map(Key::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(woken(None, Some(&pod)), "p1 r1");
        assert_eq!(woken(Some(&pod), Some(&pod)), "", "its status changed");
        let set = of("ReplicaSet", "r1");
        assert_eq!(woken(Some(&set), None), "p1");
        put(&world, "ReplicaSet a/web r1", &[], &[FOREGROUND], true);
        assert_eq!(woken(Some(&set), Some(&of("ReplicaSet", "r1"))), "r1 p1");
        // The owner that waits has to hear that this one is no longer its own.
        put(&world, "Pod a/one p1", &[], &[], false);
        assert_eq!(woken(Some(&pod), Some(&of("Pod", "p1"))), "r1");
    }
}
