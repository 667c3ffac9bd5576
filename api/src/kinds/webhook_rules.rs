//! What webhooks and policies of admission have in common: what they are called for, and where.
//!
//! Source: `pkg/apis/admissionregistration/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{MatchCondition, WebhookClientConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::cel::types::Type;
use crate::cel::{Environment, Program, functions};
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;
use crate::selector::label;

/// How many match conditions a webhook or policy may have.
const CONDITIONS_MAX: usize = 64;
const URL_FORM: &str = "; desired format: https://host[:port]/path";

/// The lists of a rule.
pub struct Rule<'a> {
    pub operations: &'a [String],
    pub groups: &'a [String],
    pub versions: &'a [String],
    pub resources: &'a [String],
    pub scope: Option<&'a str>,
}

/// One webhook of either kind.
pub struct Webhook<'a> {
    pub name: &'a str,
    pub rules: Vec<Rule<'a>>,
    pub client: &'a WebhookClientConfig,
    pub failure_policy: Option<&'a str>,
    pub match_policy: Option<&'a str>,
    pub side_effects: &'a str,
    pub timeout_seconds: Option<i32>,
    pub versions: &'a [String],
    pub namespace_selector: Option<&'a LabelSelector>,
    pub object_selector: Option<&'a LabelSelector>,
    pub conditions: &'a [MatchCondition],
}

/// The variables that expressions of admission may use; `with_params` are those of policies that have parameters.
pub fn environment(with_params: bool) -> Environment {
    let mut it = Environment::new()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", Type::Dyn)
        .with("namespaceObject", Type::Dyn)
        .with("authorizer", Type::Opaque(functions::AUTHORIZER))
        .with("authorizer.requestResource", Type::Opaque(functions::RESOURCE_CHECK));
    if with_params {
        it = it.with("params", Type::Dyn);
    }
    it
}

/// Notes every mistake in a list of webhooks.
pub fn validate_webhooks(webhooks: &[Webhook<'_>], errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (at, it) in webhooks.iter().enumerate() {
        let path = Path::new("webhooks").index(at);
        validate_webhook(it, &path, errors);
        if !names.insert(it.name) {
            errors.duplicate(path.child("name"), it.name);
        }
    }
}

fn validate_webhook(it: &Webhook<'_>, path: &Path, errors: &mut Errors) {
    if it.versions.is_empty() {
        errors.required(path.child("admissionReviewVersions"), "must specify one of v1, v1beta1");
    } else if !it.versions.iter().any(|it| matches!(it.as_str(), "v1" | "v1beta1")) {
        errors.invalid(path.child("admissionReviewVersions"), it.versions, "must include at least one of v1, v1beta1");
    }
    validate_full_name(it.name, &path.child("name"), errors);
    for (at, rule) in it.rules.iter().enumerate() {
        validate_rule(rule, &path.child("rules").index(at), errors);
    }
    validate_policies(it.failure_policy, it.match_policy, path, errors);
    if !matches!(it.side_effects, "None" | "NoneOnDryRun") {
        if it.side_effects.is_empty() {
            errors.required(path.child("sideEffects"), "must specify one of None, NoneOnDryRun");
        } else {
            errors.not_supported(path.child("sideEffects"), it.side_effects, &["None", "NoneOnDryRun"]);
        }
    }
    if it.timeout_seconds.is_some_and(|it| !(1..=30).contains(&it)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(path.child("timeoutSeconds"), it.timeout_seconds, why);
    }
    validate_selectors(it.namespace_selector, it.object_selector, path, errors);
    validate_client(it.client, &path.child("clientConfig"), errors);
    validate_conditions(it.conditions, false, &path.child("matchConditions"), errors);
}

/// Notes an unknown failure or match policy.
pub fn validate_policies(failure: Option<&str>, matching: Option<&str>, path: &Path, errors: &mut Errors) {
    checks::none_or_one_of(failure, &["Fail", "Ignore"], || path.child("failurePolicy"), errors);
    checks::none_or_one_of(matching, &["Equivalent", "Exact"], || path.child("matchPolicy"), errors);
}

/// Notes the mistakes of the two selectors.
pub fn validate_selectors(
    namespaces: Option<&LabelSelector>,
    objects: Option<&LabelSelector>,
    path: &Path,
    errors: &mut Errors,
) {
    for (field, selector) in [("namespaceSelector", namespaces), ("objectSelector", objects)] {
        if let Some(selector) = selector {
            label::validate(selector, &path.child(field), errors);
        }
    }
}

fn validate_full_name(text: &str, path: &Path, errors: &mut Errors) {
    if text.is_empty() {
        return errors.required(path.clone(), "");
    }
    let complaints = name::dns1123_subdomain(text);
    for complaint in &complaints {
        errors.invalid(path.clone(), text, complaint.as_str());
    }
    if complaints.is_empty() && text.split('.').count() < 3 {
        errors.invalid(path.clone(), text, "should be a domain with at least three segments separated by dots");
    }
}

