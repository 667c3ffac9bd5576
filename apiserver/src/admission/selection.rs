//! Which writes a webhook or a policy is called for: rules, and the labels of namespaces and objects.
//!
//! A rule that names another version of a kind is for requests in this version, too, unless `matchPolicy` is `Exact`: what is called is then
//! shown the object in the version that the rule names. Source: `k8s.io/apiserver/pkg/admission/plugin/webhook/predicates`.

use k8s_openapi::api::admissionregistration::v1::{MatchResources, NamedRuleWithOperations, RuleWithOperations};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use orlop_api::draft::Draft;
use orlop_api::kind::Kind;
use orlop_api::selector::label::Selector;
use orlop_api::status;
use serde::Deserialize;

use super::{Sight, is};
use crate::stage::{Admission, Operation};

/// The group of the configurations themselves, which no webhook and no policy may lock.
pub const GROUP: &str = "admissionregistration.k8s.io";

/// A rule, read.
#[derive(Clone, Debug)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    scope: String,
}

impl From<RuleWithOperations> for Rule {
    fn from(it: RuleWithOperations) -> Self {
        Rule {
            operations: it.operations.unwrap_or_default(),
            groups: it.api_groups.unwrap_or_default(),
            versions: it.api_versions.unwrap_or_default(),
            resources: it.resources.unwrap_or_default(),
            names: Vec::new(),
            scope: it.scope.unwrap_or_default(),
        }
    }
}

impl From<NamedRuleWithOperations> for Rule {
    fn from(it: NamedRuleWithOperations) -> Self {
        Rule {
            operations: it.operations.unwrap_or_default(),
            groups: it.api_groups.unwrap_or_default(),
            versions: it.api_versions.unwrap_or_default(),
            resources: it.resources.unwrap_or_default(),
            names: it.resource_names.unwrap_or_default(),
            scope: it.scope.unwrap_or_default(),
        }
    }
}

