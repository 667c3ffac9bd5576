//! `ValidatingAdmissionPolicy`: expressions that objects must satisfy on their way into the store.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, ParamKind, ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec,
    ValidatingAdmissionPolicyStatus,
};
use serde_json::Value;

use crate::cel::Environment;
use crate::cel::types::Type;
use crate::custom::json_path::JsonPath;
use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy, Sub};
use crate::kinds::cells::{self, AGE, list, str_of};
use crate::kinds::checks;
use crate::kinds::conditions;
use crate::kinds::policy_types::Variables;
use crate::kinds::webhook_rules::{self as rules, Rule};
use crate::name;
use crate::table::{Cell, Column};

/// The reasons with which a policy may refuse.
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
/// How many annotations of audit events a policy may have, and how long the expression of one may be: half of what a value may be, for
/// expressions make more than they are.
const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_BYTES_MAX: usize = 5 * 1024;
/// Names that CEL keeps for itself.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
const NO_EXPRESSION: &str = "expression is not specified";

impl Strategy for ValidatingAdmissionPolicy {
    const NAMES: Names = Names {
        plural: "validatingadmissionpolicies",
        singular: "validatingadmissionpolicy",
        short: &[],
        categories: &["api-extensions"],
    };
    const SCOPE: Scope = Scope::Cluster;
    const UNCONDITIONAL_UPDATE: bool = false;
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
        if part == Part::Status {
            return self.status.iter().for_each(|it| validate_status(it, &Path::new("status"), errors));
        }
        if old.is_some_and(|it| it.spec == self.spec) {
            return;
        }
        let name = self.metadata.name.as_deref().unwrap_or_default();
        validate_spec(&self.spec.clone().unwrap_or_default(), name, &Path::new("spec"), errors);
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
            let path = path.child(field).index(at);
            let names = rule.resource_names.as_deref().unwrap_or_default();
            for (at, name) in names.iter().enumerate() {
                for complaint in name::path_segment(name, false) {
                    errors.invalid(path.child("resourceNames").index(at), name, complaint);
                }
                if names[..at].contains(name) {
                    errors.duplicate(path.child("resourceNames").index(at), name);
                }
            }
            let rule = Rule {
                operations: rule.operations.as_deref().unwrap_or_default(),
                groups: rule.api_groups.as_deref().unwrap_or_default(),
                versions: rule.api_versions.as_deref().unwrap_or_default(),
                resources: rule.resources.as_deref().unwrap_or_default(),
                scope: rule.scope.as_deref(),
            };
            rules::validate_rule(&rule, &path, errors);
        }
    }
}

/// The variables of a policy's expressions, and its own, of which each may use those before it.
pub fn environment(spec: &ValidatingAdmissionPolicySpec) -> Environment {
    Variables::of(rules::environment(spec.param_kind.is_some()), spec)
}

