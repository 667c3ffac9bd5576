//! The kinds a server has, and what users call them: `po`, `deploy`, `deployments.apps`, `Pod`, `all`.

use anyhow::{Result, anyhow};
use serde_json::Value;

use crate::session::{Session, Url};

/// One kind, as the server's discovery tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub short: Vec<String>,
    pub categories: Vec<String>,
    pub verbs: Vec<String>,
    pub namespaced: bool,
}

impl Resource {
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pod`, `deployment.apps`: how commands name objects in what they print.
    pub fn printed(&self) -> String {
        if self.group.is_empty() { self.singular.clone() } else { format!("{}.{}", self.singular, self.group) }
    }

    fn called(&self, name: &str) -> bool {
        self.plural == name || self.singular == name || self.short.iter().any(|it| it == name)
    }
}

/// All kinds, in the server's order of preference.
#[derive(Clone, Debug, Default)]
pub struct Resources(Vec<Resource>);

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

impl Resources {
    /// Asks the server: two requests of aggregated discovery (KEP-3352).
    ///
    /// # Errors
    /// When it does not answer so.
    pub async fn discover(session: &Session) -> Result<Resources> {
        let (core, groups) = (Url::path("/api"), Url::path("/apis"));
        let (core, groups) = tokio::try_join!(session.get(&core, AGGREGATED), session.get(&groups, AGGREGATED))?;
        let mut out = Vec::new();
        for document in [core, groups] {
            read(&document, &mut out);
        }
        if out.is_empty() {
            return Err(anyhow!("the server does not tell which kinds it has"));
        }
        Ok(Resources(out))
    }

    /// All kinds.
    pub fn all(&self) -> &[Resource] {
        &self.0
    }

    /// The kinds that a user's word stands for: one, or several for a category.
    ///
    /// # Errors
    /// When the server has no such kind.
    pub fn named(&self, word: &str) -> Result<Vec<&Resource>> {
        let lower = word.to_lowercase();
        let (name, rest) = lower.split_once('.').unwrap_or((&lower, ""));
        let in_group = |it: &&Resource| {
            rest.is_empty() || it.group == rest || rest.strip_prefix(&*it.version) == Some(&format!(".{}", it.group))
        };
        if let Some(found) = self.0.iter().filter(in_group).find(|it| it.called(name) || it.kind.to_lowercase() == name)
        {
            return Ok(vec![found]);
        }
        let category: Vec<&Resource> = self.0.iter().filter(|it| it.categories.contains(&lower)).collect();
        if category.is_empty() {
            return Err(anyhow!("the server doesn't have a resource type \"{word}\""));
        }
        Ok(category)
    }

    /// The kind of an object in a manifest.
    ///
    /// # Errors
    /// When the server has no such kind.
    pub fn of_object(&self, object: &Value) -> Result<&Resource> {
        let (version, kind) = (object["apiVersion"].as_str().unwrap_or(""), object["kind"].as_str().unwrap_or(""));
        let found = self.0.iter().find(|it| it.kind == kind && it.api_version() == version);
        found.ok_or_else(|| anyhow!("no matches for kind \"{kind}\" in version \"{version}\""))
    }
}

fn read(document: &Value, out: &mut Vec<Resource>) {
    let list = |it: &Value| it.as_array().cloned().unwrap_or_default();
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let texts = |it: &Value| list(it).iter().map(text).collect::<Vec<_>>();
    for group in list(&document["items"]) {
        for version in list(&group["versions"]) {
            for it in list(&version["resources"]) {
                let kind = text(&it["responseKind"]["kind"]);
                out.push(Resource {
                    group: text(&group["metadata"]["name"]),
                    version: text(&version["version"]),
                    singular: match text(&it["singularResource"]) {
                        empty if empty.is_empty() => kind.to_lowercase(),
                        singular => singular,
                    },
                    kind,
                    plural: text(&it["resource"]),
                    short: texts(&it["shortNames"]),
                    categories: texts(&it["categories"]),
                    verbs: texts(&it["verbs"]),
                    namespaced: it["scope"] == "Namespaced",
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources() -> Resources {
        let mut out = Vec::new();
        let document = serde_json::json!({"items": [
            {"metadata": {}, "versions": [{"version": "v1", "resources": [
                {"resource": "pods", "singularResource": "pod", "responseKind": {"kind": "Pod"}, "scope": "Namespaced", "shortNames": ["po"], "categories": ["all"]},
                {"resource": "events", "singularResource": "event", "responseKind": {"kind": "Event"}, "scope": "Namespaced"}]}]},
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                {"resource": "deployments", "singularResource": "deployment", "responseKind": {"kind": "Deployment"}, "scope": "Namespaced", "shortNames": ["deploy"], "categories": ["all"]}]}]},
            {"metadata": {"name": "events.k8s.io"}, "versions": [{"version": "v1", "resources": [
                {"resource": "events", "singularResource": "event", "responseKind": {"kind": "Event"}, "scope": "Namespaced"}]}]}
        ]});
        read(&document, &mut out);
        Resources(out)
    }

    #[test]
    fn finds_kinds_by_every_name() {
        let all = resources();
        let check = |word: &str, expected: &[&str]| {
            let found = all.named(word).unwrap();
            assert_eq!(found.iter().map(|it| it.printed()).collect::<Vec<_>>(), expected, "{word}");
        };
        check("po", &["pod"]);
        check("Pod", &["pod"]);
        check("deployments.apps", &["deployment.apps"]);
        check("deployments.v1.apps", &["deployment.apps"]);
        check("events", &["event"]);
        check("events.events.k8s.io", &["event.events.k8s.io"]);
        check("all", &["pod", "deployment.apps"]);
        let error = all.named("widgets").unwrap_err().to_string();
        assert_eq!(error, "the server doesn't have a resource type \"widgets\"");
    }
}
