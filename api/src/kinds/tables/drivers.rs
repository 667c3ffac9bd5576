//! What storage drivers and those who attach volumes tell each other: drivers, their nodes, their room, and attachments.

use serde_json::json;

use super::{broken, check, filled, fixed, misreported, row};
use crate::kind::Part;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

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
    broken(
        plural,
        json!({"serviceAccountTokenInSecrets": true}),
        &[
            "spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified",
        ],
    );
    // Changes are counted, from nothing.
    let kind = super::kind(plural);
    let it = super::admit(kind, super::minimal(kind));
    assert_eq!(it["metadata"].get("generation"), None);
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
        json!({"drivers": [{"name": "A", "nodeID": "", "allocatable": {"count": -1}, "topologyKeys": ["x", "x"]},
            {"name": "A", "nodeID": "n".repeat(257), "topologyKeys": ["x", "x"]}, {"name": "d".repeat(64), "nodeID": "n".repeat(256)}]}),
        &[
            "spec.drivers[0].nodeID: Required value",
            "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
            "spec.drivers[0]: Duplicate value: \"x\"",
            &format!("spec.drivers[1].nodeID: Invalid value: \"{}\": must be 256 characters or less", "n".repeat(257)),
            "spec.drivers[1].name: Duplicate value: \"A\"",
            "spec.drivers[1]: Duplicate value: \"x\"",
            "spec.drivers[2].name: Too long: may not be more than 63 bytes",
        ],
    );
    let nameless = "spec.drivers[0].nodeID: Required value";
    fixed(plural, json!({"drivers": [{"name": "a", "nodeID": ""}]}), &[nameless, nameless]);
    let kind = super::kind(plural);
    let of = |change: serde_json::Value| {
        let mut it = super::minimal(kind);
        let mut driver = json!({"name": "a", "nodeID": "n", "allocatable": {"count": 1}});
        super::merge(&mut driver, change);
        super::merge(&mut it, json!({"metadata": {"resourceVersion": "7"}, "spec": {"drivers": [driver]}}));
        it
    };
    let mut first = of(json!({}));
    first["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let old = super::admit(kind, first);
    let update = |new| crate::kinds::tests::mistakes(kind, Some(Part::Main), new, Some(&old));
    assert_eq!(update(of(json!({"allocatable": {"count": 2}}))), Vec::<String>::new());
    assert_eq!(
        update(of(json!({"nodeID": "m"}))),
        [
            "spec.drivers: Invalid value: {\"Name\":\"a\",\"NodeID\":\"m\",\"TopologyKeys\":null,\"Allocatable\":null}: field is immutable"
        ]
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
        &[
            "spec.attacher: Required value",
            &format!("spec.source: Required value: {ONE}"),
            "spec.attacher: Required value",
            &format!("spec.attacher: Invalid value: \"\": {SUBDOMAIN}"),
        ],
    );
    broken(
        plural,
        json!({"attacher": "D".repeat(64), "source": {"persistentVolumeName": ""}}),
        &[
            "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
            "spec.attacher: Too long: may not be more than 63 bytes",
            &format!("spec.source.persistentVolumeName: Invalid value: \"\": {SUBDOMAIN}"),
        ],
    );
    let inline = |it: serde_json::Value, expected: &[&str]| {
        let source = json!({"persistentVolumeName": null, "inlineVolumeSpec": it});
        let expected: Vec<String> = expected.iter().map(|it| format!("spec.source.inlineVolumeSpec{it}")).collect();
        broken(plural, json!({ "source": source }), &expected.iter().map(String::as_str).collect::<Vec<_>>());
    };
    inline(json!({"accessModes": ["ReadWriteOnce"], "csi": {"driver": "d", "volumeHandle": "v"}}), &[]);
    inline(
        json!({"capacity": {"storage": "1Gi"}, "claimRef": {"name": "c"}, "hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle",
            "nodeAffinity": {}, "storageClassName": "s", "volumeMode": "Block", "volumeAttributesClassName": ""}),
        &[
            ".claimRef: Forbidden: may not be specified in the context of inline volumes",
            ".capacity: Forbidden: may not be specified in the context of inline volumes",
            ".csi: Required value: has to be specified in the context of inline volumes",
            ".accessModes: Required value",
            ".persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
            ".nodeAffinity: Forbidden: may not be specified in the context of inline volumes",
            ".persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            ".storageClassName: Forbidden: may not be specified in the context of inline volumes",
            ".volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes",
            ".volumeAttributesClassName: Required value: an empty string is disallowed",
            ".csi: Required value: has to be specified when using volumeAttributesClassName",
        ],
    );
    fixed(
        plural,
        json!({"nodeName": "m"}),
        &[
            "spec: Invalid value: {\"Attacher\":\"example.com\",\"Source\":{\"PersistentVolumeName\":\"v\",\"InlineVolumeSpec\":null},\"NodeName\":\"m\"}: field is immutable",
        ],
    );
    misreported(
        plural,
        json!({"attached": false, "attachError": {"message": "x".repeat(1025), "errorCode": -1}}),
        &[
            "status.attachError.message: Too long: may not be more than 262144 bytes",
            "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            // An update is looked at twice.
            "status.attachError.message: Too long: may not be more than 262144 bytes",
            "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ],
    );
    row(plural, json!({"status": {"attached": true}}), "example.com|v|n|true");
}
