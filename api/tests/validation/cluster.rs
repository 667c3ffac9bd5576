//! What Kubernetes refuses in the kinds around pods: services, workloads, configuration, nodes, addresses, events and roles.

use orlop_api::kind::Part;
use serde_json::{Value, json};

use super::{create, update};

#[test]
fn services() {
    let service = |spec: Value, expected: &[&str]| create("services", json!({ "spec": spec }), expected);
    service(
        json!({"type": "ExternalName", "externalName": "A", "clusterIP": "10.0.0.1"}),
        &[
            "FieldValueForbidden spec.clusterIPs: Forbidden: may not be set for ExternalName services",
            "FieldValueInvalid spec.externalName: Invalid value: \"A\": a lowercase RFC 1123 subdomain…",
        ],
    );
    service(
        json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 0, "targetPort": "a_", "appProtocol": ""}]}),
        &[
            "FieldValueInvalid spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
            "FieldValueInvalid spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "FieldValueInvalid spec.ports[0].targetPort: Invalid value: \"a_\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            "FieldValueInvalid spec.ports[0].appProtocol: Invalid value: \"\": name part must be non-empty",
            "FieldValueInvalid spec.ports[0].appProtocol: Invalid value: \"\": name part must consist of…",
        ],
    );
    service(
        json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}, "externalIPs": ["127.0.0.1", "x", "0.0.0.0"],
            "loadBalancerSourceRanges": [" 10.0.0.0/8 ", "x"], "loadBalancerClass": "a", "healthCheckNodePort": 5}),
        &[
            "FieldValueInvalid spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
            "FieldValueInvalid spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "FieldValueInvalid spec.externalIPs[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "FieldValueInvalid spec.externalIPs[2]: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)",
            "FieldValueForbidden spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
            "FieldValueInvalid spec.LoadBalancerSourceRanges[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "FieldValueForbidden spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
            "FieldValueInvalid spec.healthCheckNodePort: Invalid value: 5: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ],
    );
    service(
        json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"], "ipFamilies": ["IPv6", "IPv6", "IPv7"], "ipFamilyPolicy": "Any"}),
        &[
            "FieldValueDuplicate spec.ipFamilies[1]: Duplicate value: \"IPv6\"",
            "FieldValueNotSupported spec.ipFamilies[2]: Unsupported value: \"IPv7\": supported values: \"IPv4\", \"IPv6\"",
            "FieldValueNotSupported spec.ipFamilyPolicy: Unsupported value: \"Any\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
            "FieldValueInvalid spec.clusterIPs: Invalid value: [\"10.0.0.1\",\"10.0.0.2\"]: may specify no more than one IP for each IP family",
            "FieldValueInvalid spec.clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`",
            "FieldValueInvalid spec.clusterIPs[1]: Invalid value: \"10.0.0.2\": expected an IPv6 value as indicated by `ipFamilies[1]`",
        ],
    );
    update(
        "services",
        Part::Main,
        json!({}),
        json!({"spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ipFamilies": ["IPv6"]}}),
        &[
            "FieldValueInvalid spec.clusterIPs[0]: Invalid value: [\"10.96.0.10\"]: may not change once set",
            "FieldValueInvalid spec.ipFamilies[0]: Invalid value: [\"IPv6\"]: may not change once set",
            "FieldValueInvalid spec.clusterIPs[0]: Invalid value: \"10.96.0.10\": expected an IPv6 value as indicated by `ipFamilies[0]`",
        ],
    );
    update(
        "services",
        Part::Status,
        json!({}),
        json!({"status": {"loadBalancer": {"ingress": [{"ip": "x", "ipMode": "VIP"}, {"ipMode": "Proxy", "hostname": "1.2.3.4"}]}}}),
        &[
            "FieldValueInvalid status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "FieldValueForbidden status.loadBalancer.ingress[1].ipMode: Forbidden: may not be specified when `ip` is not set",
            "FieldValueInvalid status.loadBalancer.ingress[1].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
        ],
    );
}

