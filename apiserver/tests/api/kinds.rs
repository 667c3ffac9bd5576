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

#[tokio::test]
async fn devices_are_offered_asked_for_and_given() {
    let cluster = Cluster::start().await;
    let base = "/apis/resource.k8s.io/v1";
    let class = json!({"metadata": {"name": "gpus"}, "spec": {"selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]}});
    assert_eq!(cluster.post(&format!("{base}/deviceclasses"), &class).await.code, 201);
    let broken = json!({"metadata": {"name": "b"}, "spec": {"selectors": [{"cel": {"expression": "device.driver"}}]}});
    let refused = cluster.post(&format!("{base}/deviceclasses"), &broken).await;
    assert!(refused.code == 422 && refused.text.contains("spec.selectors[0].cel.expression"), "{}", refused.text);

    for node in ["n1", "n2"] {
        let pool = json!({"name": node, "generation": 1, "resourceSliceCount": 1});
        let slice = json!({"metadata": {"name": node}, "spec": {"driver": "gpu.example.com", "nodeName": node, "pool": pool,
            "devices": [{"name": "gpu-0", "attributes": {"model": {"string": "a"}}, "capacity": {"memory": {"value": "8Gi"}}}]}});
        let made = cluster.post(&format!("{base}/resourceslices"), &slice).await;
        assert_eq!(made.code, 201, "{}", made.text);
    }
    let of_one = cluster.get(&format!("{base}/resourceslices?fieldSelector=spec.nodeName%3Dn2")).await.json;
    assert_eq!((of_one["items"].as_array().unwrap().len(), &of_one["items"][0]["metadata"]["name"]), (1, &json!("n2")));
    let of_driver = cluster.get(&format!("{base}/resourceslices?fieldSelector=spec.driver%3Dother")).await.json;
    assert_eq!(of_driver["items"], json!([]));

    let claims = format!("{base}/namespaces/default/resourceclaims");
    let claim = |name: &str, request: serde_json::Value| json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [{"name": "r", "exactly": request}]}}});
    let made = cluster.post(&claims, &claim("c", json!({"deviceClassName": "gpus"}))).await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert_eq!(
        made.json["spec"]["devices"]["requests"][0]["exactly"],
        json!({"deviceClassName": "gpus", "allocationMode": "ExactCount", "count": 1})
    );
    let given = json!({"status": {
        "allocation": {"devices": {"results": [{"request": "r", "driver": "gpu.example.com", "pool": "n1", "device": "gpu-0"}]}},
        "reservedFor": [{"resource": "pods", "name": "p", "uid": "1"}]}});
    let status = cluster.patch(&format!("{claims}/c/status"), "application/merge-patch+json", &given).await;
    assert_eq!(status.code, 200, "{}", status.text);
    let other = json!({"spec": {"devices": {"requests": []}}, "status": {"allocation": null}});
    let refused = cluster.patch(&format!("{claims}/c"), "application/merge-patch+json", &other).await;
    assert!(refused.code == 422 && refused.text.contains("field is immutable"), "{}", refused.text);
    let labelled = json!({"metadata": {"labels": {"a": "b"}}, "status": {"allocation": null}});
    let kept = cluster.patch(&format!("{claims}/c"), "application/merge-patch+json", &labelled).await.json;
    assert_eq!(kept["status"]["reservedFor"][0]["name"], "p", "{kept}");

    let of_others = json!({"deviceClassName": "gpus", "adminAccess": true});
    let refused = cluster.post(&claims, &claim("admin", of_others.clone())).await;
    assert!(refused.code == 422 && refused.text.contains("admin access to devices requires"), "{}", refused.text);
    let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    cluster.patch("/api/v1/namespaces/default", "application/merge-patch+json", &label).await;
    let made = cluster.post(&claims, &claim("admin", of_others)).await;
    assert_eq!(made.code, 201, "{}", made.text);

    let template =
        json!({"metadata": {"name": "t"}, "spec": {"spec": claim("", json!({"deviceClassName": "gpus"}))["spec"]}});
    let templates = format!("{base}/namespaces/default/resourceclaimtemplates");
    assert_eq!(cluster.post(&templates, &template).await.code, 201);
    for path in [claims, templates, format!("{base}/resourceslices"), format!("{base}/deviceclasses")] {
        let gone = cluster.delete(&path, None).await;
        assert_eq!(gone.code, 200, "{}", gone.text);
        assert_eq!(cluster.get(&path).await.json["items"], json!([]), "{path}");
    }
}

/// Go takes an empty list for none, also where an update may change nothing.
#[tokio::test]
async fn empty_lists_are_no_change_of_what_may_not_change() {
    let cluster = Cluster::start().await;
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}});
    let made = cluster.post(PODS, &pod).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let mut same = made.json.clone();
    same["spec"]["containers"][0]["env"] = json!([]);
    same["spec"]["nodeSelector"] = json!({});
    same["spec"]["initContainers"] = json!([]);
    let put = cluster.put(&format!("{PODS}/a"), &same).await;
    assert_eq!((put.code.as_u16(), &put.json), (200, &made.json), "{}", put.text);
}
