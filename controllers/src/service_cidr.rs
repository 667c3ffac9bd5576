//! ServiceCIDRs: one stays as long as services have addresses in it that no other has.
//!
//! In: ServiceCIDRs, IPAddresses of services, and services. Out: the finalizer `networking.k8s.io/service-cidr-finalizer` put on and taken off,
//! and the condition Ready. Addresses are handed out of the range `kubernetes`, the one that the API server was started with; others are
//! kept and protected, and not called ready, as nobody hands out of them. Services hold their addresses without an IPAddress each, so that
//! services are asked. Source: `pkg/controller/servicecidrs`.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::{Value, json};

use crate::finalizer;
use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// The range that addresses are handed out of.
const DEFAULT: &str = "kubernetes";
/// Until then somebody may hand out of a range who has not heard that it goes.
const DELETION_GRACE: SignedDuration = SignedDuration::from_secs(10);

/// The controller.
pub struct ServiceCidrs;

impl Controller for ServiceCidrs {
    fn name(&self) -> &'static str {
        "service-cidr-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        // What one range holds may pass to another, and so may hold it no more.
        let all = world.service_cidrs.clone();
        wires.on(&world.service_cidrs, move |change| {
            let going = all.list().into_iter().filter(|it| it.metadata.deletion_timestamp.is_some());
            going.map(|it| key_of(&it.metadata)).chain([change.key.clone()]).collect()
        });
        let all = world.service_cidrs.clone();
        wires.on(&world.services, move |change| {
            let was = change.old.as_ref().map(|it| &it.spec.cluster_ip);
            if was.is_none() || was == change.new.as_ref().map(|it| &it.spec.cluster_ip) {
                return Vec::new();
            }
            let going = all.list().into_iter().filter(|it| it.metadata.deletion_timestamp.is_some());
            going.map(|it| key_of(&it.metadata)).collect()
        });
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(range) = world.service_cidrs.get(key) else { return plan };
        if let Some(action) = finalizer::put_on(SERVICE_CIDRS, &range.metadata, FINALIZER) {
            plan.act(action);
            // The condition follows, on the version that this makes.
            return plan;
        }
        let Some(deleted) = &range.metadata.deletion_timestamp else {
            if key.name() == DEFAULT {
                ready(&range, "True", "", "Kubernetes Service CIDR is ready", now, &mut plan);
            }
            return plan;
        };
        if !finalizer::holds(&range.metadata, FINALIZER) {
            return plan;
        }
        if is_needed(&range, world) {
            let why = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
            ready(&range, "False", "Terminating", why, now, &mut plan);
            return plan;
        }
        match Duration::try_from(now.duration_until(deleted.0 + DELETION_GRACE)) {
            Ok(left) if !left.is_zero() => plan.recheck_in(left),
            _ => plan.act(finalizer::take_off(SERVICE_CIDRS, &range.metadata, FINALIZER)),
        }
        plan
    }
}

/// Whether some service's address is in this range and in no other.
fn is_needed(range: &ServiceCidrView, world: &World) -> bool {
    let others: Vec<IpNet> = world
        .service_cidrs
        .list()
        .iter()
        .filter(|it| it.metadata.name != range.metadata.name)
        .flat_map(|it| it.ranges())
        .collect();
    let own = range.ranges();
    if own.iter().all(|it| others.iter().any(|other| other.contains(it))) {
        return false;
    }
    let only_here =
        |it: &IpAddr| own.iter().any(|own| own.contains(it)) && !others.iter().any(|other| other.contains(it));
    world.services.list().iter().any(|it| it.spec.cluster_ip.parse().is_ok_and(|it| only_here(&it)))
}