/// Notes every mistake in a rule.
pub fn validate_rule(rule: &Rule<'_>, path: &Path, errors: &mut Errors) {
    let lists = [
        ("operations", rule.operations, "operations"),
        ("apiGroups", rule.groups, "API groups"),
        ("apiVersions", rule.versions, "API versions"),
    ];
    for (field, values, what) in lists {
        let at = path.child(field);
        if values.is_empty() {
            errors.required(at.clone(), "");
        }
        if values.len() > 1 && values.iter().any(|it| it == "*") {
            errors.invalid(at, values, format!("if '*' is present, must not specify other {what}"));
        }
    }
    for (at, operation) in rule.operations.iter().enumerate() {
        let known = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
        checks::none_or_one_of(Some(operation), known, || path.child("operations").index(at), errors);
    }
    for (at, _) in rule.versions.iter().enumerate().filter(|(_, it)| it.is_empty()) {
        errors.required(path.child("apiVersions").index(at), "");
    }
    validate_resources(rule.resources, &path.child("resources"), errors);
    checks::none_or_one_of(rule.scope, &["*", "Cluster", "Namespaced"], || path.child("scope"), errors);
}

fn validate_resources(resources: &[String], path: &Path, errors: &mut Errors) {
    if resources.is_empty() {
        errors.required(path.clone(), "");
    }
    let (mut whole, mut of_any) = (BTreeSet::new(), BTreeSet::new());
    for (at, resource) in resources.iter().enumerate() {
        if resource.is_empty() {
            errors.required(path.index(at), "");
            continue;
        }
        if resource == "*/*" && resources.len() > 1 {
            errors.invalid(path.clone(), resources, "if '*/*' is present, must not specify other resources");
        }
        let Some((of, sub)) = resource.split_once('/') else { continue };
        if whole.contains(of) {
            errors.invalid(path.index(at), resource, format!("if '{of}/*' is present, must not specify {resource}"));
        }
        if of_any.contains(sub) {
            errors.invalid(path.index(at), resource, format!("if '*/{sub}' is present, must not specify {resource}"));
        }
        if sub == "*" {
            whole.insert(of);
        }
        if of == "*" {
            of_any.insert(sub);
        }
    }
    if resources.len() > 1
        && resources.iter().any(|it| it == "*")
        && resources.iter().any(|it| !it.contains('/') && it != "*")
    {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path.clone(), resources, why);
    }
}

fn validate_client(it: &WebhookClientConfig, path: &Path, errors: &mut Errors) {
    match (&it.url, &it.service) {
        (Some(_), Some(_)) | (None, None) => errors.required(path.clone(), "exactly one of url or service is required"),
        (Some(url), None) => validate_url(url, &path.child("url"), errors),
        (None, Some(service)) => {
            let path = path.child("service");
            if service.name.is_empty() {
                errors.required(path.child("name"), "service name is required");
            }
            if service.namespace.is_empty() {
                errors.required(path.child("namespace"), "service namespace is required");
            }
            if service.port.is_some_and(|it| !(1..=65535).contains(&it)) {
                let why = "port is not valid: must be between 1 and 65535, inclusive";
                errors.invalid(path.child("port"), service.port, why);
            }
            if let Some(asked) = service.path.as_deref() {
                validate_path(asked, &path.child("path"), errors);
            }
        }
    }
}

fn validate_path(asked: &str, path: &Path, errors: &mut Errors) {
    if !asked.starts_with('/') {
        return errors.invalid(path.clone(), asked, "must start with a '/'");
    }
    for (at, segment) in asked.trim_start_matches('/').split('/').enumerate() {
        if segment.is_empty() && asked != "/" && at + 1 < asked.matches('/').count() {
            errors.invalid(path.clone(), asked, format!("segment[{at}] may not be empty"));
        }
    }
}

fn validate_url(url: &str, path: &Path, errors: &mut Errors) {
    let mut wrong = |why: &str| errors.invalid(path.clone(), url, format!("{why}{URL_FORM}"));
    let Some((scheme, rest)) = url.split_once("://") else {
        return wrong("'https' is the only allowed URL scheme");
    };
    if scheme != "https" {
        wrong("'https' is the only allowed URL scheme");
    }
    let (authority, after) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    if authority.is_empty() {
        wrong("host must be specified");
    }
    if authority.contains('@') {
        wrong("user information is not permitted in the URL");
    }
    if after.contains('#') {
        wrong("fragments are not permitted in the URL");
    }
    if after.contains('?') {
        wrong("query parameters are not permitted in the URL");
    }
}

/// Notes every mistake in a list of match conditions.
pub fn validate_conditions(conditions: &[MatchCondition], with_params: bool, path: &Path, errors: &mut Errors) {
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(path.clone(), conditions.len(), CONDITIONS_MAX);
    }
    let mut names = BTreeSet::new();
    for (at, it) in conditions.iter().enumerate() {
        let path = path.index(at);
        validate_expression(
            &it.expression,
            &environment(with_params),
            &[Type::Bool],
            &path.child("expression"),
            errors,
        );
        if it.name.is_empty() {
            errors.required(path.child("name"), "");
        } else {
            checks::named(&it.name, name::qualified_name, || path.child("name"), errors);
        }
        if !names.insert(it.name.as_str()) {
            errors.duplicate(path.child("name"), &it.name);
        }
    }
}

/// Notes what is wrong with an expression, and compiles it.
pub fn validate_expression(
    text: &str,
    environment: &Environment,
    wanted: &[Type],
    path: &Path,
    errors: &mut Errors,
) -> Option<Program> {
    if text.trim().is_empty() {
        errors.required(path.clone(), "");
        return None;
    }
    match Program::compile(text, environment, wanted) {
        Ok(program) => Some(program),
        Err(error) => {
            errors.invalid(path.clone(), text, error.text);
            None
        }
    }
}
