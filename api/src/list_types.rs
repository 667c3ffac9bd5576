//! How the lists and maps of Kubernetes' types are merged: patch strategies, merge keys, list types and list map keys.
//!
//! Source: the markers `+listType`, `+listMapKey`, `+mapType`, `+structType`, `+patchStrategy` and `+patchMergeKey` of Kubernetes' types
//! (1.35), which its OpenAPI document shows as `x-kubernetes-*` and the Rust types do not carry. One table serves strategic merge patch,
//! server-side apply and our own OpenAPI documents; it has a row for every list of every group that a server has by default. A list without
//! a row is atomic. Custom resources say the same in their schemas: see [`crate::shape`].

mod core;
mod groups;

/// How the elements of a list are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// It is replaced as a whole.
    Atomic,
    /// Scalars, each of which stands once.
    Set,
    /// Objects with these fields as key.
    Map(&'static [&'static str]),
}

/// How one field is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The list type, where the field is a list.
    pub list: Option<List>,
    /// The patch strategy: `merge`, `retainKeys`, both with a comma, `replace`, or nothing.
    pub strategy: &'static str,
    /// The key by which strategic merge patch finds elements; empty for scalars.
    pub merge_key: &'static str,
    /// Whether the field is a map that is replaced as a whole.
    pub atomic_map: bool,
    /// Whether the field is merged field by field although its type is replaced as a whole elsewhere.
    pub granular: bool,
}

impl Rule {
    /// Whether a strategic merge patch replaces the field's object instead of merging it.
    pub fn replaces(&self) -> bool {
        self.strategy == "replace"
    }

    /// Whether a strategic merge patch merges the field's list instead of replacing it.
    pub fn merges(&self) -> bool {
        self.strategy.split(',').any(|it| it == "merge")
    }
}

/// A field with a rule: the type's name below its package, the field, the rule.
type Row = (&'static str, &'static str, Rule);

const fn rule(list: Option<List>, strategy: &'static str, merge_key: &'static str) -> Rule {
    Rule { list, strategy, merge_key, atomic_map: false, granular: false }
}

const ATOMIC: Rule = rule(Some(List::Atomic), "", "");
const SET: Rule = rule(Some(List::Set), "", "");
const MERGED_SET: Rule = rule(Some(List::Set), "merge", "");
const ATOMIC_MAP: Rule = Rule { atomic_map: true, ..rule(None, "", "") };
const GRANULAR: Rule = Rule { granular: true, ..rule(None, "", "") };
const RETAINED: Rule = rule(None, "retainKeys", "");
const REPLACED: Rule = rule(None, "replace", "");
const BY_NAME: Rule = merged_map(&["name"], "name");
const BY_TYPE: Rule = merged_map(&["type"], "type");
const RETAINED_BY_NAME: Rule = rule(Some(List::Map(&["name"])), "merge,retainKeys", "name");

const fn merged_map(keys: &'static [&'static str], merge_key: &'static str) -> Rule {
    rule(Some(List::Map(keys)), "merge", merge_key)
}

const fn map(keys: &'static [&'static str]) -> Rule {
    rule(Some(List::Map(keys)), "", "")
}

/// What a key field of a list counts as where an element leaves it out: the defaults of the types' schemas.
pub const KEY_DEFAULTS: &[(&str, &str)] = &[("protocol", "TCP")];

const PACKAGES: &[(&str, &[Row])] = &[
    ("io.k8s.api.admissionregistration.v1.", groups::ADMISSION),
    ("io.k8s.api.apps.v1.", groups::APPS),
    ("io.k8s.api.authentication.v1.", groups::AUTHENTICATION),
    ("io.k8s.api.authorization.v1.", groups::AUTHORIZATION),
    ("io.k8s.api.autoscaling.v2.", groups::AUTOSCALING_V2),
    ("io.k8s.api.batch.v1.", groups::BATCH),
    ("io.k8s.api.certificates.v1.", groups::CERTIFICATES),
    ("io.k8s.api.core.v1.", core::CORE),
    ("io.k8s.api.discovery.v1.", groups::DISCOVERY),
    ("io.k8s.api.flowcontrol.v1.", groups::FLOWCONTROL),
    ("io.k8s.api.networking.v1.", groups::NETWORKING),
    ("io.k8s.api.node.v1.", groups::NODE),
    ("io.k8s.api.policy.v1.", groups::POLICY),
    ("io.k8s.api.rbac.v1.", groups::RBAC),
    ("io.k8s.api.resource.v1.", groups::RESOURCE),
    ("io.k8s.api.storage.v1.", groups::STORAGE),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.", groups::EXTENSIONS),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.", groups::META),
    ("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.", groups::AGGREGATOR),
];

/// Types whose objects are replaced as a whole: references and selectors.
const ATOMIC_TYPES: &[(&str, &[&str])] = &[
    (
        "io.k8s.api.admissionregistration.v1.",
        &["MatchResources", "NamedRuleWithOperations", "ParamKind", "ParamRef", "Variable"],
    ),
    ("io.k8s.api.autoscaling.v1.", &["CrossVersionObjectReference"]),
    (
        "io.k8s.api.core.v1.",
        &[
            "ConfigMapKeySelector",
            "EndpointAddress",
            "EndpointPort",
            "FileKeySelector",
            "LocalObjectReference",
            "NodeSelector",
            "NodeSelectorTerm",
            "ObjectFieldSelector",
            "ObjectReference",
            "ResourceFieldSelector",
            "ScopeSelector",
            "SecretKeySelector",
            "SecretReference",
            "TopologySelectorTerm",
            "TypedLocalObjectReference",
        ],
    ),
    ("io.k8s.api.discovery.v1.", &["EndpointPort"]),
    ("io.k8s.api.networking.v1.", &["ServiceBackendPort"]),
    ("io.k8s.api.rbac.v1.", &["RoleRef", "Subject"]),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.", &["LabelSelector", "OwnerReference"]),
];

