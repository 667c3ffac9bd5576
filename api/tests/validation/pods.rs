//! What Kubernetes refuses in pods: in their containers, volumes and specifications, on creation, on updates, and in statuses.

use orlop_api::kind::Part;
use serde_json::{Value, json};

use super::{create, merge, update};

/// One pod with one container that has `fields` too.
fn with(fields: Value) -> Value {
    let mut container = json!({"name": "a", "image": "nginx"});
    merge(&mut container, &fields);
    json!({"spec": {"containers": [container]}})
}

#[test]
fn containers() {
    let pod = |change: Value, expected: &[&str]| create("pods", change, expected);
    pod(json!({"spec": {"containers": []}}), &["FieldValueRequired spec.containers: Required value"]);
    pod(with(json!({"name": ""})), &["FieldValueRequired spec.containers[0].name: Required value"]);
    pod(
        with(json!({"name": "A"})),
        &[
            "FieldValueInvalid spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of…",
        ],
    );
    pod(
        json!({"spec": {"initContainers": [{"name": "a", "image": "b"}, {"name": "b", "image": "b", "restartPolicy": "Sometimes"}]}}),
        &[
            "FieldValueDuplicate spec.initContainers[0].name: Duplicate value: \"a\"",
            "FieldValueNotSupported spec.initContainers[1].restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ],
    );
    pod(
        json!({"spec": {"initContainers": [{"name": "i", "image": "b", "livenessProbe": {"exec": {"command": ["x"]}}, "lifecycle": {}}]}}),
        &[
            "FieldValueForbidden spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
            "FieldValueForbidden spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
    pod(
        with(json!({"image": " nginx", "terminationMessagePolicy": "Shout"})),
        &[
            "FieldValueNotSupported spec.containers[0].terminationMessagePolicy: Unsupported value: \"Shout\": supported values: \"File\", \"FallbackToLogsOnError\"",
            "FieldValueInvalid spec.containers[0].image: Invalid value: \" nginx\": must not have leading or trailing whitespace",
        ],
    );
    let ports = json!({"ports": [{"containerPort": 80, "name": "web", "hostPort": 8080}, {"containerPort": 70000, "name": "web", "hostPort": 8080, "protocol": "ICMP"}]});
    pod(
        with(ports),
        &[
            "FieldValueDuplicate spec.containers[0].ports[1].name: Duplicate value: \"web\"",
            "FieldValueInvalid spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "FieldValueNotSupported spec.containers[0].ports[1].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ],
    );
    pod(
        with(json!({"ports": [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]})),
        &["FieldValueDuplicate spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//9\""],
    );
    let mut host = with(json!({"ports": [{"containerPort": 1, "hostPort": 9}]}));
    host["spec"]["hostNetwork"] = true.into();
    pod(
        host,
        &[
            "FieldValueInvalid spec.containers[0].ports[0].hostPort: Invalid value: 9: must match `containerPort` when `hostNetwork` is true",
        ],
    );
    pod(
        with(json!({"resizePolicy": [{"resourceName": "disk", "restartPolicy": "NotRequired"}]})),
        &[
            "FieldValueNotSupported spec.containers[0].resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\"",
        ],
    );
}

#[test]
fn environments() {
    let pod = |change: Value, expected: &[&str]| create("pods", with(change), expected);
    let from = |source: Value| json!({"env": [{"name": "A", "valueFrom": source}]});
    pod(
        json!({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
        &[
            "FieldValueInvalid spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ],
    );
    pod(
        from(json!({"fieldRef": {"fieldPath": "metadata.name"}, "secretKeyRef": {"name": "s", "key": "k"}})),
        &[
            "FieldValueInvalid spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not have more than one field specified at a time",
        ],
    );
    pod(
        from(json!({"fieldRef": {"fieldPath": "status.phase"}})),
        &[
            "FieldValueNotSupported spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
        ],
    );
    pod(
        from(json!({"fieldRef": {"fieldPath": "spec['x']"}})),
        &[
            "FieldValueInvalid spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec['x']\": error converting fieldPath: field label does not support subscript: spec['x']",
        ],
    );
    pod(
        from(json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}})),
        &[
            "FieldValueInvalid spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
        ],
    );
    pod(
        from(json!({"configMapKeyRef": {"name": "", "key": "a/b"}})),
        &[
            "FieldValueInvalid spec.containers[0].env[0].valueFrom.configMapKeyRef.name: Invalid value: \"\": a lowercase RFC 1123 subdomain…",
            "FieldValueInvalid spec.containers[0].env[0].valueFrom.configMapKeyRef.key: Invalid value: \"a/b\": a valid config key must consist of…",
        ],
    );
    pod(
        json!({"envFrom": [{"prefix": "="}, {"secretRef": {"name": "x-"}}]}),
        &[
            "FieldValueInvalid spec.containers[0].envFrom[0].prefix: Invalid value: \"=\": a valid environment variable name…",
            "FieldValueInvalid spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
        ],
    );
}

#[test]
fn resources_and_handlers() {
    let pod = |change: Value, expected: &[&str]| create("pods", with(change), expected);
    pod(
        json!({"resources": {"requests": {"cpu": "2", "memory": "-1"}, "limits": {"cpu": "1"}}}),
        &[
            "FieldValueInvalid spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            "FieldValueInvalid spec.containers[0].resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    );
    pod(
        json!({"resources": {"requests": {"x.io/gpu": "1"}, "limits": {"x.io/gpu": "2"}}}),
        &[
            "FieldValueInvalid spec.containers[0].resources.requests: Invalid value: \"1\": must be equal to x.io/gpu limit of 2",
        ],
    );
    pod(
        json!({"livenessProbe": {"exec": {}, "tcpSocket": {"port": 1}, "periodSeconds": -1, "successThreshold": 2}}),
        &[
            "FieldValueRequired spec.containers[0].livenessProbe.exec.command: Required value",
            "FieldValueForbidden spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            "FieldValueInvalid spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
            "FieldValueInvalid spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    pod(
        json!({"readinessProbe": {"httpGet": {"port": "a_b", "scheme": "FTP", "httpHeaders": [{"name": "a b", "value": ""}]}, "terminationGracePeriodSeconds": 3}}),
        &[
            "FieldValueInvalid spec.containers[0].readinessProbe.httpGet.port: Invalid value: \"a_b\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            "FieldValueNotSupported spec.containers[0].readinessProbe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\"",
            "FieldValueInvalid spec.containers[0].readinessProbe.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header must consist of…",
            "FieldValueInvalid spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 3: must not be set for readinessProbes",
        ],
    );
    pod(
        json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}, "postStart": {}}}),
        &[
            "FieldValueRequired spec.containers[0].lifecycle.postStart: Required value: must specify a handler type",
            "FieldValueInvalid spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
        ],
    );
}

#[test]
fn volumes() {
    let pod = |volume: Value, expected: &[&str]| create("pods", json!({"spec": {"volumes": [volume]}}), expected);
    pod(
        json!({"name": "v", "emptyDir": {"sizeLimit": "-1"}, "hostPath": {"path": "/x"}}),
        &[
            "FieldValueForbidden spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
            "FieldValueForbidden spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ],
    );
    pod(
        json!({"name": "v", "hostPath": {"path": "/a/../b", "type": "Thing"}}),
        &[
            "FieldValueInvalid spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            "FieldValueNotSupported spec.volumes[0].hostPath.type: Unsupported value: \"Thing\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
        ],
    );
    pod(
        json!({"name": "", "secret": {"defaultMode": 512, "items": [{"key": "", "path": "..x", "mode": -1}]}}),
        &[
            "FieldValueRequired spec.volumes[0].secret.secretName: Required value",
            "FieldValueInvalid spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            "FieldValueRequired spec.volumes[0].secret.items[0].key: Required value",
            "FieldValueInvalid spec.volumes[0].secret.items[0].path: Invalid value: \"..x\": must not start with '..'",
            "FieldValueInvalid spec.volumes[0].secret.items[0].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive",
            "FieldValueRequired spec.volumes[0].name: Required value",
        ],
    );
    pod(
        json!({"name": "v", "downwardAPI": {"items": [{"path": "/a", "resourceFieldRef": {"resource": "limits.cpu"}}]}}),
        &[
            "FieldValueInvalid spec.volumes[0].downwardAPI.path: Invalid value: \"/a\": must be a relative path",
            "FieldValueRequired spec.volumes[0].downwardAPI.resourceFieldRef.containerName: Required value",
        ],
    );
    let items = json!([{"key": "k", "path": "p"}]);
    pod(
        json!({"name": "v", "projected": {"sources": [
            {"secret": {"name": "s", "items": items}}, {"configMap": {"name": "c", "items": items}, "downwardAPI": {}},
            {"serviceAccountToken": {"path": "", "expirationSeconds": 5}},
        ]}}),
        &[
            "FieldValueInvalid spec.volumes[0].projected: Invalid value: \"c\": conflicting duplicate paths",
            "FieldValueForbidden spec.volumes[0].projected.sources[1]: Forbidden: may not specify more than 1 volume type per source",
            "FieldValueInvalid spec.volumes[0].projected.sources[2].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
            "FieldValueRequired spec.volumes[0].projected.path: Required value",
            "FieldValueForbidden spec.volumes[0].projected.sources[2].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
        ],
    );
    pod(
        json!({"name": "v", "nfs": {"server": "", "path": "x"}}),
        &[
            "FieldValueRequired spec.volumes[0].nfs.server: Required value",
            "FieldValueInvalid spec.volumes[0].nfs.path: Invalid value: \"x\": must be an absolute path",
        ],
    );
    pod(
        json!({"name": "v", "csi": {"driver": "A_b", "nodePublishSecretRef": {"name": ""}}}),
        &[
            "FieldValueInvalid spec.volumes[0].csi.driver: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain…",
            "FieldValueRequired spec.volumes[0].csi.nodePublishSecretRef.name: Required value",
        ],
    );
    pod(json!({"name": "v", "image": {}}), &["FieldValueRequired spec.volumes[0].image.reference: Required value"]);
    // A volume with a mistake is none that could be mounted.
    let mut mounts = with(json!({"volumeMounts": [
        {"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a", "subPath": "../x", "subPathExpr": "y"},
        {"name": "w", "mountPath": "/b", "mountPropagation": "Bidirectional", "recursiveReadOnly": "Enabled"},
    ], "volumeDevices": [{"name": "w", "devicePath": "/dev/../x"}]}));
    mounts["spec"]["volumes"] = json!([{"name": "v", "nfs": {"server": "s", "path": "p"}}, {"name": "w"}]);
    create(
        "pods",
        mounts,
        &[
            "FieldValueInvalid spec.volumes[0].nfs.path: Invalid value: \"p\": must be an absolute path",
            "FieldValueNotFound spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
            "FieldValueInvalid spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
            "FieldValueInvalid spec.containers[0].volumeMounts[1].name: Invalid value: \"w\": must not already exist in volumeDevices",
            "FieldValueInvalid spec.containers[0].volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'",
            "FieldValueInvalid spec.containers[0].volumeMounts[1].subPathExpr: Invalid value: \"y\": subPathExpr and subPath are mutually exclusive",
            "FieldValueInvalid spec.containers[0].volumeMounts[2].name: Invalid value: \"w\": must not already exist in volumeDevices",
            "FieldValueForbidden spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
            "FieldValueForbidden spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
            "FieldValueForbidden spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified",
            "FieldValueInvalid spec.containers[0].volumeDevices[0].name: Invalid value: \"w\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            "FieldValueInvalid spec.containers[0].volumeDevices[0].devicePath: Invalid value: \"/dev/../x\": can not contain backsteps ('..')",
            "FieldValueInvalid spec.containers[0].volumeDevices[0].name: Invalid value: \"w\": must not already exist in volumeMounts",
        ],
    );
}

#[test]
fn pods_as_a_whole() {
    let pod = |spec: Value, expected: &[&str]| create("pods", json!({ "spec": spec }), expected);
    pod(
        json!({"restartPolicy": "Maybe", "dnsPolicy": "Best", "activeDeadlineSeconds": 0, "preemptionPolicy": "Always", "os": {"name": "plan9"}}),
        &[
            "FieldValueNotSupported spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            "FieldValueNotSupported spec.dnsPolicy: Unsupported value: \"Best\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
            "FieldValueInvalid spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
            "FieldValueNotSupported spec.preemptionPolicy: Unsupported value: \"Always\": supported values: \"PreemptLowerPriority\", \"Never\"",
            "FieldValueNotSupported spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\"",
        ],
    );
    pod(
        json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "x"], "searches": ["A", "_a.b.", "."], "options": [{"value": "1"}]}}),
        &[
            "FieldValueInvalid spec.dnsConfig.nameservers: Invalid value: [\"1.1.1.1\",\"2.2.2.2\",\"3.3.3.3\",\"x\"]: must not have more than 3 nameservers",
            "FieldValueInvalid spec.dnsConfig.nameservers[3]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "FieldValueInvalid spec.dnsConfig.searches[0]: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.'…",
            "FieldValueRequired spec.dnsConfig.options[0]: Required value: must not be empty",
        ],
    );
    pod(
        json!({"hostAliases": [{"ip": "x", "hostnames": ["ok", "A"]}], "overhead": {"cpu": "-1"}, "hostUsers": false, "hostPID": true}),
        &[
            "FieldValueForbidden spec.HostPID: Forbidden: when `pod.Spec.HostUsers` is false",
            "FieldValueInvalid spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "FieldValueInvalid spec.hostAliases[0].hostnames[1]: Invalid value: \"A\": a lowercase RFC 1123 subdomain…",
            "FieldValueInvalid spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    );
    pod(
        json!({"hostNetwork": true, "hostPID": true, "shareProcessNamespace": true, "securityContext": {
            "fsGroup": -1, "sysctls": [{"name": "", "value": ""}, {"name": "A", "value": ""}, {"name": "net.a", "value": ""}, {"name": "net.a", "value": ""}],
            "seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}, "appArmorProfile": {"type": "Localhost"}, "supplementalGroupsPolicy": "x"}}),
        &[
            "FieldValueInvalid spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "FieldValueInvalid spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
            "FieldValueRequired spec.securityContext.sysctls[0].name: Required value",
            "FieldValueInvalid spec.securityContext.sysctls[1].name: Invalid value: \"A\": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            "FieldValueInvalid spec.securityContext.sysctls[2].name: Invalid value: \"net.a\": may not be specified when 'hostNetwork' is true",
            "FieldValueDuplicate spec.securityContext.sysctls[3].name: Duplicate value: \"net.a\"",
            "FieldValueInvalid spec.securityContext.sysctls[3].name: Invalid value: \"net.a\": may not be specified when 'hostNetwork' is true",
            "FieldValueInvalid spec.securityContext.seccompProfile.localhostProfile: Invalid value: {\"Type\":\"RuntimeDefault\",\"LocalhostProfile\":\"x\"}: can only be set when seccomp type is Localhost",
            "FieldValueRequired spec.securityContext.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost",
            "FieldValueNotSupported spec.securityContext.supplementalGroupsPolicy: Unsupported value: \"x\": supported values: \"Merge\", \"Strict\"",
        ],
    );
    create(
        "pods",
        with(
            json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false, "procMount": "Unmasked", "seccompProfile": {"type": "Localhost"}}}),
        ),
        &[
            "FieldValueInvalid spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
            "FieldValueRequired spec.containers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            "FieldValueInvalid spec.containers[0].securityContext: Invalid value: {…",
        ],
    );
    create(
        "pods",
        json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "+1", "kubernetes.io/config.mirror": "x"}}}),
        &[
            "FieldValueInvalid metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
            "FieldValueInvalid metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer",
        ],
    );
}

