//! Nobody gives away by RBAC what they do not have.
//!
//! A role may hold, and a binding may give, only rules that whoever writes it holds too, unless they are allowed the verb `escalate` on
//! roles or `bind` on the role. Kubernetes does this in the storage of the four kinds; the words are the same. Source:
//! `pkg/registry/rbac/*/policybased` and `pkg/registry/rbac/validation`.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use orlop_api::status;
use serde_json::Value;

use super::forbidden;
use crate::authenticate::service_account::listed;
use crate::authorize::Policy;
use crate::authorize::rbac::{self, Rule, resource_matches, url_matches};
use crate::stage::{Admission, Attributes, Authorizer, Decision, Operation, Plugin, Subject};

/// How many missing rules a refusal lists.
const LISTED_MAX: usize = 20;

/// See the file's header.
pub struct Escalation {
    policy: Arc<Policy>,
}

impl Escalation {
    /// Judges by these rules.
    pub fn new(policy: Arc<Policy>) -> Self {
        Escalation { policy }
    }

    fn may(&self, write: &Admission<'_>, verb: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes {
            identity: write.identity,
            verb,
            resource_request: true,
            group: rbac::GROUP,
            version: "v1",
            resource,
            subresource: "",
            namespace: write.namespace,
            name,
            path: "",
            field_selector: "",
            label_selector: "",
        };
        self.policy.authorize(&attributes) == Decision::Allow
    }

    /// What is given: the role's rules, or those of the role that is bound. None if it may be given away unseen.
    fn given(&self, write: &Admission<'_>, new: &Value) -> Result<Option<Vec<Rule>>, String> {
        match write.kind.kind {
            "Role" | "ClusterRole" => {
                let allowed = self.may(write, "escalate", write.kind.names.plural, write.name);
                Ok((!allowed).then(|| rbac::rules_of(&new["rules"])))
            }
            _ => {
                let reference = &new["roleRef"];
                let (kind, name) = (reference["kind"].as_str().unwrap_or(""), reference["name"].as_str().unwrap_or(""));
                let (resource, namespace) = match kind {
                    "Role" => ("roles", Some(write.namespace)),
                    _ => ("clusterroles", None),
                };
                if self.may(write, "bind", resource, name) {
                    return Ok(None);
                }
                let singular = resource.trim_end_matches('s');
                let missing = || format!("{singular}.{} {name:?} not found", rbac::GROUP);
                self.policy.rules_of_role(namespace, name).map(Some).ok_or_else(missing)
            }
        }
    }
}

#[async_trait]
impl Plugin for Escalation {
    fn name(&self) -> &'static str {
        "PrivilegeEscalation"
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        write.kind.group == rbac::GROUP
            && write.operation != Operation::Delete
            && !write.identity.is_in("system:masters")
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let (object, old) = (subject.json, write.old);
        let Some(new) = object.and_then(|it| serde_json::from_slice::<Value>(it).ok()) else { return Ok(()) };
        let old = old.and_then(|it| serde_json::from_slice::<Value>(it).ok()).unwrap_or_default();
        // An update that gives nothing new needs no right to give.
        if ["rules", "subjects", "roleRef", "aggregationRule"].iter().all(|it| new[*it] == old[*it]) {
            return Ok(());
        }
        if new["aggregationRule"].is_object()
            && new["aggregationRule"] != old["aggregationRule"]
            && !everything()
                .iter()
                .all(|it| self.policy.rules_of(write.identity, "").iter().any(|rule| covers(rule, it)))
        {
            return Err(forbidden(write, "must have cluster-admin privileges to use an aggregationRule"));
        }
        let given = match self.given(write, &new) {
            Ok(None) => return Ok(()),
            Ok(Some(given)) => given,
            Err(why) => return Err(forbidden(write, &why)),
        };
        let held = self.policy.rules_of(write.identity, write.namespace);
        let lacking: Vec<Rule> =
            given.iter().flat_map(single).filter(|it| !held.iter().any(|rule| covers(rule, it))).collect();
        let missing: BTreeSet<String> = compacted(lacking).iter().map(text).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = missing.iter().map(String::as_str).take(LISTED_MAX).collect();
        let who = write.identity;
        Err(forbidden(
            write,
            &format!(
                "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
                who.user,
                listed(&who.groups),
                shown.join("\n")
            ),
        ))
    }
}

/// The same rules, those that differ only in their verb made one.
fn compacted(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for rule in rules {
        let alike = |it: &&mut Rule| Rule { verbs: rule.verbs.clone(), ..(**it).clone() } == rule;
        match out.iter_mut().find(alike) {
            Some(it) => {
                it.verbs.extend(rule.verbs.iter().filter(|verb| !it.verbs.contains(verb)).cloned().collect::<Vec<_>>())
            }
            None => out.push(rule),
        }
    }
    out
}

/// What an aggregated role could come to hold.
fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

/// A rule as the sum of rules with one verb, one group, one resource and at most one name each.
fn single(rule: &Rule) -> Vec<Rule> {
    let mut out = Vec::new();
    let or_none = |names: &[String]| -> Vec<Vec<String>> {
        if names.is_empty() { vec![Vec::new()] } else { names.iter().map(|it| vec![it.clone()]).collect() }
    };
    for verb in &rule.verbs {
        let verbs = vec![verb.clone()];
        for url in &rule.non_resource_urls {
            out.push(Rule { verbs: verbs.clone(), non_resource_urls: vec![url.clone()], ..Rule::default() });
        }
        for group in &rule.api_groups {
            for resource in &rule.resources {
                for names in or_none(&rule.resource_names) {
                    out.push(Rule {
                        verbs: verbs.clone(),
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        resource_names: names,
                        ..Rule::default()
                    });
                }
            }
        }
    }
    out
}

/// Whether a held rule allows all that a single rule does.
fn covers(held: &Rule, single: &Rule) -> bool {
    let any = |rules: &[String], wanted: &[String]| {
        wanted.iter().all(|it| rules.iter().any(|rule| rule == "*" || rule == it))
    };
    if !any(&held.verbs, &single.verbs) {
        return false;
    }
    if let [url] = single.non_resource_urls.as_slice() {
        return held.non_resource_urls.iter().any(|rule| url_matches(rule, url));
    }
    let resources = single.resources.iter().all(|wanted| {
        let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
        held.resources.iter().any(|rule| rule == wanted || resource_matches(rule, resource, subresource))
    });
    let names = held.resource_names.is_empty()
        || (!single.resource_names.is_empty()
            && single.resource_names.iter().all(|it| held.resource_names.contains(it)));
    any(&held.api_groups, &single.api_groups) && resources && names
}

/// A rule as Kubernetes prints it in this refusal: `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`.
fn text(rule: &Rule) -> String {
    let mut parts = Vec::new();
    for (name, values) in [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ] {
        if !values.is_empty() {
            parts.push(format!("{name}:{}", listed(values)));
        }
    }
    format!("{{{}}}", parts.join(", "))
}
