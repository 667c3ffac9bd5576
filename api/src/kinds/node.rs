//! `Node`: a machine that runs pods. Its agent owns the status; users and controllers own labels, taints and the pod range.

use k8s_openapi::api::core::v1::{Node, NodeSpec, Taint};
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Selectable, Strategy, Sub};
use crate::kinds::addresses;
use crate::kinds::cells::{self, AGE, NONE, list, str_of, str_or};
use crate::kinds::checks;
use crate::kinds::pod_spec::resources;
use crate::name;
use crate::table::{Cell, Column};

/// The label's suffix is one of the node's roles.
const ROLE_LABEL_PREFIX: &str = "node-role.kubernetes.io/";
/// The older label, whose value is the node's role.
const ROLE_LABEL: &str = "kubernetes.io/role";

impl Strategy for Node {
    const NAMES: Names = Names { plural: "nodes", singular: "node", short: &["no"], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const SUBS: &'static [Sub] = &[Sub::Proxy, Sub::Status];
    const FIELDS: &'static [Selectable] = &[Selectable { path: "spec.unschedulable", absent: "false", from: &[] }];
    const STORED_AS: Option<&'static str> = Some("minions");
    const COLUMNS: &'static [Column] = &[
        cells::text("Status", status).doc("The status of the node"),
        cells::text("Roles", roles).doc("The roles of the node"),
        AGE,
        cells::text("Version", |it| cells::cell(&it["status"]["nodeInfo"]["kubeletVersion"]))
            .doc(".status.nodeInfo.kubeletVersion"),
        cells::wide("Internal-IP", |it| address(it, "InternalIP")).doc(".status.addresses"),
        cells::wide("External-IP", |it| address(it, "ExternalIP")).doc(".status.addresses"),
        cells::wide("OS-Image", |it| info(it, "osImage")).doc(".status.nodeInfo.osImage"),
        cells::wide("Kernel-Version", |it| info(it, "kernelVersion")).doc(".status.nodeInfo.kernelVersion"),
        cells::wide("Container-Runtime", |it| info(it, "containerRuntimeVersion"))
            .doc(".status.nodeInfo.containerRuntimeVersion"),
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
        if let Some(status) = &mut self.status {
            resources::canonicalize(status.capacity.as_mut());
            resources::canonicalize(status.allocatable.as_mut());
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        if let (Some(old), Part::Status) = (old, part) {
            self.spec.clone_from(&old.spec);
            if let (Some(status), None) = (&mut self.status, old.status.as_ref().and_then(|it| it.config.as_ref())) {
                status.config = None;
            }
            return;
        }
        if let Some(old) = old {
            self.status.clone_from(&old.status);
        }
        // What nodes were configured by once stays where it is, and comes to nobody new.
        let configured = old.and_then(|it| it.spec.as_ref()).is_some_and(|it| it.config_source.is_some());
        if let (Some(spec), false) = (&mut self.spec, configured) {
            spec.config_source = None;
        }
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if let Some(status) = &self.status
            && old.is_none_or(|it| it.status.as_ref() != Some(status))
        {
            let path = Path::new("status");
            for (field, amounts) in [("capacity", &status.capacity), ("allocatable", &status.allocatable)] {
                if let Some(amounts) = amounts {
                    resources::validate_list(amounts, || path.child(field), errors);
                }
            }
            let addresses = status.addresses.as_deref().unwrap_or_default();
            for (index, address) in addresses.iter().enumerate() {
                if addresses[..index].contains(address) {
                    let shown = format!("{{\"Type\":{:?},\"Address\":{:?}}}", address.type_, address.address);
                    errors.duplicate_text(path.child("addresses").index(index), shown, "");
                }
            }
        }
        if let (Some(spec), true) = (&self.spec, part != Part::Status) {
            let before = old.map(|it| it.spec.clone().unwrap_or_default());
            validate_spec(spec, before.as_ref(), errors);
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        let Some(spec) = &self.spec else { return warnings };
        if spec.config_source.is_some() {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if spec.external_id.as_deref().is_some_and(|it| !it.is_empty()) {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
        for (at, range) in spec.pod_cidrs.iter().flatten().enumerate() {
            addresses::warn_of_range(range, &Path::new("spec").child("podCIDRs").index(at), &mut warnings);
        }
        warnings
    }
}

fn validate_spec(spec: &NodeSpec, old: Option<&NodeSpec>, errors: &mut Errors) {
    let path = Path::new("spec");
    validate_taints(spec.taints.as_deref().unwrap_or_default(), errors);
    let ranges = spec.pod_cidrs.as_deref().unwrap_or_default();
    for (index, range) in ranges.iter().enumerate() {
        checks::cidr(range, || path.child("podCIDRs").index(index), errors);
        if ranges.iter().take(index).any(|it| it == range) {
            errors.duplicate(path.child("podCIDRs").index(index), range);
        }
    }
    let addresses: Vec<_> = ranges.iter().filter_map(|it| Some(it.parse::<ipnet::IpNet>().ok()?.addr())).collect();
    if !checks::one_of_each_family(&addresses) {
        errors.invalid(path.child("podCIDRs"), ranges, "may specify no more than one CIDR for each IP family");
    }
    let Some(old) = old else { return };
    let before = old.pod_cidrs.as_deref().unwrap_or_default();
    if !before.is_empty() && before != ranges {
        errors.forbidden(path.child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid");
    }
    let provider = |it: &NodeSpec| it.provider_id.clone().unwrap_or_default();
    if !provider(old).is_empty() && provider(old) != provider(spec) {
        errors.forbidden(path.child("providerID"), "node updates may not change providerID except from \"\" to valid");
    }
    let external = |it: &NodeSpec| it.external_id.clone().unwrap_or_default();
    if external(old) != external(spec) {
        errors.forbidden(path.child("externalID"), "may not be updated");
    }
}

fn validate_taints(taints: &[Taint], errors: &mut Errors) {
    for (index, taint) in taints.iter().enumerate() {
        // Sic, in Kubernetes.
        let at = || Path::from("metadata.taints").index(index);
        for complaint in name::qualified_name(&taint.key) {
            errors.invalid(at().child("key"), &taint.key, complaint);
        }
        let value = taint.value.as_deref().unwrap_or_default();
        let complaints = name::label_value(value);
        if !complaints.is_empty() {
            errors.invalid(at().child("value"), value, complaints.join(";"));
        }
        let effects = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
        checks::one_of(Some(&taint.effect), effects, || at().child("effect"), errors);
        if taints[..index].iter().any(|it| (&it.key, &it.effect) == (&taint.key, &taint.effect)) {
            let added = serde_json::to_string(&taint.time_added).unwrap_or_default();
            let shown = format!(
                "{{\"Key\":{:?},\"Value\":{value:?},\"Effect\":{:?},\"TimeAdded\":{added}}}",
                taint.key, taint.effect
            );
            errors.duplicate_text(at(), shown, "taints must be unique by key and effect pair");
        }
    }
}

fn status(it: &Value) -> Cell {
    let ready = list(&it["status"]["conditions"]).iter().rfind(|it| it["type"] == "Ready");
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
