//! `Node`: a machine that runs pods. Its agent owns the status; users and controllers own labels, taints and the pod range.

use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use crate::kind::{Names, Part, Scope, Selectable, Strategy, Sub};
use crate::kinds::cells::{self, AGE, NONE, list, str_of, str_or};
use crate::table::{Cell, Column};

/// The label's suffix is one of the node's roles.
const ROLE_LABEL_PREFIX: &str = "node-role.kubernetes.io/";
/// The older label, whose value is the node's role.
const ROLE_LABEL: &str = "kubernetes.io/role";

impl Strategy for Node {
    const NAMES: Names = Names { plural: "nodes", singular: "node", short: &["no"], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const FIELDS: &'static [Selectable] = &[Selectable { path: "spec.unschedulable", absent: "false" }];
    const STORED_AS: Option<&'static str> = Some("minions");
    const COLUMNS: &'static [Column] = &[
        cells::text("Status", status),
        cells::text("Roles", roles),
        AGE,
        cells::text("Version", |it| cells::cell(&it["status"]["nodeInfo"]["kubeletVersion"])),
        cells::wide("Internal-IP", |it| address(it, "InternalIP")),
        cells::wide("External-IP", |it| address(it, "ExternalIP")),
        cells::wide("OS-Image", |it| info(it, "osImage")),
        cells::wide("Kernel-Version", |it| info(it, "kernelVersion")),
        cells::wide("Container-Runtime", |it| info(it, "containerRuntimeVersion")),
    ];

    fn default(&mut self) {
        if let Some(spec) = &mut self.spec {
            match (&spec.pod_cidr, &mut spec.pod_cidrs) {
                (Some(one), None) if !one.is_empty() => spec.pod_cidrs = Some(vec![one.clone()]),
                (None, Some(all)) => spec.pod_cidr = all.first().cloned(),
                _ => {}
            }
        }
        if let Some(status) = &mut self.status
            && status.allocatable.is_none()
        {
            status.allocatable.clone_from(&status.capacity);
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        let Some(old) = old else { return };
        match part {
            Part::Status => self.spec.clone_from(&old.spec),
            Part::Main | Part::Finalize | Part::Binding => self.status.clone_from(&old.status),
        }
    }
}

fn status(it: &Value) -> Cell {
    let ready = list(&it["status"]["conditions"]).iter().find(|it| it["type"] == "Ready");
    let mut text = match ready {
        Some(it) if it["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if it["spec"]["unschedulable"] == true {
        text.push_str(",SchedulingDisabled");
    }
    Cell::Text(text)
}

fn roles(it: &Value) -> Cell {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in it["metadata"]["labels"].as_object().into_iter().flatten() {
        match key.strip_prefix(ROLE_LABEL_PREFIX) {
            Some(role) if !role.is_empty() => roles.push(role),
            None if key == ROLE_LABEL && !str_of(value).is_empty() => roles.push(str_of(value)),
            _ => {}
        }
    }
    roles.sort_unstable();
    roles.dedup();
    Cell::Text(if roles.is_empty() { NONE.to_owned() } else { roles.join(",") })
}

fn address(it: &Value, kind: &str) -> Cell {
    let found = list(&it["status"]["addresses"]).iter().find(|it| it["type"] == kind);
    Cell::Text(found.map_or(NONE, |it| str_of(&it["address"])).to_owned())
}

fn info(it: &Value, field: &str) -> Cell {
    Cell::Text(str_or(&it["status"]["nodeInfo"][field], "<unknown>").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(cell: fn(&Value) -> Cell, node: Value, expected: &str) {
        assert_eq!(cell(&node), Cell::Text(expected.to_owned()));
    }

    #[test]
    fn tells_status_and_roles() {
        check(status, json!({}), "Unknown");
        check(status, json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}), "NotReady");
        check(
            status,
            json!({"spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
            "Ready,SchedulingDisabled",
        );
        check(roles, json!({"metadata": {"labels": {"a": "b"}}}), "<none>");
        check(
            roles,
            json!({"metadata": {"labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "worker"}}}),
            "control-plane,worker",
        );
    }
}
