//! Roles: collected into others, never given by who has not got them, mended when the server starts; and the reviews that tell who may what.

use anyhow::{Context, Result, ensure};
use orlop_e2e::cluster::Cluster;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::wait;
use serde_json::{Value, json};

use crate::LIMIT;
use crate::credentials::{as_somebody, says};

/// A role that is labelled for `view` becomes part of it.
pub fn aggregation(admin: &Kubectl) -> Result<()> {
    let role = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "view-widgets", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}]}"#;
    admin.run_with(&["apply", "-f", "-"], role)?;
    let rules = |role: &str| admin.run(&["get", "clusterrole", role, "-o", "jsonpath={.rules[*].resources}"]);
    for role in ["view", "edit", "admin"] {
        wait::until("the rules are collected", LIMIT, || says(&rules(role)?, "widgets"))?;
    }
    admin.run(&["delete", "clusterrole", "view-widgets"])?;
    wait::until("the rules are gone", LIMIT, || {
        ensure!(!rules("view")?.contains("widgets"), "they are still there");
        Ok(())
    })
}

/// What the reviews say is what a request meets, for an account that may and for one that may not.
pub fn reviews(admin: &Kubectl) -> Result<()> {
    for name in ["reader", "other"] {
        admin.run(&["create", "serviceaccount", name])?;
    }
    admin.run(&["create", "rolebinding", "reader", "--clusterrole", "view", "--serviceaccount", "default:reader"])?;
    let may = |name: &str| -> Result<bool> {
        let user = format!("system:serviceaccount:default:{name}");
        let groups = ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"];
        let attributes = json!({"verb": "list", "resource": "configmaps", "namespace": "default", "version": "v1"});
        let spec = json!({"user": user, "groups": groups, "resourceAttributes": attributes});
        let review = |kind: &str, metadata: Value| -> Result<bool> {
            let review =
                json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec});
            let made = admin.run_with(&["create", "-o", "json", "-f", "-"], &review.to_string())?;
            let made: Value = serde_json::from_str(&made)?;
            made["status"]["allowed"].as_bool().with_context(|| made.to_string())
        };
        let everywhere = review("SubjectAccessReview", json!({}))?;
        let here = review("LocalSubjectAccessReview", json!({"namespace": "default"}))?;
        let mut asked = vec!["get", "configmaps", "--as", &user];
        groups.iter().for_each(|it| asked.extend(["--as-group", it]));
        let outcome = admin.output(&asked, "")?;
        if outcome.code != 0 {
            says(&outcome.stderr, "Forbidden")?;
        }
        ensure!(everywhere == here && here == (outcome.code == 0), "{name}: {everywhere}, {here}, {outcome:?}");
        Ok(here)
    };
    wait::until("the binding counts", LIMIT, || {
        ensure!(may("reader")?, "it may not");
        Ok(())
    })?;
    ensure!(!may("other")?, "nobody has given it anything");
    let elsewhere = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview", "metadata": {"namespace": "default"},
        "spec": {"user": "a", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "kube-system"}},
    });
    let refused = admin.fails(&["create", "-f", "-"], &elsewhere.to_string())?;
    says(&refused, "spec.resourceAttributes.namespace: Invalid value: \"kube-system\": must match metadata.namespace")
}

