//! Asks for the token that a write is to carry.
//!
//! In: a [`TokenWanted`]. Out: the patch with the token in it. The token is in no plan, no log and no memory of ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use orlop_client::write::{Action, Refused, WRITE_TIMEOUT};
use serde_json::json;

use crate::plan::TokenWanted;

/// The latest end that a TokenRequest may name: 2^32 seconds, 136 years.
const SECONDS_MOST: i64 = 1 << 32;

/// Gives `action` with the token as its `data.token`.
///
/// # Errors
/// `NotFound` when the account or the secret is gone, `Later` when the server gives no token now.
pub async fn put(wanted: &TokenWanted, mut action: Action, client: &kube::Client) -> Result<Action, Refused> {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), wanted.account.namespace());
    let bound = json!({ "kind": "Secret", "apiVersion": "v1", "name": wanted.secret, "uid": wanted.uid });
    let request = json!({ "spec": { "audiences": [], "expirationSeconds": SECONDS_MOST, "boundObjectRef": bound } });
    let request: TokenRequest = serde_json::from_value(request).map_err(|error| Refused::Later(error.to_string()))?;
    let params = PostParams::default();
    let asked = api.create_token_request(wanted.account.name(), &params, &request);
    let answer = tokio::time::timeout(WRITE_TIMEOUT, asked).await;
    let answer = match answer.map_err(|_| Refused::Later("the server did not answer in time".to_owned()))? {
        Ok(answer) => answer,
        Err(kube::Error::Api(status)) if status.code == 404 => return Err(Refused::NotFound(status.message)),
        Err(kube::Error::Api(status)) if status.code == 409 => return Err(Refused::Conflict(status.message)),
        Err(error) => return Err(Refused::Later(error.to_string())),
    };
    let token = answer.status.map(|it| it.token).filter(|it| !it.is_empty());
    let token = token.ok_or_else(|| Refused::Later("the server gave no token".to_owned()))?;
    if let Action::Patch { patch, .. } = &mut action {
        patch["data"]["token"] = STANDARD.encode(token).into();
    }
    Ok(action)
}
