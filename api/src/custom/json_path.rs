//! JSONPath, as printer columns and the scale subresource of custom resources use it: `.status.conditions[?(@.type=="Ready")].status`.
//!
//! In: the text of a path without the braces that templates have. Out: a parsed [`JsonPath`] that finds values in an object. Source:
//! `k8s.io/client-go/util/jsonpath`; what only templates know (`range`, several expressions, literal text) is a mistake here.

use std::cmp::Ordering;

use serde_json::Value;

/// How many steps a path may have: each nesting of an object costs one, and objects nest at most 128 deep.
const STEPS_MAX: usize = 128;

/// How many values a path may find before the search ends: only the first is shown.
const FOUND_MAX: usize = 1000;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(Box<str>),
    Index(i64),
    /// `[from:to:by]`.
    Slice(Option<i64>, Option<i64>, i64),
    Every,
    /// `..`: the value and everything below it.
    Below,
    /// `[0,2]`, `['a','b']`.
    Several(Box<[Step]>),
    Filter(Box<Operand>, Option<(Compare, Box<Operand>)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The signs of comparison, the longer before those that they begin with.
const SIGNS: [(&str, Compare); 6] = [
    ("==", Compare::Equal),
    ("!=", Compare::NotEqual),
    ("<=", Compare::LessOrEqual),
    (">=", Compare::GreaterOrEqual),
    ("<", Compare::Less),
    (">", Compare::Greater),
];

impl JsonPath {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text, at: 0 };
        let path = parser.path()?;
        if parser.at < text.len() {
            return Err(format!("unrecognized character in action: {:?}", parser.rest().chars().next().unwrap_or(' ')));
        }
        Ok(path)
    }

    /// All values that the path leads to, in order.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                step.take(value, &mut next);
                if next.len() > FOUND_MAX {
                    next.truncate(FOUND_MAX);
                    break;
                }
            }
            found = next;
        }
        found
    }

    /// The first value that the path leads to.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.find(value).into_iter().next()
    }

    /// The names of its fields, if it has nothing but fields: `.spec.replicas`.
    pub fn fields(&self) -> Option<Vec<&str>> {
        self.steps.iter().map(|it| if let Step::Field(name) = it { Some(&**name) } else { None }).collect()
    }
}

impl Step {
    fn take<'v>(&self, value: &'v Value, out: &mut Vec<&'v Value>) {
        match self {
            Step::Field(name) => out.extend(value.get(&**name)),
            Step::Index(at) => {
                let Some(list) = value.as_array() else { return };
                let at = if *at < 0 { *at + list.len() as i64 } else { *at };
                out.extend(usize::try_from(at).ok().and_then(|it| list.get(it)));
            }
            Step::Slice(from, to, by) => {
                let Some(list) = value.as_array() else { return };
                let bound =
                    |it: i64| (if it < 0 { it + list.len() as i64 } else { it }).clamp(0, list.len() as i64) as usize;
                let (from, to) = (bound(from.unwrap_or(0)), bound(to.unwrap_or(list.len() as i64)));
                if from < to {
                    out.extend(list[from..to].iter().step_by(usize::try_from(*by).unwrap_or(1).max(1)));
                }
            }
            Step::Every => match value {
                Value::Array(list) => out.extend(list),
                Value::Object(fields) => out.extend(fields.values()),
                _ => {}
            },
            Step::Below => below(value, out),
            Step::Several(steps) => steps.iter().for_each(|it| it.take(value, out)),
            Step::Filter(left, right) => {
                for it in value.as_array().into_iter().flatten() {
                    if holds(it, left, right.as_ref()) {
                        out.push(it);
                    }
                }
            }
        }
    }
}

fn below<'v>(value: &'v Value, out: &mut Vec<&'v Value>) {
    if out.len() > FOUND_MAX {
        return;
    }
    out.push(value);
    match value {
        Value::Array(list) => list.iter().for_each(|it| below(it, out)),
        Value::Object(fields) => fields.values().for_each(|it| below(it, out)),
        _ => {}
    }
}

