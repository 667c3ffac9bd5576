//! What the four RBAC kinds share: columns, defaults and the rules for rules, role references and subjects.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/rbac`. Who may grant what (escalation) is decided by the API server's authorizer.

use k8s_openapi::api::rbac::v1::{RoleRef, Subject};
use serde_json::Value;

use crate::kinds::cells::{self, AGE, list, str_of};
use crate::table::{Cell, Column};

/// The group of roles, and of users and groups as subjects.
const GROUP: &str = "rbac.authorization.k8s.io";

/// The columns of roles.
pub const ROLE_COLUMNS: &[Column] = &[Column {
    name: "Created At",
    kind: "date",
    priority: 0,
    cell: |it| cells::cell(&it["metadata"]["creationTimestamp"]),
}];

/// The columns of bindings.
pub const BINDING_COLUMNS: &[Column] = &[
    cells::text("Role", |it| {
        let role = &it["roleRef"];
        Cell::Text(format!("{}/{}", str_of(&role["kind"]), str_of(&role["name"])))
    }),
    AGE,
    cells::wide("Users", |it| subjects(it, "User")),
    cells::wide("Groups", |it| subjects(it, "Group")),
    cells::wide("ServiceAccounts", |it| subjects(it, "ServiceAccount")),
];

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
