//! Custom kinds as their users see them: definitions, objects, documents, conversion and validation, as the conformance tests of Kubernetes describe
//! them (`test/e2e/apimachinery/{custom_resource_definition,crd_*,field_validation}.go`).
//!
//! One API server; each scenario has a group of its own. kubectl is the newest at hand.

#[path = "custom/conversion.rs"]
mod conversion;
#[path = "custom/defaults.rs"]
mod defaults;
#[path = "custom/definitions.rs"]
mod definitions;
#[path = "custom/published.rs"]
mod published;
#[path = "custom/rules.rs"]
mod rules;
#[path = "custom/validation.rs"]
mod validation;
#[path = "custom/watching.rs"]
mod watching;

use anyhow::{Context, Result, bail, ensure};
use orlop_e2e::case::Case;
use orlop_e2e::definition::expect;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::server::{Answer, Request, Server};
use serde_json::Value;

/// One scenario's place.
pub struct Play<'a> {
    pub server: &'a Server,
    pub case: Case,
    /// The group of its definitions.
    pub group: String,
}

impl Play<'_> {
    /// Patches: `merge-patch+json`, `json-patch+json`, `apply-patch+yaml`.
    pub fn patch(&self, path: &str, sort: &str, patch: &str) -> Result<Answer> {
        let content_type = format!("application/{sort}");
        let request = Request { content_type: &content_type, body: patch.as_bytes(), ..Request::default() };
        self.server.request("PATCH", path, &request)
    }
}

/// Fails unless two values are the same.
pub fn same(found: &Value, expected: &Value) -> Result<()> {
    ensure!(found == expected, "expected {expected}, found {found}");
    Ok(())
}

type Part = fn(&Play<'_>) -> Result<()>;

const PARTS: &[(&str, Part)] = &[
    ("simple", definitions::created_and_deleted),
    ("collected", definitions::listed_and_deleted_by_label),
    ("status", definitions::status_is_a_part_of_its_own),
    ("discovered", definitions::stands_in_discovery),
    ("tables", definitions::pages_and_tables),
    ("defaults", defaults::defaults),
    ("watching", watching::watches),
    ("selected", watching::selects_by_fields),
    ("rules", rules::objects_satisfy_rules),
    ("transitions", rules::changes_satisfy_rules),
    ("wrong-rules", rules::rules_that_cannot_be),
    ("one-converted", conversion::one_object),
    ("many-converted", conversion::lists_of_several_versions),
    ("oldest-review", conversion::the_oldest_review),
    ("with-schema", published::with_a_schema),
    ("without-schema", published::without_a_schema),
    ("open-root", published::open_at_the_root),
    ("open-embedded", published::open_in_an_embedded_object),
    ("several-groups", published::of_several_groups),
    ("several-versions", published::of_several_versions),
    ("several-kinds", published::of_several_kinds),
    ("renamed", published::a_version_is_renamed),
    ("removed", published::a_version_is_not_served_any_more),
    ("valid", validation::valid),
    ("anything", validation::unknown_fields_without_a_schema),
    ("extra", validation::unknown_fields_with_a_schema),
    ("metadata", validation::unknown_metadata),
    ("duplicates", validation::duplicates),
    ("kubectl-validates", validation::by_kubectl),
];

#[test]
fn custom_kinds_are_as_those_of_kubernetes() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-custom-").tempdir()?;
    let mut server = Server::start(&folder.path().join("data"), "memory")?;
    let kubectl = Kubectl::all(&server.kubeconfig())?.pop().context("there is a kubectl")?;
    // One scenario alone, for whoever works on it.
    let only = std::env::var("ORLOP_SCENARIO").unwrap_or_default();
    let mut failures = Vec::new();
    for (name, part) in PARTS.iter().filter(|(name, _)| only.is_empty() || only == *name) {
        let case = Case { kubectl: kubectl.clone(), namespace: (*name).to_owned() };
        let made = server.ask("POST", "/api/v1/namespaces", &format!("{{\"metadata\":{{\"name\":\"{name}\"}}}}"))?;
        let play = Play { server: &server, case, group: format!("{name}.example.com") };
        if let Err(error) = expect(&made, 201).and_then(|()| part(&play)) {
            eprintln!("{name}: {error:#}\n");
            failures.push(format!("{name}: {error:#}"));
        }
    }
    if !failures.is_empty() {
        bail!("{} failures:\n{}\n{}", failures.len(), failures.join("\n\n"), server.child().tail());
    }
    Ok(())
}
