//! Tables of what Kubernetes says of schemas and of objects.

use serde_json::{Value, json};

use super::Schema;
use crate::field::{Errors, Path};

mod rules;

fn texts(errors: &Errors) -> Vec<String> {
    errors.list().iter().map(ToString::to_string).collect()
}

fn parse(schema: &Value) -> Result<Schema, Errors> {
    Schema::parse(schema, &Path::new("s"), false)
}

/// A schema whose objects have one field `x`.
fn of_field(field: Value) -> Value {
    json!({"type": "object", "properties": {"x": field}})
}

fn check_schema(schema: Value, expected: &[&str]) {
    let found = parse(&schema).err().unwrap_or_default();
    assert_eq!(texts(&found), expected, "{schema}");
}

fn check_object(field: Value, value: Value, expected: &[&str]) {
    check_change(field, value, None, expected);
}

fn check_change(field: Value, value: Value, old: Option<Value>, expected: &[&str]) {
    let schema = parse(&of_field(field.clone())).unwrap_or_else(|errors| panic!("{field}: {:?}", texts(&errors)));
    let mut errors = Errors::default();
    let old = old.map(|old| json!({"x": old}));
    schema.validate(&json!({"x": value}), old.as_ref(), &mut errors);
    assert_eq!(texts(&errors), expected, "{field} on {value}");
}

#[test]
fn schemas_have_to_be_structural() {
    check_schema(json!({}), &["s.type: Required value: must not be empty at the root"]);
    check_schema(json!({"type": "string"}), &["s.type: Invalid value: \"string\": must be object at the root"]);
    check_schema(
        of_field(json!({})),
        &["s.properties[x].type: Required value: must not be empty for specified object fields"],
    );
    check_schema(
        of_field(json!({"type": "array", "items": {}})),
        &["s.properties[x].items.type: Required value: must not be empty for specified array items"],
    );
    check_schema(of_field(json!({"type": "array"})), &["s.properties[x].items: Required value: must be specified"]);
    check_schema(
        of_field(json!({"type": "string", "anyOf": [{"type": "string", "description": "d"}]})),
        &[
            "s.properties[x].anyOf[0].description: Forbidden: must be empty to be structural",
            "s.properties[x].anyOf[0].type: Forbidden: must be empty to be structural",
        ],
    );
    check_schema(
        of_field(json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})),
        &[],
    );
    check_schema(
        of_field(json!({"x-kubernetes-int-or-string": true,
            "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "^a"}]})),
        &[],
    );
    check_schema(
        json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
        &[
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ],
    );
    check_schema(
        json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}}}}),
        &[],
    );
    check_schema(
        json!({"type": "object", "anyOf": [{"required": ["y"], "properties": {"y": {"minLength": 1}}}]}),
        &["s.properties[y]: Required value: because it is defined in s.anyOf[0].properties[y]"],
    );
    check_schema(
        of_field(json!({"type": "string", "pattern": "("})),
        &[
            "s.properties[x].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`",
        ],
    );
    check_schema(
        json!({"type": "object", "additionalProperties": {"type": "string"}}),
        &["s.additionalProperties: Forbidden: must not be used at the root"],
    );
    check_schema(
        of_field(json!({"type": "object", "x-kubernetes-embedded-resource": true})),
        &[
            "s.properties[x].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ],
    );
    check_schema(
        of_field(json!({"type": "string", "not": {"properties": {"metadata": {}}}})),
        &["s.properties[x].not.properties[metadata]: Forbidden: must not be specified in a nested context"],
    );
}

