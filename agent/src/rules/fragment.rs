//! What one owner adds to the tables: elements of shared maps and sets, chains, and sets of its own. Pure.

use std::collections::BTreeMap;

use super::table::{Chain, Family, Set};

/// A map or a set that several owners put elements into.
pub trait Place: Clone + Ord {
    /// The name in the table.
    fn name(&self) -> String;
}

/// What one owner adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment<P> {
    /// Key to value; an element of a set has no value.
    pub elements: BTreeMap<(Family, P, String), String>,
    pub chains: BTreeMap<(Family, String), Chain>,
    pub sets: BTreeMap<(Family, String), Set>,
}

impl<P> Default for Fragment<P> {
    fn default() -> Self {
        Fragment { elements: BTreeMap::new(), chains: BTreeMap::new(), sets: BTreeMap::new() }
    }
}
