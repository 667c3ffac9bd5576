//! What leads from one state of the tables to another, as one transaction of `nft`. Pure.
//!
//! The order is what makes it one transaction that the kernel takes: sets and chains are made before what names them, rules go before
//! what they named goes, and elements are removed before they are set anew, for an element's value cannot be changed.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::fragment::Place;
use super::table::{Chain, Family, Rule, Set, Table};
use super::wanted::State;

/// Elements in one command. One command of ten thousand is as good for the kernel; this keeps lines readable in an error.
const ELEMENTS_A_COMMAND: usize = 256;

/// One thing in a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing<P> {
    Element((Family, P, String)),
    Chain(Family, String),
    Set(Family, String),
}

/// A difference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    of: BTreeMap<Family, FamilyChanges>,
}

/// Elements of maps and sets, by the name of theirs: key and value.
pub type Elements = BTreeMap<String, Vec<(String, String)>>;

#[derive(Clone, Debug, Default, PartialEq)]
struct FamilyChanges {
    /// The table itself is to be made.
    made: bool,
    sets_added: BTreeMap<String, String>,
    chains_added: BTreeMap<String, Option<String>>,
    /// Emptied, and filled with these rules.
    chains_filled: BTreeMap<String, Vec<Rule>>,
    elements_removed: Elements,
    elements_added: Elements,
    chains_removed: Vec<String>,
    sets_removed: Vec<String>,
}

impl Changes {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.of.values().all(|it| *it == FamilyChanges::default())
    }

    /// How many elements, chains and sets change.
    pub fn len(&self) -> usize {
        let count = |it: &FamilyChanges| {
            it.sets_added.len()
                + it.chains_filled.len()
                + it.elements_removed.values().map(Vec::len).sum::<usize>()
                + it.elements_added.values().map(Vec::len).sum::<usize>()
                + it.chains_removed.len()
                + it.sets_removed.len()
        };
        self.of.values().map(count).sum()
    }

    /// Notes that a thing was and is.
    pub fn note<P: Place>(&mut self, thing: &Thing<P>, before: Option<&State>, now: Option<&State>) {
        if before == now {
            return;
        }
        match thing {
            Thing::Element((family, place, key)) => {
                let of = self.of.entry(*family).or_default();
                let value = |it: Option<&State>| match it {
                    Some(State::Element(it)) => Some(it.clone()),
                    _ => None,
                };
                of.element(&place.name(), key, value(before), value(now));
            }
            Thing::Chain(family, name) => {
                let chain = |it: Option<&State>| match it {
                    Some(State::Chain(it)) => Some(it.clone()),
                    _ => None,
                };
                self.of.entry(*family).or_default().chain(name, chain(before).as_ref(), chain(now).as_ref());
            }
            Thing::Set(family, name) => {
                let of = self.of.entry(*family).or_default();
                let set = |it: Option<&State>| match it {
                    Some(State::Set(it)) => Some(it.clone()),
                    _ => None,
                };
                of.set(name, set(before).as_ref(), set(now).as_ref());
            }
        }
    }

    /// Notes everything that lies between what the kernel has, none if there is no table, and what it should have.
    pub fn compare(&mut self, family: Family, has: Option<&Table>, wanted: &Table) {
        if has.is_none() && *wanted == Table::default() {
            return;
        }
        let of = self.of.entry(family).or_default();
        of.made = has.is_none();
        let nothing = Table::default();
        let has = has.unwrap_or(&nothing);
        for name in both(&has.chains, &wanted.chains) {
            of.chain(name, has.chains.get(name), wanted.chains.get(name));
        }
        let empty = BTreeMap::new();
        for name in both(&has.sets, &wanted.sets) {
            let (old, new) = (has.sets.get(name), wanted.sets.get(name));
            of.set(name, old, new);
            let Some(new) = new else { continue };
            if new.by_packets {
                continue;
            }
            let old = old.map_or(&empty, |it| &it.elements);
            for key in both(old, &new.elements) {
                of.element(name, key, old.get(key).cloned(), new.elements.get(key).cloned());
            }
        }
    }

    /// The transaction, for tables of this name.
    pub fn text(&self, table: &str) -> String {
        let mut out = String::new();
        for (family, changes) in &self.of {
            changes.write(&format!("{} {table}", family.name()), &mut out);
        }
        out
    }

    /// The elements that are removed and those that are added, a pair a family; a value that changes is in both.
    pub fn elements(&self) -> impl Iterator<Item = (&Elements, &Elements)> {
        self.of.values().map(|it| (&it.elements_removed, &it.elements_added))
    }
}