#[test]
fn scheduling() {
    let pod = |spec: Value, expected: &[&str]| create("pods", json!({ "spec": spec }), expected);
    pod(
        json!({"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}, {"key": "b", "operator": "Gt"}, {"key": "c", "effect": "NoSchedule", "tolerationSeconds": 1}, {"key": "d", "effect": "Never"}]}),
        &[
            "FieldValueInvalid spec.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
            "FieldValueNotSupported spec.tolerations[1].operator: Unsupported value: \"Gt\": supported values: \"Equal\", \"Exists\"",
            "FieldValueInvalid spec.tolerations[2].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            "FieldValueNotSupported spec.tolerations[3].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ],
    );
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    pod(
        json!({"affinity": {
            "nodeAffinity": {
                required: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b c"]}, {"key": "b", "operator": "Near"}],
                    "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["A"]}, {"key": "spec.x", "operator": "In", "values": ["a"]}]}]},
                preferred: [{"weight": 0, "preference": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b c"]}]}}],
            },
            "podAffinity": {required: [{"topologyKey": "", "namespaces": ["A"], "matchLabelKeys": ["x"]}]},
        }}),
        &[
            "FieldValueInvalid spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]: Invalid value: \"b c\": a valid label must be…",
            "FieldValueInvalid spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].operator: Invalid value: \"Near\": not a valid selector operator",
            "FieldValueInvalid spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].values[0]: Invalid value: \"A\": a lowercase RFC 1123…",
            "FieldValueInvalid spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[1].key: Invalid value: \"spec.x\": not a valid field selector key",
            "FieldValueInvalid spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100",
            "FieldValueInvalid spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespace: Invalid value: \"A\": a lowercase RFC 1123 label…",
            "FieldValueForbidden spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
            "FieldValueRequired spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty",
            "FieldValueInvalid spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"\": name part must be non-empty",
            "FieldValueInvalid spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"\": name part must consist of…",
        ],
    );
    let constraint = json!({"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}, "matchLabelKeys": ["a"], "minDomains": 0});
    pod(
        json!({"topologySpreadConstraints": [constraint, {"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"}], "schedulingGates": [{"name": ""}, {"name": "g"}, {"name": "g"}]}),
        &[
            "FieldValueInvalid spec.schedulingGates[0]: Invalid value: \"\": name part must be non-empty",
            "FieldValueInvalid spec.schedulingGates[0]: Invalid value: \"\": name part must consist of…",
            "FieldValueDuplicate spec.schedulingGates[2]: Duplicate value: \"g\"",
            "FieldValueDuplicate spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{z, ScheduleAnyway}\"",
            "FieldValueInvalid spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero",
            "FieldValueInvalid spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            "FieldValueInvalid spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and labelSelector",
            "FieldValueInvalid spec.topologySpreadConstraints[1].maxSkew: Invalid value: 0: must be greater than zero",
        ],
    );
}

#[test]
fn updates_of_pods() {
    let main = |before: Value, change: Value, expected: &[&str]| update("pods", Part::Main, before, change, expected);
    main(
        json!({"spec": {"activeDeadlineSeconds": 5}}),
        json!({"spec": {"activeDeadlineSeconds": null}}),
        &[
            "FieldValueInvalid spec.activeDeadlineSeconds: Invalid value: \"null\": must not update from a positive integer to nil value",
        ],
    );
    main(
        json!({"spec": {"activeDeadlineSeconds": 5}}),
        json!({"spec": {"activeDeadlineSeconds": 6}}),
        &[
            "FieldValueInvalid spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value",
        ],
    );
    let gated = json!({"spec": {"schedulingGates": [{"name": "g"}], "nodeSelector": {"a": "b"}}});
    main(gated.clone(), json!({"spec": {"nodeSelector": {"c": "d"}, "schedulingGates": []}}), &[]);
    main(
        gated,
        json!({"spec": {"nodeSelector": {"a": "c"}, "schedulingGates": [{"name": "g"}, {"name": "h"}]}}),
        &[
            "FieldValueForbidden spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'h'",
            "FieldValueInvalid spec.nodeSelector: Invalid value: {\"a\":\"c\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ],
    );
    let affinity = |values: Value| {
        json!({"spec": {"schedulingGates": [{"name": "g"}], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": values}]}}}}})
    };
    let one = json!({"key": "a", "operator": "Exists"});
    let two = json!({"key": "b", "operator": "Exists"});
    main(affinity(json!([one])), affinity(json!([one, two])), &[]);
    main(json!({"spec": {"schedulingGates": [{"name": "g"}]}}), affinity(json!([one])), &[]);
    main(
        affinity(json!([one])),
        affinity(json!([two])),
        &[
            "FieldValueInvalid spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: Invalid value: {\"matchExpressions\":[{\"key\":\"b\",\"operator\":\"Exists\"}]}: only additions are allowed (no mutations or deletions)",
        ],
    );
    main(
        json!({}),
        json!({"spec": {"tolerations": [{"operator": "Exists", "effect": "Never"}], "hostname": "x"}}),
        &[
            "FieldValueNotSupported spec.tolerations[0].effect: Unsupported value: \"Never\"…",
            "FieldValueForbidden spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`…",
        ],
    );
    main(
        json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}, "spec": {"nodeName": "n"}}),
        json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "y"}}}),
        &[
            "FieldValueForbidden metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation",
        ],
    );
}

#[test]
fn statuses_of_pods() {
    let status =
        |before: Value, change: Value, expected: &[&str]| update("pods", Part::Status, before, change, expected);
    let ended = |code: i32| json!([{"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": code}}}]);
    let runs = json!({"status": {"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 1, "state": {"running": {}}}]}});
    let back = "FieldValueForbidden status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    for (policy, code, expected) in
        [("Never", 1, &[back][..]), ("OnFailure", 0, &[back]), ("OnFailure", 1, &[]), ("Always", 0, &[])]
    {
        let before = json!({"spec": {"restartPolicy": policy}, "status": {"containerStatuses": ended(code)}});
        status(before, runs.clone(), expected);
    }
    status(
        json!({}),
        json!({"status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}], "hostIP": "1.1.1.1", "hostIPs": [{"ip": "x"}],
            "conditions": [{"type": "a b", "status": "True"}], "nominatedNodeName": "A"}}),
        &[
            "FieldValueInvalid metadata.conditions[0].Type: Invalid value: \"a b\": name part must consist of…",
            "FieldValueInvalid status.nominatedNodeName: Invalid value: \"A\": a lowercase RFC 1123 subdomain…",
            "FieldValueInvalid status.podIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.1\"}]: may specify no more than one IP for each IP family",
            "FieldValueDuplicate status.podIPs[1]: Duplicate value: {\"IP\":\"10.0.0.1\"}",
            "FieldValueInvalid status.hostIPs[0].ip: Invalid value: \"x\": must be equal to `hostIP`",
            "FieldValueInvalid status.hostIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    );
}
