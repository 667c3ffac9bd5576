//! What the subresources of a pod may change: containers for debugging, and resources in place.

use serde_json::{Value, json};

use super::super::tests::mistakes;
use super::{admit, check, kind, merge, minimal};
use crate::kind::Part;

/// What is wrong with adding these to the minimal pod.
fn debugged(containers: Value, expected: &[&str]) {
    check("pods", Some(Part::EphemeralContainers), json!({"spec": {"ephemeralContainers": containers}}), expected);
}

fn resized(change: Value, expected: &[&str]) {
    check("pods", Some(Part::Resize), change, expected);
}

#[test]
fn containers_for_debugging_are_added() {
    debugged(json!([{"name": "d", "image": "busybox", "targetContainerName": "a", "stdin": true, "tty": true}]), &[]);
    let probe = json!({"exec": {"command": ["true"]}});
    debugged(
        json!([{"name": "a", "image": "", "targetContainerName": "none", "ports": [{"containerPort": 80}], "livenessProbe": probe,
            "lifecycle": {}, "resources": {"limits": {"cpu": "1"}}}, {"name": "d", "image": "busybox"}, {"name": "d", "image": "busybox"}]),
        &[
            "spec.ephemeralContainers[0].image: Required value",
            "spec.ephemeralContainers[0].name: Duplicate value: \"a\"",
            "spec.ephemeralContainers[0].targetContainerName: Not found: \"none\"",
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
            "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
            "spec.ephemeralContainers[0].livenessProbe: Forbidden: cannot be set for an Ephemeral Container",
            "spec.ephemeralContainers[0].lifecycle: Forbidden: cannot be set for an Ephemeral Container",
            "spec.ephemeralContainers[2].name: Duplicate value: \"d\"",
        ],
    );
    // The other parts of the pod are not looked at.
    check(
        "pods",
        Some(Part::EphemeralContainers),
        json!({"spec": {"hostNetwork": true, "containers": []}, "metadata": {"labels": {"a": "b c"}}}),
        &[],
    );
}

#[test]
fn resources_are_changed_in_place() {
    let container = |resources: Value| json!({"name": "a", "image": "nginx", "resources": resources});
    resized(json!({"spec": {"hostNetwork": true}, "metadata": {"labels": {"a": "b c"}}}), &[]);
    resized(
        json!({"spec": {"containers": [container(json!({"requests": {"cpu": "1"}}))]}}),
        &["spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing"],
    );
    resized(
        json!({"spec": {"containers": [container(json!({"requests": {"ephemeral-storage": "1"}}))]}}),
        &["spec: Forbidden: only cpu and memory resources are mutable"],
    );
    resized(
        json!({"spec": {"containers": [container(json!({})), {"name": "b", "image": "nginx"}]}}),
        &["spec.containers: Forbidden: containers may not be added or removed on resize"],
    );
    resized(
        json!({"spec": {"containers": [{"name": "b", "image": "nginx"}]}}),
        &["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"],
    );
}

#[test]
fn containers_that_start_a_pod_are_resized_only_if_they_stay() {
    let kind = kind("pods");
    let spec = |ended: &str, staying: Value| {
        let init = |name: &str, resources: Value| json!({"name": name, "image": "i", "resources": resources});
        let mut sidecar = init("s", staying);
        sidecar["restartPolicy"] = "Always".into();
        json!({"spec": {"initContainers": [init("e", json!({"requests": {"cpu": ended}})), sidecar]}})
    };
    let mut pod = minimal(kind);
    merge(&mut pod, spec("1", json!({"requests": {"cpu": "1"}})));
    let stored = admit(kind, pod);
    for (change, expected) in [
        (spec("1", json!({"requests": {"cpu": "2"}})), Vec::new()),
        (
            spec("1", json!({"requests": {"cpu": "1", "ephemeral-storage": "1"}})),
            vec!["spec: Forbidden: only cpu and memory resources for sidecar containers are mutable"],
        ),
        (
            spec("2", json!({"requests": {"cpu": "1"}})),
            vec!["spec: Forbidden: resources for non-sidecar init containers are immutable"],
        ),
    ] {
        let mut new = stored.clone();
        new["metadata"]["resourceVersion"] = "7".into();
        merge(&mut new, change);
        assert_eq!(mistakes(kind, Some(Part::Resize), new, Some(&stored)), expected);
    }
}

