//! Mirrors Endpoints that users wrote: the addresses of a Service without a selector, in the slices that the data path and the DNS read.
//!
//! In: Endpoints of a Service without a selector. Out: slices of the Endpoints' own, a group for each family and each list of ports.
//! Endpoints that say so (`endpointslice.kubernetes.io/skip-mirror`), and those that elect a leader, are left alone. The source is
//! Kubernetes' controller of the same name (KEP-0752).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::{Value, json};

use crate::endpoint_slice::backends::{self, TRIGGER};
use crate::endpoint_slice::{MANAGED_BY, delete, of_manager, service_of};
use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{SERVICE_NAME, World};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Addresses that are mirrored of a subset, and those of one slice.
const ADDRESSES_MOST: usize = 1000;

/// The controller.
pub struct EndpointSliceMirroring;

impl Controller for EndpointSliceMirroring {
    fn name(&self) -> &'static str {
        "endpoint-slice-mirroring-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.endpoints);
        wires.on_itself(&world.services);
        wires.on_either(&world.slices, service_of);
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let mut slices = of_manager(world, key, MANAGER);
        let service = world.services.get(key).filter(|it| it.metadata.deletion_timestamp.is_none());
        let endpoints = world.endpoints.get(key).filter(|it| it.metadata.deletion_timestamp.is_none());
        let endpoints = endpoints.filter(|it| is_mirrored(it));
        // Slices go with their Endpoints by owner reference, too; with their Service only so.
        let (Some(endpoints), Some(_)) = (endpoints, service.filter(|it| it.spec.selector.is_none())) else {
            slices.iter().for_each(|it| plan.act(delete(it)));
            return plan;
        };
        let labels = slice_labels(&endpoints, key);
        let annotations = slice_annotations(&endpoints);
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        for ((family, ports), all) in groups(&endpoints) {
            for chunk in all.chunks(ADDRESSES_MOST) {
                let shows = |it: &Arc<EndpointSliceView>| it.address_type == family && ports_of(it) == ports;
                match slices.iter().position(shows) {
                    Some(at) => update(&slices.remove(at), chunk, &labels, &annotations, &mut plan),
                    None => create(&endpoints, key, family, &ports, chunk, &labels, &annotations, &mut plan),
                }
            }
        }
        slices.iter().for_each(|it| plan.act(delete(it)));
        plan
    }
}

fn is_mirrored(it: &EndpointsView) -> bool {
    let skipped = it.metadata.labels.as_ref().and_then(|it| it.get(SKIP)).is_some_and(|it| it == "true");
    !skipped && annotation(&it.metadata, LEADER).is_none()
}

/// The endpoints of each family and list of ports, which is canonical text.
fn groups(endpoints: &EndpointsView) -> BTreeMap<(&'static str, String), Vec<Value>> {
    let mut groups: BTreeMap<_, Vec<Value>> = BTreeMap::new();
    let subsets = endpoints.subsets.as_ref().map(Json::value).unwrap_or_default();
    for subset in subsets.as_array().into_iter().flatten() {
        let ports = backends::canonical_ports(&subset["ports"]);
        let of = |list: &str, ready: bool| -> Vec<_> {
            subset[list].as_array().into_iter().flatten().filter_map(|it| endpoint(it, ready)).collect()
        };
        let all = [of("addresses", true), of("notReadyAddresses", false)].concat();
        for (family, endpoint) in all.into_iter().take(ADDRESSES_MOST) {
            groups.entry((family, ports.clone())).or_default().push(endpoint);
        }
    }
    groups
}

/// An address as an endpoint, with its family; none where it is no address.
fn endpoint(address: &Value, ready: bool) -> Option<(&'static str, Value)> {
    let ip = address["ip"].as_str()?;
    let family = if ip.parse::<IpAddr>().ok()?.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut endpoint = json!({ "addresses": [ip], "conditions": { "ready": ready } });
    for field in ["targetRef", "nodeName", "hostname"] {
        if let Some(value) = address.get(field).filter(|it| !it.is_null() && *it != "") {
            endpoint[field] = value.clone();
        }
    }
    Some((family, endpoint))
}

fn ports_of(slice: &EndpointSliceView) -> String {
    backends::canonical_ports(&slice.ports.as_ref().map(Json::value).unwrap_or_default())
}

fn slice_labels(endpoints: &EndpointsView, key: &Key) -> BTreeMap<String, String> {
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), key.name().to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

fn slice_annotations(endpoints: &EndpointsView) -> BTreeMap<String, String> {
    let mut all = endpoints.metadata.annotations.clone().unwrap_or_default();
    all.retain(|key, _| key != LAST_APPLIED && key != TRIGGER);
    all
}

/// Writes the slice if it differs.
fn update(
    slice: &EndpointSliceView,
    endpoints: &[Value],
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    plan: &mut Plan,
) {
    let old = slice.endpoints.as_ref().map(Json::value).filter(Value::is_array).unwrap_or_else(|| json!([]));
    let mut patch = json!({});
    if old.as_array().is_none_or(|it| it != endpoints) {
        patch["endpoints"] = endpoints.into();
    }
    let meta = &slice.metadata;
    for (field, old, new) in [("labels", &meta.labels, labels), ("annotations", &meta.annotations, annotations)] {
        let changed = backends::labels_patch(old.as_ref(), new);
        if !changed.is_null() {
            patch["metadata"][field] = changed;
        }
    }
    if patch == json!({}) {
        return;
    }
    plan.act(Action::Patch {
        resource: ENDPOINT_SLICES,
        key: key_of(meta),
        sub: None,
        uid: uid_of(meta).to_owned(),
        revision: meta.resource_version.clone(),
        patch,
    });
}

