//! Where the elements of a list stand, found by their keys: lists of a hundred thousand elements are not compared each with each.
//!
//! In: a list and the rule by which its elements are told apart. Out: for an element of a patch, the first in the list that is the same. Two
//! elements are the same when all keys of the list's type are; order lists and deletions name the merge key only, which then decides. Scalars,
//! and elements of lists without a merge key, are the same when they are equal.

use std::collections::HashMap;

use serde_json::Value;

use super::strategic::key_value;
use crate::list_types::{List, Rule};

/// A list's elements by their keys.
pub struct Places<'a> {
    rule: Option<&'a Rule>,
    by_key: HashMap<String, Sharing>,
}

/// The elements that have one merge key in common.
#[derive(Default)]
struct Sharing {
    all: Vec<usize>,
    /// The first that names nothing but its merge key, which is the same as all others.
    bare: Option<usize>,
    /// The first of each value of all keys.
    by_all_keys: HashMap<String, usize>,
}

impl<'a> Places<'a> {
    /// The places of a list whose elements this rule tells apart.
    pub fn of(list: &[Value], rule: Option<&'a Rule>) -> Self {
        let rule = rule.filter(|it| !it.merge_key.is_empty());
        let mut places = Places { rule, by_key: HashMap::with_capacity(list.len()) };
        for (at, element) in list.iter().enumerate() {
            let Some(key) = places.merge_key(element) else { continue };
            let all_keys = places.all_keys(element);
            let sharing = places.by_key.entry(key).or_default();
            sharing.all.push(at);
            if is_bare(element) {
                sharing.bare.get_or_insert(at);
            }
            if let Some(all_keys) = all_keys {
                sharing.by_all_keys.entry(all_keys).or_insert(at);
            }
        }
        places
    }

    /// The first place of an element that is the same.
    pub fn first(&self, element: &Value) -> Option<usize> {
        let sharing = self.by_key.get(&self.merge_key(element)?)?;
        match self.all_keys(element) {
            Some(all_keys) if !is_bare(element) => {
                let found = sharing.by_all_keys.get(&all_keys).copied();
                found.into_iter().chain(sharing.bare).min()
            }
            _ => sharing.all.first().copied(),
        }
    }

    /// The places of all elements of the same merge key.
    pub fn sharing(&self, element: &Value) -> impl Iterator<Item = usize> {
        let found = self.merge_key(element).and_then(|it| self.by_key.get(&it));
        found.into_iter().flat_map(|it| it.all.iter().copied())
    }

    fn merge_key(&self, element: &Value) -> Option<String> {
        match self.rule {
            Some(rule) => element.get(rule.merge_key).map(Value::to_string),
            None => Some(element.to_string()),
        }
    }

    /// The values of all keys, where the merge key is not the only one.
    fn all_keys(&self, element: &Value) -> Option<String> {
        let Some(List::Map(keys)) = self.rule?.list else { return None };
        let values: Vec<_> = keys.iter().map(|key| key_value(element, key)).collect();
        serde_json::to_string(&values).ok()
    }
}

fn is_bare(element: &Value) -> bool {
    element.as_object().is_some_and(|it| it.len() == 1)
}

/// Which elements of a server's list those of a patch change.
pub struct Targets<'a> {
    kept: Places<'a>,
    /// By merge key, the first element of the server that no element of the patch means exactly.
    free: HashMap<String, usize>,
}

impl<'a> Targets<'a> {
    /// Between what the server keeps and what the patch wants.
    pub fn of(kept: &[Value], wanted: &[Value], rule: &'a Rule) -> Self {
        let (places, meant) = (Places::of(kept, Some(rule)), Places::of(wanted, Some(rule)));
        let mut free = HashMap::new();
        for (at, element) in kept.iter().enumerate() {
            if let Some(key) = places.merge_key(element)
                && meant.first(element).is_none()
            {
                free.entry(key).or_insert(at);
            }
        }
        Targets { kept: places, free }
    }

    /// The place of the element that this one of the patch changes.
    pub fn of_element(&self, element: &Value) -> Option<usize> {
        let exactly = self.kept.first(element);
        exactly.or_else(|| self.free.get(&self.kept.merge_key(element)?).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PORTS: Rule = Rule {
        list: Some(List::Map(&["containerPort", "protocol"])),
        strategy: "merge",
        merge_key: "containerPort",
        atomic_map: false,
        granular: false,
    };

    fn check(list: Value, element: Value, rule: Option<&Rule>, expected: Option<usize>) {
        let list = list.as_array().unwrap();
        assert_eq!(Places::of(list, rule).first(&element), expected, "{element}");
    }

    #[test]
    fn the_first_that_is_the_same_is_found() {
        let ports = json!([{"containerPort": 80, "protocol": "UDP"}, {"containerPort": 80, "name": "a"}, {"containerPort": 81}]);
        check(ports.clone(), json!({"containerPort": 80, "protocol": "TCP"}), Some(&PORTS), Some(1));
        check(ports.clone(), json!({"containerPort": 80, "protocol": "SCTP"}), Some(&PORTS), None);
        check(ports.clone(), json!({"containerPort": 80}), Some(&PORTS), Some(0));
        check(ports.clone(), json!({"containerPort": 81, "protocol": "SCTP"}), Some(&PORTS), Some(2));
        check(ports, json!({"name": "a"}), Some(&PORTS), None);
        check(json!(["a", "b", "b"]), json!("b"), None, Some(1));
    }

    #[test]
    fn an_element_that_nobody_means_exactly_is_changed_by_its_merge_key() {
        let kept = json!([{"containerPort": 80, "protocol": "UDP", "name": "a"}]);
        let wanted = json!([{"containerPort": 80, "protocol": "TCP", "name": "b"}]);
        let targets = Targets::of(kept.as_array().unwrap(), wanted.as_array().unwrap(), &PORTS);
        assert_eq!(targets.of_element(&wanted[0]), Some(0));
    }
}
