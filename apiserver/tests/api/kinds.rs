//! What single kinds do through the API that no table of rules shows: two versions of one object, and parts with paths of their own.

use serde_json::json;

use crate::support::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

#[tokio::test]
async fn autoscalers_are_one_object_in_two_versions() {
    let cluster = Cluster::start().await;
    let older = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let newer = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
    let made = cluster
        .post(
            newer,
            &json!({"metadata": {"name": "web"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target, "metrics": [memory]}}),
        )
        .await;
    assert_eq!(made.code, 201, "{}", made.text);
    let condition = json!({"type": "AbleToScale", "status": "True"});
    let status = json!({"status": {"currentReplicas": 1, "desiredReplicas": 2, "conditions": [condition]}});
    let told = cluster.patch(&format!("{newer}/web/status"), "application/merge-patch+json", &status).await;
    assert_eq!(told.code, 200, "{}", told.text);

    let mut read = cluster.get(&format!("{older}/web")).await.json;
    let annotations = &read["metadata"]["annotations"];
    assert!(annotations["autoscaling.alpha.kubernetes.io/metrics"].as_str().unwrap().contains("memory"), "{read}");
    assert!(annotations["autoscaling.alpha.kubernetes.io/conditions"].is_string(), "{read}");
    // What the older version leaves alone is still there when the newer one reads it.
    read["spec"]["maxReplicas"] = 5.into();
    read["metadata"]["annotations"].as_object_mut().unwrap().remove("autoscaling.alpha.kubernetes.io/conditions");
    let written = cluster.put(&format!("{older}/web"), &read).await;
    assert_eq!(written.code, 200, "{}", written.text);
    let whole = cluster.get(&format!("{newer}/web")).await.json;
    assert_eq!((&whole["spec"]["maxReplicas"], &whole["spec"]["metrics"]), (&json!(5), &json!([memory])), "{whole}");
    assert_eq!(whole["status"]["conditions"], json!([condition]), "{whole}");
    assert!(whole["metadata"]["annotations"].is_null(), "{whole}");
    let empty = json!({"metadata": {"name": "x"}, "spec": {"maxReplicas": 0, "scaleTargetRef": target}});
    assert!(cluster.post(older, &empty).await.text.contains("spec.maxReplicas"));
}

#[tokio::test]
async fn running_pods_get_containers_for_debugging_and_other_resources() {
    let cluster = Cluster::start().await;
    let resources = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "main", "image": "busybox", "resources": resources}]}});
    assert_eq!(cluster.post(PODS, &pod).await.code, 201);
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debugger", "image": "busybox", "targetContainerName": "main", "stdin": true}]}});
    let path = format!("{PODS}/a");
    let refused = cluster.patch(&path, STRATEGIC, &debug).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let added = cluster.patch(&format!("{path}/ephemeralcontainers"), STRATEGIC, &debug).await;
    assert_eq!(added.code, 200, "{}", added.text);
    let container = &added.json["spec"]["ephemeralContainers"][0];
    assert_eq!(
        (&container["imagePullPolicy"], &container["terminationMessagePolicy"]),
        (&json!("Always"), &json!("File"))
    );
    let mut without = cluster.get(&format!("{path}/ephemeralcontainers")).await.json;
    without["spec"].as_object_mut().unwrap().remove("ephemeralContainers");
    let refused = cluster.put(&format!("{path}/ephemeralcontainers"), &without).await;
    assert!(refused.code == 422 && refused.text.contains("may not be removed"), "{}", refused.text);

    let more = json!({"spec": {"nodeName": "elsewhere", "containers": [{"name": "main", "resources": {"requests": {"cpu": "1500m"}}}]}});
    let refused = cluster.patch(&path, STRATEGIC, &more).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let resized = cluster.patch(&format!("{path}/resize"), STRATEGIC, &more).await;
    assert_eq!(resized.code, 200, "{}", resized.text);
    let spec = &resized.json["spec"];
    assert_eq!(spec["containers"][0]["resources"], json!({"requests": {"cpu": "1500m"}, "limits": {"cpu": "2"}}));
    assert!(spec["nodeName"].is_null() && spec["ephemeralContainers"][0]["name"] == "debugger", "{spec}");
    assert_eq!(resized.json["metadata"]["generation"], 3);
}

#[tokio::test]
async fn components_are_looked_up_when_somebody_asks() {
    let cluster = Cluster::start().await;
    let list = cluster.get("/api/v1/componentstatuses").await;
    assert_eq!(list.json["kind"], "ComponentStatusList", "{}", list.text);
    let well = |answer: &crate::support::Answer| answer.json["conditions"][0]["status"] == "True";
    let store = cluster.get("/api/v1/componentstatuses/etcd-0").await;
    assert!(well(&store), "{}", store.text);
    let scheduler = "/api/v1/componentstatuses/scheduler";
    assert!(!well(&cluster.get(scheduler).await));
    cluster.post("/api/v1/namespaces", &json!({"metadata": {"name": "kube-system"}})).await;
    let spec =
        json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": jiff::Timestamp::now().to_string()});
    let lease = json!({"metadata": {"name": "kube-scheduler"}, "spec": spec});
    let leads = cluster.post("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", &lease).await;
    assert_eq!(leads.code, 201, "{}", leads.text);
    let answer = cluster.get(scheduler).await;
    assert!(well(&answer), "{}", answer.text);
    assert_eq!(cluster.delete(scheduler, None).await.code, 405);
    assert_eq!(cluster.get("/api/v1/componentstatuses?watch=true").await.code, 405);
}

#[tokio::test]
async fn a_cluster_begins_with_its_flow_control() {
    let cluster = Cluster::start().await;
    let base = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let count = |answer: crate::support::Answer| answer.json["items"].as_array().map(Vec::len);
    assert_eq!(count(cluster.get(&format!("{base}/flowschemas")).await), Some(13));
    assert_eq!(count(cluster.get(&format!("{base}/prioritylevelconfigurations")).await), Some(8));
}
