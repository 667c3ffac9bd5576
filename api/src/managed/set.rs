//! Sets of fields, as `managedFields` writes them (`FieldsV1`): a tree of steps, each of which may itself be a member.
//!
//! In: steps, or the JSON of `fieldsV1`. Out: unions, intersections and differences, that JSON, and the paths that conflicts show. Source:
//! `sigs.k8s.io/structured-merge-diff/v6/fieldpath`. A set borrows from the texts that it was read from.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use serde_json::Value;

use super::text::{Cursor, escape};

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Into a field. A borrowed name has no characters that JSON escapes.
    Field(Cow<'a, str>),
    /// To the element of a list that has these values in its key fields, as JSON texts.
    Key(Vec<(Cow<'a, str>, Cow<'a, str>)>),
    /// To a scalar of a set, as JSON text.
    Value(Cow<'a, str>),
    /// To an element by its place.
    Index(i64),
}

impl Step<'_> {
    fn rank(&self) -> u8 {
        match self {
            Step::Field(_) => 0,
            Step::Key(_) => 1,
            Step::Value(_) => 2,
            Step::Index(_) => 3,
        }
    }

    /// Reads a step as `FieldsV1` writes it: `f:name`, `k:{"name":"web"}`, `v:"x"`, `i:0`.
    fn read<'a>(text: &Cow<'a, str>) -> Option<Step<'a>> {
        let (sort, rest) = text.split_at_checked(2)?;
        match sort {
            "f:" => Some(Step::Field(match text {
                Cow::Borrowed(text) => Cow::Borrowed(&text[2..]),
                Cow::Owned(text) => Cow::Owned(text[2..].to_owned()),
            })),
            "v:" => Some(Step::Value(Cow::Owned(canonical(rest)?))),
            "i:" => rest.parse().ok().map(Step::Index),
            "k:" => {
                let mut cursor = Cursor::new(rest);
                let mut parts: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
                let mut more = cursor.open(b'{', b'}')?;
                while more {
                    let name = Cow::Owned(cursor.name()?.into_owned());
                    parts.push((name, Cow::Owned(canonical(cursor.value()?)?)));
                    more = cursor.next(b'}')?;
                }
                parts.sort_by(|(one, _), (other, _)| one.cmp(other));
                Some(Step::Key(parts))
            }
            _ => None,
        }
    }

    /// Writes the step between the quotes of a JSON string.
    pub fn write_to(&self, out: &mut String) {
        match self {
            Step::Field(name) => {
                out.push_str("f:");
                escape(name, out);
            }
            Step::Key(parts) => {
                out.push_str("k:{");
                for (at, (name, value)) in parts.iter().enumerate() {
                    out.push_str(if at > 0 { ",\\\"" } else { "\\\"" });
                    quote(name, out);
                    out.push_str("\\\":");
                    quote(value, out);
                }
                out.push('}');
            }
            Step::Value(value) => {
                out.push_str("v:");
                quote(value, out);
            }
            Step::Index(at) => {
                let _ = write!(out, "i:{at}");
            }
        }
    }
}

/// Writes JSON text, which has no control characters, between the quotes of a JSON string.
fn quote(text: &str, out: &mut String) {
    for it in text.chars() {
        if matches!(it, '"' | '\\') {
            out.push('\\');
        }
        out.push(it);
    }
}

/// A scalar's JSON text in the one form in which it is compared.
fn canonical(text: &str) -> Option<String> {
    if text.contains('\\') || text.contains(' ') {
        return serde_json::from_str::<Value>(text).ok().map(|it| it.to_string());
    }
    (!text.is_empty()).then(|| text.to_owned())
}

impl Ord for Step<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Step::Field(one), Step::Field(other)) => one.cmp(other),
            (Step::Key(one), Step::Key(other)) => {
                for ((one_name, one), (other_name, other)) in one.iter().zip(other) {
                    let order = one_name.cmp(other_name).then_with(|| compare_scalars(one, other));
                    if order != Ordering::Equal {
                        return order;
                    }
                }
                one.len().cmp(&other.len())
            }
            (Step::Value(one), Step::Value(other)) => compare_scalars(one, other),
            (Step::Index(one), Step::Index(other)) => one.cmp(other),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Step<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Numbers by value before texts before booleans.
fn compare_scalars(one: &str, other: &str) -> Ordering {
    fn rank(text: &str) -> u8 {
        match text.as_bytes().first() {
            Some(b'0'..=b'9' | b'-') => 0,
            Some(b'"') => 1,
            _ => 2,
        }
    }
    match (rank(one), rank(other)) {
        (0, 0) => match (one.parse::<f64>(), other.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.total_cmp(&b).then_with(|| one.cmp(other)),
            _ => one.cmp(other),
        },
        (a, b) => a.cmp(&b).then_with(|| one.cmp(other)),
    }
}

