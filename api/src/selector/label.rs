//! Label selectors: `app=web,tier in (a,b),!old,size>3`.
//!
//! In: the text of a query parameter, or a `LabelSelector` of an object. Out: a [`Selector`] that is valid by construction and matches
//! without allocating. Grammar and complaints are those of `k8s.io/apimachinery/pkg/labels`.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use smallvec::SmallVec;

use crate::field::{Errors, Path};
use crate::head::Labels;
use crate::name;
use crate::status::{self, Status};

mod parse;

/// The longest text of a selector. A term has at most 253 + 1 + 63 bytes of key, and URLs above 64 KiB are refused by most proxies.
pub const TEXT_LIMIT_BYTES: usize = 64 * 1024;
/// How many requirements and values a selector may have in all; matching costs time for each.
pub const TERMS_LIMIT: usize = 10_000;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    Equals,
    DoubleEquals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: Box<str>,
    operator: Operator,
    /// Sorted and without repetitions, so that sets are searched by halves.
    values: SmallVec<[Box<str>; 1]>,
    /// The value of `GreaterThan` and `LessThan`.
    bound: i64,
}

impl Requirement {
    /// A requirement on label `key`.
    ///
    /// # Errors
    /// `BadRequest` where key, values or their number do not fit the operator.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> status::Result<Self> {
        let mut errors = Errors::default();
        for_key(key, Path::new("key"), &mut errors);
        let path = Path::new("values");
        let mut bound = 0;
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                errors.invalid(path.clone(), &values, "for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                errors.invalid(path.clone(), &values, "exact-match compatibility requires one single value");
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                errors.invalid(path.clone(), &values, "values set must be empty for exists and does not exist");
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    errors.invalid(path.clone(), &values, "for 'Gt', 'Lt' operators, exactly one value is required");
                }
                for (at, value) in values.iter().enumerate() {
                    match value.parse() {
                        Ok(number) => bound = number,
                        Err(_) => errors.invalid(
                            path.index(at),
                            value,
                            "for 'Gt', 'Lt' operators, the value must be an integer",
                        ),
                    }
                }
            }
            _ => {}
        }
        for (at, value) in values.iter().enumerate() {
            let complaints = name::label_value(value);
            if !complaints.is_empty() {
                errors.invalid(path.index(at).key(key), value, complaints.join("; "));
            }
        }
        aggregate(&errors)?;
        let mut values: SmallVec<[Box<str>; 1]> = values.into_iter().map(String::into_boxed_str).collect();
        values.sort();
        values.dedup();
        Ok(Requirement { key: key.into(), operator, values, bound })
    }

    /// The label.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it compares with, sorted.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|it| &**it)
    }

    /// Whether a label of this value (none: the label is not there) fulfils it.
    pub fn matches(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => value.is_some_and(|it| self.has(it)),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(|it| self.has(it)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => number(value).is_some_and(|it| it > self.bound),
            Operator::LessThan => number(value).is_some_and(|it| it < self.bound),
        }
    }

    fn has(&self, value: &str) -> bool {
        match &*self.values {
            [only] => **only == *value,
            many => many.binary_search_by(|it| (**it).cmp(value)).is_ok(),
        }
    }
}

fn number(value: Option<&str>) -> Option<i64> {
    value?.parse().ok()
}

/// Fails with the errors, worded as one error if there is one, else as a list in brackets.
fn aggregate(errors: &Errors) -> status::Result<()> {
    match errors.list() {
        [] => Ok(()),
        [only] => Err(Status::bad_request(only.to_string())),
        many => {
            let texts: Vec<String> = many.iter().map(ToString::to_string).collect();
            Err(Status::bad_request(format!("[{}]", texts.join(", "))))
        }
    }
}

fn for_key(key: &str, path: Path, errors: &mut Errors) {
    let complaints = name::qualified_name(key);
    if !complaints.is_empty() {
        errors.invalid(path, key, complaints.join("; "));
    }
}

/// What gives the value of a label: [`Labels`], maps, or a function.
pub trait LabelSource {
    /// The value of the label `key`, if it is there.
    fn label(&self, key: &str) -> Option<&str>;
}

