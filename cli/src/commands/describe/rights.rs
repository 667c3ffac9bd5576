//! The pages of roles and their bindings. The rules of a role are taken apart by resource, so that each stands on one line, and put in
//! kubectl's order (`k8s.io/component-helpers/auth/rbac/validation`, `CompactRules`).

use serde_json::Value;

use super::{Page, list, plain, text};
use crate::manifest::name_of;

/// What one line of a role allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rule {
    verbs: Vec<String>,
    group: String,
    resource: String,
    name: String,
    url: String,
}

/// Describes a Role or ClusterRole.
pub fn role(page: &mut Page, it: &Value) {
    page.field(0, "Name", name_of(it));
    page.labels(it);
    let bracketed = |it: &str| format!("[{it}]");
    let rows = rules(it).into_iter().map(|it| {
        let (resource, below) = it.resource.split_once('/').map_or((&*it.resource, None), |(a, b)| (a, Some(b)));
        let mut shown = resource.to_owned();
        if !it.group.is_empty() {
            shown.push_str(&format!(".{}", it.group));
        }
        if let Some(below) = below {
            shown.push_str(&format!("/{below}"));
        }
        vec![shown, bracketed(&it.url), bracketed(&it.name), bracketed(&it.verbs.join(" "))]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    page.table_always(0, "PolicyRule", &["Resources", "Non-Resource URLs", "Resource Names", "Verbs"], rows);
}

/// One rule a resource (and name), or a path and verb.
fn rules(role: &Value) -> Vec<Rule> {
    let words = |it: &Value| list(it).filter_map(|it| it.as_str().map(str::to_owned)).collect::<Vec<_>>();
    let mut out: Vec<Rule> = Vec::new();
    for rule in list(&role["rules"]) {
        let verbs = words(&rule["verbs"]);
        let mut names = words(&rule["resourceNames"]);
        if names.is_empty() {
            names.push(String::new());
        }
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for name in &names {
                    let (group, resource, name) = (group.clone(), resource.clone(), name.clone());
                    let same = |it: &&mut Rule| it.group == group && it.resource == resource && it.name == name;
                    match out.iter_mut().filter(|it| it.url.is_empty()).find(same) {
                        Some(known) => known.verbs.extend(verbs.iter().cloned()),
                        None => out.push(Rule { verbs: verbs.clone(), group, resource, name, url: String::new() }),
                    }
                }
            }
        }
        for url in words(&rule["nonResourceURLs"]) {
            out.extend(verbs.iter().map(|it| Rule { verbs: vec![it.clone()], url: url.clone(), ..Rule::default() }));
        }
    }
    // As Go prints the rules, which is what kubectl sorts by.
    out.sort_by_cached_key(|it| {
        format!("[{}],[{}],[{}],[{}],[{}]", it.verbs.join(" "), it.group, it.resource, it.name, it.url)
    });
    out
}

/// Describes a RoleBinding or ClusterRoleBinding.
pub fn binding(page: &mut Page, it: &Value) {
    page.field(0, "Name", name_of(it));
    page.labels(it);
    page.line(0, "Role:");
    page.field(1, "Kind", plain(&it["roleRef"]["kind"]));
    page.field(1, "Name", plain(&it["roleRef"]["name"]));
    let known = |it: &Value| text(it).unwrap_or_default().to_owned();
    let rows = list(&it["subjects"]).map(|it| vec![known(&it["kind"]), known(&it["name"]), known(&it["namespace"])]);
    page.table_always(0, "Subjects", &["Kind", "Name", "Namespace"], rows.collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_stand_one_a_line_in_kubectls_order() {
        let role = serde_json::json!({"rules": [
            {"apiGroups": ["apps", ""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["watch"]},
            {"nonResourceURLs": ["/api", "/api/*"], "verbs": ["get"]},
        ]});
        let shown: Vec<String> = rules(&role)
            .iter()
            .map(|it| format!("{}|{}|{}|{}", it.verbs.join(" "), it.group, it.resource, it.url))
            .collect();
        let expected = [
            "get list watch||pods|",
            "get list||pods/log|",
            "get list|apps|pods/log|",
            "get list|apps|pods|",
            "get|||/api/*",
            "get|||/api",
        ];
        assert_eq!(shown, expected);
    }
}
