//! Stored custom objects as they are served: by the schemas as they are now, in the version that is asked for.
//!
//! In: the bytes of an object, which may have been written under an earlier schema and in another version. Out: the bytes that clients see.
//! Conversion here is the strategy `None`, which changes `apiVersion` and nothing else; what a webhook makes of an object goes through
//! [`accepted`]. Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go`, crdConversionRESTOptionsGetter.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Definition, Served};

/// The version that an encoded object is in: its place in the definition, if it has it.
pub fn version_of(json: &[u8], definition: &Definition) -> Option<usize> {
    #[derive(Deserialize)]
    struct Shell<'a> {
        #[serde(borrow, default, rename = "apiVersion")]
        api_version: Cow<'a, str>,
    }
    let shell: Shell<'_> = serde_json::from_slice(json).ok()?;
    let version = shell.api_version.rsplit('/').next()?;
    definition.versions.iter().position(|it| *it.name == *version)
}

/// An object by the schema of the version that it is in; none if that changes nothing.
fn refreshed(json: &[u8], definition: &Definition, version: Option<usize>) -> Option<Value> {
    let schema = definition.versions[version?].structural()?;
    let mut value: Value = serde_json::from_slice(json).ok()?;
    let before = schema.root().defaults.then(|| value.clone());
    let pruned = !schema.prune(&mut value).is_empty();
    if before.is_some() {
        schema.default(&mut value);
    }
    (pruned || before.is_some_and(|it| it != value)).then_some(value)
}

/// The object in the version of `served`, by the schemas as they are now; none if it is right as it is.
pub fn served(json: &[u8], served: &Served) -> Option<Vec<u8>> {
    let definition = &served.definition;
    let version = version_of(json, definition);
    let refreshed = refreshed(json, definition, version);
    // Heads of the table are those of the stored version.
    if version == Some(served.at) && served.is_stored() && refreshed.is_none() {
        return None;
    }
    let mut value = match refreshed {
        Some(value) => value,
        None => serde_json::from_slice(json).ok()?,
    };
    if version != Some(served.at) {
        value["apiVersion"] = definition.api_version(served.at).into();
        value = accepted(value, served);
    }
    Some(encode(value))
}

/// An object as another version has made it, without what its schema does not name.
pub fn accepted(mut value: Value, served: &Served) -> Value {
    if let Some(schema) = served.version().structural() {
        schema.prune(&mut value);
    }
    value
}

/// The object in the form in which it is stored, by the strategy `None`.
pub fn to_stored<'a>(json: &'a [u8], served: &Served) -> Cow<'a, [u8]> {
    if served.is_stored() {
        return Cow::Borrowed(json);
    }
    let definition = &served.definition;
    let Ok(mut value) = serde_json::from_slice::<Value>(json) else { return Cow::Borrowed(json) };
    value["apiVersion"] = definition.api_version(definition.storage).into();
    let stored = Served { definition: definition.clone(), at: definition.storage };
    Cow::Owned(encode(accepted(value, &stored)))
}

/// Encodes an object with its type and metadata first, as all stored objects begin.
pub fn encode(value: Value) -> Vec<u8> {
    struct InOrder(Map<String, Value>);
    impl serde::Serialize for InOrder {
        fn serialize<S: serde::Serializer>(&self, encoder: S) -> Result<S::Ok, S::Error> {
            const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];
            let first = FIRST.iter().filter_map(|it| self.0.get_key_value(*it));
            encoder.collect_map(first.chain(self.0.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()))))
        }
    }
    match value {
        // A JSON value always has a text.
        Value::Object(fields) => serde_json::to_vec(&InOrder(fields)).unwrap_or_default(),
        other => other.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn definition() -> Arc<Definition> {
        let schema = |field: &str| {
            json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
            "properties": {field: {"type": "string", "default": "x"}, "common": {"type": "string"}}}}}})
        };
        let json = json!({
            "metadata": {"name": "as.b.io"},
            "spec": {"group": "b.io", "scope": "Namespaced", "versions": [
                {"name": "v1", "served": true, "storage": false, "schema": schema("old")},
                {"name": "v2", "served": true, "storage": true, "schema": schema("new")},
            ]},
        });
        Arc::new(Definition::parse(&Bytes::from(json.to_string())).unwrap())
    }

    #[track_caller]
    fn check(json: &str, at: usize, expected: Option<&str>) {
        let made = served(json.as_bytes(), &Served { definition: definition(), at });
        assert_eq!(made.map(|it| String::from_utf8(it).unwrap()).as_deref(), expected, "{json}");
    }

    #[test]
    fn objects_are_read_by_the_schemas_of_now() {
        let right = r#"{"apiVersion":"b.io/v2","kind":"A","metadata":{"name":"a"},"spec":{"common":"c","new":"y"}}"#;
        check(right, 1, None);
        check(
            r#"{"apiVersion":"b.io/v2","kind":"A","metadata":{"name":"a"},"spec":{"common":"c","gone":1}}"#,
            1,
            Some(r#"{"apiVersion":"b.io/v2","kind":"A","metadata":{"name":"a"},"spec":{"common":"c","new":"x"}}"#),
        );
        check(right, 0, Some(r#"{"apiVersion":"b.io/v1","kind":"A","metadata":{"name":"a"},"spec":{"common":"c"}}"#));
        check(
            r#"{"apiVersion":"b.io/v1","kind":"A","metadata":{"name":"a"},"spec":{"common":"c"}}"#,
            1,
            Some(r#"{"apiVersion":"b.io/v2","kind":"A","metadata":{"name":"a"},"spec":{"common":"c"}}"#),
        );
    }

    #[test]
    fn objects_are_stored_in_one_version() {
        let json =
            br#"{"apiVersion":"b.io/v1","kind":"A","metadata":{"name":"a"},"data":1,"spec":{"common":"c","old":"x"}}"#;
        let stored = to_stored(json, &Served { definition: definition(), at: 0 });
        assert_eq!(
            String::from_utf8_lossy(&stored),
            r#"{"apiVersion":"b.io/v2","kind":"A","metadata":{"name":"a"},"spec":{"common":"c"}}"#
        );
    }
}
