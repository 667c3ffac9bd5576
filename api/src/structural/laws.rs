//! Laws that hold for every schema and every value, on ones drawn at random.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::Schema;
use crate::cel::{Budget, Environment, Program, REQUEST_COST_BUDGET, Val, types::Type};
use crate::field::{Errors, Path};

/// Few names, so that values and schemas meet.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "d-e", "f.g"]).prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-5i64..15).prop_map(Value::from),
        (-5.0..15.0).prop_map(|it: f64| Value::from((it * 4.0).round() / 4.0)),
        "[a-c]{0,4}".prop_map(Value::from),
        Just(json!("2024-02-03T04:05:06Z")),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..4).prop_map(|it| Value::Object(it.into_iter().collect())),
        ]
    })
}

/// A schema with a value that fits it.
type Fitting = (Value, Value);

fn leaf() -> impl Strategy<Value = Fitting> {
    prop_oneof![
        (0u64..3, 3u64..9)
            .prop_map(|(least, most)| (json!({"type": "string", "minLength": least, "maxLength": most}), json!("abc"))),
        Just((json!({"type": "string", "pattern": "^[a-c]*$"}), json!("cab"))),
        Just((json!({"type": "string", "enum": ["a", "b"]}), json!("b"))),
        Just((json!({"type": "string", "format": "date-time"}), json!("2024-02-03T04:05:06Z"))),
        (-5i64..0, 5i64..20)
            .prop_map(|(least, most)| (json!({"type": "integer", "minimum": least, "maximum": most}), json!(3))),
        Just((json!({"type": "number", "multipleOf": 0.5}), json!(1.5))),
        Just((json!({"type": "boolean"}), json!(true))),
        Just((json!({"x-kubernetes-int-or-string": true}), json!("10%"))),
        Just((json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}), json!({"any": [{"thing": 1}]}))),
        Just((json!({"type": "integer", "anyOf": [{"minimum": 10}, {"maximum": 5}]}), json!(4))),
    ]
}

fn with(schema: &mut Value, key: &str, value: Value) {
    if let Some(fields) = schema.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

/// Structural schemas, some fields of which have defaults, are required or may be null.
fn schema() -> impl Strategy<Value = Fitting> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        let field = (inner.clone(), any::<bool>(), any::<bool>(), any::<bool>());
        let object = prop::collection::btree_map(name(), field, 1..4).prop_map(|fields| {
            let (mut properties, mut required, mut fitting) = (Map::new(), Vec::new(), Map::new());
            for (name, ((mut schema, value), has_default, is_required, is_nullable)) in fields {
                if has_default {
                    with(&mut schema, "default", value.clone());
                }
                if is_nullable {
                    with(&mut schema, "nullable", true.into());
                }
                if is_required {
                    required.push(Value::from(name.clone()));
                }
                properties.insert(name.clone(), schema);
                fitting.insert(name, value);
            }
            (json!({"type": "object", "properties": properties, "required": required}), Value::Object(fitting))
        });
        let list = (inner.clone(), 0usize..3).prop_map(|((of, value), count)| {
            (json!({"type": "array", "items": of, "maxItems": 3}), vec![value; count].into())
        });
        let map = inner.prop_map(|(of, value)| {
            (
                json!({"type": "object", "additionalProperties": of, "maxProperties": 4}),
                json!({"a": value.clone(), "z": value}),
            )
        });
        prop_oneof![3 => object, 1 => list, 1 => map]
    })
}

/// The schema of an object with this field.
fn of_field(field: Value) -> Value {
    json!({"type": "object", "properties": {"x": field}})
}

