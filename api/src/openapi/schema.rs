//! The schemas of types in the form of either OpenAPI version.
//!
//! In: the JSON schemas of `k8s-openapi`. Out: the same with references into the document, with Kubernetes' extensions, and with the shapes that
//! each version has for what is a number or a text.

use std::collections::BTreeMap;

use k8s_openapi::api::{authentication, autoscaling, core, policy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Status};
use serde_json::{Map, Value, json};

use super::custom;
use crate::computed::usage;
use crate::kind::{Kind, Sub};
use crate::list_types::{self, KEY_DEFAULTS, List};
use crate::review::Review;

/// Which version of OpenAPI a schema is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    V2,
    V3,
}

impl Form {
    /// The reference to a type.
    pub fn reference(self, name: &str) -> Value {
        match self {
            Form::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Form::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
/// What answers a mistake, or a deletion.
pub const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
/// The body of a deletion.
pub const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
/// The body of a patch, of any type.
pub const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
/// The `scale` subresource.
pub const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
/// The `binding` subresource.
pub const BINDING: &str = "io.k8s.api.core.v1.Binding";
/// The `eviction` subresource.
pub const EVICTION: &str = "io.k8s.api.policy.v1.Eviction";
/// The `token` subresource.
pub const TOKEN_REQUEST: &str = "io.k8s.api.authentication.v1.TokenRequest";

/// Where the types of definitions are: not with the others.
const APIEXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions";

/// Where the types of what is used are: those of metrics-server.
const METRICS: &str = "io.k8s.metrics.pkg.apis.metrics";

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

/// The name of a kind's schema: `io.k8s.api.apps.v1.Deployment`.
pub fn name_of(kind: &Kind) -> String {
    if kind.computed && kind.group == usage::GROUP {
        return format!("{METRICS}.{}.{}", kind.version, kind.kind);
    }
    if kind.custom.is_some() || kind.computed && !kind.group.is_empty() {
        return custom::name_of(kind);
    }
    let package = match kind.group {
        "" => "core",
        "apiextensions.k8s.io" => return format!("{APIEXTENSIONS}.{}.{}", kind.version, kind.kind),
        group => group.split('.').next().unwrap_or(group),
    };
    format!("io.k8s.api.{package}.{}.{}", kind.version, kind.kind)
}

/// The name of a review's schema: `io.k8s.api.authorization.v1.SubjectAccessReview`.
pub fn name_of_review(review: &Review) -> String {
    let package = review.group.split('.').next().unwrap_or(review.group);
    format!("io.k8s.api.{package}.{}.{}", review.version, review.kind)
}

/// All schemas that these kinds and their operations need, by name.
pub fn schemas(kinds: &[&Kind], reviews: &[&Review], form: Form) -> BTreeMap<String, Value> {
    let mut sources = BTreeMap::new();
    let mut collect = |schema: schemars::Schema| {
        let mut schema = schema.to_value();
        let types = schema.as_object_mut().and_then(|it| it.remove("$defs"));
        if let Some(Value::Object(types)) = types {
            sources.extend(types);
        }
        if let Some(title) = schema["title"].as_str().map(str::to_owned) {
            sources.insert(title, schema);
        }
    };
    collect(schemars::schema_for!(Status));
    collect(schemars::schema_for!(DeleteOptions));
    for review in reviews {
        collect((review.schema)());
    }
    if kinds.iter().any(|it| it.custom.is_some()) {
        collect(schemars::schema_for!(ObjectMeta));
    }
    for kind in kinds {
        if kind.custom.is_none() {
            collect((kind.schema)());
        }
        for sub in kind.subs {
            match sub {
                Sub::Scale => collect(schemars::schema_for!(autoscaling::v1::Scale)),
                Sub::Binding => collect(schemars::schema_for!(core::v1::Binding)),
                Sub::Token => collect(schemars::schema_for!(authentication::v1::TokenRequest)),
                Sub::Eviction => collect(schemars::schema_for!(policy::v1::Eviction)),
                Sub::Status
                | Sub::Finalize
                | Sub::Log
                | Sub::Proxy
                | Sub::Approval
                | Sub::EphemeralContainers
                | Sub::Resize
                | Sub::Exec
                | Sub::Attach
                | Sub::PortForward => {}
            }
        }
    }
    let mut out: BTreeMap<String, Value> =
        sources.into_iter().map(|(name, schema)| (name.clone(), named(&name, schema, form))).collect();
    out.insert(
        PATCH.to_owned(),
        json!({"description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.", "type": "object"}),
    );
    mark(&mut out, STATUS, ("", "v1", "Status"));
    mark(&mut out, DELETE_OPTIONS, ("", "v1", "DeleteOptions"));
    mark(&mut out, SCALE, ("autoscaling", "v1", "Scale"));
    mark(&mut out, BINDING, ("", "v1", "Binding"));
    mark(&mut out, EVICTION, ("policy", "v1", "Eviction"));
    mark(&mut out, TOKEN_REQUEST, ("authentication.k8s.io", "v1", "TokenRequest"));
    for review in reviews {
        mark(&mut out, &name_of_review(review), (review.group, review.version, review.kind));
    }
    for kind in kinds.iter().filter(|it| it.custom.is_some()) {
        out.insert(name_of(kind), custom::schema_of(kind, form));
    }
    for kind in kinds {
        mark(&mut out, &name_of(kind), (kind.group, kind.version, kind.kind));
        let list = list_of(kind, out.get(&name_of(kind)).unwrap_or(&Value::Null), form);
        out.insert(format!("{}List", name_of(kind)), list);
    }
    out
}

/// Says of which kind the objects of a schema are.
fn mark(schemas: &mut BTreeMap<String, Value>, name: &str, (group, version, kind): (&str, &str, &str)) {
    if let Some(schema) = schemas.get_mut(name) {
        schema["x-kubernetes-group-version-kind"] = json!([{"group": group, "version": version, "kind": kind}]);
    }
}

/// The schema of a kind's list.
fn list_of(kind: &Kind, item: &Value, form: Form) -> Value {
    let list = format!("{}List", kind.kind);
    let described = |mut of: Value, text: &str| {
        of["description"] = text.into();
        of
    };
    json!({
        "description": format!("{list} is a list of {}.", kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": item["properties"]["apiVersion"],
            "kind": item["properties"]["kind"],
            "items": {"type": "array", "description": format!("The {}.", kind.names.plural), "items": form.reference(&name_of(kind))},
            "metadata": described(plain_reference(&format!("{META}ListMeta"), form), "Standard list metadata."),
        },
        "x-kubernetes-group-version-kind": [{"group": kind.group, "version": kind.version, "kind": list}],
    })
}

/// A reference beside which a description may stand.
pub(super) fn plain_reference(name: &str, form: Form) -> Value {
    match form {
        Form::V2 => form.reference(name),
        Form::V3 => json!({"allOf": [form.reference(name)]}),
    }
}

/// One type.
fn named(name: &str, schema: Value, form: Form) -> Value {
    let description = schema["description"].clone();
    match (name, form) {
        (QUANTITY, Form::V2) => return json!({"description": description, "type": "string"}),
        (QUANTITY, Form::V3) => {
            return json!({"description": description, "oneOf": [{"type": "string"}, {"type": "number"}]});
        }
        (INT_OR_STRING, Form::V2) => {
            return json!({"description": description, "type": "string", "format": "int-or-string"});
        }
        (INT_OR_STRING, Form::V3) => {
            let either = [json!({"type": "integer"}), json!({"type": "string"})];
            return json!({"description": description, "format": "int-or-string", "oneOf": either});
        }
        _ => {}
    }
    if name.strip_prefix(APIEXTENSIONS).is_some_and(|it| it.contains(".JSON") && !it.ends_with(".JSONSchemaProps")) {
        // What may be of several types has none.
        return json!({ "description": description });
    }
    let mut out = convert(schema, form);
    if let Some(fields) = out.get_mut("properties").and_then(Value::as_object_mut) {
        for (field, of) in fields.iter_mut() {
            extend(name, field, of);
        }
    }
    // The Rust types always have metadata; clients need not send any.
    if let Some(required) = out.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|it| it != "metadata");
    }
    if out.get("required").and_then(Value::as_array).is_some_and(Vec::is_empty)
        && let Some(fields) = out.as_object_mut()
    {
        fields.remove("required");
    }
    if list_types::is_atomic(name) {
        out["x-kubernetes-map-type"] = "atomic".into();
    }
    out
}

/// Adds how a field is merged, and what it is if left out where keys depend on that.
fn extend(type_name: &str, field: &str, of: &mut Value) {
    let is_port = type_name.ends_with(".ContainerPort") || type_name.ends_with(".ServicePort");
    if let Some((_, default)) = KEY_DEFAULTS.iter().find(|(key, _)| is_port && *key == field) {
        of["default"] = (*default).into();
    }
    let Some(rule) = list_types::rule_of(type_name, field) else { return };
    if !rule.strategy.is_empty() {
        of["x-kubernetes-patch-strategy"] = rule.strategy.into();
    }
    if !rule.merge_key.is_empty() {
        of["x-kubernetes-patch-merge-key"] = rule.merge_key.into();
    }
    if rule.atomic_map {
        of["x-kubernetes-map-type"] = "atomic".into();
    }
    if rule.granular {
        of["x-kubernetes-map-type"] = "granular".into();
    }
    match rule.list {
        None => {}
        Some(List::Atomic) => of["x-kubernetes-list-type"] = "atomic".into(),
        Some(List::Set) => of["x-kubernetes-list-type"] = "set".into(),
        Some(List::Map(keys)) => {
            of["x-kubernetes-list-type"] = "map".into();
            of["x-kubernetes-list-map-keys"] = keys.into();
        }
    }
}

/// Moves references into the document and drops what OpenAPI does not know.
fn convert(schema: Value, form: Form) -> Value {
    let Value::Object(schema) = schema else { return schema };
    let mut out = Map::new();
    for (name, value) in schema {
        match (name.as_str(), value) {
            ("$schema" | "title" | "$defs", _) => {}
            ("$ref", Value::String(to)) => {
                let target = to.rsplit('/').next().unwrap_or_default();
                if let Value::Object(reference) = form.reference(target) {
                    out.extend(reference);
                }
            }
            ("properties", Value::Object(fields)) => {
                let fields: Map<String, Value> =
                    fields.into_iter().map(|(name, it)| (name, convert(it, form))).collect();
                out.insert(name, Value::Object(fields));
            }
            ("items" | "additionalProperties", value) => {
                out.insert(name, convert(value, form));
            }
            (_, value) => {
                out.insert(name, value);
            }
        }
    }
    // Beside a reference of version 3, nothing else counts: it goes into a list of one.
    if form == Form::V3
        && out.len() > 1
        && let Some(reference) = out.remove("$ref")
    {
        out.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
    Value::Object(out)
}
