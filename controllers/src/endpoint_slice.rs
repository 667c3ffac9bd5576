//! Endpoint slices: the addresses behind a service, in slices of at most a hundred, each of one family.
//!
//! In: a service with a selector, its pods, and their nodes. Out: slices, changed only where they differ. Pods keep
//! their slice as long as it has room, so that one change of a pod writes one slice. A service without backends has one
//! empty slice a family, so that clients can tell it from one that nobody has looked at.
//!
//! `backends` tells the endpoints of a service; `endpoints.rs` shows the same in the older form.

pub mod backends;
mod hints;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::{Value, json};

use self::backends::{Backend, TRIGGER};
use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{BY_SERVICE, SERVICE_NAME, World};

/// Endpoints a slice, Kubernetes' default.
const SLICE_MOST: usize = 100;
/// The label that says who writes a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

/// The controller.
pub struct EndpointSlices;

impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.services);
        backends::wake_services(world, wires);
        hints::wake_services(world, wires);
        wires.on_either(&world.slices, service_of);
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let mut slices = of_manager(world, key, MANAGER);
        let service = world.services.get(key).filter(|it| it.metadata.deletion_timestamp.is_none());
        // A service that is gone takes its slices along by owner reference; the deletion here only is faster.
        let Some(service) = service.filter(|it| it.spec.selector.is_some() && it.spec.type_ != "ExternalName") else {
            slices.iter().for_each(|it| plan.act(delete(it)));
            return plan;
        };
        let labels = slice_labels(&service, key);
        for family in backends::families(&service) {
            let (of_family, rest) = slices.into_iter().partition(|it| it.address_type == family);
            slices = rest;
            settle(&service, key, family, of_family, world, &labels, &mut plan);
        }
        // Of a family that the service has no more.
        slices.iter().for_each(|it| plan.act(delete(it)));
        plan
    }
}

/// Plans what makes the slices of one family show the service's backends.
fn settle(
    service: &ServiceView,
    key: &Key,
    family: &str,
    slices: Vec<Arc<EndpointSliceView>>,
    world: &World,
    labels: &BTreeMap<String, String>,
    plan: &mut Plan,
) {
    let mut all = backends::of(service, world, family);
    hints::give(service, world, &mut all);
    let mut wanted = backends::grouped(all);
    let had = !slices.is_empty();
    let mut spare = Vec::new();
    let mut fitting: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for slice in slices {
        let ports = slice.ports.as_ref().map(Json::value).unwrap_or_default();
        let ports = backends::canonical_ports(&ports);
        if wanted.contains_key(&ports) {
            fitting.entry(ports).or_default().push(slice);
        } else {
            spare.push(slice);
        }
    }
    let mut fresh: Vec<(String, Vec<Backend>)> = Vec::new();
    let mut filled = 0;
    for (ports, backends) in &mut wanted {
        for slice in fitting.remove(ports).unwrap_or_default() {
            let kept = keep(&slice, backends);
            if kept.is_empty() {
                spare.push(slice);
                continue;
            }
            filled += 1;
            update(&slice, kept, backends, labels, plan);
        }
        while !backends.is_empty() {
            let taken = backends.split_off(backends.len().saturating_sub(SLICE_MOST));
            fresh.push((ports.clone(), taken));
        }
    }
    if filled == 0 && fresh.is_empty() {
        fresh.push(("[]".to_owned(), Vec::new()));
    }
    let created = service.metadata.creation_timestamp.as_ref().map(|it| it.0).filter(|_| !had);
    for (ports, backends) in fresh {
        // A slice that is no longer needed is written anew instead, which is one change for those who watch.
        match spare.iter().position(|it| is_of(it, service)) {
            Some(at) => rewrite(&spare.swap_remove(at), &ports, &backends, labels, plan),
            None => create(service, key, family, &ports, &backends, labels, created, plan),
        }
    }
    spare.iter().for_each(|it| plan.act(delete(it)));
}

/// Takes from `backends` those whose pods are in `slice` already.
fn keep(slice: &EndpointSliceView, backends: &mut Vec<Backend>) -> Vec<Backend> {
    let old = slice.endpoints.as_ref().map(Json::value).unwrap_or_default();
    let uids: Vec<&str> =
        old.as_array().into_iter().flatten().filter_map(|it| it["targetRef"]["uid"].as_str()).collect();
    let (kept, rest) = std::mem::take(backends).into_iter().partition(|it| uids.contains(&it.uid.as_str()));
    *backends = rest;
    kept
}

/// Fills the slice up with new backends, and writes it if that, or anything else, changed it.
fn update(
    slice: &EndpointSliceView,
    mut kept: Vec<Backend>,
    backends: &mut Vec<Backend>,
    labels: &BTreeMap<String, String>,
    plan: &mut Plan,
) {
    let room = SLICE_MOST.saturating_sub(kept.len()).min(backends.len());
    kept.extend(backends.drain(..room));
    write(slice, None, &kept, labels, plan);
}

