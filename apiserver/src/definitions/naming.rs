//! Which names a definition is granted, and what its conditions say of that.
//!
//! In: a definition as JSON, and the names that others of its group have. Out: its status. Source:
//! `k8s.io/apiextensions-apiserver/pkg/controller/status/naming_controller.go` and `establish`: there two steps, because several servers
//! have to follow; here one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use orlop_api::kinds::custom_resource_definition::{approval, set_condition};
use serde_json::{Value, json};

/// The names of the other definitions of a group.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// Plural, singular and short names.
    pub resources: BTreeSet<String>,
    /// Kinds and kinds of lists.
    pub kinds: BTreeSet<String>,
}

/// Whether a condition is true.
pub fn is_true(status: &Value, condition: &str) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|it| it["type"] == condition && it["status"] == "True")
}

/// Whether all names are granted.
pub fn is_accepted(status: &Value) -> bool {
    is_true(status, "NamesAccepted")
}

/// The status that a definition should have.
pub fn status(definition: &Value, used: &Used, now: Timestamp) -> Value {
    let mut status = definition["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    let asked = &definition["spec"]["names"];
    let mut accepted = status["acceptedNames"].clone();
    if !accepted.is_object() {
        accepted = json!({ "plural": "", "kind": "" });
    }
    let conflict = grant(asked, &mut accepted, used);
    let condition = |of: &str, status: &str, reason: &str, message: &str| json!({"type": of, "status": status, "reason": reason, "message": message});
    let named = match &conflict {
        None => condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        Some((reason, message)) => condition("NamesAccepted", "False", reason, message),
    };
    status["acceptedNames"] = accepted;
    set_condition(&mut status, named, now);
    if !is_true(&status, "Established") {
        let established = match conflict {
            None => condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
            Some(_) => condition("Established", "False", "NotAccepted", "not all names are accepted"),
        };
        set_condition(&mut status, established, now);
    }
    let annotations: BTreeMap<String, String> =
        serde_json::from_value(definition["metadata"]["annotations"].clone()).unwrap_or_default();
    if let Some(it) = approval(definition["spec"]["group"].as_str().unwrap_or_default(), Some(&annotations)) {
        let conforms = if it.conforms { "True" } else { "False" };
        let told = condition("KubernetesAPIApprovalPolicyConformant", conforms, it.reason, &it.message);
        set_condition(&mut status, told, now);
    }
    status
}

/// Grants what nobody else has; the last conflict is the one that is told.
fn grant(asked: &Value, accepted: &mut Value, used: &Used) -> Option<(&'static str, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut conflict = None;
    let mut one = |field: &str, taken: &BTreeSet<String>, reason: &'static str, accepted: &mut Value| {
        let name = text(&asked[field]);
        if name != text(&accepted[field]) && taken.contains(&name) {
            conflict = Some((reason, format!("{name:?} is already in use")));
        } else {
            accepted[field] = name.into();
        }
    };
    one("plural", &used.resources, "PluralConflict", accepted);
    one("singular", &used.resources, "SingularConflict", accepted);
    let short = asked["shortNames"].as_array();
    let taken: Vec<String> = short
        .into_iter()
        .flatten()
        .map(text)
        .filter(|it| {
            used.resources.contains(it)
                && !accepted["shortNames"].as_array().is_some_and(|own| own.iter().any(|own| own == it.as_str()))
        })
        .map(|it| format!("{it:?} is already in use"))
        .collect();
    if taken.is_empty() {
        copy(asked, accepted, "shortNames");
    }
    one("kind", &used.kinds, "KindConflict", accepted);
    one("listKind", &used.kinds, "ListKindConflict", accepted);
    copy(asked, accepted, "categories");
    if conflict.is_none() && !taken.is_empty() {
        let message = if taken.len() == 1 { taken[0].clone() } else { format!("[{}]", taken.join(", ")) };
        conflict = Some(("ShortNamesConflict", message));
    }
    conflict
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    match from[field].as_array().filter(|it| !it.is_empty()) {
        Some(list) => to[field] = json!(list),
        None => {
            if let Some(fields) = to.as_object_mut() {
                fields.remove(field);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(extra: Value) -> Value {
        let mut names =
            json!({"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList"});
        names.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        names
    }

    #[track_caller]
    fn check(extra: Value, taken: &[&str], expected: [(&str, &str); 2]) -> Value {
        let used = Used {
            resources: taken.iter().map(|it| (*it).to_owned()).collect(),
            kinds: taken.iter().map(|it| (*it).to_owned()).collect(),
        };
        let definition =
            json!({"spec": {"group": "example.com", "names": names(extra)}, "status": {"storedVersions": ["v1"]}});
        let it = status(&definition, &used, Timestamp::UNIX_EPOCH);
        for (at, (of, reason)) in expected.into_iter().enumerate() {
            assert_eq!((&it["conditions"][at]["type"], &it["conditions"][at]["reason"]), (&json!(of), &json!(reason)));
        }
        assert_eq!(it["storedVersions"], json!(["v1"]));
        it
    }

    #[test]
    fn names_are_granted_unless_others_have_them() {
        let free = [("NamesAccepted", "NoConflicts"), ("Established", "InitialNamesAccepted")];
        let it = check(json!({"shortNames": ["ct"], "categories": ["all"]}), &[], free);
        assert_eq!(it["acceptedNames"], names(json!({"shortNames": ["ct"], "categories": ["all"]})));
        let taken = |reason| [("NamesAccepted", reason), ("Established", "NotAccepted")];
        let it = check(json!({"shortNames": ["ct"]}), &["ct"], taken("ShortNamesConflict"));
        assert!(it["acceptedNames"]["shortNames"].is_null());
        assert_eq!(it["conditions"][0]["message"], "\"ct\" is already in use");
        check(json!({}), &["CronTab"], taken("KindConflict"));
        check(json!({}), &["crontab"], taken("SingularConflict"));
    }

    #[test]
    fn what_is_established_stays_so_and_nothing_is_said_twice() {
        let mut definition = json!({"spec": {"group": "example.com", "names": names(json!({}))}});
        let first = status(&definition, &Used::default(), Timestamp::UNIX_EPOCH);
        definition["status"] = first.clone();
        let later = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(status(&definition, &Used::default(), later), first);
        definition["spec"]["names"]["shortNames"] = json!(["ct"]);
        let used = Used { resources: ["ct".to_owned()].into(), ..Used::default() };
        let conflicting = status(&definition, &used, later);
        assert!(is_true(&conflicting, "Established") && !is_accepted(&conflicting));
        assert_eq!(conflicting["conditions"][0]["lastTransitionTime"], "2026-01-02T03:04:05Z");
    }

    #[test]
    fn protected_groups_tell_of_their_approval() {
        let mut definition = json!({"spec": {"group": "x.k8s.io", "names": names(json!({}))}});
        definition["metadata"]["annotations"]["api-approved.kubernetes.io"] = "unapproved, an experiment".into();
        let it = status(&definition, &Used::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(it["conditions"][2]["reason"], "UnapprovedAnnotation");
    }
}
