//! Discovery by plain HTTP ("Discovery should validate PreferredVersion for each APIGroup", "... should locate the groupVersion and a resource
//! within each APIGroup", "server version should find the server version", "Servers with support for Table transformation should return a 406
//! for a backend which does not implement metadata").

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use http::Method;
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

use super::plain::{Http, count};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// What a server of 1.35 serves without being asked for more, each group with its versions and one of its resources.
const GROUPS: &[(&str, &[&str], &str)] = &[
    ("admissionregistration.k8s.io", &["v1"], "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", &["v1"], "customresourcedefinitions"),
    ("apps", &["v1"], "deployments"),
    ("authentication.k8s.io", &["v1"], "tokenreviews"),
    ("authorization.k8s.io", &["v1"], "subjectaccessreviews"),
    ("autoscaling", &["v2", "v1"], "horizontalpodautoscalers"),
    ("batch", &["v1"], "jobs"),
    ("certificates.k8s.io", &["v1"], "certificatesigningrequests"),
    ("coordination.k8s.io", &["v1"], "leases"),
    ("discovery.k8s.io", &["v1"], "endpointslices"),
    ("events.k8s.io", &["v1"], "events"),
    ("flowcontrol.apiserver.k8s.io", &["v1"], "flowschemas"),
    ("networking.k8s.io", &["v1"], "ingresses"),
    ("node.k8s.io", &["v1"], "runtimeclasses"),
    ("policy", &["v1"], "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", &["v1"], "clusterroles"),
    ("scheduling.k8s.io", &["v1"], "priorityclasses"),
    ("storage.k8s.io", &["v1"], "storageclasses"),
];

fn text<'a>(it: &'a Value, field: &str) -> &'a str {
    it[field].as_str().unwrap_or_default()
}

pub fn discovery(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let list = http.get("/apis")?.is(200)?;
    ensure!(list["kind"] == "APIGroupList", "{list}");
    let groups = list["groups"].as_array().context("there are groups")?;
    for group in groups {
        let name = text(group, "name");
        let preferred = &group["preferredVersion"];
        let versions = group["versions"].as_array().context("a group has versions")?;
        ensure!(versions.contains(preferred), "{name}: the preferred version is one of them: {group}");
        let alone = http.get(&format!("/apis/{name}"))?.is(200)?;
        ensure!(alone["kind"] == "APIGroup" && alone["versions"] == group["versions"], "{name}: {alone}");
        ensure!(alone["preferredVersion"] == *preferred, "{name}: {alone}");
        for version in versions {
            let group_version = text(version, "groupVersion");
            ensure!(group_version == format!("{name}/{}", text(version, "version")), "{version}");
            let resources = http.get(&format!("/apis/{group_version}"))?.is(200)?;
            ensure!(
                resources["kind"] == "APIResourceList" && resources["groupVersion"] == group_version,
                "{resources}"
            );
            let all = resources["resources"].as_array().context("a version has resources")?;
            ensure!(!all.is_empty(), "{group_version} has resources");
            let known: BTreeSet<&str> = all.iter().map(|it| text(it, "name")).collect();
            for resource in all {
                let name = text(resource, "name");
                ensure!(!text(resource, "kind").is_empty() && resource["namespaced"].is_boolean(), "{resource}");
                let verbs = resource["verbs"].as_array().map_or(0, Vec::len);
                ensure!(verbs > 0 && resource["singularName"].is_string(), "{resource}");
                // What has a part is there itself, but for kinds whose objects are somewhere else.
                let parent = name.split_once('/').map_or(name, |it| it.0);
                ensure!(known.contains(parent), "{group_version}: {name} stands alone");
            }
        }
    }
    for (name, versions, resource) in GROUPS {
        let group =
            groups.iter().find(|it| text(it, "name") == *name).with_context(|| format!("{name} is not there"))?;
        let found: Vec<&str> =
            group["versions"].as_array().into_iter().flatten().map(|it| text(it, "version")).collect();
        ensure!(found == *versions, "{name}: {found:?}");
        ensure!(text(&group["preferredVersion"], "version") == versions[0], "{name}: {group}");
        let resources = http.get(&format!("/apis/{name}/{}", versions[0]))?.is(200)?;
        let all = resources["resources"].as_array();
        ensure!(
            all.into_iter().flatten().any(|it| it["name"] == *resource),
            "{name}: {resource} is not among {resources}"
        );
    }
    http.get("/apis/nobody.example.com")?.refuses(404, "the server could not find the requested resource")?;
    let core = http.get("/api")?.is(200)?;
    ensure!(core["kind"] == "APIVersions" && core["versions"] == json!(["v1"]), "{core}");
    let core = http.get("/api/v1")?.is(200)?;
    for name in [
        "pods",
        "pods/log",
        "pods/eviction",
        "replicationcontrollers/scale",
        "namespaces/finalize",
        "serviceaccounts/token",
    ] {
        ensure!(
            core["resources"].as_array().into_iter().flatten().any(|it| it["name"] == name),
            "{name} is not in {core}"
        );
    }
    aggregated(&http, groups)?;
    version(&http)?;
    tables(it, &http)
}

