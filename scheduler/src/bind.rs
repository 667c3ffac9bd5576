//! What the scheduler writes: bindings, and the condition that says why a pod has no node.
//!
//! Thin: nothing is chosen here. Each write has a timeout; what becomes of it is told, not retried.

use std::time::Duration;

use serde_json::json;

use crate::pod::Pod;

/// How long one write may take before it counts as failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What became of a binding.
#[derive(Debug)]
pub enum Outcome {
    /// The pod has its node.
    Bound,
    /// The pod is gone, or not the same any more.
    Gone,
    /// Its volumes could not be bound; the pod is tried again.
    Unbound(String),
    /// It failed, or nobody knows; the pod is tried again.
    Failed(String),
}

/// Binds `pod` to `node` through the API.
pub async fn bind(client: &kube::Client, pod: &Pod, node: &str) -> Outcome {
    let body = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let path = format!("/api/v1/namespaces/{}/pods/{}/binding", pod.namespace, pod.name);
    match send(client, http::Method::POST, &path, "application/json", &body).await {
        Ok(()) => Outcome::Bound,
        Err(Failure { code: Some(404), .. }) => Outcome::Gone,
        Err(failure) => Outcome::Failed(failure.text),
    }
}

/// Sets the condition `PodScheduled` to false, with the reason.
pub async fn explain(client: &kube::Client, pod: &Pod, message: &str, now: jiff::Timestamp) {
    let body = json!({
        "metadata": {"uid": pod.uid},
        "status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastTransitionTime": orlop_api::meta::whole_seconds(now).to_string(), "lastProbeTime": null,
        }]},
    });
    let path = format!("/api/v1/namespaces/{}/pods/{}/status", pod.namespace, pod.name);
    let sent = send(client, http::Method::PATCH, &path, "application/strategic-merge-patch+json", &body).await;
    if let Err(failure) = sent
        && !matches!(failure.code, Some(404 | 409))
    {
        tracing::warn!(pod = %pod.full_name(), error = failure.text, "cannot write why the pod is not scheduled");
    }
}

struct Failure {
    code: Option<u16>,
    text: String,
}

async fn send(
    client: &kube::Client,
    method: http::Method,
    path: &str,
    content: &str,
    body: &serde_json::Value,
) -> Result<(), Failure> {
    let request = http::Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, content);
    let request = request
        .body(serde_json::to_vec(body).map_err(|it| Failure { code: None, text: it.to_string() })?)
        .map_err(|it| Failure { code: None, text: it.to_string() })?;
    match tokio::time::timeout(WRITE_TIMEOUT, client.request::<serde::de::IgnoredAny>(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) => Err(Failure { code: Some(status.code), text: status.message.clone() }),
        Ok(Err(error)) => Err(Failure { code: None, text: error.to_string() }),
        Err(_) => Err(Failure { code: None, text: format!("no answer within {WRITE_TIMEOUT:?}") }),
    }
}
