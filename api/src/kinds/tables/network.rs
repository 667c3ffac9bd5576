//! What says how pods are reached, and how many of them there must be: policies, addresses, budgets, autoscalers.

use serde_json::json;

use super::{broken, check, filled, fixed, misreported, row};
use crate::kind::Part;

#[test]
fn network_policies() {
    let plural = "networkpolicies";
    filled(plural, &[("/spec", json!({"podSelector": {}, "policyTypes": ["Ingress"]}))]);
    broken(
        plural,
        json!({"policyTypes": ["Ingress", "Sideways"], "ingress": [{
            "ports": [{"port": 80, "endPort": 79, "protocol": "ICMP"}, {"port": "a_", "endPort": 1}, {"endPort": 5}],
            "from": [{}, {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8", "11.0.0.0/16", "x"]}}, {"ipBlock": {"cidr": ""}}]}]}),
        &[
            "spec.ingress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`",
            "spec.ingress[0].ports[1].endPort: Invalid value: 1: may not be specified when `port` is non-numeric",
            "spec.ingress[0].ports[1].port: Invalid value: \"a_\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            "spec.ingress[0].ports[2].endPort: Invalid value: 5: may not be specified when `port` is not specified",
            "spec.ingress[0].from[0]: Required value: must specify a peer",
            "spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            "spec.ingress[0].from[1].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
            "spec.ingress[0].from[1].ipBlock.except[2]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer",
            "spec.ingress[0].from[2].ipBlock.cidr: Required value",
            "spec.policyTypes[1]: Unsupported value: \"Sideways\": supported values: \"Ingress\", \"Egress\"",
        ],
    );
    broken(
        plural,
        json!({"policyTypes": ["Ingress", "Egress", "Ingress"]}),
        &[
            "spec.policyTypes: Invalid value: [\"Ingress\",\"Egress\",\"Ingress\"]: may not specify more than two policyTypes",
        ],
    );
    row(plural, json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}), "a=b");
}

#[test]
fn ip_addresses() {
    let plural = "ipaddresses";
    check(
        plural,
        None,
        json!({"metadata": {"name": "10.0.0"}, "spec": {"parentRef": {"resource": "", "group": "A"}}}),
        &[
            "metadata.name: Invalid value: \"10.0.0\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "spec.parentRef.group: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.parentRef.resource: Required value",
        ],
    );
    check(plural, None, json!({"spec": {"parentRef": null}}), &["spec.parentRef: Required value"]);
    fixed(
        plural,
        json!({"parentRef": {"name": "other"}}),
        &[
            "spec.parentRef: Invalid value: {\"name\":\"other\",\"namespace\":\"default\",\"resource\":\"services\"}: field is immutable",
        ],
    );
    row(plural, json!({}), "services/default/web");
    row(plural, json!({"spec": {"parentRef": {"group": "X.io"}}}), "services.x.io/default/web");
}

#[test]
fn service_cidrs() {
    let plural = "servicecidrs";
    broken(plural, json!({"cidrs": []}), &["spec.cidrs: Required value: at least one CIDR required"]);
    broken(
        plural,
        json!({"cidrs": ["10.0.0.1/24", "10.1.0.0/24"]}),
        &[
            "spec.cidrs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length",
            "spec.cidrs: Invalid value: [\"10.0.0.1/24\",\"10.1.0.0/24\"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ],
    );
    fixed(plural, json!({"cidrs": ["10.0.0.0/24", "2001:db8::/64"]}), &[]);
    fixed(
        plural,
        json!({"cidrs": ["10.1.0.0/24"]}),
        &["spec.cidrs[0]: Invalid value: \"10.1.0.0/24\": field is immutable"],
    );
    row(plural, json!({"spec": {"cidrs": ["10.0.0.0/24", "2001:db8::/64"]}}), "10.0.0.0/24,2001:db8::/64");
}

#[test]
fn pod_disruption_budgets() {
    let plural = "poddisruptionbudgets";
    filled(
        plural,
        &[
            ("/status", json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})),
            ("/metadata/generation", json!(1)),
        ],
    );
    broken(
        plural,
        json!({"minAvailable": -1, "maxUnavailable": "101%", "unhealthyPodEvictionPolicy": "Never"}),
        &[
            "spec: Invalid value: {\"maxUnavailable\":\"101%\",\"minAvailable\":-1,\"unhealthyPodEvictionPolicy\":\"Never\"}: minAvailable and maxUnavailable cannot be both set",
            "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            "spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
        ],
    );
    let condition = json!({"type": "DisruptionAllowed", "status": "Maybe", "reason": "1", "observedGeneration": -1,
        "lastTransitionTime": "2026-01-01T00:00:00Z", "message": ""});
    misreported(
        plural,
        json!({"currentHealthy": -1, "conditions": [condition]}),
        &[
            "status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
            "status.conditions[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
            "status.conditions[0].reason: Invalid value: \"1\": a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
            "status.currentHealthy: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    row(plural, json!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 2}}), "50%|N/A|2");
}

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
fn volume_attributes_classes() {
    let plural = "volumeattributesclasses";
    check(
        plural,
        None,
        json!({"driverName": "", "parameters": null}),
        &["driverName: Required value", "parameters: Required value: must contain at least one key/value pair"],
    );
    check(
        plural,
        Some(Part::Main),
        json!({"driverName": "other", "parameters": {"iops": "1"}}),
        &[
            "driverName: Forbidden: updates to driverName are forbidden.",
            "parameters: Forbidden: updates to parameters are forbidden.",
        ],
    );
    row(plural, json!({}), "a|example.com");
    let default = json!({"volumeattributesclass.alpha.kubernetes.io/is-default-class": "true"});
    row(plural, json!({"metadata": {"annotations": default}}), "a (default)|example.com");
}

#[test]
fn endpoints_show_who_is_ready() {
    let of = |subsets| json!({ "subsets": subsets });
    row("endpoints", json!({}), "<none>");
    row("endpoints", of(json!([{"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}])), "");
    row(
        "endpoints",
        of(json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}])),
        "10.0.0.1:80,[fd00::1]:80",
    );
    row(
        "endpointslices",
        json!({"ports": [{"name": ""}], "endpoints": [{"addresses": ["10.0.0.1"]}]}),
        "IPv4|<unset>|10.0.0.1",
    );
}
