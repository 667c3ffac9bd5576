//! Which writes a webhook or a policy is called for: rules, and the labels of namespaces and objects.
//!
//! Source: `k8s.io/apiserver/pkg/admission/plugin/webhook/predicates`. Simplifying assumption: a rule is for the version in which a
//! request comes; `matchPolicy: Equivalent` adds nothing to that, as the built-in kinds are served in one version each.

use k8s_openapi::api::admissionregistration::v1::{MatchResources, NamedRuleWithOperations, RuleWithOperations};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use orlop_api::draft::Draft;
use orlop_api::kind::Sub;
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
    }
}

impl Rule {
    fn matches(&self, write: &Admission<'_>) -> bool {
        let any = |values: &[String], value: &str| values.iter().any(|it| it == "*" || it == value);
        let namespaced = write.kind.namespaced() && !write.namespace.is_empty();
        let scope = match self.scope.as_str() {
            "Namespaced" => namespaced,
            "Cluster" => !namespaced,
            _ => true,
        };
        scope
            && any(&self.operations, operation(write.operation))
            && any(&self.groups, write.kind.group)
            && any(&self.versions, write.kind.version)
            && self.resources.iter().any(|it| resource_matches(it, write.kind.names.plural, write.sub))
            && (self.names.is_empty() || self.names.iter().any(|it| it == write.name))
    }
}

fn resource_matches(rule: &str, plural: &str, sub: Option<Sub>) -> bool {
    let (of, part) = rule.split_once('/').unwrap_or((rule, ""));
    let part_matches = match sub {
        None => part.is_empty() || part == "*",
        Some(sub) => part == "*" || part == sub.segment(),
    };
    (of == "*" || of == plural) && part_matches
}

/// What is called for which writes.
#[derive(Clone, Debug)]
pub struct Selection {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
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
        let mut made = Self::new(rules, it.namespace_selector.as_ref(), it.object_selector.as_ref())?;
        made.excluded = it.exclude_resource_rules.clone().into_iter().flatten().map(Rule::from).collect();
        Ok(made)
    }

    /// Whether the rules alone are for a write; `without_rules` is the answer where there are none.
    pub fn covers(&self, write: &Admission<'_>, without_rules: bool) -> bool {
        let included =
            if self.rules.is_empty() { without_rules } else { self.rules.iter().any(|it| it.matches(write)) };
        included && !self.excluded.iter().any(|it| it.matches(write))
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
            ("pods", "pods", None, true),
            ("pods", "pods", Some(Sub::Status), false),
            ("pods/status", "pods", Some(Sub::Status), true),
            ("pods/*", "pods", Some(Sub::Status), true),
            ("pods/*", "pods", None, true),
            ("*", "pods", None, true),
            ("*", "pods", Some(Sub::Status), false),
            ("*/status", "pods", Some(Sub::Status), true),
            ("*/*", "pods", Some(Sub::Scale), true),
            ("nodes", "pods", None, false),
        ] {
            assert_eq!(resource_matches(rule, plural, sub), expected, "{rule}");
        }
    }
}
