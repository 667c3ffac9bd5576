//! What a namespace's quotas and limit ranges say, as they end its page.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Page, list, plain};

/// The quotas and limit ranges of a namespace; none where the server does not know of such.
pub fn of_namespace(page: &mut Page, quotas: &Option<Vec<Value>>, limits: &Option<Vec<Value>>) {
    if let Some(quotas) = quotas {
        page.line(0, "");
        all_quotas(page, quotas);
    }
    if let Some(limits) = limits {
        page.line(0, "");
        all_limits(page, limits);
    }
}

fn all_quotas(page: &mut Page, quotas: &[Value]) {
    if quotas.is_empty() {
        return page.line(0, "No resource quota.");
    }
    page.line(0, "Resource Quotas");
    for quota in quotas {
        page.field(1, "Name", plain(&quota["metadata"]["name"]));
        let scopes: BTreeSet<&str> = list(&quota["spec"]["scopes"]).filter_map(Value::as_str).collect();
        if !scopes.is_empty() {
            page.field(1, "Scopes", scopes.iter().copied().collect::<Vec<_>>().join(", "));
            scopes.iter().filter_map(|it| meaning(it)).for_each(|it| page.line(1, format!("* {it}")));
        }
        let status = &quota["status"];
        let hard = status["hard"].as_object();
        // What is not used is a quantity of nothing.
        let used = |resource: &str| status["used"][resource].as_str().unwrap_or("0").to_owned();
        let rows = hard.into_iter().flatten().map(|(name, value)| vec![name.clone(), used(name), plain(value)]);
        page.rows(1, &["Resource", "Used", "Hard"], rows.collect());
    }
}

/// What a scope says, in kubectl's words.
fn meaning(scope: &str) -> Option<&'static str> {
    Some(match scope {
        "Terminating" => {
            "Matches all pods that have an active deadline. These pods have a limited lifespan on a node before being actively terminated by the system."
        }
        "NotTerminating" => {
            "Matches all pods that do not have an active deadline. These pods usually include long running pods whose container command is not expected to terminate."
        }
        "BestEffort" => {
            "Matches all pods that do not have resource requirements set. These pods have a best effort quality of service."
        }
        "NotBestEffort" => {
            "Matches all pods that have at least one resource requirement set. These pods have a burstable or guaranteed quality of service."
        }
        _ => return None,
    })
}

fn all_limits(page: &mut Page, ranges: &[Value]) {
    if ranges.is_empty() {
        return page.line(0, "No LimitRange resource.");
    }
    const SAID: [&str; 5] = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
    page.line(0, "Resource Limits");
    let mut rows = Vec::new();
    for limit in ranges.iter().flat_map(|it| list(&it["spec"]["limits"])) {
        let resources: BTreeSet<&String> =
            SAID.iter().filter_map(|it| limit[*it].as_object()).flat_map(serde_json::Map::keys).collect();
        for resource in resources {
            let said = SAID.iter().map(|it| limit[*it][resource].as_str().unwrap_or("-").to_owned());
            rows.push([plain(&limit["type"]), resource.clone()].into_iter().chain(said).collect());
        }
    }
    let header = ["Type", "Resource", "Min", "Max", "Default Request", "Default Limit", "Max Limit/Request Ratio"];
    page.rows(0, &header, rows);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(quotas: &[Value], limits: &[Value]) -> Vec<String> {
        let mut page = Page { now: jiff::Timestamp::UNIX_EPOCH, lines: Vec::new() };
        of_namespace(&mut page, &Some(quotas.to_vec()), &Some(limits.to_vec()));
        let words = |it: &str| it.split_whitespace().collect::<Vec<_>>().join(" ");
        page.text().lines().map(words).filter(|it| !it.is_empty()).collect()
    }

    #[test]
    fn limits_end_a_namespaces_page() {
        assert_eq!(text(&[], &[]), ["No resource quota.", "No LimitRange resource."]);
        let quota = json!({"metadata": {"name": "few"}, "spec": {"scopes": ["BestEffort"]},
            "status": {"hard": {"pods": "2", "secrets": "3"}, "used": {"pods": "1"}}});
        let range = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "default": {"cpu": "1"}}]}});
        assert_eq!(
            text(&[quota], &[range]),
            [
                "Resource Quotas",
                "Name: few",
                "Scopes: BestEffort",
                "* Matches all pods that do not have resource requirements set. These pods have a best effort quality of service.",
                "Resource Used Hard",
                "-------- ---- ----",
                "pods 1 2",
                "secrets 0 3",
                "Resource Limits",
                "Type Resource Min Max Default Request Default Limit Max Limit/Request Ratio",
                "---- -------- --- --- --------------- ------------- -----------------------",
                "Container cpu - 2 - 1 -",
            ]
        );
    }
}
