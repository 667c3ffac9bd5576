//! Webhooks that change what is created: in their order, before defaults, and never the configurations themselves.

use anyhow::{Result, ensure};
use orlop_e2e::definition::expect;
use serde_json::{Value, json};

use super::play::{Play, Sort, map, pod, rule, same};

/// Two webhooks in a row: the second sees what the first has made.
pub fn in_order(it: &Play<'_>) -> Result<()> {
    let create = || rule(&["CREATE"], "", "v1", "configmaps");
    it.configure(
        Sort::Mutating,
        vec![
            it.hook("stage-1", "/mutating-configmaps", create(), json!({})),
            it.hook("stage-2", "/mutating-configmaps", create(), json!({})),
        ],
    )?;
    let before = it.hooks.asked("/mutating-configmaps").len();
    let made =
        it.server.send("POST", &it.here("configmaps"), &map("to-be-mutated", json!({"mutation-start": "yes"})))?;
    expect(&made, 201)?;
    let expected = json!({"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"});
    same(&made.json["data"], &expected)?;
    same(&it.server.get(&it.here("configmaps/to-be-mutated"))?["data"], &expected)?;
    let asked = &it.hooks.asked("/mutating-configmaps")[before..];
    ensure!(asked.len() == 2, "each is asked once, and not {} times", asked.len());
    same(&asked[1]["object"]["data"], &json!({"mutation-start": "yes", "mutation-stage-1": "yes"}))?;
    // kubectl apply goes the same way, and finds its own fields again.
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {mutation-start: 'yes'}\n";
    it.case.prints_with("apply -f -", manifest, "configmap/applied created")?;
    it.case.prints("get configmap applied -o jsonpath={.data.mutation-stage-2}", "yes")?;
    it.case.prints_with("apply -f -", manifest, "configmap/applied unchanged")
}

/// What a webhook adds to a pod has defaults, too.
pub fn pods_are_defaulted(it: &Play<'_>) -> Result<()> {
    let hook = it.hook("adding-init-container", "/mutating-pods", rule(&["CREATE"], "", "v1", "pods"), json!({}));
    it.configure(Sort::Mutating, vec![hook])?;
    let made = it.server.send("POST", &it.here("pods"), &pod("webhook-to-be-mutated", "example"))?;
    expect(&made, 201)?;
    let containers = made.json["spec"]["initContainers"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    ensure!(containers.len() == 1, "there is one init container: {}", made.text);
    let added = &containers[0];
    ensure!(added["name"] == "webhook-added-init-container", "{added}");
    ensure!(added["terminationMessagePolicy"] == "File" && added["imagePullPolicy"] == "Always", "{added}");
    ensure!(added["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount", "{added}");
    Ok(())
}

/// Nobody can lock the configurations, or change them on their way: not even who asks for all.
pub fn configurations_are_spared(it: &Play<'_>) -> Result<()> {
    let all = || rule(&["*"], "*", "*", "*/*");
    // Whoever is called here, only what is labelled is meant: all else in the cluster goes its way.
    let mine = json!({"objectSelector": {"matchLabels": {"spared": "yes"}}});
    it.configure(Sort::Validating, vec![it.hook("deny-all", "/always-deny", all(), mine.clone())])?;
    it.configure(Sort::Mutating, vec![it.hook("change-all", "/add-label", all(), mine)])?;
    for sort in [Sort::Validating, Sort::Mutating] {
        let mut dummy = it.configuration(sort, &format!("dummy-{}", sort.kind().to_lowercase()), Vec::new());
        dummy["metadata"]["labels"] = json!({"spared": "yes"});
        let made = it.server.send("POST", &sort.path(), &dummy)?;
        expect(&made, 201)?;
        same(&made.json["metadata"]["labels"], &json!({"spared": "yes"}))?;
        let path = format!("{}/{}", sort.path(), dummy["metadata"]["name"].as_str().unwrap_or_default());
        let mut changed = made.json.clone();
        changed["metadata"]["annotations"] = json!({"a": "b"});
        let changed = it.server.send("PUT", &path, &changed)?;
        expect(&changed, 200)?;
        same(&changed.json["metadata"]["labels"], &json!({"spared": "yes"}))?;
        expect(&it.server.send("DELETE", &path, &Value::Null)?, 200)?;
    }
    Ok(())
}
