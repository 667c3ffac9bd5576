//! What the subresources of a pod may change: containers for debugging, and resources in place.

use serde_json::{Value, json};

use super::check;
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
