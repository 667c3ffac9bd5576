//! Devices, the claims on them, and what drivers tell of them.

use serde_json::json;

use super::{broken, check, filled, fixed, kind, misreported, row};
use crate::kind::Part;
use crate::kinds::tests::{admit, merge, minimal};

#[test]
fn device_classes() {
    let plural = "deviceclasses";
    filled(plural, &[("/metadata/generation", json!(1))]);
    broken(
        plural,
        json!({
            "selectors": [
                {}, {"cel": {"expression": "device.driver"}}, {"cel": {"expression": "nobody == 1"}},
                {"cel": {"expression": "device.attributes['a.b'].fast && device.capacity['a.b'].memory.compareTo(quantity('1Gi')) >= 0"}},
                {"cel": {"expression": "'gpu' in device.attributes"}},
            ],
            "config": [{}, {"opaque": {"driver": "", "parameters": "x"}}, {"opaque": {"driver": "A.b", "parameters": {"kind": "C"}}}],
        }),
        &[
            "spec.selectors[0].cel: Required value",
            "spec.selectors[1].cel.expression: Invalid value: \"device.driver\": must evaluate to bool or the unknown type, not string",
            "spec.selectors[2].cel.expression: Invalid value: \"nobody == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'nobody' (in container '')",
            "spec.config[0].opaque: Required value",
            "spec.config[1].opaque.driver: Required value",
            "spec.config[1].opaque.driver: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.config[1].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object",
        ],
    );
    // Of a feature that is off.
    let named = admit(kind(plural), json!({"metadata": {"name": "a"}, "spec": {"extendedResourceName": "e.com/a"}}));
    assert_eq!(named["spec"], json!({}));
}

#[test]
fn resource_claims() {
    let plural = "resourceclaims";
    let exactly = |name: &str| json!({"name": name, "exactly": {"deviceClassName": "gpu"}});
    let mut asked = minimal(kind(plural));
    let requests = json!([exactly("a"), {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "gpu", "allocationMode": "All"}]}]);
    merge(&mut asked, json!({"spec": {"devices": {"requests": requests}}}));
    asked["spec"]["devices"]["requests"][0]["exactly"]["tolerations"] = json!([{"operator": "Exists"}]);
    let kept = admit(kind(plural), asked);
    assert_eq!(
        kept.pointer("/spec/devices/requests/0/exactly"),
        Some(&json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1})),
    );
    assert_eq!(kept.pointer("/metadata/generation"), None);
    broken(
        plural,
        json!({"devices": {
            "requests": [
                {"name": "A"}, {"name": "b", "exactly": {"deviceClassName": "", "allocationMode": "Some"}},
                {"name": "c", "exactly": {"deviceClassName": "gpu", "allocationMode": "All", "count": 2}},
                {"name": "c", "exactly": {"deviceClassName": "gpu", "count": -1}},
            ],
            "constraints": [{"requests": ["b", "b", "d"], "matchAttribute": "numa"}, {}],
            "config": [{"requests": ["a/b/c"], "opaque": {"driver": "d.e", "parameters": {}}}],
        }}),
        &[
            "spec.devices.requests[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "spec.devices.requests[1].exactly.deviceClassName: Required value",
            "spec.devices.requests[1].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"",
            "spec.devices.requests[2].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            "spec.devices.requests[3].exactly.count: Invalid value: -1: must be greater than zero",
            "spec.devices.requests[3]: Duplicate value: \"c\"",
            "spec.devices.constraints[0].requests[2]: Invalid value: \"d\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            "spec.devices.constraints[0].requests[1]: Duplicate value: \"b\"",
            "spec.devices.constraints[0].matchAttribute: Invalid value: \"numa\": a fully qualified name must be a domain and a name separated by a slash",
            "spec.devices.constraints[1].matchAttribute: Required value",
            "spec.devices.config[0].requests[0]: Invalid value: \"a/b/c\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
        ],
    );
    broken(
        plural,
        json!({"devices": {"requests": (0..33).map(|it| exactly(&format!("r{it}"))).collect::<Vec<_>>()}}),
        &["spec.devices.requests: Too many: 33: must have at most 32 items"],
    );
    fixed(
        plural,
        json!({"devices": {"requests": [exactly("a")]}}),
        &[
            "spec: Invalid value: {\"devices\":{\"requests\":[{\"exactly\":{\"allocationMode\":\"ExactCount\",\"count\":1,\"deviceClassName\":\"gpu\"},\"name\":\"a\"}]}}: field is immutable",
        ],
    );
    misreported(
        plural,
        json!({
            "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}, {"resource": "", "name": "p", "uid": "u"}],
            "devices": [{"driver": "d.e", "pool": "p", "device": "x", "networkData": {"ips": ["10.0.0.1"]}}],
        }),
        &[
            "status.reservedFor[1].resource: Required value",
            "status.reservedFor[1]: Duplicate value: \"u\"",
            "status.devices[0]: Invalid value: d.e/p/x: must be an allocated device in the claim",
            "status.devices[0].networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
        ],
    );
    misreported(
        plural,
        json!({"allocation": {"devices": {
            "results": [{"request": "z", "driver": "d.e", "pool": "p//q", "device": "x"}], "config": [{"source": "", "opaque": {"driver": "d.e", "parameters": {}}}]}}}),
        &[
            "status.allocation.devices.results[0].request: Invalid value: \"z\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            "status.allocation.devices.results[0].pool: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "status.allocation.devices.config[0].source: Required value",
        ],
    );
    row(plural, json!({}), "pending");
    row(plural, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), "deleted");
    row(plural, json!({"status": {"allocation": {}, "reservedFor": [{}]}}), "allocated,reserved");
}

