//! What says how pods are reached, and how many of them there must be: policies, addresses, budgets, classes.

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
            "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`",
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
            "spec.parentRef: Invalid value: {\"Group\":\"\",\"Resource\":\"services\",\"Namespace\":\"default\",\"Name\":\"other\"}: field is immutable",
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
    broken(
        plural,
        json!({"cidrs": ["10.0.0.0/24", "10.1.0.0/24", "x"]}),
        &[
            "spec.cidrs: Invalid value: {\"CIDRs\":[\"10.0.0.0/24\",\"10.1.0.0/24\",\"x\"]}: may only hold up to 2 values",
        ],
    );
    fixed(plural, json!({"cidrs": ["10.0.0.0/24", "2001:db8::/64"]}), &[]);
    fixed(
        plural,
        json!({"cidrs": ["10.1.0.0/24"]}),
        &["spec.cidrs[0]: Invalid value: \"10.1.0.0/24\": field is immutable"],
    );
    fixed(
        plural,
        json!({"cidrs": null}),
        &[
            "spec.cidrs: Required value: at least one CIDR required",
            "spec.cidrs: Invalid value: null: field is immutable",
        ],
    );
    fixed(
        plural,
        json!({"cidrs": ["10.1.0.0/24", "10.2.0.0/24"]}),
        &[
            "spec.cidrs: Invalid value: [\"10.1.0.0/24\",\"10.2.0.0/24\"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            "spec.cidrs[0]: Invalid value: \"10.1.0.0/24\": field is immutable",
        ],
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
            "spec: Invalid value: {\"MinAvailable\":-1,\"Selector\":null,\"MaxUnavailable\":\"101%\",\"UnhealthyPodEvictionPolicy\":\"Never\"}: minAvailable and maxUnavailable cannot be both set",
            "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            "spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
        ],
    );
    check(plural, None, json!({"metadata": {"name": "Any_Name"}}), &[]);
    check(
        plural,
        None,
        json!({"metadata": {"name": "a%b"}}),
        &["metadata.name: Invalid value: \"a%b\": may not contain '%'"],
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
fn classes_of_ingresses_keep_their_controller() {
    fixed(
        "ingressclasses",
        json!({"controller": null}),
        &["spec.controller: Invalid value: \"\": field is immutable", "spec.controller: Required value"],
    );
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
