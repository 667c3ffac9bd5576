//! What the scenarios have in common: a namespace, the configurations in it, and what the webhook answers at which path.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};
use orlop_e2e::case::Case;
use orlop_e2e::definition::{expect, refused};
use orlop_e2e::hooks::{self, Hooks, Reply};
use orlop_e2e::server::{Answer, Server};
use orlop_e2e::wait;
use serde_json::{Value, json};

/// How long it may take until a configuration is heard of.
const HEARD_LIMIT: Duration = Duration::from_secs(30);
/// How long the slow webhook takes: more than the shortest time that one may have.
pub const SLOW: Duration = Duration::from_millis(2500);
const MARKER: &str = "marker.hooks.test";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// Which sort of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Mutating,
    Validating,
}

impl Sort {
    /// Where its configurations are.
    pub fn path(self) -> String {
        let plural = match self {
            Sort::Mutating => "mutatingwebhookconfigurations",
            Sort::Validating => "validatingwebhookconfigurations",
        };
        format!("{GROUP}/{plural}")
    }

    /// The kind's name.
    pub fn kind(self) -> String {
        format!("{self:?}WebhookConfiguration")
    }
}

/// One scenario's place.
pub struct Play<'a> {
    pub server: &'a Server,
    pub hooks: &'a Hooks,
    pub case: Case,
    /// The configurations that were made, to be taken away.
    made: Mutex<Vec<String>>,
}

impl<'a> Play<'a> {
    /// Makes the namespace, with the account that pods run as.
    pub fn new(server: &'a Server, hooks: &'a Hooks, case: Case) -> Result<Self> {
        let it = Play { server, hooks, case, made: Mutex::default() };
        let name = &it.case.namespace;
        expect(&it.server.send("POST", "/api/v1/namespaces", &json!({"metadata": {"name": name}}))?, 201)?;
        expect(&it.server.send("POST", &it.here("serviceaccounts"), &json!({"metadata": {"name": "default"}}))?, 201)?;
        Ok(it)
    }

    /// The path of something of the core group in the namespace.
    pub fn here(&self, what: &str) -> String {
        format!("/api/v1/namespaces/{}/{what}", self.case.namespace)
    }

    /// A webhook at a path of ours, called for what happens to a resource in this namespace; `more` is added to it.
    pub fn hook(&self, name: &str, path: &str, rule: Value, more: Value) -> Value {
        let mut hook = json!({
            "name": format!("{name}.hooks.test"), "clientConfig": self.hooks.client(path), "rules": [rule],
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.case.namespace}},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            hook[key] = value.clone();
        }
        hook
    }

    /// A configuration with a marker behind these webhooks.
    pub fn configuration(&self, sort: Sort, name: &str, hooks: Vec<Value>) -> Value {
        let marked = json!({"objectSelector": {"matchLabels": {"marker": name}}});
        let marker = self.hook("marker", "/always-deny", rule(&["CREATE"], "", "v1", "configmaps"), marked);
        let mut webhooks = hooks;
        webhooks.push(marker);
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": sort.kind(), "metadata": {"name": name, "labels": {"of": self.case.namespace}}, "webhooks": webhooks})
    }

    /// Makes a configuration with these webhooks, named after the namespace, and waits until it is heard of.
    pub fn configure(&self, sort: Sort, hooks: Vec<Value>) -> Result<()> {
        let name = format!("{}-{}", self.case.namespace, sort.kind().to_lowercase());
        let made = self.server.send("POST", &sort.path(), &self.configuration(sort, &name, hooks))?;
        expect(&made, 201)?;
        self.made.lock().unwrap_or_else(|it| it.into_inner()).push(format!("{}/{name}", sort.path()));
        self.heard(&name)
    }

    /// Waits until a configuration is heard of: it refuses what is marked.
    pub fn heard(&self, name: &str) -> Result<()> {
        let marked = json!({"metadata": {"name": "marked", "labels": {"marker": name}}});
        self.until(&self.here("configmaps?dryRun=All"), &marked, |it| refused(it, 400, MARKER))
    }

    /// Tries to create an object until the answer is right.
    pub fn until(&self, path: &str, object: &Value, right: impl Fn(&Answer) -> Result<()>) -> Result<()> {
        wait::until("a configuration is heard of", HEARD_LIMIT, || right(&self.server.send("POST", path, object)?))
    }

    /// Takes the configurations away, so that the next scenario is asked nothing by them.
    pub fn leave(&self) -> Result<()> {
        for path in self.made.lock().unwrap_or_else(|it| it.into_inner()).drain(..) {
            expect(&self.server.ask("DELETE", &path, "")?, 200)?;
        }
        Ok(())
    }
}

