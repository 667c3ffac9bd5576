//! JSON merge patch (RFC 7386): fields replace fields, `null` removes, lists are replaced as a whole.

use serde_json::{Map, Value};

/// Changes `object` as `patch` says. Both are bounded in depth by the JSON parser.
pub fn apply(object: &mut Value, patch: Value) {
    let Value::Object(fields) = patch else {
        *object = patch;
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(target) = object else { return };
    for (name, value) in fields {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(_) => apply(target.entry(name).or_insert(Value::Null), value),
            other => {
                target.insert(name, other);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn check(object: Value, patch: Value, expected: Value) {
        let mut got = object;
        apply(&mut got, patch);
        assert_eq!(got, expected);
    }

    #[test]
    fn follows_the_examples_of_the_rfc() {
        check(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}));
        check(json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"}));
        check(json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"}));
        check(json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}}));
        check(json!({"a": "foo"}), json!(null), json!(null));
        check(json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"}));
        check(json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}}));
    }

    /// Small JSON values, nulls within objects only if asked for.
    pub(crate) fn value(nulls: bool) -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..3).prop_map(Value::from),
            "[a-b]".prop_map(Value::from),
            Just(if nulls { Value::Null } else { Value::from(7) }),
        ];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone().prop_filter("no null in lists", |it| !it.is_null()), 0..3)
                    .prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..3).prop_map(|it| it.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn twice_is_once_and_itself_is_nothing(object in value(false), patch in value(true)) {
            let mut once = object.clone();
            apply(&mut once, patch.clone());
            let mut twice = once.clone();
            apply(&mut twice, patch);
            prop_assert_eq!(&twice, &once);
            let mut same = object.clone();
            apply(&mut same, object.clone());
            prop_assert_eq!(same, object);
        }
    }
}
