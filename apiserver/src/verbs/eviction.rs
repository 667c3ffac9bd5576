//! Evictions: a pod is deleted, unless a PodDisruptionBudget needs it.
//!
//! `POST pods/<name>/eviction` with an Eviction. A budget that allows a disruption is counted down by compare-and-set before the pod goes, and
//! the pod noted in it, so that two evictions never take the same allowance. `kubectl drain` asks in this way. Source:
//! `pkg/registry/core/pod/storage/eviction.go`.

use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use orlop_api::kind::{Body, Kind, Part, Sub};
use orlop_api::selector::label;
use orlop_api::status::{self, Cause, Reason, Status};
use orlop_client::clock;
use serde::Deserialize;
use serde_json::{Value, json};

use super::content;
use super::delete::decide::Options;
use super::delete::delete_one;
use crate::aside::{self, Aside};
use crate::cache::Object;
use crate::commit::{Change, Writer};
use crate::core::Core;
use crate::present::{self, Response};
use crate::registry;
use crate::stage::{Authorized, Operation};

/// How many evicted pods a budget may have that the disruption controller has not seen go.
const DISRUPTED_PODS_MAX: usize = 2000;
/// How often an eviction looks again when the pod has changed meanwhile (`EvictionsRetry`).
const RETRIES_MAX: usize = 20;
/// When a client may try again while the controller has not seen the budget, in seconds.
const RETRY_SECONDS: u32 = 10;
const VIOLATION: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Evicts a pod.
///
/// # Errors
/// `NotFound`, `TooManyRequests` with the cause `DisruptionBudget`, `Conflict` for preconditions that do not hold.
pub async fn create(core: &Core, it: &Authorized, body: &[u8]) -> status::Result<Response> {
    let request = it.request();
    let pods: &'static Kind = registry::named("", "Pod").ok_or_else(Status::no_such_path)?;
    let eviction = content::value_of(request, "Eviction", "policy/v1", body)?;
    if eviction["metadata"]["name"].as_str().unwrap_or_default() != request.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let aside = Aside::new("policy/v1", "Eviction", Sub::Eviction, eviction);
    let warnings = aside::admit(&core.plugins, it, pods, &request.name, Operation::Create, &aside).await?;
    let eviction = aside.object.into_inner();
    let (options, tried) = match &eviction["deleteOptions"] {
        Value::Null => (Options::default(), false),
        given => Options::read(given)?,
    };
    options.check()?;
    let (mut writer, mut teller) = (Writer::new(core, it, pods, None), Writer::new(core, it, pods, Some(Sub::Status)));
    writer.dry_run |= tried;
    teller.by_server = true;
    evict(core, it, &Pod { writer, teller }, &options).await?;
    let answer = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    let answer = answer.to_string().into();
    let mut response = present::encoded(StatusCode::CREATED, answer, &request.accept, request.options.pretty)?;
    present::warn(response.headers_mut(), &warnings);
    Ok(response)
}

/// The pod that is to go.
struct Pod<'a> {
    writer: Writer<'a>,
    /// Writes its status.
    teller: Writer<'a>,
}

impl Pod<'_> {
    /// Says in the pod's status why it goes, which is what jobs and others tell a disruption by, and deletes it.
    async fn remove(&self, options: &Options) -> status::Result<()> {
        let mut options = options.clone();
        if !self.writer.dry_run {
            let now = orlop_api::meta::whole_seconds(clock::now()).to_string();
            let written = self.teller.update(Part::Status, &Target { options: &options, now }).await?;
            // It is another version now, by our own hand.
            options.resource_version = options.resource_version.map(|_| written.revision.to_string());
        }
        delete_one(&self.writer, &options).await.map(|_| ())
    }
}

