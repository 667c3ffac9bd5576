//! `HorizontalPodAutoscaler` of `autoscaling/v1`, and its conversion to and from the form of `autoscaling/v2` in which all are stored.
//!
//! What the older form has no fields for stands in four annotations, as Kubernetes writes them (`pkg/apis/autoscaling/v1/conversion.go`).

use k8s_openapi::api::autoscaling::v1::{HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerSpec;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{NAMES, UTILIZATION_PERCENT, columns, validate_spec, validate_status};
use crate::field::Errors;
use crate::kind::{Conversion, Names, Part, Strategy, Sub};
use crate::kinds::cells::list;
use crate::table::Column;

/// Between `autoscaling/v1` and `autoscaling/v2`.
pub const CONVERSION: Conversion = Conversion { from_stored, to_stored };

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

impl Strategy for HorizontalPodAutoscaler {
    const NAMES: Names = NAMES;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const COLUMNS: &'static [Column] = columns::V1;

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        spec.min_replicas.get_or_insert(1);
        let others = self.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(METRICS));
        if !others {
            spec.target_cpu_utilization_percentage.get_or_insert(UTILIZATION_PERCENT);
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        // What stands in annotations belongs to the specification or the status as much as the fields do.
        let kept: [&str; 2] = match (part, old) {
            (_, None) => {
                self.status = Some(HorizontalPodAutoscalerStatus::default());
                [CURRENT_METRICS, CONDITIONS]
            }
            (Part::Status, Some(old)) => {
                self.spec.clone_from(&old.spec);
                [METRICS, BEHAVIOR]
            }
            (_, Some(old)) => {
                self.status.clone_from(&old.status);
                [CURRENT_METRICS, CONDITIONS]
            }
        };
        let before = old.and_then(|it| it.metadata.annotations.as_ref());
        for key in kept {
            match before.and_then(|it| it.get(key)) {
                Some(value) => {
                    let annotations = self.metadata.annotations.get_or_insert_with(Default::default);
                    annotations.insert(key.to_owned(), value.clone());
                }
                None => {
                    self.metadata.annotations.as_mut().and_then(|it| it.remove(key));
                }
            }
        }
        if self.metadata.annotations.as_ref().is_some_and(|it| it.is_empty()) {
            self.metadata.annotations = None;
        }
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status {
            let of = |it: &HorizontalPodAutoscalerStatus| (it.current_replicas, it.desired_replicas);
            return validate_status(self.status.as_ref().map(of), errors);
        }
        // The newer form is the one that has rules.
        let stored = |it: &Self| serde_json::to_value(it).map(to_stored).unwrap_or_default();
        let before = old.and_then(|it| HorizontalPodAutoscalerSpec::deserialize(&stored(it)["spec"]).ok());
        let stored = stored(self);
        match HorizontalPodAutoscalerSpec::deserialize(&stored["spec"]) {
            Ok(spec) => validate_spec(&spec, before.as_ref(), errors),
            Err(error) => errors.invalid("spec", &stored["spec"], error.to_string()),
        }
    }
}

/// A field of a metric, in dots within its source in the newer form, and its name in the older one.
type Names2 = (&'static str, &'static str);

const SPEC: &[(&str, &[Names2])] = &[
    (
        "object",
        &[
            ("describedObject", "target"),
            ("metric.name", "metricName"),
            ("metric.selector", "selector"),
            ("target.value", "targetValue"),
            ("target.averageValue", "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metric.name", "metricName"),
            ("metric.selector", "selector"),
            ("target.averageValue", "targetAverageValue"),
        ],
    ),
    ("resource", RESOURCE),
    ("containerResource", RESOURCE),
    (
        "external",
        &[
            ("metric.name", "metricName"),
            ("metric.selector", "metricSelector"),
            ("target.value", "targetValue"),
            ("target.averageValue", "targetAverageValue"),
        ],
    ),
];
const RESOURCE: &[Names2] = &[
    ("name", "name"),
    ("container", "container"),
    ("target.averageUtilization", "targetAverageUtilization"),
    ("target.averageValue", "targetAverageValue"),
];
const STATUS: &[(&str, &[Names2])] = &[
    (
        "object",
        &[
            ("describedObject", "target"),
            ("metric.name", "metricName"),
            ("metric.selector", "selector"),
            ("current.value", "currentValue"),
            ("current.averageValue", "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metric.name", "metricName"),
            ("metric.selector", "selector"),
            ("current.averageValue", "currentAverageValue"),
        ],
    ),
    ("resource", CURRENT_RESOURCE),
    ("containerResource", CURRENT_RESOURCE),
    (
        "external",
        &[
            ("metric.name", "metricName"),
            ("metric.selector", "metricSelector"),
            ("current.value", "currentValue"),
            ("current.averageValue", "currentAverageValue"),
        ],
    ),
];
const CURRENT_RESOURCE: &[Names2] = &[
    ("name", "name"),
    ("container", "container"),
    ("current.averageUtilization", "currentAverageUtilization"),
    ("current.averageValue", "currentAverageValue"),
];

