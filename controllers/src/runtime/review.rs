//! Asks the server whether somebody else may have what a write would give them.
//!
//! In: a [`ReviewWanted`]. Out: the write, told which of the choices was granted; or a conflict if none was, after which the key is decided on
//! again, ever later.

use kube::core::Request;
use orlop_client::write::{Action, Refused, WRITE_TIMEOUT};
use serde_json::{Value, json};

use crate::plan::ReviewWanted;

/// Gives `action` with the message of the choice that was granted.
///
/// # Errors
/// `Conflict` when none is, `Later` when the server does not say.
pub async fn put(wanted: &ReviewWanted, mut action: Action, client: &kube::Client) -> Result<Action, Refused> {
    for (subresource, message) in &wanted.choices {
        let attributes = json!({ "group": "certificates.k8s.io", "resource": "certificatesigningrequests",
            "verb": "create", "subresource": subresource });
        let spec = json!({ "user": wanted.user, "uid": wanted.uid, "groups": wanted.groups, "extra": wanted.extra,
            "resourceAttributes": attributes });
        let body = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec });
        let body = serde_json::to_vec(&body).map_err(|error| Refused::Later(error.to_string()))?;
        let request = Request::new("/apis/authorization.k8s.io/v1/subjectaccessreviews");
        let request = request.create(&kube::api::PostParams::default(), body);
        let request = request.map_err(|error| Refused::Later(error.to_string()))?;
        let answer = tokio::time::timeout(WRITE_TIMEOUT, client.request::<Value>(request)).await;
        let answer = answer.map_err(|_| Refused::Later("the server did not answer in time".to_owned()))?;
        let answer = answer.map_err(|error| Refused::Later(error.to_string()))?;
        if answer["status"]["allowed"] == true {
            if let Action::Sub { body, .. } = &mut action
                && let Some(condition) = body["status"]["conditions"].as_array_mut().and_then(|it| it.last_mut())
            {
                condition["message"] = (*message).into();
            }
            return Ok(action);
        }
    }
    let tried: Vec<&str> = wanted.choices.iter().map(|(subresource, _)| *subresource).collect();
    Err(Refused::Conflict(format!("recognized csr as {tried:?} but subject access review was not approved")))
}
