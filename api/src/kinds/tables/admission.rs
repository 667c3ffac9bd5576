//! What judges objects on their way into the store: webhooks, policies and where they hold.

use serde_json::{Value, json};

use super::{broken, check, filled, kind, misreported, row};
use crate::kind::Part;

const LABEL: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const OLD_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

fn hook(change: Value) -> Value {
    let mut it = json!({"name": "a.example.com", "clientConfig": {"url": "https://h/x"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"]});
    super::merge(&mut it, change);
    it
}

#[test]
fn webhooks() {
    for plural in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        assert!(!kind(plural).unconditional_update, "{plural}");
        let of = |changes: &[Value], expected: &[&str]| {
            let hooks: Vec<Value> = changes.iter().cloned().map(hook).collect();
            check(plural, None, json!({ "webhooks": hooks }), expected);
        };
        of(&[json!({}), json!({"name": "b.example.com"})], &[]);
        of(
            &[
                json!({"admissionReviewVersions": ["v2", "v2", "V"], "timeoutSeconds": 31, "sideEffects": "Some"}),
                json!({"admissionReviewVersions": []}),
                json!({"name": "A.b", "clientConfig": {"service": {"name": "n", "namespace": "d"}}}),
                json!({"name": "A.b"}),
            ],
            &[
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
                &format!("webhooks[0].admissionReviewVersions[2]: Invalid value: \"V\": {OLD_LABEL}"),
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\",\"v2\",\"V\"]: must include at least one of v1, v1beta1",
                "webhooks[1].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
                "webhooks[1].name: Duplicate value: \"a.example.com\"",
                &format!("webhooks[2].name: Invalid value: \"A.b\": {LABEL}"),
                "webhooks[2].clientConfig: Required value: exactly one of url or service is required",
                &format!("webhooks[3].name: Invalid value: \"A.b\": {LABEL}"),
                "webhooks[3].name: Duplicate value: \"A.b\"",
            ],
        );
        let rules = |rules: Value, expected: &[&str]| of(&[json!({ "rules": [rules] })], expected);
        rules(
            json!({"operations": ["*", "READ"], "apiGroups": [], "apiVersions": ["", "*"], "scope": "Everywhere",
                "resources": ["*/*", "pods", "a/*", "a/b", "*"]}),
            &[
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"READ\"]: if '*' is present, must not specify other operations",
                "webhooks[0].rules[0].operations[1]: Unsupported value: \"READ\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
                "webhooks[0].rules[0].apiGroups: Required value",
                "webhooks[0].rules[0].apiVersions: Invalid value: [\"\",\"*\"]: if '*' is present, must not specify other API versions",
                "webhooks[0].rules[0].apiVersions[0]: Required value",
                "webhooks[0].rules[0].resources[2]: Invalid value: \"a/*\": if '*/*' is present, must not specify a/*",
                "webhooks[0].rules[0].resources[3]: Invalid value: \"a/b\": if 'a/*' is present, must not specify a/b",
                "webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"pods\",\"a/*\",\"a/b\",\"*\"]: if '*/*' is present, must not specify other resources",
                "webhooks[0].rules[0].scope: Unsupported value: \"Everywhere\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
            ],
        );
        let all = |resources: &[&str]| json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources});
        rules(all(&["pods", "*"]), &[]);
        rules(
            all(&["*", "pods"]),
            &[
                "webhooks[0].rules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources",
            ],
        );
        of(
            &[
                json!({"matchConditions": [{"name": "", "expression": " "}, {"name": "", "expression": " true "}, {"name": "a", "expression": "true"},
                {"name": "a", "expression": "true"}]}),
            ],
            &[
                "webhooks[0].matchConditions[0].expression: Required value",
                "webhooks[0].matchConditions[0].name: Required value",
                "webhooks[0].matchConditions[1].name: Required value",
                "webhooks[0].matchConditions[3].name: Duplicate value: \"a\"",
            ],
        );
        row(plural, json!({"webhooks": [{}, {}]}), "2");
    }
    let again = hook(json!({"reinvocationPolicy": "Always", "clientConfig": {"url": "http://h"}}));
    check(
        "mutatingwebhookconfigurations",
        None,
        json!({ "webhooks": [again] }),
        &[
            "webhooks[0].reinvocationPolicy: Unsupported value: \"Always\": supported values: \"IfNeeded\", \"Never\"",
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
        ],
    );
}