#[test]
fn resource_claim_templates() {
    let plural = "resourceclaimtemplates";
    broken(
        plural,
        json!({"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"devices": {"requests": [{"name": "a"}]}}}),
        &[
            "spec.metadata.name: Forbidden: cannot be set",
            "spec.spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
        ],
    );
    check(
        plural,
        Some(Part::Main),
        json!({"spec": {"metadata": {"labels": {"a": "b"}}}}),
        &["spec: Invalid value: {\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{}}: field is immutable"],
    );
}

#[test]
fn resource_slices() {
    let plural = "resourceslices";
    broken(
        plural,
        json!({"driver": "", "pool": {"resourceSliceCount": 0, "generation": -1}, "allNodes": true, "devices": [
            {"name": "a", "attributes": {"fast": {}, "0": {"int": 1}, "v": {"version": "1"}, "both": {"int": 1, "bool": true}},
                "capacity": {"/memory": {"value": "1"}}},
            {"name": "a", "taints": [{"key": "k", "effect": "None"}]}]}),
        &[
            "spec.driver: Required value",
            "spec.driver: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
            "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            "spec.devices[0].attributes: Invalid value: \"0\": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')",
            "spec.devices[0].attributes[both]: Invalid value: {\"bool\":true,\"int\":1}: exactly one value must be specified",
            "spec.devices[0].attributes[fast]: Invalid value: \"\": exactly one value must be specified",
            "spec.devices[0].attributes[v].version: Invalid value: \"1\": must be a string compatible with semver.org spec 2.0.0",
            "spec.devices[0].capacity: Invalid value: \"\": the domain must not be empty",
            "spec.devices[1]: Duplicate value: \"a\"",
        ],
    );
    fixed(
        plural,
        json!({"driver": "other.com", "nodeName": "m", "pool": {"name": "q", "generation": 2}}),
        &[
            "spec.pool.name: Invalid value: \"q\": field is immutable",
            "spec.driver: Invalid value: \"other.com\": field is immutable",
            "spec.nodeName: Invalid value: \"m\": field is immutable",
        ],
    );
    row(plural, json!({}), "n|example.com|p");
}