/// As paths show it: `.name`, `[name="web"]`, `[="x"]`.
impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Field(name) => write!(f, ".{name}"),
            Step::Value(value) => write!(f, "[={value}]"),
            Step::Index(at) => write!(f, "[{at}]"),
            Step::Key(parts) => {
                f.write_str("[")?;
                for (at, (name, value)) in parts.iter().enumerate() {
                    write!(f, "{}{name}={value}", if at > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A step, whether what it leads to is a member, and what is below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    pub step: Step<'a>,
    pub member: bool,
    pub below: Set<'a>,
}

/// A set of fields: its nodes in the order of their steps, none without a member in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set<'a>(Vec<Node<'a>>);

impl<'a> Set<'a> {
    /// A set of these nodes; nodes without members are left out.
    pub fn of(mut nodes: Vec<Node<'a>>) -> Self {
        nodes.retain(|it| it.member || !it.below.is_empty());
        if !nodes.is_sorted_by(|one, other| one.step <= other.step) {
            nodes.sort_by(|one, other| one.step.cmp(&other.step));
        }
        Set(nodes)
    }

    /// The set of one path of fields.
    pub fn of_path(path: &[&'a str]) -> Self {
        let mut below = Set::default();
        for (depth, name) in path.iter().rev().enumerate() {
            below = Set(vec![Node { step: Step::Field(Cow::Borrowed(name)), member: depth == 0, below }]);
        }
        below
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Node<'a>] {
        &self.0
    }

    /// The same, to be kept.
    pub fn into_nodes(self) -> Vec<Node<'a>> {
        self.0
    }

    /// The node of a step.
    pub fn get(&self, step: &Step<'_>) -> Option<&Node<'a>> {
        self.0.binary_search_by(|it| it.step.cmp(step)).ok().map(|at| &self.0[at])
    }

    /// Whether this path of fields is a member.
    pub fn has_path(&self, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        let node = self.get(&Step::Field(Cow::Borrowed(first)));
        node.is_some_and(|it| if rest.is_empty() { it.member } else { it.below.has_path(rest) })
    }

    /// The members of either set.
    pub fn union(self, other: &Set<'a>) -> Set<'a> {
        let mut out = Vec::with_capacity(self.0.len() + other.0.len());
        let mut theirs = other.0.iter().peekable();
        for ours in self.0 {
            while let Some(it) = theirs.next_if(|it| it.step < ours.step) {
                out.push(it.clone());
            }
            match theirs.next_if(|it| it.step == ours.step) {
                None => out.push(ours),
                Some(it) => {
                    let member = ours.member || it.member;
                    out.push(Node { step: ours.step, member, below: ours.below.union(&it.below) });
                }
            }
        }
        out.extend(theirs.cloned());
        Set(out)
    }

    /// The members of both sets.
    pub fn intersection(&self, other: &Set<'_>) -> Set<'a> {
        self.selected(other, |ours, theirs| {
            let theirs = theirs?;
            let (member, below) = (ours.member && theirs.member, ours.below.intersection(&theirs.below));
            Some((member, below))
        })
    }

    /// The members of this set that the other has not.
    pub fn difference(&self, other: &Set<'_>) -> Set<'a> {
        self.selected(other, |ours, theirs| {
            let Some(theirs) = theirs else { return Some((ours.member, ours.below.clone())) };
            Some((ours.member && !theirs.member, ours.below.difference(&theirs.below)))
        })
    }

    /// The members of this set that neither are members of the other nor stand below one.
    pub fn outside(&self, other: &Set<'_>) -> Set<'a> {
        self.selected(other, |ours, theirs| {
            let Some(theirs) = theirs else { return Some((ours.member, ours.below.clone())) };
            (!theirs.member).then(|| (ours.member, ours.below.outside(&theirs.below)))
        })
    }

    fn selected<'b>(
        &self,
        other: &Set<'b>,
        choose: impl Fn(&Node<'a>, Option<&Node<'b>>) -> Option<(bool, Set<'a>)>,
    ) -> Set<'a> {
        let mut out = Vec::new();
        let mut theirs = other.0.iter().peekable();
        for ours in &self.0 {
            while theirs.next_if(|it| it.step < ours.step).is_some() {}
            let same = theirs.peek().copied().filter(|it| it.step == ours.step);
            if let Some((member, below)) = choose(ours, same)
                && (member || !below.is_empty())
            {
                out.push(Node { step: ours.step.clone(), member, below });
            }
        }
        Set(out)
    }

    /// Whether all members of this set are in the other.
    pub fn is_within(&self, other: &Set<'_>) -> bool {
        let mut theirs = other.0.iter().peekable();
        self.0.iter().all(|ours| {
            while theirs.next_if(|it| it.step < ours.step).is_some() {}
            let same = theirs.peek().filter(|it| it.step == ours.step);
            same.is_some_and(|it| (it.member || !ours.member) && ours.below.is_within(&it.below))
        })
    }

    /// Reads `fieldsV1`. None: it is not of that form. Steps of unknown sorts are left out.
    pub fn read(text: &'a str) -> Option<Set<'a>> {
        let mut cursor = Cursor::new(text);
        let (set, _) = Self::read_below(&mut cursor)?;
        cursor.peek().is_none().then_some(set)
    }

    /// What is below a step, and whether the step leads to a member.
    fn read_below(cursor: &mut Cursor<'a>) -> Option<(Set<'a>, bool)> {
        let mut nodes = Vec::new();
        let mut member = false;
        let mut more = cursor.open(b'{', b'}')?;
        while more {
            let name = cursor.name()?;
            let (below, is_member) = Self::read_below(cursor)?;
            if name == "." {
                member = true;
            } else if let Some(step) = Step::read(&name) {
                nodes.push(Node { step, member: is_member, below });
            } else if name.len() < 2
                || name.as_bytes()[1] != b':'
                || matches!(name.as_bytes()[0], b'f' | b'k' | b'v' | b'i')
            {
                return None;
            }
            more = cursor.next(b'}')?;
        }
        let is_member = member || nodes.is_empty();
        Some((Set::of(nodes), is_member))
    }

    /// Writes `fieldsV1`.
    pub fn write(&self, out: &mut String) {
        self.write_below(false, out);
    }

    fn write_below(&self, member: bool, out: &mut String) {
        out.push('{');
        let mut first = true;
        if member && !self.is_empty() {
            out.push_str("\".\":{}");
            first = false;
        }
        for node in &self.0 {
            out.push_str(if first { "\"" } else { ",\"" });
            first = false;
            node.step.write_to(out);
            out.push_str("\":");
            node.below.write_below(node.member, out);
        }
        out.push('}');
    }

    /// The paths of all members, those of a level before those below: `.spec.containers[name="web"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(&mut String::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut String, out: &mut Vec<String>) {
        let length = path.len();
        for node in self.0.iter().filter(|it| it.member) {
            let _ = write!(path, "{}", node.step);
            out.push(path.clone());
            path.truncate(length);
        }
        for node in self.0.iter().filter(|it| !it.below.is_empty()) {
            let _ = write!(path, "{}", node.step);
            node.below.collect(path, out);
            path.truncate(length);
        }
    }
}

/// A key value's JSON text as a step of a set compares it.
pub fn key_text(text: &str) -> Option<Cow<'static, str>> {
    canonical(text).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, paths: &[&str]) -> Set<'static> {
        let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
        let set = Set::read(text).unwrap();
        assert_eq!(set.paths(), paths);
        let mut out = String::new();
        set.write(&mut out);
        assert_eq!(out, text);
        set
    }

    #[test]
    fn sets_are_read_and_written() {
        check("{}", &[]);
        check(
            r#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}},"f:replicas":{}}}"#,
            &[
                ".metadata.labels",
                ".metadata.labels.app",
                ".spec.replicas",
                r#".spec.ports[port=80,protocol="TCP"]"#,
                r#".spec.ports[port=80,protocol="TCP"].port"#,
            ],
        );
        check(
            r#"{"f:metadata":{"f:finalizers":{".":{},"v:\"a\\\"b\"":{},"v:\"c\"":{}}}}"#,
            &[".metadata.finalizers", r#".metadata.finalizers[="a\"b"]"#, r#".metadata.finalizers[="c"]"#],
        );
        check(r#"{"f:data":{"f:a\"b":{}}}"#, &[".data.a\"b"]);
        for bad in ["", "[]", "{\"f:a\":1}", "{\"x\":{}}", "{\"k:x\":{}}", "{\"f:a\":{}"] {
            assert!(Set::read(bad).is_none(), "{bad}");
        }
        assert!(Set::read(r#"{"q:new":{}}"#).unwrap().is_empty());
    }

    #[test]
    fn numbers_are_ordered_by_value() {
        let set = Set::read(r#"{"f:p":{"k:{\"port\":443}":{},"k:{\"port\":80}":{}}}"#).unwrap();
        assert_eq!(set.paths(), [".p[port=80]", ".p[port=443]"]);
    }

    #[test]
    fn sets_are_combined() {
        let a = check(r#"{"f:a":{".":{},"f:b":{},"f:c":{}},"f:d":{}}"#, &[".a", ".d", ".a.b", ".a.c"]);
        let b = check(r#"{"f:a":{"f:c":{},"f:e":{}},"f:d":{}}"#, &[".d", ".a.c", ".a.e"]);
        assert_eq!(a.clone().union(&b).paths(), [".a", ".d", ".a.b", ".a.c", ".a.e"]);
        assert_eq!(a.intersection(&b).paths(), [".d", ".a.c"]);
        assert_eq!(a.difference(&b).paths(), [".a", ".a.b"]);
        assert!(b.outside(&a).is_empty());
        assert_eq!(a.outside(&Set::of_path(&["a", "b"])).paths(), [".a", ".d", ".a.c"]);
        assert!(a.intersection(&b).is_within(&b) && !a.is_within(&b));
        assert!(a.has_path(&["a", "c"]) && !b.has_path(&["a"]));
    }
}
