//! `Endpoints`: the addresses behind a service, in the form that preceded `EndpointSlice`.

use k8s_openapi::api::core::v1::Endpoints;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy};
use crate::kinds::addresses::warn_of_address;
use crate::kinds::cells::{self, AGE, NONE, list, str_of};
use crate::kinds::checks;
use crate::name;
use crate::table::{Cell, Column};

/// Who writes endpoints that nobody has written by hand.
const MANAGER_LABEL: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";

impl Strategy for Endpoints {
    const NAMES: Names = Names { plural: "endpoints", singular: "endpoints", short: &["ep"], categories: &[] };
    const STORED_AS: Option<&'static str> = Some("services/endpoints");
    const DEPRECATED: Option<&'static str> =
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice");
    const COLUMNS: &'static [Column] = &[cells::text("Endpoints", addresses).doc(".subsets"), AGE];
    const CREATE_ON_UPDATE: bool = true;

    fn default(&mut self) {
        for port in self.subsets.iter_mut().flatten().flat_map(|it| it.ports.iter_mut().flatten()) {
            checks::fill(&mut port.protocol, "TCP");
        }
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        // What older rules have let pass may stay.
        if old.is_some_and(|it| it.subsets == self.subsets) {
            return;
        }
        for (index, subset) in self.subsets.iter().flatten().enumerate() {
            let path = Path::new("subsets").index(index);
            let ready = subset.addresses.as_deref().unwrap_or_default();
            let not_ready = subset.not_ready_addresses.as_deref().unwrap_or_default();
            if ready.is_empty() && not_ready.is_empty() {
                errors.required(path.clone(), "must specify `addresses` or `notReadyAddresses`");
            }
            for (field, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
                for (at, address) in addresses.iter().enumerate() {
                    let path = || path.child(field).index(at);
                    checks::ip(&address.ip, || path().child("ip"), errors);
                    let hostname = address.hostname.as_deref();
                    checks::none_or_named(hostname, name::dns1123_label, || path().child("hostname"), errors);
                    for complaint in address.node_name.as_deref().map(name::dns1123_subdomain).unwrap_or_default() {
                        errors.invalid(path().child("nodeName"), &address.node_name, complaint);
                    }
                    checks::not_special(&address.ip, || path().child("ip"), errors);
                }
            }
            let ports = subset.ports.as_deref().unwrap_or_default();
            for (at, port) in ports.iter().enumerate() {
                let path = || path.child("ports").index(at);
                let label = port.name.as_deref().unwrap_or_default();
                if ports.len() > 1 {
                    checks::named(label, name::dns1123_label, || path().child("name"), errors);
                } else {
                    checks::none_or_named(Some(label), name::dns1123_label, || path().child("name"), errors);
                }
                checks::port_number(port.port, || path().child("port"), errors);
                let protocols = &["SCTP", "TCP", "UDP"];
                checks::one_of(port.protocol.as_deref(), protocols, || path().child("protocol"), errors);
                for complaint in port.app_protocol.as_deref().map(name::qualified_name).unwrap_or_default() {
                    errors.invalid(path().child("appProtocol"), &port.app_protocol, complaint);
                }
            }
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        // The controller writes no address that one would be warned of.
        if self.metadata.labels.as_ref().and_then(|it| it.get(MANAGER_LABEL)).is_some_and(|it| it == CONTROLLER) {
            return warnings;
        }
        for (at, subset) in self.subsets.iter().flatten().enumerate() {
            for (field, addresses) in
                [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)]
            {
                for (index, address) in addresses.iter().flatten().enumerate() {
                    let path = || Path::new("subsets").index(at).child(field).index(index).child("ip");
                    warn_of_address(&address.ip, path, &mut warnings);
                }
            }
        }
        warnings
    }
}

fn addresses(it: &Value) -> Cell {
    let pairs = list(&it["subsets"]).iter().flat_map(|subset| {
        let ports = list(&subset["ports"]);
        let bare =
            list(&subset["addresses"]).iter().filter(|_| ports.is_empty()).map(|it| str_of(&it["ip"]).to_owned());
        let with_port = ports
            .iter()
            .flat_map(|port| list(&subset["addresses"]).iter().map(|it| host_port(str_of(&it["ip"]), &port["port"])));
        bare.chain(with_port).collect::<Vec<_>>()
    });
    // What has nobody who is ready shows nothing at all.
    let absent = if list(&it["subsets"]).is_empty() { NONE } else { "" };
    Cell::Text(cells::first_of(pairs, absent))
}

fn host_port(host: &str, port: &Value) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(subsets: Value, expected: &str) {
        assert_eq!(addresses(&json!({ "subsets": subsets })), Cell::Text(expected.to_owned()));
    }

    #[test]
    fn lists_addresses() {
        check(json!(null), "<none>");
        check(
            json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}]),
            "10.0.0.1:80,[fd00::1]:80",
        );
        check(
            json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80}, {"port": 443}]}]),
            "10.0.0.1:80,10.0.0.2:80,10.0.0.1:443 + 1 more...",
        );
    }
}
