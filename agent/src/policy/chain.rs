//! One chain of rules for all the policies that isolate a pod in one direction. Pure.
//!
//! What one of the policies lets through returns from the chain; the rest is dropped at its end. A chain is called by a digest of its
//! rules, so that pods with the same policies share it, and a policy that changes makes another chain, to which its pods go over in one
//! transaction.

use ipnet::IpNet;

use super::selection::{Selection, Whose, long_digest};
use super::spec::{Block, Peer, PodPeer, Policy, Port, Ports, Rule};
use crate::rules::table::{Chain, Family};
use crate::services::protocol::Protocol;

/// Which way packets go, as the isolated pod sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Direction; 2] = [Direction::Ingress, Direction::Egress];

    /// The field of the other end's address.
    fn peer(self) -> &'static str {
        match self {
            Direction::Ingress => "saddr",
            Direction::Egress => "daddr",
        }
    }

    fn rules(self, policy: &Policy) -> Option<&[Rule]> {
        match self {
            Direction::Ingress => policy.ingress.as_deref(),
            Direction::Egress => policy.egress.as_deref(),
        }
    }
}

/// A chain and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judge {
    pub name: String,
    pub chain: Chain,
    pub selections: Vec<Selection>,
}

/// The chain of the policies that select a pod; none if they let everything through or none of them isolates it in this direction.
pub fn of(direction: Direction, family: Family, policies: &[&Policy]) -> Option<Judge> {
    let isolating: Vec<&[Rule]> = policies.iter().filter_map(|it| direction.rules(it)).collect();
    if isolating.is_empty() {
        return None;
    }
    let mut maker = Maker { direction, family, texts: Vec::new(), selections: Vec::new() };
    for rule in isolating.into_iter().flatten() {
        if rule.peers.is_none() && rule.ports.is_none() {
            return None;
        }
        maker.rule(rule);
    }
    let Maker { mut texts, selections, .. } = maker;
    texts.push("drop".to_owned());
    let name = match direction {
        Direction::Ingress => format!("in_{}", long_digest(&texts.join("\n"))),
        Direction::Egress => format!("out_{}", long_digest(&texts.join("\n"))),
    };
    Some(Judge { name, chain: Chain { hook: None, rules: texts.into_iter().map(Into::into).collect() }, selections })
}

struct Maker {
    direction: Direction,
    family: Family,
    texts: Vec<String>,
    selections: Vec<Selection>,
}

impl Maker {
    fn rule(&mut self, rule: &Rule) {
        let ports = self.ports(rule);
        // Where the destination's own names for ports tell who it is, too, nothing else is to be asked.
        for it in self.named_destinations(rule) {
            self.allow(&[it]);
        }
        if ports.is_empty() {
            return;
        }
        for peers in self.peers(rule) {
            for ports in &ports {
                self.allow(&[peers.clone(), ports.clone()]);
            }
        }
    }

    fn allow(&mut self, matches: &[String]) {
        let words: Vec<&str> =
            matches.iter().map(String::as_str).chain(["return"]).filter(|it| !it.is_empty()).collect();
        let text = words.join(" ");
        // Several policies may say the same.
        if !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }

    /// The name of a set, which must be there.
    fn set(&mut self, selection: Selection) -> String {
        let name = selection.name();
        if !self.selections.contains(&selection) {
            self.selections.push(selection);
        }
        name
    }

    /// Matches of the other end, any of which will do; an empty one is everybody.
    fn peers(&mut self, rule: &Rule) -> Vec<String> {
        let Some(peers) = &rule.peers else { return vec![String::new()] };
        let (pods, blocks) = split(peers);
        let field = format!("{} {}", self.family.name(), self.direction.peer());
        let mut matches = Vec::new();
        if !pods.is_empty() {
            let set = self.set(Selection::Pods(pods));
            matches.push(format!("{field} @{set}"));
        }
        let of_family = |it: &IpNet| Family::of(it.addr()) == self.family;
        let whole: Vec<IpNet> =
            blocks.iter().filter(|it| it.except.is_empty()).map(|it| it.range).filter(of_family).collect();
        // Ranges that lie within others would overlap in the set, which `nft` refuses.
        let whole = IpNet::aggregate(&whole);
        if whole.iter().any(|it| it.prefix_len() == 0) {
            return vec![String::new()];
        }
        if !whole.is_empty() {
            matches.push(format!("{field} {}", list(&whole)));
        }
        for it in blocks.iter().filter(|it| !it.except.is_empty() && of_family(&it.range)) {
            let except: Vec<IpNet> = it.except.iter().copied().filter(of_family).collect();
            let within = if it.range.prefix_len() == 0 { String::new() } else { format!("{field} {} ", it.range) };
            matches.push(format!("{within}{field} != {}", list(&IpNet::aggregate(&except))));
        }
        matches
    }

