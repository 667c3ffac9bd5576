//! Families of addresses: what services get on clusters of one and of two, and how they go up and down (KEP-563).

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const DUAL: &str = "10.96.0.0/16,fd00:10:96::/112";

fn service(name: &str, spec: &Value) -> Value {
    let mut out =
        json!({ "metadata": { "name": name }, "spec": { "ports": [{ "port": 80 }], "selector": { "a": "b" } } });
    out["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    out
}

fn refused(answer: &Answer, code: u16, reason: &str, text: &str) {
    assert_eq!((answer.code.as_u16(), answer.json["reason"].as_str()), (code, Some(reason)), "{}", answer.json);
    let message = answer.json["message"].as_str().unwrap();
    assert!(message.contains(text), "{message}");
}

/// `policy families` and how many addresses there are, each of its family.
fn shape(service: &Value) -> (String, usize) {
    let spec = &service["spec"];
    let list = |name: &str| {
        let all = spec[name].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let (families, ips) = (list("ipFamilies"), list("clusterIPs"));
    assert_eq!(spec["clusterIP"].as_str(), ips.first().map(String::as_str), "{spec}");
    for (ip, family) in ips.iter().zip(&families).filter(|it| it.0 != "None") {
        assert_eq!(ip.contains(':'), family == "IPv6", "{spec}");
        assert!(ip.starts_with(if family == "IPv6" { "fd00:10:96::" } else { "10.96." }), "{spec}");
    }
    (format!("{} {}", spec["ipFamilyPolicy"].as_str().unwrap_or_default(), families.join(",")), ips.len())
}

#[tokio::test]
async fn services_get_the_addresses_that_they_ask_for() {
    let cluster = Cluster::with_services(DUAL).await;
    let kubernetes = cluster.get(&format!("{SERVICES}/kubernetes")).await.json;
    assert_eq!(shape(&kubernetes), ("SingleStack IPv4".into(), 1));
    let range = cluster.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await.json;
    assert_eq!(range["spec"]["cidrs"], json!(["10.96.0.0/16", "fd00:10:96::/112"]));
    for (at, (spec, expected, count)) in [
        (json!({}), "SingleStack IPv4", 1),
        (json!({ "ipFamilies": ["IPv6"] }), "SingleStack IPv6", 1),
        (json!({ "ipFamilyPolicy": "PreferDualStack" }), "PreferDualStack IPv4,IPv6", 2),
        (json!({ "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"] }), "RequireDualStack IPv6,IPv4", 2),
        (
            json!({ "ipFamilyPolicy": "RequireDualStack", "clusterIP": "fd00:10:96::77" }),
            "RequireDualStack IPv6,IPv4",
            2,
        ),
        (json!({ "ipFamilyPolicy": "PreferDualStack", "clusterIP": "None" }), "PreferDualStack IPv4,IPv6", 1),
        (json!({ "type": "NodePort", "ipFamilyPolicy": "PreferDualStack" }), "PreferDualStack IPv4,IPv6", 2),
    ]
    .into_iter()
    .enumerate()
    {
        let made = cluster.post(SERVICES, &service(&format!("s{at}"), &spec)).await;
        assert_eq!(made.code, StatusCode::CREATED, "{}", made.json);
        assert_eq!(shape(&made.json), (expected.to_owned(), count), "{spec}");
    }
    // However it is written, it is one address.
    let again = service("again", &json!({ "clusterIP": "fd00:10:96:0::77" }));
    refused(&cluster.post(SERVICES, &again).await, 422, "Invalid", "provided IP is already allocated");
    let outside = service("outside", &json!({ "clusterIP": "fd00:10:97::1" }));
    let why = "the provided IP (fd00:10:97::1) is not in the valid range. The range of valid IPs is fd00:10:96::/112";
    refused(&cluster.post(SERVICES, &outside).await, 422, "Invalid", why);
    let both = service(
        "both",
        &json!({ "ipFamilyPolicy": "RequireDualStack", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.8"] }),
    );
    refused(&cluster.post(SERVICES, &both).await, 422, "Invalid", "first value must match `clusterIP`");
}

#[tokio::test]
async fn services_go_up_and_down() {
    let cluster = Cluster::with_services(DUAL).await;
    let path = format!("{SERVICES}/web");
    let made = cluster.post(SERVICES, &service("web", &json!({}))).await.json;
    let patch = async |spec: Value| {
        let it = cluster.patch(&path, "application/merge-patch+json", &json!({ "spec": spec })).await;
        assert_eq!(it.code, StatusCode::OK, "{}", it.json);
        it.json
    };
    let up = patch(json!({ "ipFamilyPolicy": "PreferDualStack" })).await;
    assert_eq!(shape(&up), ("PreferDualStack IPv4,IPv6".into(), 2));
    assert_eq!(up["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    let second = up["spec"]["clusterIPs"][1].clone();
    let same = patch(json!({ "ipFamilyPolicy": "RequireDualStack" })).await;
    assert_eq!(same["spec"]["clusterIPs"], up["spec"]["clusterIPs"]);
    // The second address is its own as long as it has it.
    let taker = service("taker", &json!({ "clusterIP": second }));
    refused(&cluster.post(SERVICES, &taker).await, 422, "Invalid", "provided IP is already allocated");
    let down = patch(json!({ "ipFamilyPolicy": "SingleStack" })).await;
    assert_eq!(shape(&down), ("SingleStack IPv4".into(), 1));
    assert_eq!(down["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    // With the families and addresses said, too; and without a word about them the policy stays.
    let mut whole = patch(json!({ "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"] })).await;
    assert_eq!(shape(&whole), ("RequireDualStack IPv4,IPv6".into(), 2));
    for field in ["ipFamilyPolicy", "ipFamilies", "clusterIP", "clusterIPs"] {
        whole["spec"].as_object_mut().unwrap().remove(field);
    }
    let put = cluster.put(&path, &whole).await;
    assert_eq!(shape(&put.json), ("RequireDualStack IPv4,IPv6".into(), 2), "{}", put.json);
    for (spec, why) in [
        (json!({ "ipFamilies": ["IPv6", "IPv4"] }), "may not change once set"),
        (
            json!({ "clusterIPs": [put.json["spec"]["clusterIP"]], "ipFamilies": ["IPv4"] }),
            "must be set to 'SingleStack' when releasing the secondary",
        ),
        (json!({ "ipFamilyPolicy": "Both" }), "Unsupported value: \"Both\""),
    ] {
        let it = cluster.patch(&path, "application/merge-patch+json", &json!({ "spec": spec })).await;
        refused(&it, 422, "Invalid", why);
    }
}

#[tokio::test]
async fn one_family_cannot_be_two() {
    let cluster = Cluster::start().await;
    let required = service("a", &json!({ "ipFamilyPolicy": "RequireDualStack" }));
    let why = "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services";
    refused(&cluster.post(SERVICES, &required).await, 422, "Invalid", why);
    let newer = service("a", &json!({ "ipFamilies": ["IPv6"] }));
    let why = "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster";
    refused(&cluster.post(SERVICES, &newer).await, 422, "Invalid", why);
    let preferred = cluster.post(SERVICES, &service("a", &json!({ "ipFamilyPolicy": "PreferDualStack" }))).await.json;
    assert_eq!(shape(&preferred), ("PreferDualStack IPv4".into(), 1));
    // Its endpoints are the user's, and may be of either family.
    let free = json!({ "metadata": { "name": "free" }, "spec": { "clusterIP": "None", "ports": [{ "port": 80 }] } });
    assert_eq!(shape(&cluster.post(SERVICES, &free).await.json), ("RequireDualStack IPv4,IPv6".into(), 1));
    let cluster = Cluster::with_services("fd00:10:96::/112").await;
    let made = cluster.post(SERVICES, &service("a", &json!({}))).await.json;
    assert_eq!(shape(&made), ("SingleStack IPv6".into(), 1));
    let dns = cluster.get("/api/v1/namespaces/kube-system/services/kube-dns").await.json;
    assert_eq!(dns["spec"]["clusterIPs"], json!(["fd00:10:96::a"]));
}
