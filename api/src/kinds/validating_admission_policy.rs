//! `ValidatingAdmissionPolicy`: expressions that objects must satisfy on their way into the store.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec,
};
use serde_json::Value;

use crate::cel::Environment;
use crate::cel::types::Type;
use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy, Sub};
use crate::kinds::cells::{self, AGE, list, str_of};
use crate::kinds::checks;
use crate::kinds::policy_types::Variables;
use crate::kinds::webhook_rules::{self as rules, Rule};
use crate::name;
use crate::table::{Cell, Column};

/// The reasons with which a policy may refuse.
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// How many of each a policy may have.
const ANNOTATIONS_MAX: usize = 20;

impl Strategy for ValidatingAdmissionPolicy {
    const NAMES: Names = Names {
        plural: "validatingadmissionpolicies",
        singular: "validatingadmissionpolicy",
        short: &[],
        categories: &["api-extensions"],
    };
    const SCOPE: Scope = Scope::Cluster;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const COLUMNS: &'static [Column] = &[
        cells::integer("Validations", |it| Cell::Number(list(&it["spec"]["validations"]).len() as i64))
            .doc("Validations indicates the number of validation rules defined in this configuration"),
        cells::text("ParamKind", param_kind)
            .doc("ParamKind specifies the kind of resources used to parameterize this policy"),
        AGE,
    ];

    fn default(&mut self) {
        let Some(spec) = &mut self.spec else { return };
        spec.failure_policy.get_or_insert_with(|| "Fail".into());
        if let Some(matches) = &mut spec.match_constraints {
            fill_in(matches);
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (_, Some(old)) => self.status.clone_from(&old.status),
            (_, None) => self.status = None,
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status || old.is_some_and(|it| it.spec == self.spec) {
            return;
        }
        validate_spec(&self.spec.clone().unwrap_or_default(), &Path::new("spec"), errors);
    }
}

/// Fills in what a choice of objects leaves out.
pub fn fill_in(it: &mut MatchResources) {
    it.match_policy.get_or_insert_with(|| "Equivalent".into());
    it.namespace_selector.get_or_insert_default();
    it.object_selector.get_or_insert_default();
    for rule in it.resource_rules.iter_mut().flatten().chain(it.exclude_resource_rules.iter_mut().flatten()) {
        rule.scope.get_or_insert_with(|| "*".into());
    }
}

/// Notes every mistake in a choice of objects.
pub fn validate_match(it: &MatchResources, path: &Path, errors: &mut Errors) {
    rules::validate_policies(None, it.match_policy.as_deref(), path, errors);
    rules::validate_selectors(it.namespace_selector.as_ref(), it.object_selector.as_ref(), path, errors);
    for (field, list) in [("resourceRules", &it.resource_rules), ("excludeResourceRules", &it.exclude_resource_rules)] {
        for (at, rule) in list.iter().flatten().enumerate() {
            let rule = Rule {
                operations: rule.operations.as_deref().unwrap_or_default(),
                groups: rule.api_groups.as_deref().unwrap_or_default(),
                versions: rule.api_versions.as_deref().unwrap_or_default(),
                resources: rule.resources.as_deref().unwrap_or_default(),
                scope: rule.scope.as_deref(),
            };
            rules::validate_rule(&rule, &path.child(field).index(at), errors);
        }
    }
}

/// The variables of a policy's expressions, and its own, of which each may use those before it.
pub fn environment(spec: &ValidatingAdmissionPolicySpec) -> Environment {
    Variables::of(rules::environment(spec.param_kind.is_some()), spec)
}

