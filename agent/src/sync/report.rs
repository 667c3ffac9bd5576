//! Reporting a pod's status: one write at a time, always the newest, only on the version that it was computed from.
//!
//! A write that meets another one's change is dropped: the change comes by watch and the status is computed anew.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use orlop_client::View;
use orlop_client::random;
use orlop_client::write::WRITE_TIMEOUT;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::host::Host;

/// After a conflict the watch is a moment away.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);
/// The waits after failures: doubling from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What came of a write.
pub enum Reported {
    Written(Box<Pod>),
    /// Someone else wrote in between, or the pod is gone.
    Overtaken,
    Failed(String),
}

/// The state of one pod's reporting.
#[derive(Debug, Default)]
pub struct Report {
    writing: bool,
    failures: u32,
    not_before: Option<Instant>,
}

impl Report {
    /// The write that brings the API's status to `status`, if one is due now.
    pub fn write(
        &mut self,
        host: &Arc<Host>,
        pod: &Arc<Pod>,
        status: &PodStatus,
    ) -> Option<BoxFuture<'static, Reported>> {
        if self.writing || self.not_before.is_some_and(|it| it > Instant::now()) {
            return None;
        }
        let patch = patch(pod, status)?;
        self.writing = true;
        self.not_before = None;
        let client = host.client.clone();
        let pod = Arc::clone(pod);
        Some(Box::pin(async move {
            let api: Api<Pod> = Api::namespaced(client, pod.metadata.namespace.as_deref().unwrap_or_default());
            let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
            let writing = api.patch_status(pod.metadata.name.as_deref().unwrap_or_default(), &params, &patch);
            match tokio::time::timeout(WRITE_TIMEOUT, writing).await {
                Ok(Ok(it)) => Reported::Written(Box::new(it)),
                Ok(Err(kube::Error::Api(it))) if it.code == 409 || it.code == 404 => Reported::Overtaken,
                Ok(Err(error)) => Reported::Failed(error.to_string()),
                Err(_) => Reported::Failed("the API server does not answer".into()),
            }
        }))
    }

    /// Takes in what came of it; gives the pod as it was written.
    pub fn written(&mut self, it: Reported) -> Option<Arc<Pod>> {
        self.writing = false;
        match it {
            Reported::Written(mut pod) => {
                self.failures = 0;
                // As the store has it: without who wrote which field.
                pod.slim();
                Some(Arc::new(*pod))
            }
            Reported::Overtaken => {
                self.not_before = Some(Instant::now() + AFTER_CONFLICT);
                None
            }
            Reported::Failed(why) => {
                tracing::debug!(why, "a pod's status could not be written");
                let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(5)).min(LONGEST_WAIT);
                self.failures = self.failures.saturating_add(1);
                self.not_before = Some(Instant::now() + random::jitter(wait, 0.5));
                None
            }
        }
    }

    /// When a write that was put off is due.
    pub fn retry_in(&self) -> Option<Duration> {
        self.not_before.map(|it| it.saturating_duration_since(Instant::now()))
    }
}

/// The merge patch from the pod's status to `status`; none where they say the same.
fn patch(pod: &Pod, status: &PodStatus) -> Option<Value> {
    let old = plain(serde_json::to_value(pod.status.as_ref()).ok()?);
    let mut new = plain(serde_json::to_value(status).ok()?);
    if old == new {
        return None;
    }
    // What is no longer said must be taken back.
    if let (Some(old), Some(new)) = (old.as_object(), new.as_object_mut()) {
        for key in old.keys() {
            new.entry(key.clone()).or_insert(Value::Null);
        }
    }
    let meta = &pod.metadata;
    Some(json!({ "metadata": { "uid": meta.uid, "resourceVersion": meta.resource_version }, "status": new }))
}

/// A value without what says nothing: nulls and empty objects.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(it) => Value::Object(
            it.into_iter()
                .map(|(key, value)| (key, plain(value)))
                .filter(|(_, value)| !value.is_null() && value.as_object().is_none_or(|it| !it.is_empty()))
                .collect(),
        ),
        Value::Array(it) => Value::Array(it.into_iter().map(plain).collect()),
        it => it,
    }
}

/// The pod's resource version as the number it is (KEP-5504).
pub fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|it| it.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_only_what_changed_and_takes_back_what_is_gone() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": "u", "resourceVersion": "7"}, "status": {"phase": "Pending", "reason": "R"}
        }))
        .unwrap();
        let same = PodStatus { phase: Some("Pending".into()), reason: Some("R".into()), ..PodStatus::default() };
        assert_eq!(patch(&pod, &same), None);
        let new = PodStatus { phase: Some("Running".into()), ..PodStatus::default() };
        let expected =
            json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "status": {"phase": "Running", "reason": null}});
        assert_eq!(patch(&pod, &new), Some(expected));
    }
}
