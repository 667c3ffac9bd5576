//! `NetworkPolicy`: which traffic some pods may receive and send.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy};
use crate::kinds::addresses;
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::name;
use crate::selector::label;
use crate::table::{Cell, Column};

const DIRECTIONS: &[&str] = &["Ingress", "Egress"];

impl Strategy for NetworkPolicy {
    const NAMES: Names =
        Names { plural: "networkpolicies", singular: "networkpolicy", short: &["netpol"], categories: &[] };
    const COLUMNS: &'static [Column] = &[
        cells::text("Pod-Selector", |it| Cell::Text(cells::selector(&it["spec"]["podSelector"])))
            .doc(".spec.podSelector"),
        AGE,
    ];

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        spec.pod_selector.get_or_insert_with(Default::default);
        let types = spec.policy_types.get_or_insert_with(Vec::new);
        if types.is_empty() {
            types.push("Ingress".into());
            if spec.egress.as_ref().is_some_and(|it| !it.is_empty()) {
                types.push("Egress".into());
            }
        }
        let received = spec.ingress.iter_mut().flatten().filter_map(|it| it.ports.as_mut());
        let sent = spec.egress.iter_mut().flatten().filter_map(|it| it.ports.as_mut());
        for port in received.chain(sent).flatten() {
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, _part: Part, _old: Option<&Self>, errors: &mut Errors) {
        let Some(spec) = &self.spec else { return };
        let path = Path::new("spec");
        if let Some(selector) = &spec.pod_selector {
            label::validate(selector, &path.child("podSelector"), errors);
        }
        for (at, rule) in spec.ingress.iter().flatten().enumerate() {
            let path = || path.child("ingress").index(at);
            validate_rule(rule.ports.as_deref(), rule.from.as_deref(), "from", path, errors);
        }
        for (at, rule) in spec.egress.iter().flatten().enumerate() {
            let path = || path.child("egress").index(at);
            validate_rule(rule.ports.as_deref(), rule.to.as_deref(), "to", path, errors);
        }
        let types = spec.policy_types.as_deref().unwrap_or_default();
        if types.len() > DIRECTIONS.len() {
            let path = path.child("policyTypes");
            return errors.invalid(path, types, "may not specify more than two policyTypes");
        }
        for (at, it) in types.iter().enumerate() {
            checks::none_or_one_of(Some(it), DIRECTIONS, || path.child("policyTypes").index(at), errors);
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        let Some(spec) = &self.spec else { return warnings };
        let path = Path::new("spec");
        for (at, rule) in spec.ingress.iter().flatten().enumerate() {
            let path = path.child("ingress").index(at).child("from");
            warn_of_ranges(rule.from.as_deref(), &path, &mut warnings);
        }
        for (at, rule) in spec.egress.iter().flatten().enumerate() {
            warn_of_ranges(rule.to.as_deref(), &path.child("egress").index(at).child("to"), &mut warnings);
        }
        warnings
    }
}

fn validate_rule(
    ports: Option<&[NetworkPolicyPort]>,
    peers: Option<&[NetworkPolicyPeer]>,
    peers_field: &str,
    path: impl Fn() -> Path,
    errors: &mut Errors,
) {
    for (at, port) in ports.unwrap_or_default().iter().enumerate() {
        validate_port(port, &path().child("ports").index(at), errors);
    }
    for (at, peer) in peers.unwrap_or_default().iter().enumerate() {
        validate_peer(peer, &path().child(peers_field).index(at), errors);
    }
}

fn validate_port(it: &NetworkPolicyPort, path: &Path, errors: &mut Errors) {
    checks::none_or_one_of(it.protocol.as_deref(), &["TCP", "UDP", "SCTP"], || path.child("protocol"), errors);
    let end_path = || path.child("endPort");
    match (&it.port, it.end_port) {
        (None, Some(end)) => errors.invalid(end_path(), end, "may not be specified when `port` is not specified"),
        (None, None) => {}
        (Some(IntOrString::Int(port)), end) => {
            checks::port_number(*port, || path.child("port"), errors);
            let Some(end) = end else { return };
            if end < *port {
                // Kubernetes shows the other one.
                errors.invalid(end_path(), port, "must be greater than or equal to `port`");
            }
            checks::port_number(end, end_path, errors);
        }
        (Some(IntOrString::String(port)), end) => {
            if let Some(end) = end {
                errors.invalid(end_path(), end, "may not be specified when `port` is non-numeric");
            }
            for complaint in name::port_name(port) {
                errors.invalid(path.child("port"), port, complaint);
            }
        }
    }
}

fn validate_peer(it: &NetworkPolicyPeer, path: &Path, errors: &mut Errors) {
    for (field, selector) in [("podSelector", &it.pod_selector), ("namespaceSelector", &it.namespace_selector)] {
        if let Some(selector) = selector {
            label::validate(selector, &path.child(field), errors);
        }
    }
    let selects = it.pod_selector.is_some() || it.namespace_selector.is_some();
    match &it.ip_block {
        Some(block) => {
            validate_block(block, &path.child("ipBlock"), errors);
            if selects {
                errors.forbidden(path.clone(), "may not specify both ipBlock and another peer");
            }
        }
        None if !selects => errors.required(path.clone(), "must specify a peer"),
        None => {}
    }
}

fn validate_block(block: &IPBlock, path: &Path, errors: &mut Errors) {
    if block.cidr.is_empty() {
        return errors.required(path.child("cidr"), "");
    }
    checks::cidr(&block.cidr, || path.child("cidr"), errors);
    let Ok(whole) = block.cidr.parse::<IpNet>() else { return };
    for (at, text) in block.except.iter().flatten().enumerate() {
        let path = || path.child("except").index(at);
        checks::cidr(text, path, errors);
        let Ok(part) = text.parse::<IpNet>() else { continue };
        if !whole.contains(&part) || whole.prefix_len() >= part.prefix_len() {
            errors.invalid(path(), text, "must be a strict subset of `cidr`");
        }
    }
}

/// The warnings about the ranges of one rule's peers.
fn warn_of_ranges(peers: Option<&[NetworkPolicyPeer]>, path: &Path, warnings: &mut Vec<String>) {
    for (at, peer) in peers.unwrap_or_default().iter().enumerate() {
        let Some(block) = &peer.ip_block else { continue };
        let path = path.index(at).child("ipBlock");
        addresses::warn_of_range(&block.cidr, &path.child("cidr"), warnings);
        for (at, except) in block.except.iter().flatten().enumerate() {
            addresses::warn_of_range(except, &path.child("except").index(at), warnings);
        }
    }
}
