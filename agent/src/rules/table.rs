//! A table of packet rules as data: chains of rules, and maps and sets with their elements. Pure.
//!
//! A `Table` is one family's half of what a node has, whether as it should be ([`super::wanted`]) or as the kernel lists it
//! ([`super::listing`]); what lies between two of them is a [`super::changes::Changes`]. Elements and rules are text in the form in
//! which `nft` reads and lists them, so that both can be compared. A rule carries a digest of its text as its comment: the kernel's own form
//! of a rule differs from what was written, the comment does not.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// The family of addresses of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Both, in order.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family's name for `nft`, which is that of its header's fields, too.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    /// The family of an address.
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// A map or a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// How it is declared, with `{}` in place of family and table; empty where the kernel told.
    pub declaration: String,
    /// Key to value; a set has no values.
    pub elements: BTreeMap<String, String>,
    /// Packets fill it: its elements are nobody else's business.
    pub by_packets: bool,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where it hooks in; none for one that others jump to.
    pub hook: Option<String>,
    pub rules: Vec<Rule>,
}

/// A rule, equal to another of the same digest.
#[derive(Clone, Debug, Eq)]
pub struct Rule {
    /// Empty where the kernel told.
    pub text: String,
    pub digest: String,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl From<String> for Rule {
    fn from(text: String) -> Self {
        Rule { digest: digest(&text), text }
    }
}

/// Eight hexadecimal digits that tell texts apart.
pub fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())[..4].iter().map(|it| format!("{it:02x}")).collect()
}

/// One family's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub sets: BTreeMap<String, Set>,
    pub chains: BTreeMap<String, Chain>,
}
