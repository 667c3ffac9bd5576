//! The documents of custom kinds: in both OpenAPI versions within moments of a change, explained and used by kubectl.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use orlop_e2e::definition::{define, definition, expect, object, objects, path, undefine, version};
use orlop_e2e::scene::expect_words;
use orlop_e2e::wait;
use serde_json::{Value, json};

use super::{Play, same};

/// How long documents may take to follow a definition: a second, with room for a machine that is busy.
const PUBLISHED_LIMIT: Duration = Duration::from_secs(10);

/// The schema of the conformance tests.
fn foo() -> Value {
    json!({"description": "Foo CRD for Testing", "type": "object", "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "properties": {
            "bars": {"type": "array", "description": "List of Bars and their specs.", "items": {
                "type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string", "description": "Name of Bar."},
                    "age": {"type": "string", "description": "Age of Bar."},
                    "feeling": {"type": "string", "description": "Whether Bar is feeling great.", "enum": ["Great", "Down"]},
                    "bazs": {"type": "array", "description": "List of Bazs.", "items": {"type": "string"}}}}}}},
        "status": {"type": "object", "description": "Status of Foo", "properties": {
            "bars": {"type": "array", "description": "List of Bars and their statuses.", "items": {
                "type": "object", "properties": {"name": {"type": "string"}, "available": {"type": "boolean"}}}}}},
    }})
}

/// The name of a kind's schema: `com.example.with-schema.v1.Foo`.
fn name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').rev().collect();
    parts.extend([version, kind]);
    parts.join(".")
}

/// A kind's schema in the second version of OpenAPI, which is one document, and in the third, which has one a group version.
fn schemas(it: &Play<'_>, group: &str, version: &str, kind: &str) -> Result<[Value; 2]> {
    let name = name(group, version, kind);
    let whole = it.server.get("/openapi/v2")?;
    let answer = it.server.send("GET", &format!("/openapi/v3/apis/{group}/{version}"), &Value::Null)?;
    Ok([whole["definitions"][&name].clone(), answer.json["components"]["schemas"][&name].clone()])
}

/// Waits until a kind is described in both versions, or in neither.
fn published(it: &Play<'_>, group: &str, version: &str, kind: &str, wanted: bool) -> Result<[Value; 2]> {
    wait::until("the documents follow", PUBLISHED_LIMIT, || {
        let found = schemas(it, group, version, kind)?;
        match found.iter().all(|it| it.is_null() != wanted) {
            true => Ok(found),
            false => bail!("{group}/{version} {kind} is {found:?}"),
        }
    })
}

fn explains(it: &Play<'_>, what: &str, words: &[&str]) -> Result<()> {
    expect_words(&it.case.run(&format!("explain {what}"))?, words)
}

/// A plural name that no other scenario has: kubectl remembers for a while what it has discovered.
fn plural(it: &Play<'_>) -> String {
    format!("{}-foos", it.case.namespace)
}

fn one(it: &Play<'_>, schema: &Value) -> Result<Value> {
    let of = definition(&plural(it), "Foo", &it.group, json!([version("v1", true, schema)]));
    define(it.server, &of)?;
    Ok(of)
}

fn text(it: &Play<'_>, name: &str, rest: &str) -> String {
    format!("apiVersion: {}/v1\nkind: Foo\nmetadata: {{name: {name}}}\n{rest}", it.group)
}

