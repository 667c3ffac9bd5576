//! Tokens of the pod's service account, for projected volumes: asked for, bound to the pod, asked for again before they end.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use orlop_client::random;
use orlop_client::write::WRITE_TIMEOUT;
use tokio::time::Instant;

use crate::volumes::payload::{Tokens, tokens_of};

/// The part of a token's life after which it is asked for again, as the kubelet does.
const REFRESH_AT: f64 = 0.8;
/// No token is kept longer than a day, however long it would be good.
const KEPT_AT_MOST: Duration = Duration::from_secs(24 * 3600);

/// The tokens that the pod's volumes want, and when the first of them should be renewed.
///
/// # Errors
/// The API server does not issue one.
pub async fn issue(client: &kube::Client, pod: &Pod) -> Result<(Tokens, Option<Instant>), String> {
    let mut tokens = Tokens::new();
    let mut refresh: Option<Instant> = None;
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    for (audience, seconds) in tokens_of(pod) {
        let account = pod.spec.as_ref().and_then(|it| it.service_account_name.clone());
        let account = account.filter(|it| !it.is_empty()).unwrap_or_else(|| "default".into());
        let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &text(&pod.metadata.namespace));
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: Some(audience.clone()).filter(|it| !it.is_empty()).into_iter().collect(),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            },
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let asking = api.create_token_request(&account, &params, &request);
        let issued =
            tokio::time::timeout(WRITE_TIMEOUT, asking).await.map_err(|_| "the API server does not answer".to_owned());
        let issued = issued.and_then(|it| it.map_err(|it| it.to_string()));
        let status = issued.map_err(|it| format!("failed to fetch token: {it}"))?.status;
        let token =
            status.map(|it| it.token).filter(|it| !it.is_empty()).ok_or("failed to fetch token: none was issued")?;
        tokens.insert((audience, seconds), token);
        let at = Instant::now() + random::jitter(kept(seconds), 0.1);
        refresh = Some(refresh.map_or(at, |it| it.min(at)));
    }
    Ok((tokens, refresh))
}

/// How long a token of this lifetime is kept. Source: `requiresRefresh` in `pkg/kubelet/token`.
fn kept(seconds: i64) -> Duration {
    Duration::from_secs(seconds.max(60).unsigned_abs()).mul_f64(REFRESH_AT).min(KEPT_AT_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let check = |seconds: i64, expected: u64| assert_eq!(kept(seconds), Duration::from_secs(expected), "{seconds}");
        check(600, 480);
        check(3600, 2880);
        check(100_000, 80_000);
        check(31_536_000, 86_400);
    }
}
