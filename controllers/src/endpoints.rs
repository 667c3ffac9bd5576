//! Endpoints: the addresses behind a service in the older form, one object a service, for the clients that read it.
//!
//! In: what `endpoint_slice::backends` tells. Out: an Endpoints object of the service's name, at most
//! [`ADDRESSES_MOST`] addresses. Services without a selector keep what users wrote.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::{Value, json};

use crate::endpoint_slice::backends::{self, Backend};
use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// Addresses an object, as in Kubernetes; beyond that it says so in an annotation.
const ADDRESSES_MOST: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

/// The controller.
pub struct EndpointsOfServices;

impl Controller for EndpointsOfServices {
    fn name(&self) -> &'static str {
        "endpoint-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.services);
        wires.on_itself(&world.endpoints);
        backends::wake_services(world, wires);
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let existing = world.endpoints.get(key).filter(|it| it.metadata.deletion_timestamp.is_none());
        let Some(service) = world.services.get(key).filter(|it| it.metadata.deletion_timestamp.is_none()) else {
            // Endpoints have no owner reference; those that users made for a selectorless service are not ours.
            let ours = |it: &EndpointsView| it.metadata.labels.as_ref().is_some_and(|it| it.contains_key(MANAGED_BY.0));
            if let Some(existing) = existing.filter(|it| ours(it)) {
                plan.act(Action::Delete {
                    resource: ENDPOINTS,
                    key: key.clone(),
                    uid: uid_of(&existing.metadata).to_owned(),
                    revision: None,
                    grace_seconds: None,
                    propagation: None,
                });
            }
            return plan;
        };
        if service.spec.selector.is_none() || service.spec.type_ == "ExternalName" {
            return plan;
        }
        let mut all = backends::of(&service, world);
        all.retain(|it| it.endpoint["conditions"]["terminating"] == false || service.spec.publish_not_ready_addresses);
        let over = all.len() > ADDRESSES_MOST;
        all.truncate(ADDRESSES_MOST);
        let subsets = subsets(all);
        let mut labels = service.metadata.labels.clone().unwrap_or_default();
        labels.remove(HEADLESS);
        if service.spec.cluster_ip == "None" {
            labels.insert(HEADLESS.to_owned(), String::new());
        }
        labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
        let Some(existing) = existing else {
            let mut metadata = json!({ "name": key.name(), "namespace": key.namespace(), "labels": labels });
            if over {
                metadata["annotations"] = json!({ OVER_CAPACITY: "truncated" });
            }
            let body = json!({ "metadata": metadata, "subsets": subsets });
            plan.act(Action::Create { resource: ENDPOINTS, namespace: key.namespace().to_owned(), body });
            return plan;
        };
        let old = existing.subsets.as_ref().map(Json::value).filter(Value::is_array).unwrap_or_else(|| json!([]));
        let noted = annotation(&existing.metadata, OVER_CAPACITY).is_some();
        if old == subsets && existing.metadata.labels.clone().unwrap_or_default() == labels && noted == over {
            return plan;
        }
        let annotations = json!({ OVER_CAPACITY: over.then_some("truncated") });
        plan.act(Action::Patch {
            resource: ENDPOINTS,
            key: key.clone(),
            sub: None,
            uid: uid_of(&existing.metadata).to_owned(),
            revision: existing.metadata.resource_version.clone(),
            patch: json!({ "metadata": { "labels": labels, "annotations": annotations }, "subsets": subsets }),
        });
        plan
    }
}

/// Pods with the same ports share a subset; ready and unready ones are listed apart.
fn subsets(backends: Vec<Backend>) -> Value {
    let mut groups: BTreeMap<String, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for backend in backends {
        let mut address = json!({ "ip": backend.endpoint["addresses"][0], "targetRef": backend.endpoint["targetRef"] });
        for field in ["nodeName", "hostname"] {
            if let Some(value) = backend.endpoint.get(field) {
                address[field] = value.clone();
            }
        }
        let (ready, unready) = groups.entry(backends::canonical_ports(&backend.ports)).or_default();
        if backend.ready { ready.push(address) } else { unready.push(address) }
    }
    let subsets = groups.into_iter().map(|(ports, (mut ready, mut unready))| {
        let mut subset = json!({});
        for (name, addresses) in [("addresses", &mut ready), ("notReadyAddresses", &mut unready)] {
            addresses.sort_by_key(|it| (it["ip"].to_string(), it["targetRef"]["uid"].to_string()));
            if !addresses.is_empty() {
                subset[name] = Value::Array(std::mem::take(addresses));
            }
        }
        let mut ports: Vec<Value> = serde_json::from_str(&ports).unwrap_or_default();
        for port in &mut ports {
            if let Some(fields) = port.as_object_mut().filter(|it| it.get("name").is_some_and(|it| it == "")) {
                fields.remove("name");
            }
        }
        if !ports.is_empty() {
            subset["ports"] = Value::Array(ports);
        }
        subset
    });
    Value::Array(subsets.collect())
}
