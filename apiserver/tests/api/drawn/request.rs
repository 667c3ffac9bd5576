//! One operation of the documents, and a request for it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Tape, schema};
use crate::support::Cluster;

/// An operation that the server publishes.
pub struct Operation {
    document: Arc<Value>,
    path: String,
    method: String,
    /// The schema of its body, by media type.
    bodies: Vec<(String, Value)>,
    parameters: Vec<(String, String)>,
    kind: String,
    /// The path of all objects of its kind, where they can be listed.
    collection: Option<String>,
}

/// A request, ready to be sent.
#[derive(Debug)]
pub struct Drawn {
    pub method: String,
    pub path: String,
    pub content_type: String,
    pub body: String,
    pub dry: bool,
    /// Where its objects are listed.
    pub collection: Option<String>,
}

/// Streams, and what needs a node: other tests have them.
const LEFT_OUT: [&str; 6] = ["/proxy", "/exec", "/attach", "/portforward", "/log", "/watch/"];
/// Parameters that make a stream of an answer.
const STREAMING: [&str; 2] = ["watch", "follow"];
/// Objects that would change the answers to all later requests: they are only tried.
const FAR_REACHING: [&str; 2] = ["admissionregistration", "apiregistration"];

impl Operation {
    /// All operations of all documents.
    pub async fn all(cluster: &Cluster) -> Vec<Operation> {
        let mut out = Vec::new();
        let index = cluster.get("/openapi/v3").await.json;
        for (_, entry) in index["paths"].as_object().unwrap() {
            let document = Arc::new(cluster.get(entry["serverRelativeURL"].as_str().unwrap()).await.json);
            let Some(paths) = document["paths"].as_object() else { continue };
            for (path, item) in paths {
                if LEFT_OUT.iter().any(|it| path.contains(it)) {
                    continue;
                }
                for (method, operation) in item.as_object().unwrap() {
                    if operation["operationId"].is_string() {
                        out.push(Self::of(&document, path, method, item, operation));
                    }
                }
            }
        }
        out
    }

    fn of(document: &Arc<Value>, path: &str, method: &str, item: &Value, operation: &Value) -> Operation {
        let contents = operation["requestBody"]["content"].as_object().into_iter().flatten();
        let parameters = [&item["parameters"], &operation["parameters"]];
        let parameters = parameters.into_iter().filter_map(Value::as_array).flatten();
        let parameters = parameters.filter(|it| it["in"] == "query").map(|it| {
            let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
            (text(&it["name"]), text(&it["schema"]["type"]))
        });
        // Reviews are answered and not kept: nothing lists them.
        let collection = path.split_once("/{name}").map_or(path, |it| it.0);
        let listed = document["paths"][collection]["get"].is_object();
        Operation {
            document: document.clone(),
            path: path.to_owned(),
            method: method.to_ascii_uppercase(),
            bodies: contents.map(|(media_type, it)| (media_type.clone(), it["schema"].clone())).collect(),
            parameters: parameters.filter(|(name, _)| !STREAMING.contains(&name.as_str())).collect(),
            kind: operation["x-kubernetes-group-version-kind"]["kind"].as_str().unwrap_or_default().to_owned(),
            collection: listed.then(|| collection.replace("{namespace}", "default")),
        }
    }

