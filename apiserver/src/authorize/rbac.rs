//! RBAC: what roles allow, and to whom bindings give them.
//!
//! In: the JSON of Roles, ClusterRoles, RoleBindings and ClusterRoleBindings as they come and go. Out: a [`Decision`], with the error
//! that Kubernetes reports when a binding names a role that does not exist. The index goes from subject to grants by namespace, and
//! from a grant by name to the role's rules, so that a change of one object touches its own entries only, and a request costs one look-up per
//! subject (its user and each group). Pure. Source: `plugin/pkg/auth/authorizer/rbac` and `pkg/apis/rbac/v1/evaluation_helpers.go`.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::stage::{Attributes, Decision, Identity};

/// The API group of the four kinds.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

/// The rules in a role's JSON; what cannot be read allows nothing.
pub fn rules_of(rules: &Value) -> Vec<Rule> {
    Option::<Vec<Rule>>::deserialize(rules).ok().flatten().unwrap_or_default()
}

impl Rule {
    /// Whether the rule allows what is asked.
    pub fn allows(&self, it: &Attributes<'_>) -> bool {
        if !any(&self.verbs, it.verb) {
            return false;
        }
        if !it.resource_request {
            return self.non_resource_urls.iter().any(|rule| url_matches(rule, it.path));
        }
        any(&self.api_groups, it.group)
            && self.resources.iter().any(|rule| resource_matches(rule, it.resource, it.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == it.name))
    }
}

fn any(rules: &[String], asked: &str) -> bool {
    rules.iter().any(|rule| rule == "*" || rule == asked)
}

/// `*` is every resource with all its subresources, `*/scale` that subresource of every resource.
pub fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((of, part)) => !subresource.is_empty() && part == subresource && (of == "*" || of == resource),
    }
}

/// A `*` at the end stands for any ending.
pub fn url_matches(rule: &str, path: &str) -> bool {
    rule == "*" || rule == path || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

/// Which of the four kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Role, ClusterRole.
    Role,
    /// RoleBinding, ClusterRoleBinding.
    Binding,
}

impl Part {
    /// By the kind's name.
    pub fn of(kind: &str) -> Option<Self> {
        match kind {
            "Role" | "ClusterRole" => Some(Part::Role),
            "RoleBinding" | "ClusterRoleBinding" => Some(Part::Binding),
            _ => None,
        }
    }
}

/// Namespace (empty in the cluster) and name.
type Place = (Box<str>, Box<str>);

/// What a binding gives to each of its subjects.
#[derive(Debug)]
struct Grant {
    binding: Place,
    /// Where the role is found: its namespace is empty for a ClusterRole.
    role: Place,
}

/// Who may be bound. Service accounts are users of a certain name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(Box<str>),
    Group(Box<str>),
}

/// All roles and bindings, by what a request asks for.
#[derive(Debug, Default)]
pub struct Index {
    roles: HashMap<Place, Arc<[Rule]>>,
    /// Which subjects a binding names: needed to take it out again.
    bindings: HashMap<Place, Vec<Subject>>,
    /// By subject, then by the binding's namespace (empty: the whole cluster).
    grants: HashMap<Subject, HashMap<Box<str>, Vec<Arc<Grant>>>>,
}

#[derive(Deserialize)]
struct Role {
    #[serde(default)]
    rules: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    #[serde(default)]
    subjects: Option<Vec<Reference>>,
    role_ref: Reference,
}

/// A subject or a role, as bindings name them.
#[derive(Debug, Deserialize)]
pub struct Reference {
    pub kind: String,
    pub name: String,
    #[serde(default)]
    pub namespace: String,
}

impl Index {
    /// Takes in an object that was made or changed. One that cannot be read grants nothing.
    pub fn put(&mut self, part: Part, namespace: &str, name: &str, json: &[u8]) {
        let place: Place = (namespace.into(), name.into());
        match part {
            Part::Role => match serde_json::from_slice::<Role>(json) {
                Ok(role) => {
                    self.roles.insert(place, role.rules.unwrap_or_default().into());
                }
                Err(error) => {
                    tracing::warn!(namespace, name, %error, "a role cannot be read and allows nothing");
                    self.roles.remove(&place);
                }
            },
            Part::Binding => {
                self.remove(part, namespace, name);
                match serde_json::from_slice::<Binding>(json) {
                    Ok(binding) => self.bind(place, &binding),
                    Err(error) => {
                        tracing::warn!(namespace, name, %error, "a binding cannot be read and grants nothing")
                    }
                }
            }
        }
    }

