//! The configurations as objects: what becomes of webhooks whose configuration is changed, and the conditions that are kept in it.

use anyhow::{Result, ensure};
use orlop_e2e::definition::{expect, refused};
use orlop_e2e::server::{Answer, Request};
use serde_json::{Value, json};

use super::play::{Play, Sort, map, rule, same, unwanted};

const SORTS: [(Sort, &str); 2] = [(Sort::Validating, "/configmaps"), (Sort::Mutating, "/mutating-configmaps")];

/// What one sort does to a creation, told from the answer.
fn acted(sort: Sort, answer: &Answer) -> Result<bool> {
    match sort {
        Sort::Validating if answer.code == 400 => Ok(true),
        Sort::Mutating if answer.json["data"].get("mutation-stage-1").is_some() => Ok(true),
        _ => expect(answer, 201).map(|()| false),
    }
}

/// An object with which either sort has something to do.
fn subject() -> Value {
    let mut it = unwanted("subject");
    it["data"]["mutation-start"] = "yes".into();
    it
}

fn becomes(it: &Play<'_>, sort: Sort, wanted: bool) -> Result<()> {
    it.until(&it.here("configmaps?dryRun=All"), &subject(), |answer| {
        let found = acted(sort, answer)?;
        ensure!(found == wanted, "{sort:?} acted: {found}, {}", answer.text);
        Ok(())
    })
}

/// A configuration whose operations are replaced and patched is followed.
pub fn updated_and_patched(it: &Play<'_>) -> Result<()> {
    for (sort, path) in SORTS {
        let name = format!("changing-{}", sort.kind().to_lowercase());
        let hook = it.hook("changing", path, rule(&["CREATE"], "", "v1", "configmaps"), json!({}));
        let made = it.server.send("POST", &sort.path(), &it.configuration(sort, &name, vec![hook]))?;
        expect(&made, 201)?;
        becomes(it, sort, true)?;
        let at = format!("{}/{name}", sort.path());
        let mut changed = made.json.clone();
        changed["webhooks"][0]["rules"][0]["operations"] = json!(["UPDATE"]);
        let changed = it.server.send("PUT", &at, &changed)?;
        expect(&changed, 200)?;
        ensure!(changed.json["metadata"]["generation"] == 2, "{}", changed.text);
        becomes(it, sort, false)?;
        let patch =
            json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]).to_string();
        let patch =
            Request { content_type: "application/json-patch+json", body: patch.as_bytes(), ..Request::default() };
        expect(&it.server.request("PATCH", &at, &patch)?, 200)?;
        becomes(it, sort, true)?;
        expect(&it.server.send("DELETE", &at, &Value::Null)?, 200)?;
        becomes(it, sort, false)?;
    }
    Ok(())
}

/// Several are listed by their label and deleted together; then nobody is asked any more.
pub fn listed_and_deleted(it: &Play<'_>) -> Result<()> {
    const COUNT: usize = 3;
    for (sort, path) in SORTS {
        for at in 0..COUNT {
            let hook = it.hook(&format!("w{at}"), path, rule(&["CREATE"], "", "v1", "configmaps"), json!({}));
            let name = format!("w{at}-{}", sort.kind().to_lowercase());
            expect(&it.server.send("POST", &sort.path(), &it.configuration(sort, &name, vec![hook]))?, 201)?;
        }
        let selected = format!("{}?labelSelector=of={}", sort.path(), it.case.namespace);
        let list = it.server.get(&selected)?;
        ensure!(list["items"].as_array().map(Vec::len) == Some(COUNT), "{list}");
        becomes(it, sort, true)?;
        let plural = format!("{}s", sort.kind().to_lowercase());
        it.case.prints(
            &format!("get {plural} -l of={} --no-headers", it.case.namespace),
            &(0..COUNT).map(|at| format!("w{at}-{} 2 *\n", sort.kind().to_lowercase())).collect::<String>(),
        )?;
        expect(&it.server.send("DELETE", &selected, &Value::Null)?, 200)?;
        let list = it.server.get(&selected)?;
        ensure!(list["items"].as_array().is_some_and(Vec::is_empty), "{list}");
        becomes(it, sort, false)?;
    }
    Ok(())
}

/// Conditions are kept as they are written, refused where they do not compile, and decide about whom the webhook is asked.
pub fn conditions(it: &Play<'_>) -> Result<()> {
    for (sort, path) in SORTS {
        let name = format!("conditions-{}", sort.kind().to_lowercase());
        let kept = json!([{"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}]);
        let create = || rule(&["CREATE"], "", "v1", "configmaps");
        let configuration = |conditions: &Value| {
            it.configuration(sort, &name, vec![it.hook("c", path, create(), json!({"matchConditions": conditions}))])
        };
        let wrong = json!([{"name": "invalid-expression-1", "expression": "... [] bad expression"}]);
        let answer = it.server.send("POST", &sort.path(), &configuration(&wrong))?;
        refused(
            &answer,
            422,
            "webhooks[0].matchConditions[0].expression: Invalid value: \"... [] bad expression\": compilation failed",
        )?;
        let made = it.server.send("POST", &sort.path(), &configuration(&kept))?;
        expect(&made, 201)?;
        same(&made.json["webhooks"][0]["matchConditions"], &kept)?;
        let at = format!("{}/{name}", sort.path());
        let mut changed = made.json.clone();
        let more = json!([kept[0], {"name": "expression-2", "expression": "object.metadata.namespace == 'staging'"}]);
        changed["webhooks"][0]["matchConditions"] = more.clone();
        let changed = it.server.send("PUT", &at, &changed)?;
        expect(&changed, 200)?;
        same(&it.server.get(&at)?["webhooks"][0]["matchConditions"], &more)?;
        let mut broken = changed.json.clone();
        broken["webhooks"][0]["matchConditions"] = wrong;
        refused(&it.server.send("PUT", &at, &broken)?, 422, "compilation failed")?;
        let mut skipping = changed.json.clone();
        skipping["webhooks"][0]["matchConditions"] =
            json!([{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]);
        expect(&it.server.send("PUT", &at, &skipping)?, 200)?;
        becomes(it, sort, true)?;
        let mut spared = subject();
        spared["metadata"]["name"] = "skip-me".into();
        let answer = it.server.send("POST", &it.here("configmaps?dryRun=All"), &spared)?;
        ensure!(!acted(sort, &answer)?, "{}", answer.text);
        expect(&it.server.send("DELETE", &at, &Value::Null)?, 200)?;
    }
    expect(&it.server.send("POST", &it.here("configmaps"), &map("left", json!({})))?, 201)
}