/// The names in either.
fn both<'a, A, B>(a: &'a BTreeMap<String, A>, b: &'a BTreeMap<String, B>) -> impl Iterator<Item = &'a String> {
    a.keys().chain(b.keys().filter(|it| !a.contains_key(*it)))
}

impl FamilyChanges {
    fn element(&mut self, set: &str, key: &str, before: Option<String>, now: Option<String>) {
        if before == now {
            return;
        }
        if let Some(value) = before {
            self.elements_removed.entry(set.to_owned()).or_default().push((key.to_owned(), value));
        }
        if let Some(value) = now {
            self.elements_added.entry(set.to_owned()).or_default().push((key.to_owned(), value));
        }
    }

    fn chain(&mut self, name: &str, before: Option<&Chain>, now: Option<&Chain>) {
        match (before, now) {
            (Some(_), None) => self.chains_removed.push(name.to_owned()),
            (_, Some(now)) => {
                if before.is_none() {
                    self.chains_added.insert(name.to_owned(), now.hook.clone());
                }
                if before.map(|it| &it.rules) != Some(&now.rules) {
                    self.chains_filled.insert(name.to_owned(), now.rules.clone());
                }
            }
            (None, None) => {}
        }
    }

    fn set(&mut self, name: &str, before: Option<&Set>, now: Option<&Set>) {
        match (before, now) {
            (Some(_), None) => self.sets_removed.push(name.to_owned()),
            (None, Some(now)) => drop(self.sets_added.insert(name.to_owned(), now.declaration.clone())),
            _ => {}
        }
    }

    fn write(&self, table: &str, out: &mut String) {
        let mut line = |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("writing to a string");
        if self.made {
            line(format_args!("add table {table}"));
        }
        for declaration in self.sets_added.values() {
            line(format_args!("add {}", declaration.replacen("{}", table, 1)));
        }
        for (name, hook) in &self.chains_added {
            match hook {
                Some(hook) => line(format_args!("add chain {table} {name} {{ {hook} }}")),
                None => line(format_args!("add chain {table} {name}")),
            }
        }
        for name in self.chains_filled.keys().filter(|it| !self.chains_added.contains_key(*it)) {
            line(format_args!("flush chain {table} {name}"));
        }
        for (name, rules) in &self.chains_filled {
            for Rule { text, digest } in rules {
                line(format_args!("add rule {table} {name} {text} comment \"{digest}\""));
            }
        }
        for (set, elements) in &self.elements_removed {
            for some in elements.chunks(ELEMENTS_A_COMMAND) {
                let list: Vec<&str> = some.iter().map(|it| it.0.as_str()).collect();
                line(format_args!("delete element {table} {set} {{ {} }}", list.join(", ")));
            }
        }
        for (set, elements) in &self.elements_added {
            for some in elements.chunks(ELEMENTS_A_COMMAND) {
                let list: Vec<String> = some
                    .iter()
                    .map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key} : {value}") })
                    .collect();
                line(format_args!("add element {table} {set} {{ {} }}", list.join(", ")));
            }
        }
        for name in &self.chains_removed {
            line(format_args!("flush chain {table} {name}"));
        }
        for name in &self.chains_removed {
            line(format_args!("delete chain {table} {name}"));
        }
        for name in &self.sets_removed {
            line(format_args!("delete set {table} {name}"));
        }
    }
}