    fn bind(&mut self, place: Place, binding: &Binding) {
        let role_namespace: Box<str> = if binding.role_ref.kind == "Role" { place.0.clone() } else { "".into() };
        let role = (role_namespace, binding.role_ref.name.as_str().into());
        let grant = Arc::new(Grant { binding: place.clone(), role });
        let mut subjects: Vec<Subject> = Vec::new();
        for subject in binding.subjects.iter().flatten().filter_map(|it| subject(it, &place.0)) {
            if !subjects.contains(&subject) {
                let by_namespace = self.grants.entry(subject.clone()).or_default();
                by_namespace.entry(place.0.clone()).or_default().push(grant.clone());
                subjects.push(subject);
            }
        }
        self.bindings.insert(place, subjects);
    }

    /// Forgets an object.
    pub fn remove(&mut self, part: Part, namespace: &str, name: &str) {
        let place: Place = (namespace.into(), name.into());
        match part {
            Part::Role => {
                self.roles.remove(&place);
            }
            Part::Binding => {
                for subject in self.bindings.remove(&place).unwrap_or_default() {
                    let Some(by_namespace) = self.grants.get_mut(&subject) else { continue };
                    if let Some(grants) = by_namespace.get_mut(&place.0) {
                        grants.retain(|it| it.binding != place);
                        if grants.is_empty() {
                            by_namespace.remove(&place.0);
                        }
                    }
                    if by_namespace.is_empty() {
                        self.grants.remove(&subject);
                    }
                }
            }
        }
    }

