//! Flow control: schemas and levels.

use serde_json::json;

use super::{broken, check, filled, misreported, row};

#[test]
fn flow_schemas() {
    let plural = "flowschemas";
    filled(
        plural,
        &[("/spec/matchingPrecedence", json!(1000)), ("/status", json!({})), ("/metadata/generation", json!(1))],
    );
    broken(
        plural,
        json!({"matchingPrecedence": 1, "distinguisherMethod": {"type": "ByMood"}, "priorityLevelConfiguration": {"name": ""},
            "rules": [{"subjects": []}, {
                "subjects": [{"kind": "User", "group": {"name": "g"}}, {"kind": "ServiceAccount", "serviceAccount": {"name": "", "namespace": ""}}, {"kind": "Robot"}],
                "resourceRules": [{"verbs": ["*", "get"], "apiGroups": [], "resources": ["*", "a"], "namespaces": ["A"]}, {"verbs": ["see"], "apiGroups": [""], "resources": ["a"]}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["a", "/a//b", "/a*", "/a/*"]}]}]}),
        &[
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            "spec.distinguisherMethod.type: Unsupported value: {\"Type\":\"ByMood\"}: supported values: \"ByNamespace\", \"ByUser\"",
            "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            "spec.rules[0].subjects: Required value: subjects must contain at least one value",
            "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            "spec.rules[1].subjects[0].user: Required value: user is required when subject kind is 'User'",
            "spec.rules[1].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
            "spec.rules[1].subjects[1].serviceAccount.name: Required value",
            "spec.rules[1].subjects[1].serviceAccount.namespace: Required value: must specify namespace for service account",
            "spec.rules[1].subjects[2].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
            "spec.rules[1].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs",
            "spec.rules[1].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "spec.rules[1].resourceRules[0].resources: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other resources",
            "spec.rules[1].resourceRules[0].namespaces[0]: Invalid value: \"A\": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.rules[1].resourceRules[1].verbs: Unsupported value: [\"see\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
            "spec.rules[1].resourceRules[1].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
            "spec.rules[1].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"a\": must start with slash",
            "spec.rules[1].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"/a//b\": must not contain double slash",
            "spec.rules[1].nonResourceRules[0].nonResourceURLs[2]: Invalid value: \"/a*\": wildcard can only do suffix matching",
        ],
    );
    check(
        plural,
        None,
        json!({"metadata": {"name": "exempt"}, "spec": {"matchingPrecedence": 1}}),
        &[
            "spec: Invalid value: {\"matchingPrecedence\":1,\"priorityLevelConfiguration\":{\"name\":\"a\"}}: spec of 'exempt' must equal the fixed value",
        ],
    );
    misreported(
        plural,
        json!({"conditions": [{"type": "Dangling", "status": "True"}, {"type": "Dangling"}]}),
        &["status.conditions[1].type: Duplicate value: \"Dangling\""],
    );
    row(plural, json!({}), "a|1000|<none>|?");
    row(plural, json!({"status": {"conditions": [{"type": "Dangling", "status": "False"}]}}), "a|1000|<none>|False");
}

#[test]
fn priority_levels() {
    let plural = "prioritylevelconfigurations";
    let limited = |it| json!({ "limited": it });
    filled(
        plural,
        &[(
            "/spec/limited",
            json!({"nominalConcurrencyShares": 30, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}),
        )],
    );
    broken(
        plural,
        json!({"type": "Exempt"}),
        &[
            "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'",
            "spec.limited: Forbidden: must be nil if the type is not Limited",
            "spec.exempt: Required value: must not be empty when type is Exempt",
        ],
    );
    broken(
        plural,
        limited(json!({"nominalConcurrencyShares": -1, "lendablePercent": 101, "borrowingLimitPercent": -1,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 512, "handSize": 8, "queueLengthLimit": -1}}})),
        &[
            "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
            "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive",
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60",
            "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
        ],
    );
    let exempt =
        |spec, expected: &[&str]| check(plural, None, json!({"metadata": {"name": "exempt"}, "spec": spec}), expected);
    exempt(json!({"type": "Exempt", "limited": null, "exempt": {"lendablePercent": 50}}), &[]);
    exempt(
        json!({"type": "Exempt", "limited": {}, "exempt": {}}),
        &[
            "spec.limited: Forbidden: must be nil if the type is not Limited",
            "spec: Invalid value: {\"exempt\":{\"lendablePercent\":0,\"nominalConcurrencyShares\":0},\"limited\":{\"lendablePercent\":0,\"limitResponse\":{\"type\":\"Reject\"},\"nominalConcurrencyShares\":30},\"type\":\"Exempt\"}: spec of 'exempt' except the 'spec.exempt' field must equal the fixed value",
        ],
    );
    row(plural, json!({}), "Limited|30|<none>|<none>|<none>");
}
