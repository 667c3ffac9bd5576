//! What may stand in the conversion of a definition: strategy, and where its webhook is.
//!
//! Source: `validateCustomResourceConversion` and `k8s.io/apiserver/pkg/util/webhook/validation.go`. Paths are those of Kubernetes' internal
//! form, in which the webhook's fields stand beside the strategy.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, ServiceReference, WebhookClientConfig,
};

use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;

/// The versions of ConversionReview that servers have spoken.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

const URL_FORM: &str = "; desired format: https://host[/path]";

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
        (Some(url), None) => validate_url(url, path.child("url"), errors),
        (None, Some(service)) => validate_service(service, &path.child("service"), errors),
        _ => errors.required(path.clone(), "exactly one of url or service is required"),
    }
}

/// Notes what a webhook's address may not have.
fn validate_url(url: &str, path: Path, errors: &mut Errors) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = if scheme.is_empty() { ("", rest) } else { rest.split_at(end) };
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if scheme != "https" {
        errors.invalid(path.clone(), scheme, format!("'https' is the only allowed URL scheme{URL_FORM}"));
    }
    if host.is_empty() {
        errors.invalid(path.clone(), host, format!("host must be specified{URL_FORM}"));
    }
    if let Some(user) = user {
        errors.invalid(path.clone(), user, "user information is not permitted in the URL");
    }
    let (before, fragment) = after.split_once('#').unwrap_or((after, ""));
    if !fragment.is_empty() {
        errors.invalid(path.clone(), fragment, "fragments are not permitted in the URL");
    }
    if let Some((_, query)) = before.split_once('?').filter(|(_, it)| !it.is_empty()) {
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

fn validate_service(service: &ServiceReference, path: &Path, errors: &mut Errors) {
    if service.name.is_empty() {
        errors.required(path.child("name"), "service name is required");
    }
    if service.namespace.is_empty() {
        errors.required(path.child("namespace"), "service namespace is required");
    }
    let port = i64::from(service.port.unwrap_or(0));
    let complaints: Vec<String> = name::port_number(port).into_iter().map(|it| it.to_string()).collect();
    if !complaints.is_empty() {
        errors.invalid(path.child("port"), port, format!("port is not valid: {}", complaints.join(", ")));
    }
    let Some(given) = &service.path else { return };
    let at = path.child("path");
    let Some(rest) = given.strip_prefix('/') else {
        errors.invalid(at, given, "must start with a '/'");
        return;
    };
    if rest.is_empty() {
        return;
    }
    let steps: Vec<&str> = rest.strip_suffix('/').unwrap_or(rest).split('/').collect();
    for (index, step) in steps.iter().enumerate() {
        if step.is_empty() {
            errors.invalid(at.clone(), given, format!("segment[{index}] may not be empty"));
            continue;
        }
        let complaints = name::dns1123_subdomain(step);
        for complaint in complaints {
            errors.invalid(at.clone(), given, format!("segment[{index}]: {complaint}"));
        }
    }
}
