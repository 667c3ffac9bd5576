//! An admission webhook written with kube-rs: it changes and refuses objects of a derived type.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{DeleteParams, PostParams};
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use kube::{Api, Client, ResourceExt};
use orlop_e2e::hooks::{Hooks, Reply};
use serde_json::{Value, json};

use crate::typed::{Paint, paint};

/// How long the configurations may take to be heard of.
const LIMIT: Duration = Duration::from_secs(30);

/// Marks paints that are made, refuses those that nobody could see.
fn answer(path: &str, review: &Value) -> Reply {
    let failed = |error: String| Reply::Text(400, error);
    let review: AdmissionReview<Paint> = match serde_json::from_value(review.clone()) {
        Ok(review) => review,
        Err(error) => return failed(format!("the review cannot be read: {error}")),
    };
    let request: AdmissionRequest<Paint> = match review.try_into() {
        Ok(request) => request,
        Err(_) => return failed("there is no request in the review".to_owned()),
    };
    let mut response = AdmissionResponse::from(&request);
    if let Some(object) = &request.object {
        if path == "/mutate" && request.operation == Operation::Create {
            let by = request.user_info.username.clone().unwrap_or_default();
            let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"made-by": by}},
                {"op": "replace", "path": "/spec/color", "value": object.spec.color.to_lowercase()}]);
            let patched = serde_json::from_value(patch)
                .map_err(|error| error.to_string())
                .and_then(|patch| response.clone().with_patch(patch).map_err(|error| error.to_string()));
            response = match patched {
                Ok(response) => response,
                Err(error) => return failed(error),
            };
        }
        if path == "/validate" && object.spec.color == "invisible" {
            response = response.deny(format!("{} would be invisible", object.name_any()));
        }
    }
    let review: AdmissionReview<DynamicObject> = response.into_review();
    serde_json::to_value(review).map_or_else(|error| failed(error.to_string()), Reply::Json)
}

fn webhook(hooks: &Hooks, path: &str) -> Value {
    json!([{
        "name": format!("{}.kube-rs.example.com", &path[1..]), "clientConfig": hooks.client(path), "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": ["kube-rs.example.com"], "apiVersions": ["v1"], "resources": ["paints"]}],
    }])
}

/// Registers the webhook by its typed configurations; objects are changed and refused by what it says.
pub async fn judged(client: &Client, paints: &Api<Paint>) -> Result<()> {
    let hooks = Hooks::start(answer)?;
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let meta = json!({"name": "kube-rs"});
    let it = serde_json::from_value(json!({"metadata": meta, "webhooks": webhook(&hooks, "/mutate")}))?;
    mutating.create(&PostParams::default(), &it).await?;
    let it = serde_json::from_value(json!({"metadata": meta, "webhooks": webhook(&hooks, "/validate")}))?;
    validating.create(&PostParams::default(), &it).await?;

    let tried = PostParams { dry_run: true, ..PostParams::default() };
    let heard = async {
        loop {
            match paints.create(&tried, &paint("x", "Invisible")).await {
                Err(kube::Error::Api(it)) if it.code == 400 => return anyhow::Ok(it.message),
                Err(error) => bail!(error),
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let message = tokio::time::timeout(LIMIT, heard).await??;
    // The judge has seen what the other has changed.
    ensure!(
        message == "admission webhook \"validate.kube-rs.example.com\" denied the request: x would be invisible",
        "{message}"
    );
    let made = paints.create(&PostParams::default(), &paint("y", "RED")).await?;
    ensure!(made.spec.color == "red", "{made:?}");
    ensure!(made.labels().get("made-by").map(String::as_str) == Some("kubernetes-admin"), "{made:?}");
    let mut changed = made.clone();
    changed.spec.color = "invisible".to_owned();
    match paints.replace("y", &PostParams::default(), &changed).await {
        Err(kube::Error::Api(it)) if it.message.ends_with("y would be invisible") => {}
        other => bail!("it should be refused: {other:?}"),
    }
    mutating.delete("kube-rs", &DeleteParams::default()).await?;
    validating.delete("kube-rs", &DeleteParams::default()).await?;
    paints.delete("y", &DeleteParams::default()).await?;
    Ok(())
}
