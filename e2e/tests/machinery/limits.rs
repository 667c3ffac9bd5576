//! LimitRanges ("LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied", "... should list, patch and
//! delete a LimitRange by collection").

use anyhow::{Result, ensure};
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

use super::plain::{Http, STRATEGIC, count, names};

fn amounts(cpu: &str, memory: &str, disk: &str) -> Value {
    json!({ "cpu": cpu, "memory": memory, "ephemeral-storage": disk })
}

pub fn limits(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let path = it.path("limitranges");
    let range = |name: &str, min: Value| {
        let limit = json!({ "type": "Container", "min": min, "max": amounts("500m", "500Mi", "500Gi"),
            "default": amounts("500m", "500Mi", "500Gi"), "defaultRequest": amounts("100m", "200Mi", "200Gi") });
        json!({ "metadata": { "name": name, "labels": { "range": &it.namespace } }, "spec": { "limits": [limit] } })
    };
    let mut wrong = range("wrong", amounts("50m", "100Mi", "100Gi"));
    wrong["spec"]["limits"][0]["default"]["cpu"] = "1".into();
    http.post(&path, &wrong)?.refuses(422, "default value 1 is greater than max value 500m")?;
    http.post(&path, &range("r", amounts("50m", "100Mi", "100Gi")))?.is(201)?;
    let watched = http.watch(&format!("{path}?{}", "resourceVersion=0"), 1)?;
    ensure!(watched.iter().any(|(kind, it)| kind == "ADDED" && it["metadata"]["name"] == "r"), "{watched:?}");

    let pods = it.path("pods");
    let pod = |name: &str, resources: Value| {
        json!({ "metadata": { "name": name }, "spec": { "nodeName": "", "containers": [{ "name": "c",
            "image": "registry.local/web:1", "resources": resources }] } })
    };
    let resources = |it: &Value| it["spec"]["containers"][0]["resources"].clone();
    let bare = http.post(&pods, &pod("bare", json!({})))?.is(201)?;
    let defaults =
        json!({ "requests": amounts("100m", "200Mi", "200Gi"), "limits": amounts("500m", "500Mi", "500Gi") });
    ensure!(resources(&bare) == defaults, "{bare}");
    ensure!(
        bare["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
            .as_str()
            .is_some_and(|it| it.contains("container c")),
        "{bare}"
    );
    let some = json!({ "requests": { "cpu": "300m", "memory": "150Mi" }, "limits": { "cpu": "300m", "ephemeral-storage": "500Gi" } });
    let partial = http.post(&pods, &pod("partial", some))?.is(201)?;
    // What has a limit and asks for nothing asks for that much; the range adds the rest.
    let merged = json!({ "requests": amounts("300m", "150Mi", "500Gi"), "limits": amounts("300m", "500Mi", "500Gi") });
    ensure!(resources(&partial) == merged, "{partial}");
    let asks = |cpu: &str| json!({ "requests": { "cpu": cpu }, "limits": { "cpu": cpu } });
    http.post(&pods, &pod("low", asks("10m")))?
        .refuses(403, "minimum cpu usage per Container is 50m, but request is 10m")?;
    http.post(&pods, &pod("high", asks("600m")))?
        .refuses(403, "maximum cpu usage per Container is 500m, but limit is 600m")?;

    // What is lowered lets in what it did not.
    let mut lowered = http.get(&format!("{path}/r"))?.is(200)?;
    lowered["spec"]["limits"][0]["min"] = amounts("9m", "49Mi", "49Gi");
    let lowered = http.put(&format!("{path}/r"), &lowered)?.is(200)?;
    ensure!(lowered["spec"]["limits"][0]["min"]["cpu"] == "9m", "{lowered}");
    http.post(&pods, &pod("low", asks("10m")))?.is(201)?;
    http.post(&pods, &pod("high", asks("600m")))?.refuses(403, "maximum cpu usage per Container is 500m")?;

    let patch = json!({ "metadata": { "labels": { "r": "patched" } } });
    let patched = http.patch(&format!("{path}/r"), STRATEGIC, &patch)?.is(200)?;
    ensure!(patched["metadata"]["labels"]["r"] == "patched", "{patched}");
    let selected = format!("labelSelector=range={}", it.namespace);
    let everywhere = http.get(&format!("/api/v1/limitranges?{selected}"))?.is(200)?;
    ensure!(names(&everywhere) == ["r"], "{everywhere}");
    let other = format!("labelSelector=range={},r=patched", it.namespace);
    http.delete(&format!("{path}?{other}"), &Value::Null)?.is(200)?;
    ensure!(count(&http.get(&path)?.is(200)?) == 0, "it is deleted");
    // Nothing limits any more.
    http.post(&pods, &pod("high", asks("600m")))?.is(201).map(drop)
}
