//! What rules in CEL say of objects, and what is said of rules.

use serde_json::{Value, json};

use super::{Schema, check_change, check_object, check_schema, map_list, of_field, parse, texts};
use crate::field::Errors;

#[test]
fn rules_are_evaluated() {
    let rule = |kind: &str, rule: Value| json!({"type": kind, "x-kubernetes-validations": [rule]});
    let number = |it: Value| rule("integer", it);
    check_object(number(json!({"rule": "self > 1"})), json!(2), &[]);
    check_object(
        number(json!({"rule": "self > 1"})),
        json!(1),
        &["x: Invalid value: \"integer\": failed rule: self > 1"],
    );
    check_object(
        number(json!({"rule": "self > 1", "message": "too low"})),
        json!(1),
        &["x: Invalid value: \"integer\": too low"],
    );
    let made = json!({"rule": "self > 1", "message": "m", "messageExpression": "'is ' + string(self)", "reason": "FieldValueForbidden"});
    check_object(number(made), json!(1), &["x: Forbidden: is 1"]);
    check_object(
        number(json!({"rule": "10 / self > 1"})),
        json!(0),
        &["x: Invalid value: \"integer\": division by zero evaluating rule: 10 / self > 1"],
    );
    let either = json!({"x-kubernetes-int-or-string": true, "x-kubernetes-validations": [{"rule": "self + 1 > 1"}]});
    check_object(
        either,
        json!("a"),
        &[
            "x: Invalid value: \"integer,string\": 'no such overload': call arguments did not match a supported operator, function or macro signature for rule: self + 1 > 1",
        ],
    );
    let object = json!({"type": "object", "properties": {"min": {"type": "integer"}, "max-value": {"type": "number"}},
        "x-kubernetes-validations": [{"rule": "self.min <= self.max__dash__value", "fieldPath": ".min"}]});
    check_object(
        object,
        json!({"min": 2, "max-value": 1}),
        &["x.min: Invalid value: \"object\": failed rule: self.min <= self.max__dash__value"],
    );
    let time = rule("string", json!({"rule": "self.getFullYear() > 2000"}));
    let mut time_of_day = time;
    time_of_day["format"] = "date-time".into();
    check_object(
        time_of_day,
        json!("1999-01-01T00:00:00Z"),
        &["x: Invalid value: \"string\": failed rule: self.getFullYear() > 2000"],
    );
}

