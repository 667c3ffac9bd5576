//! The types of admission policies' expressions: what becomes of a ValidatingAdmissionPolicy after it is written.
//!
//! In: the table of policies, and the kinds that are served. Out: writes to the policies' status, in the way of every client: which generation was
//! looked at, and which expressions cannot be right for the objects that they judge. A policy judges meanwhile, and whatever is found. Source:
//! `pkg/controller/validatingadmissionpolicystatus`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use orlop_api::kind::Kind;
use orlop_api::kinds::policy_types::{self, Judged, TYPES_MAX};
use orlop_api::openapi::types::type_of;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cache::{Interest, Object};
use crate::core::Core;
use crate::registry;

/// As Kubernetes' controller calls itself.
const MANAGER: &str = "validatingadmissionpolicy-status";

/// How long it takes to try again after a failed write; it grows from the first to the second.
const TRY_AGAIN_MIN: Duration = Duration::from_millis(100);
const TRY_AGAIN_MAX: Duration = Duration::from_secs(30);

/// Looks at policies until `shutdown`.
pub async fn run(core: Arc<Core>, client: kube::Client, shutdown: CancellationToken) {
    let Some(kind) = registry::named("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") else { return };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = follow(&core, &client, kind) => {}
    }
}

async fn follow(core: &Core, client: &kube::Client, kind: &'static Kind) {
    let table = core.cache.table(kind);
    let mut seat = table.join(Interest::Everything);
    // The revisions that were looked at.
    let mut seen: HashMap<Box<str>, u64> = HashMap::new();
    let mut pause = TRY_AGAIN_MIN;
    loop {
        seat.mark();
        let snapshot = table.snapshot();
        seen.retain(|name, _| snapshot.iter().any(|it| it.head.name == *name));
        let mut failed = false;
        for object in snapshot.iter() {
            if seen.get(&object.head.name) == Some(&object.revision) {
                continue;
            }
            match look_at(core, client, kind, object).await {
                Ok(()) => {
                    seen.insert(object.head.name.clone(), object.revision);
                }
                Err(error) => {
                    tracing::warn!(policy = %object.head.name, %error, "a policy's status could not be written; trying again");
                    failed = true;
                }
            }
        }
        if !failed {
            pause = TRY_AGAIN_MIN;
        }
        tokio::select! {
            more = seat.changed() => if !more { return },
            () = tokio::time::sleep(pause), if failed => pause = (pause * 2).min(TRY_AGAIN_MAX),
        }
    }
}

/// Checks a policy's expressions, if that has not been done, and writes what was found.
async fn look_at(core: &Core, client: &kube::Client, kind: &Kind, object: &Object) -> Result<(), kube::Error> {
    let Ok(policy) = serde_json::from_slice::<ValidatingAdmissionPolicy>(&object.json) else { return Ok(()) };
    let generation = policy.metadata.generation.unwrap_or_default();
    let observed = policy.status.as_ref().and_then(|it| it.observed_generation).unwrap_or_default();
    if generation <= observed || object.head.deleting {
        return Ok(());
    }
    let name = &object.head.name;
    let status = json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": name},
        "status": {"observedGeneration": generation, "typeChecking": found(core, &policy)},
    });
    let place = format!("/apis/{}/{}/{}/{name}/status", kind.group, kind.version, kind.names.plural);
    let request = http::Request::patch(format!("{place}?fieldManager={MANAGER}&force=true"))
        .header(CONTENT_TYPE, "application/apply-patch+yaml")
        .body(status.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    match client.request::<Value>(request).await {
        // Gone, or changed meanwhile: the table shows it.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        outcome => outcome.map(drop),
    }
}

fn found(core: &Core, policy: &ValidatingAdmissionPolicy) -> Value {
    let Some(spec) = &policy.spec else { return json!({}) };
    let kinds = core.cache.registry().kinds();
    let named = policy_types::named(spec);
    let mut judged: Vec<&'static Kind> = named.iter().filter_map(|it| kinds.find(&it.0, &it.1, &it.2)).collect();
    judged.sort_by_key(|it| (it.group, it.version, it.kind));
    judged.dedup_by_key(|it| (it.group, it.version, it.kind));
    judged.truncate(TYPES_MAX);
    let judged: Vec<Judged> = judged
        .into_iter()
        .map(|it| Judged { name: format!("{}/{}, Kind={}", it.group, it.version, it.kind), of: type_of(it) })
        .collect();
    let params = spec.param_kind.as_ref().and_then(|it| {
        let api_version = it.api_version.as_deref().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        kinds.of(group, version, it.kind.as_deref().unwrap_or_default()).map(type_of)
    });
    let warnings = policy_types::warnings(spec, &judged, params.as_ref());
    if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) }
}