/// Structs that an object of a type always has, if only empty: fields that are no pointers in Kubernetes' types. An object that is written
/// for the first time has them already, so that nobody comes to own them by filling them in.
const PRESENT: &[(&str, &[&str])] = &[
    ("AllocationResult", &["devices"]),
    ("Container", &["resources"]),
    ("ContainerStatus", &["lastState", "state"]),
    ("CronJobSpec", &["jobTemplate"]),
    ("CustomResourceDefinitionSpec", &["names"]),
    ("CustomResourceDefinitionStatus", &["acceptedNames"]),
    ("DaemonSetSpec", &["template", "updateStrategy"]),
    ("DeploymentSpec", &["strategy", "template"]),
    ("EphemeralContainer", &["resources"]),
    ("Event", &["deprecatedSource", "involvedObject", "regarding", "source"]),
    ("FlowSchemaSpec", &["priorityLevelConfiguration"]),
    ("HorizontalPodAutoscalerSpec", &["scaleTargetRef"]),
    ("IngressStatus", &["loadBalancer"]),
    ("JobSpec", &["template"]),
    ("MutatingWebhook", &["clientConfig"]),
    ("NetworkPolicySpec", &["podSelector"]),
    ("NodeDaemonEndpoints", &["kubeletEndpoint"]),
    ("NodeStatus", &["daemonEndpoints", "nodeInfo"]),
    ("PersistentVolumeClaimSpec", &["resources"]),
    ("PodTemplate", &["template"]),
    ("ReplicaSetSpec", &["template"]),
    ("ResourceClaimSpec", &["devices"]),
    ("ResourceSliceSpec", &["pool"]),
    ("ServiceStatus", &["loadBalancer"]),
    ("StatefulSetSpec", &["template", "updateStrategy"]),
    ("ValidatingWebhook", &["clientConfig"]),
    ("VolumeAttachmentSpec", &["source"]),
];

/// Whether every object of a type has this struct, if only empty.
pub fn is_present(type_name: &str, field: &str) -> bool {
    // Metadata, what is wanted and what is: no kind of Kubernetes' has a pointer there.
    if matches!(field, "metadata" | "spec" | "status") {
        return true;
    }
    let name = split(type_name).map_or("", |(_, name)| name);
    PRESENT.iter().any(|(it, fields)| *it == name && fields.contains(&field))
}

/// The rule of a type's field, if it has one. `type_name` is whole: `io.k8s.api.core.v1.PodSpec`.
pub fn rule_of(type_name: &str, field: &str) -> Option<&'static Rule> {
    let (package, name) = split(type_name)?;
    let (_, rows) = PACKAGES.iter().find(|(it, _)| *it == package)?;
    rows.iter().find(|(in_type, it, _)| *in_type == name && *it == field).map(|(_, _, rule)| rule)
}

/// Whether the objects of a type are replaced as a whole.
pub fn is_atomic(type_name: &str) -> bool {
    let Some((package, name)) = split(type_name) else { return false };
    ATOMIC_TYPES.iter().any(|(it, names)| *it == package && names.contains(&name))
}

fn split(type_name: &str) -> Option<(&str, &str)> {
    Some(type_name.split_at(type_name.rfind('.')? + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use serde_json::Value;
    use std::collections::BTreeMap;

    fn types() -> BTreeMap<String, Value> {
        let mut out = BTreeMap::new();
        for kind in KINDS {
            let schema = (kind.schema)().to_value();
            for (name, of) in schema["$defs"].as_object().unwrap() {
                out.insert(name.clone(), of.clone());
            }
            out.insert(schema["title"].as_str().unwrap_or_default().to_owned(), schema);
        }
        out
    }

    fn check(types: &BTreeMap<String, Value>, type_name: &str, field: &str, rule: &Rule) {
        // A group that is not served yet.
        let Some(of) = types.get(type_name) else { return };
        let property = &of["properties"][field];
        assert!(property.is_object(), "{type_name} has no field {field}");
        assert_eq!(property["type"] == "array", rule.list.is_some(), "{type_name}.{field} is a list or not");
        let Some(List::Map(keys)) = rule.list else { return };
        let element = property["items"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        for key in keys.iter().chain([&rule.merge_key]).filter(|it| !it.is_empty()) {
            assert!(types[element]["properties"][key].is_object(), "{element} has no field {key}");
        }
    }

    #[test]
    fn every_row_names_a_field_of_the_types_we_serve() {
        let types = types();
        for (package, rows) in PACKAGES {
            for (name, field, rule) in *rows {
                check(&types, &format!("{package}{name}"), field, rule);
            }
        }
        for (package, names) in ATOMIC_TYPES {
            for name in *names {
                assert!(is_atomic(&format!("{package}{name}")));
            }
        }
        for (name, fields) in PRESENT {
            for (full, of) in types.iter().filter(|(full, _)| full.ends_with(&format!(".{name}"))) {
                let known = fields.iter().any(|it| of["properties"][it].is_object());
                assert!(known, "{full} has none of the fields {fields:?}");
            }
        }
    }

    #[test]
    fn every_list_of_the_types_we_serve_has_a_row() {
        // Types of answers, which nobody merges.
        let answers = ["Status", "StatusDetails"];
        for (name, of) in types() {
            let (_, short) = split(&name).unwrap();
            for (field, property) in of["properties"].as_object().into_iter().flatten() {
                let is_list = property["type"] == "array";
                assert!(
                    !is_list || rule_of(&name, field).is_some() || answers.contains(&short),
                    "{name}.{field} has no row"
                );
            }
        }
    }
}