/// Nobody gives what they have not got, but who may `escalate` or `bind`.
pub fn escalation(cluster: &Cluster, admin: &Kubectl) -> Result<()> {
    admin.run(&["create", "serviceaccount", "chief"])?;
    let token = admin.run(&["create", "token", "chief"])?;
    let chief = as_somebody(cluster, "chief", &["--token", token.trim()])?;
    admin.run(&["create", "rolebinding", "chief", "--clusterrole", "admin", "--serviceaccount", "default:chief"])?;
    let role = |name: &str, resource: &str| {
        ["create", "role", name, "--verb", "get", "--resource", resource].map(str::to_owned)
    };
    let run = |who: &Kubectl, arguments: &[String]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        who.output(&arguments, "")
    };
    wait::until("the binding counts", LIMIT, || {
        let outcome = run(&chief, &role("pods", "pods"))?;
        ensure!(outcome.code == 0, "{outcome:?}");
        Ok(())
    })?;
    let refused = run(&chief, &role("quotas", "resourcequotas/status,podtemplates"))?;
    says(
        &refused.stderr,
        "roles.rbac.authorization.k8s.io \"quotas\" is forbidden: user \"system:serviceaccount:default:chief\" (groups=[\"system:serviceaccounts\" \"system:serviceaccounts:default\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:",
    )?;
    says(&refused.stderr, "{APIGroups:[\"\"], Resources:[\"podtemplates\"], Verbs:[\"get\"]}")?;
    let bind = |name: &str, role: &str| {
        ["create", "rolebinding", name, "--clusterrole", role, "--user", "ann"].map(str::to_owned)
    };
    ensure!(run(&chief, &bind("as-edit", "edit"))?.code == 0, "what one has one may give");
    let refused = run(&chief, &bind("as-root", "cluster-admin"))?;
    says(&refused.stderr, "is attempting to grant RBAC permissions not currently held:")?;
    says(&refused.stderr, "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}")?;
    let missing = run(&chief, &bind("as-nobody", "no-such-role"))?;
    says(&missing.stderr, "clusterrole.rbac.authorization.k8s.io \"no-such-role\" not found")?;
    // With the two verbs it may.
    let rights = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "beyond", "namespace": "default"},
        "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]},
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"], "resourceNames": ["cluster-admin"]}]});
    admin.run_with(&["apply", "-f", "-"], &rights.to_string())?;
    admin.run(&["create", "rolebinding", "beyond", "--role", "beyond", "--serviceaccount", "default:chief"])?;
    wait::until("the rights count", LIMIT, || {
        let outcome = run(&chief, &bind("as-root", "cluster-admin"))?;
        ensure!(outcome.code == 0 || outcome.stderr.contains("already exists"), "{outcome:?}");
        Ok(())
    })?;
    ensure!(run(&chief, &role("quotas", "podtemplates"))?.code == 0, "who may escalate may");
    let refused = run(&chief, &bind("as-node", "system:node"))?;
    says(&refused.stderr, "is attempting to grant RBAC permissions not currently held:")?;
    // A binding's role is for ever.
    let other = json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    let refused = admin.fails(&["patch", "rolebinding", "as-edit", "--type", "merge", "-p", &other.to_string()], "")?;
    says(&refused, "roleRef: Invalid value:")?;
    says(&refused, "cannot change roleRef")
}

/// What a bootstrap role or binding has lost comes back with the next start, unless it says that it must not.
pub fn mended_at_start(cluster: &mut Cluster, admin: &Kubectl) -> Result<()> {
    let auto = "rbac.authorization.kubernetes.io/autoupdate";
    let without_rules = r#"{"rules": [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}]}"#;
    for role in ["system:basic-user", "system:discovery"] {
        admin.run(&["patch", "clusterrole", role, "--type", "merge", "-p", without_rules])?;
    }
    admin.run(&["annotate", "clusterrole", "system:discovery", &format!("{auto}=false"), "--overwrite"])?;
    admin.run(&[
        "patch",
        "clusterrolebinding",
        "system:monitoring",
        "--type",
        "merge",
        "-p",
        r#"{"subjects": null}"#,
    ])?;
    admin.run(&["delete", "clusterrole", "system:kube-dns"])?;
    admin.run(&["label", "clusterrole", "system:monitoring", "kubernetes.io/bootstrapping-"])?;
    // Another role behind the same name: it is made anew.
    admin.run(&["delete", "clusterrolebinding", "system:public-info-viewer"])?;
    let other = ["create", "clusterrolebinding", "system:public-info-viewer", "--clusterrole", "view", "--user", "ann"];
    admin.run(&other)?;
    cluster.kill_and_restart("apiserver")?;
    cluster.wait_ready()?;
    let resources = |role: &str| {
        let path = "jsonpath={.rules[*].resources}{.rules[*].nonResourceURLs}";
        admin.run(&["get", "clusterrole", role, "-o", path])
    };
    let basic = resources("system:basic-user")?;
    says(&basic, "selfsubjectaccessreviews")?;
    says(&basic, "widgets")?;
    let left = resources("system:discovery")?;
    ensure!(left.contains("widgets") && !left.contains("/version"), "it was to be left alone: {left}");
    says(
        &admin.run(&["get", "clusterrolebinding", "system:monitoring", "-o", "jsonpath={.subjects}"])?,
        "system:monitoring",
    )?;
    says(&resources("system:kube-dns")?, "endpoints")?;
    let labels = admin.run(&["get", "clusterrole", "system:monitoring", "-o", "jsonpath={.metadata.labels}"])?;
    says(&labels, "rbac-defaults")?;
    let public = admin.run(&[
        "get",
        "clusterrolebinding",
        "system:public-info-viewer",
        "-o",
        "jsonpath={.roleRef.name} {.subjects[*].name}",
    ])?;
    ensure!(public.trim() == "system:public-info-viewer system:authenticated system:unauthenticated", "{public}");
    admin.run(&["annotate", "clusterrole", "system:discovery", &format!("{auto}=true"), "--overwrite"])?;
    cluster.kill_and_restart("apiserver")?;
    cluster.wait_ready()?;
    says(&resources("system:discovery")?, "/version")
}
