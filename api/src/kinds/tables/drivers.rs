//! What storage drivers and those who attach volumes tell each other: drivers, their nodes, their room, and attachments.

use serde_json::json;

use super::{broken, check, filled, fixed, misreported, row};
use crate::kind::Part;

#[test]
fn csi_drivers() {
    let plural = "csidrivers";
    filled(
        plural,
        &[(
            "/spec",
            json!({"attachRequired": true, "podInfoOnMount": false, "storageCapacity": false, "requiresRepublish": false,
                "fsGroupPolicy": "ReadWriteOnceWithFSType", "volumeLifecycleModes": ["Persistent"], "seLinuxMount": false}),
        )],
    );
    broken(
        plural,
        json!({"fsGroupPolicy": "Some", "volumeLifecycleModes": ["Shared"], "nodeAllocatableUpdatePeriodSeconds": 9,
            "tokenRequests": [{"audience": "a", "expirationSeconds": 599}, {"audience": "a"}]}),
        &[
            "spec.fsGroupPolicy: Unsupported value: \"Some\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
            "spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
            "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
            "spec.volumeLifecycleModes: Unsupported value: \"Shared\": supported values: \"Persistent\", \"Ephemeral\"",
            "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
        ],
    );
    fixed(
        plural,
        json!({"attachRequired": false, "volumeLifecycleModes": ["Ephemeral"], "podInfoOnMount": true}),
        &[
            "spec.attachedRequired: Invalid value: false: field is immutable",
            "spec.volumeLifecycleModes: Invalid value: [\"Ephemeral\"]: field is immutable",
        ],
    );
    row(plural, json!({}), "true|false|false|<unset>|false|Persistent");
    row(
        plural,
        json!({"spec": {"tokenRequests": [{"audience": "a"}, {"audience": "b"}], "volumeLifecycleModes": ["Persistent", "Ephemeral"]}}),
        "true|false|false|a,b|false|Persistent,Ephemeral",
    );
}

#[test]
fn csi_nodes() {
    let plural = "csinodes";
    broken(
        plural,
        json!({"drivers": [{"name": "a", "nodeID": "", "allocatable": {"count": -1}, "topologyKeys": ["x", "x"]}, {"name": "a", "nodeID": "n".repeat(193)}]}),
        &[
            "spec.drivers[0].nodeID: Required value",
            "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
            "spec.drivers[0]: Duplicate value: \"x\"",
            &format!("spec.drivers[1].nodeID: Invalid value: \"{}\": must be 192 characters or less", "n".repeat(193)),
            "spec.drivers[1].name: Duplicate value: \"a\"",
        ],
    );
    fixed(plural, json!({"drivers": [{"name": "a", "nodeID": "n"}]}), &[]);
    row(plural, json!({"spec": {"drivers": [{}, {}]}}), "2");
}

#[test]
fn csi_storage_capacities() {
    let plural = "csistoragecapacities";
    check(
        plural,
        None,
        json!({"storageClassName": "", "capacity": "-1", "nodeTopology": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
        &[
            "nodeTopology.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "storageClassName: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "capacity: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    );
    check(
        plural,
        Some(Part::Main),
        json!({"storageClassName": "b", "nodeTopology": {"matchLabels": {"a": "b"}}, "capacity": "1Gi"}),
        &[
            "nodeTopology: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: field is immutable",
            "storageClassName: Invalid value: \"b\": field is immutable",
        ],
    );
    row(plural, json!({}), "a|<unset>");
    row(plural, json!({"capacity": "1Gi"}), "a|1Gi");
}

#[test]
fn volume_attachments() {
    let plural = "volumeattachments";
    filled(plural, &[("/status", json!({"attached": false}))]);
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    broken(
        plural,
        json!({"attacher": "", "source": {"persistentVolumeName": null}}),
        &["spec.attacher: Required value", &format!("spec.source: Required value: {ONE}")],
    );
    broken(
        plural,
        json!({"source": {"persistentVolumeName": ""}}),
        &["spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName"],
    );
    fixed(
        plural,
        json!({"nodeName": "m"}),
        &[
            "spec: Invalid value: {\"attacher\":\"example.com\",\"nodeName\":\"m\",\"source\":{\"persistentVolumeName\":\"v\"}}: field is immutable",
        ],
    );
    misreported(
        plural,
        json!({"attached": false, "attachError": {"message": "x".repeat(1025), "errorCode": -1}}),
        &[
            "status.attachError.message: Too long: may not be more than 262144 bytes",
            "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ],
    );
    row(plural, json!({"status": {"attached": true}}), "example.com|v|n|true");
}
