//! The objects every cluster begins with: namespaces, the roles and bindings of Kubernetes' bootstrap policy, its flow control's levels
//! and schemas, and the storage class of the nodes.
//!
//! They are YAML files under `builtin/`, compiled in. What depends on the cluster (the `kubernetes` Service and its endpoints) is made
//! by the API server. Source of the roles: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy` of Kubernetes 1.35.

use serde_json::{Value, json};

use crate::document::{ReadError, read};

/// The files, in the order in which they are written.
const FILES: &[(&str, &str)] = &[
    ("namespaces.yaml", include_str!("../builtin/namespaces.yaml")),
    ("roles.yaml", include_str!("../builtin/roles.yaml")),
    ("user_roles.yaml", include_str!("../builtin/user_roles.yaml")),
    ("controller_roles.yaml", include_str!("../builtin/controller_roles.yaml")),
    ("flow_control.yaml", include_str!("../builtin/flow_control.yaml")),
    ("orlop.yaml", include_str!("../builtin/orlop.yaml")),
];

/// What the names of the controllers' roles begin with; the rest is the name of the service account that has the role.
const CONTROLLER_ROLE: &str = "system:controller:";

/// The role of the one user as which all of Orlop's controllers run.
const CONTROLLERS: &str = "orlop:controllers";

/// Every built-in object. The roles `admin`, `edit` and `view` hold the rules that their `aggregationRule` collects, the controllers' role
/// those of every controller.
///
/// # Errors
/// Only where a compiled-in file is broken, which a test rules out.
pub fn objects() -> Result<Vec<Value>, ReadError> {
    let mut out = Vec::new();
    for (name, text) in FILES {
        out.extend(read(name, text.as_bytes())?.into_iter().map(|it| completed(it.value)));
    }
    bind_controllers(&mut out);
    aggregate(&mut out);
    Ok(out)
}

/// Bootstrap objects carry the label by which they are known and, the policy's, the annotation that lets restarts mend them.
fn completed(mut object: Value) -> Value {
    if object["apiVersion"] == "flowcontrol.apiserver.k8s.io/v1" {
        object["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] = "true".into();
    }
    if object["apiVersion"] == "rbac.authorization.k8s.io/v1" {
        object["metadata"]["labels"]["kubernetes.io/bootstrapping"] = "rbac-defaults".into();
        object["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "true".into();
    }
    object
}

/// Binds each controller's role to its service account, and gathers their rules in the role of the user that runs them all.
fn bind_controllers(objects: &mut Vec<Value>) {
    let mut bindings = Vec::new();
    let mut rules: Vec<Value> = Vec::new();
    for role in objects.iter().filter(|it| it["kind"] == "ClusterRole") {
        let name = role["metadata"]["name"].as_str().unwrap_or_default();
        let Some(account) = name.strip_prefix(CONTROLLER_ROLE) else { continue };
        for rule in role["rules"].as_array().into_iter().flatten() {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
        bindings.push(completed(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}],
        })));
    }
    let own = objects.iter_mut().find(|it| it["kind"] == "ClusterRole" && it["metadata"]["name"] == CONTROLLERS);
    if let Some(own) = own.and_then(|it| it["rules"].as_array_mut()) {
        own.extend(rules);
        // The broadest first: they allow most of what the controllers ask, and the authorizer stops at the first that does.
        own.sort_by_key(|it| it["resources"][0] != "*");
    }
    objects.extend(bindings);
}

/// Fills the rules of aggregated cluster roles from the roles that their selectors name. One pass a level: `admin` collects `edit`, which
/// collects `view`.
fn aggregate(objects: &mut [Value]) {
    for _ in 0..3 {
        for at in 0..objects.len() {
            let Some(selectors) = objects[at]["aggregationRule"]["clusterRoleSelectors"].as_array().cloned() else {
                continue;
            };
            let mut rules: Vec<Value> = Vec::new();
            for other in objects.iter().filter(|it| it["kind"] == "ClusterRole") {
                let picked = selectors.iter().any(|it| matches(&it["matchLabels"], &other["metadata"]["labels"]));
                for rule in other["rules"].as_array().into_iter().flatten().filter(|_| picked) {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
            objects[at]["rules"] = rules.into();
        }
    }
}

fn matches(wanted: &Value, labels: &Value) -> bool {
    wanted.as_object().is_some_and(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_read() {
        let all = objects().unwrap();
        let names: Vec<String> = all
            .iter()
            .map(|it| format!("{} {}", it["kind"].as_str().unwrap(), it["metadata"]["name"].as_str().unwrap()))
            .collect();
        for expected in [
            "Namespace kube-node-lease",
            "ClusterRole cluster-admin",
            "ClusterRoleBinding system:node",
            "ClusterRole system:kube-scheduler",
            "ClusterRole system:controller:deployment-controller",
            "Role system:controller:token-cleaner",
            "ClusterRoleBinding orlop:node-bootstrappers",
            "StorageClass local",
        ] {
            assert!(names.iter().any(|it| it == expected), "{expected} is missing");
        }
        let mut unique = all
            .iter()
            .map(|it| format!("{}/{}/{}", it["kind"], it["metadata"]["namespace"], it["metadata"]["name"]))
            .collect::<Vec<_>>();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), all.len());
        for rule in all.iter().flat_map(|it| it["rules"].as_array().into_iter().flatten()) {
            assert!(rule["verbs"].as_array().is_some_and(|it| !it.is_empty()), "{rule}");
        }
    }

    #[test]
    fn aggregated_roles_hold_what_they_collect() {
        let all = objects().unwrap();
        let may = |role: &str, resource: &str, verb: &str| {
            let role = all.iter().find(|it| it["kind"] == "ClusterRole" && it["metadata"]["name"] == role).unwrap();
            role["rules"].as_array().unwrap().iter().any(|rule| {
                let has =
                    |field: &str, what: &str| rule[field].as_array().is_some_and(|it| it.iter().any(|x| x == what));
                has("resources", resource) && has("verbs", verb)
            })
        };
        assert!(may("view", "pods", "list") && !may("view", "secrets", "get") && !may("view", "pods", "create"));
        assert!(may("edit", "pods", "create") && may("edit", "secrets", "get") && !may("edit", "roles", "create"));
        assert!(may("admin", "rolebindings", "create") && may("admin", "pods", "list"));
    }
}
