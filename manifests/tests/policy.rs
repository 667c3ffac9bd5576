//! The compiled-in roles and bindings are those of Kubernetes' bootstrap policy, rule by rule: `policy.txt` lists them in short.

#![allow(clippy::unwrap_used)] // A test says what it expects by panicking.

use orlop_manifests::builtin;
use serde_json::{Value, json};

const LETTERS: [(&str, char); 8] = [
    ("create", 'c'),
    ("delete", 'd'),
    ("deletecollection", 'D'),
    ("get", 'g'),
    ("list", 'l'),
    ("patch", 'p'),
    ("update", 'u'),
    ("watch", 'w'),
];

/// The label that says into which role a role's rules are collected.
const AGGREGATES: &str = "rbac.authorization.k8s.io/aggregate-to-";

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn joined(list: &Value) -> String {
    texts(list).into_iter().map(|it| if it.is_empty() { "core" } else { it }).collect::<Vec<_>>().join(",")
}

fn verbs(list: &Value) -> String {
    let letter = |verb: &str| LETTERS.iter().find(|(it, _)| *it == verb).map(|(_, letter)| *letter);
    let short: String = texts(list).into_iter().filter_map(letter).collect();
    let long = texts(list).into_iter().filter(|it| letter(it).is_none()).map(str::to_owned);
    Some(short).filter(|it| !it.is_empty()).into_iter().chain(long).collect::<Vec<_>>().join(",")
}

/// A role as the list writes it.
fn listed(role: &Value) -> String {
    let metadata = &role["metadata"];
    let mut out = format!("{} {}", role["kind"].as_str().unwrap(), metadata["name"].as_str().unwrap());
    if let Some(namespace) = metadata["namespace"].as_str() {
        out.push_str(&format!(" [{namespace}]"));
    }
    let labels = metadata["labels"].as_object().unwrap();
    let mut notes: Vec<String> =
        labels.keys().filter_map(|it| it.strip_prefix(AGGREGATES)).map(|it| format!("to {it}")).collect();
    assert_eq!(labels.len(), notes.len() + 1, "{role}");
    for selector in role["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten() {
        let wanted = selector["matchLabels"].as_object().unwrap();
        notes.extend(wanted.keys().filter_map(|it| it.strip_prefix(AGGREGATES)).map(|it| format!("aggregates {it}")));
    }
    if !notes.is_empty() {
        out.push_str(&format!(" ({})", notes.join(", ")));
    }
    if !role["aggregationRule"].is_null() {
        return out;
    }
    for rule in role["rules"].as_array().unwrap() {
        let verbs = verbs(&rule["verbs"]);
        out.push_str(&match &rule["nonResourceURLs"] {
            Value::Null => format!("\n  {verbs} {} {}", joined(&rule["apiGroups"]), joined(&rule["resources"])),
            urls => format!("\n  {verbs} url {}", joined(urls)),
        });
        if let names @ Value::Array(_) = &rule["resourceNames"] {
            out.push_str(&format!(" ={}", joined(names)));
        }
    }
    out
}

/// What is Kubernetes' own of the built-in objects of these kinds.
fn of_kubernetes(kinds: [&str; 2]) -> Vec<Value> {
    let mut all = builtin::objects().unwrap();
    all.retain(|it| {
        kinds.iter().any(|kind| it["kind"] == *kind) && !it["metadata"]["name"].as_str().unwrap().starts_with("orlop:")
    });
    for it in &all {
        assert_eq!(it["metadata"]["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
        let annotations = json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
        assert_eq!(it["metadata"]["annotations"], annotations);
    }
    all
}

#[test]
fn roles_are_those_of_kubernetes() {
    let mut found: Vec<String> = of_kubernetes(["ClusterRole", "Role"]).iter().map(listed).collect();
    let text = include_str!("policy.txt");
    let lines: Vec<&str> = text.lines().filter(|it| !it.starts_with('#')).collect();
    let mut wanted: Vec<String> = Vec::new();
    for line in lines {
        match wanted.last_mut().filter(|_| line.starts_with(' ')) {
            Some(role) => role.push_str(&format!("\n{line}")),
            None => wanted.push(line.to_owned()),
        }
    }
    found.sort();
    wanted.sort();
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
}

#[test]
fn bindings_are_those_of_kubernetes() {
    let subject = |it: &Value| {
        let name = it["name"].as_str().unwrap();
        match it["kind"].as_str().unwrap() {
            "ServiceAccount" => format!("{}/{name}", it["namespace"].as_str().unwrap()),
            kind => {
                assert_eq!(it["apiGroup"], "rbac.authorization.k8s.io");
                format!("{} {name}", kind.to_lowercase())
            }
        }
    };
    let mut controllers = 0;
    let mut found = Vec::new();
    for it in of_kubernetes(["ClusterRoleBinding", "RoleBinding"]) {
        let name = it["metadata"]["name"].as_str().unwrap();
        let subjects: Vec<String> = it["subjects"].as_array().into_iter().flatten().map(subject).collect();
        let role = it["roleRef"]["name"].as_str().unwrap();
        match name.strip_prefix("system:controller:").filter(|_| it["kind"] == "ClusterRoleBinding") {
            Some(account) => {
                assert_eq!((role, subjects), (name, vec![format!("kube-system/{account}")]));
                controllers += 1;
            }
            None => {
                let namespace = it["metadata"]["namespace"].as_str().unwrap_or("*");
                let role = if role == name { "" } else { role };
                found.push(format!("{namespace} {name} {role}: {}", subjects.join(", ")));
            }
        }
    }
    assert_eq!(controllers, include_str!("policy.txt").matches("\nClusterRole system:controller:").count());
    found.sort();
    assert_eq!(
        found,
        [
            "* cluster-admin : group system:masters",
            "* system:basic-user : group system:authenticated",
            "* system:discovery : group system:authenticated",
            "* system:kube-controller-manager : user system:kube-controller-manager",
            "* system:kube-dns : kube-system/kube-dns",
            "* system:kube-scheduler : user system:kube-scheduler",
            "* system:monitoring : group system:monitoring",
            "* system:node : ",
            "* system:node-proxier : user system:kube-proxy",
            "* system:public-info-viewer : group system:authenticated, group system:unauthenticated",
            "* system:service-account-issuer-discovery : group system:serviceaccounts",
            "* system:volume-scheduler : user system:kube-scheduler",
            "kube-public system:controller:bootstrap-signer : kube-system/bootstrap-signer",
            "kube-system system::extension-apiserver-authentication-reader extension-apiserver-authentication-reader: user system:kube-controller-manager, user system:kube-scheduler",
            "kube-system system::leader-locking-kube-controller-manager : user system:kube-controller-manager, kube-system/kube-controller-manager, kube-system/leader-election-controller",
            "kube-system system::leader-locking-kube-scheduler : user system:kube-scheduler, kube-system/kube-scheduler",
            "kube-system system:controller:bootstrap-signer : kube-system/bootstrap-signer",
            "kube-system system:controller:cloud-provider : kube-system/cloud-provider",
            "kube-system system:controller:token-cleaner : kube-system/token-cleaner",
        ]
    );
}