fn pointer(dotted: &str) -> String {
    format!("/{}", dotted.replace('.', "/"))
}

/// A metric of the newer form in the older one.
fn older(metric: &Value, forms: &[(&str, &[Names2])]) -> Value {
    let mut out = json!({"type": metric["type"]});
    for (field, names) in forms.iter().filter(|(field, _)| metric[*field].is_object()) {
        out[*field] = json!({});
        for (newer, older) in *names {
            if let Some(value) = metric[*field].pointer(&pointer(newer)).filter(|it| !it.is_null()) {
                out[*field][*older] = value.clone();
            }
        }
    }
    out
}

/// A metric of the older form in the newer one; what is wanted has a type, what is has none.
fn newer(metric: &Value, forms: &[(&str, &[Names2])], wanted: bool) -> Value {
    let mut out = json!({"type": metric["type"]});
    for (field, names) in forms.iter().filter(|(field, _)| metric[*field].is_object()) {
        out[*field] = json!({});
        for (newer, older) in *names {
            let value = &metric[*field][*older];
            if value.is_null() {
                continue;
            }
            match newer.split_once('.') {
                Some((outer, inner)) => out[*field][outer][inner] = value.clone(),
                None => out[*field][*newer] = value.clone(),
            }
        }
        if wanted {
            let target = &out[*field]["target"];
            let has = |name: &str| !target[name].is_null();
            let kind = match *field {
                _ if has("averageUtilization") => "Utilization",
                "object" if !has("averageValue") => "Value",
                "external" if has("value") => "Value",
                _ => "AverageValue",
            };
            out[*field]["target"]["type"] = kind.into();
        }
    }
    out
}

/// The keys with their first letter in the other case: Go writes a type without names for its fields as they are called in Go.
fn recased(value: &Value, upper: bool) -> Value {
    match value {
        Value::Object(fields) => {
            let renamed = fields.iter().map(|(key, value)| {
                let mut letters = key.chars();
                let first =
                    letters.next().map(|it| if upper { it.to_ascii_uppercase() } else { it.to_ascii_lowercase() });
                (first.into_iter().chain(letters).collect(), recased(value, upper))
            });
            Value::Object(renamed.filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(|it| recased(it, upper)).collect(),
        other => other.clone(),
    }
}

fn is_processor_time(metric: &Value) -> bool {
    metric["type"] == "Resource" && metric["resource"]["name"] == "cpu"
}

/// The four annotations, taken out of an object: each as what it says, nothing where it is not well-formed.
fn take_annotations(it: &mut Value) -> [Value; 4] {
    let mut taken = [METRICS, BEHAVIOR, CURRENT_METRICS, CONDITIONS].map(|key| {
        let annotations = it.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        match annotations.and_then(|it| it.remove(key)) {
            Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or_default(),
            _ => Value::Null,
        }
    });
    taken[1] = recased(&taken[1], false);
    if let Some(meta) = it.get_mut("metadata").and_then(Value::as_object_mut)
        && meta.get("annotations").and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        meta.remove("annotations");
    }
    taken
}

fn from_stored(mut it: Value) -> Value {
    take_annotations(&mut it);
    it["apiVersion"] = "autoscaling/v1".into();
    let mut told = Map::new();
    if let Some(spec) = it.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = spec.remove("metrics").unwrap_or_default();
        let target = |it: &Value| it["resource"]["target"]["averageUtilization"].clone();
        let first = list(&metrics).iter().find(|it| is_processor_time(it)).map(target);
        if let Some(percent) = first.filter(|it| !it.is_null()) {
            spec.insert("targetCPUUtilizationPercentage".into(), percent);
        }
        let others: Vec<Value> = list(&metrics)
            .iter()
            .filter(|it| !is_processor_time(it) || target(it).is_null())
            .map(|it| older(it, SPEC))
            .collect();
        if !others.is_empty() {
            told.insert(METRICS.into(), Value::from(others).to_string().into());
        }
        if let Some(behavior) = spec.remove("behavior").filter(|it| !it.is_null()) {
            told.insert(BEHAVIOR.into(), recased(&behavior, true).to_string().into());
        }
    }
    if let Some(status) = it.get_mut("status").and_then(Value::as_object_mut) {
        status.entry("currentReplicas").or_insert(0.into());
        let metrics = status.remove("currentMetrics").unwrap_or_default();
        let now = |it: &Value| it["resource"]["current"]["averageUtilization"].clone();
        for percent in list(&metrics).iter().filter(|it| is_processor_time(it)).map(now).filter(|it| !it.is_null()) {
            status.insert("currentCPUUtilizationPercentage".into(), percent);
        }
        let metrics: Vec<Value> = list(&metrics).iter().map(|it| older(it, STATUS)).collect();
        let conditions = status.remove("conditions").unwrap_or_default();
        for (key, value) in [(CURRENT_METRICS, Value::from(metrics)), (CONDITIONS, conditions)] {
            if !list(&value).is_empty() {
                told.insert(key.into(), value.to_string().into());
            }
        }
    }
    if !told.is_empty() {
        for (key, value) in told {
            it["metadata"]["annotations"][key] = value;
        }
    }
    it
}

