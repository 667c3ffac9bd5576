//! Where volumes come from: the sources of the cluster's volumes, and those that pods name themselves.

use serde_json::{Value, json};

use super::{broken, fixed};

/// What is wrong with a volume of the cluster, and with one of a pod, that has this source.
fn sources(source: Value, of_volume: &[&str], of_pod: &[&str]) {
    let mut spec = source.clone();
    spec["hostPath"] = Value::Null;
    let path = |it: &&str| it.replacen('~', "spec", 1);
    let expected: Vec<String> = of_volume.iter().map(path).collect();
    broken("persistentvolumes", spec, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    let mut volume = source;
    volume["name"] = "v".into();
    let expected: Vec<String> = of_pod.iter().map(|it| it.replacen('~', "spec.volumes[0]", 1)).collect();
    broken("pods", json!({ "volumes": [volume] }), &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

/// What is wrong with a source, in whatever it is.
fn both(source: Value, expected: &[&str]) {
    sources(source, expected, expected);
}

#[test]
fn disks_and_shares() {
    both(
        json!({"nfs": {"server": "", "path": "p"}}),
        &["~.nfs.server: Required value", "~.nfs.path: Invalid value: \"p\": must be an absolute path"],
    );
    both(
        json!({"gcePersistentDisk": {"pdName": "", "partition": 256}}),
        &[
            "~.persistentDisk.pdName: Required value",
            "~.persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive",
        ],
    );
    both(
        json!({"flocker": {"datasetName": "a/b"}}),
        &["~.flocker.datasetName: Invalid value: \"a/b\": must not contain '/'"],
    );
    both(
        json!({"quobyte": {"registry": "a:1,b", "volume": ""}}),
        &[
            "~.quobyte.registry: Invalid value: \"a:1,b\": must be a host:port pair or multiple pairs separated by commas",
            "~.quobyte.volume: Required value",
        ],
    );
    both(
        json!({"fc": {"targetWWNs": ["w"], "lun": 256}}),
        &["~.fc.lun: Invalid value: 256: must be between 0 and 255, inclusive"],
    );
    both(
        json!({"flexVolume": {"driver": "", "options": {"x.k8s.io/a": "b", "mine/a": "b"}}}),
        &[
            "~.flexVolume.driver: Required value",
            "~.flexVolume.options[x.k8s.io/a]: Invalid value: \"x.k8s.io/a\": kubernetes.io and k8s.io namespaces are reserved",
        ],
    );
    both(
        json!({"azureDisk": {"diskName": "d", "diskURI": "u", "kind": "Managed", "cachingMode": "All"}}),
        &[
            "~.azureDisk.cachingMode: Unsupported value: \"All\": supported values: \"None\", \"ReadOnly\", \"ReadWrite\"",
            "~.azureDisk.diskURI: Unsupported value: \"u\": supported values: \"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}\"",
        ],
    );
    both(
        json!({"scaleIO": {"gateway": "", "system": "s", "secretRef": {"name": "n"}}}),
        &["~.scaleIO.gateway: Required value", "~.scaleIO.volumeName: Required value"],
    );
    sources(
        json!({"iscsi": {"targetPortal": "", "iqn": "iqn.2020", "lun": -1, "chapAuthSession": true, "initiatorName": "x"}}),
        &[
            "~.iscsi.targetPortal: Required value",
            "~.iscsi.iqn: Invalid value: \"iqn.2020\": must be valid format",
            "~.iscsi.lun: Invalid value: -1: must be between 0 and 255, inclusive",
            "~.iscsi.secretRef: Required value",
            "~.iscsi.initiatorname: Invalid value: \"x\": must be valid format",
        ],
        &[
            "~.iscsi.targetPortal: Required value",
            "~.iscsi.iqn: Invalid value: \"iqn.2020\": must be valid format",
            "~.iscsi.lun: Invalid value: -1: must be between 0 and 255, inclusive",
            "~.iscsi.secretRef: Required value",
            "~.iscsi.initiatorname: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa",
        ],
    );
    both(json!({"iscsi": {"targetPortal": "p", "iqn": "iqn.2020-01.com.example:disk", "lun": 0}}), &[]);
}

#[test]
fn volumes_of_the_cluster_alone() {
    let plural = "persistentvolumes";
    broken(
        plural,
        json!({"hostPath": null, "local": {"path": "/a/../b"}}),
        &[
            "spec.local.path: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
        ],
    );
    broken(
        plural,
        json!({"hostPath": null, "csi": {"driver": "d.e", "volumeHandle": "", "nodePublishSecretRef": {"name": "s"}}}),
        &["spec.csi.volumeHandle: Required value", "spec.csi.nodePublishSecretRef.namespace: Required value"],
    );
    broken(
        plural,
        json!({"nodeAffinity": {}, "volumeAttributesClassName": "gold"}),
        &[
            "spec.nodeAffinity.required: Required value: must specify required node constraints",
            "spec.csi: Required value: has to be specified when using volumeAttributesClassName",
        ],
    );
    fixed(
        plural,
        json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}}),
        &[],
    );
}

#[test]
fn volumes_of_a_pod_alone() {
    let pod = |volumes: Value, expected: &[&str]| broken("pods", json!({ "volumes": volumes }), expected);
    pod(
        json!([{"name": "v", "csi": {"driver": "d.e", "nodePublishSecretRef": {"name": ""}}}]),
        &["spec.volumes[0].csi.nodePublishSecretRef.name: Required value"],
    );
    let template = json!({"metadata": {"name": "x"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
    pod(
        json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}, {"name": "w", "persistentVolumeClaim": {"claimName": "a-v"}}]),
        &[
            "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
            "spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: \"a-v\": must not reference a PVC that gets created for an ephemeral volume",
        ],
    );
}