impl LabelSource for Labels {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)
    }
}

impl LabelSource for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<S: LabelSource> LabelSource for Option<S> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref()?.label(key)
    }
}

impl LabelSource for serde_json::Map<String, serde_json::Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

/// Conditions on labels, all of which must hold. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// In key order.
    requirements: Box<[Requirement]>,
}

impl Selector {
    /// Reads the text of a `labelSelector` parameter.
    ///
    /// # Errors
    /// `BadRequest` with Kubernetes' words where the text is no selector, too long or of too many terms.
    pub fn parse(text: &str) -> status::Result<Self> {
        parse::selector(text)
    }

    /// The selector that an object's `LabelSelector` describes.
    ///
    /// # Errors
    /// `BadRequest` for what [`validate`] complains of.
    pub fn from_label_selector(source: &LabelSelector) -> status::Result<Self> {
        let mut requirements = Vec::new();
        for (key, value) in source.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.clone()])?);
        }
        for expression in source.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(Status::bad_request(format!("\"{other}\" is not a valid label selector operator")));
                }
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        Self::of(requirements)
    }

    /// The selector of these requirements.
    ///
    /// # Errors
    /// `BadRequest` where there are more than [`TERMS_LIMIT`] terms.
    pub fn of(mut requirements: Vec<Requirement>) -> status::Result<Self> {
        let terms: usize = requirements.iter().map(|it| it.values.len().max(1)).sum();
        if terms > TERMS_LIMIT {
            return Err(Status::bad_request(format!(
                "the selector has {terms} terms: must have at most {TERMS_LIMIT}"
            )));
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Selector { requirements: requirements.into() })
    }

    /// Its conditions, in key order.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &impl LabelSource) -> bool {
        self.requirements.iter().all(|it| it.matches(labels.label(&it.key)))
    }

    /// Whether an object is selected whose labels `label` tells.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|it| it.matches(label(&it.key)))
    }

    /// The value that every match has under `key`, where one condition demands exactly one: what an index is asked for.
    pub fn required(&self, key: &str) -> Option<&str> {
        let equal = |it: &&Requirement| {
            matches!(it.operator, Operator::Equals | Operator::DoubleEquals | Operator::In) && it.values.len() == 1
        };
        self.requirements.iter().filter(|it| *it.key == *key).find(equal).map(|it| &*it.values[0])
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.values.first().map_or("", |it| it);
        match self.operator {
            Operator::DoesNotExist => write!(f, "!{}", self.key),
            Operator::Exists => write!(f, "{}", self.key),
            Operator::Equals => write!(f, "{}={first}", self.key),
            Operator::DoubleEquals => write!(f, "{}=={first}", self.key),
            Operator::NotEquals => write!(f, "{}!={first}", self.key),
            Operator::GreaterThan => write!(f, "{}>{first}", self.key),
            Operator::LessThan => write!(f, "{}<{first}", self.key),
            Operator::In => write!(f, "{} in ({})", self.key, self.values.join(",")),
            Operator::NotIn => write!(f, "{} notin ({})", self.key, self.values.join(",")),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

/// Notes every mistake in an object's `LabelSelector` (`ValidateLabelSelector`).
pub fn validate(selector: &LabelSelector, path: &Path, errors: &mut Errors) {
    for (key, value) in selector.match_labels.iter().flatten() {
        let path = path.child("matchLabels");
        for_key(key, path.clone(), errors);
        for complaint in name::label_value(value) {
            errors.invalid(path.clone(), value, complaint);
        }
    }
    for (at, expression) in selector.match_expressions.iter().flatten().enumerate() {
        validate_expression(expression, &path.child("matchExpressions").index(at), errors);
    }
}

fn validate_expression(expression: &LabelSelectorRequirement, path: &Path, errors: &mut Errors) {
    let values = expression.values.as_deref().unwrap_or_default();
    match expression.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors
                .forbidden(path.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid(path.child("operator"), other, "not a valid selector operator"),
    }
    for_key(&expression.key, path.child("key"), errors);
    for (at, value) in values.iter().enumerate() {
        for complaint in name::label_value(value) {
            errors.invalid(path.child("values").index(at), value, complaint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, labels: &[(&str, &str)], expected: bool) {
        let labels: Labels = labels.iter().copied().collect();
        let selector = Selector::parse(text).unwrap();
        assert_eq!(selector.matches(&labels), expected, "{text} on {labels:?}");
    }

    fn check_error(text: &str, expected: &str) {
        assert_eq!(Selector::parse(text).unwrap_err().message, expected, "{text}");
    }

    #[test]
    fn matches_as_kubernetes_does() {
        check("", &[], true);
        check("a=1", &[("a", "1")], true);
        check("a==1,b!=2", &[("a", "1")], true);
        check("a==1,b!=2", &[("a", "1"), ("b", "2")], false);
        check("a", &[("a", "")], true);
        check("!a", &[("a", "")], false);
        check("! a", &[("b", "")], true);
        check("a in (x, y)", &[("a", "y")], true);
        check("a notin (x,y)", &[], true);
        check("a notin (x,y)", &[("a", "x")], false);
        check("a in ()", &[("a", "")], true);
        check("a>5,a<9", &[("a", "7")], true);
        check("a>5", &[("a", "x")], false);
        check("a=", &[("a", "")], true);
        check("in=notin", &[("in", "notin")], true);
        check("a!=", &[("a", "")], false);
    }

    #[test]
    fn complains_as_kubernetes_does() {
        check_error("a=b=c", "found '=', expected: ',' or 'end of string'");
        check_error("a,", "found '', expected: identifier after ','");
        check_error("=a", "found '=', expected: !, identifier, or 'end of string'");
        check_error("a in b", "unable to parse requirement: found 'b' expected: '('");
        check_error("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        check_error("a in (b", "unable to parse requirement: found '', expected: ',' or ')'");
        check_error(
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        );
        check_error("!", "unable to parse requirement: found '', expected: identifier");
        let text = Selector::parse("-a=b").unwrap_err().message;
        assert!(
            text.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must"),
            "{text}"
        );
        let text = Selector::parse("a=-b").unwrap_err().message;
        assert!(
            text.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid"),
            "{text}"
        );
        assert!(Selector::parse(&"a,".repeat(TEXT_LIMIT_BYTES)).is_err());
        let many: Vec<String> = (0..=TERMS_LIMIT).map(|it| it.to_string()).collect();
        assert!(Selector::parse(&format!("a in ({})", many.join(","))).is_err());
    }

    #[test]
    fn tells_what_an_index_may_use() {
        let selector = Selector::parse("b in (x),a=1,c in (y,z)").unwrap();
        assert_eq!(
            (selector.required("a"), selector.required("b"), selector.required("c")),
            (Some("1"), Some("x"), None)
        );
        assert_eq!(selector.to_string(), "a=1,b in (x),c in (y,z)");
    }

    fn requirement() -> impl Strategy<Value = Requirement> {
        let value = "([a-z0-9]{1,3})?";
        ("[a-z]{1,3}", 0..9, prop::collection::vec(value, 1..4), any::<i16>()).prop_map(
            |(key, which, values, number)| {
                let one = vec![values[0].clone()];
                let (operator, values) = match which {
                    0 => (Operator::Equals, one),
                    1 => (Operator::DoubleEquals, one),
                    2 => (Operator::NotEquals, one),
                    3 => (Operator::In, values),
                    4 => (Operator::NotIn, values),
                    5 => (Operator::Exists, vec![]),
                    6 => (Operator::DoesNotExist, vec![]),
                    7 => (Operator::GreaterThan, vec![number.unsigned_abs().to_string()]),
                    _ => (Operator::LessThan, vec![number.unsigned_abs().to_string()]),
                };
                Requirement::new(&key, operator, values).unwrap()
            },
        )
    }

    proptest! {
        #[test]
        fn printed_selectors_read_back(requirements in prop::collection::vec(requirement(), 0..5)) {
            let selector = Selector::of(requirements).unwrap();
            prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
        }

        #[test]
        fn no_text_panics(text in "[a-z=!<>(), ]{0,20}") {
            let _ = Selector::parse(&text);
        }
    }
}
