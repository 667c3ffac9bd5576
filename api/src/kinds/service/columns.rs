//! What `kubectl get services` shows: addresses inside and outside, and ports.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kinds::cells::{self, AGE, NONE, list, str_of, str_or};
use crate::table::{Cell, Column};

pub(super) const COLUMNS: &[Column] = &[
    cells::text("Type", |it| cells::cell(&it["spec"]["type"])).doc(".spec.type"),
    cells::text("Cluster-IP", |it| cells::cell_or_none(&it["spec"]["clusterIPs"][0])).doc(".spec.clusterIP"),
    cells::text("External-IP", external_ip).doc(".spec.externalIPs"),
    cells::text("Port(s)", ports).doc(".spec.ports"),
    AGE,
    cells::wide("Selector", |it| Cell::Text(cells::labels(&it["spec"]["selector"]))).doc(".spec.selector"),
];

fn external_ip(it: &Value) -> Cell {
    let spec = &it["spec"];
    let ips: Vec<&str> = list(&spec["externalIPs"]).iter().map(str_of).collect();
    Cell::Text(match str_of(&spec["type"]) {
        "ClusterIP" | "NodePort" if ips.is_empty() => NONE.to_owned(),
        "ClusterIP" | "NodePort" => ips.join(","),
        "LoadBalancer" => {
            let given: BTreeSet<&str> = list(&it["status"]["loadBalancer"]["ingress"])
                .iter()
                .map(|it| str_or(&it["ip"], str_of(&it["hostname"])))
                .filter(|it| !it.is_empty())
                .collect();
            let all: Vec<&str> = given.into_iter().chain(ips).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => str_of(&spec["externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    })
}

fn ports(it: &Value) -> Cell {
    let texts: Vec<String> = list(&it["spec"]["ports"])
        .iter()
        .map(|it| match it["nodePort"].as_i64() {
            Some(node_port) if node_port > 0 => format!("{}:{node_port}/{}", it["port"], str_of(&it["protocol"])),
            _ => format!("{}/{}", it["port"], str_of(&it["protocol"])),
        })
        .collect();
    Cell::Text(if texts.is_empty() { NONE.to_owned() } else { texts.join(",") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(service: Value, expected: [&str; 4]) {
        let shown = COLUMNS[..4].iter().map(|it| (it.cell)(&service)).collect::<Vec<_>>();
        assert_eq!(shown, expected.map(|it| Cell::Text(it.to_owned())));
    }

    #[test]
    fn shows_addresses_and_ports() {
        check(
            json!({"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 443, "protocol": "TCP"}]}}),
            ["ClusterIP", "10.96.0.1", "<none>", "443/TCP"],
        );
        check(
            json!({"spec": {"type": "NodePort", "clusterIPs": ["10.96.0.2"], "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
            ["NodePort", "10.96.0.2", "<none>", "80:30080/TCP,53/UDP"],
        );
        check(json!({"spec": {"type": "LoadBalancer"}}), ["LoadBalancer", "<none>", "<pending>", "<none>"]);
        check(
            json!({"spec": {"type": "LoadBalancer", "externalIPs": ["1.2.3.4"]}, "status": {"loadBalancer": {"ingress": [{"hostname": "lb"}, {"ip": "9.9.9.9"}, {"hostname": "lb"}]}}}),
            ["LoadBalancer", "<none>", "9.9.9.9,lb,1.2.3.4", "<none>"],
        );
        check(
            json!({"spec": {"type": "ExternalName", "externalName": "db.example"}}),
            ["ExternalName", "<none>", "db.example", "<none>"],
        );
    }
}