/// Makes a slice that showed other pods show these.
fn rewrite(
    slice: &EndpointSliceView,
    ports: &str,
    backends: &[Backend],
    labels: &BTreeMap<String, String>,
    plan: &mut Plan,
) {
    let ports: Value = serde_json::from_str(ports).unwrap_or_default();
    let old = slice.ports.as_ref().map(Json::value).unwrap_or_default();
    let same = backends::canonical_ports(&old) == backends::canonical_ports(&ports);
    write(slice, (!same).then_some(ports), backends, labels, plan);
}

fn write(
    slice: &EndpointSliceView,
    ports: Option<Value>,
    backends: &[Backend],
    labels: &BTreeMap<String, String>,
    plan: &mut Plan,
) {
    let old = slice.endpoints.as_ref().map(Json::value).filter(Value::is_array).unwrap_or_else(|| json!([]));
    let endpoints = Value::Array(backends.iter().map(|it| it.endpoint.clone()).collect());
    let relabelled = backends::labels_patch(slice.metadata.labels.as_ref(), labels);
    if backends::sorted(&old) == backends::sorted(&endpoints) && ports.is_none() && relabelled.is_null() {
        return;
    }
    let known = old.as_array().map(Vec::as_slice).unwrap_or_default();
    let changed = backends.iter().filter(|it| !known.contains(&it.endpoint)).map(|it| it.changed);
    let mut patch =
        json!({ "metadata": { "annotations": { TRIGGER: backends::trigger(changed) } }, "endpoints": endpoints });
    if !relabelled.is_null() {
        patch["metadata"]["labels"] = relabelled;
    }
    if let Some(ports) = ports {
        patch["ports"] = ports;
    }
    plan.act(Action::Patch {
        resource: ENDPOINT_SLICES,
        key: key_of(&slice.metadata),
        sub: None,
        uid: uid_of(&slice.metadata).to_owned(),
        revision: slice.metadata.resource_version.clone(),
        patch,
    });
}

fn is_of(slice: &EndpointSliceView, service: &ServiceView) -> bool {
    slice.metadata.owner_references.iter().flatten().any(|it| it.uid == uid_of(&service.metadata))
}

#[allow(clippy::too_many_arguments)] // What a slice is made of.
fn create(
    service: &ServiceView,
    key: &Key,
    family: &str,
    ports: &str,
    backends: &[Backend],
    labels: &BTreeMap<String, String>,
    created: Option<Timestamp>,
    plan: &mut Plan,
) {
    let ports: Value = serde_json::from_str(ports).unwrap_or_default();
    let mut body = json!({
        "metadata": {
            "generateName": format!("{}-", key.name()),
            "namespace": key.namespace(),
            "labels": labels,
            "ownerReferences": [controlled_by(SERVICES, &service.metadata)],
        },
        "addressType": family,
        "ports": ports,
        "endpoints": backends.iter().map(|it| &it.endpoint).collect::<Vec<_>>(),
    });
    let trigger = backends::trigger(backends.iter().map(|it| it.changed).chain([created]));
    if !trigger.is_null() {
        body["metadata"]["annotations"] = json!({ TRIGGER: trigger });
    }
    plan.act(Action::Create { resource: ENDPOINT_SLICES, namespace: key.namespace().to_owned(), body });
}

/// The service of a slice.
pub fn service_of(slice: &EndpointSliceView) -> Vec<Key> {
    let service = slice.metadata.labels.as_ref().and_then(|it| it.get(SERVICE_NAME));
    service.map(|it| Key::new(namespace_of(&slice.metadata), it)).into_iter().collect()
}

/// The slices of a service that `manager` writes.
pub fn of_manager(world: &World, key: &Key, manager: &str) -> Vec<Arc<EndpointSliceView>> {
    let mut slices = world.slices.by_index(BY_SERVICE, &format!("{}/{}", key.namespace(), key.name()));
    slices.retain(|it| it.metadata.labels.as_ref().and_then(|it| it.get(MANAGED_BY)).is_some_and(|it| it == manager));
    slices.retain(|it| it.metadata.deletion_timestamp.is_none());
    slices
}

/// The deletion of a slice.
pub fn delete(slice: &EndpointSliceView) -> Action {
    Action::Delete {
        resource: ENDPOINT_SLICES,
        key: key_of(&slice.metadata),
        uid: uid_of(&slice.metadata).to_owned(),
        revision: None,
        grace_seconds: None,
        propagation: None,
    }
}

