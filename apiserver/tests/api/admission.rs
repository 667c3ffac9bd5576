//! What becomes of objects on their way in, by the rules that look beyond them.

use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

const PODS: &str = "/api/v1/namespaces/default/pods";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

/// A pod of one container, with more in its spec.
pub fn pod(name: &str, more: &Value) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "nginx"}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

fn made(answer: Answer) -> Value {
    assert!(answer.code.is_success(), "{}", answer.text);
    answer.json
}

fn refused(answer: &Answer, code: u16, text: &str) {
    assert_eq!((answer.code.as_u16(), answer.json["message"].as_str().unwrap_or_default()), (code, text));
}

#[tokio::test]
async fn a_pod_gets_its_account_its_priority_and_its_patience() {
    let cluster = Cluster::start().await;
    let it = made(cluster.post(PODS, &pod("a", &json!({}))).await);
    let spec = &it["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&json!("default"), &json!("default")));
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
    let volume = &spec["volumes"][0];
    let name = volume["name"].as_str().unwrap();
    assert!(name.starts_with("kube-api-access-") && name.len() == "kube-api-access-".len() + 5, "{name}");
    assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3607);
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], name);
    let patience: Vec<&str> =
        spec["tolerations"].as_array().unwrap().iter().filter_map(|it| it["key"].as_str()).collect();
    assert_eq!(patience, ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);

    let bare = made(cluster.post(PODS, &pod("b", &json!({"automountServiceAccountToken": false}))).await);
    assert!(bare["spec"]["volumes"].is_null());
    let refusal = cluster.post(PODS, &pod("c", &json!({"serviceAccountName": "nobody"}))).await;
    refused(
        &refusal,
        403,
        "pods \"c\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found",
    );
    let nowhere = cluster.post("/api/v1/namespaces/nowhere/pods", &pod("c", &json!({}))).await;
    refused(&nowhere, 404, "namespaces \"nowhere\" not found");
}

#[tokio::test]
async fn priorities_come_from_classes() {
    let cluster = Cluster::start().await;
    const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = |name: &str, value: i32, default: bool| json!({"metadata": {"name": name}, "value": value, "globalDefault": default});
    made(cluster.post(CLASSES, &class("high", 1000, false)).await);
    let it = made(cluster.post(PODS, &pod("a", &json!({"priorityClassName": "high"}))).await);
    assert_eq!(it["spec"]["priority"], 1000);
    let critical = json!({"priorityClassName": "system-node-critical"});
    assert_eq!(made(cluster.post(PODS, &pod("s", &critical)).await)["spec"]["priority"], 2_000_001_000);
    refused(
        &cluster.post(PODS, &pod("b", &json!({"priorityClassName": "none"}))).await,
        403,
        "pods \"b\" is forbidden: no PriorityClass with name none was found",
    );
    refused(
        &cluster.post(PODS, &pod("b", &json!({"priorityClassName": "high", "priority": 5}))).await,
        403,
        "pods \"b\" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name",
    );
    made(cluster.post(CLASSES, &class("usual", 7, true)).await);
    refused(
        &cluster.post(CLASSES, &class("other", 8, true)).await,
        403,
        "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass usual is already marked as default. Only one default can exist",
    );
    let it = made(cluster.post(PODS, &pod("d", &json!({}))).await);
    assert_eq!((&it["spec"]["priority"], &it["spec"]["priorityClassName"]), (&json!(7), &json!("usual")));
}

