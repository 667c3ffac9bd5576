//! Endpoint slices: the addresses behind a service, in slices of at most a hundred.
//!
//! In: a service with a selector, its pods, and their nodes. Out: slices, changed only where they differ. Pods keep
//! their slice as long as it has room, so that one change of a pod writes one slice.
//!
//! `backends` tells the endpoints of a service; `endpoints.rs` shows the same in the older form.

pub mod backends;

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::{Value, json};

use self::backends::Backend;
use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{BY_SERVICE, SERVICE_NAME, World};

/// Endpoints a slice, Kubernetes' default.
const SLICE_MOST: usize = 100;
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The controller.
pub struct EndpointSlices;

impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.services);
        backends::wake_services(world, wires);
        wires.on_either(&world.slices, |slice| {
            let service = slice.metadata.labels.as_ref().and_then(|it| it.get(SERVICE_NAME));
            service.map(|it| Key::new(namespace_of(&slice.metadata), it)).into_iter().collect()
        });
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let mut slices = world.slices.by_index(BY_SERVICE, &format!("{}/{}", key.namespace(), key.name()));
        slices
            .retain(|it| it.metadata.labels.as_ref().and_then(|it| it.get(MANAGED_BY)).is_some_and(|it| it == MANAGER));
        slices.retain(|it| it.metadata.deletion_timestamp.is_none());
        let service = world.services.get(key).filter(|it| it.metadata.deletion_timestamp.is_none());
        // A service that is gone takes its slices along by owner reference; the deletion here only is faster.
        let Some(service) = service.filter(|it| it.spec.selector.is_some() && it.spec.type_ != "ExternalName") else {
            slices.iter().for_each(|it| plan.act(delete(it)));
            return plan;
        };
        let mut wanted = backends::grouped(backends::of(&service, world));
        let mut spare = Vec::new();
        let mut fitting: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for slice in slices {
            let ports = slice.ports.as_ref().map(Json::value).unwrap_or_default();
            let ports = backends::canonical_ports(&ports);
            if wanted.contains_key(&ports) && slice.address_type == "IPv4" {
                fitting.entry(ports).or_default().push(slice);
            } else {
                spare.push(slice);
            }
        }
        let labels = labels_of(&service, key);
        for (ports, backends) in &mut wanted {
            for slice in fitting.remove(ports).unwrap_or_default() {
                let kept = keep(&slice, backends);
                if kept.is_empty() && !(backends.is_empty() && ports == "[]") {
                    spare.push(slice);
                    continue;
                }
                update(&slice, kept, backends, &labels, &mut plan);
            }
            while !backends.is_empty() {
                let taken = backends.split_off(backends.len().saturating_sub(SLICE_MOST));
                create(&service, key, ports, &taken, &labels, &mut plan);
            }
        }
        spare.iter().for_each(|it| plan.act(delete(it)));
        plan
    }
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
    let endpoints = Value::Array(kept.iter().map(|it| it.endpoint.clone()).collect());
    let old = slice.endpoints.as_ref().map(Json::value).unwrap_or_else(|| json!([]));
    let stale: BTreeMap<&str, &str> = labels
        .iter()
        .filter(|(key, value)| slice.metadata.labels.as_ref().and_then(|it| it.get(*key)) != Some(value))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    if backends::sorted(&old) == backends::sorted(&endpoints) && stale.is_empty() {
        return;
    }
    plan.act(Action::Patch {
        resource: ENDPOINT_SLICES,
        key: key_of(&slice.metadata),
        sub: None,
        uid: uid_of(&slice.metadata).to_owned(),
        revision: slice.metadata.resource_version.clone(),
        patch: json!({ "metadata": { "labels": stale, "annotations": { TRIGGER: null } }, "endpoints": endpoints }),
    });
}

fn create(
    service: &ServiceView,
    key: &Key,
    ports: &str,
    backends: &[Backend],
    labels: &BTreeMap<String, String>,
    plan: &mut Plan,
) {
    let ports: Value = serde_json::from_str(ports).unwrap_or_default();
    let body = json!({
        "metadata": {
            "generateName": format!("{}-", key.name()),
            "namespace": key.namespace(),
            "labels": labels,
            "ownerReferences": [controlled_by(SERVICES, &service.metadata)],
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": backends.iter().map(|it| &it.endpoint).collect::<Vec<_>>(),
    });
    plan.act(Action::Create { resource: ENDPOINT_SLICES, namespace: key.namespace().to_owned(), body });
}

fn delete(slice: &EndpointSliceView) -> Action {
    Action::Delete {
        resource: ENDPOINT_SLICES,
        key: key_of(&slice.metadata),
        uid: uid_of(&slice.metadata).to_owned(),
        revision: None,
        grace_seconds: None,
        propagation: None,
    }
}

fn labels_of(service: &ServiceView, key: &Key) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if service.spec.cluster_ip == "None" {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), key.name().to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}