/// All of it at once, in the form that kubectl asks for, says the same.
fn aggregated(http: &Http<'_>, groups: &[Value]) -> Result<()> {
    let accept = "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList";
    let all = http.send(Method::GET, "/apis", &[("accept", accept)], &Value::Null)?.is(200)?;
    ensure!(all["kind"] == "APIGroupDiscoveryList" && all["apiVersion"] == "apidiscovery.k8s.io/v2", "{all}");
    let found: Vec<&str> =
        all["items"].as_array().into_iter().flatten().map(|it| text(&it["metadata"], "name")).collect();
    let names: Vec<&str> = groups.iter().map(|it| text(it, "name")).collect();
    // Definitions of other scenarios come and go.
    let built_in = |all: &[&str]| -> Vec<String> {
        all.iter().filter(|it| !it.ends_with("example.com")).map(|it| (*it).to_owned()).collect()
    };
    ensure!(built_in(&found) == built_in(&names), "{found:?} and {names:?}");
    Ok(())
}

fn version(http: &Http<'_>) -> Result<()> {
    let version = http.get("/version")?.is(200)?;
    ensure!(
        text(&version, "major") == "1" && text(&version, "minor").trim_end_matches('+').parse() == Ok(35),
        "{version}"
    );
    for field in ["gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"] {
        ensure!(version[field].is_string(), "{field} is not in {version}");
    }
    Ok(())
}

fn tables(it: &Scene<'_>, http: &Http<'_>) -> Result<()> {
    let review =
        json!({ "spec": { "resourceAttributes": { "verb": "get", "resource": "pods", "namespace": it.namespace } } });
    let headers = [("accept", TABLE), ("content-type", "application/json")];
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = http.send(Method::POST, path, &headers, &review)?;
    ensure!(answer.json["reason"] == "NotAcceptable", "{answer:?}");
    answer.refuses(406, "only the following media types are accepted")?;
    let table = http.send(Method::GET, &it.path("configmaps"), &headers[..1], &Value::Null)?.is(200)?;
    ensure!(table["kind"] == "Table" && table["apiVersion"] == "meta.k8s.io/v1", "{table}");
    ensure!(table["columnDefinitions"][0]["name"] == "Name" && count(&table) == 0, "{table}");
    // Pages of a table.
    let pages = http.send(Method::GET, "/api/v1/nodes?limit=1", &headers[..1], &Value::Null)?.is(200)?;
    ensure!(pages["rows"].as_array().is_some_and(|it| it.len() == 1), "{pages}");
    ensure!(pages["metadata"]["remainingItemCount"] == 2 && pages["metadata"]["continue"].is_string(), "{pages}");
    Ok(())
}
