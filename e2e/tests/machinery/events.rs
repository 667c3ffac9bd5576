//! Events in both of their groups ("Events API should ensure that an event can be fetched, patched, deleted, and listed", "... should delete a
//! collection of events", "Events should manage the lifecycle of an event", "... should delete a collection of events").

use anyhow::{Result, ensure};
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

use super::plain::{Http, STRATEGIC, count, meta, names};

pub fn events(it: &Scene<'_>) -> Result<()> {
    of_the_core(it)?;
    of_their_group(it)
}

fn of_the_core(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let path = it.path("events");
    let regarding = json!({ "kind": "Pod", "namespace": it.namespace, "name": "web" });
    let event = |name: &str| {
        json!({ "metadata": { "name": name, "labels": { "test": &it.namespace } }, "involvedObject": regarding, "type": "Normal",
            "reason": "Test", "message": "of a test", "source": { "component": "a-test" } })
    };
    let made = http.post(&path, &event("core"))?.is(201)?;
    ensure!(made["kind"] == "Event" && made["apiVersion"] == "v1" && made["reason"] == "Test", "{made}");
    let selected = format!("labelSelector=test={}", it.namespace);
    ensure!(names(&http.get(&format!("/api/v1/events?{selected}"))?.is(200)?) == ["core"], "it is among all");
    let patched = http.patch(&format!("{path}/core"), STRATEGIC, &json!({ "message": "patched" }))?.is(200)?;
    ensure!(patched["message"] == "patched" && patched["source"]["component"] == "a-test", "{patched}");
    let mut updated = http.get(&format!("{path}/core"))?.is(200)?;
    ensure!(updated["message"] == "patched", "{updated}");
    updated["series"] = json!({ "count": 100, "lastObservedTime": "2026-01-01T00:00:00.505050Z" });
    let updated = http.put(&format!("{path}/core"), &updated)?.is(200)?;
    ensure!(
        updated["series"]["count"] == 100 && updated["series"]["lastObservedTime"] == "2026-01-01T00:00:00.505050Z",
        "{updated}"
    );
    // Both groups show the same objects.
    let other = http.get(&format!("{}/core", of_group(it)))?.is(200)?;
    ensure!(
        other["apiVersion"] == "events.k8s.io/v1" && other["note"] == "patched" && other["regarding"]["name"] == "web",
        "{other}"
    );
    ensure!(other["series"]["count"] == 100 && other["deprecatedSource"]["component"] == "a-test", "{other}");
    let about = http.get(&format!("{path}?fieldSelector=involvedObject.name=web,reason=Test"))?.is(200)?;
    ensure!(names(&about) == ["core"], "{about}");
    http.delete(&format!("{path}/core"), &Value::Null)?.is(200)?;
    http.get(&format!("{path}/core"))?.refuses(404, "events \"core\" not found")?;

    for name in ["one", "two", "three"] {
        http.post(&path, &event(name))?.is(201)?;
    }
    ensure!(count(&http.get(&format!("{path}?{selected}"))?.is(200)?) == 3, "there are three");
    http.delete(&format!("{path}?{selected}"), &Value::Null)?.is(200)?;
    ensure!(count(&http.get(&format!("{path}?{selected}"))?.is(200)?) == 0, "they are deleted");
    let mut elsewhere = event("elsewhere");
    elsewhere["involvedObject"]["namespace"] = "default".into();
    http.post(&path, &elsewhere)?
        .refuses(422, "involvedObject.namespace: Invalid value: \"default\": does not match event.namespace")
}

fn of_group(it: &Scene<'_>) -> String {
    format!("/apis/events.k8s.io/v1/namespaces/{}/events", it.namespace)
}

fn of_their_group(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let path = of_group(it);
    let regarding = json!({ "kind": "Pod", "namespace": it.namespace, "name": "web" });
    let event = |name: &str| {
        json!({ "metadata": { "name": name, "labels": { "testevent": &it.namespace } }, "regarding": regarding, "type": "Normal",
            "reason": "Test", "note": "of a test", "action": "Do", "reportingController": "test-controller",
            "reportingInstance": "test-node", "eventTime": "2026-01-01T00:00:00.000001Z" })
    };
    let made = http.post(&path, &event("new"))?.is(201)?;
    ensure!(made["apiVersion"] == "events.k8s.io/v1" && made["eventTime"] == "2026-01-01T00:00:00.000001Z", "{made}");
    let selected = format!("labelSelector=testevent={}", it.namespace);
    let everywhere = http.get(&format!("/apis/events.k8s.io/v1/events?{selected}"))?.is(200)?;
    ensure!(
        names(&everywhere) == ["new"] && count(&http.get(&format!("{path}?{selected}"))?.is(200)?) == 1,
        "{everywhere}"
    );
    ensure!(
        count(&http.get(&format!("/apis/events.k8s.io/v1/namespaces/default/events?{selected}"))?.is(200)?) == 0,
        "not elsewhere"
    );
    // A series counts up; what it is about stands.
    let series = |count: u32| json!({ "series": { "count": count, "lastObservedTime": format!("2026-01-01T00:00:0{count}.000000Z") } });
    let patched = http.patch(&format!("{path}/new"), STRATEGIC, &series(2))?.is(200)?;
    ensure!(patched["series"]["count"] == 2, "{patched}");
    let mut updated = http.get(&format!("{path}/new"))?.is(200)?;
    updated["series"] = series(3)["series"].clone();
    let updated = http.put(&format!("{path}/new"), &updated)?.is(200)?;
    ensure!(updated["series"] == series(3)["series"] && meta(&updated, "uid") == meta(&made, "uid"), "{updated}");
    for (field, value) in [("note", "another"), ("reason", "Another"), ("action", "Undo"), ("type", "Warning")] {
        // Kubernetes checks the older form, in which the note is the message.
        let named = if field == "note" { "message" } else { field };
        let answer = http.patch(&format!("{path}/new"), STRATEGIC, &json!({ field: value }))?;
        answer.refuses(422, &format!("{named}: Invalid value"))?;
    }
    let core = http.get(&it.path("events/new"))?.is(200)?;
    ensure!(
        core["message"] == "of a test"
            && core["reportingComponent"] == "test-controller"
            && core["series"]["count"] == 3,
        "{core}"
    );
    for (field, words) in [
        ("reportingController", "reportingController: Required value"),
        ("reportingInstance", "reportingInstance: Required value"),
        ("action", "action: Required value"),
        ("reason", "reason: Required value"),
        ("eventTime", "eventTime: Required value"),
    ] {
        let mut without = event("without");
        without[field].take();
        http.post(&path, &without)?.refuses(422, words)?;
    }
    http.delete(&format!("{path}/new"), &Value::Null)?.is(200)?;
    ensure!(count(&http.get(&format!("{path}?{selected}"))?.is(200)?) == 0, "it is deleted");
    for name in ["one", "two"] {
        http.post(&path, &event(name))?.is(201)?;
    }
    http.delete(&format!("{path}?{selected}"), &Value::Null)?.is(200)?;
    ensure!(count(&http.get(&format!("{path}?{selected}"))?.is(200)?) == 0, "they are deleted");
    Ok(())
}
