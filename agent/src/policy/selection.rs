//! The sets that chains name: which pods are in them, and what they are called. Pure.
//!
//! A set is called by a digest of what it selects, so that policies which say the same share it, and what has changed has another name.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use orlop_api::selector::label::Selector;
use sha2::{Digest, Sha256};

use super::spec::{Block, Namespaces, PodPeer};
use super::view::PodView;
use crate::rules::table::{Family, Set};
use crate::services::protocol::Protocol;

/// The labels of something.
pub type Labels = BTreeMap<String, String>;

/// What a set holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selection {
    /// The addresses of pods that are any of these.
    Pods(Vec<PodPeer>),
    /// Addresses of pods, each with what of it has a name.
    Named { whose: Whose, protocol: Protocol, name: String },
}

/// Whose named ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    Anybody,
    /// The pods of this node.
    Here,
    /// Pods that are any of these, or have an address in any of the blocks.
    Peers(Vec<PodPeer>, Vec<Block>),
}

/// A pod, as sets see it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub pod: &'a PodView,
    /// The labels of its namespace; none if it is not known.
    pub namespace: Option<&'a Labels>,
    pub is_here: bool,
}

impl Selection {
    /// The set's name in the table.
    pub fn name(&self) -> String {
        let (kind, text) = match self {
            Selection::Pods(peers) => ("pods", peers_text(peers)),
            Selection::Named { whose, protocol, name } => {
                let whose = match whose {
                    Whose::Anybody => "anybody".to_owned(),
                    Whose::Here => "here".to_owned(),
                    Whose::Peers(peers, blocks) => blocks.iter().fold(peers_text(peers), |mut text, it| {
                        write!(text, "{} {:?};", it.range, it.except).expect("writing to a string");
                        text
                    }),
                };
                ("ports", format!("{whose}\n{} {name}", protocol.name()))
            }
        };
        format!("{kind}_{}", long_digest(&text))
    }

    /// The set, without elements.
    pub fn set(&self, family: Family) -> Set {
        let (ip, name) = (family.name(), self.name());
        let key = match self {
            Selection::Pods(_) => format!("{ip} saddr"),
            Selection::Named { .. } => format!("{ip} daddr . meta l4proto . th dport"),
        };
        Set { declaration: format!("set {{}} {name} {{ typeof {key}; }}"), ..Set::default() }
    }

    /// What the set holds of a pod.
    pub fn elements(&self, seen: &Seen<'_>) -> Vec<(Family, String)> {
        let pod = seen.pod;
        match self {
            Selection::Pods(peers) if is_any(peers, seen) => {
                pod.addresses.iter().map(|it| (Family::of(*it), it.to_string())).collect()
            }
            Selection::Pods(_) => Vec::new(),
            Selection::Named { whose, protocol, name } => {
                let fits = |it: &IpAddr| match whose {
                    Whose::Anybody => true,
                    Whose::Here => seen.is_here,
                    Whose::Peers(peers, blocks) => {
                        is_any(peers, seen) || blocks.iter().any(|block| block.contains(*it))
                    }
                };
                let ports = pod.ports.iter().filter(|it| it.protocol == *protocol && it.name == *name);
                let at = |port: u16| {
                    let of = move |it: &IpAddr| (Family::of(*it), format!("{it} . {} . {port}", protocol.name()));
                    pod.addresses.iter().filter(|it| fits(it)).map(of)
                };
                ports.flat_map(|it| at(it.port)).collect()
            }
        }
    }
}

fn is_any(peers: &[PodPeer], seen: &Seen<'_>) -> bool {
    let metadata = &seen.pod.metadata;
    peers.iter().any(|it| {
        let in_namespace = match &it.namespaces {
            Namespaces::Own(name) => metadata.namespace.as_deref() == Some(name),
            // The labels of a namespace that is not known yet may be any.
            Namespaces::Chosen(selector) => seen.namespace.is_some_and(|it| selector.matches(it)),
        };
        in_namespace && matches(&it.pods, metadata.labels.as_ref())
    })
}

/// Whether labels are selected.
pub fn matches(selector: &Selector, labels: Option<&Labels>) -> bool {
    match labels {
        Some(it) => selector.matches(it),
        None => selector.matches(&Labels::new()),
    }
}

fn peers_text(peers: &[PodPeer]) -> String {
    let mut out = String::new();
    for it in peers {
        match &it.namespaces {
            Namespaces::Own(name) => write!(out, "in {name}: "),
            Namespaces::Chosen(selector) => write!(out, "of {selector}: "),
        }
        .and_then(|()| writeln!(out, "{}", it.pods))
        .expect("writing to a string");
    }
    out
}

/// 24 hexadecimal digits: whoever can write policies chooses what is digested, and must not find another's name.
pub fn long_digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())[..12].iter().map(|it| format!("{it:02x}")).collect()
}
