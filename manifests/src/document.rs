//! Documents: streams of YAML or JSON become JSON values that know where they stood.
//!
//! In: the bytes of a file, of standard input or of a request body. Out: one [`Document`] per object, in order. Scalars follow YAML 1.1
//! as Kubernetes' own reader does (`0644` is 420, `y` and `on` are true, in keys too), a key that stands twice is refused, and aliases, depth and size are
//! bounded, so that a small hostile text cannot grow. Knows nothing of kinds: what an object means is for others to say.

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;

mod node;
mod twice;
mod words;

use node::Node;
use twice::Twice;

/// The largest stream that is read: a request body's 3 MiB (the API server's limit for one object) would do for one object; a
/// file may hold many, so ten times that.
pub const STREAM_LIMIT_BYTES: usize = 32 << 20;

/// How deep a document may nest. Kubernetes' deepest built-in schema (custom resource definitions aside) stays below 20.
pub const DEPTH_LIMIT: usize = 64;

/// How many YAML nodes aliases may repeat in one document: room for any honest use of anchors, none for a "billion laughs".
const ALIAS_NODES_LIMIT: usize = 20_000;

/// How many nodes a document may have: a 3 MiB object of four-byte nodes has about 750,000.
const NODES_LIMIT: usize = 1_000_000;

/// One object of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Where it was read from: a path, `-`, or a name the reader chose.
    pub source: String,
    /// The line on which the document begins, from 1.
    pub line: usize,
    pub value: Value,
}

/// Why a stream could not be read. The text names the source and the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("{origin}: {size_bytes} bytes are more than the {STREAM_LIMIT_BYTES} that are read")]
    TooLarge { origin: String, size_bytes: usize },
    #[error("{origin}: the text is not UTF-8 (byte {offset})")]
    NotText { origin: String, offset: usize },
    #[error("error parsing {origin}:{line}: {what}")]
    Malformed { origin: String, line: usize, what: String },
    #[error("error parsing {origin}:{line}: the document is a {found}, not an object")]
    NotAnObject { origin: String, line: usize, found: &'static str },
}

/// Reads every document of a stream. Empty documents (comments between `---` lines) are left out, and a `List` gives its items.
///
/// # Errors
/// [`ReadError`] at the first document that cannot be read; none of the others is returned then.
pub fn read(source: &str, bytes: &[u8]) -> Result<Vec<Document>, ReadError> {
    let text = text_of(source, bytes)?;
    let found = if text.trim_start().starts_with('{') {
        // A flow mapping begins like JSON; what is no JSON may still be YAML, and the JSON reader's complaint is the better one.
        json_stream(source, text).or_else(|complaint| match yaml_stream(source, text, usize::MAX) {
            Ok(found) if !matches!(complaint, ReadError::Malformed { ref what, .. } if what.starts_with("duplicate")) => Ok(found),
            _ => Err(complaint),
        })?
    } else {
        yaml_stream(source, text, usize::MAX)?
    };
    Ok(found.into_iter().flat_map(items).collect())
}

/// Reads exactly one YAML document, as request bodies of `application/yaml` have it.
///
/// # Errors
/// [`ReadError`] where it cannot be read, or is none, or more than one.
pub fn read_one(source: &str, bytes: &[u8]) -> Result<Value, ReadError> {
    let text = text_of(source, bytes)?;
    if let Some(value) = json_object(text) {
        return Ok(value);
    }
    let mut found = yaml_stream(source, text, 2)?;
    let malformed = |line, what: &str| ReadError::Malformed { origin: source.to_owned(), line, what: what.to_owned() };
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only.value),
        (Some(second), false) => Err(malformed(second.line, "one document was expected, here is another")),
        (None, _) => Err(malformed(1, "the text holds no document")),
    }
}

/// The same, of a text in which keys may stand twice: the last one counts, and what is said of the others is given beside the value, in the words
/// of Kubernetes' reader: `line 8: key "a" already set in map`.
///
/// # Errors
/// As [`read_one`], but for keys that stand twice.
pub fn read_one_with_repeats(source: &str, bytes: &[u8]) -> Result<(Value, Vec<String>), ReadError> {
    let refusal = match read_one(source, bytes) {
        Ok(value) => return Ok((value, Vec::new())),
        Err(refusal) => refusal,
    };
    let text = text_of(source, bytes)?;
    let mut parts = split(text);
    parts.retain(|(_, part)| !is_blank(part));
    let [(line, part)] = parts[..] else { return Err(refusal) };
    // A mistake of another sort is one here, too.
    let options = options(false, DuplicateKeyPolicy::LastWins);
    let Ok(Twice(found)) = serde_saphyr::from_str_with_options::<Twice>(part, options) else { return Err(refusal) };
    let value = yaml(part, DuplicateKeyPolicy::LastWins).map_err(|_| refusal)?;
    let value = object(source, line, value)?.value;
    let told = found.into_iter().map(|(at, key)| format!("line {}: key {key:?} already set in map", line + at - 1));
    Ok((value, told.collect()))
}