fn holds(value: &Value, left: &Operand, right: Option<&(Compare, Box<Operand>)>) -> bool {
    let value_of = |it: &Operand| match it {
        Operand::Path(path) => path.first(value).cloned(),
        Operand::Literal(literal) => Some(literal.clone()),
    };
    let Some(left) = value_of(left) else { return false };
    let Some((sign, right)) = right else { return true };
    let Some(right) = value_of(right) else { return false };
    let order = match (&left, &right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    };
    match (sign, order) {
        (Compare::Equal, order) => order == Some(Ordering::Equal),
        (Compare::NotEqual, order) => order.is_some_and(|it| it != Ordering::Equal),
        (Compare::Less, order) => order == Some(Ordering::Less),
        (Compare::LessOrEqual, order) => order.is_some_and(Ordering::is_le),
        (Compare::Greater, order) => order == Some(Ordering::Greater),
        (Compare::GreaterOrEqual, order) => order.is_some_and(Ordering::is_ge),
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn accept(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    fn spaces(&mut self) {
        while self.accept(" ") {}
    }

    /// Steps, as long as there are some.
    fn path(&mut self) -> Result<JsonPath, String> {
        let mut steps = Vec::new();
        loop {
            if steps.len() > STEPS_MAX {
                return Err("too many steps".to_owned());
            }
            if self.accept("..") {
                steps.push(Step::Below);
                match self.rest().chars().next() {
                    Some('[') => {}
                    _ => steps.push(self.field()?),
                }
            } else if self.accept(".") {
                // The whole object is written as one point.
                if !self.rest().is_empty() && !self.rest().starts_with('[') {
                    steps.push(self.field()?);
                }
            } else if self.accept("[") {
                let step = self.bracket()?;
                steps.push(step);
            } else {
                return Ok(JsonPath { steps: steps.into() });
            }
        }
    }

    /// A name behind a point: up to the next sign that has a meaning; a backslash takes it away.
    fn field(&mut self) -> Result<Step, String> {
        let mut name = String::new();
        let mut letters = self.rest().char_indices();
        let mut end = self.rest().len();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => name.extend(letters.next().map(|(_, it)| it)),
                '.' | '[' | ']' | '(' | ')' | ' ' | ',' | '|' | '=' | '!' | '<' | '>' | '{' | '}' | '\'' | '"'
                | '@' => {
                    end = at;
                    break;
                }
                letter => name.push(letter),
            }
        }
        self.at += end;
        match &*name {
            "" => Err("incomplete or empty field name".to_owned()),
            "*" => Ok(Step::Every),
            _ => Ok(Step::Field(name.into())),
        }
    }

    /// What stands between brackets; the first is read.
    fn bracket(&mut self) -> Result<Step, String> {
        if self.accept("?(") {
            return self.filter();
        }
        let mut steps = Vec::new();
        loop {
            self.spaces();
            steps.push(self.entry()?);
            self.spaces();
            if self.accept("]") {
                break;
            }
            if !self.accept(",") {
                return Err("unterminated array".to_owned());
            }
        }
        Ok(if steps.len() == 1 { steps.remove(0) } else { Step::Several(steps.into()) })
    }

    fn entry(&mut self) -> Result<Step, String> {
        if self.accept("*") {
            return Ok(Step::Every);
        }
        if self.rest().starts_with(['\'', '"']) {
            return self.quoted().map(|it| Step::Field(it.into()));
        }
        let first = self.number()?;
        if !self.accept(":") {
            return first.map(Step::Index).ok_or_else(|| format!("invalid array index {}", self.rest()));
        }
        let to = self.number()?;
        let by = if self.accept(":") { self.number()? } else { None }.unwrap_or(1);
        if by <= 0 {
            return Err("step must be > 0".to_owned());
        }
        Ok(Step::Slice(first, to, by))
    }

    fn number(&mut self) -> Result<Option<i64>, String> {
        let end = self.rest().find(|it: char| !it.is_ascii_digit() && it != '-').unwrap_or(self.rest().len());
        let digits = &self.rest()[..end];
        self.at += end;
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().map(Some).map_err(|_| format!("invalid array index {digits}"))
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = self.rest().chars().next().unwrap_or('"');
        self.at += 1;
        let mut out = String::new();
        let mut letters = self.rest().char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => out.extend(letters.next().map(|(_, it)| it)),
                it if it == quote => {
                    self.at += at + 1;
                    return Ok(out);
                }
                it => out.push(it),
            }
        }
        Err("unterminated quoted string".to_owned())
    }

    fn filter(&mut self) -> Result<Step, String> {
        self.spaces();
        let left = self.operand()?;
        self.spaces();
        let sign = SIGNS.into_iter().find(|(text, _)| self.accept(text));
        let right = match sign {
            None => None,
            Some((_, sign)) => {
                self.spaces();
                Some((sign, Box::new(self.operand()?)))
            }
        };
        self.spaces();
        if !self.accept(")]") {
            return Err("unterminated filter".to_owned());
        }
        Ok(Step::Filter(Box::new(left), right))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        if self.accept("@") {
            return self.path().map(Operand::Path);
        }
        if self.rest().starts_with(['\'', '"']) {
            return self.quoted().map(|it| Operand::Literal(it.into()));
        }
        let end = self.rest().find([')', ' ', '=', '!', '<', '>']).unwrap_or(self.rest().len());
        let word = &self.rest()[..end];
        self.at += end;
        match serde_json::from_str(word) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Operand::Literal(value)),
            _ => Err(format!("unrecognized identifier {word}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(path: &str, expected: Option<Value>) {
        let object = json!({
            "spec": {"replicas": 3, "a.b": "dotted", "list": [1, 2, 3, 4], "deep": {"name": "x", "more": {"name": "y"}}},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "n": 5}, {"type": "Synced", "status": "False", "n": 7},
            ]},
        });
        let found: Value = JsonPath::parse(path).unwrap().find(&object).into_iter().cloned().collect();
        assert_eq!(found, expected.unwrap_or_else(|| json!([])), "{path}");
    }

    #[test]
    fn paths_lead_to_values() {
        check(".spec.replicas", Some(json!([3])));
        check("['spec']['replicas']", Some(json!([3])));
        check(".spec.nothing", None);
        check(r".spec.a\.b", Some(json!(["dotted"])));
        check(".spec['a.b']", Some(json!(["dotted"])));
        check(".spec.list[0]", Some(json!([1])));
        check(".spec.list[-1]", Some(json!([4])));
        check(".spec.list[9]", None);
        check(".spec.list[1:3]", Some(json!([2, 3])));
        check(".spec.list[::2]", Some(json!([1, 3])));
        check(".spec.list[0,2]", Some(json!([1, 3])));
        check(".spec.list[*]", Some(json!([1, 2, 3, 4])));
        check(".status.conditions[?(@.type==\"Ready\")].status", Some(json!(["True"])));
        check(".status.conditions[?(@.type=='Synced')].n", Some(json!([7])));
        check(".status.conditions[?(@.n > 5)].type", Some(json!(["Synced"])));
        check(".status.conditions[?(@.n)].type", Some(json!(["Ready", "Synced"])));
        check(".status.conditions[*].type", Some(json!(["Ready", "Synced"])));
        check(".spec..name", Some(json!(["x", "y"])));
    }

    #[test]
    fn what_is_no_path_is_a_mistake() {
        for bad in ["spec.x", ".spec[", ".spec[a]", ".a[?(@.b==)]", ".a[?(@.b", ".a..", ".a['b", ".a[0:1:0]", ".a b"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
        assert!(JsonPath::parse(&".a".repeat(1000)).is_err());
        assert_eq!(JsonPath::parse(".spec.replicas").unwrap().fields(), Some(vec!["spec", "replicas"]));
        assert_eq!(JsonPath::parse(".spec[0]").unwrap().fields(), None);
    }
}