#[test]
fn policies() {
    let plural = "validatingadmissionpolicies";
    assert!(!kind(plural).unconditional_update);
    filled(
        plural,
        &[("/spec/failurePolicy", json!("Fail")), ("/spec/matchConstraints/matchPolicy", json!("Equivalent"))],
    );
    for (kind, expected) in [
        (json!({"apiVersion": "", "kind": ""}), &["apiVersion: Required value", "kind: Required value"][..]),
        (
            json!({"apiVersion": "a/b/c", "kind": "K"}),
            &["apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"],
        ),
        (json!({"apiVersion": "g/", "kind": "K"}), &["apiVersion: Invalid value: \"g/\": version must be specified"]),
        (
            json!({"apiVersion": "G/V", "kind": "k k"}),
            &[
                &format!("apiVersion: Invalid value: \"G\": {LABEL}"),
                &format!("apiVersion: Invalid value: \"V\": {OLD_LABEL}"),
                &format!("kind: Invalid value: \"k k\": may have mixed case, but should otherwise match: {OLD_LABEL}"),
            ],
        ),
    ] {
        let expected: Vec<String> = expected.iter().map(|it| format!("spec.paramKind.{it}")).collect();
        broken(plural, json!({ "paramKind": kind }), &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
    broken(
        plural,
        json!({"variables": [{"name": " ", "expression": ""}, {"name": "in", "expression": "1"}, {"name": "x", "expression": "1"},
            {"name": "x", "expression": "authorizer.requestResource.check('get').allowed()"}]}),
        &[
            "spec.variables[0].name: Required value: name is not specified",
            "spec.variables[0].expression: Required value: expression is not specified",
            "spec.variables[1].name: Invalid value: \"in\": name is not a valid CEL identifier",
        ],
    );
    broken(
        plural,
        json!({"validations": [
            {"expression": " ", "message": " ", "messageExpression": " ", "reason": "Unauthorized"},
            {"expression": "true\n && true", "message": "a\rb"},
            {"expression": "true", "message": "\nfine\n", "messageExpression": "string(authorizer.path('/').check('get').allowed())"}]}),
        &[
            "spec.validations[0].expression: Required value: expression is not specified",
            "spec.validations[0].messageExpression: Invalid value: \" \": must be non-empty if specified",
            "spec.validations[0].message: Invalid value: \" \": message must be non-empty if specified",
            "spec.validations[0].reason: Unsupported value: \"Unauthorized\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
            "spec.validations[1].message: Invalid value: \"a\\rb\": message must not contain line breaks",
            "spec.validations[2].messageExpression: Invalid value: \"string(authorizer.path('/').check('get').allowed())\": compilation failed: ERROR: <input>:1:8: undeclared reference to 'authorizer' (in container '')",
        ],
    );
    const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    broken(
        plural,
        json!({"auditAnnotations": [{"key": "", "valueExpression": ""}, {"key": "k", "valueExpression": " ".repeat(9)},
            {"key": "k", "valueExpression": format!("'{}'", "x".repeat(5119))}]}),
        &[
            "spec.auditAnnotations[0].key: Invalid value: \"a/\": name part must be non-empty",
            &format!("spec.auditAnnotations[0].key: Invalid value: \"a/\": {NAME_PART}"),
            "spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified",
            "spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified",
            "spec.auditAnnotations[2].valueExpression: Required value: must not exceed 5120 bytes in length",
            "spec.auditAnnotations[2].key: Duplicate value: \"k\"",
        ],
    );
    let many: Vec<Value> = (0..21).map(|it| json!({"key": format!("k{it}"), "valueExpression": "'v'"})).collect();
    let shown: Vec<String> = (0..21).map(|it| format!("{{\"Key\":\"k{it}\",\"ValueExpression\":\"'v'\"}}")).collect();
    let why = "must not have more than 20 auditAnnotations";
    broken(
        plural,
        json!({ "auditAnnotations": many }),
        &[&format!("spec.auditAnnotations: Invalid value: [{}]: {why}", shown.join(","))],
    );
    broken(
        plural,
        json!({"matchConstraints": {"resourceRules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"],
            "resourceNames": ["a/b", "c", "c"]}]}}),
        &[
            "spec.matchConstraints.resourceRules[0].resourceNames[0]: Invalid value: \"a/b\": may not contain '/'",
            "spec.matchConstraints.resourceRules[0].resourceNames[2]: Duplicate value: \"c\"",
        ],
    );
    misreported(
        plural,
        json!({"typeChecking": {"expressionWarnings": [{"fieldRef": " ", "warning": ""}, {"fieldRef": "spec.validations[0].expression", "warning": "w"}]},
            "conditions": [{"type": "A", "status": "Yes", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
        &[
            "status.typeChecking.expressionWarnings[0].warning: Required value",
            "status.typeChecking.expressionWarnings[0].fieldRef: Required value",
            "status.conditions[0].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\"",
        ],
    );
    row(plural, json!({}), "1|<unset>");
    row(plural, json!({"spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}}), "1|v1/ConfigMap");
}

#[test]
fn bindings() {
    let plural = "validatingadmissionpolicybindings";
    assert!(!kind(plural).unconditional_update);
    broken(
        plural,
        json!({"validationActions": ["Deny", "Warn", "Deny"], "paramRef": {"name": "a/b", "selector": {}}}),
        &[
            "spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'",
            "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.parameterNotFoundAction: Required value",
            "spec.validationActions[2]: Duplicate value: \"Deny\"",
            "spec.validationActions: Invalid value: [\"Deny\",\"Warn\",\"Deny\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        ],
    );
    broken(
        plural,
        json!({"paramRef": {"parameterNotFoundAction": "Warn"}}),
        &[
            "spec.paramRef: Required value: one of name or selector must be specified",
            "spec.paramRef.parameterNotFoundAction: Unsupported value: \"Warn\": supported values: \"Deny\", \"Allow\"",
        ],
    );
    check(plural, Some(Part::Main), json!({"spec": {"policyName": "b"}}), &[]);
    let of = |param: Value, text: &str| row(plural, json!({"spec": {"paramRef": param}}), &format!("a|{text}"));
    of(Value::Null, "<unset>");
    of(json!({}), "<unset>");
    of(json!({"name": "n"}), "*/n");
    of(json!({"name": "n", "namespace": "d"}), "d/n");
    of(
        json!({"selector": {"matchLabels": {"b": "c"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]}}),
        "&LabelSelector{MatchLabels:map[string]string{b: c,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}",
    );
}
