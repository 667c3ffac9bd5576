//! The kinds in tables: what an almost empty object is filled with, what is wrong with broken ones, and the row of cells.

mod admission;
mod autoscalers;
mod classes;
mod devices;
mod drivers;
mod endpoints;
mod flow;
mod jobs;
mod network;
mod pods;
mod volumes;
mod warnings;

use serde_json::{Value, json};

use super::KINDS;
use super::tests::{admit, check, merge, minimal};
use crate::kind::{Kind, Part};
use crate::table::Cell;

fn kind(plural: &str) -> &'static Kind {
    KINDS.iter().find(|it| it.names.plural == plural).unwrap_or_else(|| panic!("no {plural}"))
}

/// What stands at these places of the minimal object once it is admitted.
fn filled(plural: &str, expected: &[(&str, Value)]) {
    let kind = kind(plural);
    let it = admit(kind, minimal(kind));
    for (pointer, value) in expected {
        assert_eq!(it.pointer(pointer), Some(value), "{plural} {pointer} of {it}");
    }
}

/// The cells of the admitted minimal object with `change`, without its age.
fn row(plural: &str, change: Value, expected: &str) {
    let kind = kind(plural);
    let mut it = admit(kind, minimal(kind));
    merge(&mut it, change);
    let shown = |cell: Cell| match cell {
        Cell::Text(text) | Cell::TextAgo(text, _) => text,
        Cell::Number(number) => number.to_string(),
        Cell::Flag(flag) => flag.to_string(),
        Cell::Fraction(number) => number.to_string(),
        Cell::Empty => String::new(),
        Cell::Since(_) => "ago".to_owned(),
    };
    let cells: Vec<String> =
        kind.columns.iter().filter(|it| it.name != "Age").map(|column| shown((column.cell)(&it))).collect();
    assert_eq!(cells.join("|"), expected, "{plural}");
}

/// What is wrong with a new object of this specification.
fn broken(plural: &str, spec: Value, expected: &[&str]) {
    check(plural, None, json!({ "spec": spec }), expected);
}

/// What an update to this specification may not do.
fn fixed(plural: &str, spec: Value, expected: &[&str]) {
    check(plural, Some(Part::Main), json!({ "spec": spec }), expected);
}

/// What is wrong with this status.
fn misreported(plural: &str, status: Value, expected: &[&str]) {
    check(plural, Some(Part::Status), json!({ "status": status }), expected);
}

#[test]
fn stateful_sets() {
    let plural = "statefulsets";
    filled(
        plural,
        &[
            ("/spec/replicas", json!(1)),
            ("/spec/revisionHistoryLimit", json!(10)),
            ("/spec/podManagementPolicy", json!("OrderedReady")),
            (
                "/spec/updateStrategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}}),
            ),
            ("/spec/persistentVolumeClaimRetentionPolicy", json!({"whenDeleted": "Retain", "whenScaled": "Retain"})),
            ("/status", json!({"replicas": 0, "availableReplicas": 0})),
            ("/metadata/generation", json!(1)),
        ],
    );
    broken(
        plural,
        json!({"podManagementPolicy": "Any", "replicas": -1, "updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}}),
        &[
            "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'",
            "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy 'RollingUpdate'",
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    broken(
        plural,
        json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}, "ordinals": {"start": -1}}),
        &[
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
            "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    broken(
        plural,
        json!({"template": {"metadata": {"labels": {"app": "b"}}, "spec": {"restartPolicy": "Never"}}}),
        &[
            "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`",
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ],
    );
    fixed(plural, json!({"replicas": 3, "minReadySeconds": 1, "ordinals": {"start": 1}}), &[]);
    fixed(
        plural,
        json!({"serviceName": "b"}),
        &[
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ],
    );
    misreported(
        plural,
        json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 2}),
        &[
            "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas",
        ],
    );
    row(plural, json!({"spec": {"replicas": 3}, "status": {"readyReplicas": 2}}), "2/3|a|nginx");
}

