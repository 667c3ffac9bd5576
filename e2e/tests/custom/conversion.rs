//! Conversion between versions by a webhook: of one object, of lists in which both versions are stored, and in the oldest form of reviews.

use anyhow::{Result, ensure};
use orlop_e2e::definition::{
    SERVED_LIMIT, anything, define, definition, expect, object, objects, path, refused, undefine, version,
};
use orlop_e2e::hooks::{self, Hooks, Reply};
use orlop_e2e::wait;
use serde_json::{Value, json};

use super::{Play, same};

/// Between `hostPort` of the first version and `host` with `port` of the second, as the conformance tests' own webhook.
fn convert(object: &mut Value, wanted: &str) {
    let Some(fields) = object.as_object_mut() else { return };
    if wanted.ends_with("/v2") {
        let joined = fields.remove("hostPort").and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default();
        if let Some((host, port)) = joined.split_once(':') {
            fields.insert("host".to_owned(), host.into());
            fields.insert("port".to_owned(), port.into());
        }
    } else if let (Some(Value::String(host)), Some(Value::String(port))) =
        (fields.remove("host"), fields.remove("port"))
    {
        fields.insert("hostPort".to_owned(), format!("{host}:{port}").into());
    }
}

/// What the conversion webhook says.
pub fn answer(path: &str, review: &Value) -> Reply {
    match path {
        "/crdconvert" => hooks::converted(review, convert),
        _ => Reply::Text(500, "there is no such webhook".to_owned()),
    }
}

/// A definition of two versions, of which the first is stored, with a conversion webhook.
fn two_versions(it: &Play<'_>, hooks: &Hooks, reviews: &[&str]) -> Result<Value> {
    let versions = json!([version("v1", true, &anything()), version("v2", false, &anything())]);
    let mut of = definition("e2etests", "E2eTest", &it.group, versions);
    of["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": hooks.client("/crdconvert"), "conversionReviewVersions": reviews}});
    define(it.server, &of)?;
    Ok(of)
}

fn first_version(of: &Value, name: &str) -> Value {
    let mut made = object(of, "v1", name);
    made["hostPort"] = "localhost:8080".into();
    made
}

fn second_version(of: &Value, name: &str) -> Value {
    let mut made = object(of, "v2", name);
    made["host"] = "localhost".into();
    made["port"] = "8080".into();
    made
}

/// Has the second version stored from now on.
fn store_second(it: &Play<'_>, of: &Value) -> Result<()> {
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
    expect(&it.patch(&path(of), "json-patch+json", &patch.to_string())?, 200)?;
    wait::until("the second version is stored", SERVED_LIMIT, || {
        same(&it.server.get(&path(of))?["status"]["storedVersions"], &json!(["v1", "v2"]))
    })
}

/// What is written in one version is read in the other.
pub fn one_object(it: &Play<'_>) -> Result<()> {
    let hooks = Hooks::start(answer)?;
    let of = two_versions(it, &hooks, &["v1", "v1beta1"])?;
    let (one, two) = (objects(&of, "v1", &it.case.namespace), objects(&of, "v2", &it.case.namespace));
    let made = it.server.send("POST", &one, &first_version(&of, "cr-instance-1"))?;
    expect(&made, 201)?;
    let read = it.server.get(&format!("{two}/cr-instance-1"))?;
    same(
        &json!([read["apiVersion"], read["host"], read["port"], read["hostPort"]]),
        &json!([format!("{}/v2", it.group), "localhost", "8080", null]),
    )?;
    same(&read["metadata"]["uid"], &made.json["metadata"]["uid"])?;
    // Written in the second version, it is stored in the first; both see it.
    let patch = json!({"port": "9090"}).to_string();
    let patched = it.patch(&format!("{two}/cr-instance-1"), "merge-patch+json", &patch)?;
    expect(&patched, 200)?;
    same(&patched.json["port"], &json!("9090"))?;
    same(&it.server.get(&format!("{one}/cr-instance-1"))?["hostPort"], &json!("localhost:9090"))?;
    it.case.prints(
        &format!("get e2etests.v2.{} cr-instance-1 -o jsonpath={{.host}}:{{.port}}", it.group),
        "localhost:9090",
    )?;
    // Who does not answer stands in the way of the other version alone.
    let broken =
        json!([{"op": "replace", "path": "/spec/conversion/webhook/clientConfig", "value": hooks.client("/nowhere")}]);
    expect(&it.patch(&path(&of), "json-patch+json", &broken.to_string())?, 200)?;
    expect(&it.server.send("POST", &one, &first_version(&of, "cr-instance-2"))?, 201)?;
    wait::until("the webhook fails", SERVED_LIMIT, || {
        let words = format!("conversion webhook for {}/v1, Kind=E2eTest failed: ", it.group);
        refused(&it.server.send("GET", &format!("{two}/cr-instance-2"), &Value::Null)?, 500, &words)
    })?;
    expect(&it.server.send("GET", &format!("{one}/cr-instance-2"), &Value::Null)?, 200)?;
    undefine(it.server, &of)
}

/// A list is of one version, whatever its objects are stored in; each revision is converted once.
pub fn lists_of_several_versions(it: &Play<'_>) -> Result<()> {
    let hooks = Hooks::start(answer)?;
    let of = two_versions(it, &hooks, &["v1", "v1beta1"])?;
    let (one, two) = (objects(&of, "v1", &it.case.namespace), objects(&of, "v2", &it.case.namespace));
    expect(&it.server.send("POST", &one, &first_version(&of, "cr-instance-1"))?, 201)?;
    store_second(it, &of)?;
    wait::until("the second object gets in", SERVED_LIMIT, || {
        expect(&it.server.send("POST", &two, &second_version(&of, "cr-instance-2"))?, 201)
    })?;
    let check = |path: &str, version: &str, fields: &[&str], expected: Value| -> Result<()> {
        let list = it.server.get(path)?;
        same(&list["apiVersion"], &json!(format!("{}/{version}", it.group)))?;
        let items = list["items"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        ensure!(items.len() == 2, "{list}");
        for item in items {
            same(&item["apiVersion"], &json!(format!("{}/{version}", it.group)))?;
            same(&json!(fields.iter().map(|field| item[field].clone()).collect::<Vec<_>>()), &expected)?;
        }
        Ok(())
    };
    check(&one, "v1", &["hostPort", "host"], json!(["localhost:8080", null]))?;
    check(&two, "v2", &["host", "port", "hostPort"], json!(["localhost", "8080", null]))?;
    let asked = hooks.asked("/crdconvert").len();
    check(&one, "v1", &["hostPort"], json!(["localhost:8080"]))?;
    check(&two, "v2", &["host"], json!(["localhost"]))?;
    ensure!(hooks.asked("/crdconvert").len() == asked, "what was converted once is kept");
    undefine(it.server, &of)
}

/// A webhook that knows only `v1beta1` is asked in it.
pub fn the_oldest_review(it: &Play<'_>) -> Result<()> {
    let hooks = Hooks::start(|path, review| match review["apiVersion"].as_str() {
        Some("apiextensions.k8s.io/v1beta1") => answer(path, review),
        other => Reply::Text(500, format!("asked in {other:?}")),
    })?;
    let of = two_versions(it, &hooks, &["v1beta1"])?;
    expect(&it.server.send("POST", &objects(&of, "v1", &it.case.namespace), &first_version(&of, "a"))?, 201)?;
    let read = it.server.get(&format!("{}/a", objects(&of, "v2", &it.case.namespace)))?;
    same(&read["host"], &json!("localhost"))?;
    undefine(it.server, &of)
}