async fn evict(core: &Core, it: &Authorized, pod: &Pod<'_>, options: &Options) -> status::Result<()> {
    let asked_for_version = options.resource_version.is_some();
    let at = |version: String| Options { resource_version: Some(version), ..options.clone() };
    for _ in 0..RETRIES_MAX {
        let stands = pod.writer.fresh().await?;
        let value = stands.value();
        let phase = value["status"]["phase"].as_str().unwrap_or_default();
        let ended = matches!(phase, "Succeeded" | "Failed") || stands.head.deleting;
        if !ended && phase != "Pending" {
            break;
        }
        // It serves nobody, so that no budget counts it; but one that is only about to begin must not have begun.
        let narrowed = if ended || asked_for_version { options.clone() } else { at(stands.revision.to_string()) };
        match pod.remove(&narrowed).await {
            Err(refusal) if refusal.reason == Reason::Conflict && !asked_for_version => {}
            outcome => return outcome,
        }
    }
    let stands = pod.writer.fresh().await?;
    let value = stands.value();
    core.catch_up().await?;
    let budgets = budgets_of(core, pod.writer.namespace, &stands);
    let budget = match budgets.as_slice() {
        [] => return pod.remove(options).await,
        [budget] => budget,
        _ => {
            let text =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::new(Reason::InternalError, text));
        }
    };
    let name = budget.head.name.to_string();
    if spares(&value, &budget.value()) {
        // It must not have become ready since.
        let narrowed = if asked_for_version { options.clone() } else { at(stands.revision.to_string()) };
        return match pod.remove(&narrowed).await {
            Err(refusal) if refusal.reason == Reason::Conflict && !asked_for_version => Err(still_processed(&name)),
            outcome => outcome,
        };
    }
    let kind = registry::named("policy", "PodDisruptionBudget").ok_or_else(Status::no_such_path)?;
    let mut writer = Writer::new(core, it, kind, Some(Sub::Status));
    writer.name = &name;
    writer.dry_run = pod.writer.dry_run;
    let now = orlop_api::meta::whole_seconds(clock::now()).to_string();
    writer.by_server = true;
    writer.update(Part::Status, &Disruption { pod: pod.writer.name.to_owned(), now }).await?;
    pod.remove(options).await
}

/// The budgets that select a pod. An empty selector selects all, and none at all nothing.
fn budgets_of(core: &Core, namespace: &str, pod: &Object) -> Vec<std::sync::Arc<Object>> {
    let Some(kind) = registry::named("policy", "PodDisruptionBudget") else { return Vec::new() };
    let prefix = format!("{}{namespace}/", kind.prefix());
    let snapshot = core.cache.table(kind).snapshot();
    let selects = |budget: &Object| {
        let selector = Option::<LabelSelector>::deserialize(&budget.value()["spec"]["selector"]);
        let selector = selector.ok().flatten().map(|it| label::Selector::from_label_selector(&it));
        selector.is_some_and(|it| it.is_ok_and(|it| it.matches(&pod.head.labels)))
    };
    snapshot.range(&prefix, None).filter(|it| selects(it)).cloned().collect()
}

/// Whether a pod may go without being counted: it is not ready, and the budget says that such pods may always go, or has what it needs.
fn spares(pod: &Value, budget: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True");
    if ready {
        return false;
    }
    if budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" {
        return true;
    }
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0
}

fn too_many(name: &str, seconds: u32, why: String) -> Status {
    tracing::debug!(budget = name, %why, "an eviction was refused");
    let mut status = Status::too_many_requests(VIOLATION, seconds);
    let cause = Cause { reason: "DisruptionBudget".to_owned(), message: why, field: String::new() };
    status.details.get_or_insert_default().causes.push(cause);
    status
}

fn still_processed(name: &str) -> Status {
    too_many(name, RETRY_SECONDS, format!("The disruption budget {name} is still being processed by the server."))
}

/// Why a budget lets no pod go.
fn why_none(name: &str, status: &Value) -> String {
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let (needs, has) = (count("desiredHealthy"), count("currentHealthy"));
    let condition = status["conditions"].as_array().into_iter().flatten().find(|it| it["type"] == "DisruptionAllowed");
    let told = condition.filter(|it| it["status"] == "False").map(|it| {
        let text = |field: &str| it[field].as_str().unwrap_or_default();
        (text("reason"), text("message"))
    });
    let refused = format!("The disruption budget {name} does not allow evicting pods currently");
    match told.filter(|(_, message)| !message.is_empty()) {
        // The counts are not to be trusted then.
        Some(("SyncFailed", message)) => format!("{refused} because it failed sync: {message}"),
        _ if has <= needs => format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently"),
        Some((reason, message)) => format!("{refused} ({reason}): {message}"),
        None => refused,
    }
}

