//! Which flows of UDP a change of the rules makes stale. Pure.

use std::net::IpAddr;

use super::table::Place;
use crate::rules::changes::Changes;
use crate::rules::fragment::Place as _;

/// Flows of UDP that the kernel must forget, because they go on by the old rules: packets keep them alive, and they have no end.
pub fn of(changes: &Changes) -> Vec<Flow> {
    let mut stale = Vec::new();
    for (elements_removed, elements_added) in changes.elements() {
        let (services, node_ports) = (Place::Services.name(), Place::NodePorts.name());
        for (set, removed) in elements_removed {
            let added = elements_added.get(set).map(Vec::as_slice).unwrap_or_default();
            for (key, value) in removed {
                if *set == services || *set == node_ports {
                    // Another number of endpoints is another chain, which makes no flow stale; a sticky one does not say its endpoints.
                    let chosen_anew = added.iter().any(|it| it.0 == *key) && !value.contains("sticky");
                    if let (Some((to, port)), false) = (entry(key), chosen_anew) {
                        stale.push(Flow { to, port, endpoint: None });
                    }
                } else if set.ends_with("endpoints_udp") {
                    let slot = slot(key);
                    // An endpoint that only has another slot stays.
                    let stays = added.iter().any(|it| it.1 == *value && self::slot(&it.0) == slot);
                    if let (Some((to, port)), false) = (slot, stays) {
                        stale.push(Flow { to, port, endpoint: endpoint(value) });
                    }
                }
            }
        }
        // What was sent to a service before it was one went past the rules.
        for name in [services, node_ports] {
            let removed = elements_removed.get(&name).map(Vec::as_slice).unwrap_or_default();
            for (key, _) in elements_added.get(&name).into_iter().flatten() {
                if let (Some((to, port)), false) = (entry(key), removed.iter().any(|it| it.0 == *key)) {
                    stale.push(Flow { to, port, endpoint: None });
                }
            }
        }
    }
    stale
}

/// Flows to an address and a port: all, or those that an endpoint answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// None for a node port: any address.
    pub to: Option<IpAddr>,
    pub port: u16,
    pub endpoint: Option<IpAddr>,
}

/// The address, if any, and the port of an entry for UDP.
fn entry(key: &str) -> Option<(Option<IpAddr>, u16)> {
    match key.split(" . ").collect::<Vec<_>>().as_slice() {
        [address, "udp", port] => Some((Some(address.parse().ok()?), port.parse().ok()?)),
        ["udp", port] => Some((None, port.parse().ok()?)),
        _ => None,
    }
}

/// The address, if any, and the port of a slot.
fn slot(key: &str) -> Option<(Option<IpAddr>, u16)> {
    match key.split(" . ").collect::<Vec<_>>().as_slice() {
        [address, port, _] => Some((Some(address.parse().ok()?), port.parse().ok()?)),
        [port, _] => Some((None, port.parse().ok()?)),
        _ => None,
    }
}

fn endpoint(value: &str) -> Option<IpAddr> {
    value.split_once(" . ")?.0.parse().ok()
}
