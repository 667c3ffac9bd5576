//! `FlowSchema`: which requests belong to which priority level. They are kept and checked; no request is weighed by them here.

use k8s_openapi::api::flowcontrol::v1::{
    FlowDistinguisherMethod, FlowSchema, FlowSchemaSpec, FlowSchemaStatus, GroupSubject, NonResourcePolicyRule,
    PolicyRulesWithSubjects, PriorityLevelConfigurationReference, ResourcePolicyRule, Subject,
};
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy, Sub};
use crate::kinds::cells::{self, AGE, list, str_or};
use crate::kinds::checks;
use crate::name;
use crate::table::{Cell, Column};

/// The order in which schemas are asked where none is given, and the last one there is.
const PRECEDENCE: i32 = 1000;
const PRECEDENCE_LIMIT: i32 = 10_000;
/// The schemas that are as they are.
const EXEMPT: &str = "exempt";
const CATCH_ALL: &str = "catch-all";
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

impl Strategy for FlowSchema {
    const NAMES: Names = Names { plural: "flowschemas", singular: "flowschema", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const STATUS_RESETS: &'static [&'static [&'static str]] = &[&["metadata"], &["spec"]];
    const COLUMNS: &'static [Column] = &[
        cells::text("PriorityLevel", |it| cells::cell(&it["spec"]["priorityLevelConfiguration"]["name"]))
            .doc(".spec.priorityLevelConfiguration.name"),
        cells::text("MatchingPrecedence", |it| cells::number(&it["spec"]["matchingPrecedence"]))
            .doc(".spec.matchingPrecedence"),
        cells::text("DistinguisherMethod", |it| cells::cell_or_none(&it["spec"]["distinguisherMethod"]["type"]))
            .doc(".spec.distinguisherMethod"),
        AGE,
        cells::text("MissingPL", missing).doc("references a broken or non-existent PriorityLevelConfiguration"),
    ];
    // A list shows them in the order in which they are asked.
    const ROW_ORDER: Option<fn(&Value) -> i64> =
        Some(|it| it["spec"]["matchingPrecedence"].as_i64().unwrap_or_default());

    fn default(&mut self) {
        if let Some(spec) = &mut self.spec
            && spec.matching_precedence.unwrap_or(0) == 0
        {
            spec.matching_precedence = Some(PRECEDENCE);
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(FlowSchemaStatus::default()),
            (Part::Status, Some(old)) => {
                let managed = self.metadata.managed_fields.take();
                self.metadata.clone_from(&old.metadata);
                self.metadata.managed_fields = managed;
                self.spec.clone_from(&old.spec);
            }
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, part: Part, _old: Option<&Self>, errors: &mut Errors) {
        let conditions = self.status.as_ref().and_then(|it| it.conditions.as_deref()).unwrap_or_default();
        let types: Vec<Option<&str>> = conditions.iter().map(|it| it.type_.as_deref()).collect();
        if part == Part::Main {
            let path = Path::new("spec");
            let name = self.metadata.name.as_deref().unwrap_or_default();
            let nothing = FlowSchemaSpec::default();
            let spec = self.spec.as_ref().unwrap_or(&nothing);
            validate_spec(name, spec, &path, errors);
            if fixed(name).is_some_and(|it| it != *spec) {
                errors.invalid(path, spec, format!("spec of '{name}' must equal the fixed value"));
            }
        }
        validate_types(&types, errors);
    }
}

/// Notes conditions that have no type or another's. Shared by both kinds of flow control.
pub(super) fn validate_types(types: &[Option<&str>], errors: &mut Errors) {
    for (at, kind) in types.iter().enumerate() {
        let path = || Path::new("status").child("conditions").index(at).child("type");
        if types[..at].contains(kind) {
            errors.duplicate(path(), kind.unwrap_or_default());
        }
        if kind.unwrap_or_default().is_empty() {
            errors.required(path(), "must not be empty");
        }
    }
}

/// What the two schemas must say that every server has.
fn fixed(name: &str) -> Option<FlowSchemaSpec> {
    let (precedence, method, groups): (i32, Option<&str>, &[&str]) = match name {
        EXEMPT => (1, None, &["system:masters"]),
        CATCH_ALL => (PRECEDENCE_LIMIT, Some("ByUser"), &["system:unauthenticated", "system:authenticated"]),
        _ => return None,
    };
    let all = || vec!["*".to_owned()];
    let subject = |name: &&str| {
        let group = Some(GroupSubject { name: (*name).to_owned() });
        Subject { kind: "Group".into(), group, ..Subject::default() }
    };
    let resources = ResourcePolicyRule {
        verbs: all(),
        api_groups: all(),
        resources: all(),
        namespaces: Some(all()),
        cluster_scope: Some(true),
    };
    Some(FlowSchemaSpec {
        matching_precedence: Some(precedence),
        distinguisher_method: method.map(|it| FlowDistinguisherMethod { type_: it.to_owned() }),
        priority_level_configuration: PriorityLevelConfigurationReference { name: name.to_owned() },
        rules: Some(vec![PolicyRulesWithSubjects {
            subjects: groups.iter().map(subject).collect(),
            resource_rules: Some(vec![resources]),
            non_resource_rules: Some(vec![NonResourcePolicyRule { verbs: all(), non_resource_urls: all() }]),
        }]),
    })
}

fn validate_spec(name: &str, spec: &FlowSchemaSpec, path: &Path, errors: &mut Errors) {
    let precedence = spec.matching_precedence.unwrap_or(0);
    let mut complain = |why: &str| errors.invalid(path.child("matchingPrecedence"), precedence, why);
    if precedence <= 0 {
        complain("must be a positive value");
    }
    if precedence > PRECEDENCE_LIMIT {
        complain(&format!("must not be greater than {PRECEDENCE_LIMIT}"));
    }
    if precedence == 1 && name != EXEMPT {
        complain("only the schema named 'exempt' may have matchingPrecedence 1");
    }
    if let Some(method) = &spec.distinguisher_method
        && !["ByNamespace", "ByUser"].contains(&method.type_.as_str())
    {
        let path = path.child("distinguisherMethod").child("type");
        let shown = format!("{{\"Type\":{:?}}}", method.type_);
        errors.not_supported_text(path, shown, &["ByNamespace", "ByUser"]);
    }
    let level = &spec.priority_level_configuration.name;
    let level_path = || path.child("priorityLevelConfiguration").child("name");
    if level.is_empty() {
        errors.required(level_path(), "must reference a priority level");
    }
    checks::none_or_named(Some(level), name::dns1123_subdomain, level_path, errors);
    for (at, rule) in spec.rules.iter().flatten().enumerate() {
        validate_rule(rule, &path.child("rules").index(at), errors);
    }
}

fn validate_rule(rule: &PolicyRulesWithSubjects, path: &Path, errors: &mut Errors) {
    if rule.subjects.is_empty() {
        errors.required(path.child("subjects"), "subjects must contain at least one value");
    }
    for (at, subject) in rule.subjects.iter().enumerate() {
        validate_subject(subject, &path.child("subjects").index(at), errors);
    }
    let resources = rule.resource_rules.as_deref().unwrap_or_default();
    let others = rule.non_resource_rules.as_deref().unwrap_or_default();
    if resources.is_empty() && others.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.required(path.clone(), why);
    }
    for (at, rule) in resources.iter().enumerate() {
        validate_resources(rule, &path.child("resourceRules").index(at), errors);
    }
    for (at, rule) in others.iter().enumerate() {
        let path = path.child("nonResourceRules").index(at);
        validate_verbs(&rule.verbs, &path, errors);
        let urls = &rule.non_resource_urls;
        let path = path.child("nonResourceURLs");
        if urls.is_empty() {
            errors.required(path, "nonResourceURLs must contain at least one value");
        } else if has_wildcard(urls) {
            alone(urls, "non-resource URLs", path, errors);
        } else {
            for (at, url) in urls.iter().enumerate() {
                if let Some(why) = unlike_path(url) {
                    errors.invalid(path.index(at), url, why);
                }
            }
        }
    }
}

fn validate_resources(rule: &ResourcePolicyRule, path: &Path, errors: &mut Errors) {
    validate_verbs(&rule.verbs, path, errors);
    for (field, names, one, many) in [
        ("apiGroups", &rule.api_groups, "api group", "api groups"),
        ("resources", &rule.resources, "resource", "resources"),
    ] {
        if names.is_empty() {
            errors.required(path.child(field), format!("resource rules must supply at least one {one}"));
        } else if has_wildcard(names) {
            alone(names, many, path.child(field), errors);
        }
    }
    let namespaces = rule.namespaces.as_deref().unwrap_or_default();
    let path = path.child("namespaces");
    if namespaces.is_empty() && rule.cluster_scope != Some(true) {
        errors.required(path, "resource rules that are not cluster scoped must supply at least one namespace");
    } else if has_wildcard(namespaces) {
        alone(namespaces, "namespaces", path, errors);
    } else {
        for (at, namespace) in namespaces.iter().enumerate() {
            for complaint in name::dns1123_label(namespace) {
                let why = format!("each member of this list must be '*' or a DNS-1123 label; {complaint}");
                errors.invalid(path.index(at), namespace, why);
            }
        }
    }
}

fn validate_verbs(verbs: &[String], path: &Path, errors: &mut Errors) {
    let path = path.child("verbs");
    if verbs.is_empty() {
        errors.required(path, "verbs must contain at least one value");
    } else if has_wildcard(verbs) {
        alone(verbs, "verbs", path, errors);
    } else if !verbs.iter().all(|it| VERBS.contains(&it.as_str())) {
        errors.not_supported(path, verbs, VERBS);
    }
}

fn has_wildcard(list: &[String]) -> bool {
    list.iter().any(|it| it == "*")
}

/// What means all stands alone.
fn alone(list: &[String], others: &str, path: Path, errors: &mut Errors) {
    if list.len() > 1 {
        errors.invalid(path, list, format!("if '*' is present, must not specify other {others}"));
    }
}

/// Why a text is no path, perhaps with a wildcard at its end.
fn unlike_path(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || stars == 1 && !url.ends_with("/*") => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

fn validate_subject(it: &Subject, path: &Path, errors: &mut Errors) {
    let (user, group) = (it.user.as_ref().map(|it| &it.name), it.group.as_ref().map(|it| &it.name));
    let account = it.service_account.as_ref().map(|it| &it.name);
    let given = [("ServiceAccount", "serviceAccount", account), ("User", "user", user), ("Group", "group", group)];
    let Some((kind, field, name)) = given.iter().find(|(kind, _, _)| *kind == it.kind) else {
        return errors.not_supported(path.child("kind"), &it.kind, &["Group", "ServiceAccount", "User"]);
    };
    let path_of = |field: &str| path.child(field).child("name");
    match name {
        None => errors.required(path.child(field), format!("{field} is required when subject kind is '{kind}'")),
        Some(name) if name.is_empty() => errors.required(path_of(field), ""),
        Some(name) if *kind == "ServiceAccount" && *name != "*" => {
            checks::none_or_named(Some(name), name::dns1123_subdomain, || path_of(field), errors);
        }
        Some(_) => {}
    }
    if let Some(account) = it.service_account.as_ref().filter(|_| *kind == "ServiceAccount") {
        let path = || path.child("serviceAccount").child("namespace");
        if account.namespace.is_empty() {
            errors.required(path(), "must specify namespace for service account");
        }
        checks::none_or_named(Some(&account.namespace), name::dns1123_label, path, errors);
    }
    for (other, field, _) in given.iter().filter(|(other, _, name)| other != kind && name.is_some()) {
        errors.forbidden(path.child(field), format!("{field} is forbidden when subject kind is not '{other}'"));
    }
}

fn missing(it: &Value) -> Cell {
    let dangling = list(&it["status"]["conditions"]).iter().find(|it| it["type"] == "Dangling");
    Cell::Text(dangling.map_or("?", |it| str_or(&it["status"], "")).to_owned())
}