    /// Matches of the destination's ports, any of which will do; an empty one is everything. Without those by name of other pods.
    fn ports(&mut self, rule: &Rule) -> Vec<String> {
        let Some(ports) = &rule.ports else { return vec![String::new()] };
        let mut matches = Vec::new();
        for protocol in Protocol::ALL {
            let of: Vec<&Port> = ports.iter().filter(|it| it.protocol == protocol).collect();
            if of.iter().any(|it| it.ports == Ports::All) {
                matches.push(format!("meta l4proto {}", protocol.name()));
                continue;
            }
            let ranges = of.iter().filter_map(|it| match it.ports {
                Ports::Range(first, last) => Some((first, last)),
                _ => None,
            });
            let ranges = merged(ranges.collect());
            if !ranges.is_empty() {
                let text = |(first, last): &(u16, u16)| {
                    if first == last { first.to_string() } else { format!("{first}-{last}") }
                };
                let ranges: Vec<String> = ranges.iter().map(text).collect();
                matches.push(format!("{} dport {{ {} }}", protocol.name(), ranges.join(", ")));
            }
            if self.direction == Direction::Ingress {
                for name in names(&of) {
                    // The destination is the pod whose chain this is.
                    let set = self.set(Selection::Named { whose: Whose::Here, protocol, name: name.to_owned() });
                    matches.push(named(self.family, &set));
                }
            }
        }
        matches
    }

    /// Matches of pods together with what they call a port so.
    fn named_destinations(&mut self, rule: &Rule) -> Vec<String> {
        let mut matches = Vec::new();
        if self.direction == Direction::Ingress {
            return matches;
        }
        for protocol in Protocol::ALL {
            let of: Vec<&Port> = rule.ports.iter().flatten().filter(|it| it.protocol == protocol).collect();
            for name in names(&of) {
                let whose = match &rule.peers {
                    None => Whose::Anybody,
                    Some(peers) => {
                        let (pods, blocks) = split(peers);
                        Whose::Peers(pods, blocks.into_iter().cloned().collect())
                    }
                };
                let set = self.set(Selection::Named { whose, protocol, name: name.to_owned() });
                matches.push(named(self.family, &set));
            }
        }
        matches
    }
}

fn named(family: Family, set: &str) -> String {
    format!("{} daddr . meta l4proto . th dport @{set}", family.name())
}

fn names<'a>(ports: &[&'a Port]) -> Vec<&'a str> {
    ports
        .iter()
        .filter_map(|it| match &it.ports {
            Ports::Named(name) => Some(name.as_str()),
            _ => None,
        })
        .collect()
}

fn split(peers: &[Peer]) -> (Vec<PodPeer>, Vec<&Block>) {
    let (mut pods, mut blocks) = (Vec::new(), Vec::new());
    for it in peers {
        match it {
            Peer::Pods(it) => pods.push(it.clone()),
            Peer::Block(it) => blocks.push(it),
        }
    }
    (pods, blocks)
}

fn list(ranges: &[IpNet]) -> String {
    let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    format!("{{ {} }}", ranges.join(", "))
}

/// Ranges in order that do not touch.
fn merged(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.retain(|it| it.0 <= it.1);
    ranges.sort_unstable();
    let mut out: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match out.last_mut() {
            Some(it) if first <= it.1.saturating_add(1) => it.1 = it.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let check = |ranges: &[(u16, u16)], expected: &[(u16, u16)]| assert_eq!(merged(ranges.to_vec()), expected);
        check(&[(80, 80), (81, 90), (85, 86), (443, 443)], &[(80, 90), (443, 443)]);
        check(&[(1, 65535), (65535, 65535), (9, 3)], &[(1, 65535)]);
        check(&[], &[]);
    }
}
