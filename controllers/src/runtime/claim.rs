//! Asks the server whether a claim is used, before a write lets it go.
//!
//! In: the claim. Out: nothing if no pod on a node uses it, and a conflict if one does, after which the key is decided on again. The store of
//! pods may lag, and a claim that goes under a pod takes its data with it (`pvc_protection_controller.go`: `askAPIServer`).

use kube::api::{ListParams, ObjectList, Request};
use kube::core::ObjectMeta;
use orlop_client::write::{Refused, WRITE_TIMEOUT};

use crate::view::{PODS, PodView, namespace_of};

/// Pods of one page: with 3 kB each, 1.5 MB.
const PAGE: u32 = 500;

/// Makes sure that no pod uses the claim.
///
/// # Errors
/// `Conflict` when one does, `Later` when the server does not say.
pub async fn confirm_unused(claim: &ObjectMeta, client: &kube::Client) -> Result<(), Refused> {
    let later = |error: kube::Error| Refused::Later(error.to_string());
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let request = Request::new(PODS.path(namespace_of(claim))).list(&page);
        let request = request.map_err(|error| Refused::Later(error.to_string()))?;
        let answer = tokio::time::timeout(WRITE_TIMEOUT, client.request::<ObjectList<PodView>>(request)).await;
        let list =
            answer.map_err(|_| Refused::Later("the server did not answer in time".to_owned()))?.map_err(later)?;
        if let Some(pod) = list.items.iter().find(|it| it.uses(claim)) {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            return Err(Refused::Conflict(format!("the pod {name} uses the claim")));
        }
        match list.metadata.continue_.filter(|it| !it.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}
