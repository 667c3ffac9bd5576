//! What `kubectl get hpa` shows.

use serde_json::Value;

use super::v1;
use crate::kinds::cells::{self, AGE, NONE, list, str_of};
use crate::table::{Cell, Column};

/// How many metrics a cell names.
const METRICS_SHOWN: usize = 2;
const UNKNOWN: &str = "<unknown>";
/// What Go prints where it expects a quantity and there is none.
const NIL: &str = "<nil>";

const REFERENCE: Column = cells::text("Reference", |it| {
    let target = &it["spec"]["scaleTargetRef"];
    Cell::Text(format!("{}/{}", str_of(&target["kind"]), str_of(&target["name"])))
})
.doc(".spec.scaleTargetRef");
const METRICS: &str = "metrics contains the specifications for which to use to calculate the desired replica count (the maximum replica count across all metrics will be used).  The desired replica count is calculated multiplying the ratio between the target value and the current value by the current number of pods.  Ergo, metrics used must decrease as the pod count is increased, and vice-versa.  See the individual metric source types for more information about how each type of metric must respond. If not set, the default metric will be set to 80% average CPU utilization.";
const MIN: Column = cells::text("MinPods", |it| {
    Cell::Text(it["spec"]["minReplicas"].as_i64().map_or("<unset>".to_owned(), |it| it.to_string()))
})
.doc(".spec.minReplicas");
const MAX: Column = cells::text("MaxPods", |it| cells::number(&it["spec"]["maxReplicas"])).doc(".spec.maxReplicas");
const REPLICAS: Column =
    cells::text("Replicas", |it| cells::number(&it["status"]["currentReplicas"])).doc(".status.currentReplicas");

/// Of `autoscaling/v2`.
pub const V2: &[Column] =
    &[REFERENCE, cells::text("Targets", |it| Cell::Text(targets(it))).doc(METRICS), MIN, MAX, REPLICAS, AGE];

/// Of `autoscaling/v1`.
pub const V1: &[Column] = &[
    REFERENCE,
    cells::text("Targets", |it| Cell::Text(targets(&v1::to_stored(it.clone())))).doc(METRICS),
    MIN,
    MAX,
    REPLICAS,
    AGE,
];

fn targets(it: &Value) -> String {
    let metrics = list(&it["spec"]["metrics"]);
    if metrics.is_empty() {
        return NONE.to_owned();
    }
    let now = list(&it["status"]["currentMetrics"]);
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .take(METRICS_SHOWN)
        .map(|(at, metric)| target(metric, now.get(at).unwrap_or(&Value::Null)))
        .collect();
    match metrics.len().saturating_sub(METRICS_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} + {more} more...", shown.join(", ")),
    }
}

/// `cpu: 20%/80%`: what is, and what should be.
fn target(metric: &Value, status: &Value) -> String {
    let field = match str_of(&metric["type"]) {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (wanted, is) = (&metric[field]["target"], &status[field]["current"]);
    let text = |value: &Value, absent: &str| value.as_str().unwrap_or(absent).to_owned();
    let reported = if status[field].is_object() { NIL } else { UNKNOWN };
    if !field.to_lowercase().ends_with("resource") {
        let by_pod = field == "pods" || wanted["averageValue"].is_string();
        let value = if by_pod { "averageValue" } else { "value" };
        let note = if by_pod && field != "pods" { " (avg)" } else { "" };
        // An average beside the one number is not asked for where the status has none.
        let absent = if note.is_empty() { reported } else { UNKNOWN };
        return format!("{}/{}{note}", text(&is[value], absent), text(&wanted[value], NIL));
    }
    let percent = |value: &Value, absent: &str| value.as_i64().map_or(absent.to_owned(), |it| format!("{it}%"));
    let (is, wanted) = match &wanted["averageValue"] {
        Value::String(wanted) => (text(&is["averageValue"], reported), wanted.clone()),
        _ => (percent(&is["averageUtilization"], UNKNOWN), percent(&wanted["averageUtilization"], "<auto>")),
    };
    format!("{}: {is}/{wanted}", str_of(&metric[field]["name"]))
}