#[test]
fn rules_may_speak_of_the_old_value() {
    let fixed =
        json!({"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]});
    check_change(fixed.clone(), json!("b"), None, &[]);
    check_change(fixed.clone(), json!("a"), Some(json!("a")), &[]);
    check_change(fixed, json!("b"), Some(json!("a")), &["x: Invalid value: \"string\": is immutable"]);
    let first = json!({"type": "string", "x-kubernetes-validations": [{"rule": "oldSelf.hasValue() || self == 'new'", "optionalOldSelf": true}]});
    check_change(
        first.clone(),
        json!("b"),
        None,
        &["x: Invalid value: \"string\": failed rule: oldSelf.hasValue() || self == 'new'"],
    );
    check_change(first, json!("b"), Some(json!("a")), &[]);
    let mut list = map_list();
    list["maxItems"] = 100.into();
    list["items"]["properties"]["v"] =
        json!({"type": "string", "maxLength": 100, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]});
    let old = json!([{"n": "a", "v": "1"}, {"n": "b", "v": "2"}]);
    check_change(
        list,
        json!([{"n": "b", "v": "2"}, {"n": "c", "v": "3"}, {"n": "a", "v": "9"}]),
        Some(old),
        &["x[2].v: Invalid value: \"string\": failed rule: self == oldSelf"],
    );
    // What has not changed is not judged again.
    let low = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 1"}]});
    check_change(low, json!(1), Some(json!(1)), &[]);
}

#[test]
fn rules_wait_for_values_that_fit() {
    let schema = parse(
        &json!({"type": "object", "required": ["b"], "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "self.a > 1"}]}),
    )
    .unwrap();
    let mut errors = Errors::default();
    schema.validate(&json!({"a": 1}), None, &mut errors);
    let why = "<nil>: Invalid value: \"null\": some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
    assert_eq!(texts(&errors), ["b: Required value", why]);
}

#[test]
fn rules_are_checked_with_their_schema() {
    let check = |field: Value, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|it| format!("s.properties[x]{it}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check_schema(of_field(field), &expected);
    };
    let of = |kind: &str, rule: Value| json!({"type": kind, "x-kubernetes-validations": [rule]});
    let shown = |rule: &str| {
        format!(
            "{{\"Rule\":{},\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}}",
            json!(rule)
        )
    };
    let bad = "self.foo > 1";
    check(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-validations": [{"rule": bad}]}),
        &[&format!(
            ".x-kubernetes-validations[0].rule: Invalid value: {}: compilation failed: ERROR: <input>:1:5: undefined field 'foo'\n | self.foo > 1\n | ....^",
            shown(bad)
        )],
    );
    check(
        of("integer", json!({"rule": "self + 1"})),
        &[&format!(
            ".x-kubernetes-validations[0].rule: Invalid value: {}: cel expression must evaluate to a bool",
            shown("self + 1")
        )],
    );
    check(
        of("integer", json!({"rule": "self > 1", "optionalOldSelf": true})),
        &[
            ".x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
        ],
    );
    check(
        json!({"type": "array", "maxItems": 5, "items": of("integer", json!({"rule": "self > oldSelf"}))}),
        &[
            ".items.x-kubernetes-validations[0].rule: Invalid value: \"self > oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[x]",
        ],
    );
    let unbounded = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, a == b))"}]});
    let hint = "exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
    let rule = "s.properties[x].x-kubernetes-validations[0].rule: Forbidden";
    let expected = [
        format!("{rule}: estimated rule cost {hint}"),
        format!("{rule}: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"),
        format!("s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema {hint}"),
    ];
    assert_eq!(texts(&parse(&of_field(unbounded)).unwrap_err()), expected);
    let bounded = json!({"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 20}, "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, a == b))"}]});
    check(bounded, &[]);
    let many: serde_json::Map<String, Value> = (0..40)
        .map(|it| {
            let rule = json!({"rule": "self.all(a, self.all(b, a == b))"});
            (format!("f{it:02}"), json!({"type": "array", "maxItems": 400, "items": {"type": "string", "maxLength": 100}, "x-kubernetes-validations": [rule]}))
        })
        .collect();
    let found = parse(&json!({"type": "object", "properties": many})).unwrap_err();
    let found = texts(&found);
    assert!(
        found[0].contains("contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"),
        "{found:?}"
    );
    assert!(found[4].starts_with("s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of"), "{found:?}");
}

#[test]
fn rules_stop_at_their_budget() {
    // A rule that passes the estimate can still be evaluated at too many places.
    let schema = Schema::stored(&of_field(json!({"type": "array", "items": {"type": "string",
        "x-kubernetes-validations": [{"rule": format!("self.matches('^(a|b)*$|{}')", "c".repeat(90))}]}})));
    let values: Vec<String> = vec!["ab".repeat(2000); 2000];
    let mut errors = Errors::default();
    schema.validate(&json!({"x": values}), None, &mut errors);
    let found = texts(&errors);
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .ends_with("validation failed due to running out of cost budget, no further validation rules will be run"),
        "{found:?}"
    );
}

#[test]
fn defaults_obey_rules() {
    let field = |default: i64| json!({"type": "integer", "default": default, "x-kubernetes-validations": [{"rule": "self > 1"}]});
    check_schema(of_field(field(2)), &[]);
    check_schema(of_field(field(1)), &["s.properties[x].default: Invalid value: \"integer\": failed rule: self > 1"]);
}