#[test]
fn keywords_and_extensions_are_checked() {
    let at = |rest: &str| format!("s.properties[x]{rest}");
    let check = |field: Value, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|it| at(it)).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check_schema(of_field(field), &expected);
    };
    check(json!({"type": "string", "id": "a"}), &[".id: Forbidden: id is not supported"]);
    check(json!({"type": "string", "$ref": "a"}), &[".$ref: Forbidden: $ref is not supported"]);
    check(
        json!({"type": "object", "patternProperties": {"a": {}}}),
        &[".patternProperties: Forbidden: patternProperties is not supported"],
    );
    check(
        json!({"type": "strin"}),
        &[
            ".type: Unsupported value: \"strin\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ],
    );
    check(
        json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
        &[".uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
        &[".additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"],
    );
    check(
        json!({"type": "string", "x-kubernetes-list-type": "set"}),
        &[".type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified"],
    );
    check(
        json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "bag"}),
        &[".x-kubernetes-list-type: Unsupported value: \"bag\": supported values: \"atomic\", \"set\", \"map\""],
    );
    check(
        json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"}),
        &[
            ".items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
        ],
    );
    check(
        json!({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}, "x-kubernetes-list-type": "map"}),
        &[".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"],
    );
    check(
        json!({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}),
        &[
            ".items.properties[n].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ],
    );
    check(
        json!({"type": "array", "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}}},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n", "m"]}),
        &[".x-kubernetes-list-map-keys: Invalid value: [\"n\",\"m\"]: entries must all be names of item properties"],
    );
    check(
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
        &[".x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"],
    );
    check(
        json!({"type": "string", "x-kubernetes-validations": [{"rule": " "}]}),
        &[".x-kubernetes-validations[0].rule: Required value: rule is not specified"],
    );
    check(
        json!({"type": "string", "default": 5}),
        &[".default: Invalid value: \"integer\":  in body must be of type string: \"integer\""],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "default": {"b": 1}}),
        &[".default: Invalid value: {\"b\":1}: must not have unknown fields"],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "default": {"a": 1}}),
        &[".default.a: Invalid value: \"integer\": a in body must be of type string: \"integer\""],
    );
    let root = json!({"type": "object", "properties": {"kind": {"type": "string", "default": "K"}}});
    check_schema(root, &["s.properties[kind].default: Forbidden: must not be set in top-level kind"]);
    let with_status = Schema::parse(&json!({"type": "object", "oneOf": [{"required": ["a"]}]}), &Path::new("s"), true);
    assert!(
        texts(&with_status.unwrap_err())[0]
            .contains("fields are allowed at the root of the schema if the status subresource is enabled")
    );
}

