//! Asks the server whether pods use something, before a write lets it go.
//!
//! In: what should be unused. Out: nothing if no pod uses it, and a conflict if one does, after which the key is decided on again. The store of
//! pods may lag and keeps little of each, and a claim that goes under a pod takes its data with it (`pvc_protection_controller.go`:
//! `askAPIServer`).

use std::ops::ControlFlow;

use kube::api::{ListParams, ObjectList, Request};
use orlop_client::write::{Refused, WRITE_TIMEOUT};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::plan::Unused;
use crate::view::{PODS, PodView, namespace_of};

/// Pods of one page: with 3 kB each, 1.5 MB.
const PAGE: u32 = 500;

/// Makes sure that no pod uses it.
///
/// # Errors
/// `Conflict` when one does, `Later` when the server does not say.
pub async fn confirm(it: &Unused, client: &kube::Client) -> Result<(), Refused> {
    let used = match it {
        Unused::Claim(claim) => any(namespace_of(claim), client, |pod: &PodView| pod.uses(claim)).await?,
        Unused::Secret(secret) => any(secret.namespace(), client, |pod: &Value| names(pod, secret.name())).await?,
    };
    if used { Err(Refused::Conflict(format!("{it} is not so"))) } else { Ok(()) }
}

/// Whether some pod of a namespace is so.
async fn any<P: Clone + DeserializeOwned>(
    namespace: &str,
    client: &kube::Client,
    is_so: impl Fn(&P) -> bool,
) -> Result<bool, Refused> {
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let request = Request::new(PODS.path(namespace)).list(&page);
        let request = request.map_err(|error| Refused::Later(error.to_string()))?;
        let answer = tokio::time::timeout(WRITE_TIMEOUT, client.request::<ObjectList<P>>(request)).await;
        let answer = answer.map_err(|_| Refused::Later("the server did not answer in time".to_owned()))?;
        let list = answer.map_err(|error| Refused::Later(error.to_string()))?;
        if list.items.iter().any(&is_so) {
            return Ok(true);
        }
        match list.metadata.continue_.filter(|it| !it.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(false),
        }
    }
}

/// Whether a pod names a secret: in a volume, a variable, or for its images (`podutil.VisitPodSecretNames`).
fn names(it: &Value, secret: &str) -> bool {
    fn look(it: &Value, secret: &str) -> ControlFlow<()> {
        match it {
            Value::Array(items) => items.iter().try_for_each(|it| look(it, secret)),
            Value::Object(fields) => fields.iter().try_for_each(|(field, value)| {
                let found = match field.as_str() {
                    "secretName" => value == secret,
                    "secret" | "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => value["name"] == secret,
                    "imagePullSecrets" => value.as_array().is_some_and(|it| it.iter().any(|it| it["name"] == secret)),
                    _ => false,
                };
                if found { ControlFlow::Break(()) } else { look(value, secret) }
            }),
            _ => ControlFlow::Continue(()),
        }
    }
    look(&it["spec"], secret).is_break()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_named_in_many_places() {
        for spec in [
            json!({ "volumes": [{ "name": "v", "secret": { "secretName": "s" } }] }),
            json!({ "volumes": [{ "name": "v", "projected": { "sources": [{ "secret": { "name": "s" } }] } }] }),
            json!({ "imagePullSecrets": [{ "name": "s" }] }),
            json!({ "initContainers": [{ "envFrom": [{ "secretRef": { "name": "s" } }] }] }),
            json!({ "containers": [{ "env": [{ "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }] }] }),
        ] {
            assert!(names(&json!({ "spec": spec }), "s"), "{spec}");
            assert!(!names(&json!({ "spec": spec }), "t"), "{spec}");
        }
        assert!(!names(&json!({ "spec": { "containers": [{ "name": "s" }] } }), "s"));
    }
}
