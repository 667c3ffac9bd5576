//! The rules review: all that one may do in a namespace, as far as rules say it.

use orlop_api::status::{self, Status};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::authorize::rbac::Rule;
use crate::stage::{Authorizer, Identity, Rules};

/// Where.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    namespace: String,
}

/// Lists the rules.
///
/// # Errors
/// `BadRequest` where no namespace is named.
pub fn answer(identity: &Identity, by: &dyn Authorizer, spec: &Spec, answer: &mut Value) -> status::Result<()> {
    if spec.namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    answer["spec"] = json!({});
    answer["status"] = told(&by.rules(identity, &spec.namespace));
    Ok(())
}

fn told(found: &Rules) -> Value {
    let (of_paths, of_resources): (Vec<&Rule>, Vec<&Rule>) =
        found.rules.iter().partition(|it| !it.non_resource_urls.is_empty());
    let of_resources = of_resources.into_iter().map(|it| {
        let mut rule = json!({"verbs": it.verbs, "apiGroups": it.api_groups, "resources": it.resources});
        if !it.resource_names.is_empty() {
            rule["resourceNames"] = it.resource_names.clone().into();
        }
        rule
    });
    let of_paths = of_paths.into_iter().map(|it| json!({"verbs": it.verbs, "nonResourceURLs": it.non_resource_urls}));
    let mut out = json!({
        "resourceRules": of_resources.collect::<Vec<_>>(), "nonResourceRules": of_paths.collect::<Vec<_>>(), "incomplete": false,
    });
    if !found.incomplete.is_empty() {
        out["evaluationError"] = found.incomplete.as_str().into();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_rules_of_resources_from_those_of_paths() {
        let rules: Vec<Rule> = serde_json::from_value(json!([
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz"]},
        ]))
        .unwrap();
        let told = told(&Rules { rules, incomplete: "why".to_owned() });
        assert_eq!(
            told,
            json!({
                "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}],
                "incomplete": false, "evaluationError": "why",
            })
        );
    }
}