#[test]
fn sums_of_lists_whose_elements_stand_once_are_unions() {
    let set = |rule: &str| {
        json!({"type": "array", "maxItems": 9, "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 9},
        "x-kubernetes-validations": [{"rule": rule}]})
    };
    check_object(set("self == ['b', 'a'] && (self + ['a', 'c']).size() == 3"), json!(["a", "b"]), &[]);
    let mut list = map_list();
    list["maxItems"] = 9.into();
    list["x-kubernetes-validations"] = json!([{"rule": "(self + [self[0]]).size() == self.size()"}]);
    check_object(list, json!([{"n": "a"}, {"n": "b"}]), &[]);
}

/// Rules as published definitions have them: all are taken.
#[test]
fn rules_of_the_wild_are_taken() {
    let text = json!({"type": "string", "maxLength": 253});
    let refs = json!({"type": "array", "maxItems": 32, "items": {"type": "object", "required": ["name"], "properties": {
        "name": text, "namespace": text, "kind": text, "group": text, "port": {"type": "integer", "format": "int32"},
        "sectionName": text, "weight": {"x-kubernetes-int-or-string": true}, "ready": {"type": "boolean"}, "since": {"type": "string", "format": "date-time"}}}});
    let rules = [
        "self.refs.all(p1, self.refs.exists_one(p2, p1.name == p2.name && (!has(p1.__namespace__) || p1.__namespace__ == '') == (!has(p2.__namespace__) || p2.__namespace__ == '')))",
        "(self.refs.size() > 0 && self.refs[0].kind == 'Service') ? has(self.refs[0].port) : true",
        "!(has(self.mode) && self.mode == 'Exact' && self.refs.exists(r, has(r.port) && (r.port < 1 || r.port > 65535)))",
        "self.mode in ['Exact', 'Prefix', 'Regex'] || self.mode.matches('^[A-Z][a-z]+$')",
        "!has(oldSelf.mode) || has(self.mode)",
        "self.refs.map(r, r.name).isSorted() || self.refs.filter(r, r.ready).size() <= 3",
        "self.limits.all(k, quantity(self.limits[k]).isGreaterThan(quantity('0')))",
        "!has(self.hosts) || self.hosts.all(h, h == '*' || isIP(h) || !format.dns1123Subdomain().validate(h).hasValue())",
        "self.refs.all(r, !has(r.since) || r.since < timestamp('2100-01-01T00:00:00Z'))",
        "self.refs.all(r, type(r.weight) == string ? r.weight.endsWith('%') : r.weight >= 0)",
        "self.?template.?metadata.?name.orValue('') != self.metadata.name",
        "self.metadata.name.startsWith('a') || self.kind == 'Widget'",
        "self == oldSelf || self.refs.size() >= oldSelf.refs.size()",
        "self.x__dash__y.z__dot__w == 1",
        "cidr('10.0.0.0/8').containsIP(self.mode) || semver('1.2.3').major() == 1 || url('https://a/').getHost() == self.mode",
    ];
    let rules: Vec<Value> = rules.iter().map(|it| json!({"rule": it})).collect();
    let schema = json!({"type": "object", "required": ["refs", "mode"], "x-kubernetes-validations": rules, "properties": {
        "refs": refs, "mode": {"type": "string", "maxLength": 32}, "hosts": {"type": "array", "maxItems": 16, "items": text},
        "limits": {"type": "object", "maxProperties": 16, "additionalProperties": text},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        "x-y": {"type": "object", "properties": {"z.w": {"type": "integer"}}},
    }});
    let schema = parse(&schema).unwrap_or_else(|errors| panic!("{:#?}", texts(&errors)));
    let object = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "mode": "Exact", "hosts": ["a.b", "1.2.3.4"],
        "limits": {"cpu": "100m"}, "x-y": {"z.w": 1}, "refs": [{"name": "x", "kind": "Service", "port": 80, "weight": "5%", "ready": true,
        "since": "2024-01-01T00:00:00Z"}, {"name": "y", "weight": 5, "ready": false}], "template": {"apiVersion": "v1", "kind": "Pod"}});
    let mut errors = Errors::default();
    schema.validate(&object, Some(&object), &mut errors);
    assert_eq!(texts(&errors), Vec::<String>::new());
}
