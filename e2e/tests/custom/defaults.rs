//! Defaults of a schema: for what is sent, and for what was stored before there were any.

use anyhow::{Result, ensure};
use orlop_e2e::definition::{SERVED_LIMIT, define, definition, expect, object, objects, path, undefine, version};
use orlop_e2e::wait;
use serde_json::{Value, json};

use super::{Play, same};

fn schema(with_defaults: bool) -> Value {
    let text = |default: &str| {
        if with_defaults { json!({"type": "string", "default": default}) } else { json!({"type": "string"}) }
    };
    json!({"type": "object", "properties": {"a": text("A"), "b": text("B"), "c": {"type": "string", "default": "C"},
        "nested": {"type": "object", "properties": {"d": text("D")}}}})
}

/// As the conformance test does it: `a` and `b` have no default at first, then both, then `b` has none any more.
pub fn defaults(it: &Play<'_>) -> Result<()> {
    let of = definition("foos", "Foo", &it.group, json!([version("v1", true, &schema(false))]));
    define(it.server, &of)?;
    let here = objects(&of, "v1", &it.case.namespace);
    let mut first = object(&of, "v1", "foo1");
    first["a"] = "mine".into();
    first["nested"] = json!({});
    let made = it.server.send("POST", &here, &first)?;
    expect(&made, 201)?;
    ensure!(made.json["b"].is_null() && made.json["c"] == "C", "{}", made.text);
    same(&made.json["nested"], &json!({}))?;

    let mut patch =
        json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": schema(true)}]);
    expect(&it.patch(&path(&of), "json-patch+json", &patch.to_string())?, 200)?;
    // What was stored without them has them when it is read, in lists, too.
    wait::until("defaults are filled in from storage", SERVED_LIMIT, || {
        let read = it.server.get(&format!("{here}/foo1"))?;
        same(&json!([read["a"], read["b"], read["nested"]["d"]]), &json!(["mine", "B", "D"]))
    })?;
    same(&it.server.get(&here)?["items"][0]["b"], &json!("B"))?;
    let sent = it.server.send("POST", &here, &object(&of, "v1", "foo2"))?;
    expect(&sent, 201)?;
    same(&json!([sent.json["a"], sent.json["b"], sent.json["nested"]]), &json!(["A", "B", null]))?;

    // Without a default, what was not written stays away, and what was filled in and stored stays.
    patch[0]["value"]["properties"]["b"] = json!({"type": "string"});
    expect(&it.patch(&path(&of), "json-patch+json", &patch.to_string())?, 200)?;
    wait::until("a default is gone", SERVED_LIMIT, || {
        let read = it.server.get(&format!("{here}/foo1"))?;
        ensure!(read["b"].is_null() && read["a"] == "mine", "{read}");
        Ok(())
    })?;
    same(&it.server.get(&format!("{here}/foo2"))?["b"], &json!("B"))?;
    let third = it.server.send("POST", &here, &object(&of, "v1", "foo3"))?;
    expect(&third, 201)?;
    same(&json!([third.json["a"], third.json["b"]]), &json!(["A", null]))?;
    undefine(it.server, &of)
}
