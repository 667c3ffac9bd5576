//! `EndpointSlice`: up to a thousand addresses behind a service, all of one family, with the ports they share.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use crate::kind::{Names, Strategy};
use crate::kinds::cells::{self, AGE, list, str_of};
use crate::table::{Cell, Column};

/// What an empty list of ports or endpoints is shown as.
const UNSET: &str = "<unset>";

impl Strategy for EndpointSlice {
    const NAMES: Names = Names { plural: "endpointslices", singular: "endpointslice", short: &[], categories: &[] };
    const COLUMNS: &'static [Column] = &[
        cells::text("AddressType", |it| cells::cell(&it["addressType"])),
        cells::text("Ports", ports),
        cells::text("Endpoints", endpoints),
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