fn validate_spec(spec: &ValidatingAdmissionPolicySpec, path: &Path, errors: &mut Errors) {
    checks::one_of(spec.failure_policy.as_deref(), &["Fail", "Ignore"], || path.child("failurePolicy"), errors);
    if let Some(kind) = &spec.param_kind {
        let at = path.child("paramKind");
        for (field, value) in [("apiVersion", &kind.api_version), ("kind", &kind.kind)] {
            if value.as_deref().unwrap_or_default().is_empty() {
                errors.required(at.child(field), "");
            }
        }
    }
    let at = path.child("matchConstraints");
    match &spec.match_constraints {
        None => errors.required(at, ""),
        Some(it) => {
            validate_match(it, &at, errors);
            if it.resource_rules.as_ref().is_none_or(Vec::is_empty) {
                errors.required(at.child("resourceRules"), "");
            }
        }
    }
    let conditions = spec.match_conditions.as_deref().unwrap_or_default();
    rules::validate_conditions(conditions, spec.param_kind.is_some(), &path.child("matchConditions"), errors);
    let environment = environment(spec);
    let mut names = BTreeSet::new();
    let mut scope = Variables::new(rules::environment(spec.param_kind.is_some()));
    for (at, it) in spec.variables.iter().flatten().enumerate() {
        let path = path.child("variables").index(at);
        if it.name.is_empty() {
            errors.required(path.child("name"), "");
        } else if !is_identifier(&it.name) {
            errors.invalid(path.child("name"), &it.name, "name is not a valid CEL identifier");
        } else if !names.insert(it.name.as_str()) {
            errors.duplicate(path.child("name"), &it.name);
        }
        rules::validate_expression(&it.expression, &scope.environment(), &[], &path.child("expression"), errors);
        scope.add(&it.name, &it.expression);
    }
    let validations = spec.validations.as_deref().unwrap_or_default();
    let annotations = spec.audit_annotations.as_deref().unwrap_or_default();
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.required(path.child("validations"), why);
        errors.required(path.child("auditAnnotations"), why);
    }
    for (at, it) in validations.iter().enumerate() {
        let path = path.child("validations").index(at);
        rules::validate_expression(&it.expression, &environment, &[Type::Bool], &path.child("expression"), errors);
        let text = it.message.as_deref().unwrap_or_default();
        if it.message.is_some() && text.trim().is_empty() {
            errors.invalid(path.child("message"), text, "message must be non-empty if specified");
        } else if text.contains('\n') {
            errors.invalid(path.child("message"), text, "message must not contain line breaks");
        } else if text.len() > MESSAGE_BYTES_MAX {
            errors.too_long(path.child("message"), MESSAGE_BYTES_MAX);
        } else if it.expression.contains('\n') && text.is_empty() {
            errors.required(path.child("message"), "message must be specified if expression contains line breaks");
        }
        if let Some(expression) = it.message_expression.as_deref().filter(|it| !it.is_empty()) {
            let at = path.child("messageExpression");
            rules::validate_expression(expression, &environment, &[Type::String(u64::MAX)], &at, errors);
        }
        checks::none_or_one_of(it.reason.as_deref(), REASONS, || path.child("reason"), errors);
    }
    validate_annotations(spec, &environment, path, errors);
}

fn validate_annotations(
    spec: &ValidatingAdmissionPolicySpec,
    environment: &Environment,
    path: &Path,
    errors: &mut Errors,
) {
    let annotations = spec.audit_annotations.as_deref().unwrap_or_default();
    if annotations.len() > ANNOTATIONS_MAX {
        errors.too_many(path.child("auditAnnotations"), annotations.len(), ANNOTATIONS_MAX);
    }
    let mut keys = BTreeSet::new();
    for (at, it) in annotations.iter().enumerate() {
        let path = path.child("auditAnnotations").index(at);
        if it.key.is_empty() {
            errors.required(path.child("key"), "");
        } else {
            checks::named(&it.key, name::qualified_name, || path.child("key"), errors);
        }
        if !keys.insert(it.key.as_str()) {
            errors.duplicate(path.child("key"), &it.key);
        }
        let wanted = &[Type::String(u64::MAX), Type::Null];
        rules::validate_expression(&it.value_expression, environment, wanted, &path.child("valueExpression"), errors);
    }
}

fn is_identifier(text: &str) -> bool {
    let starts = text.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    starts && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

fn param_kind(it: &Value) -> Cell {
    let kind = &it["spec"]["paramKind"];
    if kind.is_null() {
        return Cell::Text("<unset>".to_owned());
    }
    Cell::Text(format!("{}/{}", str_of(&kind["apiVersion"]), str_of(&kind["kind"])))
}