#[allow(clippy::too_many_arguments)] // What a slice is made of.
fn create(
    owner: &EndpointsView,
    key: &Key,
    family: &str,
    ports: &str,
    endpoints: &[Value],
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    plan: &mut Plan,
) {
    let ports: Value = serde_json::from_str(ports).unwrap_or_default();
    let body = json!({
        "metadata": {
            "generateName": format!("{}-", key.name()),
            "namespace": key.namespace(),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [controlled_by(ENDPOINTS, &owner.metadata)],
        },
        "addressType": family,
        "ports": ports,
        "endpoints": endpoints,
    });
    plan.act(Action::Create { resource: ENDPOINT_SLICES, namespace: key.namespace().to_owned(), body });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(selector: Value, labels: Value, subsets: Value) -> World {
        let world = World::default();
        let metadata = json!({ "namespace": "a", "name": "db", "uid": "s" });
        let spec = json!({ "clusterIP": "10.96.0.7", "selector": selector, "ports": [{ "port": 80 }] });
        world.services.apply(serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap());
        let annotations = json!({ "kept": "y", LAST_APPLIED: "{}", TRIGGER: "2026-01-01T00:00:00Z" });
        let metadata =
            json!({ "namespace": "a", "name": "db", "uid": "e", "labels": labels, "annotations": annotations });
        world.endpoints.apply(serde_json::from_value(json!({ "metadata": metadata, "subsets": subsets })).unwrap());
        world
    }

    fn subset(addresses: Value, away: Value) -> Value {
        json!({ "addresses": addresses, "notReadyAddresses": away, "ports": [{ "port": 5432, "protocol": "TCP" }] })
    }

    fn plan(world: &World) -> Plan {
        EndpointSliceMirroring.decide(&Key::new("a", "db"), world, Timestamp::UNIX_EPOCH, None)
    }

    /// The slices that a plan makes, with the names and revisions that a server would give.
    fn made(plan: &Plan) -> Vec<EndpointSliceView> {
        let bodies = plan.steps.iter().filter_map(|it| match &it.action {
            Action::Create { body, .. } => Some(body.clone()),
            _ => None,
        });
        let named = bodies.enumerate().map(|(at, mut body)| {
            body["metadata"]["name"] = format!("db-{at}").into();
            body["metadata"]["uid"] = format!("u{at}").into();
            serde_json::from_value(body).unwrap()
        });
        named.collect()
    }

    #[test]
    fn each_family_is_mirrored_and_followed() {
        let addresses = json!([{ "ip": "10.1.2.3", "hostname": "one", "nodeName": "n" }, { "ip": "fd00::1" }]);
        let subsets = json!([subset(addresses, json!([{ "ip": "10.1.2.4" }, { "ip": "nowhere" }]))]);
        let world = world(Value::Null, json!({ "app": "db" }), subsets);
        let first = plan(&world);
        insta::assert_snapshot!(first);
        made(&first).into_iter().for_each(|it| world.slices.apply(it));
        insta::assert_snapshot!(plan(&world), @"nothing to do");
        // Another address, without the label, and none of the other family.
        let metadata = json!({ "namespace": "a", "name": "db", "uid": "e", "annotations": { "kept": "z" } });
        let subsets = json!([subset(json!([{ "ip": "10.1.2.9" }]), Value::Null)]);
        world.endpoints.apply(serde_json::from_value(json!({ "metadata": metadata, "subsets": subsets })).unwrap());
        insta::assert_snapshot!(plan(&world));
        world.endpoints.replace(Vec::new(), "9");
        insta::assert_snapshot!(plan(&world));
    }

    #[test]
    fn what_others_look_after_is_left_alone() {
        let subsets = json!([subset(json!([{ "ip": "10.1.2.3" }]), Value::Null)]);
        insta::assert_snapshot!(plan(&world(json!({ "app": "db" }), json!({}), subsets.clone())), @"nothing to do");
        let skipped = world(Value::Null, json!({ SKIP: "true" }), subsets.clone());
        insta::assert_snapshot!(plan(&skipped), @"nothing to do");
        let gone = world(Value::Null, json!({}), subsets);
        made(&plan(&gone)).into_iter().for_each(|it| gone.slices.apply(it));
        gone.services.replace(Vec::new(), "9");
        insta::assert_snapshot!(plan(&gone), @"delete endpointslices a/db-0 uid=u0");
    }

    #[test]
    fn many_addresses_take_several_slices() {
        let addresses = |from: u8| {
            (0..=1_000u32).map(|at| json!({ "ip": format!("10.{from}.{}.{}", at / 250, at % 250) })).collect()
        };
        let subsets: Vec<_> = [1, 2].into_iter().map(|it| subset(addresses(it), Value::Null)).collect();
        let world = world(Value::Null, json!({}), json!(subsets));
        let sizes = |it: &EndpointSliceView| it.endpoints.as_ref().map(Json::value).unwrap().as_array().unwrap().len();
        let slices = made(&plan(&world));
        assert_eq!(slices.iter().map(sizes).collect::<Vec<_>>(), [1_000, 1_000]);
        slices.into_iter().for_each(|it| world.slices.apply(it));
        insta::assert_snapshot!(plan(&world), @"nothing to do");
    }
}
