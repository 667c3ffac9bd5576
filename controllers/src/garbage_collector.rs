//! The garbage collector: deletes what has lost its last owner, and what stands in the way of a foreground deletion.
//!
//! In: the metadata of all objects that own or are owned. Out: deletions, releases and removed finalizers, each with the
//! uid as precondition. It does not know what any object is for.
//!
//! *Background*: an object whose owners are all gone goes. *Foreground*: an owner with the finalizer
//! `foregroundDeletion` goes when no dependent with `blockOwnerDeletion` is left; its dependents are deleted first.
//! *Orphan*: with the finalizer `orphan` the dependents lose the reference, then the owner goes.
//!
//! A store that lags must not look like a missing owner. So an owner counts as absent only when it was seen to go, or when
//! the store of its kind has heard of everything up to the dependent's own version: the owner existed before the
//! dependent was written, so that a store this new would show it if it were still there.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orlop_api::kind::Scope;
use orlop_api::kinds::KINDS;
use orlop_client::write::{Action, Propagation, Resource};
use orlop_client::{Key, Store, View};
use serde::Deserialize;
use serde_json::json;

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::world::{BY_CONTROLLER, World};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// How soon to look again at an owner that a lagging store does not show.
const LAG_RETRY: Duration = Duration::from_secs(2);

/// The kinds that can own or be owned. Events have neither owners nor dependents, and there are many.
pub fn kinds() -> Vec<Resource> {
    let kinds = KINDS.iter().filter(|it| !matches!(it.kind, "Event" | "Lease"));
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

/// What the collector keeps of an object: a few dozen bytes where it has no owners and no finalizers.
#[derive(Clone, Debug)]
pub struct Dependent {
    namespace: Box<str>,
    name: Box<str>,
    uid: Box<str>,
    revision: Box<str>,
    links: Option<Box<Links>>,
}

#[derive(Clone, Debug)]
struct Links {
    owners: Vec<OwnerReference>,
    finalizers: Vec<String>,
    deleting: bool,
}

impl<'de> Deserialize<'de> for Dependent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Partial {
            metadata: ObjectMeta,
        }
        let meta = Partial::deserialize(deserializer)?.metadata;
        let links = Links {
            owners: meta.owner_references.unwrap_or_default(),
            finalizers: meta.finalizers.unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
        };
        let plain = links.owners.is_empty() && links.finalizers.is_empty() && !links.deleting;
        Ok(Dependent {
            namespace: meta.namespace.unwrap_or_default().into(),
            name: meta.name.unwrap_or_default().into(),
            uid: meta.uid.unwrap_or_default().into(),
            revision: meta.resource_version.unwrap_or_default().into(),
            links: (!plain).then(|| Box::new(links)),
        })
    }
}

impl View for Dependent {
    fn namespace(&self) -> &str {
        &self.namespace
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn revision(&self) -> &str {
        &self.revision
    }
}

impl Dependent {
    /// Its owners.
    pub fn owners(&self) -> &[OwnerReference] {
        self.links.as_ref().map_or(&[], |it| &it.owners)
    }

    fn has_finalizer(&self, name: &str) -> bool {
        self.links.as_ref().is_some_and(|it| it.finalizers.iter().any(|it| it == name))
    }

    fn is_deleting(&self) -> bool {
        self.links.as_ref().is_some_and(|it| it.deleting)
    }

    /// A uid names an object of whatever kind; the key of the work queue carries it as its name.
    fn key(uid: &str) -> Key {
        Key::new("", uid)
    }
}

/// The controller. Its keys are uids.
pub struct GarbageCollector;

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        for (_, store) in world.graph.iter() {
            let (graph, gone) = (world.graph.clone(), world.gone.clone());
            wires.on(store, move |change| {
                let mut keys = Vec::new();
                if let Some(new) = &change.new {
                    if !new.owners().is_empty() || new.is_deleting() {
                        keys.push(Dependent::key(&new.uid));
                    }
                    // A dependent may have been what its owner waits for.
                    keys.extend(new.owners().iter().map(|it| Dependent::key(&it.uid)));
                }
                if let Some(old) =
                    change.old.as_ref().filter(|old| change.new.as_ref().is_none_or(|it| it.uid != old.uid))
                {
                    gone.lock().note(&old.uid);
                    keys.extend(old.owners().iter().map(|it| Dependent::key(&it.uid)));
                    keys.extend(dependents(&graph, &old.uid).iter().map(|(_, it)| Dependent::key(&it.uid)));
                }
                keys
            });
        }
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let found = world
            .graph
            .iter()
            .find_map(|(resource, store)| store.by_index("uid", key.name()).first().map(|it| (*resource, it.clone())));
        let Some((resource, object)) = found else { return plan };
        if object.is_deleting() {
            if object.has_finalizer(ORPHAN) {
                orphan(resource, &object, world, &mut plan);
            } else if object.has_finalizer(FOREGROUND) {
                foreground(resource, &object, world, &mut plan);
            }
            return plan;
        }
        if !object.owners().is_empty() {
            collect(resource, &object, world, &mut plan);
        }
        plan
    }
}