/// Which operations on which resource.
pub fn rule(operations: &[&str], group: &str, version: &str, resource: &str) -> Value {
    json!({"operations": operations, "apiGroups": [group], "apiVersions": [version], "resources": [resource]})
}

/// A ConfigMap.
pub fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

/// A ConfigMap that the webhook does not want.
pub fn unwanted(name: &str) -> Value {
    map(name, json!({"webhook-e2e-test": "webhook-disallow"}))
}

/// A pod.
pub fn pod(name: &str, container: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": container, "image": "registry.local/x:1"}]}})
}

/// Fails unless two values are the same.
pub fn same(found: &Value, expected: &Value) -> Result<()> {
    ensure!(found == expected, "expected {expected}, found {found}");
    Ok(())
}

/// What the webhook says: at the paths of the conformance tests' own webhook the same as that.
pub fn answer(path: &str, review: &Value) -> Reply {
    let request = &review["request"];
    let (object, old) = (&request["object"], &request["oldObject"]);
    let bad = |it: &Value| it["data"]["webhook-e2e-test"] == "webhook-disallow";
    match path {
        "/always-deny" => hooks::deny(review, "this webhook denies all requests"),
        "/pods" => {
            let containers = object["spec"]["containers"].as_array();
            let mut why = Vec::new();
            if containers.into_iter().flatten().any(|it| it["name"] == "webhook-disallow") {
                why.push("the pod contains unwanted container name");
            }
            if object["metadata"]["labels"]["webhook-e2e-test"] == "webhook-disallow" {
                why.push("the pod contains unwanted label");
            }
            if why.is_empty() { hooks::allow(review) } else { hooks::deny(review, &why.join("; ")) }
        }
        "/configmaps" if bad(object) => hooks::deny(review, "the configmap contains unwanted key and value"),
        "/pods/attach" if request["name"] == "to-be-attached-pod" => {
            hooks::deny(review, "attaching to pod 'to-be-attached-pod' is not allowed")
        }
        "/custom-resource" if bad(object) => hooks::deny(review, "the custom resource contains unwanted data"),
        "/custom-resource" if object.is_null() && bad(old) => {
            hooks::deny(review, "the custom resource cannot be deleted because it contains unwanted key and value")
        }
        "/mutating-configmaps" | "/mutating-custom-resource" => {
            let has = |key: &str| object["data"][key] == "yes";
            let mut patch = Vec::new();
            for (from, to) in [("mutation-start", "mutation-stage-1"), ("mutation-stage-1", "mutation-stage-2")] {
                if has(from) && !has(to) {
                    patch.push(json!({"op": "add", "path": format!("/data/{to}"), "value": "yes"}));
                }
            }
            // One stage at a time: the second webhook does the rest.
            patch.truncate(1);
            if patch.is_empty() { hooks::allow(review) } else { hooks::patched(review, &json!(patch)) }
        }
        "/mutating-pods" => {
            let added = json!({"name": "webhook-added-init-container", "image": "webhook-added-image"});
            hooks::patched(review, &json!([{"op": "add", "path": "/spec/initContainers", "value": [added]}]))
        }
        "/at-most-four" if object["spec"]["replicas"].as_i64().is_some_and(|it| it > 4) => {
            hooks::patched(review, &json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]))
        }
        "/add-audience" => {
            hooks::patched(review, &json!([{"op": "add", "path": "/spec/audiences/-", "value": "vault"}]))
        }
        "/add-label" => {
            hooks::patched(review, &json!([{"op": "add", "path": "/metadata/labels/webhook", "value": "was-here"}]))
        }
        "/slow" => match hooks::allow(review) {
            Reply::Json(answer) => Reply::After(SLOW, answer),
            other => other,
        },
        "/convert" => hooks::converted(review, |object, wanted| {
            let (from, to) = if wanted.ends_with("/v2") { ("colour", "color") } else { ("color", "colour") };
            if let Some(value) = object.as_object_mut().and_then(|it| it.remove(from)) {
                object[to] = value;
            }
        }),
        _ => hooks::allow(review),
    }
}
