//! Definitions as objects: created, listed, deleted with all that is theirs, with a status of its own, and found by clients.

use anyhow::{Context, Result, ensure};
use orlop_e2e::definition::{
    DEFINITIONS, SERVED_LIMIT, anything, define, definition, expect, object, objects, path, undefine, version,
};
use orlop_e2e::wait;
use serde_json::{Value, json};

use super::{Play, same};

fn simple(it: &Play<'_>, plural: &str, kind: &str) -> Value {
    definition(plural, kind, &it.group, json!([version("v1", true, &anything())]))
}

fn gone(it: &Play<'_>, path: &str) -> Result<()> {
    wait::until("it goes", SERVED_LIMIT, || expect(&it.server.send("GET", path, &Value::Null)?, 404))
}

/// A definition comes with its kind and goes with its objects.
pub fn created_and_deleted(it: &Play<'_>) -> Result<()> {
    let of = simple(it, "foos", "Foo");
    let made = define(it.server, &of)?;
    same(&made["metadata"]["name"], &of["metadata"]["name"])?;
    same(&made["status"]["acceptedNames"]["kind"], &json!("Foo"))?;
    let here = objects(&of, "v1", &it.case.namespace);
    expect(&it.server.send("POST", &here, &object(&of, "v1", "a"))?, 201)?;
    it.case.prints(&format!("get foos.{}", it.group), "NAME AGE\na *")?;
    it.case.prints(
        &format!("delete crd foos.{}", it.group),
        &format!("customresourcedefinition.apiextensions.k8s.io \"foos.{}\" deleted*", it.group),
    )?;
    gone(it, &path(&of))?;
    gone(it, &here)?;
    // One of the same name begins with nothing.
    define(it.server, &of)?;
    ensure!(it.server.get(&here)?["items"].as_array().is_some_and(Vec::is_empty), "nothing is left of the first");
    undefine(it.server, &of)
}

/// Several are listed by a label and deleted by it; the others stay.
pub fn listed_and_deleted_by_label(it: &Play<'_>) -> Result<()> {
    let mut all = Vec::new();
    for at in 0..4 {
        let mut of = simple(it, &format!("w{at}s"), &format!("W{at}"));
        let label = if at == 3 { "stays" } else { &it.case.namespace };
        of["metadata"]["labels"] = json!({"e2e-list-test-uuid": label});
        define(it.server, &of)?;
        all.push(of);
    }
    let selected = format!("{DEFINITIONS}?labelSelector=e2e-list-test-uuid={}", it.case.namespace);
    let list = it.server.get(&selected)?;
    let names = list["items"].as_array().into_iter().flatten().map(|it| it["metadata"]["name"].clone());
    let expected: Vec<Value> = all[..3].iter().map(|it| it["metadata"]["name"].clone()).collect();
    ensure!(names.collect::<Vec<_>>() == expected, "{list}");
    let found = it.server.get(&path(&all[0]))?;
    same(&found["spec"]["names"]["kind"], &json!("W0"))?;
    expect(&it.server.send("DELETE", &selected, &Value::Null)?, 200)?;
    for of in &all[..3] {
        gone(it, &path(of))?;
    }
    expect(&it.server.send("GET", &path(&all[3]), &Value::Null)?, 200)?;
    undefine(it.server, &all[3])
}

fn conditions(of: &Value) -> Vec<(String, String)> {
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let all = of["status"]["conditions"].as_array();
    all.into_iter().flatten().map(|it| (text(&it["type"]), text(&it["status"]))).collect()
}

/// The status of a definition is read, replaced and patched on its own path.
pub fn status_is_a_part_of_its_own(it: &Play<'_>) -> Result<()> {
    let of = simple(it, "foos", "Foo");
    define(it.server, &of)?;
    let status = format!("{}/status", path(&of));
    let read = it.server.get(&status)?;
    ensure!(conditions(&read).contains(&("Established".into(), "True".into())), "{read}");
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "E2E", "message": "Set from e2e test", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    wait::until("a status gets in", SERVED_LIMIT, || {
        let mut updated = it.server.get(&status)?;
        let all = updated["status"]["conditions"].as_array_mut().context("there are conditions")?;
        all.push(condition("StatusUpdate"));
        updated["metadata"]["annotations"] = json!({"not": "taken"});
        let updated = it.server.send("PUT", &status, &updated)?;
        expect(&updated, 200)?;
        ensure!(conditions(&updated.json).contains(&("StatusUpdate".into(), "True".into())), "{}", updated.text);
        Ok(())
    })?;
    let mut all = it.server.get(&status)?["status"]["conditions"].clone();
    all.as_array_mut().context("there are conditions")?.push(condition("StatusPatched"));
    let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "spec": {"scope": "Cluster"},
        "status": {"conditions": all}});
    let patched = it.patch(&status, "merge-patch+json", &patch.to_string())?;
    expect(&patched, 200)?;
    ensure!(conditions(&patched.json).contains(&("StatusPatched".into(), "True".into())), "{}", patched.text);
    same(&patched.json["spec"]["scope"], &json!("Namespaced"))?;
    it.case.prints(
        &format!("get crd foos.{} --subresource=status -o jsonpath={{.status.acceptedNames.plural}}", it.group),
        "foos",
    )?;
    undefine(it.server, &of)
}