type Graph = [(Resource, Store<Dependent>)];

fn dependents(graph: &Graph, uid: &str) -> Vec<(Resource, Arc<Dependent>)> {
    let mut all = Vec::new();
    for (resource, store) in graph {
        all.extend(store.by_index(BY_CONTROLLER, uid).into_iter().map(|it| (*resource, it)));
    }
    all
}

/// The state of an owner, as far as is known.
#[derive(PartialEq)]
enum Owner {
    There,
    /// It waits for this dependent to go.
    Waiting,
    Absent,
    Unknown,
}

fn state_of(owner: &OwnerReference, object: &Dependent, world: &World) -> Owner {
    let group = owner.api_version.split_once('/').map_or("", |it| it.0);
    let Some((_, store)) = world.graph.iter().find(|(it, _)| it.group == group && it.kind == owner.kind) else {
        // A kind that nobody serves here: Kubernetes leaves such objects alone, too.
        return Owner::Unknown;
    };
    match store.by_index("uid", &owner.uid).first() {
        // A namespaced owner counts only within its namespace; one of the cluster counts everywhere.
        Some(it) if !it.namespace.is_empty() && it.namespace != object.namespace => Owner::Absent,
        Some(it) if it.is_deleting() && it.has_finalizer(FOREGROUND) => Owner::Waiting,
        Some(_) => Owner::There,
        None if world.gone.lock().contains(&owner.uid) => Owner::Absent,
        None if store.is_synced() && store.revision() >= object.revision.parse().unwrap_or(u64::MAX) => Owner::Absent,
        None => Owner::Unknown,
    }
}

fn collect(resource: Resource, object: &Dependent, world: &World, plan: &mut Plan) {
    let states: Vec<Owner> = object.owners().iter().map(|it| state_of(it, object, world)).collect();
    if states.contains(&Owner::Unknown) {
        return plan.recheck_in(LAG_RETRY);
    }
    if states.contains(&Owner::There) {
        // Some owners are gone, others are not: only the references go.
        let kept: Vec<_> =
            object.owners().iter().zip(&states).filter(|(_, it)| **it == Owner::There).map(|it| it.0).collect();
        if kept.len() < states.len() {
            plan.act(patch(resource, object, json!({ "metadata": { "ownerReferences": kept } })));
        }
        return;
    }
    // An owner waits in the foreground: what this object owns has to go before it, too.
    let chained = states.contains(&Owner::Waiting)
        && dependents(&world.graph, &object.uid).iter().any(|(_, it)| blocks(it, &object.uid));
    plan.act(Action::Delete {
        resource,
        key: Key::new(&object.namespace, &object.name),
        uid: object.uid.to_string(),
        revision: None,
        grace_seconds: None,
        propagation: Some(if chained { Propagation::Foreground } else { Propagation::Background }),
    });
}

fn blocks(dependent: &Dependent, owner: &str) -> bool {
    dependent.owners().iter().any(|it| it.uid == owner && it.block_owner_deletion == Some(true))
}

/// Lets the owner go when nothing blocks it any more. Its dependents are woken by its own change, and see it waiting.
fn foreground(resource: Resource, object: &Dependent, world: &World, plan: &mut Plan) {
    let all = dependents(&world.graph, &object.uid);
    if !all.iter().any(|(_, it)| blocks(it, &object.uid)) {
        return plan.act(without_finalizer(resource, object, FOREGROUND));
    }
    for (resource, dependent) in all {
        if !dependent.is_deleting() {
            collect(resource, &dependent, world, plan);
        }
    }
}

fn orphan(resource: Resource, object: &Dependent, world: &World, plan: &mut Plan) {
    for (kind, dependent) in dependents(&world.graph, &object.uid) {
        let kept: Vec<_> = dependent.owners().iter().filter(|it| *it.uid != *object.uid).collect();
        let kept = Some(kept).filter(|it| !it.is_empty());
        plan.act(patch(kind, &dependent, json!({ "metadata": { "ownerReferences": kept } })));
    }
    plan.act(without_finalizer(resource, object, ORPHAN));
}

fn without_finalizer(resource: Resource, object: &Dependent, name: &str) -> Action {
    let all = object.links.iter().flat_map(|it| &it.finalizers);
    let kept: Vec<_> = all.filter(|it| *it != name).collect();
    let kept = Some(kept).filter(|it| !it.is_empty());
    patch(resource, object, json!({ "metadata": { "finalizers": kept } }))
}

fn patch(resource: Resource, object: &Dependent, patch: serde_json::Value) -> Action {
    Action::Patch {
        resource,
        key: Key::new(&object.namespace, &object.name),
        sub: None,
        uid: object.uid.to_string(),
        // The lists are replaced as a whole, so that they must be those that were seen.
        revision: Some(object.revision.to_string()),
        patch,
    }
}