/// Says in the status of a pod, which must be the one that is meant, that it is evicted.
struct Target<'o> {
    options: &'o Options,
    now: String,
}

impl Change for Target<'_> {
    fn apply<'a>(&'a self, old: &Object) -> status::Result<Body<'a>> {
        let mut pod = old.value();
        let refuse = |why: String| Err(Status::conflict("", "Pod", &old.head.name, &why));
        let (uid, version) = (&*old.head.uid, old.revision.to_string());
        if let Some(wanted) = self.options.uid.as_ref().filter(|it| !it.is_empty() && **it != uid) {
            return refuse(format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            ));
        }
        if let Some(wanted) = self.options.resource_version.as_ref().filter(|it| !it.is_empty() && **it != version) {
            return refuse(format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
            ));
        }
        let mut condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastTransitionTime": self.now,
        });
        if let Some(generation) = pod["metadata"]["generation"].as_i64() {
            condition["observedGeneration"] = generation.into();
        }
        let conditions = &mut pod["status"]["conditions"];
        if !conditions.is_array() {
            *conditions = json!([]);
        }
        if let Some(conditions) = conditions.as_array_mut() {
            match conditions.iter_mut().find(|it| it["type"] == condition["type"]) {
                Some(standing) => {
                    if standing["status"] == condition["status"] {
                        condition["lastTransitionTime"] = standing["lastTransitionTime"].take();
                    }
                    *standing = condition;
                }
                None => conditions.push(condition),
            }
        }
        if let Some(metadata) = pod["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        Ok(Body::Value(pod))
    }
}

/// Takes one disruption of those that a budget allows.
struct Disruption {
    pod: String,
    now: String,
}

