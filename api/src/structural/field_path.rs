//! Paths to fields of a schema: `.spec.replicas`, `.spec['a.b']`.
//!
//! In: a path as `fieldPath` of rules and `jsonPath` of selectable fields give it, and a schema. Out: the names on the way and the schema at
//! its end. Source: `apiserver/schema/cel/validation.go`, `ValidFieldPath`.

use serde_json::Value;

/// The most that one path may have of names: no schema is deeper.
const NAMES_LIMIT: usize = super::node::DEPTH_LIMIT;

/// Finds a field.
///
/// # Errors
/// Why the path is none, in Kubernetes' words.
pub fn find<'a>(schema: &'a Value, path: &str) -> Result<(Vec<String>, &'a Value), String> {
    let mut names = Vec::new();
    let mut at = schema;
    let mut rest = path;
    while !rest.is_empty() {
        if names.len() >= NAMES_LIMIT {
            return Err("expected at most 64 names".to_owned());
        }
        let (name, after) = next(rest, path)?;
        let property = at.get("properties").and_then(|it| it.get(&name));
        let value = at.get("additionalProperties").filter(|it| it.is_object());
        at = property.or(value).ok_or_else(|| format!("does not refer to a valid field: field {name:?} not found"))?;
        names.push(name);
        rest = after;
    }
    if names.is_empty() { Err("expected a field".to_owned()) } else { Ok((names, at)) }
}

/// The next name of a path, and what follows it.
fn next<'a>(rest: &'a str, whole: &str) -> Result<(String, &'a str), String> {
    if let Some(after) = rest.strip_prefix('.') {
        let end = after
            .find(|it: char| !it.is_ascii_alphanumeric() && !matches!(it, '_' | '-' | '$' | '/'))
            .unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let is_name = name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_' || it == '$');
        return if is_name {
            Ok((name.to_owned(), after))
        } else {
            Err(format!("expected a name after '.' in {whole:?}"))
        };
    }
    let Some(quoted) = rest.strip_prefix("['") else { return Err(format!("expected [ or . but got: {rest}")) };
    let mut name = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some((_, letter @ ('\\' | '\''))) => name.push(letter),
                _ => return Err("unexpected escape in a quoted name".to_owned()),
            },
            '\'' => {
                let after = quoted[at + 1..].strip_prefix(']').ok_or("expected ] after a quoted name")?;
                return Ok((name, after));
            }
            _ => name.push(letter),
        }
    }
    Err("unterminated quoted name".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_found() {
        let schema = json!({"properties": {
            "spec": {"properties": {"a.b": {"type": "string"}, "n": {"type": "integer"}}},
            "m": {"additionalProperties": {"type": "boolean"}},
        }});
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(find(&schema, path).ok().map(|(_, it)| it["type"].as_str().unwrap()), expected, "{path}");
        };
        check(".spec.n", Some("integer"));
        check(".spec['a.b']", Some("string"));
        check(".m.any", Some("boolean"));
        check(".spec.x", None);
        check("spec", None);
        check(".spec['a", None);
        check("", None);
        check(".", None);
        assert_eq!(find(&schema, ".spec['a.b']").unwrap().0, ["spec", "a.b"]);
    }
}
