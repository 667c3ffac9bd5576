//! Certificate requests: who asks is written down, who may approve and sign is judged, and nothing else changes.

use serde_json::{Value, json};

use crate::support::Cluster;

const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// `O=dev, O=ops, CN=ann`, signed with its key.
const ANN: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlJQktEQ0IwQUlCQURBcU1Rd3dDZ1lEVlFRS0RBTmtaWFl4RERBS0JnTlZCQW9NQTI5d2N6RU1NQW9HQTFVRQpBd3dEWVc1dU1Ga3dFd1lIS29aSXpqMENBUVlJS29aSXpqMERBUWNEUWdBRVZwWm9XUWY2REk2U3dDMDVHS0dNCll4eE5nQlF0Um5wM3llcWVkbFlMckY2UjNya05hRUZueEVaVnA0RVlka2MraHVJY2VJYk4zbEtuQ1BoUVc4dVkKYXFCRU1FSUdDU3FHU0liM0RRRUpEakUxTURNd01RWURWUjBSQkNvd0tJSU5ZUzVsZUdGdGNHeGxMbU52YlljRQpDZ0FBQVlFRllVQmlMbU9HQ25Od2FXWm1aVG92TDNnd0NnWUlLb1pJemowRUF3SURSd0F3UkFJaEFQT1c0SzZJCjBvdnlPcTVNOFVaanpLMkRsNDNnRVhCRTJrVjdySVJFb0wyZEFoOSt3SG91YjFyd0dpVVZtOG91M3FUR2JFV2sKY00xczl2MzVzSldmOWs3NAotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";
/// `O=system:masters, CN=eve`.
const EVE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIaU1JR0pBZ0VBTUNjeEZ6QVZCZ05WQkFvTURuTjVjM1JsYlRwdFlYTjBaWEp6TVF3d0NnWURWUVFEREFObApkbVV3V1RBVEJnY3Foa2pPUFFJQkJnZ3Foa2pPUFFNQkJ3TkNBQVJXbG1oWkIvb01qcExBTFRrWW9ZeGpIRTJBCkZDMUdlbmZKNnA1MlZndXNYcEhldVExb1FXZkVSbFduZ1JoMlJ6Nkc0aHg0aHMzZVVxY0krRkJieTVocW9BQXcKQ2dZSUtvWkl6ajBFQXdJRFNBQXdSUUloQU1JUGlIZ1EwOWZNc2xYT21kZmhQWW5aN2p4dHpsenVJaExRTG1QeQpLb0JjQWlCUzBxc3pGcGdaUHRHRk5EVWxHQmlvM2NHZEl1VnVFMDNRVkhhNkxUNDN5Zz09Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";

fn request(name: &str, csr: &str, signer: &str) -> Value {
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"request": csr, "signerName": signer, "usages": ["client auth"], "username": "somebody else",
            "groups": ["system:masters"]},
        "status": {"conditions": [{"type": "Approved", "status": "True"}]},
    })
}

/// Gives a user these rules everywhere.
async fn allow(cluster: &Cluster, user: &str, rules: Value) {
    let name = json!({"name": user});
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    cluster.post(roles, &json!({"metadata": name, "rules": rules})).await;
    let binding = json!({
        "metadata": name,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    cluster.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
}

#[tokio::test]
async fn who_asks_is_written_down_and_nothing_changes_by_the_main_door() {
    let cluster = Cluster::start().await;
    let made = cluster.post(PATH, &request("a", ANN, "example.com/a")).await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert_eq!(made.json["spec"]["username"], "kubernetes-admin");
    assert_eq!(made.json["spec"]["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!(made.json["status"], json!({}), "nobody makes an approved request");

    let mut changed = made.json.clone();
    changed["spec"]["signerName"] = "example.com/b".into();
    changed["metadata"]["labels"] = json!({"a": "b"});
    let written = cluster.put(&format!("{PATH}/a"), &changed).await;
    assert_eq!(written.code, 200, "{}", written.text);
    assert_eq!(written.json["spec"]["signerName"], "example.com/a");
    assert_eq!(written.json["metadata"]["labels"]["a"], "b");

    for (selector, count) in [("spec.signerName=example.com/a", 1), ("spec.signerName=example.com/b", 0)] {
        let list = cluster.get(&format!("{PATH}?fieldSelector={selector}")).await;
        assert_eq!(list.json["items"].as_array().map(Vec::len), Some(count), "{selector}");
    }
    let broken = cluster.post(PATH, &request("b", "eA==", "example.com/a")).await;
    assert_eq!(broken.code, 422);
    assert_eq!(
        broken.json["message"],
        "CertificateSigningRequest.certificates.k8s.io \"b\" is invalid: spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST"
    );
    let eve = cluster.post(PATH, &request("eve", EVE, "kubernetes.io/kube-apiserver-client")).await;
    assert_eq!(eve.code, 403);
    assert_eq!(
        eve.json["message"],
        "certificatesigningrequests.certificates.k8s.io \"eve\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
}

#[tokio::test]
async fn approval_and_signing_are_for_those_who_may() {
    let cluster = Cluster::start().await;
    cluster.post(PATH, &request("a", ANN, "example.com/a")).await;
    let subs = ["certificatesigningrequests/approval", "certificatesigningrequests/status"];
    let base = json!({"apiGroups": ["certificates.k8s.io"], "resources": subs, "verbs": ["update", "patch", "get"]});
    let signers = json!({"apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
        "resourceNames": ["example.com/*"], "verbs": ["approve", "sign"]});
    allow(&cluster, "ann", json!([base])).await;
    allow(&cluster, "bob", json!([base, signers])).await;
    let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "ok"}]}});
    let patch = async |user: &str, sub: &str, patch: &Value| {
        let request = http::Request::patch(format!("{PATH}/a/{sub}"))
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string().into_bytes())
            .unwrap();
        cluster.send_as(user, request).await
    };
    let refused = patch("ann", "approval", &approved).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.json["message"],
        "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: user not permitted to approve requests with signerName \"example.com/a\""
    );
    let done = patch("bob", "approval", &approved).await;
    assert_eq!(done.code, 200, "{}", done.text);
    let condition = &done.json["status"]["conditions"][0];
    assert!(condition["lastUpdateTime"].is_string() && condition["lastTransitionTime"].is_string(), "{condition}");

    let failed = json!({"status": {"conditions": [condition, {"type": "Failed", "status": "True"}]}});
    let refused = patch("ann", "status", &failed).await;
    assert_eq!(
        refused.json["message"],
        "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: user not permitted to sign requests with signerName \"example.com/a\""
    );
    let done = patch("bob", "status", &failed).await;
    assert_eq!(done.code, 200, "{}", done.text);
    assert_eq!(done.json["status"]["conditions"].as_array().map(Vec::len), Some(2));
    let gone = patch("bob", "approval", &json!({"status": {"conditions": []}})).await;
    assert_eq!(gone.code, 422);
    assert!(gone.text.contains("updates may not remove a condition of type"), "{}", gone.text);

    let table = cluster.accept(PATH, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let names: Vec<&str> =
        table.json["columnDefinitions"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(names, ["Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition"]);
    let cells = &table.json["rows"][0]["cells"];
    assert_eq!((&cells[4], &cells[5]), (&json!("<none>"), &json!("Approved,Failed")));
}
