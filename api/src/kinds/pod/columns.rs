//! What `kubectl get pods` shows: how many containers are ready, what keeps the pod from running, how often it was restarted.
//!
//! Source: `printPod` in `k8s.io/kubernetes/pkg/printers/internalversion`. The texts of STATUS are reasons of containers in an order
//! of precedence that users know by heart, so the order below is Kubernetes' own.

use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::cells::{self, AGE, NONE, list, str_of, str_or, time};
use crate::table::{Cell, Column, Completed};

pub(super) const COLUMNS: &[Column] = &[
    cells::text("Ready", |it| {
        let seen = look(it);
        Cell::Text(format!("{}/{}", seen.ready, seen.total))
    }).doc("The aggregate readiness state of this pod for accepting traffic."),
    cells::text("Status", |it| Cell::Text(look(it).reason)).doc("The aggregate status of the containers in this pod."),
    cells::text("Restarts", restarts).doc("The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
    AGE,
    cells::wide("IP", |it| cells::cell_or_none(&it["status"]["podIPs"][0]["ip"])).doc(".status.podIP"),
    cells::wide("Node", |it| cells::cell_or_none(&it["spec"]["nodeName"])).doc(".spec.nodeName"),
    cells::wide("Nominated Node", |it| cells::cell_or_none(&it["status"]["nominatedNodeName"])).doc(".status.nominatedNodeName"),
    cells::wide("Readiness Gates", readiness_gates).doc(".spec.readinessGates"),
];

/// How the pod has ended, if it has.
pub(super) fn completed(it: &Value) -> Option<Completed> {
    match str_of(&it["status"]["phase"]) {
        "Succeeded" => Some(Completed { reason: "Succeeded", message: "The pod has completed successfully." }),
        "Failed" => Some(Completed { reason: "Failed", message: "The pod failed." }),
        _ => None,
    }
}

/// What a look at all containers' states gives.
struct Seen {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

fn look(pod: &Value) -> Seen {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let init_specs = list(&spec["initContainers"]);
    let sidecar = |name: &Value| init_specs.iter().any(|it| it["name"] == *name && it["restartPolicy"] == "Always");
    let phase = str_of(&status["phase"]);
    let mut seen = Seen {
        ready: 0,
        total: list(&spec["containers"]).len() + init_specs.iter().filter(|it| it["restartPolicy"] == "Always").count(),
        reason: str_or(&status["reason"], phase).to_owned(),
        restarts: 0,
        last_restart: None,
    };
    let conditions = list(&status["conditions"]);
    if conditions.iter().any(|it| it["type"] == "PodScheduled" && it["reason"] == "SchedulingGated") {
        seen.reason = "SchedulingGated".to_owned();
    }

    let (mut sidecar_restarts, mut last_sidecar_restart) = (0, None);
    let mut initializing = false;
    for (index, container) in list(&status["initContainerStatuses"]).iter().enumerate() {
        let is_sidecar = sidecar(&container["name"]);
        seen.count_restarts(container);
        if is_sidecar {
            sidecar_restarts += container["restartCount"].as_i64().unwrap_or(0);
            last_sidecar_restart = last_sidecar_restart.max(ended_before(container));
        }
        let terminated = &container["state"]["terminated"];
        if terminated.is_object() && terminated["exitCode"].as_i64().unwrap_or(0) == 0 {
            continue;
        }
        if is_sidecar && container["started"] == true {
            seen.ready += usize::from(container["ready"] == true);
            continue;
        }
        let waiting = str_of(&container["state"]["waiting"]["reason"]);
        seen.reason = if terminated.is_object() {
            format!("Init:{}", ending(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", init_specs.len())
        };
        initializing = true;
        break;
    }

    if !initializing || is_true(conditions, "Initialized") {
        // Once initialised, only those init containers count that go on running beside the others.
        (seen.restarts, seen.last_restart) = (sidecar_restarts, last_sidecar_restart);
        let mut running = false;
        for container in list(&status["containerStatuses"]).iter().rev() {
            seen.count_restarts(container);
            let state = &container["state"];
            let waiting = str_of(&state["waiting"]["reason"]);
            if !waiting.is_empty() {
                seen.reason = waiting.to_owned();
            } else if state["terminated"].is_object() {
                seen.reason = ending(&state["terminated"]);
            } else if container["ready"] == true && state["running"].is_object() {
                running = true;
                seen.ready += 1;
            }
        }
        if seen.reason == "Completed" && running {
            seen.reason = if is_true(conditions, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }

    if !pod["metadata"]["deletionTimestamp"].is_null() {
        if status["reason"] == "NodeLost" {
            seen.reason = "Unknown".to_owned();
        } else if phase != "Succeeded" && phase != "Failed" {
            seen.reason = "Terminating".to_owned();
        }
    }
    seen
}

impl Seen {
    fn count_restarts(&mut self, container: &Value) {
        self.restarts += container["restartCount"].as_i64().unwrap_or(0);
        self.last_restart = self.last_restart.max(ended_before(container));
    }
}

/// When the container's previous run ended.
fn ended_before(container: &Value) -> Option<Timestamp> {
    time(&container["lastState"]["terminated"]["finishedAt"])
}

/// Why a run ended: its reason, else its signal, else its exit code.
fn ending(terminated: &Value) -> String {
    match (str_of(&terminated["reason"]), terminated["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn is_true(conditions: &[Value], name: &str) -> bool {
    conditions.iter().any(|it| it["type"] == name && it["status"] == "True")
}

fn restarts(it: &Value) -> Cell {
    let seen = look(it);
    match seen.last_restart {
        Some(last) if seen.restarts != 0 => Cell::TextAgo(seen.restarts.to_string(), last),
        _ => Cell::Text(seen.restarts.to_string()),
    }
}

fn readiness_gates(it: &Value) -> Cell {
    let gates = list(&it["spec"]["readinessGates"]);
    if gates.is_empty() {
        return Cell::Text(NONE.to_owned());
    }
    let conditions = list(&it["status"]["conditions"]);
    let passed = gates.iter().filter(|it| is_true(conditions, str_of(&it["conditionType"]))).count();
    Cell::Text(format!("{passed}/{}", gates.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// READY, STATUS and RESTARTS of a pod with two containers, one init container and one sidecar.
    fn check(status: Value, expected: [&str; 3]) {
        let pod = json!({
            "metadata": {},
            "spec": {
                "initContainers": [{"name": "init"}, {"name": "side", "restartPolicy": "Always"}],
                "containers": [{"name": "a"}, {"name": "b"}],
            },
            "status": status,
        });
        let shown = COLUMNS[..3].iter().map(|it| match (it.cell)(&pod) {
            Cell::Text(text) => text,
            Cell::TextAgo(text, at) => format!("{text} ({at})"),
            other => format!("{other:?}"),
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn tells_what_keeps_a_pod_from_running() {
        let done = json!({"name": "init", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let side = json!({"name": "side", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}});
        let running = |name: &str| json!({"name": name, "ready": true, "state": {"running": {}}});
        check(json!({"phase": "Pending"}), ["0/3", "Pending", "0"]);
        check(
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "init", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
            ["0/3", "Init:0/2", "0"],
        );
        check(
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "init", "restartCount": 2, "state": {"terminated": {"exitCode": 3}}}]}),
            ["0/3", "Init:ExitCode:3", "2"],
        );
        check(
            json!({"phase": "Running", "initContainerStatuses": [done, side], "containerStatuses": [running("a"), running("b")]}),
            ["3/3", "Running", "1"],
        );
        check(
            json!({"phase": "Running", "initContainerStatuses": [done, side], "containerStatuses": [running("a"),
                {"name": "b", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                 "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:00Z"}}}]}),
            ["2/3", "CrashLoopBackOff", "4 (2026-01-01T00:00:00Z)"],
        );
        check(
            json!({"phase": "Running", "initContainerStatuses": [done], "containerStatuses": [
                {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, running("b")]}),
            ["1/3", "NotReady", "0"],
        );
        check(
            json!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 137, "signal": 9}}}]}),
            ["0/3", "Signal:9", "0"],
        );
        check(json!({"phase": "Failed", "reason": "Evicted"}), ["0/3", "Evicted", "0"]);
        check(
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
            ["0/3", "SchedulingGated", "0"],
        );
    }
}