#[test]
fn values_are_judged_in_kubernetes_words() {
    check_object(
        json!({"type": "string"}),
        json!(1),
        &["x: Invalid value: \"integer\": x in body must be of type string: \"integer\""],
    );
    check_object(
        json!({"type": "integer"}),
        json!("a"),
        &["x: Invalid value: \"string\": x in body must be of type integer: \"string\""],
    );
    check_object(
        json!({"type": "integer"}),
        json!(1.5),
        &["x: Invalid value: \"number\": x in body must be of type integer: \"number\""],
    );
    check_object(json!({"type": "integer"}), json!(1.0), &[]);
    check_object(json!({"type": "number"}), json!(1), &[]);
    check_object(
        json!({"type": "integer", "format": "int32"}),
        json!(true),
        &["x: Invalid value: \"\": x in body must be of type int32: \"\""],
    );
    check_object(
        json!({"type": "boolean"}),
        json!({}),
        &["x: Invalid value: \"object\": x in body must be of type boolean: \"object\""],
    );
    check_object(
        json!({"type": "string"}),
        json!(null),
        &["x: Invalid value: \"null\": x in body must be of type string: \"null\""],
    );
    check_object(json!({"type": "string", "nullable": true}), json!(null), &[]);
    check_object(
        json!({"x-kubernetes-int-or-string": true}),
        json!(true),
        &["x: Invalid value: \"boolean\": x in body must be of type integer,string: \"boolean\""],
    );
    check_object(json!({"x-kubernetes-int-or-string": true}), json!("10%"), &[]);
    check_object(
        json!({"type": "string", "enum": ["a", "b"]}),
        json!("c"),
        &["x: Unsupported value: \"c\": supported values: \"a\", \"b\""],
    );
    check_object(
        json!({"type": "string", "maxLength": 2}),
        json!("äöü"),
        &["x: Too long: may not be more than 2 bytes"],
    );
    check_object(
        json!({"type": "string", "minLength": 2}),
        json!("a"),
        &["x: Invalid value: \"a\": x in body should be at least 2 chars long"],
    );
    check_object(
        json!({"type": "string", "pattern": "^a+$"}),
        json!("b"),
        &["x: Invalid value: \"b\": x in body should match '^a+$'"],
    );
    check_object(
        json!({"type": "string", "format": "date-time"}),
        json!("b"),
        &["x: Invalid value: \"b\": x in body must be of type date-time: \"b\""],
    );
    check_object(
        json!({"type": "integer", "maximum": 5}),
        json!(6),
        &["x: Invalid value: 6: x in body should be less than or equal to 5"],
    );
    check_object(
        json!({"type": "integer", "maximum": 5, "exclusiveMaximum": true}),
        json!(5),
        &["x: Invalid value: 5: x in body should be less than 5"],
    );
    check_object(
        json!({"type": "number", "minimum": 0.5}),
        json!(0.25),
        &["x: Invalid value: 0.25: x in body should be greater than or equal to 0.5"],
    );
    check_object(
        json!({"type": "integer", "multipleOf": 5}),
        json!(6),
        &["x: Invalid value: 6: x in body should be a multiple of 5"],
    );
    let list = |more: Value| {
        let mut schema = json!({"type": "array", "items": {"type": "integer"}});
        schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        schema
    };
    check_object(list(json!({"maxItems": 1})), json!([1, 2]), &["x: Too many: 2: must have at most 1 item"]);
    check_object(
        list(json!({"minItems": 1})),
        json!([]),
        &["x: Invalid value: 0: x in body should have at least 1 items"],
    );
    check_object(
        list(json!({})),
        json!([1, "a"]),
        &["x[1]: Invalid value: \"string\": x[1] in body must be of type integer: \"string\""],
    );
    check_object(list(json!({"x-kubernetes-list-type": "set"})), json!([1, 2, 1]), &["x[2]: Duplicate value: 1"]);
    let object = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}});
    check_object(object, json!({}), &["x.a: Required value"]);
    check_object(
        json!({"type": "object", "additionalProperties": {"type": "integer"}}),
        json!({"k": "a"}),
        &["x.k: Invalid value: \"string\": x.k in body must be of type integer: \"string\""],
    );
    check_object(
        json!({"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1}),
        json!({"a": 1, "b": 1}),
        &["x: Too many: 2: must have at most 1 item"],
    );
    check_object(
        json!({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1}),
        json!({}),
        &["x: Invalid value: 0: x in body should have at least 1 properties"],
    );
    check_object(
        json!({"type": "string", "oneOf": [{"pattern": "a"}, {"pattern": "b"}]}),
        json!("ab"),
        &[
            "<nil>: Invalid value: \"\": \"x\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ],
    );
    check_object(
        json!({"type": "string", "anyOf": [{"pattern": "a"}, {"pattern": "b"}]}),
        json!("c"),
        &[
            "<nil>: Invalid value: \"\": \"x\" must validate at least one schema (anyOf)",
            "x: Invalid value: \"c\": x in body should match 'a'",
        ],
    );
    check_object(
        json!({"type": "string", "allOf": [{"pattern": "a"}]}),
        json!("c"),
        &[
            "x: Invalid value: \"c\": x in body should match 'a'",
            "<nil>: Invalid value: \"\": \"x\" must validate all the schemas (allOf). None validated",
        ],
    );
    check_object(
        json!({"type": "string", "not": {"pattern": "a"}}),
        json!("a"),
        &["<nil>: Invalid value: \"\": \"x\" must not validate the schema (not)"],
    );
}

fn map_list() -> Value {
    json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": {
        "type": "object", "required": ["n"], "properties": {"n": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}})
}

#[test]
fn elements_of_map_lists_stand_once() {
    check_object(map_list(), json!([{"n": "a"}, {"n": "b"}, {"n": "a"}]), &["x[2]: Duplicate value: {\"n\":\"a\"}"]);
    check_object(map_list(), json!([{"n": "a"}, {"n": "b"}]), &[]);
    check_change(map_list(), json!([{"n": "a"}, {"n": "a"}]), Some(json!([{"n": "a"}, {"n": "a"}])), &[]);
}

#[test]
fn what_has_not_changed_is_not_judged_again() {
    let short = json!({"type": "string", "maxLength": 1});
    check_change(short.clone(), json!("abc"), Some(json!("abc")), &[]);
    check_change(short, json!("abc"), Some(json!("abd")), &["x: Too long: may not be more than 1 byte"]);
    // Elements are found by their keys, wherever they stand.
    let old = json!([{"n": "a", "v": "long"}, {"n": "b", "v": "b"}]);
    check_change(map_list(), json!([{"n": "b", "v": "c"}, {"n": "a", "v": "long"}]), Some(old.clone()), &[]);
    check_change(
        map_list(),
        json!([{"n": "b", "v": "long"}, {"n": "a", "v": "long"}]),
        Some(old),
        &["x[0].v: Too long: may not be more than 1 byte"],
    );
    // Elements of lists without keys are those of a list that is judged as a whole.
    let plain = json!({"type": "array", "items": {"type": "string", "maxLength": 1}});
    check_change(
        plain.clone(),
        json!(["long", "a"]),
        Some(json!(["long"])),
        &["x[0]: Too long: may not be more than 1 byte"],
    );
    check_change(plain, json!(["long"]), Some(json!(["long"])), &[]);
}

