//! The tables as they should be, put together from fragments, and what of them is not in the kernel yet. Pure.
//!
//! Fragments are replaced one at a time, and what that changes is noted with its former state; [`Wanted::take`] makes one batch of it. Where
//! two owners claim the same element, as two services an external address, the first by name has it, as long as it is there.

use std::collections::BTreeMap;

use orlop_client::Key;

use super::changes::{Changes, Thing};
use super::fragment::{Fragment, Place};
use super::table::{Chain, Family, Set, Table};

/// Who wants what, the first of them first.
type Claims<K, V> = BTreeMap<K, Vec<(Key, V)>>;

/// The wanted state of both families, whose shared maps and sets are the places `P`.
#[derive(Clone, Debug)]
pub struct Wanted<P> {
    base: BTreeMap<Family, Table>,
    fragments: BTreeMap<Key, Fragment<P>>,
    elements: Claims<(Family, P, String), String>,
    chains: Claims<(Family, String), Chain>,
    sets: Claims<(Family, String), Set>,
    /// What has changed since [`Self::take`], and what it was; none was not there.
    before: BTreeMap<Thing<P>, Option<State>>,
}

/// What a thing is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Element(String),
    Chain(Chain),
    Set(Set),
}

impl<P: Place> Wanted<P> {
    /// Without fragments: `base` is what is there in any case.
    pub fn new(base: BTreeMap<Family, Table>) -> Self {
        Self {
            base,
            fragments: BTreeMap::new(),
            elements: BTreeMap::new(),
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
            before: BTreeMap::new(),
        }
    }

    /// Makes `fragment` what the owner adds, instead of what it was.
    pub fn set(&mut self, owner: &Key, fragment: Fragment<P>) {
        let old = self.fragments.get(owner).cloned().unwrap_or_default();
        if old == fragment {
            return;
        }
        change(&mut self.elements, owner, &old.elements, &fragment.elements, |key, was| {
            note(&mut self.before, Thing::Element(key.clone()), was.map(State::Element));
        });
        change(&mut self.chains, owner, &old.chains, &fragment.chains, |(family, name), was| {
            note(&mut self.before, Thing::Chain(*family, name.clone()), was.map(State::Chain));
        });
        change(&mut self.sets, owner, &old.sets, &fragment.sets, |(family, name), was| {
            note(&mut self.before, Thing::Set(*family, name.clone()), was.map(State::Set));
        });
        match fragment == Fragment::default() {
            true => drop(self.fragments.remove(owner)),
            false => drop(self.fragments.insert(owner.clone(), fragment)),
        }
    }

    /// What has changed since the last time.
    pub fn take(&mut self) -> Changes {
        let mut changes = Changes::default();
        for (thing, before) in std::mem::take(&mut self.before) {
            let now = self.state(&thing);
            changes.note(&thing, before.as_ref(), now.as_ref());
        }
        changes
    }

    /// Forgets what has changed, because the kernel's whole state is compared instead.
    pub fn forget_changes(&mut self) {
        self.before.clear();
    }

    /// Who has added something.
    pub fn owners(&self) -> impl Iterator<Item = &Key> {
        self.fragments.keys()
    }

    /// Whether there are addresses of the family.
    pub fn uses(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.elements.keys().next().is_some_and(|it| it.0 == family),
            Family::V6 => self.elements.keys().next_back().is_some_and(|it| it.0 == family),
        }
    }

    /// The whole table of a family. One that nobody needs is empty but for IPv4, so that nothing of IPv6 is made in vain.
    pub fn table(&self, family: Family) -> Table {
        if family == Family::V6 && !self.uses(family) {
            return Table::default();
        }
        let mut table = self.base.get(&family).cloned().unwrap_or_default();
        let first = |(family, name): &(Family, String), of: &Family| (family == of).then(|| name.clone());
        for (key, claims) in &self.chains {
            if let (Some(name), Some((_, chain))) = (first(key, &family), claims.first()) {
                table.chains.insert(name, chain.clone());
            }
        }
        for (key, claims) in &self.sets {
            if let (Some(name), Some((_, set))) = (first(key, &family), claims.first()) {
                table.sets.insert(name, set.clone());
            }
        }
        for ((of, place, key), claims) in &self.elements {
            if let (true, Some((_, value))) = (*of == family, claims.first()) {
                let set = table.sets.entry(place.name()).or_default();
                set.elements.insert(key.clone(), value.clone());
            }
        }
        table
    }

    fn state(&self, thing: &Thing<P>) -> Option<State> {
        match thing {
            Thing::Element(key) => now(&self.elements, key).map(State::Element),
            Thing::Chain(family, name) => now(&self.chains, &(*family, name.clone())).map(State::Chain),
            Thing::Set(family, name) => now(&self.sets, &(*family, name.clone())).map(State::Set),
        }
    }
}

fn now<K: Ord, V: Clone>(claims: &Claims<K, V>, key: &K) -> Option<V> {
    claims.get(key).and_then(|it| it.first()).map(|it| it.1.clone())
}

/// The first note of a thing tells what the kernel has.
fn note<P: Ord>(before: &mut BTreeMap<Thing<P>, Option<State>>, thing: Thing<P>, was: Option<State>) {
    before.entry(thing).or_insert(was);
}

fn change<K: Ord + Clone, V: Clone + PartialEq>(
    claims: &mut Claims<K, V>,
    owner: &Key,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    mut noted: impl FnMut(&K, Option<V>),
) {
    for key in old.keys().chain(new.keys().filter(|it| !old.contains_key(*it))) {
        let value = new.get(key);
        if old.get(key) == value {
            continue;
        }
        let was = now(claims, key);
        let list = claims.entry(key.clone()).or_default();
        list.retain(|it| it.0 != *owner);
        if let Some(value) = value {
            let at = list.partition_point(|it| it.0 < *owner);
            list.insert(at, (owner.clone(), value.clone()));
        }
        if list.is_empty() {
            claims.remove(key);
        }
        if was != now(claims, key) {
            noted(key, was);
        }
    }
}
