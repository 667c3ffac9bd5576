//! The pages of a Service and of what stands behind it: Endpoints and EndpointSlices.

use serde_json::Value;

use super::{Page, list, plain, text};

/// How many addresses of a Service are shown, as kubectl does.
const ADDRESSES_SHOWN: usize = 3;

/// Describes a Service; `slices` are its EndpointSlices.
pub fn service(page: &mut Page, it: &Value, slices: &[Value]) {
    let spec = &it["spec"];
    page.identity(it);
    page.labels(it);
    let selector = spec["selector"].as_object().into_iter().flatten();
    let selector: Vec<String> = selector.map(|(key, value)| format!("{key}={}", plain(value))).collect();
    page.field(0, "Selector", if selector.is_empty() { "<none>".into() } else { selector.join(",") });
    page.field(0, "Type", plain(&spec["type"]));
    page.field(0, "IP Family Policy", plain(&spec["ipFamilyPolicy"]));
    page.field(0, "IP Families", joined(&spec["ipFamilies"]));
    page.field(0, "IP", plain(&spec["clusterIP"]));
    page.field(0, "IPs", joined(&spec["clusterIPs"]));
    if list(&spec["externalIPs"]).next().is_some() {
        page.field(0, "External IPs", joined(&spec["externalIPs"]));
    }
    if spec["externalName"].is_string() {
        page.field(0, "External Name", plain(&spec["externalName"]));
    }
    for port in list(&spec["ports"]) {
        let name = text(&port["name"]).unwrap_or("<unset>");
        let protocol = text(&port["protocol"]).unwrap_or("TCP");
        page.field(0, "Port", format!("{name}  {}/{protocol}", plain(&port["port"])));
        let target = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
        page.field(0, "TargetPort", format!("{}/{protocol}", plain(target)));
        if !port["nodePort"].is_null() {
            page.field(0, "NodePort", format!("{name}  {}/{protocol}", plain(&port["nodePort"])));
        }
        page.field(0, "Endpoints", addresses(slices, &port["name"]));
    }
    page.field(0, "Session Affinity", plain(&spec["sessionAffinity"]));
    for (title, field) in
        [("External Traffic Policy", "externalTrafficPolicy"), ("Internal Traffic Policy", "internalTrafficPolicy")]
    {
        if spec[field].is_string() {
            page.field(0, title, plain(&spec[field]));
        }
    }
}

/// The ready addresses behind the port of a Service that has this name (or none).
fn addresses(slices: &[Value], port: &Value) -> String {
    if slices.is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for slice in slices {
        for behind in list(&slice["ports"]).filter(|it| text(&it["name"]) == text(port)) {
            for endpoint in list(&slice["endpoints"]).filter(|it| it["conditions"]["ready"] != false) {
                all.extend(list(&endpoint["addresses"]).map(|it| format!("{}:{}", plain(it), plain(&behind["port"]))));
            }
        }
    }
    let more = all.len().saturating_sub(ADDRESSES_SHOWN);
    all.truncate(ADDRESSES_SHOWN);
    match more {
        0 => all.join(","),
        more => format!("{} + {more} more...", all.join(",")),
    }
}

/// Describes Endpoints.
pub fn endpoints(page: &mut Page, it: &Value) {
    page.identity(it);
    page.labels(it);
    page.line(0, "Subsets:");
    for subset in list(&it["subsets"]) {
        for (title, field) in [("Addresses", "addresses"), ("NotReadyAddresses", "notReadyAddresses")] {
            let ips: Vec<String> = list(&subset[field]).map(|it| plain(&it["ip"])).collect();
            page.field(1, title, if ips.is_empty() { "<none>".into() } else { ips.join(",") });
        }
        ports(page, 1, &subset["ports"]);
        page.line(0, "");
    }
}

/// Describes an EndpointSlice.
pub fn slice(page: &mut Page, it: &Value) {
    page.identity(it);
    page.labels(it);
    page.field(0, "AddressType", plain(&it["addressType"]));
    ports(page, 0, &it["ports"]);
    if list(&it["endpoints"]).next().is_none() {
        page.field(0, "Endpoints", "<none>");
        return;
    }
    page.line(0, "Endpoints:");
    for endpoint in list(&it["endpoints"]) {
        page.field(1, "- Addresses", joined(&endpoint["addresses"]));
        page.line(2, "Conditions:");
        let ready = &endpoint["conditions"]["ready"];
        page.field(3, "Ready", if ready.is_null() { "<unset>".into() } else { plain(ready) });
        let known = |value: &Value| text(value).unwrap_or("<unset>").to_owned();
        page.field(2, "Hostname", known(&endpoint["hostname"]));
        if endpoint["targetRef"].is_object() {
            let of = &endpoint["targetRef"];
            page.field(2, "TargetRef", format!("{}/{}", plain(&of["kind"]), plain(&of["name"])));
        }
        page.field(2, "NodeName", known(&endpoint["nodeName"]));
        page.field(2, "Zone", known(&endpoint["zone"]));
    }
}

fn ports(page: &mut Page, depth: usize, ports: &Value) {
    let rows = list(ports).map(|it| {
        let name = text(&it["name"]).unwrap_or("<unset>").to_owned();
        vec![name, plain(&it["port"]), text(&it["protocol"]).unwrap_or("TCP").to_owned()]
    });
    page.table_at(depth, "Ports", &["Name", "Port", "Protocol"], rows.collect());
}

fn joined(values: &Value) -> String {
    let all: Vec<String> = list(values).map(plain).collect();
    if all.is_empty() { "<none>".into() } else { all.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_addresses_are_counted() {
        let ready = |ip: &str, ready: bool| serde_json::json!({"addresses": [ip], "conditions": {"ready": ready}});
        let check = |count: u8, expected: &str| {
            let mut all: Vec<Value> = (1..=count).map(|it| ready(&format!("10.0.0.{it}"), true)).collect();
            all.push(ready("10.0.0.99", false));
            let slice = serde_json::json!({"ports": [{"name": "", "port": 80}], "endpoints": all});
            assert_eq!(addresses(&[slice], &Value::Null), expected);
        };
        assert_eq!(addresses(&[], &Value::Null), "<none>");
        check(0, "");
        check(2, "10.0.0.1:80,10.0.0.2:80");
        check(5, "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
    }
}
