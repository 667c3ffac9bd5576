//! The page of a node.

use orlop_api::quantity::Quantity;
use serde_json::Value;

use super::{Page, plain};
use crate::manifest::{name_of, namespace_of};

/// Describes a node on which these pods are.
pub fn describe(page: &mut Page, node: &Value, pods: &[Value]) {
    let (spec, status) = (&node["spec"], &node["status"]);
    page.identity(node);
    page.labels(node);
    page.field(0, "CreationTimestamp", plain(&node["metadata"]["creationTimestamp"]));
    let taints = spec["taints"].as_array().into_iter().flatten().map(|it| {
        let value = it["value"].as_str().map(|it| format!("={it}")).unwrap_or_default();
        format!("{}{value}:{}", plain(&it["key"]), plain(&it["effect"]))
    });
    let taints: Vec<String> = taints.collect();
    page.field(0, "Taints", if taints.is_empty() { "<none>".into() } else { taints.join(", ") });
    page.field(0, "Unschedulable", spec["unschedulable"].as_bool().unwrap_or(false).to_string());
    page.conditions(
        node,
        &[
            ("Type", "type"),
            ("Status", "status"),
            ("LastHeartbeatTime", "lastHeartbeatTime"),
            ("LastTransitionTime", "lastTransitionTime"),
            ("Reason", "reason"),
            ("Message", "message"),
        ],
    );
    page.line(0, "Addresses:");
    for it in status["addresses"].as_array().into_iter().flatten() {
        page.field(1, &plain(&it["type"]), plain(&it["address"]));
    }
    for (title, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        page.line(0, format!("{title}:"));
        for (name, amount) in status[field].as_object().into_iter().flatten() {
            page.field(1, name, plain(amount));
        }
    }
    page.line(0, "System Info:");
    for (name, value) in status["nodeInfo"].as_object().into_iter().flatten().filter(|(_, value)| !value.is_object()) {
        page.field(1, &super::title(name), plain(value));
    }
    page.field(0, "PodCIDR", plain(&spec["podCIDR"]));
    let running: Vec<&Value> = pods
        .iter()
        .filter(|it| !["Succeeded", "Failed"].contains(&it["status"]["phase"].as_str().unwrap_or_default()))
        .collect();
    let amount = |pod: &Value, what: &str, name: &str| -> i64 {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let read = |it: &Value| Some(Quantity::parse(it["resources"][what][name].as_str()?).ok()?.milli_value_ceil());
        containers.filter_map(read).sum()
    };
    let shown = |milli: i64, name: &str| {
        if name == "cpu" { format!("{milli}m") } else { format!("{}Mi", milli / 1000 / 1024 / 1024) }
    };
    let rows = running.iter().map(|pod| {
        let cell = |what: &str, name: &str| shown(amount(pod, what, name), name);
        vec![
            namespace_of(pod).unwrap_or_default().to_owned(),
            name_of(pod).to_owned(),
            cell("requests", "cpu"),
            cell("limits", "cpu"),
            cell("requests", "memory"),
            cell("limits", "memory"),
        ]
    });
    let title = format!("Non-terminated Pods ({} in total)", running.len());
    page.table(
        &title,
        &["Namespace", "Name", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits"],
        rows.collect(),
    );
    let total = |what: &str, name: &str| {
        let sum: i64 = running.iter().map(|it| amount(it, what, name)).sum();
        let capacity = status["allocatable"][name].as_str().and_then(|it| Quantity::parse(it).ok());
        let capacity = capacity.map_or(0, |it| it.milli_value_ceil());
        let percent = if capacity > 0 { sum as i128 * 100 / i128::from(capacity) } else { 0 };
        format!("{} ({percent}%)", shown(sum, name))
    };
    let rows = ["cpu", "memory"].map(|name| vec![name.to_owned(), total("requests", name), total("limits", name)]);
    page.table("Allocated resources", &["Resource", "Requests", "Limits"], rows.to_vec());
}
