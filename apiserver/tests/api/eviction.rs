//! Evictions: a budget is counted down, and refuses when it is spent.

use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

async fn pod(cluster: &Cluster, name: &str, phase: &str) {
    let spec = json!({"containers": [{"name": "a", "image": "b"}], "terminationGracePeriodSeconds": 0});
    let metadata = json!({"name": name, "labels": {"app": "web"}});
    let made = cluster.post(PODS, &json!({"metadata": metadata, "spec": spec})).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let status = json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}});
    let told = cluster.patch(&format!("{PODS}/{name}/status"), "application/merge-patch+json", &status).await;
    assert_eq!(told.code, 200, "{}", told.text);
}

/// A budget for `app=web`, of which the controller says that so many may go.
async fn budget(cluster: &Cluster, name: &str, allowed: i64) {
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    let made = cluster.post(BUDGETS, &json!({"metadata": {"name": name}, "spec": spec})).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let generation = made.json["metadata"]["generation"].as_i64().unwrap_or(0);
    let status = json!({"status": {"observedGeneration": generation, "disruptionsAllowed": allowed,
        "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    let told = cluster.patch(&format!("{BUDGETS}/{name}/status"), "application/merge-patch+json", &status).await;
    assert_eq!(told.code, 200, "{}", told.text);
}

async fn evict(cluster: &Cluster, name: &str, options: Value) -> Answer {
    let metadata = json!({"name": name, "namespace": "default"});
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata, "deleteOptions": options});
    cluster.post(&format!("{PODS}/{name}/eviction"), &body).await
}

#[tokio::test]
async fn a_budget_is_taken_down_to_nothing_and_then_refuses() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        pod(&cluster, name, "Running").await;
    }
    budget(&cluster, "guard", 1).await;
    let tried = evict(&cluster, "a", json!({"dryRun": ["All"]})).await;
    assert_eq!(tried.code, 201, "{}", tried.text);
    assert_eq!(cluster.get(&format!("{PODS}/a")).await.code, 200);
    assert_eq!(cluster.get(&format!("{BUDGETS}/guard")).await.json["status"]["disruptionsAllowed"], 1);

    let done = evict(&cluster, "a", Value::Null).await;
    assert_eq!(done.code, 201, "{}", done.text);
    assert_eq!((&done.json["kind"], &done.json["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(cluster.get(&format!("{PODS}/a")).await.code, 404);
    let status = &cluster.get(&format!("{BUDGETS}/guard")).await.json["status"];
    assert_eq!(status["disruptionsAllowed"], 0);
    assert!(status["disruptedPods"]["a"].is_string(), "{status}");

    let refused = evict(&cluster, "b", Value::Null).await;
    assert_eq!(refused.code, 429);
    assert_eq!(refused.json["reason"], "TooManyRequests");
    assert_eq!(refused.json["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        refused.json["details"]["causes"],
        json!([{"reason": "DisruptionBudget", "message": "The disruption budget guard does not allow evicting pods currently"}])
    );
    // What has ended disrupts nobody.
    let ended = json!({"status": {"phase": "Succeeded"}});
    cluster.patch(&format!("{PODS}/b/status"), "application/merge-patch+json", &ended).await;
    assert_eq!(evict(&cluster, "b", Value::Null).await.code, 201);

    let other = json!({"preconditions": {"uid": "other"}});
    assert_eq!(evict(&cluster, "c", other).await.code, 429, "the budget is asked first");
    assert_eq!(evict(&cluster, "nobody", Value::Null).await.code, 404);
    budget(&cluster, "second", 1).await;
    let refused = evict(&cluster, "c", Value::Null).await;
    assert_eq!(refused.code, 500);
    assert!(refused.text.contains("more than one PodDisruptionBudget"), "{}", refused.text);
    for name in ["guard", "second"] {
        cluster.delete(&format!("{BUDGETS}/{name}"), None).await;
    }
    assert_eq!(evict(&cluster, "c", json!({"preconditions": {"uid": "other"}})).await.code, 409);
    assert_eq!(evict(&cluster, "c", Value::Null).await.code, 201);
}

#[tokio::test]
async fn two_at_once_never_take_the_same_allowance() {
    let cluster = Cluster::start().await;
    let names: Vec<String> = (0..8).map(|it| format!("p{it}")).collect();
    for name in &names {
        pod(&cluster, name, "Running").await;
    }
    budget(&cluster, "guard", 3).await;
    let all = futures::future::join_all(names.iter().map(|name| evict(&cluster, name, Value::Null))).await;
    let of = |code: u16| all.iter().filter(|it| it.code == code).count();
    assert_eq!((of(201), of(429)), (3, 5));
}

#[tokio::test]
async fn an_empty_selector_guards_all_and_an_evicted_pod_says_so() {
    let cluster = Cluster::start().await;
    pod(&cluster, "a", "Running").await;
    let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    let pod_path = format!("{PODS}/a");
    assert_eq!(cluster.patch(&pod_path, "application/merge-patch+json", &held).await.code, 200);
    let all = json!({"metadata": {"name": "all"}, "spec": {"minAvailable": 1, "selector": {}}});
    assert_eq!(cluster.post(BUDGETS, &all).await.code, 201);
    assert_eq!(evict(&cluster, "a", Value::Null).await.code, 429);
    // One without a selector guards nobody.
    let none = json!({"spec": {"selector": null}});
    assert_eq!(cluster.patch(&format!("{BUDGETS}/all"), "application/merge-patch+json", &none).await.code, 200);
    assert_eq!(evict(&cluster, "a", Value::Null).await.code, 201);
    let evicted = cluster.get(&pod_path).await.json;
    assert!(evicted["metadata"]["deletionTimestamp"].is_string(), "{evicted}");
    let conditions = evicted["status"]["conditions"].as_array().unwrap();
    let told = conditions.iter().find(|it| it["type"] == "DisruptionTarget").unwrap();
    assert_eq!((&told["status"], &told["reason"]), (&json!("True"), &json!("EvictionByEvictionAPI")));
}
