//! Certificate requests do not stay for ever: those that are done with go after an hour, those that nobody decides on after a day.
//!
//! In: CertificateSigningRequests. Out: deletions, and when to look again. Source: `pkg/controller/certificates/cleaner`; where Kubernetes looks at all once an
//! hour, each request is looked at here when its time comes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use orlop_api::csr;
use orlop_client::Key;
use orlop_client::write::Action;

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// How long a request is kept whose certificate is issued, or that is denied.
const DECIDED_KEPT: SignedDuration = SignedDuration::from_hours(1);
/// How long a request is kept of which nobody has said anything.
const PENDING_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// The controller.
pub struct CsrCleaner;

impl Controller for CsrCleaner {
    fn name(&self) -> &'static str {
        "csrcleaner"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.requests);
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(request) = world.requests.get(key) else { return plan };
        let Some(due) = due(&request).filter(|_| request.metadata.deletion_timestamp.is_none()) else { return plan };
        if now >= due {
            plan.act(Action::Delete {
                resource: CSRS,
                key: key.clone(),
                uid: uid_of(&request.metadata).to_owned(),
                revision: None,
                grace_seconds: None,
                propagation: None,
            });
        } else {
            plan.recheck_in(Duration::try_from(now.duration_until(due)).unwrap_or_default());
        }
        plan
    }
}

/// When a request goes; none as long as it waits for its signer.
fn due(request: &RequestView) -> Option<Timestamp> {
    let conditions = request.conditions();
    if conditions.is_empty() {
        return Some(request.metadata.creation_timestamp.as_ref()?.0 + PENDING_KEPT);
    }
    let issued = request.is_issued();
    let decided = conditions.iter().filter(|it| it.type_ == "Denied" || (it.type_ == "Approved" && issued));
    let by_age = decided.filter_map(|it| Some(it.last_update_time.as_ref()?.0 + DECIDED_KEPT)).min();
    let certificate = request.status.certificate.as_ref().filter(|_| request.has("Approved"));
    let ends = certificate.and_then(|it| Timestamp::from_second(csr::not_after(&it.0).ok()?).ok());
    by_age.into_iter().chain(ends).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(status: Value, expected: &str) {
        let world = World::default();
        let metadata = json!({ "name": "a", "uid": "u", "creationTimestamp": "1970-01-01T00:00:00Z" });
        world.requests.apply(serde_json::from_value(json!({ "metadata": metadata, "status": status })).unwrap());
        let plan = |hours: i64| {
            let now = Timestamp::from_second(hours * 3600).unwrap();
            CsrCleaner.decide(&Key::new("", "a"), &world, now, None).to_string().trim_end().to_owned()
        };
        assert_eq!([plan(0), plan(2), plan(24)].join("; "), expected, "{status}");
    }

    #[test]
    fn requests_go_when_their_time_comes() {
        let gone = "delete certificatesigningrequests a uid=u";
        check(json!({}), &format!("look again in 86400s; look again in 79200s; {gone}"));
        let condition =
            |type_: &str| json!([{ "type": type_, "status": "True", "lastUpdateTime": "1970-01-01T01:00:00Z" }]);
        check(json!({ "conditions": condition("Denied") }), &format!("look again in 7200s; {gone}; {gone}"));
        check(json!({ "conditions": condition("Approved") }), "nothing to do; nothing to do; nothing to do");
        check(
            json!({ "conditions": condition("Approved"), "certificate": "eA==" }),
            &format!("look again in 7200s; {gone}; {gone}"),
        );
    }
}
