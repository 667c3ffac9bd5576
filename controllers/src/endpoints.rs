//! Endpoints: the addresses behind a service in the older form, one object a service, for the clients that read it.
//!
//! In: what `endpoint_slice::backends` tells of the service's primary family. Out: an Endpoints object of the service's name, at most
//! [`ADDRESSES_MOST`] addresses. Services without a selector keep what users wrote.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::{Value, json};

use crate::endpoint_slice::backends::{self, Backend, TRIGGER};
use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// Addresses an object, as in Kubernetes; beyond that it says so in an annotation.
const ADDRESSES_MOST: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
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
        let primary = backends::families(&service)[0];
        let mut all = backends::of(&service, world, primary);
        all.retain(|it| it.endpoint["conditions"]["terminating"] == false || service.spec.publish_not_ready_addresses);
        // A pod that has none of the service's ports is no address; only a headless service may have no ports at all.
        let portless = service.spec.ports.is_empty() && backends::is_headless(&service);
        all.retain(|it| portless || it.ports.as_array().is_some_and(|it| !it.is_empty()));
        let over = all.len() > ADDRESSES_MOST;
        if over {
            all.sort_by_key(|it| !it.ready);
            all.truncate(ADDRESSES_MOST);
        }
        let mut labels = backends::service_labels(&service, &[MANAGED_BY.0]);
        labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
        let created = service.metadata.creation_timestamp.as_ref().map(|it| it.0);
        let Some(existing) = existing else {
            let trigger = backends::trigger(all.iter().map(|it| it.changed).chain([created]));
            let mut annotations = json!({});
            if !trigger.is_null() {
                annotations[TRIGGER] = trigger;
            }
            if over {
                annotations[OVER_CAPACITY] = "truncated".into();
            }
            let metadata = json!({ "name": key.name(), "namespace": key.namespace(), "labels": labels, "annotations": annotations });
            let body = json!({ "metadata": metadata, "subsets": subsets(&all) });
            plan.act(Action::Create { resource: ENDPOINTS, namespace: key.namespace().to_owned(), body });
            return plan;
        };
        let old = existing.subsets.as_ref().map(Json::value).filter(Value::is_array).unwrap_or_else(|| json!([]));
        let noted = annotation(&existing.metadata, OVER_CAPACITY).is_some();
        let relabelled = backends::labels_patch(existing.metadata.labels.as_ref(), &labels);
        let subsets = subsets(&all);
        if old == subsets && relabelled.is_null() && noted == over {
            return plan;
        }
        let changed = all.iter().filter(|it| !is_shown(it, &old)).map(|it| it.changed);
        let annotations = json!({ OVER_CAPACITY: over.then_some("truncated"), TRIGGER: backends::trigger(changed) });
        let mut patch = json!({ "metadata": { "annotations": annotations }, "subsets": subsets });
        if !relabelled.is_null() {
            patch["metadata"]["labels"] = relabelled;
        }
        plan.act(Action::Patch {
            resource: ENDPOINTS,
            key: key.clone(),
            sub: None,
            uid: uid_of(&existing.metadata).to_owned(),
            revision: existing.metadata.resource_version.clone(),
            patch,
        });
        plan
    }
}

/// Whether the subsets show the backend, and as ready as it is.
fn is_shown(backend: &Backend, subsets: &Value) -> bool {
    let list = if backend.ready { "addresses" } else { "notReadyAddresses" };
    let all = subsets.as_array().into_iter().flatten().filter_map(|it| it[list].as_array()).flatten();
    all.into_iter()
        .any(|it| it["targetRef"]["uid"] == backend.uid.as_str() && it["ip"] == backend.endpoint["addresses"][0])
}

/// Pods with the same ports share a subset; ready and unready ones are listed apart.
fn subsets(backends: &[Backend]) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn world(publish: bool, pods: &[Value]) -> World {
        let world = World::default();
        let metadata = json!({ "namespace": "a", "name": "web", "uid": "s", "labels": { "app": "web" },
            "creationTimestamp": "2026-01-01T00:00:00Z" });
        let spec = json!({ "clusterIP": "10.96.0.7", "selector": { "app": "web" }, "publishNotReadyAddresses": publish,
            "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] });
        world.services.apply(serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap());
        pods.iter().for_each(|it| world.pods.apply(serde_json::from_value(it.clone()).unwrap()));
        world
    }

    fn pod(name: &str, ip: &str, ready: bool, ending: bool, phase: &str) -> Value {
        let ready = if ready { "True" } else { "False" };
        let condition = json!({ "type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:09Z" });
        let mut it = json!({ "metadata": { "namespace": "a", "name": name, "uid": name, "labels": { "app": "web" } },
            "spec": { "nodeName": "n" }, "status": { "phase": phase, "podIP": ip, "conditions": [condition] } });
        if ending {
            it["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        it
    }

    fn plan(world: &World) -> Plan {
        EndpointsOfServices.decide(&Key::new("a", "web"), world, Timestamp::UNIX_EPOCH, None)
    }

    #[test]
    fn backends_are_shown() {
        let pods = [pod("b", "10.244.0.3", true, false, "Running"), pod("a", "10.244.0.2", false, false, "Running")];
        let world = world(false, &pods);
        insta::assert_snapshot!(plan(&world));
        let metadata = json!({ "namespace": "a", "name": "web", "uid": "e", "resourceVersion": "5",
            "labels": { "app": "web", "old": "x", MANAGED_BY.0: MANAGED_BY.1 } });
        let subset = json!({ "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }], "addresses": [
            { "ip": "10.244.0.3", "nodeName": "n", "targetRef": { "kind": "Pod", "namespace": "a", "name": "b", "uid": "b" } }] });
        world.endpoints.apply(serde_json::from_value(json!({ "metadata": metadata, "subsets": [subset] })).unwrap());
        insta::assert_snapshot!(plan(&world));
        world.services.replace(Vec::new(), "9");
        insta::assert_snapshot!(plan(&world), @"delete endpoints a/web uid=e");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// No address that is not ready is listed as ready, and none is left out that is.
        #[test]
        fn ready_addresses_are_those_of_ready_pods(
            publish: bool,
            pods in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 0usize..4), 0..8),
        ) {
            let phases = ["Pending", "Running", "Succeeded", "Failed"];
            let pods: Vec<_> = pods.into_iter().enumerate().map(|(at, (has_ip, ready, ending, phase))| {
                let ip = if has_ip { format!("10.244.0.{}", at + 2) } else { String::new() };
                let shown = has_ip && phase < 2 && (publish || !ending);
                (pod(&format!("p{at}"), &ip, ready, ending, phases[phase]), ip, shown, publish || ready)
            }).collect();
            let world = world(publish, &pods.iter().map(|it| it.0.clone()).collect::<Vec<_>>());
            let plan = plan(&world);
            let Some(Action::Create { body, .. }) = plan.steps.first().map(|it| &it.action) else { panic!("{plan}") };
            let listed = |name: &str| {
                let all = body["subsets"].as_array().unwrap().iter().filter_map(|it| it[name].as_array()).flatten();
                all.map(|it| it["ip"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            let expected = |ready: bool| {
                let all = pods.iter().filter(|it| it.2 && it.3 == ready);
                all.map(|it| it.1.clone()).collect::<Vec<_>>()
            };
            prop_assert_eq!(listed("addresses"), expected(true));
            prop_assert_eq!(listed("notReadyAddresses"), expected(false));
        }
    }
}
