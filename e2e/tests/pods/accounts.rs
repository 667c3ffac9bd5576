//! Service accounts in containers: the token that every pod gets, read there and reviewed, whose file it is, and how it ends.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene};
use orlop_e2e::{tool, wait};
use serde_json::{Value, json};

const MOUNTED: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.run(&["create", "serviceaccount", "mount-test"])?;
    // As whom it runs, and what the file of its token is then: mode, user, group.
    let cases: [(&str, Value, &str); 4] = [
        ("plain", json!({}), "644 0 0"),
        ("user", json!({"runAsUser": 1000}), "600 1000 0"),
        ("group", json!({"fsGroup": 10_000}), "640 0 10000"),
        ("both", json!({"runAsUser": 1000, "fsGroup": 10_000}), "640 1000 10000"),
    ];
    for (name, context, _) in &cases {
        let container = json!({"name": "main", "image": TOOLS, "command": ["sleep", "600"]});
        let spec = json!({"serviceAccountName": "mount-test", "securityContext": context, "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never", "containers": [container]});
        scene
            .apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string())?;
    }
    for (name, _, expected) in &cases {
        scene.ready(name)?;
        let file = format!("{MOUNTED}/token");
        let seen = scene.inside(name, "main", &["stat", "-L", "-c", "%a %u %g", &file])?;
        ensure!(seen.trim() == *expected, "{name}: {expected} expected, and it is {seen}");
        // Whoever it runs as can read it.
        let token = scene.inside(name, "main", &["cat", &file])?;
        ensure!(token.split('.').count() == 3, "{name}: {token}");
    }
    let inside = |file: &str| scene.inside("plain", "main", &["cat", &format!("{MOUNTED}/{file}")]);
    let ca = scene.run(&["get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}"])?;
    ensure!(inside("ca.crt")?.trim() == ca.trim(), "the CA is another");
    ensure!(inside("namespace")? == scene.namespace, "the namespace is another");
    let token = inside("token")?;
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let reviewed = scene.kubectl.run_with(&["create", "-o", "json", "-f", "-"], &review.to_string())?;
    let reviewed: Value = serde_json::from_str(&reviewed)?;
    let (status, user) = (&reviewed["status"], &reviewed["status"]["user"]);
    ensure!(status["authenticated"] == true && status["error"].is_null(), "{status}");
    ensure!(user["username"] == format!("system:serviceaccount:{}:mount-test", scene.namespace), "{user}");
    let groups: Vec<&str> = user["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let own = format!("system:serviceaccounts:{}", scene.namespace);
    for group in ["system:authenticated", "system:serviceaccounts", &own] {
        ensure!(groups.contains(&group), "{group} is not among {groups:?}");
    }
    ensure!(user["extra"]["authentication.kubernetes.io/pod-name"] == json!(["plain"]), "{user}");
    ends_with_its_pod(scene, &token)
}

/// The token is no good once its pod is gone.
fn ends_with_its_pod(scene: &Scene<'_>, token: &str) -> Result<()> {
    let ask = || -> Result<String> {
        let mut curl = Command::new(tool::machine("curl", "curl")?);
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", &format!("Authorization: Bearer {token}")]);
        curl.arg("--cacert").arg(scene.cluster.data_dir().join("pki/ca.crt"));
        tool::run(curl.arg(format!("{}/api/v1/namespaces/{}/pods", scene.cluster.url(), scene.namespace)))
    };
    ensure!(ask()? == "403", "a known account that may not");
    scene.run(&["delete", "pod", "plain", "--grace-period=0", "--force"])?;
    wait::until("the token ends", POD_LIMIT, || {
        let code = ask()?;
        ensure!(code == "401", "it is answered {code}");
        Ok(())
    })
    .context("a token bound to a pod that is gone")
}
