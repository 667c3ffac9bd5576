//! What webhooks and policies of admission have in common: what they are called for, and where.
//!
//! Source: `pkg/apis/admissionregistration/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{MatchCondition, WebhookClientConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::cel::types::Type;
use crate::cel::{Environment, Program, functions};
use crate::field::{Errors, Path};
use crate::kinds::{checks, webhook_client};
use crate::name;
use crate::selector::label;

/// How many match conditions a webhook or policy may have.
const CONDITIONS_MAX: usize = 64;

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
    /// Of those that change objects.
    pub reinvocation_policy: Option<&'a str>,
    pub versions: &'a [String],
    pub namespace_selector: Option<&'a LabelSelector>,
    pub object_selector: Option<&'a LabelSelector>,
    pub conditions: &'a [MatchCondition],
}

/// The variables that expressions of admission may use; `with_params` are those of policies that have parameters.
pub fn environment(with_params: bool) -> Environment {
    environment_of_messages(with_params)
        .with("authorizer", Type::Opaque(functions::AUTHORIZER))
        .with("authorizer.requestResource", Type::Opaque(functions::RESOURCE_CHECK))
}

/// Those that expressions may use that make messages: what somebody may do is not for them.
pub fn environment_of_messages(with_params: bool) -> Environment {
    let mut it = Environment::new()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", Type::Dyn)
        .with("namespaceObject", Type::Dyn);
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
        validate_versions(it.versions, &path.child("admissionReviewVersions"), errors);
        if !it.name.is_empty() && !names.insert(it.name) {
            errors.duplicate(path.child("name"), it.name);
        }
    }
}

fn validate_webhook(it: &Webhook<'_>, path: &Path, errors: &mut Errors) {
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
    let again = || path.child("reinvocationPolicy");
    checks::none_or_one_of(it.reinvocation_policy, &["IfNeeded", "Never"], again, errors);
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
    if !complaints.is_empty() {
        errors.invalid(path.clone(), text, complaints.join(","));
    } else if text.split('.').count() < 3 {
        errors.invalid(path.clone(), text, "should be a domain with at least three segments separated by dots");
    }
}

/// A list names something, and what means all stands alone.
fn validate_list(values: &[String], what: &str, path: Path, errors: &mut Errors) {
    if values.is_empty() {
        errors.required(path.clone(), "");
    }
    if values.len() > 1 && values.iter().any(|it| it == "*") {
        errors.invalid(path, values, format!("if '*' is present, must not specify other {what}"));
    }
}

/// Notes every mistake in a rule.
pub fn validate_rule(rule: &Rule<'_>, path: &Path, errors: &mut Errors) {
    validate_list(rule.operations, "operations", path.child("operations"), errors);
    for (at, operation) in rule.operations.iter().enumerate() {
        let known = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
        checks::none_or_one_of(Some(operation), known, || path.child("operations").index(at), errors);
    }
    validate_list(rule.groups, "API groups", path.child("apiGroups"), errors);
    validate_list(rule.versions, "API versions", path.child("apiVersions"), errors);
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
    let mut ends_in_a_name = false;
    for (at, resource) in resources.iter().enumerate() {
        if resource.is_empty() {
            errors.required(path.index(at), "");
            continue;
        }
        let Some((of, sub)) = resource.split_once('/') else {
            // The last of them tells: Kubernetes forgets those before.
            ends_in_a_name = resource != "*";
            continue;
        };
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
    let has = |what: &str| resources.iter().any(|it| it == what);
    if resources.len() > 1 && has("*/*") {
        errors.invalid(path.clone(), resources, "if '*/*' is present, must not specify other resources");
    }
    if has("*") && ends_in_a_name {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path.clone(), resources, why);
    }
}

fn validate_client(it: &WebhookClientConfig, path: &Path, errors: &mut Errors) {
    match (&it.url, &it.service) {
        (Some(_), Some(_)) | (None, None) => errors.required(path.clone(), "exactly one of url or service is required"),
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
    }
}

fn validate_versions(versions: &[String], path: &Path, errors: &mut Errors) {
    if versions.is_empty() {
        return errors.required(path.clone(), "must specify one of v1, v1beta1");
    }
    let mut seen = BTreeSet::new();
    for (at, version) in versions.iter().enumerate() {
        if !seen.insert(version.as_str()) {
            errors.invalid(path.index(at), version, "duplicate version");
            continue;
        }
        for complaint in name::dns1035_label(version) {
            errors.invalid(path.index(at), version, complaint);
        }
    }
    if !seen.contains("v1") && !seen.contains("v1beta1") {
        errors.invalid(path.clone(), versions, "must include at least one of v1, v1beta1");
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
        let (text, at) = (it.expression.trim(), path.child("expression"));
        validate_expression(text, "", &environment(with_params), &[Type::Bool], &at, errors);
        checks::named(&it.name, name::qualified_name, || path.child("name"), errors);
        if !it.name.is_empty() && !names.insert(it.name.as_str()) {
            errors.duplicate(path.child("name"), &it.name);
        }
    }
}

/// Notes what is wrong with an expression, and compiles it. `why_required` is said of one that is empty.
pub fn validate_expression(
    text: &str,
    why_required: &str,
    environment: &Environment,
    wanted: &[Type],
    path: &Path,
    errors: &mut Errors,
) -> Option<Program> {
    if text.trim().is_empty() {
        errors.required(path.clone(), why_required);
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