#[test]
fn unknown_fields_are_dropped() {
    let schema = parse(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "a": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"s": {"type": "object"}}},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        }},
    }}))
    .unwrap();
    let mut object = json!({
        "apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "odd": 1}, "other": 1,
        "spec": {
            "a": "x", "b": "y", "list": [{"a": "x", "c": {}}], "map": {"k": {"a": "x", "d": 1}},
            "open": {"any": {"thing": 1}, "s": {"t": 1}},
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "spec": {"x": 1}},
        },
    });
    let removed = schema.prune(&mut object);
    assert_eq!(
        removed,
        ["other", "spec.b", "spec.list[0].c", "spec.map.k.d", "spec.open.s.t", "spec.pod.metadata.odd"]
    );
    let expected = json!({
        "apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "odd": 1},
        "spec": {
            "a": "x", "list": [{"a": "x"}], "map": {"k": {"a": "x"}}, "open": {"any": {"thing": 1}, "s": {}},
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"x": 1}},
        },
    });
    assert_eq!(object, expected);
    assert!(schema.prune(&mut object).is_empty());
}

#[test]
fn defaults_are_filled_in() {
    let schema = parse(&json!({"type": "object", "properties": {"spec": {"type": "object", "default": {}, "properties": {
        "a": {"type": "string", "default": "x"},
        "b": {"type": "string"},
        "c": {"type": "string", "nullable": true, "default": "y"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"d": {"type": "integer", "default": 3}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"d": {"type": "integer", "default": 3}}}},
    }}}}))
    .unwrap();
    let check = |object: Value, expected: Value| {
        let mut found = object.clone();
        schema.default(&mut found);
        assert_eq!(found, expected, "{object}");
    };
    check(json!({}), json!({"spec": {"a": "x", "c": "y"}}));
    check(json!({"spec": {"a": null, "b": null, "c": null}}), json!({"spec": {"a": "x", "c": null}}));
    check(
        json!({"spec": {"a": "1", "c": "2", "list": [{}, {"d": 1}], "map": {"k": {}}}}),
        json!({"spec": {"a": "1", "c": "2", "list": [{"d": 3}, {"d": 1}], "map": {"k": {"d": 3}}}}),
    );
}

#[test]
fn embedded_resources_have_heads() {
    let field =
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    check_object(field.clone(), json!({"kind": "Pod"}), &["x.apiVersion: Required value"]);
    check_object(
        field.clone(),
        json!({"apiVersion": "a/b/c", "kind": "Pod"}),
        &["x.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"],
    );
    let metadata = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a b": "c"}}});
    let schema = parse(&of_field(field)).unwrap();
    let mut errors = Errors::default();
    schema.validate(&json!({"x": metadata}), None, &mut errors);
    assert!(texts(&errors)[0].starts_with("x.metadata.labels: Invalid value: \"a b\""), "{errors:?}");
}

#[test]
fn schemas_are_small() {
    let fields: serde_json::Map<String, Value> = (0..100)
        .map(|it| (format!("field{it}"), json!({"type": "string", "description": "A field.", "maxLength": 64})))
        .collect();
    let schema =
        parse(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}})).unwrap();
    assert!(schema.size_bytes() < 64 << 10, "{}", schema.size_bytes());
}

#[test]
fn a_value_of_many_mistakes_is_answered_shortly() {
    let schema = parse(&of_field(json!({"type": "array", "items": {"type": "string"}}))).unwrap();
    let mut errors = Errors::default();
    schema.validate(&json!({"x": vec![1; 1_000_000]}), None, &mut errors);
    assert_eq!(errors.len(), super::judge::MISTAKES_LIMIT);
}

#[test]
fn formats_that_mean_nothing_are_warned_of() {
    let schema = json!({"properties": {"a": {"type": "string", "format": "date-time"}, "b": {"type": "string", "format": "int32"},
        "c": {"type": "array", "items": {"type": "string", "format": "int32"}}, "d": {"type": "integer", "format": "int32"}}});
    assert_eq!(Schema::warnings(&schema), ["unrecognized format \"int32\""]);
}