fn text_of<'a>(source: &str, bytes: &'a [u8]) -> Result<&'a str, ReadError> {
    if bytes.len() > STREAM_LIMIT_BYTES {
        return Err(ReadError::TooLarge { origin: source.to_owned(), size_bytes: bytes.len() });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ReadError::NotText { origin: source.to_owned(), offset: error.valid_up_to() })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// JSON texts one after another, with or without white space between.
fn json_stream(source: &str, text: &str) -> Result<Vec<Document>, ReadError> {
    let mut out = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut start = 0;
    while let Some(next) = stream.next() {
        let begins = start + text[start..].len() - text[start..].trim_start().len();
        let line = line_of(text, begins);
        let value = next.map_err(|error| ReadError::Malformed {
            origin: source.to_owned(),
            line: line.max(error.line()),
            what: error.to_string(),
        })?;
        let end = stream.byte_offset();
        if let Some(twice) = orlop_api::json::duplicates(&text.as_bytes()[begins..end]).into_iter().next() {
            return Err(ReadError::Malformed { origin: source.to_owned(), line, what: twice });
        }
        out.push(object(source, line, value)?);
        start = end;
    }
    Ok(out)
}

/// The value of a text that is one object of JSON, in which no key stands twice: what it is as YAML, read by a quicker reader. Clients that apply send JSON.
fn json_object(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str::<Node<true>>(text).ok().map(|it| it.0)
}

/// YAML documents between lines of `---`, the first `most` of them.
fn yaml_stream(source: &str, text: &str, most: usize) -> Result<Vec<Document>, ReadError> {
    let mut out = Vec::new();
    for (line, part) in split(text) {
        if out.len() == most {
            break;
        }
        if is_blank(part) {
            continue;
        }
        let value = yaml(part, DuplicateKeyPolicy::Error).map_err(|error| {
            let within = error.location().map_or(1, |it| (it.line() as usize).max(1));
            let what = error.without_snippet().to_string();
            ReadError::Malformed { origin: source.to_owned(), line: line + within - 1, what }
        })?;
        if !value.is_null() {
            out.push(object(source, line, value)?);
        }
    }
    Ok(out)
}

/// Whether a part of a stream holds nothing but comments and markers.
fn is_blank(part: &str) -> bool {
    part.lines().all(|it| {
        let it = it.trim();
        it.is_empty() || it.starts_with('#') || it == "---" || it == "..." || it.starts_with("--- #")
    })
}

fn yaml(part: &str, repeats: DuplicateKeyPolicy) -> Result<Value, serde_saphyr::Error> {
    let parsed = |strict_booleans: bool| {
        serde_saphyr::from_str_with_options::<Node<false>>(part, options(strict_booleans, repeats)).map(|it| it.0)
    };
    let value = parsed(false)?;
    if !words::occur_in(part) {
        return Ok(value);
    }
    parsed(true).map(|strict| words::restored(value, strict))
}

fn options(strict_booleans: bool, repeats: DuplicateKeyPolicy) -> serde_saphyr::options::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_LIMIT,
            flow_nesting_limit: DEPTH_LIMIT,
            max_nodes: NODES_LIMIT,
            max_events: 2 * NODES_LIMIT,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIAS_NODES_LIMIT },
        duplicate_keys: repeats,
        legacy_octal_numbers: true,
        strict_booleans: strict_booleans,
        with_snippet: false,
    }
}

/// The documents of a stream with the lines they begin on. A marker line stays with the document that it opens, so that what follows
/// `---` on its line is read, and so that lines count alike here and in the parser.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut out = Vec::new();
    let (mut from, mut at, mut first_line) = (0, 0, 1);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let opens =
            line.strip_prefix("---").is_some_and(|rest| rest.trim_end().is_empty() || rest.starts_with([' ', '\t']));
        // What stands before the first marker may be a directive (`%YAML 1.2`), which belongs to the document that follows.
        if opens && at > from && !text[from..at].lines().any(|it| it.starts_with('%')) {
            out.push((first_line, &text[from..at]));
            (from, first_line) = (at, index + 1);
        }
        at += line.len();
    }
    if at > from {
        out.push((first_line, &text[from..at]));
    }
    out
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|it| **it == b'\n').count()
}

fn object(source: &str, line: usize, value: Value) -> Result<Document, ReadError> {
    let found = match &value {
        Value::Object(_) => return Ok(Document { source: source.to_owned(), line, value }),
        Value::Array(_) => "list",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
    };
    Err(ReadError::NotAnObject { origin: source.to_owned(), line, found })
}