pub(super) fn to_stored(mut it: Value) -> Value {
    let [others, behavior, current, conditions] = take_annotations(&mut it);
    it["apiVersion"] = "autoscaling/v2".into();
    if let Some(spec) = it.get_mut("spec").and_then(Value::as_object_mut) {
        let mut metrics: Vec<Value> = list(&others).iter().map(|it| newer(it, SPEC, true)).collect();
        let percent = spec.remove("targetCPUUtilizationPercentage").filter(|it| !it.is_null());
        if let Some(percent) = percent.or_else(|| metrics.is_empty().then(|| UTILIZATION_PERCENT.into())) {
            let target = json!({"type": "Utilization", "averageUtilization": percent});
            metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
        }
        spec.insert("metrics".into(), metrics.into());
        if behavior.as_object().is_some_and(|it| !it.is_empty()) {
            spec.insert("behavior".into(), behavior);
        }
    }
    if let Some(status) = it.get_mut("status").and_then(Value::as_object_mut) {
        let percent = status.remove("currentCPUUtilizationPercentage").filter(|it| !it.is_null());
        let told: Vec<Value> = match (list(&current), percent) {
            ([], Some(percent)) => {
                let resource = json!({"name": "cpu", "current": {"averageUtilization": percent}});
                vec![json!({"type": "Resource", "resource": resource})]
            }
            (current, _) => current.iter().map(|it| newer(it, STATUS, false)).collect(),
        };
        for (field, value) in [("currentMetrics", Value::from(told)), ("conditions", conditions)] {
            if !list(&value).is_empty() {
                status.insert(field.into(), value);
            }
        }
    }
    it
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what stands in specification, status and annotations.
    fn check(stored: Value, served: Value) {
        let whole = |version: &str, it: &Value| {
            let mut out = json!({"apiVersion": version, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}});
            for (name, value) in it.as_object().unwrap() {
                if name == "annotations" {
                    let texts = value.as_object().unwrap().iter();
                    for (key, value) in texts {
                        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        out["metadata"]["annotations"][key] = text.into();
                    }
                } else {
                    out[name] = value.clone();
                }
            }
            out
        };
        let (stored, served) = (whole("autoscaling/v2", &stored), whole("autoscaling/v1", &served));
        assert_eq!(from_stored(stored.clone()), served);
        assert_eq!(to_stored(served), stored);
    }

    #[test]
    fn processor_time_has_a_field() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
        check(
            json!({"spec": {"maxReplicas": 3, "metrics": [cpu]}, "annotations": {"a": "b"}}),
            json!({"spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}, "annotations": {"a": "b"}}),
        );
    }

    #[test]
    fn everything_else_stands_in_annotations() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
        let now = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 20, "averageValue": "1m"}}});
        check(
            json!({
                "spec": {
                    "metrics": [
                        {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
                        {"type": "External", "external": {"metric": {"name": "q", "selector": {}}, "target": {"type": "Value", "value": "7"}}},
                        cpu,
                    ],
                    "behavior": {"scaleDown": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}]}},
                },
                "status": {"currentReplicas": 1, "desiredReplicas": 2, "currentMetrics": [now], "conditions": [{"type": "AbleToScale", "status": "True"}]},
            }),
            json!({
                "spec": {"targetCPUUtilizationPercentage": 50},
                "status": {"currentReplicas": 1, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 20},
                "annotations": {
                    METRICS: [
                        {"type": "Pods", "pods": {"metricName": "m", "targetAverageValue": "5"}},
                        {"type": "External", "external": {"metricName": "q", "metricSelector": {}, "targetValue": "7"}},
                    ],
                    BEHAVIOR: {"ScaleDown": {"SelectPolicy": "Max", "Policies": [{"Type": "Pods", "Value": 1, "PeriodSeconds": 15}]}},
                    CURRENT_METRICS: [{"type": "Resource", "resource": {"name": "cpu", "currentAverageUtilization": 20, "currentAverageValue": "1m"}}],
                    CONDITIONS: [{"type": "AbleToScale", "status": "True"}],
                },
            }),
        );
    }

    #[test]
    fn without_any_metric_processor_time_counts() {
        let stored = to_stored(json!({"metadata": {}, "spec": {"maxReplicas": 1}}));
        assert_eq!(stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    }
}
