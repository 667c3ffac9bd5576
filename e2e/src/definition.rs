//! CustomResourceDefinitions as tests write them, and the way to have one served.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::server::{Answer, Server};
use crate::wait;

/// Where definitions are.
pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// How long it may take until a definition is served, or its documents follow, with both cores busy.
pub const SERVED_LIMIT: Duration = Duration::from_secs(30);

/// One version, that is served; the schema is the whole `openAPIV3Schema`.
pub fn version(name: &str, stored: bool, schema: &Value) -> Value {
    json!({"name": name, "served": true, "storage": stored, "schema": {"openAPIV3Schema": schema}})
}

/// A schema that lets everything in.
pub fn anything() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A definition of namespaced objects with these versions.
pub fn definition(plural: &str, kind: &str, group: &str, versions: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": versions,
        },
    })
}

/// The path of one.
pub fn path(definition: &Value) -> String {
    format!("{DEFINITIONS}/{}", definition["metadata"]["name"].as_str().unwrap_or_default())
}

/// The path of its objects in a version and a namespace.
pub fn objects(definition: &Value, version: &str, namespace: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let spec = &definition["spec"];
    let place = if spec["scope"] == "Cluster" { String::new() } else { format!("namespaces/{namespace}/") };
    format!("/apis/{}/{version}/{place}{}", text(&spec["group"]), text(&spec["names"]["plural"]))
}

/// An object of it.
pub fn object(definition: &Value, version: &str, name: &str) -> Value {
    let spec = &definition["spec"];
    let api_version = format!("{}/{version}", spec["group"].as_str().unwrap_or_default());
    json!({"apiVersion": api_version, "kind": spec["names"]["kind"], "metadata": {"name": name}})
}

/// Has a definition served: creates it, and waits until it is established and its stored version answers.
///
/// # Errors
/// When it is refused, or not served in time.
pub fn define(server: &Server, definition: &Value) -> Result<Value> {
    expect(&server.ask("POST", DEFINITIONS, &definition.to_string())?, 201)?;
    let versions = definition["spec"]["versions"].as_array();
    let stored = versions.into_iter().flatten().find(|it| it["storage"] == true);
    let version = stored.and_then(|it| it["name"].as_str()).unwrap_or_default();
    let list = objects(definition, version, "default");
    wait::until("the definition is served", SERVED_LIMIT, || {
        let read = server.ask("GET", &path(definition), "")?;
        let conditions = read.json["status"]["conditions"].as_array();
        let established = |it: &Value| it["type"] == "Established" && it["status"] == "True";
        ensure!(conditions.is_some_and(|it| it.iter().any(established)), "it is {}", read.text);
        expect(&server.ask("GET", &list, "")?, 200)?;
        Ok(read.json)
    })
}

/// Takes a definition away, with all its objects, and waits until it is gone.
///
/// # Errors
/// When it stays.
pub fn undefine(server: &Server, definition: &Value) -> Result<()> {
    server.ask("DELETE", &path(definition), "")?;
    wait::until("the definition goes", SERVED_LIMIT, || match server.ask("GET", &path(definition), "")? {
        it if it.code == 404 => Ok(()),
        it => bail!("it is {}", it.text),
    })
}

/// Fails unless an answer has this code; what it said is in the error.
///
/// # Errors
/// When the code is another.
pub fn expect(answer: &Answer, code: u16) -> Result<()> {
    ensure!(answer.code == code, "{code} was expected, and {} came: {}", answer.code, answer.text);
    Ok(())
}

/// Fails unless an answer refuses with this code and these words in its message.
///
/// # Errors
/// When it says something else.
pub fn refused(answer: &Answer, code: u16, words: &str) -> Result<()> {
    expect(answer, code)?;
    let message = answer.json["message"].as_str().unwrap_or_default();
    ensure!(message.contains(words), "it should say {words:?}: {message}");
    Ok(())
}
