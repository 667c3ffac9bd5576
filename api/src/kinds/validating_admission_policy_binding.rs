//! `ValidatingAdmissionPolicyBinding`: where a policy holds, with which parameters, and what becomes of who breaks it.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{ParamRef, ValidatingAdmissionPolicyBinding};
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::{self, AGE, list, str_of};
use crate::kinds::checks;
use crate::kinds::validating_admission_policy::{fill_in, validate_match};
use crate::name;
use crate::selector::label;
use crate::table::{Cell, Column};

const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];

impl Strategy for ValidatingAdmissionPolicyBinding {
    const NAMES: Names = Names {
        plural: "validatingadmissionpolicybindings",
        singular: "validatingadmissionpolicybinding",
        short: &[],
        categories: &["api-extensions"],
    };
    const SCOPE: Scope = Scope::Cluster;
    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] = &[
        cells::text("PolicyName", |it| cells::cell(&it["spec"]["policyName"]))
            .doc("PolicyName indicates the policy definition which the policy binding binded to"),
        cells::text("ParamRef", param_ref)
            .doc("ParamRef indicates the param resource which sets the configration param"),
        AGE,
    ];

    fn default(&mut self) {
        if let Some(it) = self.spec.as_mut().and_then(|it| it.match_resources.as_mut()) {
            fill_in(it);
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        if old.is_some_and(|it| it.spec == self.spec) {
            return;
        }
        let path = Path::new("spec");
        let spec = self.spec.clone().unwrap_or_default();
        match spec.policy_name.as_deref().unwrap_or_default() {
            "" => errors.required(path.child("policyName"), ""),
            text => checks::named(text, name::dns1123_subdomain, || path.child("policyName"), errors),
        }
        if let Some(it) = &spec.param_ref {
            validate_param_ref(it, &path.child("paramRef"), errors);
        }
        if let Some(it) = &spec.match_resources {
            validate_match(it, &path.child("matchResources"), errors);
        }
        let actions = spec.validation_actions.as_deref().unwrap_or_default();
        let at = path.child("validationActions");
        if actions.is_empty() {
            errors.required(at.clone(), "at least one validation action is required");
        }
        let mut seen = BTreeSet::new();
        for (index, action) in actions.iter().enumerate() {
            checks::none_or_one_of(Some(action), ACTIONS, || at.index(index), errors);
            if !seen.insert(action.as_str()) {
                errors.duplicate(at.index(index), action);
            }
        }
        if seen.contains("Deny") && seen.contains("Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
            errors.invalid(at, actions, why);
        }
    }
}

fn validate_param_ref(it: &ParamRef, path: &Path, errors: &mut Errors) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let name = it.name.as_deref().filter(|it| !it.is_empty());
    if let Some(name) = name {
        for complaint in name::path_segment(name, false) {
            errors.invalid(path.child("name"), name, complaint);
        }
        if it.selector.is_some() {
            errors.forbidden(path.child("name"), EXCLUSIVE);
        }
    }
    if let Some(selector) = &it.selector {
        label::validate(selector, &path.child("selector"), errors);
        if name.is_some() {
            errors.forbidden(path.child("selector"), EXCLUSIVE);
        }
    }
    if name.is_none() && it.selector.is_none() {
        errors.required(path.clone(), "one of name or selector must be specified");
    }
    match it.parameter_not_found_action.as_deref().unwrap_or_default() {
        "" => errors.required(path.child("parameterNotFoundAction"), ""),
        action => {
            checks::none_or_one_of(Some(action), &["Deny", "Allow"], || path.child("parameterNotFoundAction"), errors);
        }
    }
}

fn param_ref(it: &Value) -> Cell {
    let param = &it["spec"]["paramRef"];
    if param.is_null() {
        return Cell::Text("<unset>".to_owned());
    }
    let name = str_of(&param["name"]);
    let text = match str_of(&param["namespace"]) {
        _ if name.is_empty() && param["selector"].is_null() => "<unset>".to_owned(),
        _ if name.is_empty() => in_go(&param["selector"]),
        "" => format!("*/{name}"),
        namespace => format!("{namespace}/{name}"),
    };
    Cell::Text(text)
}

/// A selector as Go prints its type.
fn in_go(selector: &Value) -> String {
    let labels: String = (selector["matchLabels"].as_object().into_iter().flatten())
        .map(|(key, value)| format!("{key}: {},", str_of(value)))
        .collect();
    let terms: String = (list(&selector["matchExpressions"]).iter())
        .map(|it| {
            let values: Vec<&str> = list(&it["values"]).iter().map(str_of).collect();
            let (key, operator) = (str_of(&it["key"]), str_of(&it["operator"]));
            format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},", values.join(" "))
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{terms}}},}}"
    )
}
