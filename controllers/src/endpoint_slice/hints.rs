//! Hints of a service's endpoints: the node or the zone whose clients each is meant for.
//!
//! In: what the service asks for, `spec.trafficDistribution` or the older annotation `service.kubernetes.io/topology-mode`, and where the
//! backends and the cluster's processors are. Out: `hints` of the endpoints that are ready. Sources: KEP-3015 and KEP-4444
//! (`PreferSameZone`, `PreferClose`, `PreferSameNode`), KEP-2433 (`Auto`).

use std::collections::BTreeMap;

use orlop_api::quantity::Quantity;
use serde_json::json;

use super::backends::{Backend, ZONE};
use crate::runtime::Wires;
use crate::view::*;
use crate::world::World;

const MODE: &str = "service.kubernetes.io/topology-mode";
const OLD_MODE: &str = "service.kubernetes.io/topology-aware-hints";
/// Nodes that bear one of these run the control plane, and count for no zone.
const EXCLUDED: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// By how much more a zone's endpoints may be loaded than those of all zones are on average (KEP-2433).
const OVERLOAD_MOST: f64 = 0.2;

/// Wakes the services whose endpoints are shared among zones, when what the zones have changes.
pub fn wake_services(world: &World, wires: &Wires) {
    let services = world.services.clone();
    wires.on(&world.nodes, move |change| {
        let share = |it: &std::sync::Arc<NodeView>| share(it).map(|(zone, cpu)| (zone.to_owned(), cpu));
        if change.old.as_ref().and_then(share) == change.new.as_ref().and_then(share) {
            return Vec::new();
        }
        services.list().iter().filter(|it| is_auto(it)).map(|it| key_of(&it.metadata)).collect()
    });
}

/// Whether the service's endpoints are shared among the zones as these have processors.
fn is_auto(service: &ServiceView) -> bool {
    let mode = annotation(&service.metadata, MODE).or_else(|| annotation(&service.metadata, OLD_MODE));
    matches!(mode, Some("Auto" | "auto"))
}

/// Gives the backends of a service, which are of one family, their hints.
pub fn give(service: &ServiceView, world: &World, backends: &mut [Backend]) {
    let mut ready: Vec<_> = backends.iter_mut().filter(|it| it.ready).collect();
    if is_auto(service) {
        let zones: Vec<_> = ready.iter().map(|it| it.endpoint["zone"].as_str().map(str::to_owned)).collect();
        let meant = zones.into_iter().collect::<Option<Vec<_>>>().and_then(|it| shared(&processors(world), it));
        for (backend, zone) in ready.iter_mut().zip(meant.into_iter().flatten()) {
            backend.endpoint["hints"] = json!({ "forZones": [{ "name": zone }] });
        }
        return;
    }
    let wish = service.spec.traffic_distribution.as_deref();
    let (near, nearest) = (matches!(wish, Some("PreferClose" | "PreferSameZone")), wish == Some("PreferSameNode"));
    for it in ready {
        let name = |field: &str| it.endpoint[field].as_str().map(|it| json!([{ "name": it }]));
        let zones = name("zone").filter(|_| near || nearest).map(|it| ("forZones", it));
        let nodes = name("nodeName").filter(|_| nearest).map(|it| ("forNodes", it));
        let hints: serde_json::Map<_, _> = zones.into_iter().chain(nodes).map(|(k, v)| (k.to_owned(), v)).collect();
        if !hints.is_empty() {
            it.endpoint["hints"] = hints.into();
        }
    }
}

/// The zone that a node counts for, and its processors in thousandths.
fn share(node: &NodeView) -> Option<(&str, i64)> {
    let labels = node.metadata.labels.as_ref()?;
    let ready = node.status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
    if !ready || EXCLUDED.iter().any(|it| labels.contains_key(*it)) {
        return None;
    }
    let cpu = Quantity::parse(&node.status.allocatable.cpu).ok()?;
    Some((labels.get(ZONE)?.as_str(), cpu.milli_value_ceil())).filter(|it| it.1 > 0)
}

/// What each zone has of the processors, in thousandths.
fn processors(world: &World) -> BTreeMap<String, i64> {
    let mut zones = BTreeMap::new();
    for node in world.nodes.list() {
        if let Some((zone, cpu)) = share(&node) {
            *zones.entry(zone.to_owned()).or_default() += cpu;
        }
    }
    zones
}

