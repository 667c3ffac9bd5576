//! `ValidatingAdmissionPolicyBinding`: where a policy holds, with which parameters, and what becomes of who breaks it.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{ParamRef, ValidatingAdmissionPolicyBinding};
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::{self, AGE, str_of};
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
    let named = it.name.as_deref().is_some_and(|it| !it.is_empty());
    match (named, &it.selector) {
        (true, Some(_)) => errors.forbidden(path.child("name"), "name and selector are mutually exclusive"),
        (false, None) => errors.required(path.clone(), "one of name or selector must be specified"),
        (false, Some(selector)) => label::validate(selector, &path.child("selector"), errors),
        (true, None) => {}
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
        _ if name.is_empty() => param["selector"].to_string(),
        "" => format!("*/{name}"),
        namespace => format!("{namespace}/{name}"),
    };
    Cell::Text(text)
}
