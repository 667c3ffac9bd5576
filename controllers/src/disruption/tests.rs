//! What budgets come to allow.

use super::*;

/// A budget of this specification, over `pods` pods of the Deployment `web` with `replicas` replicas, of which the first `ready` are ready.
fn world(spec: Value, status: Value, pods: usize, ready: usize, replicas: i32) -> World {
    let world = World::default();
    let owner = |kind: &str, name: &str| json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name, "controller": true }]);
    let deployment =
        json!({ "metadata": { "namespace": "a", "name": "web", "uid": "web" }, "spec": { "replicas": replicas } });
    world.deployments.apply(serde_json::from_value(deployment).unwrap());
    let metadata =
        json!({ "namespace": "a", "name": "set", "uid": "set", "ownerReferences": owner("Deployment", "web") });
    world
        .replica_sets
        .apply(serde_json::from_value(json!({ "metadata": metadata, "spec": { "replicas": 1 } })).unwrap());
    for at in 0..pods {
        let metadata = json!({ "namespace": "a", "name": format!("p{at}"), "uid": format!("p{at}"),
            "labels": { "app": "web" }, "ownerReferences": owner("ReplicaSet", "set") });
        let state = if at < ready { "True" } else { "False" };
        let status = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": state }] });
        world.pods.apply(serde_json::from_value(json!({ "metadata": metadata, "status": status })).unwrap());
    }
    let mut spec = spec;
    spec["selector"] = json!({ "matchLabels": { "app": "web" } });
    let metadata = json!({ "namespace": "a", "name": "b", "uid": "b", "generation": 3, "resourceVersion": "7" });
    let budget = json!({ "metadata": metadata, "spec": spec, "status": status });
    world.budgets.apply(serde_json::from_value(budget).unwrap());
    world
}

fn decide(world: &World, now: i64) -> (Plan, Value) {
    let now = Timestamp::from_second(now).unwrap();
    let plan = Disruption.decide(&Key::new("a", "b"), world, now, None);
    let status = match plan.steps.first().map(|it| &it.action) {
        Some(Action::Sub { sub: "status", put: true, body, .. }) => body["status"].clone(),
        None => Value::Null,
        other => panic!("{other:?}"),
    };
    (plan, status)
}

/// `healthy/desired/expected allowed`, as the status says.
#[track_caller]
fn check(spec: Value, pods: usize, ready: usize, replicas: i32, expected: &str) {
    let (_, status) = decide(&world(spec, json!({}), pods, ready, replicas), 0);
    let text = format!(
        "{}/{}/{} {}",
        status["currentHealthy"], status["desiredHealthy"], status["expectedPods"], status["disruptionsAllowed"]
    );
    assert_eq!(text, expected);
    assert_eq!(status["observedGeneration"], 3);
    let allowed = status["disruptionsAllowed"].as_i64().unwrap() > 0;
    let condition = &status["conditions"][0];
    assert_eq!(condition["reason"], if allowed { "SufficientPods" } else { "InsufficientPods" });
}

#[test]
fn budgets_count_what_their_workloads_ask_for() {
    check(json!({ "minAvailable": 2 }), 3, 3, 3, "3/2/3 1");
    check(json!({ "minAvailable": 2 }), 3, 1, 3, "1/2/3 0");
    check(json!({ "minAvailable": "50%" }), 3, 3, 5, "3/3/5 0");
    check(json!({ "minAvailable": "50%" }), 5, 5, 5, "5/3/5 2");
    check(json!({ "maxUnavailable": 1 }), 3, 3, 3, "3/2/3 1");
    check(json!({ "maxUnavailable": 1 }), 2, 2, 3, "2/2/3 0");
    check(json!({ "maxUnavailable": "34%" }), 3, 3, 3, "3/1/3 2");
    check(json!({ "minAvailable": 0 }), 0, 0, 0, "0/0/0 0");
}

#[test]
fn what_was_evicted_counts_as_gone_for_a_while() {
    let taken = json!({ "disruptedPods": { "p0": "1970-01-01T00:00:00Z", "elsewhere": "1970-01-01T00:00:00Z" } });
    let it = world(json!({ "minAvailable": 1 }), taken, 3, 3, 3);
    let (plan, status) = decide(&it, 60);
    assert_eq!((&status["currentHealthy"], &status["disruptionsAllowed"]), (&json!(2), &json!(1)));
    assert_eq!(status["disruptedPods"], json!({ "p0": "1970-01-01T00:00:00Z" }));
    assert_eq!(plan.recheck, Some(Duration::from_secs(60)));
    let (plan, status) = decide(&it, 121);
    assert_eq!((&status["currentHealthy"], &status["disruptedPods"]), (&json!(3), &Value::Null));
    assert!(plan.notes.iter().any(|it| it.reason == "NotDeleted"), "{plan}");
}

#[test]
fn what_cannot_be_counted_allows_nothing() {
    let it = world(json!({ "minAvailable": "50%" }), json!({ "disruptionsAllowed": 4 }), 1, 1, 1);
    it.replica_sets.delete((*it.replica_sets.list()[0]).clone());
    let (plan, status) = decide(&it, 0);
    assert_eq!(status["disruptionsAllowed"], 0);
    assert_eq!(status["conditions"][0]["reason"], "SyncFailed");
    assert_eq!(status["conditions"][0]["message"], "found no controllers for pod \"p0\"");
    assert!(plan.notes.iter().any(|it| it.reason == "CalculateExpectedPodCountFailed"), "{plan}");
    // What is told once is not told again, and not written again.
    let again = world(json!({ "minAvailable": 1 }), json!({}), 2, 2, 2);
    let (_, status) = decide(&again, 0);
    let (plan, status) = decide(&world(json!({ "minAvailable": 1 }), status, 2, 2, 2), 50);
    assert!(plan.steps.is_empty() && status.is_null(), "{plan}");
}

#[test]
fn a_replication_controller_says_how_many_there_should_be() {
    let it = world(json!({ "minAvailable": "50%" }), json!({}), 0, 0, 0);
    let owner =
        json!([{ "apiVersion": "v1", "kind": "ReplicationController", "name": "web", "uid": "c", "controller": true }]);
    let controller = json!({ "metadata": { "namespace": "a", "name": "web", "uid": "c" }, "spec": { "replicas": 4 } });
    it.replication_controllers.apply(serde_json::from_value(controller).unwrap());
    for name in ["p0", "p1", "p2"] {
        let metadata = json!({ "namespace": "a", "name": name, "uid": name, "labels": { "app": "web" }, "ownerReferences": owner });
        let status = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
        it.pods.apply(serde_json::from_value(json!({ "metadata": metadata, "status": status })).unwrap());
    }
    let (_, status) = decide(&it, 0);
    assert_eq!(
        (&status["expectedPods"], &status["desiredHealthy"], &status["disruptionsAllowed"]),
        (&json!(4), &json!(2), &json!(1))
    );
}
