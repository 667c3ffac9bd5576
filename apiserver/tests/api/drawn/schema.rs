//! Values drawn from a schema: most as it says, some as it does not.

use serde_json::{Map, Value, json};

use super::Tape;

/// Deeper than any built-in object needs to be filled.
const DEPTH_MAX: usize = 7;

/// Stand for what a JSON value cannot hold; [`text`] writes it.
const HUGE: &str = "@huge@";
const DEEP: &str = "@deep@";

const TEXTS: [&str; 34] = [
    "a",
    "default",
    "b",
    "",
    "kube-system",
    "example.com/x",
    "1Gi",
    "100m",
    "-1",
    "0",
    "80",
    "http",
    "TCP",
    "Always",
    "OnFailure",
    "Retain",
    "Exact",
    "ReadWriteOnce",
    "ClusterIP",
    "10.96.0.77",
    "fd00::1/64",
    "2026-01-01T00:00:00Z",
    "YWJj",
    "*/5 * * * *",
    "*",
    "..",
    "a/b/c",
    "A_Name",
    "ä𝄞\u{202e}x",
    "\u{0}",
    "{{",
    "object.metadata.name == 'a'",
    "x=1,y in (a,b)",
    "None",
];

/// A value for a schema of this document.
pub fn draw(tape: &mut Tape<'_>, document: &Value, schema: &Value, depth: usize) -> Value {
    if tape.rarely(40) {
        return anything(tape, depth);
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return draw(tape, document, &document["components"]["schemas"][name], depth);
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.first().map_or(Value::Null, |it| draw(tape, document, it, depth));
    }
    if let Some(one) = schema["oneOf"].as_array().filter(|it| !it.is_empty()) {
        let chosen = tape.one(one).clone();
        return draw(tape, document, &chosen, depth);
    }
    match schema["type"].as_str() {
        Some("object") | None if schema["properties"].is_object() => {
            let mut out = Map::new();
            for (name, of) in schema["properties"].as_object().into_iter().flatten() {
                let required = schema["required"].as_array().is_some_and(|it| it.iter().any(|it| it == name));
                // Fewer the deeper it gets.
                if (required || tape.rarely(3 + 2 * depth)) && depth < DEPTH_MAX {
                    out.insert(name.clone(), draw(tape, document, of, depth + 1));
                }
            }
            if tape.rarely(30) {
                out.insert("notAField".to_owned(), anything(tape, depth));
            }
            out.into()
        }
        Some("object") => {
            let count = tape.below(3);
            let of = &schema["additionalProperties"];
            (0..count)
                .map(|_| {
                    let key = (*tape.one(&TEXTS)).to_owned();
                    let value =
                        if of.is_object() { draw(tape, document, of, depth + 1) } else { anything(tape, depth) };
                    (key, value)
                })
                .collect::<Map<_, _>>()
                .into()
        }
        Some("array") => {
            let count = if depth < DEPTH_MAX { tape.below(3) } else { 0 };
            (0..count).map(|_| draw(tape, document, &schema["items"], depth + 1)).collect()
        }
        Some("integer" | "number") => number(tape),
        Some("boolean") => tape.rarely(2).into(),
        Some("string") => word(tape, schema),
        _ => anything(tape, depth),
    }
}

fn word(tape: &mut Tape<'_>, schema: &Value) -> Value {
    if let Some(words) = schema["enum"].as_array().filter(|it| !it.is_empty())
        && !tape.rarely(8)
    {
        return tape.one(words).clone();
    }
    match schema["format"].as_str() {
        Some("date-time") if !tape.rarely(8) => "2026-01-01T00:00:00Z".into(),
        Some("byte") if !tape.rarely(8) => "YWJj".into(),
        _ if tape.rarely(60) => "x".repeat(5_000).into(),
        _ => (*tape.one(&TEXTS)).into(),
    }
}

fn number(tape: &mut Tape<'_>) -> Value {
    let plain = [0, 1, 2, 80, 30_001, -1, 65_536, i64::from(i32::MAX) + 1, i64::MAX, i64::MIN];
    match tape.below(14) {
        at if at < plain.len() => plain[at].into(),
        10 => json!(0.5),
        11 => json!(1e300),
        12 => HUGE.into(),
        _ => u64::MAX.into(),
    }
}

/// Something that no schema asked for.
fn anything(tape: &mut Tape<'_>, depth: usize) -> Value {
    match tape.below(9) {
        0 => Value::Null,
        1 => true.into(),
        2 => number(tape),
        3 => (*tape.one(&TEXTS)).into(),
        4 => json!([]),
        5 => json!({}),
        6 if depth < DEPTH_MAX => json!([anything(tape, depth + 2)]),
        7 if depth < DEPTH_MAX => json!({ (*tape.one(&TEXTS)): anything(tape, depth + 2) }),
        _ => DEEP.into(),
    }
}

/// The JSON text of a drawn value.
pub fn text(value: &Value) -> String {
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let huge = "123456789012345678901234567890e999";
    value.to_string().replace(&format!("\"{HUGE}\""), huge).replace(&format!("\"{DEEP}\""), &deep)
}
