//! What updates of jobs may change, what their statuses may say after what they have said, and when cron jobs are due.

use serde_json::{Value, json};

use super::{broken, kind, misreported};
use crate::kind::Part;
use crate::kinds::tests::{admit, merge, minimal, mistakes};

const UID: &str = "00000000-0000-4000-8000-000000000000";

/// What is wrong with `change` on top of a job that was made with `before`, and has had a status since.
fn changed(before: Value, status: Value, part: Part, change: Value, expected: &[&str]) {
    let kind = kind("jobs");
    let mut old = minimal(kind);
    merge(&mut old, before);
    let mut old = admit(kind, old);
    merge(&mut old, json!({ "status": status }));
    let mut new = old.clone();
    new["metadata"]["resourceVersion"] = "7".into();
    merge(&mut new, change);
    assert_eq!(mistakes(kind, Some(part), new, Some(&old)), expected);
}

fn updated(before: Value, change: Value, expected: &[&str]) {
    changed(json!({ "spec": before }), json!({}), Part::Main, json!({ "spec": change }), expected);
}

fn reported(spec: Value, before: Value, status: Value, expected: &[&str]) {
    changed(json!({ "spec": spec }), before, Part::Status, json!({ "status": status }), expected);
}

#[test]
fn jobs_that_select_by_hand() {
    broken(
        "jobs",
        json!({"manualSelector": true}),
        &[
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
        ],
    );
    broken(
        "jobs",
        json!({"manualSelector": true, "selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
        &["spec.selector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator"],
    );
}

#[test]
fn updates_of_jobs() {
    let labels = json!({"batch.kubernetes.io/job-name": "b"});
    let waiting = json!({"suspend": true});
    updated(waiting.clone(), json!({"template": {"spec": {"nodeSelector": {"a": "b"}}}}), &[]);
    updated(
        waiting,
        json!({"template": {"metadata": {"labels": labels}}}),
        &[&format!(
            "spec.template.metadata.labels[batch.kubernetes.io/job-name]: Invalid value: {{\"batch.kubernetes.io/controller-uid\":\"{UID}\",\"batch.kubernetes.io/job-name\":\"b\",\"controller-uid\":\"{UID}\",\"job-name\":\"a\"}}: must be 'a'"
        )],
    );
    let codes = json!({"operator": "In", "values": [1]});
    updated(
        json!({"managedBy": "example.com/a", "podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCodes": codes}]}}),
        json!({"managedBy": null, "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "A"}]}]}}),
        &[
            "spec.podFailurePolicy: Invalid value: {\"Rules\":[{\"Action\":\"Ignore\",\"OnExitCodes\":null,\"OnPodConditions\":[{\"Type\":\"A\",\"Status\":\"True\"}]}]}: field is immutable",
            "spec.managedBy: Invalid value: \"null\": field is immutable",
        ],
    );
    updated(
        json!({"completionMode": "Indexed", "completions": 2}),
        json!({"completions": 3, "successPolicy": {"rules": [{"succeededCount": 1}]}}),
        &[
            "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism",
            "spec.successPolicy: Invalid value: {\"Rules\":[{\"SucceededIndexes\":null,\"SucceededCount\":1}]}: field is immutable",
        ],
    );
    broken(
        "jobs",
        json!({"successPolicy": {"rules": []}}),
        &["spec.successPolicy: Invalid value: {\"Rules\":[]}: requires indexed completion mode"],
    );
}

#[test]
fn indexed_jobs_grow_as_far_as_their_pods_have_names() {
    let name = "a".repeat(61);
    let spec = |many: i32| json!({"completionMode": "Indexed", "completions": many, "parallelism": many});
    let before = json!({"metadata": {"name": name}, "spec": spec(9)});
    changed(before.clone(), json!({}), Part::Main, json!({"spec": spec(10)}), &[]);
    changed(
        before,
        json!({}),
        Part::Main,
        json!({"spec": spec(11)}),
        &[&format!(
            "metadata.name: Invalid value: \"{name}\": will not able to create pod with invalid DNS label: {name}-10"
        )],
    );
}

#[test]
fn statuses_of_jobs_are_held_against_what_changes() {
    let indexed =
        json!({"completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 1, "maxFailedIndexes": 3});
    // Indexes beyond the completions may be there since before there were fewer of these.
    reported(indexed.clone(), json!({"completedIndexes": "0-5"}), json!({"failed": 1}), &[]);
    reported(
        indexed,
        json!({}),
        json!({"completedIndexes": "0-1", "failedIndexes": "1-2"}),
        &["status.failedIndexes: Invalid value: \"1-2\": failedIndexes and completedIndexes overlap at index: 1"],
    );
    let shrinking = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3});
    reported(shrinking, json!({"succeeded": 5}), json!({"succeeded": 2}), &[]);
    reported(
        json!({}),
        json!({"succeeded": 5, "failed": 1}),
        json!({"succeeded": 2, "failed": 0}),
        &[
            "status.failed: Invalid value: 0: cannot decrease the failed counter",
            "status.succeeded: Invalid value: 2: cannot decrease the succeeded counter",
        ],
    );
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let (start, end) = ("2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z");
    let complete = json!({"startTime": start, "completionTime": end, "conditions": [condition("Complete")]});
    reported(
        json!({}),
        complete.clone(),
        json!({"conditions": [condition("Complete"), condition("SuccessCriteriaMet")]}),
        &[
            "status.conditions: Invalid value: cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
        ],
    );
    reported(json!({}), complete, json!({"ready": 0}), &[]);
    reported(
        json!({}),
        json!({"startTime": start}),
        json!({"startTime": end, "completionTime": start, "uncountedTerminatedPods": {"failed": ["a", "a"]},
            "conditions": [condition("Failed")]}),
        &[
            "status.uncountedTerminatedPods.failed[1]: Duplicate value: \"a\"",
            "status.completionTime: Invalid value: \"2026-01-01T00:00:01Z\": cannot set completionTime when there is no Complete=True condition",
            "status.completionTime: Invalid value: \"2026-01-01T00:00:01Z\": completionTime cannot be set before startTime",
            "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
            "status.uncountedTerminatedPods: Invalid value: {\"Succeeded\":null,\"Failed\":[\"a\",\"a\"]}: uncountedTerminatedPods needs to be empty for finished job",
            "status.startTime: Required value: startTime cannot be removed for unsuspended job",
        ],
    );
    misreported(
        "jobs",
        json!({"active": -1, "terminating": -2, "completedIndexes": "1"}),
        &[
            "status.active: Invalid value: -1: must be greater than or equal to 0",
            "status.terminating: Invalid value: -2: must be greater than or equal to 0",
            "status.completedIndexes: Invalid value: \"1\": error parsing completedIndexes: too large index: \"1\"",
            "status.completedIndexes: Invalid value: \"1\": cannot set non-empty completedIndexes when non-indexed completion mode",
        ],
    );
}

#[test]
fn time_zones_are_called_as_they_are_written() {
    let zone = |name: &str, expected: &[&str]| broken("cronjobs", json!({ "timeZone": name }), expected);
    zone("Europe/Berlin", &[]);
    zone("UTC", &[]);
    zone("europe/berlin", &["spec.timeZone: Invalid value: \"europe/berlin\": unknown time zone europe/berlin"]);
    zone("Etc/Unknown", &["spec.timeZone: Invalid value: \"Etc/Unknown\": unknown time zone Etc/Unknown"]);
    zone("", &["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"]);
}