    /// A request for it.
    pub fn draw(&self, tape: &mut Tape<'_>) -> Drawn {
        let name = *tape.one(&["a", "b", "c", "default", "kube-system", "A%20b", "%C3%A4", "..", "x%2Fy", "a:b"]);
        let namespace = if tape.rarely(20) { *tape.one(&["nowhere", "%00", "kube-system"]) } else { "default" };
        let mut path = self.path.replace("{namespace}", namespace).replace("{name}", name);
        let far = FAR_REACHING.iter().any(|it| self.path.contains(it));
        let mut query = Vec::new();
        let mut dry = false;
        for (parameter, kind) in &self.parameters {
            let forced = far && parameter == "dryRun";
            if forced || tape.rarely(12) {
                dry |= parameter == "dryRun";
                query.push(format!("{parameter}={}", Self::argument(tape, parameter, kind, forced)));
            }
        }
        if self.method == "PATCH" && !query.iter().any(|it| it.starts_with("fieldManager")) && !tape.rarely(9) {
            query.push("fieldManager=drawn".to_owned());
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let (content_type, body) = self.body(tape, name, far);
        let usual = namespace == "default";
        let collection = self.collection.clone().filter(|_| usual);
        Drawn { method: self.method.clone(), path, content_type, body, dry, collection }
    }

    fn argument(tape: &mut Tape<'_>, name: &str, kind: &str, forced: bool) -> String {
        let usual: &[&str] = match (name, kind) {
            ("dryRun", _) => &["All"],
            ("fieldValidation", _) => &["Strict", "Warn", "Ignore"],
            ("propagationPolicy", _) => &["Background", "Foreground", "Orphan"],
            ("resourceVersionMatch", _) => &["Exact", "NotOlderThan"],
            ("labelSelector", _) => &["a%3Db", "a%20in%20(b,c)", "%21a", "a%20in%20(", "%00"],
            ("fieldSelector", _) => &["metadata.name%3Da", "spec.nothing%3Da", "%3D%3D"],
            (_, "boolean") => &["true", "false", "1"],
            (_, "integer") => &["1", "0", "-1", "99999999999999999999", "x"],
            _ => &["a", "0", "1", "", "%FF", "18446744073709551616"],
        };
        if !forced && tape.rarely(6) { "%22%00junk".to_owned() } else { (*tape.one(usual)).to_owned() }
    }

    fn body(&self, tape: &mut Tape<'_>, name: &str, far: bool) -> (String, String) {
        if self.bodies.is_empty() {
            return (String::new(), String::new());
        }
        let (media_type, of) = tape.one(&self.bodies).clone();
        let value = if self.method == "PATCH" { self.patch(tape, &media_type) } else { self.object(tape, &of, name) };
        let mut text = schema::text(&value);
        if self.method == "DELETE" && (far || tape.rarely(2)) {
            // Without a body the query counts.
            return (media_type, String::new());
        }
        if tape.rarely(25) {
            text.truncate(text.char_indices().map(|it| it.0).nth(text.chars().count() / 2).unwrap_or_default());
        }
        let media_type = if tape.rarely(25) {
            (*tape.one(&["text/plain", "application/xml", "", "application/json; charset=ä", "///"])).to_owned()
        } else {
            media_type
        };
        (media_type, text)
    }

    /// An object of the kind: what it cannot be without, and what was drawn.
    fn object(&self, tape: &mut Tape<'_>, of: &Value, name: &str) -> Value {
        let mut out = schema::draw(tape, &self.document, of, 0);
        let (Some(fields), false) = (out.as_object_mut(), tape.rarely(10)) else { return out };
        fields.remove("apiVersion");
        fields.remove("kind");
        if self.method != "DELETE" {
            fields.insert("metadata".to_owned(), json!({ "name": name }));
        }
        for (key, value) in least(&self.kind).as_object().into_iter().flatten() {
            if !fields.contains_key(key) || !tape.rarely(3) {
                fields.insert(key.clone(), value.clone());
            }
        }
        out
    }

    fn patch(&self, tape: &mut Tape<'_>, media_type: &str) -> Value {
        // The object that a GET of the same path shows is what a patch is about.
        let shown = &self.document["paths"][&self.path]["get"]["responses"]["200"]["content"]["application/json"];
        if media_type == "application/json-patch+json" {
            let count = tape.below(3) + 1;
            return (0..count)
                .map(|_| {
                    let path = *tape.one(&[
                        "/metadata/labels",
                        "/metadata/labels/a",
                        "/spec",
                        "/data",
                        "/spec/-1",
                        "",
                        "~2",
                        "/metadata/name",
                    ]);
                    let op = *tape.one(&["add", "replace", "remove", "test", "copy", "move", "nothing"]);
                    let value = schema::draw(tape, &self.document, &shown["schema"], 4);
                    json!({ "op": op, "path": path, "from": "/metadata", "value": value })
                })
                .collect();
        }
        let mut out = schema::draw(tape, &self.document, &shown["schema"], 0);
        if let Some(fields) = out.as_object_mut() {
            fields.remove("status");
            if media_type.contains("apply") {
                let (group, version, kind) = self.gvk();
                let api_version = if group.is_empty() { version } else { format!("{group}/{version}") };
                fields.insert("apiVersion".to_owned(), api_version.into());
                fields.insert("kind".to_owned(), kind.into());
            }
        }
        out
    }

    fn gvk(&self) -> (String, String, String) {
        let parts: Vec<&str> = self.path.trim_start_matches('/').split('/').collect();
        let (group, version) = if parts[0] == "api" { ("", parts[1]) } else { (parts[1], parts[2]) };
        (group.to_owned(), version.to_owned(), self.kind.clone())
    }
}

/// What an object of a kind cannot be without, beside its name.
fn least(kind: &str) -> Value {
    let containers = json!([{ "name": "a", "image": "i" }]);
    let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": containers } });
    let selector = json!({ "matchLabels": { "a": "b" } });
    let ending = json!({ "spec": { "containers": containers, "restartPolicy": "Never" } });
    match kind {
        "Pod" => json!({ "spec": { "containers": containers } }),
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" => {
            json!({ "spec": { "selector": selector, "template": template } })
        }
        "ReplicationController" => json!({ "spec": { "template": template } }),
        "PodTemplate" => json!({ "template": template }),
        "Job" => json!({ "spec": { "template": ending } }),
        "CronJob" => json!({ "spec": { "schedule": "* * * * *", "jobTemplate": { "spec": { "template": ending } } } }),
        "Service" => json!({ "spec": { "ports": [{ "port": 80 }] } }),
        "RoleBinding" | "ClusterRoleBinding" => {
            json!({ "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" } })
        }
        "PersistentVolume" => json!({ "spec": {
            "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/a" } } }),
        "PersistentVolumeClaim" => json!({ "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } }),
        "Ingress" => json!({ "spec": { "defaultBackend": { "service": { "name": "a", "port": { "number": 80 } } } } }),
        "StorageClass" => json!({ "provisioner": "example.com/p" }),
        "PriorityClass" => json!({ "value": 7 }),
        "RuntimeClass" => json!({ "handler": "h" }),
        "EndpointSlice" => json!({ "addressType": "IPv4", "endpoints": [] }),
        "ControllerRevision" => json!({ "revision": 1, "data": {} }),
        "CustomResourceDefinition" => json!({ "metadata": { "name": "as.example.com" }, "spec": {
            "group": "example.com", "scope": "Namespaced", "names": { "plural": "as", "kind": "A" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": { "type": "object" } } }] } }),
        _ => json!({}),
    }
}
