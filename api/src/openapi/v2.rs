//! OpenAPI 2.0 ("swagger"): one document for everything.

use serde_json::{Map, Value, json};

use super::operations::{self, Body, Operation, PRETTY, Parameter};
use super::schema::{self, Form, PATCH};
use super::v3::tag;
use crate::kind::Kind;
use crate::patch::PatchType;
use crate::review::{REVIEWS, Review};

/// The document of these kinds, and of the reviews if asked for.
pub fn document(kinds: &[&'static Kind], with_reviews: bool) -> Value {
    let reviews: Vec<&Review> = REVIEWS.iter().filter(|_| with_reviews).collect();
    let mut paths: Map<String, Value> = Map::new();
    let of_reviews = reviews.iter().map(|it| operations::of_review(it));
    for operation in kinds.iter().flat_map(|it| operations::of(it)).chain(of_reviews) {
        let item = paths.entry(operation.path.clone()).or_insert_with(|| path_item(&operation.path));
        item[operation.method] = written(&operation);
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "definitions": schema::schemas(kinds, &reviews, Form::V2),
    })
}

fn path_item(path: &str) -> Value {
    let mut parameters: Vec<Value> = operations::path_parameters(path)
        .map(|(name, text)| {
            json!({"name": name, "in": "path", "description": text, "required": true, "type": "string", "uniqueItems": true})
        })
        .collect();
    parameters.push(query(&PRETTY));
    json!({"parameters": parameters})
}

fn query(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name, "in": "query", "description": parameter.description, "type": parameter.kind, "uniqueItems": true,
    })
}

fn written(operation: &Operation) -> Value {
    let (group, version, kind) = operation.gvk;
    let answer = match &operation.answer {
        Some(schema) => json!({"description": "OK", "schema": Form::V2.reference(schema)}),
        None => json!({"description": "OK", "schema": {"type": "string"}}),
    };
    let mut responses = json!({"200": answer, "401": {"description": "Unauthorized"}});
    if operation.creates {
        let mut created = answer;
        created["description"] = "Created".into();
        responses["201"] = created;
    }
    let mut parameters: Vec<Value> = operation.parameters.iter().map(query).collect();
    let mut consumes = vec!["*/*"];
    let body = match &operation.body {
        Body::None => None,
        Body::Object(schema) => Some(schema.as_str()),
        Body::Patch { strategic } => {
            consumes = PatchType::all(*strategic).map(PatchType::media_type).collect();
            Some(PATCH)
        }
    };
    if let Some(schema) = body {
        let required = operation.method != "delete";
        parameters.insert(
            0,
            json!({"name": "body", "in": "body", "required": required, "schema": Form::V2.reference(schema)}),
        );
    }
    json!({
        "description": operation.description,
        "operationId": operation.id,
        "tags": [tag(group, version)],
        "consumes": consumes,
        "produces": [if operation.answer.is_some() { "application/json" } else { "text/plain" }],
        "schemes": ["https"],
        "parameters": parameters,
        "responses": responses,
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    })
}