fn mistakes(schema: &Schema, value: &Value) -> Vec<String> {
    let mut errors = Errors::default();
    schema.validate(value, None, &mut errors);
    errors.list().iter().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn drawn_schemas_are_structural_and_their_values_fit((field, fitting) in schema()) {
        let source = of_field(field);
        let schema = Schema::parse(&source, &Path::new("s"), false).map_err(|it| TestCaseError::fail(format!("{it:?}")))?;
        let mut object = json!({"x": fitting});
        prop_assert_eq!(mistakes(&schema, &object), Vec::<String>::new());
        let removed = schema.prune(&mut object);
        prop_assert_eq!(removed, Vec::<String>::new());
        schema.default(&mut object);
        prop_assert_eq!(mistakes(&schema, &object), Vec::<String>::new());
    }

    #[test]
    fn pruning_twice_is_pruning_once((field, _) in schema(), value in value()) {
        let schema = Schema::stored(&of_field(field));
        let mut object = json!({"x": value, "other": 1});
        schema.prune(&mut object);
        let once = object.clone();
        prop_assert!(schema.prune(&mut object).is_empty());
        prop_assert_eq!(object, once);
    }

    #[test]
    fn defaulting_twice_is_defaulting_once((field, _) in schema(), value in value()) {
        let schema = Schema::stored(&of_field(field));
        let mut object = json!({"x": value});
        schema.prune(&mut object);
        schema.default(&mut object);
        let once = object.clone();
        schema.default(&mut object);
        prop_assert_eq!(&object, &once);
        prop_assert!(schema.prune(&mut object).is_empty());
        prop_assert_eq!(object, once);
    }

    #[test]
    fn what_fits_still_fits_when_pruned_and_defaulted((field, _) in schema(), value in value()) {
        let schema = Schema::stored(&of_field(field));
        let mut object = json!({"x": value});
        if mistakes(&schema, &object).is_empty() {
            schema.prune(&mut object);
            schema.default(&mut object);
            prop_assert_eq!(mistakes(&schema, &object), Vec::<String>::new());
        }
    }

    #[test]
    fn what_has_not_changed_is_never_refused((field, _) in schema(), value in value()) {
        let schema = Schema::stored(&of_field(field));
        let object = json!({"x": value});
        let mut errors = Errors::default();
        schema.validate(&object, Some(&object), &mut errors);
        prop_assert!(errors.is_empty(), "{:?}", errors);
    }

    #[test]
    fn no_schema_and_no_value_is_too_odd(words in prop::collection::btree_map(keyword(), value(), 0..6), value in value()) {
        let source = of_field(Value::Object(words.into_iter().collect()));
        let _ = Schema::parse(&source, &Path::new("s"), true);
        let schema = Schema::stored(&source);
        let mut object = json!({"x": value});
        let _ = mistakes(&schema, &object);
        schema.prune(&mut object);
        schema.default(&mut object);
        let _ = mistakes(&schema, &object);
    }

    #[test]
    fn no_expression_is_too_odd(words in prop::collection::vec(word(), 0..14), value in value()) {
        let text = words.join(" ");
        let environment = Environment::new().with("self", Type::Dyn);
        let Ok(program) = Program::compile(&text, &environment, &[]) else { return Ok(()) };
        let mut budget = Budget::new(REQUEST_COST_BUDGET);
        let _ = program.evaluate(&vec![("self", Val::of(&value, None))], &mut budget);
    }
}

fn keyword() -> impl Strategy<Value = String> {
    let words = vec![
        "type",
        "items",
        "properties",
        "additionalProperties",
        "enum",
        "default",
        "required",
        "pattern",
        "format",
        "maximum",
        "minLength",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "nullable",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
    ];
    prop::sample::select(words).prop_map(str::to_owned)
}

fn word() -> impl Strategy<Value = String> {
    let words = vec![
        "self",
        ".",
        "a",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "1",
        "2.5",
        "'x'",
        "b'y'",
        "+",
        "-",
        "*",
        "/",
        "%",
        "==",
        "<",
        "in",
        "&&",
        "||",
        "!",
        "?",
        ":",
        ",",
        "has(self.a)",
        "self.all(x, x == 1)",
        "self.map(x, x)",
        ".size()",
        "size(self)",
        ".matches('a')",
        "true",
        "null",
        "quantity('1')",
        "optional.of(1)",
        ".orValue(2)",
        "type(self)",
        "duration('1h')",
        "string(self)",
        "int(self)",
        ".?a",
        "[?0]",
    ];
    prop::sample::select(words).prop_map(str::to_owned)
}