/// A `List` of core/v1 as `kubectl get -o yaml` prints it is the sum of its items.
fn items(document: Document) -> Vec<Document> {
    if document.value["kind"] != "List" || document.value["apiVersion"] != "v1" {
        return vec![document];
    }
    let Document { source, line, mut value } = document;
    #[derive(Deserialize)]
    struct List {
        #[serde(default)]
        items: Vec<Value>,
    }
    let list = List::deserialize(value.take()).unwrap_or(List { items: Vec::new() });
    list.items.into_iter().map(|value| Document { source: source.clone(), line, value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, expected: &[(usize, Value)]) {
        let got: Vec<(usize, Value)> =
            read("f.yaml", text.as_bytes()).unwrap().into_iter().map(|it| (it.line, it.value)).collect();
        assert_eq!(got, expected, "{text}");
    }

    fn check_error(text: &[u8], expected: &str) {
        let got = read("f.yaml", text).unwrap_err().to_string();
        assert!(got.starts_with(expected), "{got}\nis not\n{expected}");
    }

    #[test]
    fn reads_streams() {
        check("a: 1\n---\n# nothing\n---\nb: 2\n", &[(1, json!({"a":1})), (4, json!({"b":2}))]);
        check("---\na: 1\n--- # second\nb: |\n  x\n  --- y\n", &[(1, json!({"a":1})), (3, json!({"b":"x\n--- y\n"}))]);
        check("{\"a\":1}\n\n{\"b\":2}", &[(1, json!({"a":1})), (3, json!({"b":2}))]);
        check("{a: 1}\n", &[(1, json!({"a":1}))]);
        check("", &[]);
        check("# only a comment\n", &[]);
        check("%YAML 1.2\n---\na: 1\n", &[(1, json!({"a":1}))]);
        check("\u{feff}a: 1\r\nb: 2\r\n---\r\nc: 3\r\n", &[(1, json!({"a":1,"b":2})), (3, json!({"c":3}))]);
    }

    #[test]
    fn reads_scalars_as_kubernetes_does() {
        check(
            "mode: 0644\nport: 8080\n'on': \"on\"\nt: true\n\"n\": null\ns: '0644'\nf: 1.5\nv: 1.2.3\nt2: 10m\n",
            &[(
                1,
                json!({"mode":420,"port":8080,"on":"on","t":true,"n":null,"s":"0644","f":1.5,"v":"1.2.3","t2":"10m"}),
            )],
        );
        check("1: a\ntrue: b\n", &[(1, json!({"1":"a","true":"b"}))]);
        check("base: &b {x: 1}\nmore: *b\n", &[(1, json!({"base":{"x":1},"more":{"x":1}}))]);
        check(
            "a: 2026-01-01T00:00:00Z\nb: 1e3\nc: 0x1f\nd: ~\n",
            &[(1, json!({"a":"2026-01-01T00:00:00Z","b":1000,"c":31,"d":null}))],
        );
    }

    #[test]
    fn words_and_keys_are_those_of_yaml_1_1() {
        check(
            "a: [y, Y, yes, Yes, YES, on, On, ON, true, True, TRUE]\n",
            &[(1, json!({"a": [true, true, true, true, true, true, true, true, true, true, true]}))],
        );
        check(
            "a: [n, N, no, No, NO, off, Off, OFF, false, False, FALSE]\n",
            &[(1, json!({"a": [false, false, false, false, false, false, false, false, false, false, false]}))],
        );
        check(
            "a: ['y', \"no\", !!str on, yessir, 'true']\n",
            &[(1, json!({"a": ["y", "no", "on", "yessir", "true"]}))],
        );
        check(
            "on: 1\nno: 2\n'y': 3\n0644: 4\n1.5: 5\n-1: 6\n",
            &[(1, json!({"true": 1, "false": 2, "y": 3, "420": 4, "1.5": 5, "-1": 6}))],
        );
        check("1_000: 1\na: 1_000\n1e7: x\n", &[(1, json!({"1000": 1, "a": 1000, "1e+07": "x"}))]);
        check("a: 2.0\nb: -1.50\nc: 1e300\n", &[(1, json!({"a": 2, "b": -1.5, "c": 1e300}))]);
        check_error(b"~: 1\n", "error parsing f.yaml:1:");
    }

    #[test]
    fn words_in_mixed_case_are_texts() {
        check(
            "a: [yEs, yes, 'yes', oN, ON, Off, oFF, nO, \"nO\", YEs]\n",
            &[(1, json!({"a": ["yEs", true, "yes", "oN", true, false, "oFF", "nO", "nO", "YEs"]}))],
        );
        check(
            "yEs: 1\noff: {oFf: no, x: [{nO: yES}]}\n'on': 2\n",
            &[(1, json!({"yEs": 1, "false": {"oFf": false, "x": [{"nO": "yES"}]}, "on": 2}))],
        );
        check("a: b\n---\nnOn: iOn\n", &[(1, json!({"a": "b"})), (2, json!({"nOn": "iOn"}))]);
    }

    #[test]
    fn lists_are_their_items() {
        check(
            "apiVersion: v1\nkind: List\nitems:\n- {kind: A}\n- {kind: B}\n",
            &[(1, json!({"kind":"A"})), (1, json!({"kind":"B"}))],
        );
    }

    #[test]
    fn refuses_with_the_line() {
        check_error(b"a: 1\n---\nb: 1\nb: 2\n", "error parsing f.yaml:4:");
        check_error(b"a: 1\n---\nb: [1\n", "error parsing f.yaml:");
        check_error(b"- a\n", "error parsing f.yaml:1: the document is a list, not an object");
        check_error(b"just text\n", "error parsing f.yaml:1: the document is a string");
        check_error(b"a: \xff\n", "f.yaml: the text is not UTF-8 (byte 3)");
        check_error(br#"{"a":1,"a":2}"#, "error parsing f.yaml:1: duplicate field \"a\"");
        check_error(b"{\"a\":", "error parsing f.yaml:1: EOF");
    }

    #[test]
    fn bounds_what_a_hostile_text_can_do() {
        let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..9 {
            let before = format!("*a{}", i - 1);
            laughs.push_str(&format!("a{i}: &a{i} [{}]\n", [before.as_str(); 10].join(",")));
        }
        assert!(read("bomb", laughs.as_bytes()).is_err());
        let deep = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(read("deep", deep.as_bytes()).is_err());
        let deep_json = format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
        assert!(read("deep", deep_json.as_bytes()).is_err());
        assert!(matches!(read("big", &vec![b' '; STREAM_LIMIT_BYTES + 1]), Err(ReadError::TooLarge { .. })));
    }

    #[test]
    fn one_document_is_one() {
        assert_eq!(read_one("body", b"kind: List\nitems: []\n").unwrap()["kind"], "List");
        assert!(read_one("body", b"a: 1\n---\nb: 1\n").is_err());
        assert!(read_one("body", b"").is_err());
    }

    #[test]
    fn json_is_yaml() {
        for text in [
            r#"{"a": 2.0, "b": -1.50, "c": 1e300, "d": 1e3, "e": [null, true, {"f": "on", "on": "0644", "<<": {"g": 1}}]}"#,
            "\n{\"a\": \"\\u00e9\\/\\t\"}\n",
            r#"{"a": 9223372036854775807, "b": 18446744073709551615, "c": -0.0}"#,
        ] {
            let as_yaml = yaml_stream("b", text, 2).unwrap().remove(0).value;
            assert_eq!(json_object(text), Some(as_yaml), "{text}");
        }
        for text in [r#"{"a": 1, "a": 2}"#, r#"{"a": 1} {"b": 2}"#, "{a: 1}", "[1]", "{\"a\": 1}\n---\n{\"b\": 1}", ""]
        {
            assert_eq!(json_object(text), None, "{text}");
        }
        assert_eq!(
            read_one_with_repeats("b", br#"{"a": 1, "a": 2}"#).unwrap().1,
            ["line 1: key \"a\" already set in map"]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = read("fuzz", &bytes);
        }
        #[test]
        fn what_was_written_as_json_is_read_alike(text in "[a-zA-Z0-9:# \\-'\"\\n\\t{}&*!|>%@`]{0,40}") {
            let value = json!({ "a": text, "b": { "c": [text] } });
            let found = read("x", value.to_string().as_bytes()).unwrap();
            proptest::prop_assert_eq!(&found[0].value, &value);
        }
    }

    #[test]
    fn what_stands_twice_is_told_and_the_last_counts() {
        let read = |text: &str| read_one_with_repeats("b", text.as_bytes());
        let text = "# a comment\na: 1\nb: {c: 1, c: 2}\na: 2\nd:\n- x: 1\n  z: 2\n  x: 3\n";
        let (value, told) = read(text).unwrap();
        assert_eq!(value, serde_json::json!({"a": 2, "b": {"c": 2}, "d": [{"x": 3, "z": 2}]}));
        let expected = [(3, "c"), (4, "a"), (8, "x")];
        assert_eq!(told, expected.map(|(line, key)| format!("line {line}: key {key:?} already set in map")));
        assert_eq!(read("a: 1\n").unwrap(), (serde_json::json!({"a": 1}), Vec::new()));
        assert!(read("a: 1\na: [\n").is_err());
    }
}