/// What stands in a schema is explained, checked by kubectl and by the server.
pub fn with_a_schema(it: &Play<'_>) -> Result<()> {
    let of = one(it, &foo())?;
    for schema in published(it, &it.group, "v1", "Foo", true)? {
        same(&schema["description"], &json!("Foo CRD for Testing"))?;
        same(&schema["properties"]["spec"], &foo()["properties"]["spec"])?;
        let gvk = json!([{"group": it.group, "version": "v1", "kind": "Foo"}]);
        same(&schema["x-kubernetes-group-version-kind"], &gvk)?;
    }
    let good = text(it, "test-foo", "spec:\n  bars:\n  - {name: test-bar, age: '10', bazs: [a, b], feeling: Great}\n");
    let made = format!("foo.{}/test-foo", it.group);
    it.case.prints_with("create -f -", &good, &format!("{made} created"))?;
    it.case.prints_with("apply -f -", &good, &format!("...\n{made} *"))?;
    it.case.prints_with("delete -f -", &good, &format!("foo.{} \"test-foo\" deleted*", it.group))?;
    let unknown = text(it, "test-foo", "spec:\n  bars:\n  - {name: test-bar, unknown: '10'}\n");
    for verb in ["create", "apply"] {
        it.case.refused(&format!("{verb} -f -"), &unknown, "...\n*unknown field \"spec.bars[0].unknown\"*")?;
        let missing = text(it, "test-foo", "spec:\n  bars:\n  - {age: '10'}\n");
        it.case.refused(&format!("{verb} -f -"), &missing, "...\n*spec.bars[0].name: Required value*")?;
        let other = text(it, "test-foo", "spec:\n  bars:\n  - {name: test-bar, feeling: NonExistentValue}\n");
        let why = "...\n*spec.bars[0].feeling: Unsupported value: \"NonExistentValue\": supported values: \"Great\", \"Down\"*";
        it.case.refused(&format!("{verb} -f -"), &other, why)?;
    }
    let spec = ["DESCRIPTION:", "Foo CRD for Testing", "apiVersion", "spec", "Specification of Foo"];
    explains(it, &plural(it), &spec)?;
    explains(
        it,
        &format!("{}.metadata", plural(it)),
        &["Standard object's metadata", "creationTimestamp", "CreationTimestamp is a timestamp"],
    )?;
    explains(it, &format!("{}.spec", plural(it)), &["Specification of Foo", "List of Bars and their specs"])?;
    explains(
        it,
        &format!("{}.spec.bars", plural(it)),
        &["List of Bars and their specs", "bazs", "List of Bazs", "name", "Name of Bar", "-required-"],
    )?;
    explains(it, &format!("{}.spec.bars --recursive", plural(it)), &["feeling", "bazs"])?;
    it.case.refused(&format!("explain {}.spec.bars2", plural(it)), "", "error: field \"bars2\" does not exist")?;
    undefine(it.server, &of)
}

/// Without a schema everything is let in, and nothing is explained.
pub fn without_a_schema(it: &Play<'_>) -> Result<()> {
    let of = one(it, &json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))?;
    let [second, third] = published(it, &it.group, "v1", "Foo", true)?;
    same(&second["x-kubernetes-preserve-unknown-fields"], &json!(true))?;
    same(&third["x-kubernetes-preserve-unknown-fields"], &json!(true))?;
    anything_goes(it, "a: {b: [c]}\n")?;
    explains(it, &plural(it), &["DESCRIPTION:", "<empty>"])?;
    undefine(it.server, &of)
}

fn anything_goes(it: &Play<'_>, rest: &str) -> Result<()> {
    let good = text(it, "test-cr", rest);
    let made = format!("foo.{}/test-cr", it.group);
    it.case.prints_with("create -f -", &good, &format!("{made} created"))?;
    it.case.prints_with("delete -f -", &good, &format!("foo.{} \"test-cr\" deleted*", it.group))?;
    it.case.prints_with("apply -f -", &good, &format!("{made} created"))?;
    it.case.prints_with("apply --server-side -f - --force-conflicts", &good, &format!("{made} serverside-applied"))?;
    it.case.prints_with("delete -f -", &good, &format!("foo.{} \"test-cr\" deleted*", it.group))
}

/// Fields beside those that a schema names are preserved at the root.
pub fn open_at_the_root(it: &Play<'_>) -> Result<()> {
    let mut schema = foo();
    schema["x-kubernetes-preserve-unknown-fields"] = true.into();
    let of = one(it, &schema)?;
    let [_, third] = published(it, &it.group, "v1", "Foo", true)?;
    same(&third["properties"]["spec"], &schema["properties"]["spec"])?;
    anything_goes(it, "b: [{'c': 'd'}]\nspec: {bars: [{name: x}]}\n")?;
    explains(it, &plural(it), &["DESCRIPTION:", "Foo CRD for Testing"])?;
    undefine(it.server, &of)
}

/// And so they are within an object of the schema.
pub fn open_in_an_embedded_object(it: &Play<'_>) -> Result<()> {
    let open = json!({"description": "Specification of Waldo", "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-embedded-resource": true, "properties": {"dummy": {"description": "Dummy property.", "type": "object"}}});
    let status = json!({"description": "Status of Waldo", "type": "object", "properties": {"bars": {
        "description": "List of Bars and their statuses.", "type": "array", "items": {"type": "string"}}}});
    let schema = json!({"description": "preserve-unknown-properties in nested field for Testing", "type": "object",
        "properties": {"spec": open, "status": status}});
    let of = one(it, &schema)?;
    published(it, &it.group, "v1", "Foo", true)?;
    anything_goes(it, "spec: {apiVersion: v1, kind: Some, metadata: {name: some}, a: null, b: [{'c': d}]}\n")?;
    explains(it, &plural(it), &["preserve-unknown-properties in nested field for Testing", "Specification of Waldo"])?;
    explains(it, &format!("{}.spec", plural(it)), &["Specification of Waldo", "dummy", "Dummy property."])?;
    undefine(it.server, &of)
}

