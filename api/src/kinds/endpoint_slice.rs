//! `EndpointSlice`: up to a thousand addresses behind a service, all of one family, with the ports they share.

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, EndpointSlice};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy};
use crate::kinds::addresses::warn_of_address;
use crate::kinds::cells::{self, AGE, list, str_of};
use crate::kinds::checks;
use crate::meta;
use crate::name::{self, Complaints};
use crate::table::{Cell, Column};

/// What an empty list of ports or endpoints is shown as.
const UNSET: &str = "<unset>";
/// How many endpoints one slice may have: Kubernetes' bound, so that one object stays small enough to send often.
const ENDPOINTS_LIMIT: usize = 1_000;
const PORTS_LIMIT: usize = 20_000;
const ADDRESSES_LIMIT: usize = 100;
const TOPOLOGY_LIMIT: usize = 16;
/// How many zones, and how many nodes, one endpoint may be meant for.
const HINTS_LIMIT: usize = 8;
/// Where an endpoint's node stood in its topology.
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
/// Who writes slices that nobody has written by hand.
const MANAGER_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLERS: &[&str] = &["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

impl Strategy for EndpointSlice {
    const NAMES: Names = Names { plural: "endpointslices", singular: "endpointslice", short: &[], categories: &[] };
    const COLUMNS: &'static [Column] = &[
        cells::text("AddressType", |it| cells::cell(&it["addressType"])).doc(".addressType"),
        cells::text("Ports", ports).doc(".ports"),
        cells::text("Endpoints", endpoints).doc(".endpoints"),
        AGE,
    ];

    fn default(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            port.name.get_or_insert_with(String::new);
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        let same = self.endpoints == old.endpoints
            && self.ports == old.ports
            && self.address_type == old.address_type
            && self.metadata.labels == old.metadata.labels;
        Some(!same)
    }

    /// The topology is what the version before this one had, and cannot be written any more; endpoints that stay as they were keep theirs.
    fn prepare(&mut self, _part: Part, old: Option<&Self>) {
        if old.is_some_and(|it| it.endpoints == self.endpoints) {
            return;
        }
        let node = |it: &Endpoint| it.deprecated_topology.as_ref().and_then(|it| it.get(HOSTNAME_LABEL)).cloned();
        let before: HashSet<String> = old.iter().flat_map(|it| &it.endpoints).filter_map(node).collect();
        for endpoint in &mut self.endpoints {
            let named = node(endpoint).filter(|it| before.contains(it) && name::dns1123_subdomain(it).is_empty());
            endpoint.node_name = endpoint.node_name.take().or(named);
            endpoint.deprecated_topology = None;
        }
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        let family = self.address_type.as_str();
        checks::one_of(Some(family), &["FQDN", "IPv4", "IPv6"], || Path::new("addressType"), errors);
        validate_ports(self, errors);
        // What older rules have let pass may stay.
        if old.is_none_or(|it| it.endpoints != self.endpoints) {
            validate_endpoints(self, errors);
        }
        if let Some(old) = old {
            checks::immutable(&self.address_type, &old.address_type, "addressType", errors);
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() && self.address_type == "FQDN" {
            // The field is not in a `spec`, but so Kubernetes says it.
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        // The controllers write no address that one would be warned of.
        let manager = self.metadata.labels.as_ref().and_then(|it| it.get(MANAGER_LABEL));
        if manager.is_some_and(|it| CONTROLLERS.contains(&it.as_str())) {
            return warnings;
        }
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            for (index, address) in endpoint.addresses.iter().enumerate() {
                let path = || Path::new("endpoints").index(at).child("addresses").index(index);
                warn_of_address(address, path, &mut warnings);
            }
        }
        warnings
    }
}

fn validate_endpoints(slice: &EndpointSlice, errors: &mut Errors) {
    let many = slice.endpoints.len();
    if many > ENDPOINTS_LIMIT {
        return errors.too_many("endpoints", many, ENDPOINTS_LIMIT);
    }
    for (index, endpoint) in slice.endpoints.iter().enumerate() {
        let path = || Path::new("endpoints").index(index);
        match endpoint.addresses.len() {
            0 => errors.required(path().child("addresses"), "must contain at least 1 address"),
            many if many > ADDRESSES_LIMIT => {
                errors.too_many(path().child("addresses"), many, ADDRESSES_LIMIT);
            }
            _ => {}
        }
        for (at, address) in endpoint.addresses.iter().enumerate() {
            validate_address(address, &slice.address_type, || path().child("addresses").index(at), errors);
        }
        for complaint in endpoint.node_name.as_deref().map(name::dns1123_subdomain).unwrap_or_default() {
            errors.invalid(path().child("nodeName"), &endpoint.node_name, complaint);
        }
        if endpoint.deprecated_topology.is_some() {
            validate_topology(endpoint, &path().child("deprecatedTopology"), errors);
        }
        for complaint in endpoint.hostname.as_deref().map(name::dns1123_label).unwrap_or_default() {
            errors.invalid(path().child("hostname"), &endpoint.hostname, complaint);
        }
        if let Some(hints) = &endpoint.hints {
            validate_hints(hints, &path().child("hints"), errors);
        }
    }
}

fn validate_address(address: &str, family: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    let wanted = match family {
        "IPv4" | "IPv6" => family,
        "FQDN" => return validate_domain(address, path, errors),
        _ => return,
    };
    let Ok(ip) = address.parse::<IpAddr>() else { return checks::ip(address, path, errors) };
    // An address of the older family is one in the newer form, too.
    let found = if ip.to_canonical().is_ipv4() { "IPv4" } else { "IPv6" };
    if found != wanted {
        errors.invalid(path(), address, format!("must be an {wanted} address"));
    }
    checks::not_special(address, path, errors);
}

/// Notes what is wrong with the zones and nodes for which an endpoint is meant.
fn validate_hints(hints: &EndpointHints, path: &Path, errors: &mut Errors) {
    let zones: Vec<&str> = hints.for_zones.iter().flatten().map(|it| it.name.as_str()).collect();
    let nodes: Vec<&str> = hints.for_nodes.iter().flatten().map(|it| it.name.as_str()).collect();
    let lists = [("forZones", zones), ("forNodes", nodes)];
    if let Some((field, names)) = lists.iter().find(|(_, names)| names.len() > HINTS_LIMIT) {
        return errors.too_many(path.child(field), names.len(), HINTS_LIMIT);
    }
    let rules: [fn(&str) -> Complaints; 2] = [name::label_value, name::dns1123_subdomain];
    for ((field, names), rule) in lists.iter().zip(rules) {
        let mut seen = HashSet::new();
        for (at, name) in names.iter().enumerate() {
            let path = || path.child(field).index(at).child("name");
            if !seen.insert(*name) {
                errors.duplicate(path(), name);
            }
            for complaint in rule(name) {
                errors.invalid(path(), name, complaint);
            }
        }
    }
}

fn validate_topology(endpoint: &Endpoint, path: &Path, errors: &mut Errors) {
    let topology = endpoint.deprecated_topology.as_ref();
    let many = topology.map_or(0, BTreeMap::len);
    if many > TOPOLOGY_LIMIT {
        errors.too_many(path.clone(), many, TOPOLOGY_LIMIT);
    }
    meta::validate_labels(topology, path, errors);
}

/// A name of at least two labels, perhaps with the root's dot at its end.
fn validate_domain(text: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    if text.is_empty() {
        return errors.required(path(), "");
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let complaints = name::dns1123_subdomain(text);
    if !complaints.is_empty() {
        return errors.invalid(path(), text, complaints.join(","));
    }
    if !text.contains('.') {
        return errors.invalid(path(), text, "should be a domain with at least two segments separated by dots");
    }
    let bad = text.split('.').find_map(|it| Some((it, name::dns1123_label(it))).filter(|(_, it)| !it.is_empty()));
    if let Some((label, complaints)) = bad {
        errors.invalid(path(), label, complaints.join(","));
    }
}

fn validate_ports(slice: &EndpointSlice, errors: &mut Errors) {
    let ports = slice.ports.as_deref().unwrap_or_default();
    if ports.len() > PORTS_LIMIT {
        return errors.too_many("ports", ports.len(), PORTS_LIMIT);
    }
    let mut names = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = || Path::new("ports").index(index);
        let label = port.name.as_deref().unwrap_or_default();
        checks::none_or_named(Some(label), name::dns1123_label, || path().child("name"), errors);
        if !names.insert(label) {
            errors.duplicate(path().child("name"), label);
        }
        checks::one_of(port.protocol.as_deref(), &["SCTP", "TCP", "UDP"], || path().child("protocol"), errors);
        for complaint in port.app_protocol.as_deref().map(name::qualified_name).unwrap_or_default() {
            errors.invalid(path().child("appProtocol"), &port.app_protocol, complaint);
        }
    }
}

fn ports(it: &Value) -> Cell {
    let texts = list(&it["ports"]).iter().map(|port| match (&port["port"], &port["name"]) {
        (Value::Number(number), _) => number.to_string(),
        (_, Value::String(name)) => name.clone(),
        _ => "*".to_owned(),
    });
    Cell::Text(cells::first_of(texts, UNSET))
}

fn endpoints(it: &Value) -> Cell {
    let addresses = list(&it["endpoints"]).iter().flat_map(|it| list(&it["addresses"])).map(|it| str_of(it).to_owned());
    Cell::Text(cells::first_of(addresses, UNSET))
}