/// The zone that each endpoint is meant for; `zones` are those where they are. None where no sharing keeps to [`OVERLOAD_MOST`].
fn shared(processors: &BTreeMap<String, i64>, mut zones: Vec<String>) -> Option<Vec<String>> {
    let all: i64 = processors.values().sum();
    if processors.len() < 2 || zones.len() < processors.len() {
        return None;
    }
    #[allow(clippy::cast_precision_loss)] // Far from 2⁵² endpoints or thousandths of a processor.
    let wish = |zone: &String| processors.get(zone).map_or(0.0, |it| *it as f64 / all as f64 * zones.len() as f64);
    let wished: BTreeMap<String, f64> = processors.keys().chain(&zones).map(|it| (it.clone(), wish(it))).collect();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Small and not negative.
    let least = |zone: &str| (wished[zone] / (1.0 + OVERLOAD_MOST)).ceil() as usize;
    if wished.keys().map(|it| least(it)).sum::<usize>() > zones.len() {
        return None;
    }
    let mut has: BTreeMap<&str, usize> = wished.keys().map(|it| (it.as_str(), 0)).collect();
    for zone in &zones {
        *has.get_mut(zone.as_str())? += 1;
    }
    #[allow(clippy::cast_precision_loss)]
    let surplus = |has: &BTreeMap<&str, usize>, zone: &str| has[zone] as f64 - wished[zone];
    // From where there are most too many to where there are too few, until each has its least.
    while let Some(poor) = wished.keys().find(|it| has[it.as_str()] < least(it)) {
        let giving = wished.keys().filter(|it| has[it.as_str()] > least(it));
        let rich = giving.max_by(|a, b| surplus(&has, a).total_cmp(&surplus(&has, b)))?;
        *has.get_mut(rich.as_str())? -= 1;
        *has.get_mut(poor.as_str())? += 1;
        let given = zones.iter_mut().rev().find(|it| *it == rich)?;
        given.clone_from(poor);
    }
    Some(zones)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn backend(name: &str, zone: Option<&str>, ready: bool) -> Backend {
        let mut endpoint = json!({ "nodeName": format!("node-{name}") });
        if let Some(zone) = zone {
            endpoint["zone"] = zone.into();
        }
        Backend { uid: name.into(), endpoint, ports: json!([]), ready, changed: None }
    }

    fn world(zones: &[(&str, &str)]) -> World {
        let world = World::default();
        for (at, (zone, cpu)) in zones.iter().enumerate() {
            let node = json!({ "metadata": { "name": format!("n{at}"), "labels": { ZONE: zone } },
                "status": { "allocatable": { "cpu": cpu }, "conditions": [{ "type": "Ready", "status": "True" }] } });
            world.nodes.apply(serde_json::from_value(node).unwrap());
        }
        world
    }

    fn hints(service: Value, world: &World, mut backends: Vec<Backend>) -> Vec<String> {
        give(&serde_json::from_value(service).unwrap(), world, &mut backends);
        backends.iter().map(|it| it.endpoint.get("hints").map_or_else(String::new, Value::to_string)).collect()
    }

    #[test]
    fn clients_are_kept_near() {
        let backends =
            || vec![backend("a", Some("east"), true), backend("b", Some("west"), false), backend("c", None, true)];
        let of = |wish: &str| hints(json!({ "spec": { "trafficDistribution": wish } }), &world(&[]), backends());
        let east = r#"{"forZones":[{"name":"east"}]}"#;
        assert_eq!(of("PreferClose"), [east, "", ""]);
        assert_eq!(of("PreferSameZone"), [east, "", ""]);
        let both = r#"{"forNodes":[{"name":"node-a"}],"forZones":[{"name":"east"}]}"#;
        assert_eq!(of("PreferSameNode"), [both, "", r#"{"forNodes":[{"name":"node-c"}]}"#]);
        assert_eq!(hints(json!({}), &world(&[]), backends()), ["", "", ""]);
    }

    #[test]
    fn zones_share_endpoints_as_they_have_processors() {
        let auto = json!({ "metadata": { "annotations": { MODE: "Auto" } }, "spec": { "trafficDistribution": "PreferClose" } });
        let of = |zones: &[(&str, &str)], at: &[&str]| {
            let backends = at.iter().map(|it| backend(it, Some(it), true)).collect();
            let all = hints(auto.clone(), &world(zones), backends).join(" ");
            all.replace(r#"{"forZones":[{"name":"#, "").replace("}]}", "").replace('"', "")
        };
        let even = [("a", "4"), ("b", "4000m")];
        assert_eq!(of(&even, &["a", "b"]), "a b");
        // Three of four are in one zone: the other is given one of them.
        assert_eq!(of(&even, &["a", "a", "a", "b"]), "a a b b");
        assert_eq!(of(&even, &["a", "a", "a", "a"]), "a a b b");
        // Nobody is meant for a zone without nodes.
        assert_eq!(of(&even, &["a", "b", "c", "c"]), "a b b a");
        // Too few, or too uneven for the limit; and one zone alone.
        assert_eq!(of(&even, &["a"]), "");
        assert_eq!(of(&[("a", "1"), ("b", "9")], &["a", "b"]).trim(), "");
        assert_eq!(of(&[("a", "1")], &["a", "a"]).trim(), "");
        // An endpoint whose zone is not known.
        let lost = vec![backend("a", Some("a"), true), backend("b", None, true)];
        assert_eq!(hints(auto.clone(), &world(&even), lost), ["", ""]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever there is: all endpoints are meant for a zone with nodes, and none of these has less than its least share.
        #[test]
        fn no_zone_is_overloaded(
            cpus in proptest::collection::vec(1i64..100_000, 1..6),
            places in proptest::collection::vec(0usize..7, 0..40),
        ) {
            let all: i64 = cpus.iter().sum();
            let processors: BTreeMap<String, i64> = cpus.iter().enumerate().map(|(at, it)| (at.to_string(), *it)).collect();
            let zones: Vec<_> = places.iter().map(usize::to_string).collect();
            let Some(meant) = shared(&processors, zones) else { return Ok(()) };
            prop_assert_eq!(meant.len(), places.len());
            for (zone, cpu) in &processors {
                let count = meant.iter().filter(|it| *it == zone).count();
                let fair = *cpu as f64 / all as f64 * places.len() as f64;
                prop_assert!(count as f64 * (1.0 + OVERLOAD_MOST) >= fair - 1e-9, "{count} of {fair} in {zone}");
            }
        }
    }
}
