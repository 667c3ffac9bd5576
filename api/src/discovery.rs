//! Discovery: which groups, versions and resources the server has.
//!
//! In: the list of kinds, beside which the reviews always stand. Out: the documents below `/api` and `/apis`, in the plain form (a document per group version) and the aggregated
//! one (`apidiscovery.k8s.io`, v2 and v2beta1: everything at once). Nothing here knows which of them a client asked for.

use std::cmp::Ordering;

use base64::Engine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::custom::Custom;
use crate::kind::{Kind, Scope, Sub};
use crate::review::{REVIEWS, Review};

/// A kind of a subresource that is not the kind of its resource: group, version, kind.
type Gvk = (&'static str, &'static str, &'static str);

/// One entry of a resource list: a kind's resource, or a subresource of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `pods`, `pods/status`.
    pub name: String,
    pub kind: &'static str,
    /// Where the entry's kind is not of the list's group version.
    pub foreign: Option<(&'static str, &'static str)>,
    pub verbs: &'static [&'static str],
}

const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Deleting a namespace deletes what is in it: that is not done to several at once.
const NAMESPACE_VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

/// In the order in which Kubernetes lists those of custom kinds.
const CUSTOM_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
/// Of custom kinds whose definition is going away.
const TERMINATING_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];

/// The verbs that a kind's resource knows.
pub fn verbs(kind: &Kind) -> &'static [&'static str] {
    if let Some(custom) = kind.custom {
        return if custom.now().definition.terminating { TERMINATING_VERBS } else { CUSTOM_VERBS };
    }
    if !kind.verbs.is_empty() {
        return kind.verbs;
    }
    if kind.has(Sub::Finalize) { NAMESPACE_VERBS } else { ALL_VERBS }
}

/// The verbs and the kind of a subresource; no kind: the resource's own.
pub fn sub_verbs(sub: Sub) -> (&'static [&'static str], Option<Gvk>) {
    match sub {
        Sub::Status | Sub::Approval | Sub::EphemeralContainers | Sub::Resize => (&["get", "patch", "update"], None),
        Sub::Scale => (&["get", "patch", "update"], Some(("autoscaling", "v1", "Scale"))),
        Sub::Binding => (&["create"], Some(("", "v1", "Binding"))),
        Sub::Finalize => (&["update"], None),
        Sub::Log => (&["get"], None),
        Sub::Proxy => (&["create", "delete", "get", "patch", "update"], None),
        Sub::Exec | Sub::Attach | Sub::PortForward => (&["create", "get"], None),
        Sub::Eviction => (&["create"], Some(("policy", "v1", "Eviction"))),
        Sub::Token => (&["create"], Some(("authentication.k8s.io", "v1", "TokenRequest"))),
    }
}

/// The kind of the options with which a kind's objects are proxied to.
fn proxy_options(kind: &Kind) -> &'static str {
    let all = ["NodeProxyOptions", "PodProxyOptions", "ServiceProxyOptions"];
    all.into_iter().find(|it| it.strip_suffix("ProxyOptions") == Some(kind.kind)).unwrap_or(kind.kind)
}

