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
    let names = names(path)?;
    let mut at = schema;
    for name in &names {
        let found = match at.get("properties").and_then(Value::as_object).filter(|it| !it.is_empty()) {
            Some(properties) => properties.get(name),
            None => at.get("additionalProperties").filter(|it| it.is_object()),
        };
        at = found.ok_or("does not refer to a valid field")?;
    }
    Ok((names, at))
}

/// The names of a path.
///
/// # Errors
/// Where it is none.
pub fn names(path: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if names.len() >= NAMES_LIMIT {
            return Err("does not refer to a valid field".to_owned());
        }
        let (name, after) = next(rest)?;
        names.push(name);
        rest = after;
    }
    Ok(names)
}

/// The next name of a path, and what follows it.
fn next(rest: &str) -> Result<(String, &str), String> {
    let end_of = |text: &str| text.find(['.', '[', ']']).unwrap_or(text.len());
    if let Some(after) = rest.strip_prefix('.') {
        let (name, after) = after.split_at(end_of(after));
        if name.is_empty() {
            let why = if after.is_empty() { "unexpected end of JSON path" } else { "does not refer to a valid field" };
            return Err(why.to_owned());
        }
        return Ok((name.to_owned(), after));
    }
    let Some(inner) = rest.strip_prefix('[') else {
        return Err(format!("expected [ or . but got: {}", &rest[..end_of(rest).max(usize::from(rest.is_ascii()))]));
    };
    let Some(quoted) = inner.strip_prefix('\'') else {
        return Err(match &inner[..end_of(inner)] {
            "" => "unexpected end of JSON path".to_owned(),
            found => format!("expected single quoted string but got {found}"),
        });
    };
    let mut name = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next().map(|it| it.1) {
                Some(letter @ ('\\' | '\'')) => name.push(letter),
                Some(letter) => match "abfnrtv".find(letter).and_then(|at| b"\x07\x08\x0c\n\r\t\x0b".get(at)) {
                    Some(byte) => name.push(char::from(*byte)),
                    None => return Err(format!("invalid string literal: invalid escape char \\{letter}")),
                },
                None => return Err("unexpected end of JSON path".to_owned()),
            },
            '\'' => {
                let after = &quoted[at + 1..];
                return match after.strip_prefix(']') {
                    Some(after) => Ok((name, after)),
                    None if after.is_empty() => Err("unexpected end of JSON path".to_owned()),
                    None => Err(format!("expected ] but got {}", &after[..end_of(after)])),
                };
            }
            _ => name.push(letter),
        }
    }
    Err(format!("expected single quoted string but got {inner}"))
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
        check(".spec.", None);
        check(".", None);
        assert_eq!(find(&schema, ".spec['a.b']").unwrap().0, ["spec", "a.b"]);
    }
}
