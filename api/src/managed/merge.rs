//! The two changes of an apply: what is applied is merged in, and what is no longer applied is taken out.
//!
//! In: trees of the same shape, and sets of what is owned. Out: a new tree. Source: `merge.go` and `remove.go` of
//! `sigs.k8s.io/structured-merge-diff/v6/typed`, and `merge/update.go` there for what may be taken out.

use std::borrow::Cow;

use super::set::{Set, Step};
use super::tree::Tree;
use super::walk::{stated, steps, with_named};
use crate::shape::{Field, Shape, Types, UNTYPED};

/// `live` with all that `config` states.
pub fn merged<'a>(types: &Types, field: &Field, live: &Tree<'a>, config: &Tree<'a>) -> Tree<'a> {
    // Where nothing is stated of the parts, emptiness and null are.
    if field.leaf || (live.is_empty() && config.is_empty()) {
        return config.clone();
    }
    match (live, config) {
        (Tree::Object(live_parts), Tree::Object(parts)) => {
            let mut out: Vec<(Cow<'a, str>, Tree<'a>)> = Vec::with_capacity(live_parts.len() + parts.len());
            for (at, (name, stood)) in live_parts.iter().enumerate() {
                let value = match config.get(name, at) {
                    Some(wanted) => merged(types, types.child(field.shape, name).unwrap_or(&UNTYPED), stood, wanted),
                    None => stood.clone(),
                };
                out.push((name.clone(), value));
            }
            let new = parts.iter().enumerate().filter(|(at, (name, _))| live.get(name, *at).is_none());
            out.extend(new.map(|(_, it)| it.clone()));
            Tree::Object(out)
        }
        (Tree::List(stood), Tree::List(wanted)) => Tree::List(merged_list(types, field, stood, wanted)),
        // Null states that somebody owns the parts, and nothing of what they are.
        (Tree::Object(_) | Tree::List(_), config) if config.is_null() => live.clone(),
        _ => config.clone(),
    }
}

/// Merges by element: the configuration's order, with the elements of others where they stood in between. Elements that share a step stay
/// while nobody states that step.
fn merged_list<'a>(types: &Types, field: &Field, live: &[Tree<'a>], config: &[Tree<'a>]) -> Vec<Tree<'a>> {
    let (Some(left), Some(right)) = (steps(field, live), steps(field, config)) else { return config.to_vec() };
    let element = types.element_of(field.shape);
    let (in_left, in_right) = (Index::of(&left), Index::of(&right));
    let both = |l: usize, r: usize| merged(types, element, left[l].1, right[r].1);
    let mut shared = right.iter().map(|(step, _)| step).filter(|it| in_left.find(it).is_some()).peekable();
    let mut taken = vec![false; right.len()];
    let mut out = Vec::with_capacity(live.len() + config.len());
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            let step = &left[l].0;
            if *step == right[r].0 {
                out.push(both(l, r));
                taken[r] = true;
                (l, r) = (l + 1, r + 1);
                shared.next();
                continue;
            }
            // It is in both, but another that is comes first.
            if in_right.find(step).is_some() && shared.peek().is_some_and(|it| *it != step) {
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            match in_right.find(&left[l].0) {
                None => {
                    out.push(left[l].1.clone());
                    l += 1;
                    continue;
                }
                Some(at) if taken[at] => {
                    l += 1;
                    continue;
                }
                Some(_) => {}
            }
        }
        if r < right.len() {
            let step = &right[r].0;
            taken[r] = true;
            out.push(in_left.find(step).map_or_else(|| right[r].1.clone(), |l| both(l, r)));
            shared.next_if(|it| *it == step);
            r += 1;
        }
    }
    out
}

/// Where the elements of a list stand, by their steps.
struct Index<'e, 'a>(Vec<(&'e Step<'a>, usize)>);

impl<'e, 'a> Index<'e, 'a> {
    fn of(elements: &'e [(Step<'a>, &Tree<'a>)]) -> Self {
        let mut all: Vec<_> = elements.iter().enumerate().map(|(at, (step, _))| (step, at)).collect();
        all.sort();
        Index(all)
    }

    /// The first with this step.
    fn find(&self, step: &Step<'_>) -> Option<usize> {
        let at = self.0.partition_point(|(it, _)| **it < *step);
        self.0.get(at).filter(|(it, _)| **it == *step).map(|(_, at)| *at)
    }
}

/// A value without the members of a set. None: nothing of it is left.
pub fn without<'a>(types: &Types, field: &Field, value: &Tree<'a>, unwanted: &Set<'_>) -> Option<Tree<'a>> {
    match value {
        Tree::Leaf(_) if field.leaf && !matches!(field.shape, Shape::Scalar(_)) => None,
        Tree::Leaf(_) => Some(value.clone()),
        Tree::Object(parts) => {
            let mut out = Vec::with_capacity(parts.len());
            for (name, part) in parts {
                let node = unwanted.get(&Step::Field(Cow::Borrowed(name)));
                match node {
                    None => out.push((name.clone(), part.clone())),
                    Some(node) if node.member => {}
                    Some(node) => {
                        let child = types.child(field.shape, name).unwrap_or(&UNTYPED);
                        let part = without(types, child, part, &node.below);
                        out.push((name.clone(), part.unwrap_or(Tree::Leaf(Cow::Borrowed("null")))));
                    }
                }
            }
            (!out.is_empty()).then_some(Tree::Object(out))
        }
        Tree::List(list) => {
            let elements = steps(field, list)?;
            let element = types.element_of(field.shape);
            let mut out = Vec::with_capacity(list.len());
            for (step, part) in elements {
                match unwanted.get(&step) {
                    None => out.push(part.clone()),
                    Some(node) if node.member => {}
                    Some(node) => out.extend(without(types, element, part, &node.below)),
                }
            }
            (!out.is_empty()).then_some(Tree::List(out))
        }
    }
}