#[test]
fn workloads() {
    let deployment = |spec: Value, expected: &[&str]| create("deployments", json!({ "spec": spec }), expected);
    deployment(
        json!({"strategy": {"type": "Big"}, "minReadySeconds": 600, "revisionHistoryLimit": -1}),
        &[
            "FieldValueNotSupported spec.strategy: Unsupported value: {\"Type\":\"Big\",\"RollingUpdate\":null}: supported values: \"Recreate\", \"RollingUpdate\"",
            "FieldValueInvalid spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
            "FieldValueInvalid spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
        ],
    );
    deployment(
        json!({"strategy": {"rollingUpdate": {"maxUnavailable": "101%", "maxSurge": "x"}}}),
        &[
            "FieldValueInvalid spec.strategy.rollingUpdate.maxSurge: Invalid value: \"x\": a valid percent string must be…",
            "FieldValueInvalid spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
        ],
    );
    for plural in ["deployments", "replicasets"] {
        create(
            plural,
            json!({"spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}}),
            &[
                "FieldValueInvalid spec.selector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator",
                "FieldValueInvalid spec.selector: Invalid value: {\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Near\"}],\"matchLabels\":{\"app\":\"a\"}}: invalid label selector",
            ],
        );
        create(
            plural,
            json!({"spec": {"template": {"metadata": {"labels": {"b": "c d"}}, "spec": {"restartPolicy": "Maybe", "activeDeadlineSeconds": 1}}}}),
            &[
                "FieldValueInvalid spec.template.labels: Invalid value: \"c d\": a valid label must be…",
                "FieldValueNotSupported spec.template.spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                "FieldValueNotSupported spec.template.spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\"",
                "FieldValueForbidden spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
            ],
        );
        update(
            plural,
            Part::Status,
            json!({}),
            json!({"status": {"replicas": 1, "readyReplicas": 1, "availableReplicas": 2, "observedGeneration": -1}}),
            &[
                "FieldValueInvalid status.observedGeneration: Invalid value: -1: must be greater than or equal to 0",
                "FieldValueInvalid status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "FieldValueInvalid status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
            ],
        );
    }
}

#[test]
fn configuration() {
    create(
        "configmaps",
        json!({"data": {"k": "v"}, "binaryData": {"k": "djI="}}),
        &["FieldValueInvalid data[k]: Invalid value: \"k\": duplicate of key present in binaryData"],
    );
    update(
        "configmaps",
        Part::Main,
        json!({"immutable": true, "data": {"a": "b"}}),
        json!({"immutable": false, "data": {"a/": "c"}}),
        &[
            "FieldValueForbidden immutable: Forbidden: field is immutable when `immutable` is set",
            "FieldValueForbidden data: Forbidden: field is immutable when `immutable` is set",
            "FieldValueInvalid data[a/]: Invalid value: \"a/\": a valid config key must consist of…",
        ],
    );
    let secret = |kind: &str, data: Value, expected: &[&str]| {
        create("secrets", json!({"type": kind, "stringData": data}), expected)
    };
    secret(
        "kubernetes.io/dockerconfigjson",
        json!({}),
        &["FieldValueRequired data[.dockerconfigjson]: Required value"],
    );
    secret(
        "kubernetes.io/dockercfg",
        json!({".dockercfg": "x"}),
        &[
            "FieldValueInvalid data[.dockercfg]: Invalid value: \"<secret contents redacted>\": invalid character 'x' looking for beginning of value",
        ],
    );
    secret(
        "kubernetes.io/basic-auth",
        json!({}),
        &["FieldValueRequired data[username]: Required value", "FieldValueRequired data[password]: Required value"],
    );
    secret("kubernetes.io/ssh-auth", json!({}), &["FieldValueRequired data[ssh-privatekey]: Required value"]);
    secret(
        "kubernetes.io/service-account-token",
        json!({}),
        &["FieldValueRequired metadata.annotations[kubernetes.io/service-account.name]: Required value"],
    );
}

#[test]
fn the_cluster() {
    create(
        "namespaces",
        json!({"spec": {"finalizers": ["mine"]}}),
        &[
            "FieldValueInvalid spec.finalizers: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
        ],
    );
    update(
        "namespaces",
        Part::Finalize,
        json!({}),
        json!({"spec": {"finalizers": ["mine"]}}),
        &[
            "FieldValueInvalid spec.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
        ],
    );
    update(
        "namespaces",
        Part::Status,
        json!({}),
        json!({"status": {"phase": "Terminating"}}),
        &[
            "FieldValueInvalid status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty",
        ],
    );
    let taint = json!({"key": "a", "value": "b c", "effect": "NoSchedule"});
    create(
        "nodes",
        json!({"spec": {"taints": [taint, {"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": ""}], "podCIDRs": ["10.0.0.0/24", "10.0.1.0/24", "x"]}}),
        &[
            "FieldValueInvalid metadata.taints[0].value: Invalid value: \"b c\": a valid label must be…",
            "FieldValueDuplicate metadata.taints[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}: taints must be unique by key and effect pair",
            "FieldValueRequired metadata.taints[2].effect: Required value",
            "FieldValueInvalid spec.podCIDRs[2]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "FieldValueInvalid spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\",\"x\"]: may specify no more than one CIDR for each IP family",
        ],
    );
    update(
        "nodes",
        Part::Main,
        json!({"spec": {"podCIDR": "10.0.0.0/24", "providerID": "a"}}),
        json!({"spec": {"podCIDRs": ["10.0.1.0/24"], "podCIDR": "10.0.1.0/24", "providerID": "b"}}),
        &[
            "FieldValueForbidden spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
            "FieldValueForbidden spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
        ],
    );
    update(
        "nodes",
        Part::Status,
        json!({}),
        json!({"status": {"capacity": {"pods": "500m"}, "addresses": [{"type": "Hostname", "address": "a"}, {"type": "Hostname", "address": "a"}]}}),
        &[
            "FieldValueInvalid status.capacity.pods: Invalid value: \"500m\": must be an integer",
            "FieldValueInvalid status.allocatable.pods: Invalid value: \"500m\": must be an integer",
            "FieldValueDuplicate status.addresses[1]: Duplicate value: {\"Type\":\"Hostname\",\"Address\":\"a\"}",
        ],
    );
    create(
        "leases",
        json!({"spec": {"strategy": "Best", "preferredHolder": "me", "leaseDurationSeconds": 0}}),
        &["FieldValueInvalid spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
    );
    create(
        "rolebindings",
        json!({"roleRef": {"name": ""}, "subjects": [{"kind": "User", "name": ""}, {"kind": "ServiceAccount", "name": "A", "apiGroup": "x"}, {"kind": "Robot", "name": "a"}]}),
        &[
            "FieldValueRequired roleRef.name: Required value",
            "FieldValueRequired subjects[0].name: Required value",
            "FieldValueInvalid subjects[0].name: Invalid value: \"\": user name cannot be empty",
            "FieldValueInvalid subjects[1].name: Invalid value: \"A\": a lowercase RFC 1123 subdomain…",
            "FieldValueNotSupported subjects[1].apiGroup: Unsupported value: \"x\": supported values: \"\"",
            "FieldValueNotSupported subjects[2].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
        ],
    );
    create(
        "clusterrolebindings",
        json!({"subjects": [{"kind": "ServiceAccount", "name": "a"}]}),
        &["FieldValueRequired subjects[0].namespace: Required value"],
    );
}

#[test]
fn addresses_and_events() {
    create(
        "endpoints",
        json!({"subsets": [{"addresses": [{"ip": "x", "nodeName": "A"}, {"ip": "169.254.0.1"}], "ports": [{"port": 1, "appProtocol": "/"}]}]}),
        &[
            "FieldValueInvalid subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "FieldValueInvalid subsets[0].addresses[0].nodeName: Invalid value: \"A\": a lowercase RFC 1123 subdomain…",
            "FieldValueInvalid subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address",
            "FieldValueInvalid subsets[0].addresses[1].ip: Invalid value: \"169.254.0.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
            "FieldValueInvalid subsets[0].ports[0].appProtocol: Invalid value: \"/\": prefix part must be non-empty",
            "FieldValueInvalid subsets[0].ports[0].appProtocol: Invalid value: \"/\": name part must be non-empty",
            "FieldValueInvalid subsets[0].ports[0].appProtocol: Invalid value: \"/\": name part must consist of…",
        ],
    );
    create(
        "endpointslices",
        json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.b."]}, {"addresses": ["a"]}]}),
        &[
            "FieldValueInvalid endpoints[1].addresses[0]: Invalid value: \"a\": should be a domain with at least two segments separated by dots",
        ],
    );
    let many: Vec<Value> = (0..1001).map(|_| json!({"addresses": []})).collect();
    create(
        "endpointslices",
        json!({"endpoints": many}),
        &["FieldValueTooMany endpoints: Too many: 1001: must have at most 1000 items"],
    );
    update(
        "endpointslices",
        Part::Main,
        json!({}),
        json!({"addressType": "IPv6"}),
        &["FieldValueInvalid addressType: Invalid value: \"IPv6\": field is immutable"],
    );
    create(
        "events",
        json!({"regarding": {"namespace": ""}, "reportingController": "", "type": "Odd", "deprecatedCount": 1, "note": "x".repeat(1025), "series": {"count": 1, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}}),
        &[
            "FieldValueRequired reportingController: Required value",
            "FieldValueInvalid reportingController: Invalid value: \"\": name part must be non-empty",
            "FieldValueInvalid reportingController: Invalid value: \"\": name part must consist of…",
            "FieldValueInvalid message: Invalid value: \"\": can have at most 1024 characters",
            "FieldValueInvalid series.count: Invalid value: \"\": should be at least 2",
            "FieldValueInvalid type: Invalid value: \"\": has invalid value: Odd",
            "FieldValueInvalid count: Invalid value: \"\": needs to be unset",
        ],
    );
}