/// The group of definitions stands in the documents of discovery, and so does a definition's own group.
pub fn stands_in_discovery(it: &Play<'_>) -> Result<()> {
    let groups = it.server.get("/apis")?;
    let all = groups["groups"].as_array().context("there are groups")?;
    let group = all.iter().find(|it| it["name"] == "apiextensions.k8s.io").context("definitions have a group")?;
    let has_v1 = |it: &Value| it["versions"].as_array().is_some_and(|it| it.iter().any(|it| it["version"] == "v1"));
    ensure!(has_v1(group), "{group}");
    ensure!(has_v1(&it.server.get("/apis/apiextensions.k8s.io")?), "v1 is a version of the group");
    let resources = it.server.get("/apis/apiextensions.k8s.io/v1")?;
    let all = resources["resources"].as_array().context("there are resources")?;
    ensure!(all.iter().any(|it| it["name"] == "customresourcedefinitions"), "{resources}");
    // Names that no other scenario has: kubectl remembers for a while what it has discovered.
    let mut of = simple(it, "finds", "Find");
    of["spec"]["names"]["shortNames"] = json!(["fi"]);
    of["spec"]["names"]["categories"] = json!(["odd"]);
    define(it.server, &of)?;
    let own = it.server.get(&format!("/apis/{}", it.group))?;
    same(&own["preferredVersion"]["groupVersion"], &json!(format!("{}/v1", it.group)))?;
    // In one document with all others, as newer clients ask for it.
    let listed = it.case.run(&format!("api-resources --api-group={} --no-headers", it.group))?;
    ensure!(listed.split_whitespace().eq(["finds", "fi", &format!("{}/v1", it.group), "true", "Find"]), "{listed}");
    expect(&it.server.send("POST", &objects(&of, "v1", &it.case.namespace), &object(&of, "v1", "a"))?, 201)?;
    for name in ["fi", "find", "odd", &format!("finds.v1.{}", it.group)] {
        it.case.prints(&format!("get {name} --no-headers"), "a *")?;
    }
    undefine(it.server, &of)
}

/// Lists come in pages of one moment, and as tables with the columns of the definition.
pub fn pages_and_tables(it: &Play<'_>) -> Result<()> {
    let mut of = simple(it, "foos", "Foo");
    of["spec"]["versions"][0]["additionalPrinterColumns"] = json!([
        {"name": "Color", "type": "string", "jsonPath": ".color"},
        {"name": "Size", "type": "integer", "jsonPath": ".size", "priority": 1}]);
    define(it.server, &of)?;
    let here = objects(&of, "v1", &it.case.namespace);
    for at in 0..5 {
        let mut made = object(&of, "v1", &format!("f{at}"));
        made["color"] = "red".into();
        made["size"] = at.into();
        expect(&it.server.send("POST", &here, &made)?, 201)?;
    }
    let mut seen = Vec::new();
    let mut next = String::new();
    let mut revision = Value::Null;
    loop {
        let page = it.server.get(&format!("{here}?limit=2&continue={next}"))?;
        let items = page["items"].as_array().context("a page has items")?;
        seen.extend(items.iter().map(|it| it["metadata"]["name"].clone()));
        ensure!(revision.is_null() || revision == page["metadata"]["resourceVersion"], "all are of one moment: {page}");
        revision = page["metadata"]["resourceVersion"].clone();
        let left = page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
        ensure!(left as usize == 5 - seen.len(), "{} were seen: {page}", seen.len());
        match page["metadata"]["continue"].as_str() {
            Some(token) if !token.is_empty() => next = token.to_owned(),
            _ => break,
        }
    }
    same(&json!(seen), &json!(["f0", "f1", "f2", "f3", "f4"]))?;
    it.case.prints(&format!("get foos.{} f1", it.group), "NAME COLOR\nf1 red")?;
    it.case.prints(&format!("get foos.{} f1 -o wide", it.group), "NAME COLOR SIZE\nf1 red 1")?;
    let mut curl = it.server.curl("GET", &here)?;
    curl.args(["-H", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io"]);
    let output = curl.output()?;
    let table: Value = serde_json::from_slice(&output.stdout)?;
    same(&table["kind"], &json!("Table"))?;
    same(&table["rows"][2]["cells"], &json!(["f2", "red", 2]))?;
    same(&table["rows"][2]["object"]["kind"], &json!("PartialObjectMetadata"))?;
    let columns: Vec<&Value> =
        table["columnDefinitions"].as_array().into_iter().flatten().map(|it| &it["name"]).collect();
    ensure!(columns == ["Name", "Color", "Size"], "{columns:?}");
    undefine(it.server, &of)
}
