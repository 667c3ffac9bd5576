//! What `kubectl get jobs` shows.

use serde_json::Value;

use crate::duration;
use crate::kinds::cells::{self, AGE, list};
use crate::table::{Cell, Column};

/// The columns after NAME.
pub(super) const COLUMNS: &[Column] = &[
    cells::text("Status", status).doc("Status of the job."),
    cells::text("Completions", completions).doc("The number of pods which reached phase Succeeded. The value increases monotonically for a given spec. However, it may decrease in reaction to scale down of elastic indexed jobs."),
    cells::text("Duration", duration).doc("Time required to complete the job."),
    AGE,
    cells::wide("Containers", cells::template_containers).doc("Names of each container in the template."),
    cells::wide("Images", cells::template_images).doc("Images referenced by each container in the template."),
    cells::wide("Selector", cells::label_selector).doc("A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"),
];

fn status(it: &Value) -> Cell {
    let is =
        |kind: &str| list(&it["status"]["conditions"]).iter().any(|it| it["type"] == kind && it["status"] == "True");
    let deleting = it["metadata"]["deletionTimestamp"].is_string();
    let text = match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if deleting => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    Cell::Text(text.to_owned())
}

fn completions(it: &Value) -> Cell {
    let succeeded = it["status"]["succeeded"].as_i64().unwrap_or(0);
    let text = match (it["spec"]["completions"].as_i64(), it["spec"]["parallelism"].as_i64().unwrap_or(0)) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    Cell::Text(text)
}

fn duration(it: &Value) -> Cell {
    match (cells::time(&it["status"]["startTime"]), cells::time(&it["status"]["completionTime"])) {
        (None, _) => Cell::Text(String::new()),
        (start, None) => Cell::Since(start),
        (Some(start), Some(end)) => Cell::Text(duration::human(end.as_second() - start.as_second())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(cell: fn(&Value) -> Cell, job: Value, expected: &str) {
        assert_eq!(cell(&job), Cell::Text(expected.to_owned()));
    }

    #[test]
    fn tells_how_far_a_job_is() {
        check(status, json!({}), "Running");
        check(status, json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}), "Complete");
        check(status, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), "Terminating");
        check(completions, json!({"spec": {"completions": 3}, "status": {"succeeded": 2}}), "2/3");
        check(completions, json!({"spec": {"parallelism": 2}}), "0/1 of 2");
        let times = json!({"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:30Z"});
        check(duration, json!({"status": times}), "90s");
        check(duration, json!({}), "");
    }
}