/// Shows the condition Ready, if it says something new.
fn ready(range: &ServiceCidrView, status: &str, reason: &str, message: &str, now: Timestamp, plan: &mut Plan) {
    let standing = range.status.conditions.iter().find(|it| it.type_ == "Ready");
    let same = standing.is_some_and(|it| {
        it.status == status
            && it.reason.as_deref().unwrap_or_default() == reason
            && it.message.as_deref() == Some(message)
    });
    if same {
        return;
    }
    let since = standing.filter(|it| it.status == status).and_then(|it| it.last_transition_time.as_ref());
    let since = since.map_or_else(|| json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()), |it| json!(it));
    let condition =
        json!({ "type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": since });
    let others = range.status.conditions.iter().filter(|it| it.type_ != "Ready").map(|it| json!(it));
    let all: Vec<Value> = others.chain([condition]).collect();
    plan.act(Action::Patch {
        resource: SERVICE_CIDRS,
        key: key_of(&range.metadata),
        sub: Some("status"),
        uid: uid_of(&range.metadata).to_owned(),
        revision: range.metadata.resource_version.clone(),
        patch: json!({ "status": { "conditions": all } }),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, cidr: &str, deleted: Option<&str>) -> Value {
        let mut it = json!({ "metadata": { "name": name, "uid": name, "resourceVersion": "5", "finalizers": [FINALIZER] },
            "spec": { "cidrs": [cidr] } });
        if let Some(deleted) = deleted {
            it["metadata"]["deletionTimestamp"] = deleted.into();
        }
        it
    }

    fn plan(ranges: &[Value], address: &str, now: &str) -> String {
        let world = World::default();
        ranges.iter().for_each(|it| world.service_cidrs.apply(serde_json::from_value(it.clone()).unwrap()));
        let service =
            json!({ "metadata": { "namespace": "a", "name": "s", "uid": "s" }, "spec": { "clusterIP": address } });
        world.services.apply(serde_json::from_value(service).unwrap());
        let key = Key::new("", ranges[0]["metadata"]["name"].as_str().unwrap());
        ServiceCidrs.decide(&key, &world, now.parse().unwrap(), None).to_string()
    }

    #[test]
    fn the_range_that_is_handed_out_of_is_ready() {
        let mut new = range(DEFAULT, "10.96.0.0/12", None);
        new["metadata"]["finalizers"] = json!([]);
        let at = "2026-01-01T00:00:00Z";
        insta::assert_snapshot!(plan(&[new], "None", at), @r#"patch servicecidrs kubernetes at 5 {"metadata":{"finalizers":["networking.k8s.io/service-cidr-finalizer"]}}"#);
        insta::assert_snapshot!(plan(&[range(DEFAULT, "10.96.0.0/12", None)], "None", at), @r#"patch servicecidrs/status kubernetes at 5 {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Kubernetes Service CIDR is ready","reason":"","status":"True","type":"Ready"}]}}"#);
        insta::assert_snapshot!(plan(&[range("mine", "10.10.0.0/16", None)], "None", at), @"nothing to do");
    }

    #[test]
    fn a_range_stays_while_it_alone_has_an_address() {
        let at = |seconds: u32| format!("2026-01-01T00:00:{seconds:02}Z");
        let mine = range("mine", "10.10.0.0/16", Some(&at(0)));
        assert!(
            plan(std::slice::from_ref(&mine), "10.10.3.4", &at(30))
                .contains(r#""reason":"Terminating","status":"False""#)
        );
        insta::assert_snapshot!(plan(std::slice::from_ref(&mine), "10.11.3.4", &at(4)), @"look again in 6s");
        insta::assert_snapshot!(plan(std::slice::from_ref(&mine), "10.11.3.4", &at(10)), @r#"patch servicecidrs mine at 5 {"metadata":{"finalizers":null}}"#);
        let wider = range("wider", "10.0.0.0/8", None);
        insta::assert_snapshot!(plan(&[mine, wider], "10.10.3.4", &at(10)), @r#"patch servicecidrs mine at 5 {"metadata":{"finalizers":null}}"#);
    }
}
