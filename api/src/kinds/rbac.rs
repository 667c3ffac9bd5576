//! What the four RBAC kinds share: columns, defaults and the rules for rules, role references and subjects.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/rbac`. Who may grant what (escalation) is decided by the API server's authorizer.

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kinds::cells::{self, AGE, list, str_of};
use crate::kinds::checks;
use crate::name;
use crate::table::{Cell, Column};

/// The group of roles, and of users and groups as subjects.
const GROUP: &str = "rbac.authorization.k8s.io";

/// The columns of roles.
pub const ROLE_COLUMNS: &[Column] = &[Column {
    name: "Created At",
    kind: "date",
    format: "",
    priority: 0,
    description: ".metadata.creationTimestamp",
    cell: |it| cells::cell(&it["metadata"]["creationTimestamp"]),
}];

/// The columns of a binding; the last three have descriptions that name its kind.
const fn binding_columns(users: &'static str, groups: &'static str, accounts: &'static str) -> [Column; 5] {
    [
        cells::text("Role", role).doc(".roleRef"),
        AGE,
        cells::wide("Users", |it| subjects(it, "User")).doc(users),
        cells::wide("Groups", |it| subjects(it, "Group")).doc(groups),
        cells::wide("ServiceAccounts", |it| subjects(it, "ServiceAccount")).doc(accounts),
    ]
}

/// The columns of RoleBindings.
pub const BINDING_COLUMNS: &[Column] =
    &binding_columns("Users in the roleBinding", "Groups in the roleBinding", "ServiceAccounts in the roleBinding");

/// The columns of ClusterRoleBindings.
pub const CLUSTER_BINDING_COLUMNS: &[Column] = &binding_columns(
    "Users in the clusterRoleBinding",
    "Groups in the clusterRoleBinding",
    "ServiceAccounts in the clusterRoleBinding",
);

fn role(it: &Value) -> Cell {
    let role = &it["roleRef"];
    Cell::Text(format!("{}/{}", str_of(&role["kind"]), str_of(&role["name"])))
}

fn subjects(it: &Value, kind: &str) -> Cell {
    let names: Vec<String> = list(&it["subjects"])
        .iter()
        .filter(|it| it["kind"] == kind)
        .map(|it| match (kind, str_of(&it["namespace"])) {
            ("ServiceAccount", namespace) if !namespace.is_empty() => format!("{namespace}/{}", str_of(&it["name"])),
            _ => str_of(&it["name"]).to_owned(),
        })
        .collect();
    Cell::Text(names.join(", "))
}

/// Fills in the API groups that follow from the kinds.
pub fn default_binding(role: &mut RoleRef, subjects: Option<&mut [Subject]>) {
    if role.api_group.is_empty() {
        role.api_group = GROUP.into();
    }
    for subject in subjects.into_iter().flatten() {
        if subject.api_group.is_none() && matches!(subject.kind.as_str(), "User" | "Group") {
            subject.api_group = Some(GROUP.into());
        }
    }
}

/// Notes every mistake in the rules of a role. Those of a namespaced one know no URLs.
pub fn validate_rules(rules: Option<&[PolicyRule]>, namespaced: bool, errors: &mut Errors) {
    let some = |it: &Option<Vec<String>>| it.as_ref().is_some_and(|it| !it.is_empty());
    for (index, rule) in rules.unwrap_or_default().iter().enumerate() {
        let path = || Path::new("rules").index(index);
        if rule.verbs.is_empty() {
            errors.required(path().child("verbs"), "verbs must contain at least one value");
        }
        if some(&rule.non_resource_urls) {
            if namespaced {
                errors.invalid(
                    path().child("nonResourceURLs"),
                    &rule.non_resource_urls,
                    "namespaced rules cannot apply to non-resource URLs",
                );
            }
            if some(&rule.api_groups) || some(&rule.resources) || some(&rule.resource_names) {
                errors.invalid(
                    path().child("nonResourceURLs"),
                    &rule.non_resource_urls,
                    "rules cannot apply to both regular resources and non-resource URLs",
                );
            }
            continue;
        }
        if !some(&rule.api_groups) {
            errors.required(path().child("apiGroups"), "resource rules must supply at least one api group");
        }
        if !some(&rule.resources) {
            errors.required(path().child("resources"), "resource rules must supply at least one resource");
        }
    }
}

/// Notes every mistake in a binding; `old` is the role it had before. `roles` are the kinds it may refer to.
pub fn validate_binding(
    role: &RoleRef,
    old: Option<&RoleRef>,
    subjects: Option<&[Subject]>,
    roles: &[&str],
    errors: &mut Errors,
) {
    let path = Path::new("roleRef");
    if role.api_group != GROUP {
        errors.not_supported(path.child("apiGroup"), &role.api_group, &[GROUP]);
    }
    if !roles.contains(&role.kind.as_str()) {
        errors.not_supported(path.child("kind"), &role.kind, roles);
    }
    checks::named(&role.name, |it| name::path_segment(it, false), || path.child("name"), errors);
    // Within a namespace a subject's namespace may be implied by nothing but the binding: it must still be said for all others.
    let namespaced = roles.contains(&"Role");
    for (index, subject) in subjects.unwrap_or_default().iter().enumerate() {
        validate_subject(subject, namespaced, &Path::new("subjects").index(index), errors);
    }
    if old.is_some_and(|it| it != role) {
        let RoleRef { api_group, kind, name } = role;
        let shown = format!("{{\"APIGroup\":{api_group:?},\"Kind\":{kind:?},\"Name\":{name:?}}}");
        errors.invalid_text(path, shown, "cannot change roleRef");
    }
}

fn validate_subject(it: &Subject, namespaced: bool, path: &Path, errors: &mut Errors) {
    if it.name.is_empty() {
        errors.required(path.child("name"), "");
    }
    let group = it.api_group.as_deref().unwrap_or_default();
    match it.kind.as_str() {
        "ServiceAccount" => {
            checks::none_or_named(Some(&it.name), name::dns1123_subdomain, || path.child("name"), errors);
            if !group.is_empty() {
                errors.not_supported(path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && it.namespace.as_deref().unwrap_or_default().is_empty() {
                errors.required(path.child("namespace"), "");
            }
        }
        "User" | "Group" => {
            if it.name.is_empty() {
                let kind = it.kind.to_lowercase();
                errors.invalid(path.child("name"), "", format!("{kind} name cannot be empty"));
            }
            if group != GROUP {
                errors.not_supported(path.child("apiGroup"), group, &[GROUP]);
            }
        }
        other => errors.not_supported(path.child("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(rules: Value, namespaced: bool, expected: &[&str]) {
        let rules: Vec<PolicyRule> = serde_json::from_value(rules).unwrap();
        let mut errors = Errors::default();
        validate_rules(Some(&rules), namespaced, &mut errors);
        assert_eq!(errors.list().iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn checks_rules() {
        check(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]), true, &[]);
        check(json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]), false, &[]);
        check(
            json!([{"verbs": [], "apiGroups": [""]}, {"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]),
            true,
            &[
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
                "rules[1].nonResourceURLs: Invalid value: [\"/metrics\"]: namespaced rules cannot apply to non-resource URLs",
            ],
        );
    }
}