/// Takes out of a merged object what its manager stated the last time (`last`) and does not any more, and nobody else owns: `owned` is what
/// anybody owns now, the manager included.
pub fn pruned<'a>(types: &Types, root: &Field, merged: Tree<'a>, last: &Set<'a>, owned: &Set<'a>) -> Tree<'a> {
    if last.is_within(owned) {
        return merged;
    }
    let named = |set: &Set<'a>| with_named(types, root, set);
    let gone = |it: Option<Tree<'a>>| it.unwrap_or(Tree::Object(Vec::new()));
    let all = named(&stated(types, root, &merged));
    let last = named(last);
    // Everything stated the last time goes, then comes back what is owned, and what never was the manager's.
    let bare = gone(without(types, root, &merged, &last));
    let kept = named(&stated(types, root, &bare)).union(&named(owned));
    let kept = gone(without(types, root, &merged, &all.difference(&kept)));
    let unwanted = all.difference(&named(&stated(types, root, &kept))).intersection(&last);
    gone(without(types, root, &merged, &unwanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use crate::shape::Shapes;

    fn check(kind: &str, live: &str, config: &str, expected: &str) {
        let Shapes { types, root } = Shapes::of(KINDS.iter().find(|it| it.kind == kind).unwrap());
        let (live, config) = (Tree::read(live, &types, &root).unwrap(), Tree::read(config, &types, &root).unwrap());
        let mut out = String::new();
        merged(&types, &root, &live, &config).write(&mut out);
        assert_eq!(out, expected);
    }

    fn env(names: &str) -> String {
        let list: Vec<String> = names.chars().map(|it| format!(r#"{{"name":"{it}"}}"#)).collect();
        format!(r#"{{"spec":{{"containers":[{{"name":"c","env":[{}]}}]}}}}"#, list.join(","))
    }

    #[test]
    fn what_is_stated_is_merged_in() {
        check(
            "ConfigMap",
            r#"{"metadata":{"name":"a"},"data":{"x":"1","y":"2"}}"#,
            r#"{"data":{"z":"3","y":"4"},"immutable":true}"#,
            r#"{"metadata":{"name":"a"},"data":{"x":"1","y":"4","z":"3"},"immutable":true}"#,
        );
        check("ConfigMap", r#"{"data":{"x":"1"}}"#, r#"{"data":null}"#, r#"{"data":{"x":"1"}}"#);
        check("ConfigMap", r#"{"immutable":true}"#, r#"{"immutable":null}"#, r#"{"immutable":null}"#);
        check("ConfigMap", r#"{"data":null}"#, r#"{"data":{"x":"1"}}"#, r#"{"data":{"x":"1"}}"#);
        check(
            "Service",
            r#"{"spec":{"selector":{"a":"b"}}}"#,
            r#"{"spec":{"selector":{"c":"d"}}}"#,
            r#"{"spec":{"selector":{"c":"d"}}}"#,
        );
    }

    #[test]
    fn elements_are_merged_in_the_order_of_the_configuration() {
        for (live, config, expected) in [
            ("abc", "abc", "abc"),
            ("abc", "cba", "cba"),
            ("abc", "b", "abc"),
            ("ab", "xb", "axb"),
            ("ab", "bx", "abx"),
            ("", "ab", "ab"),
            ("ab", "", "ab"),
            ("abcd", "dxb", "acdxb"),
        ] {
            check("Pod", &env(live), &env(config), &env(expected));
        }
    }

    fn taken(kind: &str, merged: &str, last: &str, owned: &str, expected: &str) {
        let Shapes { types, root } = Shapes::of(KINDS.iter().find(|it| it.kind == kind).unwrap());
        let tree = Tree::read(merged, &types, &root).unwrap();
        let out = pruned(&types, &root, tree, &Set::read(last).unwrap(), &Set::read(owned).unwrap());
        let mut text = String::new();
        out.write(&mut text);
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_stated_no_more_is_taken_out() {
        let last = r#"{"f:data":{"f:x":{},"f:y":{}}}"#;
        taken(
            "ConfigMap",
            r#"{"data":{"x":"1","y":"2","z":"3"}}"#,
            last,
            r#"{"f:data":{"f:y":{},"f:z":{}}}"#,
            r#"{"data":{"y":"2","z":"3"}}"#,
        );
        taken("ConfigMap", r#"{"data":{"x":"1","y":"2"},"kind":"C"}"#, last, r#"{"f:kind":{}}"#, r#"{"kind":"C"}"#);
        taken("ConfigMap", r#"{"data":{"x":"1"}}"#, last, last, r#"{"data":{"x":"1"}}"#);
        let pod =
            r#"{"spec":{"containers":[{"name":"a","image":"x","imagePullPolicy":"Always"},{"name":"b","image":"y"}]}}"#;
        let both = r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{}},"k:{\"name\":\"b\"}":{".":{},"f:image":{},"f:name":{}}}}}"#;
        let only_a = r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:name":{}}}}}"#;
        taken("Pod", pod, both, only_a, r#"{"spec":{"containers":[{"name":"a","imagePullPolicy":"Always"}]}}"#);
    }
}
