//! Quotas: exactly as much gets in as there is room for, and what goes makes room again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admission::pod;
use crate::support::Cluster;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn quota(cluster: &Cluster, name: &str, spec: Value) {
    let made = cluster.post(QUOTAS, &json!({"metadata": {"name": name}, "spec": spec})).await;
    assert_eq!(made.code.as_u16(), 201, "{}", made.text);
    let hard = made.json["spec"]["hard"].clone();
    until(cluster, name, |status| status["hard"] == hard && status["used"].is_object()).await;
}

/// Waits until the quota's status is as wanted.
async fn until(cluster: &Cluster, name: &str, wanted: impl Fn(&Value) -> bool) {
    for _ in 0..200 {
        let it = cluster.get(&format!("{QUOTAS}/{name}")).await.json;
        if wanted(&it["status"]) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{}", cluster.get(&format!("{QUOTAS}/{name}")).await.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_exactly_as_many_get_in_as_there_is_room_for() {
    let cluster = Arc::new(Cluster::start().await);
    quota(&cluster, "q", json!({"hard": {"count/configmaps": "10"}})).await;
    let creations = (0..64).map(|at| {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.post(MAPS, &json!({"metadata": {"name": format!("m{at}")}})).await })
    });
    let mut made = 0;
    for creation in creations.collect::<Vec<_>>() {
        let answer = creation.await.unwrap();
        match answer.code.as_u16() {
            201 => made += 1,
            code => {
                assert_eq!(code, 403, "{}", answer.text);
                let text = answer.json["message"].as_str().unwrap();
                assert!(
                    text.ends_with("is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=10, limited: count/configmaps=10"),
                    "{text}"
                );
            }
        }
    }
    assert_eq!(made, 10);
    let left = cluster.get(MAPS).await.json["items"].as_array().unwrap().clone();
    assert_eq!(left.len(), 10);
    // What goes makes room again.
    let name = left[0]["metadata"]["name"].as_str().unwrap();
    cluster.delete(&format!("{MAPS}/{name}"), None).await;
    until(&cluster, "q", |it| it["used"]["count/configmaps"] == "9").await;
    assert_eq!(cluster.post(MAPS, &json!({"metadata": {"name": "next"}})).await.code.as_u16(), 201);
}

#[tokio::test]
async fn pods_are_charged_what_they_ask_for() {
    let cluster = Cluster::start().await;
    quota(&cluster, "q", json!({"hard": {"requests.cpu": "1", "pods": "5"}})).await;
    let refusal = cluster.post(PODS, &pod("bare", &json!({}))).await;
    assert_eq!(
        refusal.json["message"],
        "pods \"bare\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    let asking = |name: &str, cpu: &str| {
        pod(name, &json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}))
    };
    assert_eq!(cluster.post(PODS, &asking("a", "600m")).await.code.as_u16(), 201);
    assert_eq!(
        cluster.post(PODS, &asking("b", "500m")).await.json["message"],
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"
    );
    let tried = cluster.post(&format!("{PODS}?dryRun=All"), &asking("b", "400m")).await;
    assert_eq!(tried.code.as_u16(), 201, "{}", tried.text);
    // A name that is taken: what was charged in vain is given back.
    assert_eq!(cluster.post(PODS, &asking("a", "400m")).await.code.as_u16(), 409);
    until(&cluster, "q", |it| it["used"]["requests.cpu"] == "600m").await;
    assert_eq!(cluster.post(PODS, &asking("b", "400m")).await.code.as_u16(), 201);
    // A pod that has ended uses nothing.
    let done = json!({"status": {"phase": "Succeeded"}});
    cluster.patch(&format!("{PODS}/a/status"), "application/merge-patch+json", &done).await;
    until(&cluster, "q", |it| it["used"] == json!({"requests.cpu": "400m", "pods": "1"})).await;
}

#[tokio::test]
async fn services_are_charged_for_what_they_become() {
    let cluster = Cluster::start().await;
    quota(&cluster, "q", json!({"hard": {"services.nodeports": "1"}})).await;
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, kind: &str, ports: Value| json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": ports}});
    let two = json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]);
    let made = cluster.post(services, &service("s", "ClusterIP", two)).await;
    assert_eq!(made.code.as_u16(), 201, "{}", made.text);
    let patch = json!({"spec": {"type": "NodePort"}});
    let refusal = cluster.patch(&format!("{services}/s"), "application/merge-patch+json", &patch).await;
    assert_eq!(
        refusal.json["message"],
        "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1"
    );
    let made = cluster.post(services, &service("t", "NodePort", json!([{"port": 1}]))).await;
    assert_eq!(made.code.as_u16(), 201, "{}", made.text);
    until(&cluster, "q", |it| it["used"]["services.nodeports"] == "1").await;
}

#[tokio::test]
async fn namespaces_say_how_secure_their_pods_are() {
    let cluster = Cluster::start().await;
    let label = |mode: &str, level: &str| json!({"metadata": {"labels": {format!("pod-security.kubernetes.io/{mode}"): level}}});
    let space = "/api/v1/namespaces/default";
    const MERGE: &str = "application/merge-patch+json";
    let host = json!({"hostNetwork": true});
    assert_eq!(cluster.post(PODS, &pod("a", &host)).await.code.as_u16(), 201);
    let wrong = cluster.patch(space, MERGE, &label("enforce", "some")).await;
    assert_eq!((wrong.code.as_u16(), &wrong.json["reason"]), (422, &json!("Invalid")));
    let set = cluster.patch(space, MERGE, &label("enforce", "baseline")).await;
    let warnings: Vec<_> = set.headers.get_all("warning").iter().map(|it| it.to_str().unwrap()).collect();
    assert_eq!(
        warnings,
        [
            "299 - \"existing pods in namespace \\\"default\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"",
            "299 - \"a: host namespaces\""
        ]
    );
    assert_eq!(
        cluster.post(PODS, &pod("b", &host)).await.json["message"],
        "pods \"b\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    cluster.patch(space, MERGE, &label("warn", "restricted")).await;
    let made = cluster.post(PODS, &pod("c", &json!({}))).await;
    assert_eq!(made.code.as_u16(), 201, "{}", made.text);
    let warning = made.headers["warning"].to_str().unwrap();
    assert!(warning.starts_with("299 - \"would violate PodSecurity \\\"restricted:latest\\\": allowPrivilegeEscalation != false (container \\\"c\\\" must"), "{warning}");
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let made = cluster.post("/apis/apps/v1/namespaces/default/deployments", &deployment).await;
    assert!(made.headers["warning"].to_str().unwrap().contains("would violate PodSecurity"), "{}", made.text);
}
