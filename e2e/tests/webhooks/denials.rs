//! Webhooks that refuse: what is created, connected to and defined; and what becomes of requests when the webhook does not answer.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use orlop_e2e::definition::{DEFINITIONS, anything, definition, expect, refused, version};
use orlop_e2e::tool;
use serde_json::{Value, json};

use super::play::{Play, SLOW, Sort, map, pod, rule, unwanted};

fn find<'v>(list: &'v Value, name: &str) -> Result<&'v Value> {
    let found = list.as_array().and_then(|it| it.iter().find(|it| it["name"] == name));
    found.with_context(|| format!("{name} is not in {list}"))
}

/// The group, its version and its two resources stand in the documents of discovery.
pub fn discovery(it: &Play<'_>) -> Result<()> {
    const GROUP: &str = "admissionregistration.k8s.io";
    let groups = it.server.get("/apis")?;
    let group = find(&groups["groups"], GROUP)?;
    ensure!(group["preferredVersion"]["version"] == "v1", "{group}");
    let group = it.server.get(&format!("/apis/{GROUP}"))?;
    let versions = group["versions"].as_array();
    ensure!(versions.is_some_and(|it| it.iter().any(|it| it["groupVersion"] == format!("{GROUP}/v1"))), "{group}");
    let resources = it.server.get(&format!("/apis/{GROUP}/v1"))?;
    for (plural, kind) in [
        ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
        ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
    ] {
        let found = find(&resources["resources"], plural)?;
        ensure!(found["kind"] == kind && found["namespaced"] == false, "{found}");
    }
    Ok(())
}

/// Pods and ConfigMaps with unwanted content are refused when they are created, replaced and patched; not in a namespace that is exempt.
pub fn creations(it: &Play<'_>) -> Result<()> {
    let away = format!("https://127.0.0.1:{}/", tool::free_port()?);
    let open = json!({"failurePolicy": "Ignore", "clientConfig": {"url": away}});
    it.configure(
        Sort::Validating,
        vec![
            it.hook("pods", "/pods", rule(&["CREATE"], "", "v1", "pods"), json!({})),
            it.hook("maps", "/configmaps", rule(&["CREATE", "UPDATE"], "", "v1", "configmaps"), json!({})),
            it.hook("open", "/", rule(&["CREATE"], "", "v1", "configmaps"), open),
        ],
    )?;
    let mut bad = pod("disallowed-pod", "webhook-disallow");
    bad["metadata"]["labels"] = json!({"webhook-e2e-test": "webhook-disallow"});
    let why = "admission webhook \"pods.hooks.test\" denied the request: the pod contains unwanted container name; the pod contains unwanted label";
    refused(&it.server.send("POST", &it.here("pods"), &bad)?, 400, why)?;
    it.case.refused(
        "create configmap disallowed --from-literal=webhook-e2e-test=webhook-disallow",
        "",
        "error: failed to create configmap: admission webhook \"maps.hooks.test\" denied the request: the configmap contains unwanted key and value",
    )?;
    // Who cannot be reached and may fail does not stand in the way.
    expect(&it.server.send("POST", &it.here("configmaps"), &map("good", json!({"a": "b"})))?, 201)?;
    let why = "the configmap contains unwanted key and value";
    refused(&it.server.send("PUT", &it.here("configmaps/good"), &unwanted("good"))?, 400, why)?;
    it.case.refused(
        r#"patch configmap good --type=merge -p '{"data":{"webhook-e2e-test":"webhook-disallow"}}'"#,
        "",
        "*admission webhook \"maps.hooks.test\" denied the request: the configmap contains unwanted key and value",
    )?;
    expect(&it.server.send("POST", "/api/v1/namespaces/kube-public/configmaps", &unwanted("elsewhere"))?, 201)?;
    let asked = it.hooks.last("/configmaps")?;
    ensure!(asked["operation"] == "UPDATE" && asked["oldObject"]["data"] == json!({"a": "b"}), "{asked}");
    ensure!(
        asked["options"]["kind"] == "PatchOptions" && asked["userInfo"]["username"] == "kubernetes-admin",
        "{asked}"
    );
    Ok(())
}

