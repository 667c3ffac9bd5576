//! JSON patch (RFC 6902): a list of operations, all or none of which take effect.

use std::fmt;

use json_patch::jsonptr::Pointer;
use json_patch::{Patch, PatchOperation};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::status::{self, Cause, Details, Reason, Status};

/// The most operations of one patch, as in Kubernetes.
pub const OPERATIONS_LIMIT: usize = 10_000;
/// How much all `copy` operations of one patch may add: the most a request body may have. Doubling copies would fill any memory.
pub const COPIED_LIMIT_BYTES: usize = 3 * 1024 * 1024;

/// What an operation says.
const FIELDS: &[&str] = &["op", "path", "from", "value"];

/// The fields of operations that nobody knows, and those that stand twice, as field validation names them. What is no patch has none.
pub fn problems(patch: &[u8]) -> Vec<String> {
    let operations: Vec<Names> = serde_json::from_slice(patch).unwrap_or_default();
    let mut out = Vec::new();
    for (at, Names(names)) in operations.iter().enumerate().take(OPERATIONS_LIMIT) {
        for (place, name) in names.iter().enumerate() {
            let word = match (FIELDS.contains(&name.as_str()), names[..place].contains(name)) {
                (false, false) => "unknown",
                (true, true) => "duplicate",
                _ => continue,
            };
            out.push(format!("json patch {word} field \"[{at}].{name}\""));
        }
    }
    out
}

/// The names of an operation's fields, in their order.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        struct Names_;
        impl<'de> Visitor<'de> for Names_ {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an operation")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        decoder.deserialize_map(Names_)
    }
}

/// The object after the patch.
///
/// # Errors
/// `BadRequest` for what is no JSON patch, `RequestEntityTooLarge` for too many operations, `Invalid` where an operation fails.
pub fn apply(object: &Value, patch: &[u8]) -> status::Result<Value> {
    // By values: of what stands twice in an operation, the last counts.
    let patch: Patch = serde_json::from_slice(patch)
        .and_then(serde_json::from_value::<Patch>)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if patch.0.len() > OPERATIONS_LIMIT {
        return Err(Status::new(
            Reason::RequestEntityTooLarge,
            format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {}",
                patch.0.len()
            ),
        ));
    }
    let mut out = object.clone();
    let mut copied_bytes = 0;
    for operation in &patch.0 {
        if let PatchOperation::Copy(copy) = operation
            && let Ok(value) = copy.from.resolve(&out)
        {
            copied_bytes += value.to_string().len();
            if copied_bytes > COPIED_LIMIT_BYTES {
                return Err(failed(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied_bytes}, exceeding the limit {COPIED_LIMIT_BYTES}"
                )));
            }
        }
        if let PatchOperation::Test(test) = operation
            && test.value.is_null()
            && is_absent(&out, &test.path)
        {
            // Where there is nothing, there is null: in this way kube-rs asks whether it adds the first finalizer.
            continue;
        }
        json_patch::patch(&mut out, std::slice::from_ref(operation)).map_err(|error| {
            let verb = match operation {
                PatchOperation::Add(_) => "add",
                PatchOperation::Remove(_) => "remove",
                PatchOperation::Replace(_) => "replace",
                PatchOperation::Move(_) => "move",
                PatchOperation::Copy(_) => "copy",
                PatchOperation::Test(_) => "test",
            };
            let path = operation.path();
            match operation {
                PatchOperation::Test(_) => failed(format!("testing value {path} failed: test failed")),
                _ => failed(format!("{verb} operation does not apply: doc is missing path: {path}: {}", error.kind)),
            }
        })?;
    }
    Ok(out)
}

/// Whether an object is there that lacks the field of a path.
fn is_absent(object: &Value, path: &Pointer) -> bool {
    let Some((parent, field)) = path.split_back() else { return false };
    parent.resolve(object).is_ok_and(|it| it.as_object().is_some_and(|it| !it.contains_key(&*field.decoded())))
}

/// Kubernetes' generic answer; the cause says more.
fn failed(why: String) -> Status {
    let cause = Cause { reason: "UnexpectedServerResponse".to_owned(), message: why, field: String::new() };
    Status::new(Reason::Invalid, "the server rejected our request due to an error in our request")
        .with_details(Details { causes: vec![cause], ..Details::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(object: Value, patch: Value, expected: Result<Value, (u16, &str)>) {
        let got = apply(&object, patch.to_string().as_bytes());
        match expected {
            Ok(value) => assert_eq!(got.unwrap(), value),
            Err((code, part)) => {
                let error = got.unwrap_err();
                assert_eq!(error.code(), code);
                let cause =
                    error.details.iter().flat_map(|it| &it.causes).map(|it| it.message.clone()).collect::<String>();
                assert!(error.message.contains(part) || cause.contains(part), "{} {cause}", error.message);
            }
        }
    }

    #[test]
    fn applies_all_operations_or_none() {
        check(
            json!({"a": [1, 2]}),
            json!([{"op": "test", "path": "/a/0", "value": 1}, {"op": "remove", "path": "/a/0"}, {"op": "add", "path": "/a/-", "value": 3}]),
            Ok(json!({"a": [2, 3]})),
        );
        check(
            json!({"a": 1}),
            json!([{"op": "test", "path": "/a", "value": 2}]),
            Err((422, "testing value /a failed")),
        );
        // A field that is not there is null, but not within what is not there.
        let first = json!([{"op": "test", "path": "/a/b", "value": null}, {"op": "add", "path": "/a/b", "value": 1}]);
        check(json!({"a": {}}), first.clone(), Ok(json!({"a": {"b": 1}})));
        check(json!({"a": {"b": 2}}), first.clone(), Err((422, "testing value /a/b failed")));
        check(json!({}), first, Err((422, "testing value /a/b failed")));
        check(json!({}), json!([{"op": "remove", "path": "/a"}]), Err((422, "remove operation does not apply")));
        check(json!({}), json!({"op": "remove"}), Err((400, "error decoding patch")));
        check(json!({}), json!([{"op": "grow", "path": "/a"}]), Err((400, "error decoding patch")));
        let many = vec![json!({"op": "add", "path": "/a", "value": 1}); OPERATIONS_LIMIT + 1];
        check(json!({}), Value::from(many), Err((413, "maximum operations in a JSON patch is 10000, got 10001")));
        let doubling = vec![json!({"op": "copy", "from": "/a", "path": "/a/-"}); 60];
        check(json!({"a": ["x".repeat(1000)]}), Value::from(doubling), Err((422, "exceeding the limit")));
    }
}