#[tokio::test]
async fn claims_and_ingresses_get_the_default_class() {
    let cluster = Cluster::start().await;
    let claim = |name: &str| json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    // The cluster's own, and none without it.
    assert_eq!(made(cluster.post(CLAIMS, &claim("first")).await)["spec"]["storageClassName"], "local");
    made(cluster.delete("/apis/storage.k8s.io/v1/storageclasses/local", None).await);
    assert!(made(cluster.post(CLAIMS, &claim("before")).await)["spec"]["storageClassName"].is_null());
    let class = json!({"metadata": {"name": "gold", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "a.b/c"});
    made(cluster.post("/apis/storage.k8s.io/v1/storageclasses", &class).await);
    assert_eq!(made(cluster.post(CLAIMS, &claim("after")).await)["spec"]["storageClassName"], "gold");
    let mut larger = made(cluster.get(&format!("{CLAIMS}/after")).await);
    larger["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
    let refusal = cluster.put(&format!("{CLAIMS}/after"), &larger).await;
    assert!(refusal.code.is_client_error(), "{}", refusal.text);

    let class = json!({"metadata": {"name": "door", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}, "spec": {"controller": "a.b/c"}});
    made(cluster.post("/apis/networking.k8s.io/v1/ingressclasses", &class).await);
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    let it = made(cluster.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", &ingress).await);
    assert_eq!(it["spec"]["ingressClassName"], "door");
}

#[tokio::test]
async fn runtimes_have_an_overhead_and_a_place() {
    let cluster = Cluster::start().await;
    let class = json!({"metadata": {"name": "box"}, "handler": "box", "overhead": {"podFixed": {"cpu": "100m"}},
        "scheduling": {"nodeSelector": {"boxes": "yes"}}});
    made(cluster.post("/apis/node.k8s.io/v1/runtimeclasses", &class).await);
    let it = made(cluster.post(PODS, &pod("a", &json!({"runtimeClassName": "box"}))).await);
    assert_eq!((&it["spec"]["overhead"]["cpu"], &it["spec"]["nodeSelector"]["boxes"]), (&json!("100m"), &json!("yes")));
    refused(
        &cluster.post(PODS, &pod("b", &json!({"runtimeClassName": "bag"}))).await,
        403,
        "pods \"b\" is forbidden: pod rejected: RuntimeClass \"bag\" not found",
    );
    refused(
        &cluster.post(PODS, &pod("b", &json!({"overhead": {"cpu": "1"}}))).await,
        403,
        "pods \"b\" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
    );
}

#[tokio::test]
async fn limits_hold_for_what_comes_after_them() {
    let cluster = Cluster::start().await;
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "1"}, "max": {"cpu": "2"}}, {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}});
    made(cluster.post("/api/v1/namespaces/default/limitranges", &range).await);
    let it = made(cluster.post(PODS, &pod("a", &json!({}))).await);
    let resources = &it["spec"]["containers"][0]["resources"];
    assert_eq!(*resources, json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}));
    assert_eq!(
        it["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let greedy = json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "3"}}}]});
    refused(
        &cluster.post(PODS, &pod("b", &greedy)).await,
        403,
        "pods \"b\" is forbidden: maximum cpu usage per Container is 2, but limit is 3",
    );
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}});
    refused(
        &cluster.post(CLAIMS, &claim).await,
        403,
        "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi",
    );
}

#[tokio::test]
async fn nodes_come_with_a_taint() {
    let cluster = Cluster::start().await;
    let it = made(cluster.post("/api/v1/nodes", &json!({"metadata": {"name": "n"}})).await);
    assert_eq!(it["spec"]["taints"], json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]));
}

#[tokio::test]
async fn what_is_stored_in_begins_held() {
    let cluster = Cluster::start().await;
    let claim = json!({"metadata": {"name": "data", "finalizers": ["example.com/a"]}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let volume = json!({"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/x"}}});
    let class = json!({"metadata": {"name": "gold"}, "driverName": "csi.example.com", "parameters": {"iops": "1"}});
    for (path, body, expected) in [
        (
            "/api/v1/namespaces/default/persistentvolumeclaims",
            claim,
            json!(["example.com/a", "kubernetes.io/pvc-protection"]),
        ),
        ("/api/v1/persistentvolumes", volume, json!(["kubernetes.io/pv-protection"])),
        ("/apis/storage.k8s.io/v1/volumeattributesclasses", class, json!(["kubernetes.io/vac-protection"])),
    ] {
        let made = cluster.post(path, &body).await;
        assert_eq!(made.code, 201, "{}", made.text);
        assert_eq!(made.json["metadata"]["finalizers"], expected);
        // Only new ones: who takes it off an object that stands may.
        let object = format!("{path}/{}", made.json["metadata"]["name"].as_str().unwrap());
        let bare = json!({"metadata": {"finalizers": null}});
        let bare = cluster.patch(&object, "application/merge-patch+json", &bare).await;
        assert!(bare.json["metadata"]["finalizers"].is_null(), "{}", bare.text);
    }
}