/// The entries of a kind's subresources, by name.
pub fn subresources(kind: &Kind) -> Vec<Resource> {
    let mut out: Vec<Resource> = kind
        .subs
        .iter()
        .map(|sub| {
            let (verbs, of) = sub_verbs(*sub);
            Resource {
                name: format!("{}/{}", kind.names.plural, sub.segment()),
                kind: match sub {
                    Sub::Proxy => proxy_options(kind),
                    Sub::Exec => "PodExecOptions",
                    Sub::Attach => "PodAttachOptions",
                    Sub::PortForward => "PodPortForwardOptions",
                    _ => of.map_or(kind.kind, |(_, _, kind)| kind),
                },
                foreign: of.map(|(group, version, _)| (group, version)).filter(|it| *it != (kind.group, kind.version)),
                verbs,
            }
        })
        .collect();
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

/// The order of version names: what is stable after what is not, and within that the greater after the smaller; names of no known form come
/// first, in the order of their letters (`k8s.io/apimachinery/pkg/version`, CompareKubeAwareVersionStrings).
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (stability(a), stability(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

/// How stable a version is, its number, and that of its alpha or beta.
fn stability(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..end].parse().ok()?;
    let rest = &rest[end..];
    if rest.is_empty() {
        return Some((2, major, 0));
    }
    let (level, minor) = match (rest.strip_prefix("alpha"), rest.strip_prefix("beta")) {
        (Some(minor), _) => (0, minor),
        (_, Some(minor)) => (1, minor),
        (None, None) => return None,
    };
    // `v1beta` has no number, and no known form.
    minor.bytes().all(|it| it.is_ascii_digit()).then_some(())?;
    Some((level, major, minor.parse().ok()?))
}

/// A fingerprint of the form in which a kind is stored, as Kubernetes computes it.
pub fn storage_version_hash(kind: &Kind) -> String {
    let stored = kind.custom.map(Custom::now);
    let version = stored.as_ref().map_or(kind.version, |it| &it.definition.stored().name);
    let digest = Sha256::digest(format!("{}/{version}/{}", kind.group, kind.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// The built-in groups in the order in which Kubernetes lists them, and in which clients look for a resource that is in several
/// (`groupPriorityMinimum` in `pkg/controlplane/apiserver/aggregator.go`).
const ORDER: &[&str] = &[
    "",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "resource.k8s.io",
];

/// The groups in their order, each with its versions, the preferred first. The core group is "".
pub fn groups(kinds: &[&'static Kind]) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut out: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    let of_kinds = |custom: bool| {
        let kinds = kinds.iter().filter(move |it| it.custom.is_some() == custom);
        kinds.map(|it| (it.group, it.version))
    };
    let of_reviews = REVIEWS.iter().map(|it| (it.group, it.version));
    for (group, version) in of_kinds(false).chain(of_reviews).chain(of_kinds(true)) {
        match out.iter_mut().find(|(it, _)| *it == group) {
            None => out.push((group, vec![version])),
            Some((_, versions)) if !versions.contains(&version) => versions.push(version),
            Some(_) => {}
        }
    }
    // Those of custom kinds, which have no place in the list, come last.
    out.sort_by_key(|(group, _)| ORDER.iter().position(|it| it == group).unwrap_or(ORDER.len()));
    out
}

/// `/api`: the versions of the core group. `address` is where clients reach the server.
pub fn api_versions(kinds: &[&'static Kind], address: &str) -> Value {
    let versions: Vec<&str> =
        groups(kinds).into_iter().filter(|(it, _)| it.is_empty()).flat_map(|(_, it)| it).collect();
    json!({
        "kind": "APIVersions", "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`: all groups but the core group.
pub fn api_group_list(kinds: &[&'static Kind]) -> Value {
    let groups: Vec<Value> = groups(kinds)
        .into_iter()
        .filter(|(it, _)| !it.is_empty())
        .map(|(group, versions)| group_entry(group, &versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
pub fn api_group(kinds: &[&'static Kind], group: &str) -> Option<Value> {
    let (group, versions) = groups(kinds).into_iter().find(|(it, _)| *it == group && !it.is_empty())?;
    let mut out = group_entry(group, &versions);
    out["kind"] = "APIGroup".into();
    out["apiVersion"] = "v1".into();
    Some(out)
}

fn group_entry(group: &str, versions: &[&str]) -> Value {
    let entries: Vec<Value> =
        versions.iter().map(|it| json!({"groupVersion": format!("{group}/{it}"), "version": it})).collect();
    json!({"name": group, "preferredVersion": entries[0], "versions": entries})
}

/// `/api/<version>` and `/apis/<group>/<version>`.
pub fn api_resource_list(kinds: &[&'static Kind], group: &str, version: &str) -> Option<Value> {
    let mut of: Vec<&Kind> = kinds.iter().copied().filter(|it| it.group == group && it.version == version).collect();
    of.sort_by_key(|it| it.names.plural);
    let mut resources: Vec<Value> = reviews(group, version)
        .map(|it| {
            json!({
                "name": it.plural, "singularName": it.singular, "namespaced": it.scope == Scope::Namespaced,
                "kind": it.kind, "verbs": ["create"],
            })
        })
        .collect();
    if of.is_empty() && resources.is_empty() {
        return None;
    }
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    for kind in &of {
        let mut entry = json!({
            "name": kind.names.plural, "singularName": kind.names.singular, "namespaced": kind.namespaced(), "kind": kind.kind,
            "verbs": verbs(kind), "storageVersionHash": storage_version_hash(kind),
        });
        for (name, words) in [("shortNames", kind.names.short), ("categories", kind.names.categories)] {
            if !words.is_empty() {
                entry[name] = words.into();
            }
        }
        resources.push(entry);
        for sub in subresources(kind) {
            let mut entry = json!({
                "name": sub.name, "singularName": "", "namespaced": kind.namespaced(), "kind": sub.kind, "verbs": sub.verbs,
            });
            if let Some((group, version)) = sub.foreign {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            resources.push(entry);
        }
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources,
    }))
}

/// The reviews of a group version.
fn reviews(group: &str, version: &str) -> impl Iterator<Item = &'static Review> {
    REVIEWS.iter().filter(move |it| it.group == group && it.version == version)
}

/// The aggregated form of `/api` (`core`) or `/apis`: an `APIGroupDiscoveryList` of `apidiscovery.k8s.io/<api_version>`, `v2` or `v2beta1`.
pub fn aggregated(kinds: &[&'static Kind], core: bool, api_version: &str) -> Value {
    let items: Vec<Value> = groups(kinds)
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions.into_iter().map(|it| aggregated_version(kinds, group, it)).collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{api_version}"), "metadata": {}, "items": items,
    })
}

fn aggregated_version(kinds: &[&'static Kind], group: &str, version: &str) -> Value {
    let mut of: Vec<&Kind> = kinds.iter().copied().filter(|it| it.group == group && it.version == version).collect();
    of.sort_by_key(|it| it.names.plural);
    let scope = |it: Scope| match it {
        Scope::Cluster => "Cluster",
        Scope::Namespaced => "Namespaced",
    };
    let of_reviews = reviews(group, version).map(|it| {
        json!({
            "resource": it.plural, "singularResource": it.singular, "verbs": ["create"], "scope": scope(it.scope),
            "responseKind": {"group": it.group, "version": it.version, "kind": it.kind},
        })
    });
    let resources: Vec<Value> = of
        .into_iter()
        .map(|kind| {
            let own = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
            let mut entry = json!({
                "resource": kind.names.plural, "responseKind": own, "singularResource": kind.names.singular, "verbs": verbs(kind),
                "scope": scope(kind.scope),
            });
            for (name, words) in [("shortNames", kind.names.short), ("categories", kind.names.categories)] {
                if !words.is_empty() {
                    entry[name] = words.into();
                }
            }
            let subs: Vec<Value> = subresources(kind)
                .into_iter()
                .map(|sub| {
                    let (group, version) = sub.foreign.unwrap_or((kind.group, kind.version));
                    json!({
                        "subresource": sub.name.split('/').nth(1),
                        "responseKind": {"group": group, "version": version, "kind": sub.kind}, "verbs": sub.verbs,
                    })
                })
                .collect();
            if !subs.is_empty() {
                entry["subresources"] = subs.into();
            }
            entry
        })
        .chain(of_reviews)
        .collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;

    fn kinds() -> Vec<&'static Kind> {
        KINDS.iter().collect()
    }

    fn check(document: &Value, pointer: &str, expected: Value) {
        assert_eq!(document.pointer(pointer), Some(&expected), "{pointer} of {document}");
    }

    #[test]
    fn the_most_stable_version_is_the_greatest() {
        let mut all = ["v1", "foo1", "v10", "v11alpha2", "v2", "v3beta1", "v12alpha1", "foo10", "v11beta2", "v10beta3"];
        all.sort_by(|a, b| compare_versions(b, a));
        assert_eq!(
            all,
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
        );
    }

    #[test]
    fn every_built_in_group_has_its_place() {
        let found: Vec<&str> = groups(&kinds()).into_iter().map(|(group, _)| group).collect();
        assert_eq!(found, ORDER);
        let all = groups(&kinds());
        assert!(all.contains(&("autoscaling", vec!["v2", "v1"])), "{all:?}");
    }

    #[test]
    fn lists_groups_and_versions() {
        check(&api_versions(&kinds(), "a:1"), "/versions", json!(["v1"]));
        let groups = api_group_list(&kinds());
        check(&groups, "/groups/0/preferredVersion/groupVersion", json!("apps/v1"));
        assert!(groups["groups"].as_array().unwrap().iter().all(|it| it["name"] != ""));
        check(&api_group(&kinds(), "apps").unwrap(), "/kind", json!("APIGroup"));
        assert!(api_group(&kinds(), "no.such").is_none() && api_group(&kinds(), "").is_none());
        assert!(api_resource_list(&kinds(), "apps", "v2").is_none());
    }

    #[test]
    fn lists_resources_as_kubernetes_does() {
        let core = api_resource_list(&kinds(), "", "v1").unwrap();
        let of =
            |name: &str| core["resources"].as_array().unwrap().iter().find(|it| it["name"] == name).cloned().unwrap();
        check(&of("pods"), "/shortNames", json!(["po"]));
        check(&of("pods"), "/storageVersionHash", json!("xPOwRZ+Yhw8="));
        check(&of("pods/binding"), "/kind", json!("Binding"));
        check(&of("namespaces"), "/namespaced", json!(false));
        let apps = api_resource_list(&kinds(), "apps", "v1").unwrap();
        check(&apps, "/resources/3/storageVersionHash", json!("8aSe+NMegvE="));
        check(&apps, "/resources/4/group", json!("autoscaling"));
    }

    #[test]
    fn aggregates_everything() {
        let core = aggregated(&kinds(), true, "v2");
        check(&core, "/apiVersion", json!("apidiscovery.k8s.io/v2"));
        check(&core, "/items/0/versions/0/freshness", json!("Current"));
        let apis = aggregated(&kinds(), false, "v2beta1");
        check(&apis, "/items/0/metadata/name", json!("apps"));
        check(&apis, "/items/0/versions/0/resources/2/subresources/0/responseKind/kind", json!("Scale"));
        let listed: usize = [&core, &apis]
            .iter()
            .flat_map(|it| it["items"].as_array().unwrap())
            .flat_map(|it| it["versions"].as_array().unwrap())
            .map(|it| it["resources"].as_array().unwrap().len())
            .sum();
        assert_eq!(listed, KINDS.len() + REVIEWS.len());
    }

    #[test]
    fn lists_reviews_beside_the_kinds() {
        let list = api_resource_list(&kinds(), "authorization.k8s.io", "v1").unwrap();
        check(&list, "/groupVersion", json!("authorization.k8s.io/v1"));
        check(
            &list,
            "/resources/0",
            json!({"name": "localsubjectaccessreviews", "singularName": "localsubjectaccessreview", "namespaced": true,
                "kind": "LocalSubjectAccessReview", "verbs": ["create"]}),
        );
        let names = |group| {
            let list = api_resource_list(&kinds(), group, "v1").unwrap();
            list["resources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("authentication.k8s.io"), ["selfsubjectreviews", "tokenreviews"]);
        assert_eq!(names("authorization.k8s.io").len(), 4);
    }
}
