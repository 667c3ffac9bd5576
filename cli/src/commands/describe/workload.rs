//! The page of a Deployment or ReplicaSet.

use serde_json::Value;

use super::{Page, plain};

/// Describes a workload of pods from a template.
pub fn describe(page: &mut Page, it: &Value) {
    let (spec, status) = (&it["spec"], &it["status"]);
    page.identity(it);
    page.field(0, "CreationTimestamp", plain(&it["metadata"]["creationTimestamp"]));
    page.labels(it);
    page.field(0, "Selector", selector(&spec["selector"]));
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    if it["kind"] == "Deployment" {
        page.field(
            0,
            "Replicas",
            format!(
                "{wanted} desired | {} updated | {} total | {} available | {} unavailable",
                number("updatedReplicas"),
                number("replicas"),
                number("availableReplicas"),
                number("unavailableReplicas")
            ),
        );
        page.field(0, "StrategyType", plain(&spec["strategy"]["type"]));
        page.field(0, "MinReadySeconds", spec["minReadySeconds"].as_i64().unwrap_or(0).to_string());
        let rolling = &spec["strategy"]["rollingUpdate"];
        if rolling.is_object() {
            let text = format!(
                "{} max unavailable, {} max surge",
                plain(&rolling["maxUnavailable"]),
                plain(&rolling["maxSurge"])
            );
            page.field(0, "RollingUpdateStrategy", text);
        }
    } else {
        page.field(0, "Replicas", format!("{} current / {wanted} desired", number("replicas")));
        page.field(0, "Ready", number("readyReplicas").to_string());
    }
    page.line(0, "Pod Template:");
    page.map(1, "Labels", &spec["template"]["metadata"]["labels"], "=");
    page.line(1, "Containers:");
    for container in spec["template"]["spec"]["containers"].as_array().into_iter().flatten() {
        page.line(2, format!("{}:", plain(&container["name"])));
        page.field(3, "Image", plain(&container["image"]));
        let ports = container["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|it| format!("{}/{}", plain(&it["containerPort"]), it["protocol"].as_str().unwrap_or("TCP")));
        let ports: Vec<String> = ports.collect();
        page.field(3, "Ports", if ports.is_empty() { "<none>".into() } else { ports.join(", ") });
    }
    page.conditions(it, &[("Type", "type"), ("Status", "status"), ("Reason", "reason"), ("Message", "message")]);
}

/// A label selector as text: `app=web,tier in (a,b)`.
fn selector(it: &Value) -> String {
    let mut out: Vec<String> = it["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    for requirement in it["matchExpressions"].as_array().into_iter().flatten() {
        let values = requirement["values"].as_array().into_iter().flatten().map(plain).collect::<Vec<_>>().join(",");
        let key = plain(&requirement["key"]);
        out.push(match requirement["operator"].as_str().unwrap_or_default() {
            "Exists" => key,
            "DoesNotExist" => format!("!{key}"),
            operator => format!("{key} {} ({values})", operator.to_lowercase()),
        });
    }
    if out.is_empty() { "<none>".into() } else { out.join(",") }
}