fn slice_labels(service: &ServiceView, key: &Key) -> BTreeMap<String, String> {
    let mut labels = backends::service_labels(service, &[]);
    labels.insert(SERVICE_NAME.to_owned(), key.name().to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(service: Value, pods: &[Value]) -> World {
        let world = World::default();
        let metadata = json!({ "namespace": "a", "name": "web", "uid": "s", "labels": { "app": "web" },
            "creationTimestamp": "2026-01-01T00:00:00Z" });
        world.services.apply(serde_json::from_value(json!({ "metadata": metadata, "spec": service })).unwrap());
        pods.iter().for_each(|it| world.pods.apply(serde_json::from_value(it.clone()).unwrap()));
        world
    }

    fn spec() -> Value {
        json!({ "clusterIP": "10.96.0.7", "selector": { "app": "web" },
            "ports": [{ "name": "http", "port": 80, "targetPort": "web" }] })
    }

    pub(crate) fn pod(name: &str, ip: &str, ready: bool) -> Value {
        let ready = if ready { "True" } else { "False" };
        let condition = json!({ "type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:09Z" });
        json!({ "metadata": { "namespace": "a", "name": name, "uid": name, "labels": { "app": "web" } },
            "spec": { "nodeName": "n", "containers": [{ "ports": [{ "name": "web", "containerPort": 8080 }] }] },
            "status": { "phase": "Running", "podIP": ip, "conditions": [condition] } })
    }

    fn slice(labels: Value, ports: Value, endpoints: Value) -> EndpointSliceView {
        let owner = json!([{ "apiVersion": "v1", "kind": "Service", "name": "web", "uid": "s" }]);
        let mut all = json!({ "kubernetes.io/service-name": "web", MANAGED_BY: MANAGER });
        all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
        let metadata = json!({ "namespace": "a", "name": "web-1", "uid": "e", "resourceVersion": "5", "labels": all,
            "ownerReferences": owner });
        let it = json!({ "metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints });
        serde_json::from_value(it).unwrap()
    }

    fn plan(world: &World) -> String {
        EndpointSlices.decide(&Key::new("a", "web"), world, Timestamp::UNIX_EPOCH, None).to_string()
    }

    #[test]
    fn backends_are_shown() {
        let mut ending = pod("c", "10.244.0.4", true);
        ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let world =
            world(spec(), &[pod("a", "10.244.0.2", true), pod("b", "10.244.0.3", false), ending, pod("d", "", false)]);
        insta::assert_snapshot!(plan(&world));
    }

    #[test]
    fn a_service_without_backends_has_an_empty_slice() {
        let ports = json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]);
        let endpoint = json!({ "addresses": ["10.244.0.2"], "targetRef": { "uid": "gone" } });
        let none = world(spec(), &[]);
        insta::assert_snapshot!(plan(&none));
        // Its last pod went: the same slice says so. A label that the service lost goes, too.
        none.slices.apply(slice(json!({ "app": "web", "old": "x" }), ports, json!([endpoint])));
        insta::assert_snapshot!(plan(&none));
        none.slices.apply(slice(json!({ "app": "web" }), json!([]), json!([])));
        insta::assert_snapshot!(plan(&none), @"nothing to do");
        // As the API server may leave empty lists out.
        none.slices.apply(slice(json!({ "app": "web" }), Value::Null, Value::Null));
        insta::assert_snapshot!(plan(&none), @"nothing to do");
        // A pod comes.
        none.pods.apply(serde_json::from_value(pod("a", "10.244.0.2", true)).unwrap());
        insta::assert_snapshot!(plan(&none));
    }

    #[test]
    fn each_family_has_slices_of_its_own() {
        let dual = |policy: &str, families: &[&str]| {
            let mut it = spec();
            it["ipFamilies"] = json!(families);
            it["ipFamilyPolicy"] = policy.into();
            it
        };
        let mut both = pod("a", "10.244.0.2", true);
        both["status"]["podIPs"] = json!([{ "ip": "10.244.0.2" }, { "ip": "fd00::2" }]);
        // A pod from before the cluster had two families.
        let pods = [both, pod("b", "10.244.0.3", true)];
        let world = world(dual("PreferDualStack", &["IPv4", "IPv6"]), &pods);
        insta::assert_snapshot!(plan(&world));
        // It goes down to one family: the other's slice goes.
        let metadata = json!({ "namespace": "a", "name": "web", "uid": "s", "labels": { "app": "web" } });
        let single = json!({ "metadata": metadata, "spec": dual("SingleStack", &["IPv4"]) });
        world.services.apply(serde_json::from_value(single).unwrap());
        let mut six = slice(json!({ "app": "web" }), json!([]), json!([]));
        six.address_type = "IPv6".into();
        world.slices.apply(six);
        insta::assert_snapshot!(plan(&world));
    }

    #[test]
    fn a_gone_service_takes_its_slices_along() {
        let world = World::default();
        world.slices.apply(slice(json!({}), json!([]), json!([])));
        insta::assert_snapshot!(plan(&world), @"delete endpointslices a/web-1 uid=e");
    }
}
