//! OpenAPI 3.0: one document per group version.

use serde_json::{Map, Value, json};

use super::operations::{self, Body, Operation, PRETTY, Parameter};
use super::schema::{self, Form, PATCH};
use crate::kind::Kind;
use crate::patch::PatchType;
use crate::review::{REVIEWS, Review};

/// The media types of objects in answers and, but for patches, in requests.
const MEDIA_TYPES: [&str; 2] = ["application/json", "application/yaml"];

/// The document of one group version.
pub fn document(kinds: &[&'static Kind], group: &str, version: &str) -> Value {
    let kinds: Vec<&Kind> = kinds.iter().copied().filter(|it| it.group == group && it.version == version).collect();
    let reviews: Vec<&Review> = REVIEWS.iter().filter(|it| it.group == group && it.version == version).collect();
    let mut paths: Map<String, Value> = Map::new();
    let of_reviews = reviews.iter().map(|it| operations::of_review(it));
    for operation in kinds.iter().flat_map(|it| operations::of(it)).chain(of_reviews) {
        let item = paths.entry(operation.path.clone()).or_insert_with(|| path_item(&operation.path));
        item[operation.method] = written(&operation);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schema::schemas(&kinds, &reviews, Form::V3)},
    })
}

fn path_item(path: &str) -> Value {
    let mut parameters: Vec<Value> = operations::path_parameters(path)
        .map(|(name, text)| {
            json!({"name": name, "in": "path", "description": text, "required": true, "schema": {"type": "string", "uniqueItems": true}})
        })
        .collect();
    parameters.push(query(&PRETTY));
    json!({"parameters": parameters})
}

fn query(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name, "in": "query", "description": parameter.description,
        "schema": {"type": parameter.kind, "uniqueItems": true},
    })
}

fn content(schema: &str, media_types: impl IntoIterator<Item = &'static str>) -> Value {
    let of = json!({"schema": Form::V3.reference(schema)});
    media_types.into_iter().map(|it| (it.to_owned(), of.clone())).collect::<Map<_, _>>().into()
}

fn written(operation: &Operation) -> Value {
    let (group, version, kind) = operation.gvk;
    let answer = match &operation.answer {
        Some(schema) => json!({"description": "OK", "content": content(schema, MEDIA_TYPES)}),
        None => json!({"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}}),
    };
    let mut responses = json!({"200": answer, "401": {"description": "Unauthorized"}});
    if operation.creates {
        let mut created = answer;
        created["description"] = "Created".into();
        responses["201"] = created;
    }
    let mut out = json!({
        "description": operation.description,
        "operationId": operation.id,
        "tags": [tag(group, version)],
        "parameters": operation.parameters.iter().map(query).collect::<Vec<_>>(),
        "responses": responses,
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    });
    match &operation.body {
        Body::None => {}
        Body::Object(schema) => {
            out["requestBody"] =
                json!({"required": operation.method != "delete", "content": content(schema, MEDIA_TYPES)});
        }
        Body::Patch { strategic } => {
            let media_types = PatchType::all(*strategic).map(PatchType::media_type);
            out["requestBody"] = json!({"required": true, "content": content(PATCH, media_types)});
        }
    }
    out
}

/// `apps_v1`, `core_v1`.
pub fn tag(group: &str, version: &str) -> String {
    let group = match group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("{group}_{version}")
}