impl Change for Disruption {
    fn apply<'a>(&'a self, old: &Object) -> status::Result<Body<'a>> {
        let mut budget = old.value();
        let name = &*old.head.name;
        let forbidden = |why: &str| Err(Status::forbidden("policy", "poddisruptionbudget", name, why));
        let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
        if count("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
            return Err(still_processed(name));
        }
        let allowed = count("disruptionsAllowed");
        if allowed < 0 {
            return forbidden("pdb disruptions allowed is negative");
        }
        if budget["status"]["disruptedPods"].as_object().is_some_and(|it| it.len() > DISRUPTED_PODS_MAX) {
            return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
        }
        if allowed == 0 {
            return Err(too_many(name, 0, why_none(name, &budget["status"])));
        }
        let status = &mut budget["status"];
        status["disruptionsAllowed"] = (allowed - 1).into();
        status["disruptedPods"][&self.pod] = self.now.as_str().into();
        if allowed == 1
            && let Some(condition) =
                status["conditions"].as_array_mut().into_iter().flatten().find(|it| it["type"] == "DisruptionAllowed")
        {
            condition["status"] = "False".into();
            condition["reason"] = "InsufficientPods".into();
            condition["lastTransitionTime"] = self.now.as_str().into();
        }
        if let Some(metadata) = budget["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        Ok(Body::Value(budget))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn take(status: Value) -> Result<Value, (u16, String)> {
        let kind = registry::named("policy", "PodDisruptionBudget").unwrap();
        let budget = json!({ "metadata": { "name": "b", "namespace": "d", "generation": 1, "resourceVersion": "7" },
            "status": status });
        let json = serde_json::to_vec(&budget).unwrap();
        let object = Object::served(kind, "/registry/poddisruptionbudgets/d/b".into(), 7, json.into()).unwrap();
        let disruption = Disruption { pod: "web".to_owned(), now: "2026-01-01T00:00:00Z".to_owned() };
        match disruption.apply(&object) {
            Ok(Body::Value(value)) => Ok(value["status"].clone()),
            Ok(_) => panic!("a value"),
            Err(refusal) => {
                Err((refusal.code(), refusal.details.unwrap().causes.pop().map_or(refusal.message, |it| it.message)))
            }
        }
    }

    #[test]
    fn an_allowance_is_taken_once() {
        let condition = json!([{ "type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods" }]);
        let left = take(json!({ "observedGeneration": 1, "disruptionsAllowed": 1, "conditions": condition })).unwrap();
        assert_eq!(left["disruptionsAllowed"], 0);
        assert_eq!(left["disruptedPods"]["web"], "2026-01-01T00:00:00Z");
        assert_eq!(left["conditions"][0]["status"], "False");
        let (code, why) =
            take(json!({ "observedGeneration": 1, "desiredHealthy": 2, "currentHealthy": 2 })).unwrap_err();
        assert_eq!((code, why.as_str()), (429, "The disruption budget b needs 2 healthy pods and has 2 currently"));
        let (code, why) = take(json!({ "disruptionsAllowed": 5 })).unwrap_err();
        assert_eq!((code, why.as_str()), (429, "The disruption budget b is still being processed by the server."));
        assert_eq!(take(json!({ "observedGeneration": 1, "disruptionsAllowed": -1 })).unwrap_err().0, 403);
    }

    #[test]
    fn a_budget_tells_why_it_refuses() {
        let failed = |reason: &str| json!([{ "type": "DisruptionAllowed", "status": "False", "reason": reason, "message": "no such kind" }]);
        for (status, expected) in [
            (json!({ "desiredHealthy": 2, "currentHealthy": 1 }), "needs 2 healthy pods and has 1 currently"),
            (
                json!({ "conditions": failed("SyncFailed") }),
                "does not allow evicting pods currently because it failed sync: no such kind",
            ),
            (
                json!({ "currentHealthy": 1, "conditions": failed("InsufficientPods") }),
                "does not allow evicting pods currently (InsufficientPods): no such kind",
            ),
            (json!({ "currentHealthy": 1 }), "does not allow evicting pods currently"),
        ] {
            assert_eq!(why_none("b", &status), format!("The disruption budget b {expected}"));
        }
    }

    #[test]
    fn a_pod_says_that_it_is_evicted() {
        let kind = registry::named("", "Pod").unwrap();
        let target = |status: Value, options: &Options| {
            let pod = json!({ "metadata": { "name": "p", "namespace": "d", "uid": "u", "generation": 3, "resourceVersion": "7" },
                "status": status });
            let json = serde_json::to_vec(&pod).unwrap();
            let object = Object::served(kind, "/registry/pods/d/p".into(), 7, json.into()).unwrap();
            match (Target { options, now: "2026-01-01T00:00:00Z".to_owned() }).apply(&object) {
                Ok(Body::Value(value)) => Ok(value["status"]["conditions"].clone()),
                Ok(_) => panic!("a value"),
                Err(refusal) => Err(refusal.message),
            }
        };
        let told = |since: &str| {
            json!([{ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastTransitionTime": since, "observedGeneration": 3 }])
        };
        assert_eq!(target(Value::Null, &Options::default()), Ok(told("2026-01-01T00:00:00Z")));
        let before = json!({ "conditions": told("2025-01-01T00:00:00Z") });
        assert_eq!(target(before, &Options::default()), Ok(told("2025-01-01T00:00:00Z")));
        let other = Options { uid: Some("v".to_owned()), ..Options::default() };
        assert_eq!(
            target(Value::Null, &other).unwrap_err(),
            "Operation cannot be fulfilled on Pod \"p\": the UID in the precondition (v) does not match the UID in record (u). The object might have been deleted and then recreated"
        );
        let other = Options { resource_version: Some("6".to_owned()), ..Options::default() };
        assert_eq!(
            target(Value::Null, &other).unwrap_err(),
            "Operation cannot be fulfilled on Pod \"p\": the ResourceVersion in the precondition (6) does not match the ResourceVersion in record (7). The object might have been modified"
        );
    }

    #[test]
    fn pods_that_are_not_ready_count_for_nothing() {
        let pod = |ready: &str| json!({ "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
        let budget = |healthy: i64, policy: &str| {
            json!({ "spec": { "unhealthyPodEvictionPolicy": policy },
                "status": { "currentHealthy": healthy, "desiredHealthy": 1 } })
        };
        assert!(!spares(&pod("True"), &budget(5, "AlwaysAllow")));
        assert!(spares(&pod("False"), &budget(1, "IfHealthyBudget")));
        assert!(!spares(&pod("False"), &budget(0, "IfHealthyBudget")));
        assert!(spares(&pod("False"), &budget(0, "AlwaysAllow")));
    }
}
