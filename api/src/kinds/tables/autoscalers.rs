//! What autoscalers look at, how fast they may be, and which versions of what they scale they may name.

use serde_json::{Value, json};

use super::{broken, filled, fixed, misreported, row};
use crate::kind::Part;
use crate::kinds::tests::mistakes;

#[test]
fn horizontal_pod_autoscalers() {
    let plural = "horizontalpodautoscalers";
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
    filled(
        plural,
        &[("/spec/minReplicas", json!(1)), ("/spec/metrics", json!([cpu])), ("/status", json!({"desiredReplicas": 0}))],
    );
    broken(
        plural,
        json!({"minReplicas": 0, "maxReplicas": -1, "scaleTargetRef": {"kind": "", "name": "a/b"}}),
        &[
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.maxReplicas: Invalid value: -1: must be greater than 0",
            "spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`",
            "spec.scaleTargetRef.kind: Required value",
            "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'",
            "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
        ],
    );
    broken(
        plural,
        json!({"metrics": [
            {"type": "Pods", "pods": {"metric": {"name": ""}, "target": {"type": "Value", "value": "0"}}},
            {"type": "Resource", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}}],
            "behavior": {"scaleUp": {"selectPolicy": "Any", "policies": [{"type": "All", "value": 0, "periodSeconds": 1801}]},
                "scaleDown": {"stabilizationWindowSeconds": 3601, "tolerance": "-1"}}}),
        &[
            "spec.metrics[0].pods.metric.name: Required value: must specify a metric name",
            "spec.metrics[0].pods.target.value: Invalid value: \"0\": must be positive",
            "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
            "spec.metrics[1].resource: Required value: must populate information for the given metric source",
            "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Any\": supported values: \"Disabled\", \"Max\", \"Min\"",
            "spec.behavior.scaleUp.policies[0].type: Unsupported value: \"All\": supported values: \"Percent\", \"Pods\"",
            "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            "spec.behavior.scaleDown.tolerance: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    );
    misreported(
        plural,
        json!({"currentReplicas": -1, "desiredReplicas": -1}),
        &[
            "status.currentReplicas: Invalid value: -1: must be greater than or equal to 0",
            "status.desiredReplicas: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    row(plural, json!({}), "Deployment/a|cpu: <unknown>/80%|1|3|0");
    let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "5"}}});
    row(
        plural,
        json!({"spec": {"metrics": [pods, cpu, pods]}, "status": {"currentReplicas": 2,
            "currentMetrics": [{"type": "Pods", "pods": {"current": {"averageValue": "4500m"}}}]}}),
        "Deployment/a|4500m/5, cpu: <unknown>/80% + 1 more...|1|3|2",
    );
    let external = json!({"type": "External", "external": {"target": {"value": "5"}}});
    row(
        plural,
        json!({"spec": {"metrics": [external]}, "status": {"currentMetrics": [{"external": {"current": {"averageValue": "1"}}}]}}),
        "Deployment/a|<nil>/5|1|3|0",
    );
}

#[test]
fn horizontal_pod_autoscalers_of_the_first_version() {
    let kind = super::KINDS.iter().rfind(|it| it.names.plural == "horizontalpodautoscalers").unwrap();
    let it = super::admit(kind, super::minimal(kind));
    assert_eq!(it["spec"]["targetCPUUtilizationPercentage"], 80);
    assert_eq!(it["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
    let targets = kind.columns.iter().find(|it| it.name == "Targets").unwrap();
    assert_eq!((targets.cell)(&it), crate::table::Cell::Text("cpu: <unknown>/80%".to_owned()));
}

#[test]
fn references_of_autoscalers_name_a_version() {
    let target = |kind: &str, version: Value| json!({"scaleTargetRef": {"kind": kind, "apiVersion": version}});
    let plural = "horizontalpodautoscalers";
    let ungrouped = |shown: &str| {
        format!("spec.scaleTargetRef.apiVersion: Invalid value: \"{shown}\": apiVersion must specify API group")
    };
    broken(plural, target("Deployment", json!(null)), &[&ungrouped("")]);
    broken(plural, target("Deployment", json!("v1")), &[&ungrouped("v1")]);
    broken(plural, target("ReplicationController", json!("v1")), &[]);
    let formed = "spec.scaleTargetRef.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c";
    broken(plural, target("ReplicationController", json!("a/b/c")), &[formed]);
    fixed(plural, target("Deployment", json!("v1")), &[&ungrouped("v1")]);
    broken(
        plural,
        json!({"metrics": [
            {"type": "Object", "object": {"describedObject": {"kind": "Pod", "name": "p", "apiVersion": "a/b/c"},
                "metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}},
            {"type": "ContainerResource", "containerResource": {"name": "disk", "container": "c",
                "target": {"type": "Utilization", "averageUtilization": 1}}}]}),
        &[
            "spec.metrics[0].object.describedObject.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            "spec.metrics[1].containerResource.name: Invalid value: \"disk\": must be a standard resource type or fully qualified",
            "spec.metrics[1].containerResource.name: Invalid value: \"disk\": must be a standard resource for containers",
        ],
    );
    // What was stored before there was the rule may stay, in both versions.
    for kind in super::KINDS.iter().filter(|it| it.names.plural == plural) {
        let mut old = super::admit(kind, super::minimal(kind));
        old["spec"]["scaleTargetRef"]["apiVersion"] = "v1".into();
        let mut new = old.clone();
        super::merge(&mut new, json!({"metadata": {"resourceVersion": "7"}, "spec": {"maxReplicas": 4}}));
        assert_eq!(mistakes(kind, Some(Part::Main), new.clone(), Some(&old)), Vec::<String>::new());
        new["spec"]["scaleTargetRef"]["kind"] = "StatefulSet".into();
        assert_eq!(mistakes(kind, Some(Part::Main), new, Some(&old)), [ungrouped("v1")]);
        assert_eq!(
            mistakes(kind, None, json!({"metadata": {"name": "a"}}), None),
            [
                "spec.maxReplicas: Invalid value: 0: must be greater than 0",
                "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
                "spec.scaleTargetRef.kind: Required value",
                "spec.scaleTargetRef.name: Required value",
                &ungrouped(""),
            ]
        );
    }
}
