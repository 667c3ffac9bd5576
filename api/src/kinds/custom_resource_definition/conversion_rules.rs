//! What may stand in the conversion of a definition: strategy, and where its webhook is.
//!
//! Source: `validateCustomResourceConversion`. Paths are those of Kubernetes' internal
//! form, in which the webhook's fields stand beside the strategy.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, WebhookClientConfig,
};

use crate::field::{Errors, Path};
use crate::kinds::{checks, webhook_client};
use crate::name;

/// The versions of ConversionReview that servers have spoken.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// Notes every mistake in a conversion.
pub fn validate(it: &CustomResourceConversion, old: Option<&CustomResourceDefinition>, errors: &mut Errors) {
    let path = Path::new("spec.conversion");
    checks::one_of(Some(&*it.strategy), &["None", "Webhook"], || path.child("strategy"), errors);
    let config = it.webhook.as_ref().and_then(|it| it.client_config.as_ref());
    let versions = it.webhook.as_ref().map_or(&[][..], |it| &it.conversion_review_versions);
    if it.strategy != "Webhook" {
        const UNUSED: &str = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            errors.forbidden(path.child("webhookClientConfig"), UNUSED);
        }
        if !versions.is_empty() {
            errors.forbidden(path.child("conversionReviewVersions"), UNUSED);
        }
        return;
    }
    match config {
        None => errors.required(path.child("webhookClientConfig"), "required when strategy is set to Webhook"),
        Some(config) => validate_config(config, &path.child("webhookClientConfig"), errors),
    }
    let before = old.and_then(|it| it.spec.conversion.as_ref()).and_then(|it| it.webhook.as_ref());
    let before = before.map(|it| &it.conversion_review_versions).filter(|it| !it.is_empty());
    let recognized = |it: &[String]| it.iter().any(|it| REVIEW_VERSIONS.contains(&it.as_str()));
    let path = path.child("conversionReviewVersions");
    if versions.is_empty() {
        errors.required(path, "");
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, version) in versions.iter().enumerate() {
        if !seen.insert(version) {
            errors.invalid(path.index(at), version, "duplicate version");
            continue;
        }
        for complaint in name::dns1035_label(version) {
            errors.invalid(path.index(at), version, complaint);
        }
    }
    // A definition that none of them could serve before may stay so.
    if before.is_none_or(|it| recognized(it)) && !recognized(versions) {
        errors.invalid(path, versions, "must include at least one of v1, v1beta1");
    }
}

fn validate_config(config: &WebhookClientConfig, path: &Path, errors: &mut Errors) {
    match (&config.url, &config.service) {
        (Some(url), None) => webhook_client::validate_url(url, path.child("url"), errors),
        (None, Some(it)) => {
            let service = webhook_client::Service {
                name: &it.name,
                namespace: &it.namespace,
                path: it.path.as_deref(),
                port: it.port,
            };
            webhook_client::validate_service(&service, &path.child("service"), errors);
        }
        _ => errors.required(path.clone(), "exactly one of url or service is required"),
    }
}
