//! Rules of a schema (`x-kubernetes-validations`): objects and changes that do not satisfy them are refused, and so are rules that cannot be.

use anyhow::Result;
use orlop_e2e::definition::{DEFINITIONS, define, definition, expect, object, objects, refused, undefine, version};
use serde_json::{Value, json};

use super::Play;

/// The schema of the conformance tests with a rule over `spec`.
fn schema(rule: Value) -> Value {
    let number = json!({"type": "integer"});
    let list = json!({"type": "array", "items": {"type": "object", "properties": {"key": {"type": "string"}}}});
    json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-validations": [rule], "properties": {
        "x": number, "y": number, "extra": {"type": "string"}, "floatMap": {"type": "object", "additionalProperties": {"type": "number"}},
        "assocList": list, "limit": number}}}})
}

fn ruled(it: &Play<'_>, rule: Value) -> Value {
    definition("ruled", "Ruled", &it.group, json!([version("v1", true, &schema(rule))]))
}

fn with_spec(of: &Value, name: &str, spec: Value) -> Value {
    let mut made = object(of, "v1", name);
    made["spec"] = spec;
    made
}

/// What satisfies the rules gets in, what does not is told why.
pub fn objects_satisfy_rules(it: &Play<'_>) -> Result<()> {
    let of = ruled(it, json!({"rule": "self.x + self.y > 0", "message": "the sum must be positive"}));
    define(it.server, &of)?;
    let here = objects(&of, "v1", &it.case.namespace);
    expect(&it.server.send("POST", &here, &with_spec(&of, "good", json!({"x": 1, "y": 0, "limit": 123})))?, 201)?;
    let answer = it.server.send("POST", &here, &with_spec(&of, "bad", json!({"x": 0, "y": 0})))?;
    refused(&answer, 422, "Ruled.rules.example.com \"bad\" is invalid: spec: Invalid value: ")?;
    refused(&answer, 422, "the sum must be positive")?;
    let manifest =
        format!("apiVersion: {}/v1\nkind: Ruled\nmetadata: {{name: bad}}\nspec: {{x: -1, 'y': 1}}\n", it.group);
    it.case.refused(
        "create -f -",
        &manifest,
        "The Ruled \"bad\" is invalid: spec: Invalid value: *: the sum must be positive*",
    )?;
    undefine(it.server, &of)
}

/// A rule may compare with what was.
pub fn changes_satisfy_rules(it: &Play<'_>) -> Result<()> {
    let of = ruled(it, json!({"rule": "self.x >= oldSelf.x", "message": "x only grows"}));
    define(it.server, &of)?;
    let here = objects(&of, "v1", &it.case.namespace);
    let made = it.server.send("POST", &here, &with_spec(&of, "r", json!({"x": 10})))?;
    expect(&made, 201)?;
    let mut changed = made.json.clone();
    changed["spec"]["x"] = 9.into();
    refused(&it.server.send("PUT", &format!("{here}/r"), &changed)?, 422, "x only grows")?;
    it.case.refused(
        &format!("patch ruled.{} r --type=merge -p '{{\"spec\":{{\"x\":1}}}}'", it.group),
        "",
        "*The Ruled \"r\" is invalid: spec: Invalid value: *: x only grows*",
    )?;
    changed["spec"]["x"] = 11.into();
    expect(&it.server.send("PUT", &format!("{here}/r"), &changed)?, 200)?;
    undefine(it.server, &of)
}

/// A definition whose rule names no property, does not parse or costs too much is refused.
pub fn rules_that_cannot_be(it: &Play<'_>) -> Result<()> {
    for (rule, words) in [
        ("self.z == 42", "undefined field 'z'"),
        ("self = 42", "Syntax error: token recognition error at: '= '"),
        (
            "self.assocList.all(a, self.assocList.all(b, self.assocList.all(c, a.key != b.key || b.key != c.key)))",
            "estimated rule cost exceeds budget by factor of",
        ),
    ] {
        let answer = it.server.send("POST", DEFINITIONS, &ruled(it, json!({"rule": rule})))?;
        refused(&answer, 422, "openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: ")?;
        refused(&answer, 422, words)?;
    }
    Ok(())
}
