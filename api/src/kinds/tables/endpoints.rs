//! The addresses behind services, in both forms.

use serde_json::{Value, json};

use super::check;
use crate::kind::Part;
use crate::kinds::tests::mistakes;

#[test]
fn endpoint_slices() {
    let plural = "endpointslices";
    let names = |many: usize| -> Value { (0..many).map(|it| json!({"name": format!("n{it}")})).collect() };
    check(
        plural,
        None,
        json!({"ports": [{"name": "a"}, {"name": "a"}], "endpoints": [
            {"addresses": ["2001:db8::1"], "hints": {"forZones": [{"name": "z"}, {"name": "z"}], "forNodes": [{"name": "N"}]}},
            {"addresses": ["::ffff:127.0.0.1"], "hints": {"forZones": [{"name": "z"}], "forNodes": names(9)}}]}),
        &[
            "ports[1].name: Duplicate value: \"a\"",
            "endpoints[0].addresses[0]: Invalid value: \"2001:db8::1\": must be an IPv4 address",
            "endpoints[0].hints.forZones[1].name: Duplicate value: \"z\"",
            "endpoints[0].hints.forNodes[0].name: Invalid value: \"N\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "endpoints[1].addresses[0]: Invalid value: \"::ffff:127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "endpoints[1].hints.forNodes: Too many: 9: must have at most 8 items",
        ],
    );
    let kind = super::kind(plural);
    let topology = json!({"kubernetes.io/hostname": "n"});
    let mut new = super::minimal(kind);
    new["endpoints"] = json!([{"addresses": ["10.0.0.1"], "deprecatedTopology": topology}]);
    let endpoint = &super::admit(kind, new)["endpoints"][0];
    assert_eq!(*endpoint, json!({"addresses": ["10.0.0.1"]}), "a topology cannot be written");
}

#[test]
fn endpoints_that_were_stored_once_may_stay() {
    for (plural, field, endpoints) in [
        ("endpoints", "subsets", json!([{"addresses": [{"ip": "127.0.0.1"}]}])),
        ("endpointslices", "endpoints", json!([{"addresses": ["127.0.0.1"]}])),
    ] {
        let kind = super::kind(plural);
        let mut old = super::admit(kind, super::minimal(kind));
        old[field] = endpoints.clone();
        let mut new = old.clone();
        new["metadata"]["resourceVersion"] = "7".into();
        assert_eq!(mistakes(kind, Some(Part::Main), new.clone(), Some(&old)), Vec::<String>::new(), "{plural}");
        old[field] = json!([]);
        assert_eq!(mistakes(kind, Some(Part::Main), new, Some(&old)).len(), 1, "{plural}");
    }
}
