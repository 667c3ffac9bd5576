//! Field validation of custom objects by the server, as the conformance tests ask for it, and by kubectl.

use anyhow::{Result, ensure};
use orlop_e2e::definition::{anything, define, definition, expect, objects, refused, undefine, version};
use serde_json::{Value, json};

use super::Play;

/// The schema of the conformance tests; `open` lets unknown fields of the spec in.
fn schema(open: bool, more: Value) -> Value {
    let number = json!({"type": "integer", "format": "int32"});
    let text = json!({"type": "string"});
    let mut spec = json!({"type": "object", "properties": {
        "foo": text,
        "cronSpec": {"type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            "items": {"type": "object", "required": ["containerPort", "protocol"], "properties": {
                "containerPort": number, "hostIP": text, "hostPort": number, "name": text, "protocol": text}}},
    }});
    if open {
        spec["x-kubernetes-preserve-unknown-fields"] = true.into();
    }
    for (name, of) in more.as_object().into_iter().flatten() {
        spec["properties"][name] = of.clone();
    }
    json!({"type": "object", "properties": {"spec": spec}})
}

fn defined(it: &Play<'_>, schema: &Value) -> Result<Value> {
    let of = definition("noxus", "Noxu", &it.group, json!([version("v1beta1", true, schema)]));
    define(it.server, &of)?;
    Ok(of)
}

/// A manifest, with these lines within metadata, at the root and in the spec.
fn manifest(it: &Play<'_>, metadata: &str, root: &str, spec: &str) -> String {
    format!(
        "apiVersion: {}/v1beta1\nkind: Noxu\nmetadata:\n  name: mytest\n{metadata}{root}spec:\n{spec}  cronSpec: \"* * * * */5\"\n  ports:\n  - name: x\n    containerPort: 80\n    protocol: TCP\n",
        it.group
    )
}

/// The path to which the manifest is applied, as strictly as that.
fn place(it: &Play<'_>, of: &Value, strictness: &str) -> String {
    let here = objects(of, "v1beta1", &it.case.namespace);
    format!("{here}/mytest?fieldManager=field_validation_mgr&fieldValidation={strictness}")
}

/// What fits its schema is taken, strictly.
pub fn valid(it: &Play<'_>) -> Result<()> {
    let of = defined(it, &schema(false, json!({})))?;
    let text = manifest(it, "", "", "  foo: foo1\n");
    expect(&it.patch(&place(it, &of, "Strict"), "apply-patch+yaml", &text)?, 201)?;
    expect(&it.patch(&place(it, &of, "Strict"), "apply-patch+yaml", &text)?, 200)?;
    let wrong = text.replace("* * * * */5", "never");
    refused(
        &it.patch(&place(it, &of, "Strict"), "apply-patch+yaml", &wrong)?,
        422,
        "spec.cronSpec: Invalid value: \"never\": spec.cronSpec in body should match '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$'",
    )?;
    undefine(it.server, &of)
}

/// Without a schema everything is known.
pub fn unknown_fields_without_a_schema(it: &Play<'_>) -> Result<()> {
    let of = defined(it, &anything())?;
    let text = manifest(it, "  finalizers: []\n", "", "  unknown: uk1\n");
    expect(&it.patch(&place(it, &of, "Strict"), "apply-patch+yaml", &text)?, 201)?;
    let here = objects(&of, "v1beta1", &it.case.namespace);
    ensure!(it.server.get(&format!("{here}/mytest"))?["spec"]["unknown"] == "uk1", "it is kept");
    undefine(it.server, &of)
}

/// With a schema an apply of what it does not know is refused; a write is refused, warned about or not, as it wants.
pub fn unknown_fields_with_a_schema(it: &Play<'_>) -> Result<()> {
    let of = defined(it, &schema(false, json!({})))?;
    let text = manifest(it, "", "unknownField: unknown\n", "  foo: foo1\n");
    let applied = it.patch(&place(it, &of, "Strict"), "apply-patch+yaml", &text)?;
    refused(&applied, 400, ".unknownField: field not declared in schema")?;
    let here = objects(&of, "v1beta1", &it.case.namespace);
    let mut sent = json!({"apiVersion": format!("{}/v1beta1", it.group), "kind": "Noxu", "metadata": {"name": "sent"},
        "unknownField": 1, "spec": {"foo": "a", "unknown": 2}});
    let strict = it.server.send("POST", &format!("{here}?fieldValidation=Strict"), &sent)?;
    refused(&strict, 400, "strict decoding error: unknown field \"spec.unknown\", unknown field \"unknownField\"")?;
    let warned = it.server.send("POST", &format!("{here}?fieldValidation=Warn"), &sent)?;
    expect(&warned, 201)?;
    let expected = ["299 - \"unknown field \\\"spec.unknown\\\"\"", "299 - \"unknown field \\\"unknownField\\\"\""];
    ensure!(warned.warnings == expected, "{:?}", warned.warnings);
    ensure!(warned.json["unknownField"].is_null() && warned.json["spec"] == json!({"foo": "a"}), "{}", warned.text);
    sent["metadata"]["name"] = "ignored".into();
    let ignored = it.server.send("POST", &format!("{here}?fieldValidation=Ignore"), &sent)?;
    expect(&ignored, 201)?;
    ensure!(ignored.warnings.is_empty(), "{:?}", ignored.warnings);
    refused(
        &it.server.send("POST", &format!("{here}?fieldValidation=Perhaps"), &sent)?,
        422,
        "fieldValidation: Unsupported value: \"Perhaps\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
    )?;
    undefine(it.server, &of)
}