    /// Whether any rule that the subjects are granted allows it.
    pub fn decide(&self, it: &Attributes<'_>) -> Decision {
        let mut missing: Vec<String> = Vec::new();
        let namespace = if it.resource_request { it.namespace } else { "" };
        let allowed = self.grants_of(it.identity, namespace).any(|grant| match self.roles.get(&grant.role) {
            Some(rules) => rules.iter().any(|rule| rule.allows(it)),
            None => {
                let kind = if grant.role.0.is_empty() { "clusterrole" } else { "role" };
                missing.push(format!("{kind}.{GROUP} \"{}\" not found", grant.role.1));
                false
            }
        });
        if allowed {
            return Decision::Allow;
        }
        missing.sort();
        missing.dedup();
        Decision::NoOpinion(match missing.as_slice() {
            [] => String::new(),
            [only] => format!("RBAC: {only}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        })
    }

    /// Every grant that counts for someone: those of the whole cluster, and those of the namespace.
    fn grants_of(&self, identity: &Identity, namespace: &str) -> impl Iterator<Item = &Arc<Grant>> {
        let user = std::iter::once(Subject::User(identity.user.as_str().into()));
        let groups = identity.groups.iter().map(|it| Subject::Group(it.as_str().into()));
        user.chain(groups).filter_map(|it| self.grants.get(&it)).flat_map(move |by_namespace| {
            let local = if namespace.is_empty() { None } else { by_namespace.get(namespace) };
            by_namespace.get("").into_iter().chain(local).flatten()
        })
    }

    /// All rules someone has in a namespace (empty: in the whole cluster).
    pub fn rules_of(&self, identity: &Identity, namespace: &str) -> Vec<Rule> {
        let roles = self.grants_of(identity, namespace).filter_map(|grant| self.roles.get(&grant.role));
        roles.flat_map(|it| it.iter().cloned()).collect()
    }

    /// The rules of one role; a ClusterRole's without a namespace.
    pub fn rules_of_role(&self, namespace: Option<&str>, name: &str) -> Option<Vec<Rule>> {
        self.roles.get(&(namespace.unwrap_or_default().into(), name.into())).map(|it| it.to_vec())
    }
}

fn subject(it: &Reference, binding_namespace: &str) -> Option<Subject> {
    match it.kind.as_str() {
        "User" => Some(Subject::User(it.name.as_str().into())),
        "Group" => Some(Subject::Group(it.name.as_str().into())),
        "ServiceAccount" => {
            let namespace = if it.namespace.is_empty() { binding_namespace } else { &it.namespace };
            // Without a namespace nobody is meant.
            (!namespace.is_empty())
                .then(|| Subject::User(format!("system:serviceaccount:{namespace}:{}", it.name).into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn index() -> Index {
        let mut it = Index::default();
        let mut role = |namespace: &str, name: &str, rules: Value| {
            it.put(Part::Role, namespace, name, json!({ "rules": rules }).to_string().as_bytes());
        };
        role(
            "",
            "all",
            json!([{"apiGroups":["*"],"resources":["*"],"verbs":["*"]},{"nonResourceURLs":["*"],"verbs":["*"]}]),
        );
        role("", "scaler", json!([{"apiGroups":["apps"],"resources":["*/scale"],"verbs":["update"]}]));
        role("", "info", json!([{"nonResourceURLs":["/healthz","/api/*"],"verbs":["get"]}]));
        role("d", "reader", json!([{"apiGroups":[""],"resources":["pods","pods/log"],"verbs":["get","list"]}]));
        role("d", "one", json!([{"apiGroups":[""],"resources":["secrets"],"resourceNames":["s"],"verbs":["get"]}]));
        role("d", "nothing", Value::Null);
        let mut bind = |namespace: &str, name: &str, kind: &str, role: &str, subjects: Value| {
            let json = json!({"subjects":subjects,"roleRef":{"apiGroup":GROUP,"kind":kind,"name":role}});
            it.put(Part::Binding, namespace, name, json.to_string().as_bytes());
        };
        bind("", "root", "ClusterRole", "all", json!([{"kind":"User","name":"root"}]));
        bind("", "info", "ClusterRole", "info", json!([{"kind":"Group","name":"system:authenticated"}]));
        bind("d", "scale", "ClusterRole", "scaler", json!([{"kind":"User","name":"ann"}]));
        bind(
            "d",
            "read",
            "Role",
            "reader",
            json!([{"kind":"ServiceAccount","name":"bot"},{"kind":"User","name":"ann"}]),
        );
        bind("d", "one", "Role", "one", json!([{"kind":"User","name":"ann"}]));
        bind("d", "gone", "Role", "missing", json!([{"kind":"User","name":"bob"}]));
        bind("e", "admin", "ClusterRole", "all", json!([{"kind":"ServiceAccount","name":"bot","namespace":"d"}]));
        bind("d", "broken", "Role", "nothing", Value::Null);
        it
    }

    /// `user verb group/resource[/sub] namespace name`, or `user verb /path`.
    fn ask(index: &Index, question: &str) -> Decision {
        let words: Vec<&str> = question.split(' ').collect();
        let identity = Identity::new(words[0], &[]);
        let path = words[2].starts_with('/');
        let (group, rest) = if path { ("", "") } else { words[2].split_once(':').unwrap_or(("", words[2])) };
        let (resource, subresource) = rest.split_once('/').unwrap_or((rest, ""));
        let blank = |at: usize| words.get(at).copied().filter(|it| *it != "-").unwrap_or_default();
        index.decide(&Attributes {
            identity: &identity,
            verb: words[1],
            resource_request: !path,
            group,
            version: "v1",
            resource,
            subresource,
            namespace: blank(3),
            name: blank(4),
            path: if path { words[2] } else { "" },
            field_selector: "",
            label_selector: "",
        })
    }

    fn check(question: &str, allowed: bool) {
        assert_eq!(ask(&index(), question) == Decision::Allow, allowed, "{question}");
    }

    #[test]
    fn decides_as_kubernetes_does() {
        check("root delete apps:deployments x y", true);
        check("root get pods/exec x y", true);
        check("root post /anything", true);
        check("ann get pods d p", true);
        check("ann get pods/log d p", true);
        check("ann get pods/exec d p", false);
        check("ann get pods e p", false);
        check("ann list pods -", false);
        check("ann delete pods d p", false);
        check("ann get apps:pods d p", false);
        check("ann get secrets d s", true);
        check("ann get secrets d other", false);
        check("ann list secrets d", false);
        check("ann update apps:deployments/scale d web", true);
        check("ann update apps:deployments d web", false);
        check("ann update apps:deployments/status d web", false);
        check("ann get /healthz", true);
        check("ann get /api/v1", true);
        check("ann get /api", false);
        check("ann post /healthz", false);
        check("ann get /healthz/ping", false);
        check("system:serviceaccount:d:bot list pods d", true);
        check("system:serviceaccount:d:bot delete pods e p", true);
        check("system:serviceaccount:d:bot delete nodes -", false);
        check("bot list pods d", false);
        check("nobody get pods d p", false);
    }

    #[test]
    fn tells_of_roles_that_are_missing() {
        assert_eq!(
            ask(&index(), "bob get pods d p"),
            Decision::NoOpinion("RBAC: role.rbac.authorization.k8s.io \"missing\" not found".to_owned())
        );
    }

    #[test]
    fn follows_every_change() {
        let mut it = index();
        it.put(Part::Role, "d", "reader", br#"{"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}"#);
        assert_eq!(ask(&it, "ann get pods d p"), Decision::Allow);
        assert_ne!(ask(&it, "ann list pods d"), Decision::Allow);
        it.remove(Part::Binding, "d", "read");
        assert_ne!(ask(&it, "ann get pods d p"), Decision::Allow);
        it.put(Part::Role, "d", "one", b"{\"rules\":7}");
        assert_ne!(ask(&it, "ann get secrets d s"), Decision::Allow);
        for (part, namespace, name) in [("b", "d", "scale"), ("b", "d", "one")] {
            assert_eq!(part, "b");
            it.remove(Part::Binding, namespace, name);
        }
        assert!(!it.grants.contains_key(&Subject::User("ann".into())));
    }
}