/// A connection to a container is refused before it is opened.
pub fn attaching(it: &Play<'_>) -> Result<()> {
    expect(&it.server.send("POST", &it.here("pods"), &pod("to-be-attached-pod", "container1"))?, 201)?;
    let hook = it.hook("attach", "/pods/attach", rule(&["CONNECT"], "", "v1", "pods/attach"), json!({}));
    it.configure(Sort::Validating, vec![hook])?;
    let said = it.case.kubectl.fails(&it.case.arguments("attach to-be-attached-pod -i -c=container1"), "")?;
    ensure!(said.contains("attaching to pod 'to-be-attached-pod' is not allowed"), "{said}");
    let asked = it.hooks.last("/pods/attach")?;
    ensure!(asked["operation"] == "CONNECT" && asked["subResource"] == "attach", "{asked}");
    ensure!(asked["kind"] == json!({"group": "", "version": "v1", "kind": "PodAttachOptions"}), "{asked}");
    ensure!(asked["resource"] == json!({"group": "", "version": "v1", "resource": "pods"}), "{asked}");
    ensure!(asked["object"]["container"] == "container1" && asked["object"]["stdin"] == true, "{asked}");
    ensure!(asked["oldObject"].is_null() && asked["options"].is_null(), "{asked}");
    Ok(())
}

/// A webhook that is away and may not fail stops every write.
pub fn fail_closed(it: &Play<'_>) -> Result<()> {
    let away = format!("https://127.0.0.1:{}/configmaps", tool::free_port()?);
    // No failure policy is given: the default is to fail.
    let unmarked = json!({"matchExpressions": [{"key": "marker", "operator": "DoesNotExist"}]});
    let more = json!({"clientConfig": {"url": away}, "objectSelector": unmarked});
    it.configure(Sort::Validating, vec![it.hook("away", "/", rule(&["CREATE"], "", "v1", "configmaps"), more)])?;
    let answer = it.server.send("POST", &it.here("configmaps"), &map("foo", json!({})))?;
    refused(
        &answer,
        500,
        "failed calling webhook \"away.hooks.test\": failed to call webhook: Post \"https://127.0.0.1:",
    )?;
    ensure!(answer.json["reason"] == "InternalError", "{}", answer.text);
    refused(&answer, 500, "connect: connection refused")
}

/// Definitions are objects like others.
pub fn definitions(it: &Play<'_>) -> Result<()> {
    let rule = rule(&["CREATE"], "apiextensions.k8s.io", "*", "customresourcedefinitions");
    let labelled = json!({"objectSelector": {"matchLabels": {"e2e-list": "unwanted"}}});
    it.configure(Sort::Validating, vec![it.hook("definitions", "/always-deny", rule, labelled)])?;
    let versions = json!([version("v1", true, &anything())]);
    let mut unwanted = definition("deniedthings", "DeniedThing", "denied.example.com", versions.clone());
    unwanted["metadata"]["labels"] = json!({"e2e-list": "unwanted"});
    let answer = it.server.send("POST", DEFINITIONS, &unwanted)?;
    refused(
        &answer,
        400,
        "admission webhook \"definitions.hooks.test\" denied the request: this webhook denies all requests",
    )
}

/// How long a webhook may take is what its configuration says, ten seconds if it says nothing.
pub fn timeouts(it: &Play<'_>) -> Result<()> {
    let create = || rule(&["CREATE"], "", "v1", "secrets");
    let with = |name: &str, more: Value| {
        let mut more = more;
        more["objectSelector"] = json!({"matchLabels": {"slow": name}});
        it.hook(name, "/slow", create(), more)
    };
    it.configure(
        Sort::Validating,
        vec![
            with("short", json!({"timeoutSeconds": 1, "failurePolicy": "Fail"})),
            with("ignored", json!({"timeoutSeconds": 1, "failurePolicy": "Ignore"})),
            with("long", json!({"timeoutSeconds": 20})),
            with("default", json!({})),
        ],
    )?;
    let secret = |name: &str| json!({"metadata": {"name": name, "labels": {"slow": name}}});
    let begun = Instant::now();
    let answer = it.server.send("POST", &it.here("secrets"), &secret("short"))?;
    refused(
        &answer,
        500,
        "failed calling webhook \"short.hooks.test\": failed to call webhook: Post \"https://127.0.0.1:",
    )?;
    refused(&answer, 500, "/slow?timeout=1s\": context deadline exceeded")?;
    ensure!(begun.elapsed() < SLOW, "a second was to be enough, and it took {:?}", begun.elapsed());
    for name in ["ignored", "long", "default"] {
        expect(&it.server.send("POST", &it.here("secrets"), &secret(name))?, 201)?;
    }
    Ok(())
}
