//! `Endpoints`: the addresses behind a service, in the form that preceded `EndpointSlice`.

use k8s_openapi::api::core::v1::Endpoints;
use serde_json::Value;

use crate::kind::{Names, Strategy};
use crate::kinds::cells::{self, AGE, NONE, list, str_of};
use crate::table::{Cell, Column};

impl Strategy for Endpoints {
    const NAMES: Names = Names { plural: "endpoints", singular: "endpoints", short: &["ep"], categories: &[] };
    const STORED_AS: Option<&'static str> = Some("services/endpoints");
    const COLUMNS: &'static [Column] = &[cells::text("Endpoints", addresses), AGE];
    const CREATE_ON_UPDATE: bool = true;

    fn default(&mut self) {
        for port in self.subsets.iter_mut().flatten().flat_map(|it| it.ports.iter_mut().flatten()) {
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }

    fn warnings(&self) -> Vec<String> {
        vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".into()]
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
    Cell::Text(cells::first_of(pairs, NONE))
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