/// The name of an operation.
pub fn operation(it: Operation) -> &'static str {
    match it {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

impl Rule {
    /// Whether it is for a write as if that were of this kind.
    fn matches(&self, write: &Admission<'_>, kind: &Kind) -> bool {
        let any = |values: &[String], value: &str| values.iter().any(|it| it == "*" || it == value);
        let namespaced = write.kind.namespaced() && !write.namespace.is_empty();
        let scope = match self.scope.as_str() {
            "Namespaced" => namespaced,
            "Cluster" => !namespaced,
            _ => true,
        };
        scope
            && any(&self.operations, operation(write.operation))
            && any(&self.groups, kind.group)
            && any(&self.versions, kind.version)
            && self.resources.iter().any(|it| resource_matches(it, kind.names.plural, write.subresource()))
            && (self.names.is_empty() || self.names.iter().any(|it| it == write.name))
    }
}

fn resource_matches(rule: &str, plural: &str, sub: &str) -> bool {
    let (of, part) = rule.split_once('/').unwrap_or((rule, ""));
    (of == "*" || of == plural) && (part == "*" || part == sub)
}

/// The other kinds in whose form a write can be shown, which hardly any has.
pub fn equivalents(sight: &Sight, write: &Admission<'_>) -> Vec<&'static Kind> {
    if write.aside.is_some() {
        return Vec::new();
    }
    let all = sight.objects.equivalents(write.kind);
    all.into_iter().filter(|it| write.sub.is_none_or(|sub| it.has(sub))).collect()
}

/// What is called for which writes.
#[derive(Clone, Debug)]
pub struct Selection {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether rules are for the named versions only.
    exact: bool,
    namespaces: Selector,
    objects: Selector,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labelled {
    metadata: Meta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    labels: std::collections::BTreeMap<String, String>,
}

impl Selection {
    /// Of rules and selectors.
    ///
    /// # Errors
    /// When a selector cannot be read.
    pub fn new(
        rules: impl Iterator<Item = Rule>,
        policy: Option<&str>,
        namespaces: Option<&LabelSelector>,
        objects: Option<&LabelSelector>,
    ) -> status::Result<Self> {
        let read = |it: Option<&LabelSelector>| match it {
            None => Ok(Selector::default()),
            Some(it) => Selector::from_label_selector(it),
        };
        Ok(Selection {
            rules: rules.collect(),
            excluded: Vec::new(),
            exact: policy == Some("Exact"),
            namespaces: read(namespaces)?,
            objects: read(objects)?,
        })
    }

    /// Of what a policy or a binding says. A binding without rules adds none.
    ///
    /// # Errors
    /// When a selector cannot be read.
    pub fn of(it: &MatchResources) -> status::Result<Self> {
        let rules = it.resource_rules.clone().into_iter().flatten().map(Rule::from);
        let mut made =
            Self::new(rules, it.match_policy.as_deref(), it.namespace_selector.as_ref(), it.object_selector.as_ref())?;
        made.excluded = it.exclude_resource_rules.clone().into_iter().flatten().map(Rule::from).collect();
        Ok(made)
    }

    /// In the form of which kind a write is to be shown, if the rules alone are for it: its own where a rule names that, else one of the
    /// equivalent ones. `without_rules` says whether that is so where there are none.
    pub fn covers(
        &self,
        write: &Admission<'_>,
        equivalents: &[&'static Kind],
        without_rules: bool,
    ) -> Option<&'static Kind> {
        if self.rules.is_empty() && !without_rules {
            return None;
        }
        let equivalents = if self.exact { &[] } else { equivalents };
        let named = |rules: &[Rule]| {
            let mut all = std::iter::once(write.kind).chain(equivalents.iter().copied());
            all.find(|kind| rules.iter().any(|it| it.matches(write, kind)))
        };
        if named(&self.excluded).is_some() {
            return None;
        }
        if self.rules.is_empty() { Some(write.kind) } else { named(&self.rules) }
    }

    /// Whether the labels of namespace and object are those that are meant.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn selects(
        &self,
        sight: &Sight,
        write: &Admission<'_>,
        draft: Option<&Draft<'_>>,
    ) -> status::Result<bool> {
        if !self.namespaces.is_empty() && !self.selects_namespace(sight, write, draft).await? {
            return Ok(false);
        }
        if self.objects.is_empty() {
            return Ok(true);
        }
        let new = draft.is_some_and(|it| {
            let labels = it.metadata().labels.as_ref();
            self.objects.matches_with(|key| labels?.get(key).map(String::as_str))
        });
        Ok(new || write.old.is_some_and(|it| of_json(&self.objects, it)))
    }

    async fn selects_namespace(
        &self,
        sight: &Sight,
        write: &Admission<'_>,
        draft: Option<&Draft<'_>>,
    ) -> status::Result<bool> {
        if is(write.kind, "", "Namespace") {
            return Ok(match draft {
                Some(draft) => {
                    let labels = draft.metadata().labels.as_ref();
                    self.namespaces.matches_with(|key| labels?.get(key).map(String::as_str))
                }
                None => write.old.is_some_and(|it| of_json(&self.namespaces, it)),
            });
        }
        if write.namespace.is_empty() {
            return Ok(true);
        }
        let found = sight.find("Namespace", "", write.namespace).await?;
        Ok(found.is_some_and(|it| of_json(&self.namespaces, &it.json)))
    }
}

fn of_json(selector: &Selector, json: &[u8]) -> bool {
    let it: Labelled = serde_json::from_slice(json).unwrap_or_default();
    selector.matches_with(|key| it.metadata.labels.get(key).map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_resources_and_their_parts() {
        for (rule, plural, sub, expected) in [
            ("pods", "pods", "", true),
            ("pods", "pods", "status", false),
            ("pods/status", "pods", "status", true),
            ("pods/*", "pods", "status", true),
            ("pods/*", "pods", "", true),
            ("*", "pods", "", true),
            ("*", "pods", "status", false),
            ("*/status", "pods", "status", true),
            ("*/*", "pods", "attach", true),
            ("pods/attach", "pods", "exec", false),
            ("nodes", "pods", "", false),
        ] {
            assert_eq!(resource_matches(rule, plural, sub), expected, "{rule}");
        }
    }
}