#[test]
fn claims_of_stateful_sets_have_kinds() {
    let kind = kind("statefulsets");
    let mut it = minimal(kind);
    it["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {}}]);
    let it = admit(kind, it);
    let claim = &it["spec"]["volumeClaimTemplates"][0];
    assert_eq!((&claim["kind"], &claim["apiVersion"]), (&json!("PersistentVolumeClaim"), &json!("v1")));
    assert_eq!((&claim["spec"]["volumeMode"], &claim["status"]["phase"]), (&json!("Filesystem"), &json!("Pending")));
}

#[test]
fn daemon_sets() {
    let plural = "daemonsets";
    filled(
        plural,
        &[
            (
                "/spec/updateStrategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
            ),
            ("/spec/revisionHistoryLimit", json!(10)),
            (
                "/status",
                json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}),
            ),
        ],
    );
    broken(
        plural,
        json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}, "minReadySeconds": -1}),
        &[
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ],
    );
    broken(
        plural,
        json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": "0%"}}}),
        &["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
    );
    broken(
        plural,
        json!({"template": {"spec": {"restartPolicy": "OnFailure", "activeDeadlineSeconds": 5}}}),
        &[
            "spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\": supported values: \"Always\"",
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
        ],
    );
    misreported(
        plural,
        json!({"numberReady": -1}),
        &["status.numberReady: Invalid value: -1: must be greater than or equal to 0"],
    );
    row(plural, json!({"status": {"desiredNumberScheduled": 3, "numberReady": 2}}), "3|0|2|0|0|<none>|a|nginx|app=a");
}

#[test]
fn controller_revisions() {
    let plural = "controllerrevisions";
    check(
        plural,
        None,
        json!({"data": null, "revision": -1}),
        &["data: Required value: data is mandatory", "revision: Invalid value: -1: must be greater than or equal to 0"],
    );
    check(
        plural,
        Some(Part::Main),
        json!({"data": {"spec": 1}}),
        &["data: Invalid value: {\"spec\":1}: field is immutable"],
    );
    check(plural, Some(Part::Main), json!({"revision": 2}), &[]);
    row(plural, json!({}), "<none>|1");
    let owner = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": true}]);
    row(plural, json!({"metadata": {"ownerReferences": owner}}), "statefulset.apps/web|1");
}

#[test]
fn replication_controllers() {
    let plural = "replicationcontrollers";
    filled(
        plural,
        &[
            ("/spec/selector", json!({"app": "a"})),
            ("/metadata/labels", json!({"app": "a"})),
            ("/spec/replicas", json!(1)),
            ("/status", json!({"replicas": 0})),
        ],
    );
    broken(
        plural,
        json!({"selector": {"app": "b"}, "replicas": -1}),
        &[
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
        ],
    );
    broken(plural, json!({"template": null}), &["spec.selector: Required value", "spec.template: Required value"]);
    broken(
        plural,
        json!({"template": {"spec": {"restartPolicy": "Never"}}}),
        &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
    );
    row(plural, json!({"status": {"replicas": 1}}), "1|1|0|a|nginx|app=a");
}

#[test]
fn pod_templates() {
    let plural = "podtemplates";
    filled(plural, &[("/template/spec/restartPolicy", json!("Always")), ("/metadata/generation", json!(1))]);
    let of = |spec: Value, expected: &[&str]| check(plural, None, json!({"template": {"spec": spec}}), expected);
    of(json!({"containers": []}), &["template.spec.containers: Required value"]);
    of(
        json!({"dnsPolicy": "Any"}),
        &[
            "template.spec.dnsPolicy: Unsupported value: \"Any\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
        ],
    );
    of(json!({"volumes": [{"name": "v"}, {"name": "v"}]}), &["template.spec.volumes[1].name: Duplicate value: \"v\""]);
    row(plural, json!({}), "a|nginx|app=a");
}