/// Metadata is known whatever a schema preserves: the object's own, and that of objects embedded in it.
pub fn unknown_metadata(it: &Play<'_>) -> Result<()> {
    let template = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}}, "spec": {"type": "object"}}});
    let of = defined(it, &schema(true, json!({"template": template})))?;
    let spec = "  template:\n    apiVersion: foo/v1\n    kind: Sub\n    metadata:\n      unknownSubMeta: unknown\n      name: subobject\n  foo: foo1\n";
    let text = manifest(it, "  unknownMeta: unknown\n", "", spec);
    let applied = it.patch(&place(it, &of, "Strict"), "apply-patch+yaml", &text)?;
    expect(&applied, 400)?;
    let told = [
        ".spec.template.metadata.unknownSubMeta: field not declared in schema",
        ".metadata.unknownMeta: field not declared in schema",
    ];
    ensure!(told.iter().any(|it| applied.text.contains(it)), "{}", applied.text);
    let here = objects(&of, "v1beta1", &it.case.namespace);
    let sent = json!({"apiVersion": format!("{}/v1beta1", it.group), "kind": "Noxu", "metadata": {"name": "sent", "unknownMeta": 1},
        "spec": {"template": {"apiVersion": "foo/v1", "kind": "Sub", "metadata": {"name": "s", "unknownSubMeta": 1}}}});
    let strict = it.server.send("POST", &format!("{here}?fieldValidation=Strict"), &sent)?;
    refused(&strict, 400, "unknown field \"metadata.unknownMeta\"")?;
    refused(&strict, 400, "unknown field \"spec.template.metadata.unknownSubMeta\"")?;
    undefine(it.server, &of)
}

/// A field that stands twice is a mistake even where all fields are preserved.
pub fn duplicates(it: &Play<'_>) -> Result<()> {
    let of = defined(it, &schema(true, json!({})))?;
    let text = manifest(it, "", "", "  unknown: uk1\n  foo: foo1\n  foo: foo2\n");
    let applied = it.patch(&place(it, &of, "Strict"), "apply-patch+yaml", &text)?;
    let told = "line 8: key \"foo\" already set in map";
    refused(
        &applied,
        400,
        &format!("error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {told}"),
    )?;
    let applied = it.patch(&place(it, &of, "Warn"), "apply-patch+yaml", &text)?;
    expect(&applied, 201)?;
    ensure!(
        applied.warnings.iter().any(|it| it.contains("line 8: key \\\"foo\\\" already set in map")),
        "{:?}",
        applied.warnings
    );
    ensure!(applied.json["spec"]["foo"] == "foo2", "the last one counts: {}", applied.text);
    let applied = it.patch(&place(it, &of, "Ignore"), "apply-patch+yaml", &text)?;
    expect(&applied, 200)?;
    ensure!(applied.warnings.is_empty(), "{:?}", applied.warnings);
    let here = objects(&of, "v1beta1", &it.case.namespace);
    let sent = format!(
        "{{\"apiVersion\":\"{}/v1beta1\",\"kind\":\"Noxu\",\"metadata\":{{\"name\":\"sent\"}},\"spec\":{{\"foo\":\"1\",\"foo\":\"2\",\"unknown\":3,\"unknown\":4}}}}",
        it.group
    );
    let strict = it.server.ask("POST", &format!("{here}?fieldValidation=Strict"), &sent)?;
    refused(&strict, 400, "strict decoding error: duplicate field \"spec.foo\"")?;
    refused(&strict, 400, "duplicate field \"spec.unknown\"")?;
    let warned = it.server.ask("POST", &here, &sent)?;
    expect(&warned, 201)?;
    ensure!(warned.warnings.iter().any(|it| it.contains("duplicate field \\\"spec.foo\\\"")), "{:?}", warned.warnings);
    ensure!(warned.json["spec"]["foo"] == "2", "the last one counts: {}", warned.text);
    undefine(it.server, &of)
}

/// kubectl hands its own flag on to the server.
pub fn by_kubectl(it: &Play<'_>) -> Result<()> {
    let of = defined(it, &schema(false, json!({})))?;
    let good = manifest(it, "", "", "  foo: foo1\n");
    let bad = manifest(it, "", "", "  foo: foo1\n  fooo: 1\n");
    it.case.prints_with("create -f -", &good, &format!("noxu.{}/mytest created", it.group))?;
    it.case.refused("apply -f -", &bad, "...\n*strict decoding error: unknown field \"spec.fooo\"")?;
    let warned = it.case.kubectl.output(&it.case.arguments("apply --validate=warn -f -"), &bad)?;
    ensure!(warned.code == 0, "{warned:?}");
    ensure!(warned.stderr.contains("Warning: unknown field \"spec.fooo\""), "{warned:?}");
    it.case.prints_with("apply --validate=false -f -", &bad, &format!("noxu.{}/mytest *", it.group))?;
    let wrong = good.replace("foo: foo1", "foo: 1");
    let why = "*spec.foo: Invalid value: \"integer\": spec.foo in body must be of type string: \"integer\"*";
    it.case.refused("create -f -", &wrong, why)?;
    undefine(it.server, &of)
}