#[test]
fn pods_for_windows_and_not() {
    let create = |spec: Value, expected: &[&str]| super::broken("pods", spec, expected);
    let container = |context: Value| json!({"name": "a", "image": "nginx", "securityContext": context});
    create(
        json!({"os": {"name": "windows"}, "hostPID": true, "securityContext": {"runAsUser": 1, "sysctls": [{"name": "a", "value": "b"}]},
            "containers": [container(json!({"privileged": true, "windowsOptions": {"runAsUserName": "a\\b\\c"}}))]}),
        &[
            "spec.containers[0].securityContext.windowsOptions.runAsUserName: Invalid value: \"a\\\\b\\\\c\": runAsUserName cannot contain more than one backslash",
            "spec.hostPID: Forbidden: cannot be set for a windows pod",
            "spec.securityContext.sysctls: Forbidden: cannot be set for a windows pod",
            "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
            "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
        ],
    );
    create(
        json!({"securityContext": {"windowsOptions": {"hostProcess": true, "gmsaCredentialSpec": ""}},
            "containers": [container(json!({})), {"name": "b", "image": "x", "securityContext": {"windowsOptions": {"hostProcess": false}}}]}),
        &[
            "spec.securityContext.windowsOptions.gmsaCredentialSpec: Invalid value: \"\": gmsaCredentialSpec cannot be an empty string",
            "spec.containers[1].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical if both are specified, was true",
            "spec: Invalid value: \"\": If pod contains any hostProcess containers then all containers must be HostProcess containers",
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
        ],
    );
}

#[test]
fn claims_on_devices() {
    let create = |spec: Value, expected: &[&str]| super::broken("pods", spec, expected);
    let container = |claims: Value| json!({"name": "a", "image": "nginx", "resources": {"claims": claims}});
    create(
        json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}], "containers": [container(json!([{"name": "gpu"}]))]}),
        &[],
    );
    create(
        json!({"resourceClaims": [{"name": ""}, {"name": "x", "resourceClaimName": "c", "resourceClaimTemplateName": "t"}],
            "containers": [container(json!([{"name": "y"}, {"name": "x", "request": "r"}, {"name": "x"}]))]}),
        &[
            "spec.resourceClaims[0].name: Required value",
            "spec.resourceClaims[0]: Invalid value: {\"Name\":\"\",\"ResourceClaimName\":null,\"ResourceClaimTemplateName\":null}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            "spec.resourceClaims[1]: Invalid value: {\"Name\":\"x\",\"ResourceClaimName\":\"c\",\"ResourceClaimTemplateName\":\"t\"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            "spec.containers[0].resources.claims[0]: Not found: \"y\": must be one of the names in pod.spec.resourceClaims: x",
            "spec.containers[0].resources.claims[2]: Duplicate value: \"x\"",
        ],
    );
    check(
        "pods",
        Some(Part::Status),
        json!({"status": {"resourceClaimStatuses": [{"name": "x"}, {"name": "x"}]}}),
        &[
            "status.resourceClaimStatuses[0].name: Invalid value: \"x\": must match the name of an entry in `spec.resourceClaims`",
            "status.resourceClaimStatuses[1].name: Invalid value: \"x\": must match the name of an entry in `spec.resourceClaims`",
            "status.resourceClaimStatuses[1].name: Duplicate value: \"x\"",
        ],
    );
}