/// Two groups, each with a kind of the same name.
pub fn of_several_groups(it: &Play<'_>) -> Result<()> {
    let groups = [format!("empty.{}", it.group), format!("full.{}", it.group)];
    let all: Vec<Value> =
        groups.iter().map(|group| definition("foos", "Foo", group, json!([version("v1", true, &foo())]))).collect();
    for (of, group) in all.iter().zip(&groups) {
        define(it.server, of)?;
        published(it, group, "v1", "Foo", true)?;
    }
    published(it, &groups[0], "v1", "Foo", true)?;
    undefine(it.server, &all[0])?;
    published(it, &groups[0], "v1", "Foo", false)?;
    published(it, &groups[1], "v1", "Foo", true)?;
    undefine(it.server, &all[1])
}

/// Versions of one definition, and of two in the same group.
pub fn of_several_versions(it: &Play<'_>) -> Result<()> {
    let versions = json!([version("v2", true, &foo()), version("v3", false, &foo())]);
    let several = definition(&format!("{}-multis", it.case.namespace), "Multi", &it.group, versions);
    let other = definition("others", "Other", &it.group, json!([version("v4", true, &foo())]));
    for of in [&several, &other] {
        define(it.server, of)?;
    }
    for (version, kind) in [("v2", "Multi"), ("v3", "Multi"), ("v4", "Other")] {
        published(it, &it.group, version, kind, true)?;
    }
    let [second, third] = schemas(it, &it.group, "v4", "Multi")?;
    ensure!(second.is_null() && third.is_null(), "it has no such version");
    explains(
        it,
        &format!("{}-multis --api-version={}/v3", it.case.namespace, it.group),
        &["VERSION:", "v3", "Foo CRD for Testing"],
    )?;
    undefine(it.server, &several)?;
    undefine(it.server, &other)
}

/// Two kinds of the same group and version.
pub fn of_several_kinds(it: &Play<'_>) -> Result<()> {
    let all = ["one", "two"].map(|name| {
        let kind = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        (definition(&format!("{name}s"), &kind, &it.group, json!([version("v1", true, &foo())])), kind)
    });
    for (of, _) in &all {
        define(it.server, of)?;
    }
    for (_, kind) in &all {
        published(it, &it.group, "v1", kind, true)?;
    }
    for (of, _) in &all {
        undefine(it.server, of)?;
    }
    published(it, &it.group, "v1", "Two", false).map(drop)
}

/// A version that gets another name is described under that, and not under the old one.
pub fn a_version_is_renamed(it: &Play<'_>) -> Result<()> {
    let versions = json!([version("v2", true, &foo()), version("v3", false, &foo())]);
    let of = definition(&format!("{}-multis", it.case.namespace), "Multi", &it.group, versions);
    define(it.server, &of)?;
    published(it, &it.group, "v3", "Multi", true)?;
    let patch = json!([{"op": "test", "path": "/spec/versions/1/name", "value": "v3"},
        {"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]);
    expect(&it.patch(&path(&of), "json-patch+json", &patch.to_string())?, 200)?;
    published(it, &it.group, "v4", "Multi", true)?;
    published(it, &it.group, "v3", "Multi", false)?;
    published(it, &it.group, "v2", "Multi", true)?;
    expect(&it.server.send("GET", &objects(&of, "v3", "x"), &Value::Null)?, 404)?;
    undefine(it.server, &of)
}

/// A version that is not served any more is not described either; the other stays as it was.
pub fn a_version_is_not_served_any_more(it: &Play<'_>) -> Result<()> {
    let versions = json!([version("v1", true, &foo()), version("v2", false, &foo())]);
    let of = definition(&format!("{}-multis", it.case.namespace), "Multi", &it.group, versions);
    define(it.server, &of)?;
    let before = published(it, &it.group, "v1", "Multi", true)?;
    published(it, &it.group, "v2", "Multi", true)?;
    let patch = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    expect(&it.patch(&path(&of), "json-patch+json", &patch.to_string())?, 200)?;
    published(it, &it.group, "v2", "Multi", false)?;
    ensure!(schemas(it, &it.group, "v1", "Multi")? == before, "the other version is as it was");
    expect(&it.server.send("GET", &objects(&of, "v2", "x"), &Value::Null)?, 404)?;
    expect(&it.server.send("POST", &objects(&of, "v1", &it.case.namespace), &object(&of, "v1", "a"))?, 201)?;
    undefine(it.server, &of)
}
