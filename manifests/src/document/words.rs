//! Words in mixed case (`yEs`, `oFF`), which the YAML parser takes for booleans and go-yaml leaves as texts.
//!
//! In: two readings of one document, with such words as booleans and as texts. Out: the reading of go-yaml, which knows each word in small
//! letters, in capitals, and with a capital first. Left are `tRUE` and `fALSE`, which the parser reads as booleans either way, and two keys of
//! one map that mean the same (`on` beside `yEs`), of which the first reading has kept one.
//! Source: the table of `resolve.go`.

use serde_json::{Map, Value};

const TRUE: [&str; 2] = ["yes", "on"];
const FALSE: [&str; 2] = ["no", "off"];

/// Whether a text may hold such a word, so that a second reading is worth it. Most hold none.
pub fn occur_in(text: &str) -> bool {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric());
    words.into_iter().any(|it| boolean(it).is_some() && !is_known(it))
}

fn boolean(word: &str) -> Option<bool> {
    let is_one = |of: [&str; 2]| of.iter().any(|it| it.eq_ignore_ascii_case(word));
    if is_one(TRUE) { Some(true) } else { is_one(FALSE).then_some(false) }
}

/// Whether go-yaml knows the word in this case.
fn is_known(word: &str) -> bool {
    let rest = word.get(1..).unwrap_or_default();
    let small = |it: &str| it.bytes().all(|it| it.is_ascii_lowercase());
    small(rest) || word.bytes().all(|it| it.is_ascii_uppercase())
}

/// `loose`, with the words that are texts for go-yaml as texts again; `strict` is the reading in which all words but true and false are.
pub fn restored(loose: Value, strict: Value) -> Value {
    match (loose, strict) {
        (Value::Bool(_), Value::String(text)) if boolean(&text).is_some() && !is_known(&text) => Value::String(text),
        (Value::Array(loose), Value::Array(strict)) => {
            loose.into_iter().zip(strict).map(|(loose, strict)| restored(loose, strict)).collect()
        }
        (Value::Object(mut loose), Value::Object(strict)) => {
            let mut out = Map::new();
            for (key, strict) in strict {
                // A key that the loose reading does not have is a word that stands there as a boolean.
                let (key, value) = match (loose.remove(&key), boolean(&key)) {
                    (Some(value), _) => (key, value),
                    (None, Some(meant)) => {
                        let value = loose.get(meant.to_string().as_str()).cloned().unwrap_or_default();
                        (if is_known(&key) { meant.to_string() } else { key }, value)
                    }
                    (None, None) => continue,
                };
                out.insert(key, restored(value, strict));
            }
            Value::Object(out)
        }
        (loose, _) => loose,
    }
}