#[test]
fn resources_of_a_pod_as_a_whole() {
    let container = |resources: Value| json!({"name": "a", "image": "nginx", "resources": resources});
    let mut pod = super::minimal(super::kind("pods"));
    pod["spec"]["resources"] = json!({"limits": {"cpu": "2", "memory": "1024Mi"}});
    pod["spec"]["containers"] = json!([container(json!({"requests": {"cpu": "500m"}}))]);
    let made = super::admit(super::kind("pods"), pod);
    assert_eq!(made["spec"]["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
    assert_eq!(made["status"]["qosClass"], "Burstable");
    super::broken(
        "pods",
        json!({"resources": {"requests": {"cpu": "1", "ephemeral-storage": "1"}, "limits": {"cpu": "2"}},
            "containers": [container(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "3"}}))]}),
        &[
            "spec.resources.requests[ephemeral-storage]: Unsupported value: \"ephemeral-storage\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
            "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
            "spec.resources.containers[0][cpu].limits: Invalid value: \"3\": must be less than or equal to pod limits of 2",
        ],
    );
}

#[test]
fn names_and_rules_of_newer_pods() {
    let container = |rules: Value| json!({"name": "a", "image": "nginx", "restartPolicyRules": rules});
    super::broken(
        "pods",
        json!({"hostnameOverride": "A", "setHostnameAsFQDN": true, "containers": [container(json!([{"action": "Stop", "exitCodes": {"operator": "Is", "values": [1]}}, {"action": "Restart"}]))]}),
        &[
            "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
            "spec.containers[0].restartPolicyRules[0].action: Unsupported value: \"Stop\": supported values: \"Restart\"",
            "spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Is\": supported values: \"In\", \"NotIn\"",
            "spec.containers[0].restartPolicyRules[1].exitCodes: Required value: must be specified",
            "spec.hostnameOverride: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true",
        ],
    );
}

#[test]
fn annotations_that_mean_something() {
    check(
        "pods",
        None,
        json!({"metadata": {"annotations": {
            "container.apparmor.security.beta.kubernetes.io/b": "strict",
            "seccomp.security.alpha.kubernetes.io/pod": "localhost//x",
        }}, "spec": {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}}),
        &[
            "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"/x\": must be a relative path",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/b]: Invalid value: \"b\": container not found",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/b]: Invalid value: \"strict\": invalid AppArmor profile name: \"strict\"",
            "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
        ],
    );
    check(
        "pods",
        None,
        json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}},
            "spec": {"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}}),
        &[
            "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match",
        ],
    );
    check(
        "pods",
        Some(Part::Main),
        json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}}}),
        &[
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: Forbidden: may not add AppArmor annotations",
        ],
    );
}

#[test]
fn keys_of_labels_become_requirements() {
    let term = |same: Value, other: Value| json!({"topologyKey": "z", "labelSelector": {"matchLabels": {"app": "x"}}, "matchLabelKeys": same, "mismatchLabelKeys": other});
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let pods = kind("pods");
    let mut it = minimal(pods);
    merge(
        &mut it,
        json!({"metadata": {"labels": {"app": "x", "hash": "1"}}, "spec": {
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}, "matchLabelKeys": ["hash", "missing"]}],
            "affinity": {"podAffinity": {required: [term(json!(["hash"]), json!(["app"]))]}, "podAntiAffinity": {required: [term(json!(["missing"]), Value::Null)]}}}}),
    );
    let it = admit(pods, it);
    let hash = json!({"key": "hash", "operator": "In", "values": ["1"]});
    let spec = &it["spec"];
    assert_eq!(spec["topologySpreadConstraints"][0]["labelSelector"], json!({"matchExpressions": [hash]}));
    assert_eq!(
        spec["affinity"]["podAffinity"][required][0]["labelSelector"],
        json!({"matchLabels": {"app": "x"}, "matchExpressions": [hash, {"key": "app", "operator": "NotIn", "values": ["x"]}]})
    );
    assert_eq!(spec["affinity"]["podAntiAffinity"][required][0]["labelSelector"], json!({"matchLabels": {"app": "x"}}));
    // A selector may not ask for a label besides, whose value the pod itself gives.
    check(
        "pods",
        None,
        json!({"metadata": {"labels": {"app": "x"}}, "spec": {"affinity": {"podAffinity": {required: [term(json!(["app"]), Value::Null)]}}}}),
        &[
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0][0]: Invalid value: \"app\": exists in both matchLabelKeys and labelSelector",
        ],
    );
}