#[test]
fn jobs() {
    let plural = "jobs";
    let uid = "00000000-0000-4000-8000-000000000000";
    let labels = json!({"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "a",
        "controller-uid": uid, "job-name": "a"});
    filled(
        plural,
        &[
            ("/spec/completions", json!(1)),
            ("/spec/parallelism", json!(1)),
            ("/spec/backoffLimit", json!(6)),
            ("/spec/completionMode", json!("NonIndexed")),
            ("/spec/suspend", json!(false)),
            ("/spec/podReplacementPolicy", json!("TerminatingOrFailed")),
            ("/spec/selector", json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})),
            ("/spec/template/metadata/labels", labels.clone()),
            ("/metadata/labels", labels),
            ("/status", json!({})),
        ],
    );
    broken(
        plural,
        json!({"template": {"spec": {"restartPolicy": "Always"}}}),
        &["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
    );
    broken(
        plural,
        json!({"completionMode": "Indexed", "maxFailedIndexes": 1, "parallelism": -1, "managedBy": "me"}),
        &[
            "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            "spec.completions: Required value: when completion mode is Indexed",
        ],
    );
    broken(
        plural,
        json!({"podFailurePolicy": {"rules": [{"action": "Panic"}, {"action": "FailJob",
            "onExitCodes": {"operator": "In", "values": [2, 0], "containerName": "x"}}]}}),
        &[
            "spec.podFailurePolicy.rules[0].action: Unsupported value: \"Panic\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
            "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            "spec.podFailurePolicy.rules[1].onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template",
            "spec.podFailurePolicy.rules[1].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
            "spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: [2,0]: must be ordered",
        ],
    );
    broken(
        plural,
        json!({"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 3}, {}]}}),
        &[
            "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
            "spec.successPolicy.rules[1]: Required value: at least one of succeededCount or succeededIndexes must be specified",
        ],
    );
    broken(
        plural,
        json!({"template": {"metadata": {"labels": {"job-name": "b"}}}}),
        &[
            "spec.template.metadata.labels[job-name]: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"00000000-0000-4000-8000-000000000000\",\"batch.kubernetes.io/job-name\":\"a\",\"controller-uid\":\"00000000-0000-4000-8000-000000000000\",\"job-name\":\"b\"}: must be 'a'",
        ],
    );
    fixed(plural, json!({"parallelism": 3, "suspend": true, "activeDeadlineSeconds": 5}), &[]);
    fixed(
        plural,
        json!({"completions": 2, "completionMode": "NonIndexed", "backoffLimit": 1}),
        &["spec.completions: Invalid value: 2: field is immutable"],
    );
    misreported(
        plural,
        json!({"active": 1, "ready": 2, "conditions": [{"type": "Complete", "status": "True"}]}),
        &[
            "status.completionTime: Required value: completionTime is required for Complete jobs",
            "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
            "status.startTime: Required value: startTime is required for finished job",
            "status.ready: Invalid value: 2: cannot set more ready pods than active",
        ],
    );
    let selector = format!("batch.kubernetes.io/controller-uid={uid}");
    row(plural, json!({"status": {"succeeded": 1}}), &format!("Running|1/1||a|nginx|{selector}"));
}

#[test]
fn cron_jobs() {
    let plural = "cronjobs";
    filled(
        plural,
        &[
            ("/spec/concurrencyPolicy", json!("Allow")),
            ("/spec/suspend", json!(false)),
            ("/spec/successfulJobsHistoryLimit", json!(3)),
            ("/spec/failedJobsHistoryLimit", json!(1)),
            ("/spec/jobTemplate/spec/template/spec/dnsPolicy", json!("ClusterFirst")),
            ("/status", json!({})),
        ],
    );
    broken(
        plural,
        json!({"schedule": "* * *", "concurrencyPolicy": "Never", "failedJobsHistoryLimit": -1}),
        &[
            "spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]",
            "spec.concurrencyPolicy: Unsupported value: \"Never\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
            "spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    broken(
        plural,
        json!({"timeZone": "Mars/Olympus", "jobTemplate": {"spec": {"manualSelector": true, "selector": {}}}}),
        &[
            "spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus",
            "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
        ],
    );
    broken(
        plural,
        json!({"schedule": "TZ=UTC 0 0 * * *", "timeZone": "local"}),
        &[
            "spec.schedule: Invalid value: \"TZ=UTC 0 0 * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            "spec.timeZone: Invalid value: \"local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            "spec.timeZone: Invalid value: \"local\": unknown time zone local",
        ],
    );
    check(
        plural,
        None,
        json!({"metadata": {"name": "a".repeat(53)}}),
        &[&format!("metadata.name: Invalid value: \"{}\": must be no more than 52 characters", "a".repeat(53))],
    );
    row(plural, json!({"status": {"active": [{}]}}), "*/5 * * * *|<none>|False|1|<none>|a|nginx|<none>");
}

#[test]
fn persistent_volumes() {
    let plural = "persistentvolumes";
    filled(
        plural,
        &[
            ("/spec/persistentVolumeReclaimPolicy", json!("Retain")),
            ("/spec/volumeMode", json!("Filesystem")),
            ("/spec/capacity/storage", json!("1Gi")),
            ("/spec/hostPath/type", json!("")),
            ("/status/phase", json!("Pending")),
        ],
    );
    broken(
        plural,
        json!({"accessModes": [], "capacity": null, "hostPath": null}),
        &[
            "spec.accessModes: Required value",
            "spec.capacity: Required value",
            "spec.capacity: Unsupported value: null: supported values: \"storage\"",
            "spec: Required value: must specify a volume type",
        ],
    );
    broken(
        plural,
        json!({"accessModes": ["ReadWriteOncePod", "Sometimes"], "capacity": {"storage": "0"}, "nfs": {"server": "", "path": "p"}}),
        &[
            "spec.accessModes: Unsupported value: \"Sometimes\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
            "spec.nfs: Forbidden: may not specify more than 1 volume type",
        ],
    );
    broken(
        plural,
        json!({"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"}),
        &["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
    );
    fixed(plural, json!({"claimRef": {"namespace": "default", "name": "data"}}), &[]);
    fixed(
        plural,
        json!({"hostPath": {"path": "/other"}, "volumeMode": "Block"}),
        &[
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
            "volumeMode: Invalid value: \"Block\": field is immutable",
        ],
    );
    row(
        plural,
        json!({"spec": {"claimRef": {"namespace": "default", "name": "data"}, "storageClassName": "fast"}, "status": {"phase": "Bound"}}),
        "1Gi|RWO|Retain|Bound|default/data|fast|<unset>||Filesystem",
    );
}

#[test]
fn persistent_volume_claims() {
    let plural = "persistentvolumeclaims";
    filled(plural, &[("/spec/volumeMode", json!("Filesystem")), ("/status", json!({"phase": "Pending"}))]);
    broken(
        plural,
        json!({"accessModes": [], "resources": {"requests": null}, "storageClassName": "A_b"}),
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
            "spec.storageClassName: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
    broken(
        plural,
        json!({"volumeMode": "Tape", "resources": {"requests": {"storage": "-1"}}}),
        &[
            "spec.resources[storage]: Invalid value: \"-1\": must be greater than zero",
            "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
        ],
    );
    broken(
        plural,
        json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "b"}, "dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "c"}}),
        &["spec: Invalid value: {}: must match dataSourceRef"],
    );
    broken(
        plural,
        json!({"dataSourceRef": {"kind": "Thing", "name": "", "namespace": "N"}, "volumeAttributesClassName": "A_b"}),
        &[
            "spec.dataSourceRef.name: Required value",
            "spec.dataSourceRef: Invalid value: \"Thing\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            "spec.dataSourceRef.namespace: Invalid value: \"N\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.volumeAttributesClassName: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
    misreported(
        plural,
        json!({"capacity": {"storage": "-1"}, "allocatedResourceStatuses": {"storage": "Growing"}, "allocatedResources": {"cpu": "1"}}),
        &[
            "status.capacity[storage]: Invalid value: \"-1\": must be a valid resource quantity",
            "status.allocatedResourceStatus: Unsupported value: \"storage\": supported values: \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"",
            "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
        ],
    );
    fixed(plural, json!({"volumeName": "pv-1"}), &[]);
    fixed(
        plural,
        json!({"resources": {"requests": {"storage": "2Gi"}}}),
        &[
            "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ],
    );
    row(plural, json!({}), "Pending|||||<unset>|Filesystem");
    row(
        plural,
        json!({"spec": {"volumeName": "pv-1", "storageClassName": "fast"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}}),
        "Bound|pv-1|1Gi|RWO,RWX|fast|<unset>|Filesystem",
    );
}
