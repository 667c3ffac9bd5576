//! `ResourceQuota`: how much all objects of a namespace together may use.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec, ScopeSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::pod_spec::resources;
use crate::name;
use crate::table::{Cell, Column};

/// What a quota may be narrowed to, in the order in which refusals name them.
const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// What of those pods without requests and limits have nothing to do with.
const COMPUTE: &[&str] = &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

impl Strategy for ResourceQuota {
    const NAMES: Names =
        Names { plural: "resourcequotas", singular: "resourcequota", short: &["quota"], categories: &[] };
    const RETURNS_DELETED: bool = true;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const COLUMNS: &'static [Column] = &[
        cells::text("Request", |it| usage(it, false))
            .doc("Request represents a minimum amount of cpu/memory that a container may consume."),
        cells::text("Limit", |it| usage(it, true)).doc(
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        AGE,
    ];

    fn default(&mut self) {
        resources::canonicalize(self.spec.as_mut().and_then(|it| it.hard.as_mut()));
        if let Some(status) = &mut self.status {
            resources::canonicalize(status.hard.as_mut());
            resources::canonicalize(status.used.as_mut());
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (_, Some(old)) => self.status.clone_from(&old.status),
            (_, None) => self.status = Some(Default::default()),
        }
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status {
            let path = Path::new("status");
            let status = self.status.iter();
            for (field, list) in status.flat_map(|it| [("hard", &it.hard), ("used", &it.used)]) {
                validate_amounts(list.as_ref(), &path.child(field), errors);
            }
            return;
        }
        let spec = self.spec.clone().unwrap_or_default();
        let path = Path::new("spec");
        validate_amounts(spec.hard.as_ref(), &path.child("hard"), errors);
        validate_scopes(&spec, &path, errors);
        if let Some(selector) = &spec.scope_selector {
            validate_selector(selector, &spec, &path.child("scopeSelector"), errors);
        }
        let Some(before) = old.map(|it| it.spec.clone().unwrap_or_default()) else { return };
        if sorted(spec.scopes.clone()) != sorted(before.scopes) {
            errors.invalid(path.child("scopes"), &spec.scopes, "field is immutable");
        }
        if spec.scope_selector != before.scope_selector {
            errors.invalid(path.child("scopeSelector"), &spec.scope_selector, "field is immutable");
        }
    }
}

fn sorted(scopes: Option<Vec<String>>) -> Vec<String> {
    let mut scopes = scopes.unwrap_or_default();
    scopes.sort();
    scopes
}

fn validate_amounts(list: Option<&BTreeMap<String, Text>>, path: &Path, errors: &mut Errors) {
    for (name, text) in list.into_iter().flatten() {
        let at = || path.key(name);
        resources::validate_quota_name(name, at, errors);
        resources::validate_amount(name, text, at, errors);
    }
}

/// Whether a scope has a say about a resource.
fn scope_counts(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => matches!(resource, "pods" | "count/pods"),
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            matches!(resource, "pods" | "count/pods" | "ephemeral-storage")
                || COMPUTE.contains(&resource)
                || resource.starts_with("requests.ephemeral")
                || resource.starts_with("limits.ephemeral")
                || resource.starts_with("hugepages-")
                || resource.starts_with("requests.hugepages-")
                || resource.starts_with("requests.") && resource.contains('/')
        }
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn validate_scopes(spec: &ResourceQuotaSpec, path: &Path, errors: &mut Errors) {
    let scopes = spec.scopes.as_deref().unwrap_or_default();
    let at = path.child("scopes");
    for scope in scopes {
        if !SCOPES.contains(&scope.as_str()) {
            errors.invalid(at.clone(), scopes, "unsupported scope");
        }
        for resource in spec.hard.iter().flatten().map(|(name, _)| name) {
            if !scope_counts(scope, resource) {
                errors.invalid(at.clone(), scopes, "unsupported scope applied to resource");
            }
        }
    }
    let has = |scope: &str| scopes.iter().any(|it| it == scope);
    if [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")].iter().any(|(a, b)| has(a) && has(b)) {
        errors.invalid(at, scopes, "conflicting scopes");
    }
}

fn validate_selector(it: &ScopeSelector, spec: &ResourceQuotaSpec, path: &Path, errors: &mut Errors) {
    let at = path.child("matchExpressions");
    for wanted in it.match_expressions.iter().flatten() {
        if !SCOPES.contains(&wanted.scope_name.as_str()) {
            errors.invalid(at.child("scopeName"), &wanted.scope_name, "unsupported scope");
        }
        for resource in spec.hard.iter().flatten().map(|(name, _)| name) {
            if !scope_counts(&wanted.scope_name, resource) {
                errors.invalid(at.clone(), it, "unsupported scope applied to resource");
            }
        }
        let plain = !matches!(wanted.scope_name.as_str(), "PriorityClass" | "VolumeAttributesClass");
        if plain && wanted.operator != "Exists" {
            let why = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                 ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                 ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(at.child("operator"), &wanted.operator, why);
        }
        let values = wanted.values.as_deref().unwrap_or_default();
        match wanted.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(at.child("values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.invalid(at.child("values"), values, why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(at.child("operator"), other, "not a valid selector operator"),
        }
        for value in values {
            for complaint in name::qualified_name(value) {
                errors.invalid(at.child("values"), value, complaint);
            }
        }
    }
}

/// `cpu: 1/2, pods: 3/10`: what is used of what there is, of the limits or of all else.
fn usage(it: &Value, limits: bool) -> Cell {
    let status = &it["status"];
    let hard = status["hard"].as_object().into_iter().flatten();
    let parts: Vec<String> = hard
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, hard)| {
            let used = status["used"][name].as_str().unwrap_or("0");
            format!("{name}: {used}/{}", hard.as_str().unwrap_or_default())
        })
        .collect();
    Cell::Text(parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: Value, mistakes: &[&str]) {
        let it: ResourceQuota = serde_json::from_value(json!({ "spec": spec })).unwrap();
        let mut errors = Errors::default();
        it.validate(Part::Main, None, &mut errors);
        let found: Vec<String> = errors.list().iter().map(ToString::to_string).collect();
        assert_eq!(found, mistakes);
    }

    #[test]
    fn finds_mistakes() {
        check(
            json!({"hard": {"pods": "10", "requests.cpu": "1", "count/deployments.apps": "3", "requests.nvidia.com/gpu": "1",
                "gold.storageclass.storage.k8s.io/requests.storage": "1Gi"}}),
            &[],
        );
        check(
            json!({"hard": {"pods": "1.5", "things": "-1"}}),
            &[
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
                "spec.hard[things]: Invalid value: \"things\": must be a standard resource type or fully qualified",
                "spec.hard[things]: Invalid value: \"things\": must be a standard resource for quota",
                "spec.hard[things]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        );
        check(
            json!({"hard": {"secrets": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}),
            &[
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: unsupported scope applied to resource",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: unsupported scope applied to resource",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes",
            ],
        );
        check(
            json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}}),
            &[
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ],
        );
    }

    #[test]
    fn shows_what_is_used() {
        let it = json!({"status": {"hard": {"limits.cpu": "2", "pods": "10", "secrets": "5"}, "used": {"pods": "1"}}});
        assert_eq!(usage(&it, false), Cell::Text("pods: 0/10, secrets: 0/5".replace("pods: 0", "pods: 1")));
        assert_eq!(usage(&it, true), Cell::Text("limits.cpu: 0/2".to_owned()));
    }
}