fn validate_spec(spec: &ValidatingAdmissionPolicySpec, name: &str, path: &Path, errors: &mut Errors) {
    checks::one_of(spec.failure_policy.as_deref(), &["Fail", "Ignore"], || path.child("failurePolicy"), errors);
    if let Some(kind) = &spec.param_kind {
        validate_kind(kind, &path.child("paramKind"), errors);
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
    let mut scope = Variables::new(rules::environment(spec.param_kind.is_some()));
    for (at, it) in spec.variables.iter().flatten().enumerate() {
        let path = path.child("variables").index(at);
        if it.name.trim().is_empty() {
            errors.required(path.child("name"), "name is not specified");
        } else if !is_identifier(&it.name) {
            errors.invalid(path.child("name"), &it.name, "name is not a valid CEL identifier");
        }
        let at = path.child("expression");
        rules::validate_expression(&it.expression, NO_EXPRESSION, &scope.environment(), &[], &at, errors);
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
        let at = path.child("expression");
        rules::validate_expression(&it.expression, NO_EXPRESSION, &environment, &[Type::Bool], &at, errors);
        let at = path.child("messageExpression");
        match it.message_expression.as_deref().unwrap_or_default() {
            "" => {}
            blank if blank.trim().is_empty() => errors.invalid(at, blank, "must be non-empty if specified"),
            expression => {
                let environment = scope.over(rules::environment_of_messages(spec.param_kind.is_some()));
                rules::validate_expression(expression, "", &environment, &[Type::String(u64::MAX)], &at, errors);
            }
        }
        let text = it.message.as_deref().unwrap_or_default();
        if !text.is_empty() && text.trim().is_empty() {
            errors.invalid(path.child("message"), text, "message must be non-empty if specified");
        } else if text.trim().contains(['\n', '\r']) {
            errors.invalid(path.child("message"), text, "message must not contain line breaks");
        }
        checks::none_or_one_of(it.reason.as_deref(), REASONS, || path.child("reason"), errors);
    }
    validate_annotations(spec, name, &environment, path, errors);
}

fn validate_annotations(
    spec: &ValidatingAdmissionPolicySpec,
    name: &str,
    environment: &Environment,
    path: &Path,
    errors: &mut Errors,
) {
    let annotations = spec.audit_annotations.as_deref().unwrap_or_default();
    if annotations.len() > ANNOTATIONS_MAX {
        let why = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        let shown: Vec<String> = (annotations.iter())
            .map(|it| format!("{{\"Key\":{},\"ValueExpression\":{}}}", json(&it.key), json(&it.value_expression)))
            .collect();
        errors.invalid_text(path.child("auditAnnotations"), format!("[{}]", shown.join(",")), why);
    }
    let mut keys = BTreeSet::new();
    for (at, it) in annotations.iter().enumerate() {
        let path = path.child("auditAnnotations").index(at);
        // So it stands in the audit event.
        let whole = format!("{name}/{}", it.key);
        for complaint in name::qualified_name(&whole) {
            errors.invalid(path.child("key"), &whole, complaint);
        }
        let (text, at) = (it.value_expression.trim(), path.child("valueExpression"));
        if text.len() > ANNOTATION_BYTES_MAX {
            errors.required(at, format!("must not exceed {ANNOTATION_BYTES_MAX} bytes in length"));
        } else {
            let wanted = &[Type::String(u64::MAX), Type::Null];
            rules::validate_expression(text, "valueExpression is not specified", environment, wanted, &at, errors);
        }
        if !keys.insert(it.key.as_str()) {
            errors.duplicate(path.child("key"), &it.key);
        }
    }
}

fn json(text: &str) -> Value {
    text.into()
}

/// The kind of the parameters: one that could be served.
fn validate_kind(it: &ParamKind, path: &Path, errors: &mut Errors) {
    let at = path.child("apiVersion");
    match it.api_version.as_deref().unwrap_or_default() {
        "" => errors.required(at, ""),
        text if text.matches('/').count() > 1 => {
            errors.invalid(at, text, format!("unexpected GroupVersion string: {text}"));
        }
        text => {
            let (group, version) = text.split_once('/').unwrap_or(("", text));
            let complaints = name::dns1123_subdomain(group);
            if !group.is_empty() && !complaints.is_empty() {
                errors.invalid(at.clone(), group, complaints.join(","));
            }
            let complaints = name::dns1035_label(version);
            if version.is_empty() {
                errors.invalid(at, text, "version must be specified");
            } else if !complaints.is_empty() {
                errors.invalid(at, version, complaints.join(","));
            }
        }
    }
    let (kind, at) = (it.kind.as_deref().unwrap_or_default(), path.child("kind"));
    let complaints = name::dns1035_label(&kind.to_lowercase());
    if kind.is_empty() {
        errors.required(at, "");
    } else if !complaints.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", complaints.join(","));
        errors.invalid(at, kind, why);
    }
}

fn validate_status(it: &ValidatingAdmissionPolicyStatus, path: &Path, errors: &mut Errors) {
    let warnings = it.type_checking.as_ref().and_then(|it| it.expression_warnings.as_deref()).unwrap_or_default();
    for (at, it) in warnings.iter().enumerate() {
        let path = path.child("typeChecking").child("expressionWarnings").index(at);
        if it.warning.is_empty() {
            errors.required(path.child("warning"), "");
        }
        let (place, path) = (it.field_ref.trim(), path.child("fieldRef"));
        if place.is_empty() {
            errors.required(path, "");
        } else if let Err(why) = JsonPath::parse(&format!(".{place}")) {
            errors.invalid(path, place, format!("invalid JSONPath: {why}"));
        }
    }
    conditions::validate(it.conditions.as_deref(), || path.child("conditions"), errors);
}

fn is_identifier(text: &str) -> bool {
    let starts = text.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    !RESERVED.contains(&text) && starts && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

fn param_kind(it: &Value) -> Cell {
    let kind = &it["spec"]["paramKind"];
    if kind.is_null() {
        return Cell::Text("<unset>".to_owned());
    }
    Cell::Text(format!("{}/{}", str_of(&kind["apiVersion"]), str_of(&kind["kind"])))
}
