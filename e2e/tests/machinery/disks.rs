//! The kinds of storage by every operation ("CSIInlineVolumes should run through the lifecycle of a CSIDriver", "CSINodes should run through the
//! lifecycle of a csinode", "CSIStorageCapacity should support CSIStorageCapacities API operations", "VolumeAttachment should run through the
//! lifecycle of a VolumeAttachment", "… apply changes to a volumeattachment status", "StorageClasses should run through the lifecycle of a
//! StorageClass", "PersistentVolumes should run through the lifecycle of a PV and a PVC", "… apply changes to a pv/pvc status"), and volumes that a
//! driver makes for one pod ("CSIInlineVolumes should support CSIVolumeSource in Pod API").

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene};
use serde_json::{Value, json};

use super::operations::{Kind, holds, walk_all};
use super::plain::{Http, MERGE, meta, names};

const STORAGE: &str = "storage.k8s.io";
const DRIVER: &str = "e2e.example.com";
/// A class of nobody, so that nothing is bound.
const NO_CLASS: &str = "operations";

pub fn operations(it: &Scene<'_>) -> Result<()> {
    let kinds = [drivers(), nodes(), capacities(), attachments(), classes(), attributes(), volumes(), claims()];
    walk_all(it, &kinds)
}

fn drivers() -> Kind {
    let body = json!({ "spec": { "volumeLifecycleModes": ["Ephemeral"], "fsGroupPolicy": "ReadWriteOnceWithFSType" } });
    let change = json!({ "spec": { "requiresRepublish": true } });
    Kind::new(STORAGE, "CSIDriver", "csidrivers", body, change).of_cluster()
}

fn nodes() -> Kind {
    let driver =
        |name: &str| json!({ "name": name, "nodeID": format!("{name}-node"), "topologyKeys": ["example.com/zone"] });
    let body = json!({ "spec": { "drivers": [driver("one.example.com")] } });
    let change = json!({ "spec": { "drivers": [driver("two.example.com")] } });
    Kind::new(STORAGE, "CSINode", "csinodes", body, change).of_cluster()
}

fn capacities() -> Kind {
    let body =
        json!({ "storageClassName": NO_CLASS, "capacity": "1Gi", "nodeTopology": { "matchLabels": { "zone": "a" } } });
    Kind::new(STORAGE, "CSIStorageCapacity", "csistoragecapacities", body, json!({ "capacity": "2Gi" }))
}

fn attachments() -> Kind {
    let source = json!({ "persistentVolumeName": "pv-operations" });
    let body = json!({ "spec": { "attacher": DRIVER, "nodeName": "node-operations", "source": source } });
    Kind::new(STORAGE, "VolumeAttachment", "volumeattachments", body, json!({})).of_cluster().told(
        json!({ "attached": false }),
        json!({ "attached": true, "attachmentMetadata": { "device": "sdb" } }),
        json!({ "attached": false }),
    )
}

fn classes() -> Kind {
    let body = json!({ "provisioner": DRIVER, "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer",
        "parameters": { "kind": "fast" } });
    Kind::new(STORAGE, "StorageClass", "storageclasses", body, json!({ "allowVolumeExpansion": true })).of_cluster()
}

fn attributes() -> Kind {
    let body = json!({ "driverName": DRIVER, "parameters": { "iops": "9" } });
    Kind::new(STORAGE, "VolumeAttributesClass", "volumeattributesclasses", body, json!({})).of_cluster()
}

fn volumes() -> Kind {
    let body = json!({ "spec": { "storageClassName": NO_CLASS, "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Delete", "csi": { "driver": DRIVER, "volumeHandle": "none" } } });
    let change = json!({ "spec": { "persistentVolumeReclaimPolicy": "Retain" } });
    let told = |how: &str| json!({ "reason": format!("E2E{how}"), "message": format!("{how} by a test") });
    Kind::new("", "PersistentVolume", "persistentvolumes", body, change).of_cluster().told(
        json!({ "phase": "Available" }),
        told("Patched"),
        told("Updated"),
    )
}

fn claims() -> Kind {
    // Another size than any volume of the class has.
    let body = json!({ "spec": { "storageClassName": NO_CLASS, "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": "5Gi" } } } });
    let told = |kind: &str| json!({ "conditions": [{ "type": kind, "status": "True", "reason": "E2E", "message": "Set by a test" }] });
    Kind::new("", "PersistentVolumeClaim", "persistentvolumeclaims", body, json!({})).told(
        json!({ "phase": "Pending" }),
        told("StatusPatched"),
        told("StatusUpdated"),
    )
}

/// A pod of two such volumes; hollow nodes have no drivers, so it does not matter what becomes of it.
pub fn inline_drivers(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let pods = it.path("pods");
    let pod = |name: &str, volumes: &[Value]| {
        let mount = |it: &Value| json!({ "name": it["name"], "mountPath": format!("/mnt/{}", it["name"].as_str().unwrap_or_default()) });
        let mounts: Vec<Value> = volumes.iter().map(mount).collect();
        let container = json!({ "name": "main", "image": "registry.local/web:1", "command": ["sh", "-c", "ls /mnt/*"], "volumeMounts": mounts });
        json!({ "metadata": { "name": name }, "spec": { "terminationGracePeriodSeconds": 0, "volumes": volumes, "containers": [container] } })
    };
    let volumes = [
        json!({ "name": "one", "csi": { "driver": DRIVER } }),
        json!({ "name": "two", "csi": { "driver": DRIVER, "fsType": "ext4", "readOnly": true, "volumeAttributes": { "size": "1" },
            "nodePublishSecretRef": { "name": "secret" } } }),
    ];
    let made = http.post(&pods, &pod("inline", &volumes))?.is(201)?;
    ensure!(holds(&made["spec"]["volumes"], &json!(volumes)), "{made}");
    http.post(&pods, &pod("inline", &volumes))?.refuses(409, "pods \"inline\" already exists")?;
    let at = format!("{pods}/inline");
    let got = http.get(&at)?.is(200)?;
    ensure!(meta(&got, "uid") == meta(&made, "uid") && holds(&got["spec"]["volumes"], &json!(volumes)), "{got}");
    let list = http.get(&pods)?.is(200)?;
    ensure!(names(&list) == ["inline"], "{list}");
    let patch = json!({ "metadata": { "annotations": { "patched": "true" } } });
    let patched = http.patch(&at, MERGE, &patch)?.is(200)?;
    ensure!(holds(&patched, &patch) && holds(&patched["spec"]["volumes"], &json!(volumes)), "{patched}");
    let wrong = |name: &str, csi: &Value, words: &str| {
        let answer = http.post(&pods, &pod(name, &[json!({ "name": "one", "csi": csi })]))?;
        answer.refuses(422, words)
    };
    wrong("nameless", &json!({ "driver": "" }), "spec.volumes[0].csi.driver: Required value")?;
    wrong("misnamed", &json!({ "driver": "no driver" }), "spec.volumes[0].csi.driver: Invalid value: \"no driver\"")?;
    let secret = json!({ "driver": DRIVER, "nodePublishSecretRef": {} });
    wrong("secretless", &secret, "spec.volumes[0].csi.nodePublishSecretRef.name: Required value")?;
    http.delete(&at, &Value::Null)?.is(200)?;
    it.api.gone(&at, POD_LIMIT)
}
