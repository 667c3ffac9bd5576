//! Ingresses, and the kinds that name a way of doing something: classes of ingresses, of storage, of priority, of running pods.

use serde_json::json;

use super::{broken, check, filled, fixed, misreported, row};
use crate::kind::Part;

#[test]
fn ingresses() {
    let plural = "ingresses";
    filled(plural, &[("/status", json!({"loadBalancer": {}})), ("/metadata/generation", json!(1))]);
    broken(
        plural,
        json!({"defaultBackend": null, "ingressClassName": "A_b"}),
        &[
            "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
            "spec.ingressClassName: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    broken(
        plural,
        json!({"rules": [{"host": "10.0.0.1", "http": {"paths": [
            {"path": "a//b/..", "pathType": "Prefix", "backend": backend},
            {"pathType": "Any", "backend": {"service": {"name": "web", "port": {}}}},
            {"pathType": "ImplementationSpecific", "backend": {}},
            {"path": "x", "pathType": "Exact", "backend": {"service": backend["service"], "resource": {"kind": "A", "name": "a"}}}]}}]}),
        &[
            "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must be an absolute path",
            "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must not contain '//'",
            "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": cannot end with '/..'",
            "spec.rules[0].http.paths[1].pathType: Unsupported value: \"Any\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"",
            "spec.rules[0].http.paths[1].backend: Required value: port name or number is required",
            "spec.rules[0].http.paths[2].backend: Invalid value: \"\": resource or service backend is required",
            "spec.rules[0].http.paths[3].path: Invalid value: \"x\": must be an absolute path",
            "spec.rules[0].http.paths[3].backend: Invalid value: \"\": cannot set both resource and service backends",
        ],
    );
    check(
        plural,
        None,
        json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}}, "spec": {"ingressClassName": "b"}}),
        &[
            "annotations.kubernetes.io/ingress.class: Invalid value: \"a\": must match `ingressClassName` when both are specified",
        ],
    );
    misreported(
        plural,
        json!({"loadBalancer": {"ingress": [{"ip": "x"}, {"hostname": "10.0.0.1"}]}}),
        &[
            "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "status.loadBalancer.ingress[1].hostname: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
        ],
    );
    row(plural, json!({}), "<none>|*||80");
    row(
        plural,
        json!({"spec": {"ingressClassName": "c", "tls": [{}], "rules": [{"host": "a"}, {"host": "b"}, {}, {"host": "d"}, {"host": "e"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.2"}, {"hostname": "x.y"}, {"ip": "10.0.0.1"}]}}}),
        "c|a,b,d + 2 more...|10.0.0.1,10.0.0.2,x.y|80, 443",
    );
}

#[test]
fn ingress_classes() {
    let plural = "ingressclasses";
    broken(
        plural,
        json!({"controller": "nginx", "parameters": {"kind": "A", "name": "a", "namespace": "b"}}),
        &[
            "spec.controller: Invalid value: \"nginx\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
        ],
    );
    broken(
        plural,
        json!({"parameters": {"kind": "A", "name": "a", "scope": "Namespace"}}),
        &["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
    );
    fixed(
        plural,
        json!({"controller": "example.com/b"}),
        &["spec.controller: Invalid value: \"example.com/b\": field is immutable"],
    );
    row(plural, json!({}), "example.com/a|<none>");
    row(
        plural,
        json!({"spec": {"parameters": {"apiGroup": "k8s.x", "kind": "A", "name": "a"}}}),
        "example.com/a|A.k8s.x/a",
    );
}

#[test]
fn storage_classes() {
    let plural = "storageclasses";
    filled(plural, &[("/reclaimPolicy", json!("Delete")), ("/volumeBindingMode", json!("Immediate"))]);
    check(
        plural,
        None,
        json!({"provisioner": "", "reclaimPolicy": "Recycle", "volumeBindingMode": "Later", "parameters": {"": "a"},
            "allowedTopologies": [{"matchLabelExpressions": [{"key": "a b", "values": []}]}]}),
        &[
            "provisioner: Required value",
            "parameters: Invalid value: \"\": field can not be empty.",
            "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
            "volumeBindingMode: Unsupported value: \"Later\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
            "allowedTopologies[0].matchLabelExpressions[0].values: Required value",
            "allowedTopologies[0].matchLabelExpressions[0].key: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    );
    let zone = |values: &[&str]| json!({"key": "zone", "values": values});
    check(
        plural,
        None,
        json!({"allowedTopologies": [{"matchLabelExpressions": [zone(&["a", "b"])]}, {"matchLabelExpressions": [zone(&["b", "a"])]},
            {"matchLabelExpressions": [zone(&["c"]), zone(&["d"])]}]}),
        &[
            "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
            "allowedTopologies[2].matchLabelExpressions[1].key: Duplicate value: \"zone\"",
        ],
    );
    check(
        plural,
        None,
        json!({"allowedTopologies": [{}]}),
        &["allowedTopologies[0].matchLabelExpressions: Duplicate value: \"\""],
    );
    check(
        plural,
        Some(Part::Main),
        json!({"provisioner": "b", "parameters": {"a": "b"}, "reclaimPolicy": "Retain", "allowVolumeExpansion": true}),
        &[
            "parameters: Forbidden: updates to parameters are forbidden.",
            "provisioner: Forbidden: updates to provisioner are forbidden.",
            "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
        ],
    );
    row(plural, json!({}), "a|example.com/a|Delete|Immediate|false");
    row(
        plural,
        json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}),
        "a (default)|example.com/a|Delete|Immediate|false",
    );
}

#[test]
fn priority_classes() {
    let plural = "priorityclasses";
    filled(plural, &[("/preemptionPolicy", json!("PreemptLowerPriority")), ("/metadata/generation", json!(1))]);
    check(
        plural,
        None,
        json!({"value": 1_000_000_001, "preemptionPolicy": "Always"}),
        &[
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
            "preemptionPolicy: Unsupported value: \"Always\": supported values: \"PreemptLowerPriority\", \"Never\"",
        ],
    );
    let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: ";
    for (name, error) in [
        ("system-mine", "system-mine is not a known system priority class"),
        ("system-node-critical", "value of system-node-critical PriorityClass must be 2000001000"),
    ] {
        check(plural, None, json!({"metadata": {"name": name}}), &[&format!("{reserved}{error}")]);
    }
    check(plural, None, json!({"metadata": {"name": "system-cluster-critical"}, "value": 2_000_000_000}), &[]);
    check(
        plural,
        Some(Part::Main),
        json!({"value": 5, "preemptionPolicy": "Never"}),
        &[
            "value: Forbidden: may not be changed in an update.",
            "preemptionPolicy: Invalid value: \"Never\": field is immutable",
        ],
    );
    let policy = "preemptionPolicy: Invalid value: \"Always\": field is immutable";
    check(plural, Some(Part::Main), json!({"globalDefault": true, "preemptionPolicy": "Always"}), &[policy]);
    row(plural, json!({"globalDefault": true}), "1000|true|PreemptLowerPriority");
}

#[test]
fn runtime_classes() {
    let plural = "runtimeclasses";
    check(
        plural,
        None,
        json!({"overhead": {"podFixed": {"cpu": "-1"}}, "scheduling": {"nodeSelector": {"a": "b c"},
            "tolerations": [{"key": "a"}, {"key": "a", "effect": "Never"}, {"key": "a", "tolerationSeconds": 1}]}}),
        &[
            "overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            "scheduling.nodeSelector: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            "scheduling.tolerations[1].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            "scheduling.tolerations[2].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            "scheduling.tolerations[2]: Duplicate value: {\"Key\":\"a\",\"Operator\":\"\",\"Value\":\"\",\"Effect\":\"\",\"TolerationSeconds\":1}",
        ],
    );
    check(plural, Some(Part::Main), json!({"handler": "b"}), &["handler: Invalid value: \"b\": field is immutable"]);
    row(plural, json!({}), "a");
}
